"""Answering a query: which rows, in which order, in pages."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from integration.sandbox.access import candidates
from integration.sandbox.aggregate import aggregated
from integration.sandbox.errors import OrgError, invalid_type
from integration.sandbox.evaluate import Column, condition, sort
from integration.sandbox.ids import record_id
from integration.sandbox.project import Resolver, Result, builder
from integration.sandbox.soql import Aggregate, AllFields, Name, Query, located, parse
from integration.sandbox.table import Row, Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org

_KEPT_FOR = timedelta(days=2)
_MOST_CURSORS = 1_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """A result that has further pages; good for two days and as long as the schema stays."""

    result: Result
    opened: datetime
    schema_version: int


class Cursors:
    """The open cursors of an org. A page can be asked for again as long as its cursor lives."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._open: OrderedDict[str, Cursor] = OrderedDict()
        self._count = 0

    def keep(self, result: Result) -> str:
        """Keep a result and return the 18 characters that name it."""
        self._count += 1
        name = record_id("0r8", self._count)
        self._open[name] = Cursor(result, self._org.clock.now(), self._org.schema_version)
        if len(self._open) > _MOST_CURSORS:
            self._open.popitem(last=False)
        return name

    def find(self, name: str) -> Result:
        """Return the result. Raises OrgError INVALID_QUERY_LOCATOR."""
        cursor = self._open.get(name)
        org = self._org
        if cursor is None or cursor.schema_version != org.schema_version or org.clock.now() - cursor.opened > _KEPT_FOR:
            raise OrgError("INVALID_QUERY_LOCATOR", "invalid query locator")
        return cursor.result

    def clear(self) -> None:
        """Forget every cursor, as when they expire."""
        self._open.clear()


def run(org: "Org", text: str, *, include_deleted: bool = False, version: str = "v66.0") -> Result:
    """Answer a query. The caller holds the org's lock. Raises OrgError."""
    org.run_out_of_time()
    query = parse(text)
    table = _table(org, query)
    resolver = Resolver(org, table.definition.name, query.text)
    if any(isinstance(item, Aggregate) for item in query.select) or query.group_by:
        matching, _ = _matching(table, query, resolver, include_deleted or query.all_rows)
        return aggregated(query, list(matching), resolver)
    columns = _columns(org, query, resolver)
    build = builder(org, resolver, columns, version)
    rows = _selected(table, query, resolver, include_deleted or query.all_rows)
    return Result(rows, build, len(rows))


def _table(org: "Org", query: Query) -> Table:
    name = next((name for name in org.objects if name.lower() == query.entity.lower()), None)
    if name is None:
        error = invalid_type(query.entity)
        at = query.text.lower().find(query.entity.lower(), query.text.lower().find("from"))
        hint = " If you are attempting to use a custom object, be sure to append the '__c' after the entity name."
        hint += " Please reference your WSDL or the describe call for the appropriate names."
        raise OrgError(error.code, located(query.text, at, error.message + hint))
    return org.tables[name]


def _selected(table: Table, query: Query, resolver: Resolver, include_deleted: bool) -> list[Row]:
    rows, ordered = _matching(table, query, resolver, include_deleted)
    stop = None if query.limit is None else query.offset + query.limit
    if ordered:
        return list(islice(rows, query.offset, stop))
    complete = list(rows)
    sort(complete, query.order, resolver, query.text)
    return complete[query.offset : stop]


def _matching(table: Table, query: Query, resolver: Resolver, include_deleted: bool) -> tuple[Iterator[Row], bool]:
    """The rows that satisfy the query, and whether they come in the order it asks for."""
    test = None if query.where is None else condition(query.where, resolver, query.text)
    found, ordered = candidates(table, query, resolver)
    if not include_deleted:
        found = _plainly_visible(table, found)
    return iter(found) if test is None else filter(test, found), ordered


def _plainly_visible(table: Table, rows: Iterable[Row]) -> Iterable[Row]:
    """The rows that `query` shows: `queryAll` adds the recycle bin and the archive."""
    for place in (table.deleted_at, table.archived_at):
        if place is not None:
            rows = filter(partial(_is_off, place), rows)
    return rows


def _is_off(place: int, row: Row) -> bool:
    return not row[place]


def _columns(org: "Org", query: Query, resolver: Resolver) -> list[Column]:
    names: list[Name] = []
    for item in query.select:
        if isinstance(item, AllFields):
            names += _all_fields(org, query, item, resolver.entity)
        elif isinstance(item, Name):
            names.append(item)
    columns = [resolver(name) for name in names]
    seen: set[tuple[str, ...]] = set()
    for column in columns:
        if column.path in seen:
            raise OrgError("MALFORMED_QUERY", f"duplicate field selected: {'.'.join(column.path)}")
        seen.add(column.path)
    return columns


def _all_fields(org: "Org", query: Query, item: AllFields, entity: str) -> list[Name]:
    if item.which != "STANDARD" and (query.limit is None or query.limit > 200):
        raise OrgError(
            "MALFORMED_QUERY",
            "The SOQL FIELDS function must have a LIMIT of at most 200 with FIELDS(ALL) and FIELDS(CUSTOM)",
        )
    fields = org.visible_fields(entity)
    return [Name((f.name,)) for f in fields if item.which == "ALL" or f.custom == (item.which == "CUSTOM")]
