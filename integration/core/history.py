"""Field history: Salesforce's own diary of tracked fields, and how it completes what polling saw.

`AccountHistory`, `ContactHistory`, `LeadHistory`, `X__History` and `OpportunityFieldHistory` hold a row for each
tracked field that changed; `OpportunityHistory` holds a row for each stage, amount or close date an opportunity has
had. History objects have no SystemModstamp: CreatedDate and Id are their cursor.

Here rows become steps: a field that went from one value to another. What of them is news: integration.core.retelling.
"""

import string
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from integration.core import exactjson, values
from integration.core.catalog import BOOKKEEPING
from integration.core.columns import ColumnType
from integration.core.ids import long_id
from integration.core.image import Image
from integration.core.registry import Named

_SNAPSHOTS = "OpportunityHistory"
_SUFFIX = "History"
_CUSTOM = "__c"
_CUSTOM_HISTORY = "__History"

_SNAPSHOT_FIELDS = ("StageName", "Amount", "ExpectedRevenue", "CloseDate", "Probability", "ForecastCategory")
# What tells of a record's life or of its last save is no information of its own, here as in core.diff.
_NO_INFORMATION = BOOKKEEPING | {"Id", "IsDeleted", "MasterRecordId", "CreatedDate"}
_IDS = "EntityId"
_ALPHANUMERIC = frozenset(string.ascii_letters + string.digits)


def histories_of(object_name: str) -> tuple[str, ...]:
    """Name the objects that may hold the history of an object; an org shows them or not."""
    if object_name == "Opportunity":
        return ("OpportunityFieldHistory", _SNAPSHOTS)
    if object_name.endswith(_CUSTOM):
        return (object_name.removesuffix(_CUSTOM) + _CUSTOM_HISTORY,)
    return (object_name + _SUFFIX,)


def parent_of(object_name: str) -> str | None:
    """Return the object whose history this object holds, by its name; None for any other object."""
    if object_name == "OpportunityFieldHistory":
        return "Opportunity"
    if object_name.endswith(_CUSTOM_HISTORY):
        return object_name.removesuffix(_CUSTOM_HISTORY) + _CUSTOM
    if object_name.endswith(_SUFFIX) and len(object_name) > len(_SUFFIX) and "__" not in object_name:
        return object_name.removesuffix(_SUFFIX)
    return None


def parent_key(object_name: str) -> str:
    """Return the field by which a history object names the record it is about."""
    if object_name.endswith(_CUSTOM_HISTORY):
        return "ParentId"
    return f"{parent_of(object_name)}Id"


class Step(NamedTuple):
    """A field of a record went from one value to another: as a history row tells it, or as polling saw it.

    Values are text as in `changes`. `told_by` is the id of the row or event that tells it: the order of steps of
    which nothing better is known.
    """

    time: str
    field: str
    old: str | None
    new: str | None
    told_by: str
    actor_id: str | None = None
    seen_at: str = ""


def steps(rows: Iterable[Image], names: Mapping[str, Named], lookups: Collection[str]) -> list[Step]:
    """Read the history rows of one record, from all objects that hold its history.

    `names` are the fields of the record's object, `lookups` those of them that hold ids. Rows that tell of no known
    field, or of a change without its values, give nothing. Deleted rows count: what was told stays told.
    """
    diary, snapshots = [], []
    for row in rows:
        if row.object == _SNAPSHOTS:
            snapshots.append(row)
        elif step := _diary_step(row, names, lookups):
            diary.append(step)
    # Both tell of an opportunity's stage: what one second brings a field to, and how often, counts once.
    told = Counter((step.time, step.field, step.new) for step in diary)
    for step in _snapshot_steps(snapshots, names):
        key = (step.time, step.field, step.new)
        if told[key]:
            told[key] -= 1
        else:
            diary.append(step)
    return diary


def _diary_step(row: Image, names: Mapping[str, Named], lookups: Collection[str]) -> Step | None:
    fields = row.fields
    field = _field(fields.get("Field"), names)
    if field is None:
        return None
    old, new = fields.get("OldValue"), fields.get("NewValue")
    if field in lookups:
        # A lookup that changed has two rows, one with ids and one with names: the names are somebody else's fields.
        if not (_are_ids(old, new) if fields.get("DataType") is None else fields["DataType"] == _IDS):
            return None
        old, new = (long_id(v) if isinstance(v, str) else v for v in (old, new))
    return _step(row, field, _text(names[field], old), _text(names[field], new))


def _snapshot_steps(rows: Iterable[Image], names: Mapping[str, Named]) -> Iterator[Step]:
    """Give the differences between each snapshot and the one before; the first is the record's creation."""
    last: dict[str, str | None] = {}
    shown = [field for field in _SNAPSHOT_FIELDS if field in names]
    for row in sorted(rows, key=lambda r: (r.created, r.record_id)):
        for field in shown:
            if field not in row.fields:
                continue
            new = _text(names[field], row.fields[field])
            if field in last and (step := _step(row, field, last[field], new)):
                yield step
            last[field] = new


def _step(row: Image, field: str, old: str | None, new: str | None) -> Step | None:
    if old == new:
        # Nothing on both sides: the value was too long to be kept, only the fact is told.
        return None
    return Step(row.created, field, old, new, row.record_id, row.fields.get("CreatedById"), row.seen_at)


def _field(told: Any, names: Mapping[str, Named]) -> str | None:
    """Return the field that a row's `Field` means: an API name, or the relationship's for a standard lookup.

    It may be a word of its own, too (`created`, `leadConverted`, `locked`), or a field that this login can't see.
    """
    if not isinstance(told, str):
        return None
    name = told if told in names else f"{told}Id"
    return name if name in names and name not in _NO_INFORMATION else None


def _are_ids(*found: Any) -> bool:
    return all(value is None or (isinstance(value, str) and _is_id(value)) for value in found)


def _is_id(value: str) -> bool:
    # Names of 15 letters are no ids: those have digits.
    if len(value) not in (15, 18) or not _ALPHANUMERIC.issuperset(value) or value.isalpha():
        return False
    return len(value) == 15 or value == long_id(value[:15])


def _text(named: Named, value: Any) -> str | None:
    """Return an `anyType` value as `changes` shows the values of this field, so that the two can be compared."""
    kind = named.key.type
    if value == "":
        return None
    if isinstance(value, str):
        if kind in (ColumnType.DECIMAL, ColumnType.INTEGER):
            return _number_text(value)
        if kind is ColumnType.BOOLEAN:
            return value.lower() if value.lower() in ("true", "false") else value
        if kind is ColumnType.DATE:
            return value[:10] if value[10:11] == "T" else value
    return values.text(kind, value)


def _number_text(value: str) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return exactjson.plain(number) if number.is_finite() else value
