"""Which rows a query has to look at: the reading order that spares it a full scan."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from integration.sandbox.evaluate import Column, Resolve, literal
from integration.sandbox.soql import Among, And, Compare, Condition, Or, Query
from integration.sandbox.table import Row, Table

_TOP = "~"  # after every character of a stamp or an Id


@dataclass(frozen=True, slots=True)
class Range:
    """Keys of an index between `low` and `high`, both included."""

    low: str = ""
    high: str = _TOP

    @property
    def full(self) -> bool:
        """True if it leaves nothing out."""
        return self.low == "" and self.high == _TOP


def candidates(table: Table, query: Query, resolve: Resolve) -> tuple[Iterable[Row], bool]:
    """Return rows among which all answers are, and whether they come in the order the query asks for."""
    rows = table.rows
    ids = _named_ids(query.where, resolve)
    if ids is not None:
        return (rows[key] for key in sorted(ids) if key in rows), not query.order
    path = tuple((resolve(key.field).path, key.descending) for key in query.order)
    stamp, own = (table.stamp_field,), ("Id",)
    by_stamp = _range(query.where, resolve, stamp)
    ordered = path in (((stamp, False),), ((stamp, False), (own, False)))
    if ordered or not by_stamp.full:
        keys = table.by_stamp.between(by_stamp.low, by_stamp.high)
        return (rows[key[28:]] for key in keys), ordered or not path
    if path in (((stamp, True),), ((stamp, True), (own, True))):
        keys = table.by_stamp.between_backwards(by_stamp.low, by_stamp.high)
        return (rows[key[28:]] for key in keys), True
    by_id = _range(query.where, resolve, own)
    if path == ((own, False),) or not by_id.full:
        keys = table.by_id.between(by_id.low, by_id.high)
        return (rows[key] for key in keys), path == ((own, False),) or not path
    return rows.values(), not path


def _named_ids(where: Condition | None, resolve: Resolve) -> set[str] | None:
    """The Ids a condition restricts the answer to, or None if it names none."""
    if isinstance(where, And):
        found = [ids for part in where.parts if (ids := _named_ids(part, resolve)) is not None]
        return set.intersection(*found) if found else None
    if isinstance(where, Compare) and where.op == "=":
        values: tuple[object, ...] = (where.value,)
    elif isinstance(where, Among) and where.op == "IN":
        values = where.values
    else:
        return None
    column = resolve(where.field)
    if column.path != ("Id",):
        return None
    return {literal(column, value) for value in values} - {None, ""}  # type: ignore[arg-type]


def _range(where: Condition | None, resolve: Resolve, path: tuple[str, ...]) -> Range:
    if isinstance(where, Compare):
        column = resolve(where.field)
        return _of_comparison(where, column) if column.path == path else Range()
    if isinstance(where, Or):
        ranges = [_range(part, resolve, path) for part in where.parts]
        return Range(min(r.low for r in ranges), max(r.high for r in ranges))
    if isinstance(where, And):
        ranges = [_range(part, resolve, path) for part in where.parts]
        both = Range(max(r.low for r in ranges), min(r.high for r in ranges))
        if path != ("Id",) and both.low and both.high == both.low + _TOP:  # one stamp: start at the Id, if there is one
            return Range(both.low + _range(where, resolve, ("Id",)).low, both.high)
        return both
    return Range()


def _of_comparison(where: Compare, column: Column) -> Range:
    value = literal(column, where.value)
    if not value or where.op not in _RANGES:
        return Range()
    return _RANGES[where.op](value)


# A key is the value itself or begins with it, hence the top character behind it. Bounds may be generous:
# the condition itself is asked of every row.
_RANGES: dict[str, Callable[[str], Range]] = {
    "=": lambda v: Range(v, v + _TOP),
    ">": lambda v: Range(v + _TOP) if len(v) == 28 else Range(v),
    ">=": Range,
    "<": lambda v: Range("", v),
    "<=": lambda v: Range("", v + _TOP),
}
