"""Who works with a store in a database: the session that holds a lock which PostgreSQL drops with the connection.

Whoever reads needs none. The lock says who is at work, so that a second worker stands by and commands ask the first.
That no two mix their batches is seen to elsewhere: by the writer's lock, and the epoch in the store.
"""

import os
from typing import Final

import psycopg

from integration.store.ownership import Owner, StoreOwnedError, this_host
from integration.store.postgres.address import Address

_KEY: Final = 7523014230
_TAKE: Final = f"SELECT pg_try_advisory_lock({_KEY})"
_HOLDER: Final = f"""
SELECT a.application_name, to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
AND l.classid = {_KEY >> 32} AND l.objid = {_KEY & 0xFFFFFFFF}
AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""
_NAME: Final = "headrace"


def take(con: psycopg.Connection, to: Address) -> None:
    """Have this connection's process own the store for as long as the connection lives.

    Raises StoreOwnedError when another one does.
    """
    name = f"{_NAME} {os.getpid()} {this_host()}"
    con.execute(b"SELECT set_config('application_name', $1, false)", [name])
    if con.execute(_TAKE.encode()).fetchall() == [(True,)]:
        return
    owner = find(con)
    who = f"process {owner.pid} on {owner.host}" if owner else "another process"
    pid, host = (owner.pid, owner.host) if owner else (None, None)
    raise StoreOwnedError(f"The store at {to.place} is in use by {who}: wait until it ends, or stop it.", pid, host)


def find(con: psycopg.Connection) -> Owner | None:
    """Return the process that owns the store, on whatever machine; None when there is none."""
    for name, since in con.execute(_HOLDER.encode()).fetchall():
        _, _, rest = str(name).partition(f"{_NAME} ")
        pid, _, host = rest.partition(" ")
        if pid.isdigit():
            return Owner(int(pid), "", "", since, host)
    return None
