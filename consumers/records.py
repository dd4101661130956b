"""What a batch's records leave in the store: captures in the archive, last states, raw rows and memberships."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from consumers.batch import Entry
from consumers.catalogs import Catalogs
from consumers.known import Memory
from integration.core import naming
from integration.core.flatten import Outcome, archived_as
from integration.core.image import Image
from integration.core.refold import stays
from integration.store import tables
from integration.store.protocol import Misfit, Transaction


class UnfitError(Exception):
    """Captures (by id) that no column can hold, and why."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(f"{len(reasons)} captures do not fit")
        self.reasons = reasons


def write_records(
    tx: Transaction,
    catalogs: Catalogs,
    memory: Memory,
    outcomes: Sequence[tuple[Entry, Outcome]],
    latest: Iterable[Image],
    now: str,
) -> dict[str, bytes]:
    """Store these outcomes, in their order, with the `latest` image of each record; return the payloads that these are
    kept as, by record id. Raises UnfitError."""
    tx.append("captures", tables.CAPTURES, [_capture_row(e, o, now) for e, o in outcomes])
    # The first outcome of a record tells whether the store has it: what it has not need not be looked for.
    new = {o.after.record_id for _, o in outcomes if o.before is None}
    groups: dict[tuple[str, bool], list[Image]] = {}
    for one in latest:
        groups.setdefault((one.object, one.record_id not in new), []).append(one)
    states: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for (object_name, is_there), images in groups.items():
        states[is_there] += map(memory.state_row, images)
        rows = [catalogs.raw_row(one) for one in images]
        columns = catalogs.raw_columns(object_name)
        try:
            if is_there:
                tx.upsert(naming.table_of(object_name), ("id",), columns, rows)
            else:
                tx.append(naming.table_of(object_name), columns, rows)
        except Misfit as misfit:
            reason = f"The field behind {misfit.table}.{misfit.column} holds {misfit.reason}."
            raise UnfitError({images[place].capture_id: reason for place in misfit.rows}) from misfit
    tx.upsert("headrace.states", ("object", "record_id"), tables.STATES, states[True])
    tx.append("headrace.states", tables.STATES, states[False])
    memory.save(tx)
    _write_memberships(tx, [o for _, o in outcomes])
    return {row["record_id"]: row["payload"] for rows in states.values() for row in rows}


def _capture_row(entry: Entry, outcome: Outcome, now: str) -> dict[str, Any]:
    one = outcome.after
    return {
        "capture_id": archived_as(outcome.before, one),
        "object": one.object,
        "record_id": one.record_id,
        "version": one.version,
        "origin": one.origin,
        "stream": entry.stream,
        "offset": entry.offset,
        "seen_at": one.seen_at,
        "stored_at": now,
        # As it came: the state may keep more than this image showed (see flatten).
        "payload": entry.fields[b"data"],
    }


def _write_memberships(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Close the stay a record's last image gave, open the one its new image gives."""
    moved = [o for o in outcomes if o.left or o.joined]
    if not moved:
        return
    ids = sorted({o.after.record_id for o in moved if o.left})
    stored = (
        tx.rows("SELECT * FROM headrace.memberships WHERE record_id = any(?) AND until IS NULL", [ids]) if ids else []
    )
    rows = stays(moved, {row["record_id"]: row for row in stored})
    tx.upsert("headrace.memberships", ("record_id", "since"), tables.MEMBERSHIPS, rows)
