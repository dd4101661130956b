"""Who works with a store on ClickHouse, which has no locks: a row says who, and until when it counts.

It keeps a second worker standing by, and has commands ask the first. Two that come in the same moment, or one that was
frozen for longer than its row counts, do no harm: of two that commit the same batch one is fenced off (see journal.py).
"""

import contextlib
import os
import threading
from typing import Final, NamedTuple

from integration.processes import is_alive
from integration.store.clickhouse import layout
from integration.store.clickhouse.connecting import ClickHouseError, Door, DriverError, Session
from integration.store.ownership import Owner, StoreOwnedError, this_host

_SECONDS: Final = 15
_BEAT_SECONDS: Final = 4.0
_TABLE: Final = f"{layout.name(layout.ROWS)}.`_owner`"
MAKE: Final = (
    f"CREATE TABLE IF NOT EXISTS {_TABLE} (one UInt8 DEFAULT 1, holder String, since String, "
    "seen DateTime64(6, 'UTC') DEFAULT now64(6)) ENGINE = ReplacingMergeTree(seen) ORDER BY one"
)
_READ: Final = (
    f"SELECT holder, since FROM {_TABLE} FINAL WHERE holder != '' AND seen > now64(6) - INTERVAL {_SECONDS} SECOND"
)

_IS_MADE: Final = f"SELECT count() FROM system.tables WHERE database = '{layout.ROWS}' AND name = '_owner'"


class _Holder(NamedTuple):
    pid: int
    host: str
    since: str

    @property
    def is_there(self) -> bool:
        """Whether it may live: of a process on this machine that is known at once."""
        return self.host != this_host() or is_alive(self.pid)


class Ownership:
    """Has the store for its process, from the making to `close`. Raises StoreOwnedError when another process has it."""

    def __init__(self, door: Door) -> None:
        self._session = Session(door)
        # The process, not the moment: after a server that was away it finds what it has said itself.
        self._mine = f"{os.getpid()} {this_host()}"
        self._ended = threading.Event()
        try:
            self._session.run(MAKE)
            self._since = self._session.text("SELECT formatDateTime(now('UTC'), '%Y-%m-%dT%H:%i:%SZ')").strip()
            _refuse(_holder(self._session, but=self._mine), door)
            self._say(self._mine)
            # Of two that came in the same moment the one whose row is the later has it.
            _refuse(_holder(self._session, but=self._mine), door)
        except BaseException:
            self._session.close()
            raise
        self._thread = threading.Thread(target=self._go_on, name="headrace-owner", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(ClickHouseError, DriverError):
            if _holder(self._session, but=self._mine) is None:
                self._say("")
        self._session.close()

    def _go_on(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            # A server that is away is the business of who writes; whoever took the store over keeps it.
            with contextlib.suppress(ClickHouseError, DriverError):
                if _holder(self._session, but=self._mine) is None:
                    self._say(self._mine)

    def _say(self, holder: str) -> None:
        self._session.run(
            f"INSERT INTO {_TABLE} (holder, since) VALUES ({layout.literal(holder)}, {layout.literal(self._since)})"
        )


def find(door: Door) -> Owner | None:
    """Return the process that works with the store, on whatever machine; None when there is none."""
    session = Session(door, reading=True)
    try:
        found = _holder(session, but="") if session.text(_IS_MADE).strip() == "1" else None
    finally:
        session.close()
    return Owner(found.pid, "", "", found.since, found.host) if found is not None else None


def _holder(session: Session, *, but: str) -> _Holder | None:
    for row in session.table(_READ).to_pylist():
        pid, _, rest = str(row["holder"]).partition(" ")
        found = _Holder(int(pid), rest, str(row["since"]))
        if row["holder"] != but and found.is_there:
            return found
    return None


def _refuse(holder: _Holder | None, door: Door) -> None:
    if holder is not None:
        raise StoreOwnedError(
            f"The store at {door.shown} is in use by process {holder.pid} on {holder.host}: "
            "wait until it ends, or stop it.",
            holder.pid,
            holder.host,
        )
