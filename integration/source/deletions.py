"""The delete log (`/deleted/`): records that vanish from every query, and transactions that have been open for long."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from integration.core.catalog import ObjectSchema
from integration.core.page import Page
from integration.errors import HeadraceError, UnreachableError
from integration.source.answers import DeletedWindow
from integration.source.captures import deletions
from integration.source.client import QUERIES_PER_CALL, SalesforceClient
from integration.source.faults import QueryTimeoutError, ReplicationWindowError
from integration.source.passes import DELETED, told
from integration.source.report import CycleReport
from integration.source.soql import (
    earliest,
    ids_query,
    latest,
    moment_of,
    parse_stamp,
    shift,
    smaller_parts,
    sort_key,
    stamp_of,
)
from schemas import Cursor

_MINUTE = 60
_DAY = 86_400
# The log reaches back 15 days; two minutes less, because the window is cut at whole minutes.
_REACH = 15 * _DAY - 2 * _MINUTE
# When the log has grown too long, Salesforce purges every two hours what is older than two hours.
_PURGED_BEFORE = 2 * 3600 - 2 * _MINUTE
# What the log covers ends now, or where the oldest open transaction began. A transaction younger than this is not worth
# a word: the overlap covers it.
_LONG_SECONDS = 90
# The smallest page Salesforce ever cuts an answer to: so many ids come back whole.
_IDS_PER_QUERY = 200
_CAPTURES_PER_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Logged:
    """An object whose deletions are logged. `cursor` is None if it was never polled: then nothing can be gone."""

    schema: ObjectSchema
    cursor: Cursor | None
    marks: Mapping[str, str]

    @property
    def name(self) -> str:
        """The object's name."""
        return self.schema.object


@dataclass(slots=True)
class _Ask:
    logged: Logged
    wanted: str
    starts: list[str]
    is_cut: bool = False
    """True when the log did not answer for the whole time."""
    is_known: bool = False
    """True when the log has said how far back it goes."""


@dataclass(slots=True)
class _Found:
    schema: ObjectSchema
    cursor: Cursor
    until: str
    entries: dict[str, str] = field(default_factory=dict)


class DeleteLog:
    """One reading of the delete logs of several objects: `read` them, then publish `pages`."""

    def __init__(self, client: SalesforceClient, report: CycleReport) -> None:
        self._client = client
        self._report = report
        self._found: list[_Found] = []
        self.still_open: dict[str, str | None] = {}
        """Of the objects whose log answered: the start of a long transaction that is open, or None."""

    @property
    def oldest_open(self) -> str | None:
        """Start of the oldest long transaction that is open anywhere in the org."""
        return earliest(*self.still_open.values())

    def read(self, objects: Sequence[Logged]) -> None:
        """Read what each log has gained since its cursor's `deleted_until`, less what is marked as deleted."""
        now = self._client.server_time
        asks = [self._ask(logged, now) for logged in objects]
        while asks:
            windows = self._client.deleted_windows([(a.logged.name, a.starts[0], shift(now, _MINUTE)) for a in asks])
            again = []
            for ask, window in zip(asks, windows, strict=True):
                if isinstance(window, ReplicationWindowError) and len(ask.starts) > 1:
                    again.append(replace(ask, starts=ask.starts[1:], is_cut=True))
                elif isinstance(window, DeletedWindow) and (back := _further_back(ask, window)) is not None:
                    # Refused for the whole time, the log answers for less, and says how far back it really goes.
                    again.append(replace(ask, starts=[back, *ask.starts], is_known=True))
                else:
                    self._answered(ask, window, now)
            asks = again

    def pages(self) -> Iterator[Page]:
        """Give what is really gone as pages; each object's last page moves its cursor."""
        visible = self._still_visible()
        for found in self._found:
            gone = [entry for entry in found.entries.items() if entry[0] not in visible]
            count = self._report.count(found.schema.object)
            count.published += len(gone)
            count.dropped_as_seen += len(found.entries) - len(gone)
            end = found.cursor.model_copy(update={"deleted_until": found.until})
            for start in range(0, max(len(gone), 1), _CAPTURES_PER_PAGE):
                captures, seen = deletions(
                    gone[start : start + _CAPTURES_PER_PAGE],
                    org=self._client.org_id,
                    schema=found.schema,
                    seen_at=self._client.server_time,
                )
                is_last = start + _CAPTURES_PER_PAGE >= len(gone)
                yield Page(cursor=end if is_last else found.cursor, captures=captures, seen=seen)

    def _ask(self, logged: Logged, now: str) -> _Ask:
        """Choose the window; where the log may not reach so far back, shorter ones to be tried after it."""
        # The window must be longer than a minute, and both ends are cut to the minute.
        shortest = shift(now, -_MINUTE)
        if logged.cursor is None:
            return _Ask(logged, shortest, [shortest])
        cursor = logged.cursor
        wanted = shift(cursor.deleted_until or shift(cursor.covered_until or now, -_DAY), -_MINUTE)
        floor = shift(now, -_REACH)
        if sort_key(wanted) < sort_key(floor) and cursor.deleted_until:
            self._tell_gap(logged.name, cursor.deleted_until, floor)
        starts = [latest(earliest(wanted, shortest), floor) or floor]
        starts += [s for s in (shift(now, -_PURGED_BEFORE), shift(now, -2 * _MINUTE)) if s > starts[0]]
        return _Ask(logged, wanted, starts)

    def _answered(self, ask: _Ask, window: DeletedWindow | HeadraceError, now: str) -> None:
        name, cursor = ask.logged.name, ask.logged.cursor
        if isinstance(window, ReplicationWindowError):
            window = DeletedWindow([], None, None)
            gap_until: str | None = now
        elif isinstance(window, HeadraceError):
            self._report.skipped[name] = str(window)
            return
        else:
            self.still_open[name] = _open_transaction(window, now)
            gap_until = self._gap(ask, window)
        if cursor is None:
            return
        if gap_until is not None:
            self._tell_gap(name, ask.wanted, gap_until)
        self._found.append(self._sort_out(ask.logged, cursor, window, now))

    @staticmethod
    def _gap(ask: _Ask, window: DeletedWindow) -> str | None:
        """Return until when the log does not tell what it was asked for; None if it tells everything."""
        start, cursor = ask.starts[0], ask.logged.cursor
        available = _known_stamp(window.earliest_available) or start
        known = cursor.deleted_until if cursor is not None else None
        if ask.is_cut or (known and sort_key(available) > sort_key(known)):
            return latest(start, available)
        return None

    def _sort_out(self, logged: Logged, cursor: Cursor, window: DeletedWindow, now: str) -> _Found:
        count = self._report.count(logged.name)
        count.pages += 1
        until = latest(earliest(now, _known_stamp(window.latest_covered)), cursor.deleted_until) or now
        if logged.name in self.still_open:
            cursor = told(cursor, self.still_open[logged.name])
        found = _Found(logged.schema, cursor, until)
        for record_id, raw in window.records:
            count.rows_read += 1
            stamp = _known_stamp(raw)
            if stamp is None or len(record_id) != 18:
                count.unreadable += 1
            elif _is_marked(logged.marks.get(record_id), stamp):
                count.dropped_as_seen += 1
            else:
                found.entries[record_id] = stamp
        return found

    def _tell_gap(self, name: str, since: str, until: str) -> None:
        self._report.notes.append(
            f"{name}: Salesforce no longer tells what was deleted for good between {since} and {until}; what was "
            f"stays in the store as live until `headrace sweep {name}` finds it."
        )

    def _still_visible(self) -> set[str]:
        """Return the listed ids that queries still show: in the bin (the poll sees those), or restored since."""
        visible: set[str] = set()
        todo = [(f.schema.object, batch, 0) for f in self._found for batch in _batches(list(f.entries))]
        while todo:
            packet, todo = todo[:QUERIES_PER_CALL], todo[QUERIES_PER_CALL:]
            answers = self._client.query_pages([ids_query(name, ids) for name, ids, _ in packet])
            for (name, ids, tries), answer in zip(packet, answers, strict=True):
                less = smaller_parts(ids, tries + 1) if isinstance(answer.problem, QueryTimeoutError) else []
                todo += [(name, part, asked) for part, asked in less]
                if less:
                    continue
                if answer.problem is not None:
                    raise answer.problem
                shown = {str(row["Id"]) for row in answer.records}
                visible |= shown
                if not answer.done:
                    if not shown:
                        raise UnreachableError(f"Salesforce's answer for {name} ends before its first row: try again.")
                    todo.append((name, [i for i in ids if i not in shown], 0))
        return visible


def _further_back(ask: _Ask, window: DeletedWindow) -> str | None:
    """Return the first whole minute that the log still covers, if that is before what was asked for at last."""
    available = _known_stamp(window.earliest_available)
    if available is None or not ask.is_cut or ask.is_known:
        return None
    minute = stamp_of(moment_of(shift(available, _MINUTE)).replace(second=0, microsecond=0))
    return minute if sort_key(minute) < sort_key(ask.starts[0]) else None


def _open_transaction(window: DeletedWindow, now: str) -> str | None:
    """Return the start of a transaction that has been open for long, as far as the answer shows one."""
    covered = _known_stamp(window.latest_covered)
    if covered is None or sort_key(covered) >= sort_key(shift(now, -_LONG_SECONDS)):
        return None
    return covered


def _batches(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _IDS_PER_QUERY] for start in range(0, len(ids), _IDS_PER_QUERY)]


def _is_marked(mark: str | None, stamp: str) -> bool:
    """Say whether the record was already seen as deleted, then or later."""
    return mark is not None and mark.endswith(DELETED) and mark >= sort_key(stamp)


def _known_stamp(raw: str | None) -> str | None:
    try:
        return parse_stamp(raw) if raw else None
    except ValueError:
        return None
