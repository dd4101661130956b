"""Field history: a row for each tracked field that changed, as Salesforce writes them."""

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


def _name_of(org: "Org", record_id: str | None) -> str | None:
    target = org.object_of(record_id) if record_id else None
    return org.value(target, str(record_id), "Name") if target else None


def _fact_only(field: FieldDef, old: Any, new: Any) -> bool:
    # Long values are not kept: the row only says that there was a change.
    if field.type == "multipicklist" or (field.type == "textarea" and field.length > _LONGEST):
        return True
    return any(isinstance(value, str) and len(value) > _LONGEST for value in (old, new))
