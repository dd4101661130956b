"""What an object looks like: Salesforce's describe reduced to what reading, typing and naming need."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from integration.core import exactjson

# Types a SOQL query can't carry as one plain value, or carries only as a link to be fetched one by one.
# Compound parents (address, location) come through their parts; see field_types in the object reference.
UNREADABLE_TYPES = frozenset({"address", "location", "base64", "complexvalue", "json", "datacategorygroupreference"})

# Fields that move without any information having changed: never a change event, never part of a content hash.
BOOKKEEPING = frozenset(
    {"SystemModstamp", "LastModifiedDate", "LastModifiedById", "LastViewedDate", "LastReferencedDate"}
)

PICKLIST_TYPES = frozenset({"picklist", "multipicklist", "combobox"})

# In order of preference; the first that describe shows as filterable and sortable is the cursor of the object.
_CURSOR_FIELDS = ("SystemModstamp", "CreatedDate")


@dataclass(frozen=True, slots=True)
class Field:
    """A field as describe shows it. `type` is Salesforce's (`currency`, `picklist`, `reference`, ...).

    `picklist` are the active values to choose from, in their order; empty for other types.
    """

    name: str
    type: str
    label: str = ""
    precision: int = 0
    scale: int = 0
    length: int = 0
    reference_to: tuple[str, ...] = ()
    relationship: str | None = None
    calculated: bool = False
    custom: bool = False
    picklist: tuple[str, ...] = ()
    filterable: bool = True


@dataclass(frozen=True, slots=True)
class ObjectSchema:
    """An object with its selected fields, in describe's order. `schema_id` is a hash of all the rest."""

    object: str
    label: str
    key_prefix: str | None
    custom: bool
    cursor_field: str
    fields: tuple[Field, ...]
    schema_id: str = ""

    def field(self, name: str) -> Field | None:
        """Return the field of that API name, or None."""
        return next((f for f in self.fields if f.name == name), None)


def schema_from_describe(
    describe: Mapping[str, Any], *, only: Collection[str] = (), exclude: Collection[str] = ()
) -> ObjectSchema | None:
    """Reduce a describe answer to an ObjectSchema, or None if no cursor can be kept on the object.

    `only` (when given) and `exclude` are globs of field names. Id, IsDeleted, the cursor field and CreatedDate
    are always kept: reading depends on them.
    """
    shown = {str(f["name"]): f for f in describe.get("fields", ())}
    cursor = next((c for c in _CURSOR_FIELDS if c in shown and _usable_as_cursor(shown[c])), None)
    if cursor is None or "Id" not in shown:
        return None
    needed = {"Id", "IsDeleted", "CreatedDate", cursor}
    fields = tuple(
        _field(f) for name, f in shown.items() if name in needed or (_readable(f) and selected(name, only, exclude))
    )
    return with_id(
        ObjectSchema(
            object=str(describe["name"]),
            label=str(describe.get("label") or describe["name"]),
            key_prefix=describe.get("keyPrefix") or None,
            custom=bool(describe.get("custom")),
            cursor_field=cursor,
            fields=fields,
        )
    )


def selected(name: str, only: Collection[str], exclude: Collection[str]) -> bool:
    """Tell whether the settings want a field: named by `only` (when given), and not by `exclude`; both are globs."""
    if only and not any(fnmatchcase(name, glob) for glob in only):
        return False
    return not any(fnmatchcase(name, glob) for glob in exclude)


def with_id(schema: ObjectSchema) -> ObjectSchema:
    """Return the schema with its hash filled in."""
    digest = hashlib.blake2b(exactjson.dumps(replace(schema, schema_id="")), digest_size=8).hexdigest()
    return replace(schema, schema_id=digest)


def to_json(schema: ObjectSchema) -> bytes:
    """Return the schema as JSON, for the hash `headrace:schemas` and the table of the same name."""
    return exactjson.dumps(schema)  # dataclasses are objects to orjson, field by field


def from_json(text: bytes | str) -> ObjectSchema:
    """Read what `to_json` wrote, now or in an earlier version: what that did not know has its default.

    Raises ValueError, KeyError or TypeError for anything else.
    """
    raw = exactjson.loads(text)
    fields = tuple(_stored_field(f) for f in raw.pop("fields"))
    return ObjectSchema(fields=fields, **raw)


def _stored_field(f: Mapping[str, Any]) -> Field:
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in f.items()}
    return Field(**known)


def _field(f: Mapping[str, Any]) -> Field:
    return Field(
        name=str(f["name"]),
        type=str(f.get("type") or "string").lower(),
        label=str(f.get("label") or f["name"]),
        precision=int(f.get("precision") or 0),
        scale=int(f.get("scale") or 0),
        length=int(f.get("length") or 0),
        reference_to=tuple(f.get("referenceTo") or ()),
        relationship=f.get("relationshipName") or None,
        calculated=bool(f.get("calculated")),
        custom=bool(f.get("custom")),
        picklist=_active_values(f),
        filterable=bool(f.get("filterable", True)),
    )


def _active_values(f: Mapping[str, Any]) -> tuple[str, ...]:
    if str(f.get("type")).lower() not in PICKLIST_TYPES:
        return ()
    return tuple(str(v["value"]) for v in f.get("picklistValues") or () if v.get("active", True))


def _readable(f: Mapping[str, Any]) -> bool:
    return str(f.get("type") or "string").lower() not in UNREADABLE_TYPES and not f.get("deprecatedAndHidden")


def _usable_as_cursor(f: Mapping[str, Any]) -> bool:
    # Some objects show SystemModstamp but can't filter by it (ActivityFieldHistory).
    return bool(f.get("filterable", True)) and bool(f.get("sortable", True))
