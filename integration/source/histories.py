"""History objects: which of their rows and columns may be read.

A history row carries the old and new value of one field. What the settings keep out of a record must not come in by
its history, so only the history of selected fields is taken. Pure.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from integration.core.catalog import BOOKKEEPING, ObjectSchema, with_id
from integration.core.history import parent_key

# Columns that say which row it is, of what, when and by whom.
_FRAME = BOOKKEEPING | {"Id", "IsDeleted", "CreatedDate", "CreatedById", "ValidThroughDate"}
_BEFORE = ("Prev", "From")
_FIELD = "Field"


def tells_fields(schema: ObjectSchema) -> bool:
    """Tell whether each row is about one field, named in its column `Field`; else the columns are fields."""
    return schema.field(_FIELD) is not None


def fields_told(parent: ObjectSchema) -> frozenset[str]:
    """Return the words (in lower case) by which history rows name the selected fields of their parent.

    A lookup goes by its own name or by that of its relationship: `OwnerId` is told as `Owner`.
    """
    names = [name for field in parent.fields for name in (field.name, field.relationship) if name]
    return frozenset(name.lower() for name in names)


def is_of_selected(row: Mapping[str, Any], told: frozenset[str]) -> bool:
    """Tell whether a history row is about a selected field; `created`, `locked` and the like are about none."""
    return str(row.get(_FIELD)).lower() in told


def narrowed(schema: ObjectSchema, parent: ObjectSchema) -> ObjectSchema:
    """Leave out of a history object's columns those that would show a field of the parent that is not selected.

    `PrevAmount` and `FromStageName` show what `Amount` and `StageName` were.
    """
    if tells_fields(schema):
        return schema
    told = fields_told(parent)
    kept = _FRAME | {parent_key(schema.object)}
    fields = tuple(f for f in schema.fields if f.name in kept or _shown(f.name).lower() in told)
    return schema if fields == schema.fields else with_id(replace(schema, fields=fields))


def _shown(column: str) -> str:
    return next((column.removeprefix(word) for word in _BEFORE if column.startswith(word)), column)
