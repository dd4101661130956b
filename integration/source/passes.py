"""Where a pass over an object begins, what it must remember, and where it ends. Pure.

The danger in polling is the late commit: a row gets its stamp when it is saved inside a transaction and is seen only
after the commit, so a row *older* than the last one read can appear. Every pass therefore reads the last minutes again
(the overlap, counted back from Salesforce's clock at the start of the previous pass), and marks tell what was seen.

A row later than the overlap makes the next passes read further back. The first of them meets rows whose marks are gone:
they are published once more under the ids they had, by which the consumer knows them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from integration.source.soql import earliest, shift, sort_key
from schemas import Cursor

DELETED = "|deleted"
"""The end of the mark of a record that was seen as deleted."""

DELETE_LOG = "log"
"""What stands in place of the content hash in the mark of a record known from the delete log alone."""

# The delete log cuts windows at whole minutes, so entries of the last minutes of a window come again in the next.
_LOG_MEMORY_SECONDS = 180

Position = tuple[str, str]
"""A keyset position: (stamp, record id) of a row."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of an object from where it may have changed up to its newest row.

    `mark_from` and `late_before` are sort keys (see `soql.sort_key`): rows from `mark_from` on will be read again by
    the next pass and need a mark; a new row before `late_before` was committed later than the overlap allows for.
    """

    started_at: str
    mark_from: str
    after: Position | None = None
    since: str | None = None
    late_before: str | None = None
    floor: Position | None = None


def plan_pass(cursor: Cursor | None, now: str, overlap_seconds: float) -> Pass:
    """Decide where the next pass begins. `now` is Salesforce's clock."""
    if cursor is None:
        return Pass(started_at=now, mark_from=sort_key(shift(now, -overlap_seconds)))
    position = _position(cursor)
    started = (
        cursor.pass_started_at if cursor.pass_started_at and position else _no_earlier(now, cursor, overlap_seconds)
    )
    late_before = shift(cursor.covered_until, -overlap_seconds) if cursor.covered_until else None
    after, since = _beginning(cursor, position, late_before, overlap_seconds)
    return Pass(
        started_at=started,
        mark_from=window_start(position, started, late_seen=cursor.late_seen, overlap_seconds=overlap_seconds),
        after=after,
        since=since,
        late_before=sort_key(late_before) if late_before else None,
        floor=None if cursor.pass_started_at else position,
    )


def window_start(position: Position | None, started_at: str, *, late_seen: bool, overlap_seconds: float) -> str:
    """Return the sort key of the first stamp that the pass after one begun at `started_at` reads again."""
    back_from = earliest(started_at, position[0] if position and late_seen else None)
    return sort_key(shift(back_from or started_at, -overlap_seconds))


def mid_pass(cursor: Cursor, this: Pass, last: Position, *, late_seen: bool) -> Cursor:
    """Return the cursor to save with a page that is not the last of its pass."""
    return cursor.model_copy(
        update={
            "system_modstamp": last[0],
            "record_id": last[1],
            "pass_started_at": this.started_at,
            "late_seen": late_seen,
        }
    )


def end_of_pass(cursor: Cursor, this: Pass, last: Position | None, *, late_seen: bool) -> Cursor:
    """Return the cursor to save with the last page. The position never goes back behind where it was."""
    end = last
    if this.floor is not None and (last is None or sort_key(last[0]) < sort_key(this.floor[0])):
        end = this.floor
    stamp, record_id = end if end is not None else (None, "")
    return cursor.model_copy(
        update={
            "system_modstamp": stamp,
            "record_id": record_id,
            "pass_started_at": None,
            "covered_until": this.started_at,
            "late_seen": late_seen,
        }
    )


def forgettable(marks: Mapping[str, str], window_from: str, deleted_until: str | None) -> list[str]:
    """List the records whose marks have left the window that begins at the sort key `window_from`."""
    log_from = min(window_from, sort_key(shift(deleted_until, -_LOG_MEMORY_SECONDS))) if deleted_until else window_from
    log_end = f"|{DELETE_LOG}{DELETED}"
    return [
        record_id
        for record_id, mark in marks.items()
        if mark < window_from and (mark < log_from or not mark.endswith(log_end))
    ]


def _no_earlier(now: str, cursor: Cursor, overlap_seconds: float) -> str:
    # Salesforce's servers don't agree to the second. A window that began earlier than the last one would meet rows that
    # were never marked. A clock that goes back far was wrong before: then the earlier time is the right one.
    covered = cursor.covered_until
    if covered and sort_key(now) < sort_key(covered) <= sort_key(shift(now, overlap_seconds)):
        return covered
    return now


def _position(cursor: Cursor) -> Position | None:
    return (cursor.system_modstamp, cursor.record_id) if cursor.system_modstamp else None


def _beginning(
    cursor: Cursor, position: Position | None, edge: str | None, overlap_seconds: float
) -> tuple[Position | None, str | None]:
    """Return (after, since) of the next pass; `edge` is where the overlap begins."""
    if position is None:
        return None, None  # nothing was ever read: what appears may have any stamp
    if cursor.pass_started_at is not None:
        return position, None
    if cursor.late_seen or edge is None:
        back_from = earliest(position[0], cursor.covered_until) or position[0]
        return None, shift(back_from, -overlap_seconds)
    if sort_key(position[0]) < sort_key(edge):
        # Nothing was read in the overlap. Going on behind the last row covers it, and all that lies between, without
        # reading the last row's tie again, which may be thousands of rows of one bulk load.
        return position, None
    return None, edge
