"""Hard deletes: records that vanish from every query and leave a trace only in the delete log (`/deleted/`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from integration.core.catalog import ObjectSchema
from integration.core.page import Page
from integration.errors import RunError, UnreachableError
from integration.source.captures import deletions
from integration.source.client import QUERIES_PER_CALL, DeletedWindow, SalesforceClient
from integration.source.faults import ReplicationWindowError, UnknownObjectError
from integration.source.passes import DELETED
from integration.source.report import CycleReport
from integration.source.soql import earliest, ids_query, latest, parse_stamp, shift, sort_key
from schemas import Cursor

_MINUTE = 60
_DAY = 86_400
# The log reaches back 15 days; two minutes less, because the window is cut at whole minutes.
_REACH = 15 * _DAY - 2 * _MINUTE
# When the log has grown too long, Salesforce purges every two hours what is older than two hours.
_PURGED_BEFORE = 2 * 3600 - 2 * _MINUTE
# The smallest page Salesforce ever cuts an answer to: so many ids come back whole.
_IDS_PER_QUERY = 200
_CAPTURES_PER_PAGE = 2000


@dataclass(slots=True)
class _Found:
    schema: ObjectSchema
    cursor: Cursor
    until: str
    entries: dict[str, str] = field(default_factory=dict)


class DeleteLog:
    """One reading of the delete logs of several objects: `read` each, then publish `pages`."""

    def __init__(self, client: SalesforceClient, report: CycleReport) -> None:
        self._client = client
        self._report = report
        self._found: list[_Found] = []

    def read(self, schema: ObjectSchema, cursor: Cursor, marks: Mapping[str, str]) -> None:
        """Read what the log has gained since the cursor's `deleted_until`, less what is marked as deleted."""
        now = self._client.server_time
        try:
            window = self._window(schema.object, cursor, now)
        except (UnknownObjectError, RunError) as error:
            self._report.skipped[schema.object] = str(error)
            return
        count = self._report.count(schema.object)
        count.pages += 1
        covered = _known_stamp(window.latest_covered) if window else None
        until = latest(earliest(now, covered), cursor.deleted_until) or now
        found = _Found(schema, cursor, until)
        for record_id, raw in window.records if window else ():
            count.rows_read += 1
            stamp = _known_stamp(raw)
            if stamp is None or len(record_id) != 18:
                count.unreadable += 1
            elif _is_marked(marks.get(record_id), stamp):
                count.dropped_as_seen += 1
            else:
                found.entries[record_id] = stamp
        self._found.append(found)

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

    def _window(self, name: str, cursor: Cursor, now: str) -> DeletedWindow | None:
        """Ask for the window; where the log does not reach so far back, for as much as it holds."""
        wanted = shift(cursor.deleted_until or shift(cursor.covered_until or now, -_DAY), -_MINUTE)
        floor = shift(now, -_REACH)
        if sort_key(wanted) < sort_key(floor) and cursor.deleted_until:
            self._tell_gap(name, cursor.deleted_until, floor)
        starts = [latest(earliest(wanted, shift(now, -_MINUTE)), floor) or floor]
        starts += [s for s in (shift(now, -_PURGED_BEFORE), shift(now, -2 * _MINUTE)) if s > starts[0]]
        for start in starts:
            try:
                # The window must be longer than a minute, and both ends are cut to the minute.
                window = self._client.deleted(name, start, shift(now, _MINUTE))
            except ReplicationWindowError:
                continue
            available = _known_stamp(window.earliest_available) or start
            if start != starts[0] or (cursor.deleted_until and sort_key(available) > sort_key(cursor.deleted_until)):
                self._tell_gap(name, wanted, latest(start, available) or start)
            return window
        self._tell_gap(name, wanted, now)
        return None

    def _tell_gap(self, name: str, since: str, until: str) -> None:
        self._report.notes.append(
            f"{name}: Salesforce no longer tells what was deleted for good between {since} and {until}; what was "
            "stays in the store until it is rebuilt from an empty file."
        )

    def _still_visible(self) -> set[str]:
        """Return the listed ids that queries still show: in the bin (the poll sees those), or restored since."""
        visible: set[str] = set()
        todo = [(f.schema.object, batch) for f in self._found for batch in _batches(list(f.entries))]
        while todo:
            packet, todo = todo[:QUERIES_PER_CALL], todo[QUERIES_PER_CALL:]
            answers = self._client.query_pages([ids_query(name, ids) for name, ids in packet])
            for (name, ids), answer in zip(packet, answers, strict=True):
                if answer.problem is not None:
                    raise answer.problem
                shown = {str(row["Id"]) for row in answer.records}
                visible |= shown
                if not answer.done:
                    if not shown:
                        raise UnreachableError(f"Salesforce's answer for {name} ends before its first row: try again.")
                    todo.append((name, [i for i in ids if i not in shown]))
        return visible


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
