"""Connections to the server: how they are set, and those that wait for the next reader."""

import contextlib
import threading
from collections.abc import Iterable, Iterator

import psycopg

from integration.errors import UnreachableError
from integration.store.postgres import address, values
from integration.store.postgres.address import Address
from integration.store.postgres.names import may_be_short, short

_IDLE_AT_MOST = 4
# With search_path as it comes, a role called headrace would find (and make) `users` in the schema headrace.
_EVERYBODY = (
    "SET search_path = public; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; "
    "SET bytea_output = 'hex'; SET extra_float_digits = 1; SET standard_conforming_strings = on; "
    "SET default_transaction_isolation = 'read committed'"
)
_READER = f"{_EVERYBODY}; SET default_transaction_read_only = on"
# Statements over hundreds of columns look dear, and compiling them takes far longer than running them. A worker that
# is frozen in the middle of a batch is thrown out, so that another may take over; one that waits for a table which
# somebody's forgotten transaction holds gives up, for everybody who reads that table waits behind it.
_WRITER = (
    f"{_EVERYBODY}; SET default_transaction_read_only = off; SET jit = off; SET statement_timeout = 0; "
    "SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'"
)
_LONG_NAMES = (
    "SELECT a.attname, d.description FROM pg_catalog.pg_attribute AS a "
    "JOIN pg_catalog.pg_description AS d ON d.objoid = a.attrelid AND d.objsubid = a.attnum "
    "AND d.classoid = 'pg_catalog.pg_class'::regclass WHERE a.attname = any($1)"
)


class Sessions:
    """Opens connections to one database. May be used from several threads."""

    def __init__(self, to: Address) -> None:
        self.address = to
        self._idle: list[psycopg.Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        self._long: dict[str, str] = {}

    def writer(self) -> psycopg.Connection:
        """Open a connection to write with. Raises as address.connect."""
        return self._opened(_WRITER)

    @contextlib.contextmanager
    def reader(self) -> Iterator[psycopg.Connection]:
        """Lend a connection that can't write, outside of any transaction. Raises as address.connect."""
        con = self._waiting() or self._opened(_READER)
        try:
            yield con
        finally:
            self._put_back(con)

    def whole_names(self, con: psycopg.Connection, names: Iterable[str]) -> list[str]:
        """Return the names of an answer's columns as headrace knows them, however long they are."""
        told = list(names)
        unknown = [name for name in told if may_be_short(name) and name not in self._long]
        if unknown:
            for name, whole in con.execute(_LONG_NAMES, [unknown]):
                if short(whole) == name:
                    self._long[name] = whole
        return [self._long.get(name, name) for name in told] if self._long else told

    def close(self) -> None:
        """Close what nobody has borrowed; the rest closes when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for con in idle:
            con.close()

    def _opened(self, settings: str) -> psycopg.Connection:
        if self._closed:
            raise UnreachableError(f"The store in {self.address.place} is closed: open it again.")
        con = address.connect(self.address)
        try:
            values.prepare(con.adapters)
            con.execute(settings.encode())
        except BaseException:
            con.close()
            raise
        return con

    def _waiting(self) -> psycopg.Connection | None:
        """Return a connection that is open still: the server may have been restarted meanwhile."""
        while True:
            with self._lock:
                if self._closed or not self._idle:
                    return None
                con = self._idle.pop()
            try:
                con.execute(b"")
            except psycopg.Error:
                con.close()
                continue
            return con

    def _put_back(self, con: psycopg.Connection) -> None:
        is_free = not con.broken and con.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if is_free and not self._closed and len(self._idle) < _IDLE_AT_MOST:
                self._idle.append(con)
                return
        con.close()
