"""Reading an object from end to end by ranges of its ids, and records by name: what the sweep asks Salesforce.

Deleted records are shown too (queryAll). A range goes on behind the last id the server returned, never behind one of
our own sorting. Up to five ranges, of one object or several, travel in one call.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from integration.core.catalog import BOOKKEEPING, ObjectSchema
from integration.core.reconcile import Shown, Span
from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.source.client import QUERIES_PER_CALL, SalesforceClient
from integration.source.faults import InvalidFieldError, QueryTimeoutError, UnknownObjectError
from integration.source.histories import is_of_selected
from integration.source.soql import LONGEST_QUERY, Soql, parse_stamp, smaller_parts, text_literal

IDS_PER_RANGE = 1_800
"""How many ids of the store make a range: new ones in between still fit into one answer."""
ROWS_PER_ANSWER = 2_000
IDS_PER_QUERY = 200
"""The smallest page Salesforce ever cuts an answer to: so many records come back whole."""
RECORDS_PER_CALL = IDS_PER_QUERY * QUERIES_PER_CALL

_SMALLEST_ANSWER = 200
_MOVING = frozenset({"LastActivityDate"})


@dataclass(slots=True)
class RangePage:
    """Rows of a range, in the order of the server. `problem` stands in place of rows that did not come.

    `calls` is 1 for the page that begins a new call, else 0. `unreadable` counts rows without a usable id or stamp.
    """

    schema: ObjectSchema
    span: Span
    rows: list[Shown] = field(default_factory=list)
    is_last: bool = False
    unreadable: int = 0
    calls: int = 0
    problem: HeadraceError | None = None


@dataclass(slots=True)
class _Work:
    schema: ObjectSchema
    span: Span
    after: str | None


class RangeReader:
    """Reads ranges. `names` says which fields of an object to read (all of its schema, unless given);
    `refresh` describes an object again when a field of it has gone, and returns None if that is no help; `limit` is
    how many rows to ask for at once; `told` says for history objects of which fields rows are wanted (see
    `histories.fields_told`): others are passed over.
    """

    def __init__(
        self,
        client: SalesforceClient,
        *,
        names: Callable[[ObjectSchema], Sequence[str]] | None = None,
        refresh: Callable[[str], ObjectSchema | None] = lambda _name: None,
        limit: int = ROWS_PER_ANSWER,
        told: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        self._client = client
        self._told = told
        self._most = limit
        self._names = names or all_fields
        self._refresh = refresh
        self._limits: dict[str, int] = {}
        self._refreshed: dict[str, ObjectSchema] = {}
        self._given_up: set[str] = set()

    def read(self, ranges: Iterable[tuple[ObjectSchema, Span]]) -> Iterator[RangePage]:
        """Give the pages of the ranges, in about the order given.

        An object that can't be read has one page with its problem; its other ranges are left out. Raises what
        concerns all objects: ConfigError, UnreachableError.
        """
        waiting = iter(ranges)
        todo: deque[_Work] = deque()
        while True:
            while len(todo) < QUERIES_PER_CALL and (following := next(waiting, None)) is not None:
                schema, span = following
                if span.object not in self._given_up:
                    todo.append(_Work(self._refreshed.get(span.object, schema), span, span.low))
            if not todo:
                return
            packet = [todo.popleft() for _ in range(min(QUERIES_PER_CALL, len(todo)))]
            again: list[_Work] = []
            yield from self._packet(packet, again)
            todo.extendleft(reversed([w for w in again if w.span.object not in self._given_up]))

    def _packet(self, packet: Sequence[_Work], again: list[_Work]) -> Iterator[RangePage]:
        calls = self._client.calls
        answers = self._client.query_pages([self._query(work) for work in packet])
        calls = self._client.calls - calls
        answers.reverse()
        for work in packet:
            answer = answers.pop()  # gone from the list, so that its rows are freed before the next are read
            name = work.span.object
            page = RangePage(work.schema, work.span, calls=calls)
            calls = 0
            if answer.problem is not None:
                if name in self._given_up:
                    continue
                if self._recovered(work, answer.problem):
                    again.append(work)
                else:
                    self._given_up.add(name)
                    page.problem = answer.problem
            else:
                is_whole = answer.done and len(answer.records) < self._limit(name)
                last = answer.records[-1].get("Id") if answer.records else None
                page.rows, page.unreadable = shown_rows(work.schema, answer.records, self._told.get(name))
                page.is_last = is_whole
                if not is_whole:
                    if not isinstance(last, str) or last == work.after:
                        raise UnreachableError(f"Salesforce's answer for {name} ends before its first row: try again.")
                    again.append(_Work(work.schema, work.span, last))
            yield page

    def _query(self, work: _Work) -> Soql:
        bounds = [f"Id > {text_literal(work.after)}"] if work.after is not None else []
        bounds += [f"Id <= {text_literal(work.span.high)}"] if work.span.high is not None else []
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        end = f"{where} ORDER BY Id LIMIT {self._limit(work.span.object):d}"
        return _select(work.schema, self._names(work.schema), end)

    def _limit(self, name: str) -> int:
        return self._limits.get(name, self._most)

    def _recovered(self, work: _Work, problem: HeadraceError) -> bool:
        """Say whether to ask again: for less at once, or for the fields still there. Raises what concerns all."""
        name = work.span.object
        if isinstance(problem, QueryTimeoutError) and self._limit(name) > _SMALLEST_ANSWER:
            self._limits[name] = max(_SMALLEST_ANSWER, self._limit(name) // 2)
            return True
        if isinstance(problem, InvalidFieldError):
            if name not in self._refreshed:
                schema = self._refresh(name)
                if schema is None:
                    return False
                self._refreshed[name] = schema
            elif self._refreshed[name] is work.schema:
                return False
            work.schema = self._refreshed[name]
            return True
        if not isinstance(problem, (UnknownObjectError, RunError)):
            raise problem
        return False


def fetch(
    client: SalesforceClient, wanted: Sequence[tuple[ObjectSchema, Sequence[str]]]
) -> Iterator[tuple[ObjectSchema, list[str], dict[str, Shown] | HeadraceError]]:
    """Read records by id with all their fields: at most five lists of `IDS_PER_QUERY` ids, in one call as a rule.

    Gives each list with what is shown of it; what is not in the answer can't be seen, or the object has a problem.
    """
    found: list[dict[str, Shown] | HeadraceError] = [{} for _ in wanted]
    todo = [(n, schema, list(ids), 0) for n, (schema, ids) in enumerate(wanted)]
    while todo:
        packet, todo = todo[:QUERIES_PER_CALL], todo[QUERIES_PER_CALL:]
        answers = client.query_pages([records_query(schema, ids) for _, schema, ids, _ in packet])
        for (place, schema, ids, tries), answer in zip(packet, answers, strict=True):
            less = smaller_parts(ids, tries + 1) if isinstance(answer.problem, QueryTimeoutError) else []
            todo += [(place, schema, part, asked) for part, asked in less]
            if less:
                continue
            if answer.problem is not None:
                if not isinstance(answer.problem, (UnknownObjectError, RunError)):
                    raise answer.problem
                found[place] = answer.problem
                continue
            rows, _ = shown_rows(schema, answer.records)
            so_far = found[place]
            if isinstance(so_far, dict):
                so_far.update({row.record_id: row for row in rows})
            if not answer.done:
                if not rows:
                    raise UnreachableError(
                        f"Salesforce's answer for {schema.object} ends before its first row: try again."
                    )
                seen = {row.record_id for row in rows}
                todo.append((place, schema, [i for i in ids if i not in seen], 0))
    for (schema, asked), told in zip(wanted, found, strict=True):
        yield schema, list(asked), told


def records_query(schema: ObjectSchema, record_ids: Iterable[str]) -> Soql:
    """Ask for these records with all their fields."""
    ids = ", ".join(text_literal(record_id) for record_id in record_ids)
    return _select(schema, all_fields(schema), f" WHERE Id IN ({ids})")


def shown_rows(
    schema: ObjectSchema, records: Iterable[dict[str, Any]], told: frozenset[str] | None = None
) -> tuple[list[Shown], int]:
    """Return rows of an answer as records, and how many had no usable id or stamp. The rows are taken over.

    With `told`, rows of history about other fields are left out.
    """
    rows, unreadable, cursor = [], 0, schema.cursor_field
    for record in records:
        if told is not None and not is_of_selected(record, told):
            continue
        record.pop("attributes", None)
        record_id = record.get("Id")
        try:
            version = parse_stamp(record[cursor])
        except (KeyError, TypeError, ValueError):
            version = ""
        if not version or not isinstance(record_id, str) or len(record_id) != 18:
            unreadable += 1
            continue
        rows.append(Shown(record_id, version, record.get("IsDeleted") is True, record))
    return rows, unreadable


def all_fields(schema: ObjectSchema) -> list[str]:
    """Name every selected field."""
    return [f.name for f in schema.fields]


def moving_fields(schema: ObjectSchema, enriching: Collection[str] = ()) -> list[str]:
    """Name the fields that can move without the record's stamp.

    Those that Salesforce works out (formulas, roll-ups) and LastActivityDate; of the objects others are enriched from
    (`enriching`), all, since data services write into them behind the scenes.
    """
    if schema.object in enriching:
        return [f.name for f in schema.fields if f.name not in BOOKKEEPING]
    return [f.name for f in schema.fields if f.calculated or f.name in _MOVING]


def reread_fields(schema: ObjectSchema, enriching: Collection[str] = ()) -> list[str]:
    """Name what the rotating re-read asks for: the id, the stamp, whether it is deleted, and what can move."""
    head = ["Id", schema.cursor_field, *(["IsDeleted"] if schema.field("IsDeleted") else [])]
    return list(dict.fromkeys((*head, *moving_fields(schema, enriching))))


def _select(schema: ObjectSchema, names: Sequence[str], end: str) -> Soql:
    query = f"SELECT {', '.join(names)} FROM {schema.object}{end}"
    if len(query) > LONGEST_QUERY:
        raise ConfigError(
            f"{schema.object} has too many fields for one query ({len(query):,} characters of {LONGEST_QUERY:,}): "
            f"leave some out with objects.{schema.object}.exclude."
        )
    return query
