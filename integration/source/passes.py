"""Where a pass over an object begins, what it must remember, and where it ends. Pure.

The danger in polling is the late commit: a row gets its stamp when it is saved inside a transaction and is seen only
after the commit, so a row *older* than the last one read can appear. Passes therefore read the last minutes again
(the overlap, counted back from Salesforce's clock at the start of the previous pass), and marks tell what was seen.

After a bulk change the overlap holds thousands of rows, and reading them every few seconds would cost more than
everything else. So only a *wide* pass reads the whole overlap, once a minute; the *narrow* passes in between read back
a few seconds. What the cursor says is covered moves with wide passes only: no row is left to a narrow pass.

A transaction that is open for longer than the overlap is known from the delete log (see `told`): as long as it is, and
once after it, wide passes begin where it began. A row later than all that makes the next passes read further back. The
first of them meets rows whose marks are gone: they are published once more under the ids they had, by which the
consumer knows them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from integration.source.soql import earliest, shift, sort_key
from schemas import Cursor

DELETED = "|deleted"
"""The end of the mark of a record that was seen as deleted."""

DELETE_LOG = "log"
"""What stands in place of the content hash in the mark of a record known from the delete log alone."""

WIDE_EVERY_SECONDS = 60
"""How long narrow passes may follow each other."""

# The delete log cuts windows at whole minutes, so entries of the last minutes of a window come again in the next.
_LOG_MEMORY_SECONDS = 180
# Salesforce's smallest page: reading so many rows again costs nothing that counts.
_FEW_MARKS = 200
# How far a narrow pass reads back, and how many rows it may read again for that; the first that fits is taken. Ten
# seconds catch what ordinary transactions commit late, two catch the rest of a second in which the last pass looked.
_NARROW = ((10, _FEW_MARKS), (2, 2000))
# Clocks of Salesforce's servers don't agree to the second.
_OPEN_MARGIN_SECONDS = 5

Position = tuple[str, str]
"""A keyset position: (stamp, record id) of a row."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of an object from where it may have changed up to its newest row.

    `mark_from` and `late_before` are sort keys (see `soql.sort_key`): rows from `mark_from` on will be read again by
    a later pass and need a mark; a new row before `late_before` was committed later than the overlap allows for.
    """

    started_at: str
    mark_from: str
    after: Position | None = None
    since: str | None = None
    late_before: str | None = None
    floor: Position | None = None
    is_wide: bool = True

    @property
    def is_resumed(self) -> bool:
        """True if the pass was begun by an earlier cycle."""
        return self.after is not None and self.floor is None


def plan_pass(
    cursor: Cursor, now: str, overlap_seconds: float, marks: Mapping[str, str], *, must_be_wide: bool = False
) -> Pass:
    """Decide where the next pass begins. `now` is Salesforce's clock; `marks` tell what the overlap holds."""
    position = _position(cursor)
    edge = _edge(cursor, overlap_seconds)
    late_before = sort_key(edge) if edge else None
    if position is not None and not must_be_wide and _may_be_narrow(cursor, now, overlap_seconds, len(marks)):
        after, since = _narrow_beginning(cursor, position, marks.values())
        mark_from = kept_from(cursor, overlap_seconds)
        return Pass(now, mark_from, after, since, late_before, floor=position, is_wide=False)
    started = cursor.pass_started_at if position else None
    started = started or _no_earlier(now, cursor, overlap_seconds)
    after, since = _beginning(cursor, position, edge, overlap_seconds)
    return Pass(
        started_at=started,
        mark_from=kept_from(cursor.model_copy(update={"covered_until": started}), overlap_seconds),
        after=after,
        since=since,
        late_before=late_before,
        floor=None if cursor.pass_started_at else position,
    )


def kept_from(cursor: Cursor, overlap_seconds: float) -> str:
    """Return the sort key of the first stamp that a later pass may read again: marks are kept from there on."""
    back_from = earliest(cursor.covered_until, cursor.system_modstamp if cursor.late_seen else None)
    overlap = shift(back_from, -overlap_seconds) if back_from else None
    return sort_key(earliest(overlap, _open_edge(cursor)) or "")


def mid_pass(cursor: Cursor, this: Pass, last: Position, *, late_seen: bool) -> Cursor:
    """Return the cursor to save with a page that is not the last of its pass."""
    if not this.is_wide:
        # An interrupted narrow pass is not gone on with: the next one covers it.
        last = _no_earlier_position(this.floor, last) or last
    return cursor.model_copy(
        update={
            "system_modstamp": last[0],
            "record_id": last[1],
            "pass_started_at": this.started_at if this.is_wide else None,
            "late_seen": late_seen,
        }
    )


def end_of_pass(cursor: Cursor, this: Pass, last: Position | None, *, late_seen: bool) -> Cursor:
    """Return the cursor to save with the last page. The position never goes back behind where it was."""
    stamp, record_id = _no_earlier_position(this.floor, last) or (None, "")
    changes = {
        "system_modstamp": stamp,
        "record_id": record_id,
        "pass_started_at": None,
        "passed_until": this.started_at,
        "late_seen": late_seen,
    }
    if this.is_wide:
        changes["covered_until"] = this.started_at
        if not this.is_resumed:
            # It began after the log's last answer: what that calls over has been read.
            changes["open_since"] = cursor.still_open
    return cursor.model_copy(update=changes)


def told(cursor: Cursor, still_open: str | None) -> Cursor:
    """Return the cursor with what the delete log says now: since when a transaction has been open, or that none is.

    What was open before may have been committed since the last pass, so it stays until another one has looked.
    """
    return cursor.model_copy(
        update={"open_since": earliest(cursor.open_since, still_open), "still_open": still_open},
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


def _no_earlier_position(floor: Position | None, last: Position | None) -> Position | None:
    if floor is not None and (last is None or sort_key(last[0]) < sort_key(floor[0])):
        return floor
    return last


def _position(cursor: Cursor) -> Position | None:
    return (cursor.system_modstamp, cursor.record_id) if cursor.system_modstamp else None


def _open_edge(cursor: Cursor) -> str | None:
    return shift(cursor.open_since, -_OPEN_MARGIN_SECONDS) if cursor.open_since else None


def _edge(cursor: Cursor, overlap_seconds: float) -> str | None:
    """Return where a wide pass begins; None if nothing is covered yet."""
    if cursor.covered_until is None:
        return None
    return earliest(shift(cursor.covered_until, -overlap_seconds), _open_edge(cursor))


def _may_be_narrow(cursor: Cursor, now: str, overlap_seconds: float, marks: int) -> bool:
    if marks < _FEW_MARKS or overlap_seconds <= _NARROW[0][0] or cursor.pass_started_at is not None:
        return False
    if cursor.covered_until is None or cursor.passed_until is None:
        return False
    begins, ends = cursor.covered_until, shift(cursor.covered_until, WIDE_EVERY_SECONDS)
    return sort_key(begins) <= sort_key(now) < sort_key(ends)


def _narrow_beginning(cursor: Cursor, position: Position, marks: Collection[str]) -> tuple[Position | None, str | None]:
    for seconds, most in _NARROW:
        edge = shift(cursor.passed_until or position[0], -seconds)
        edge_key = sort_key(edge)
        if sort_key(position[0]) < edge_key:
            return position, None
        if sum(mark >= edge_key for mark in marks) < most:
            return None, edge
    # A large tie of just now: what joins it is left to the next wide pass.
    return position, None


def _beginning(
    cursor: Cursor, position: Position | None, edge: str | None, overlap_seconds: float
) -> tuple[Position | None, str | None]:
    """Return (after, since) of a wide pass; `edge` is where the overlap begins."""
    if position is None:
        return None, None  # nothing was ever read: what appears may have any stamp
    if cursor.pass_started_at is not None:
        return position, None
    if cursor.late_seen or edge is None:
        back_from = earliest(position[0], cursor.covered_until) or position[0]
        return None, earliest(shift(back_from, -overlap_seconds), _open_edge(cursor))
    if sort_key(position[0]) < sort_key(edge):
        # Nothing was read in the overlap. Going on behind the last row covers it, and all that lies between, without
        # reading the last row's tie again, which may be thousands of rows of one bulk load.
        return position, None
    return None, edge
