"""Field history: a row for each tracked field that changed, as Salesforce writes them; and snapshots of records."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from integration.sandbox.model import FieldDef
from integration.sandbox.table import Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org

Entry = tuple[str, str, Any, Any]
"""(Field, DataType, OldValue, NewValue)"""

_LONGEST = 255
_DATA_TYPES = {
    "boolean": "Boolean",
    "currency": "Currency",
    "date": "DateOnly",
    "datetime": "DateTime",
    "double": "Double",
    "email": "Email",
    "int": "Integer",
    "multipicklist": "MultiEnum",
    "percent": "Percent",
    "phone": "PhoneNumber",
    "picklist": "DynamicEnum",
    "textarea": "TextArea",
    "url": "Url",
}

_OWN = frozenset({"Id", "IsDeleted", "CreatedById", "CreatedDate", "SystemModstamp"})

CREATED: Entry = ("created", "Text", None, None)


def entries(org: "Org", table: Table, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Entry]:
    """Yield the entries for the tracked fields whose values differ."""
    for name in table.definition.tracked:
        field, old, new = table.fields[name], before[name], after[name]
        if old == new:
            continue
        if field.type == "reference":
            shown = name if field.custom else field.relationship or name
            yield shown, "Text", _name_of(org, old), _name_of(org, new)
            yield shown, "EntityId", old, new
        elif _fact_only(field, old, new):
            yield name, _DATA_TYPES.get(field.type, "Text"), None, None
        else:
            yield name, _DATA_TYPES.get(field.type, "Text"), old, new


def snapshot(
    org: "Org", table: Table, log: Table, before: dict[str, Any] | None, after: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what a record now shows of the fields that the log keeps; None if nothing of it has changed."""
    shown = [f for f in table.definition.fields if f.name in log.at and f.name not in _OWN]
    now, then = _values(org, shown, after), None if before is None else _values(org, shown, before)
    return None if now == then else now


def _values(org: "Org", fields: list[FieldDef], record: dict[str, Any]) -> dict[str, Any]:
    return {f.name: f.formula(record, org) if f.formula is not None else record[f.name] for f in fields}


def _name_of(org: "Org", record_id: str | None) -> str | None:
    target = org.object_of(record_id) if record_id else None
    return org.value(target, str(record_id), "Name") if target else None


def _fact_only(field: FieldDef, old: Any, new: Any) -> bool:
    # Long values are not kept: the row only says that there was a change.
    if field.type == "multipicklist" or (field.type == "textarea" and field.length > _LONGEST):
        return True
    return any(isinstance(value, str) and len(value) > _LONGEST for value in (old, new))
