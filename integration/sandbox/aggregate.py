"""COUNT, MIN, MAX, SUM, AVG and GROUP BY."""

from collections.abc import Callable
from typing import Any

from integration.sandbox.errors import OrgError
from integration.sandbox.evaluate import Column
from integration.sandbox.project import Resolver, Result
from integration.sandbox.soql import Aggregate, Name, Query, located
from integration.sandbox.table import Row

_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "COUNT": len,
    "COUNT_DISTINCT": lambda values: len(set(values)),
    "MIN": lambda values: min(values, default=None),
    "MAX": lambda values: max(values, default=None),
    "SUM": lambda values: sum(values) if values else None,
    "AVG": lambda values: sum(values) / len(values) if values else None,
}


def aggregated(query: Query, rows: list[Row], resolver: Resolver) -> Result:
    """Answer a query with aggregates over the rows that match it. Raises OrgError."""
    if len(query.select) == 1 and isinstance(query.select[0], Aggregate) and query.select[0].field is None:
        return Result([], None, len(rows))
    keys = [resolver(name) for name in query.group_by]
    plan = [_output(query, item, keys, number, resolver) for number, item in enumerate(query.select)]
    groups: dict[tuple[Any, ...], list[Row]] = {} if keys else {(): rows}
    for row in rows if keys else ():
        groups.setdefault(tuple(column.get(row) for column in keys), []).append(row)
    link = {"attributes": {"type": "AggregateResult"}}
    records: list[Any] = [link | {name: read(group) for name, read in plan} for group in groups.values()]
    stop = None if query.limit is None else query.offset + query.limit
    records = records[query.offset : stop]
    return Result(records, None, len(records))


def _output(
    query: Query, item: object, keys: list[Column], number: int, resolver: Resolver
) -> tuple[str, Callable[[list[Row]], Any]]:
    """Return the name of an output and the function that computes it from a group."""
    if isinstance(item, Aggregate) and item.field is not None:
        get, compute = resolver(item.field).get, _FUNCTIONS[item.function]
        return item.alias or f"expr{number}", lambda group: compute(
            [value for row in group if (value := get(row)) is not None]
        )
    if isinstance(item, Name) and (column := resolver(item)) in keys:
        return column.path[-1], lambda group: column.get(group[0])
    start = item.start if isinstance(item, Name) else 0
    message = "Field must be grouped or aggregated"
    raise OrgError("MALFORMED_QUERY", located(query.text, start, message))
