"""What changed in the description of an object: fields that came and went, got another type, name or choices. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from integration.core import values
from integration.core.catalog import Field, ObjectSchema

GONE = "removed from the org, or hidden from this login: describe does not tell which"
EXCLUDED = "left out by the settings"

_MOST_VALUES = 20


class Kind(StrEnum):
    """What happened to a field (or, with `label`, to the object itself)."""

    ADDED = "added"
    REMOVED = "removed"
    SHOWN = "shown"
    """It came back after having been removed."""
    RETYPED = "retyped"
    LABEL = "label"
    PICKLIST = "picklist"
    RENAMED = "renamed"
    """Its property got another name: the settings wanted it, and a replay gave it."""


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One thing that changed. `field` is None where it is the object's own label."""

    object: str
    field: str | None
    kind: Kind
    note: str | None = None


def schema_changes(
    old: ObjectSchema | None,
    new: ObjectSchema,
    *,
    known: Mapping[str, Field] | None = None,
    excluded: Callable[[str, str], bool] = lambda _object, _field: False,
) -> list[SchemaChange]:
    """Compare two descriptions of an object, in the order of the newer one's fields; those that went come last.

    `old` is the one the object had last; None (it was never described) gives nothing. `known` are fields of earlier
    descriptions as they were last described: one that comes back is told from one that is new. `excluded` says which
    (object, field) the settings leave out.
    """
    if old is None:
        return []
    return list(_changes(old, new, known or {}, excluded))


def last_described(schemas: Iterable[ObjectSchema]) -> dict[str, Field]:
    """Return every field of these descriptions of one object (oldest first) as it was last described."""
    return {field.name: field for schema in schemas for field in schema.fields}


def _changes(
    old: ObjectSchema, new: ObjectSchema, known: Mapping[str, Field], excluded: Callable[[str, str], bool]
) -> Iterator[SchemaChange]:
    if old.label != new.label:
        yield SchemaChange(new.object, None, Kind.LABEL, f"was {old.label}, is {new.label}")
    before = {field.name: field for field in old.fields}
    for field in new.fields:
        was = before.pop(field.name, None)
        if was is None:
            was = known.get(field.name)
            yield SchemaChange(new.object, field.name, Kind.ADDED if was is None else Kind.SHOWN)
        if was is not None:
            yield from _field_changes(new.object, was, field)
    for name in before:
        yield SchemaChange(new.object, name, Kind.REMOVED, EXCLUDED if excluded(new.object, name) else GONE)


def _field_changes(object_name: str, was: Field, field: Field) -> Iterator[SchemaChange]:
    if was.type != field.type:
        column = "a new column" if values.column_type(was) is not values.column_type(field) else "the same column"
        yield SchemaChange(object_name, field.name, Kind.RETYPED, f"was {was.type}, is {field.type}: {column}")
    if was.label != field.label:
        yield SchemaChange(object_name, field.name, Kind.LABEL, f"was {was.label}, is {field.label}")
    # No values at all: not asked for (an older headrace wrote that description), or not a picklist then or now.
    if was.picklist and field.picklist and set(was.picklist) != set(field.picklist):
        yield SchemaChange(object_name, field.name, Kind.PICKLIST, _came_and_went(was.picklist, field.picklist))


def _came_and_went(was: Collection[str], now: Collection[str]) -> str:
    came = [value for value in now if value not in was]
    went = [value for value in was if value not in now]
    parts = (("new", came), ("gone", went))
    return "; ".join(f"{word}: {_some(found)}" for word, found in parts if found)


def _some(found: list[str]) -> str:
    more = len(found) - _MOST_VALUES
    return ", ".join(found[:_MOST_VALUES]) + (f" and {more} more" if more > 0 else "")
