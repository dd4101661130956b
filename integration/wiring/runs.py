"""The row of `sync_runs` in which a command says what it has done."""

from typing import TYPE_CHECKING

from integration.store import tables
from integration.store.protocol import Store

if TYPE_CHECKING:
    from integration.wiring.backfill_report import BackfillReport
    from integration.wiring.sync import SyncReport

_TOLD = tuple(column.name for column in tables.SYNC_RUNS if column.name != "kind")


def note(store: Store, report: "SyncReport | BackfillReport", kind: str) -> None:
    """Write the row. Raises what the store raises."""
    row = {name: getattr(report, name) for name in _TOLD} | {"kind": kind}
    with store.transaction() as tx:
        tx.append("sync_runs", tables.SYNC_RUNS, [row])
