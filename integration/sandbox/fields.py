"""Short words for the definitions of fields, so that an object reads like a list."""

from typing import Any

from integration.sandbox.model import FieldDef, Formula


def text(name: str, length: int = 255, **more: Any) -> FieldDef:
    """A line of text."""
    return FieldDef(name, "string", length=length, **more)


def name_text(length: int = 255, **more: Any) -> FieldDef:
    """The field that names the record."""
    return FieldDef("Name", "string", length=length, name_field=True, **more)


def area(name: str, length: int = 32000, **more: Any) -> FieldDef:
    """Text with line breaks; beyond 255 characters it can be neither filtered nor sorted."""
    short = length <= 255
    return FieldDef(name, "textarea", length=length, filterable=short, sortable=short, **more)


def pick(name: str, *values: str, **more: Any) -> FieldDef:
    """One of several values."""
    return FieldDef(name, "picklist", length=255, picklist=values, **more)


def multi(name: str, *values: str) -> FieldDef:
    """Any of several values, joined by semicolons."""
    return FieldDef(name, "multipicklist", length=4099, picklist=values, sortable=False)


def money(name: str, scale: int = 2, **more: Any) -> FieldDef:
    """An amount in the org's currency."""
    return FieldDef(name, "currency", precision=18, scale=scale, **more)


def number(name: str, scale: int = 0, **more: Any) -> FieldDef:
    """A number; Salesforce sends it as a double even when its scale is 0."""
    return FieldDef(name, "double", precision=18, scale=scale, **more)


def percent(name: str, scale: int = 0, **more: Any) -> FieldDef:
    """A percentage: 10 is 10 %."""
    return FieldDef(name, "percent", precision=16 + scale, scale=scale, **more)


def integer(name: str, **more: Any) -> FieldDef:
    """A whole number."""
    return FieldDef(name, "int", precision=8, **more)


def flag(name: str, **more: Any) -> FieldDef:
    """True or false, never null."""
    return FieldDef(name, "boolean", nillable=False, **more)


def day(name: str, **more: Any) -> FieldDef:
    """A date without a time."""
    return FieldDef(name, "date", **more)


def moment(name: str, **more: Any) -> FieldDef:
    """A point in time, UTC."""
    return FieldDef(name, "datetime", **more)


def time_of_day(name: str) -> FieldDef:
    """A time without a date, `07:00:00.000Z`."""
    return FieldDef(name, "time")


def email(name: str, **more: Any) -> FieldDef:
    """An e-mail address."""
    return FieldDef(name, "email", length=80, **more)


def phone(name: str) -> FieldDef:
    """A telephone number."""
    return FieldDef(name, "phone", length=40)


def url(name: str, **more: Any) -> FieldDef:
    """A web address."""
    return FieldDef(name, "url", length=255, **more)


def secret(name: str, length: int = 100) -> FieldDef:
    """A string that is stored encrypted."""
    return FieldDef(name, "encryptedstring", length=length, filterable=False, sortable=False)


def ref(name: str, *targets: str, **more: Any) -> FieldDef:
    """A lookup; several targets make it polymorphic."""
    return FieldDef(name, "reference", length=18, reference_to=targets, **more)


def formula(name: str, kind: str, compute: Formula, **more: Any) -> FieldDef:
    """A calculated field of the given result type."""
    if kind in ("currency", "double", "percent"):
        more = {"precision": 18, "scale": 2} | more
    return FieldDef(name, kind, formula=compute, **more)


def roll_up(name: str, kind: str, child: str, pointer: str, compute: Formula, **more: Any) -> FieldDef:
    """A roll-up summary of the child records whose reference `pointer` names this record."""
    return formula(name, kind, compute, roll_up=(child, pointer), moves_alone=True, **more)


def system(field: FieldDef) -> FieldDef:
    """The same field, written by the platform alone."""
    object.__setattr__(field, "createable", False)
    object.__setattr__(field, "updateable", False)
    return field


def of_type(name: str, kind: str, **more: Any) -> FieldDef:
    """A field of a type that is only known at run time, with the sizes such a field usually has."""
    return FieldDef(name, kind, **(_USUAL.get(kind, {}) | more))


_USUAL: dict[str, dict[str, Any]] = {
    "boolean": {"nillable": False},
    "string": {"length": 255},
    "picklist": {"length": 255},
    "url": {"length": 255},
    "email": {"length": 80},
    "phone": {"length": 40},
    "textarea": {"length": 32000, "filterable": False, "sortable": False},
    "multipicklist": {"length": 4099, "sortable": False},
    "int": {"precision": 8},
    "double": {"precision": 18, "scale": 2},
    "currency": {"precision": 18, "scale": 2},
    "percent": {"precision": 18, "scale": 2},
}


def address(prefix: str) -> tuple[FieldDef, ...]:
    """A compound address and its eight parts; `prefix` is `Billing`, or empty for a Lead's own."""
    compound = f"{prefix}Address"
    parts = tuple(f"{prefix}{part}" for part in ADDRESS_PARTS)
    kinds = [("textarea", 255), ("string", 40), ("string", 80), ("string", 20), ("string", 80)]
    fields = [
        FieldDef(name, kind, length=length, compound_of=compound)
        for name, (kind, length) in zip(parts, kinds, strict=False)
    ]
    fields += [FieldDef(name, "double", precision=18, scale=15, compound_of=compound) for name in parts[5:7]]
    fields.append(
        FieldDef(parts[7], "picklist", length=40, picklist=("Address", "Street", "City"), compound_of=compound)
    )
    fields.append(FieldDef(compound, "address", parts=parts, sortable=False, filterable=False))
    return tuple(fields)


ADDRESS_PARTS = (
    "Street",
    "City",
    "State",
    "PostalCode",
    "Country",
    "Latitude",
    "Longitude",
    "GeocodeAccuracy",
)


def location(name: str) -> tuple[FieldDef, ...]:
    """A custom geolocation `X__c` and its parts `X__Latitude__s` and `X__Longitude__s`."""
    stem = name.removesuffix("__c")
    parts = (f"{stem}__Latitude__s", f"{stem}__Longitude__s")
    return (
        *(FieldDef(part, "double", precision=18, scale=15, compound_of=name) for part in parts),
        FieldDef(name, "location", parts=parts, sortable=False, filterable=False),
    )


def ids(*, recycle: bool = True) -> tuple[FieldDef, ...]:
    """Id, and IsDeleted for objects that have a recycle bin."""
    own = (system(FieldDef("Id", "id", length=18, nillable=False)),)
    return (*own, system(flag("IsDeleted"))) if recycle else own


def audit() -> tuple[FieldDef, ...]:
    """Who and when: created, changed, and the stamp that every change moves."""
    return (
        system(moment("CreatedDate", nillable=False)),
        system(ref("CreatedById", "User", nillable=False)),
        system(moment("LastModifiedDate", nillable=False)),
        system(ref("LastModifiedById", "User", nillable=False)),
        system(moment("SystemModstamp", nillable=False)),
    )


def viewed() -> tuple[FieldDef, ...]:
    """What the asking user looked at last; always null here, nobody looks."""
    return system(moment("LastViewedDate")), system(moment("LastReferencedDate"))
