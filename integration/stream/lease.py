"""Leases: who polls and who flattens, so that a second worker stands by until the first is gone.

A lease keeps two workers from doing the same work for long, no more: one that stalls past its lease and wakes up again
is fenced off by the epoch in the store, not here. Time is told by Redis alone (the key expires there), so that no two
clocks have to agree.
"""

import secrets
from collections.abc import Callable

from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError

from integration.processes import is_alive
from integration.stream.connection import Client, answering
from integration.stream.names import lease_key


def new_holder(host: str, pid: int) -> str:
    """Return a name for one worker: `<host>:<pid>:<random>`. Two workers of one process have two names."""
    return f"{host}:{pid}:{secrets.token_hex(4)}"


def holder_of(client: Client, role: str) -> str | None:
    """Return who has the lease of a role, None when it is free. Raises UnreachableError."""
    with answering(client):
        return _text(client.get(lease_key(role)))


class Lease:
    """The lease of one role, `poller` or `flattener`, as one worker sees it.

    `holder` is what `new_holder` gave, `seconds` how long the lease outlives its last `take`: take it again well
    within that time (a third of it). A lease whose holder is a process of this host that `is_alive` calls dead is
    free at once. For that, workers with one host name have to see each other's processes: containers that share a
    host name but not their processes need `is_alive=lambda pid: True`. Not for two threads at once.
    """

    def __init__(
        self,
        client: Client,
        role: str,
        *,
        holder: str,
        seconds: float = 15.0,
        is_alive: Callable[[int], bool] = is_alive,
    ) -> None:
        self._client = client
        self._key = lease_key(role)
        self.role = role
        self.holder = holder
        self._milliseconds = max(1, round(seconds * 1000))
        self._is_alive = is_alive
        self._held = False

    def take(self) -> bool:
        """Take the lease if it is free, renew it if it is ours; return whether it is ours now.

        One round trip, but where a dead holder is removed. A Redis that is too full to write the lease does not keep
        workers from emptying it: who finds the lease free then has it, unwritten. Raises UnreachableError when Redis
        does not answer; whether the lease is still ours is unknown then.
        """
        with answering(self._client):
            holder = self._renew() if self._held else None
            if holder is None:
                holder = self._acquire()
            if holder != self.holder and self._is_dead(holder):
                self._remove(holder)
                holder = self._acquire()
        self._held = holder == self.holder
        return self._held

    def release(self) -> bool:
        """Give the lease back if it is ours; return whether it was. Raises UnreachableError."""
        self._held = False
        with answering(self._client):
            return self._remove(self.holder)

    def _renew(self) -> str | None:
        # Should another have taken it meanwhile, its lease is lengthened this once: harmless, and one round trip.
        return _text(self._client.getex(self._key, px=self._milliseconds))

    def _acquire(self) -> str:
        pipe = self._client.pipeline(transaction=True)
        pipe.set(self._key, self.holder, nx=True, px=self._milliseconds)
        pipe.get(self._key)
        try:
            taken, found = pipe.execute()
        except OutOfMemoryError:
            return _text(self._client.get(self._key)) or self.holder
        holder = _text(found)
        if holder == self.holder and not taken:
            holder = self._renew()
        return holder or ""

    def _remove(self, holder: str) -> bool:
        def work(pipe: Pipeline) -> bool:
            is_there = _text(pipe.get(self._key)) == holder
            pipe.multi()
            if is_there:
                pipe.delete(self._key)
            return is_there

        return bool(self._client.transaction(work, self._key, value_from_callable=True))  # type: ignore[arg-type]

    def _is_dead(self, holder: str) -> bool:
        host, pid = _place(holder)
        return pid > 0 and host == _place(self.holder)[0] and not self._is_alive(pid)


def _place(holder: str) -> tuple[str, int]:
    host, _, pid = holder.rpartition(":")[0].rpartition(":")
    return host, int(pid) if pid.isascii() and pid.isdigit() else 0


def _text(value: object) -> str | None:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else None
