"""A store in a PostgreSQL database: any number of processes read, one at a time writes.

`users`, `events` and the others lie in the schema `public`, raw records in `salesforce`, bookkeeping in `headrace`.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

import psycopg
import pyarrow as pa
from psycopg.pq import TransactionStatus

from integration.errors import ConfigError, RunError, UsageError
from integration.store import tables
from integration.store.ownership import Owner
from integration.store.postgres import address, guard, ownership, reading, sentences, values
from integration.store.postgres.catalog import Known
from integration.store.postgres.names import spelled
from integration.store.postgres.reading import PostgresReading
from integration.store.postgres.sessions import Sessions
from integration.store.postgres.transaction import PostgresTransaction
from integration.store.protocol import Reading
from integration.store.quoting import identifier

_CHUNK = 1_000 if psycopg.pq.version() >= 170000 else 1  # rows at a time, where libpq can
# Who writes holds this lock of the database until it has committed: two flatteners never mix their batches.
_WRITER_LOCK = "SELECT pg_advisory_xact_lock(7523014229)"
_TABLES = (
    "SELECT table_schema, table_name FROM information_schema.tables "
    "WHERE table_schema IN ('public', 'salesforce', 'headrace') ORDER BY 1, 2"
)


_AT_WORK = (
    # What a batch looks up lies in memory as a rule. At the price of a disk that has to turn, the planner reads whole
    # tables instead, and the larger they are the more a change costs.
    "SELECT set_config('random_page_cost', '1.1', false)",
    # Two to three times quicker than the default, where the server was built with it.
    (
        "SELECT set_config(name, 'lz4', false) FROM pg_catalog.pg_settings "
        "WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"
    ),
)


class _Asking:
    """Answers SQL over connections that can't write."""

    def __init__(self, url: str, password: str | None) -> None:
        self._sessions = Sessions(address.address(url, password))

    @property
    def place(self) -> str:
        """Where the store is, for people: `host:port/database`."""
        return self._sessions.address.place

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place})"

    def query(self, sql: str, *, limit: int | None = None, timeout_seconds: float = 60.0) -> pa.Table:
        """See protocol.Queryable. At most `limit` rows come back; more are not computed where that can be helped."""
        guard.check(sql)
        text = spelled(sql)
        with self._sessions.reader() as con:
            try:
                con.execute(b"BEGIN TRANSACTION READ ONLY")
                con.execute(f"SET LOCAL statement_timeout = {max(round(timeout_seconds * 1000), 1)}".encode())
                guard.check_functions(con, text)
                return self._answer(con, text, limit)
            except psycopg.Error as error:
                if sentences.lost(error, con):
                    raise sentences.unanswered(self._sessions.address) from error
                self._end(con)
                raise sentences.reading(error, text, lambda: self._table_names(con), timeout_seconds) from error
            finally:
                self._end(con)

    def compiled(self, sql: str) -> str:
        """See protocol.Queryable."""
        return reading.compiled(sql)

    def table_names(self) -> Sequence[str]:
        """List every table and view as people name them, `users` and `salesforce.contact`."""
        with self._sessions.reader() as con:
            return self._table_names(con)

    def _answer(self, con: psycopg.Connection, sql: str, limit: int | None) -> pa.Table:
        # Prepared first: it is one statement or refused, and what it gives is known even if that is nothing.
        prepared = con.pgconn.prepare(b"", sql.encode())
        if prepared.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(prepared)
        told = con.pgconn.describe_prepared(b"")
        if told.nfields == 0:
            raise UsageError("This statement gives no rows.")
        names = [(told.fname(place) or b"").decode() for place in range(told.nfields)]
        fields = [
            values.Field(name, told.ftype(place), told.fmod(place))
            for place, name in enumerate(self._sessions.whole_names(con, names))
        ]
        rows: list[Any] = []
        if limit is None or limit > 0:
            with con.cursor() as cursor:
                for row in cursor.stream(sql.encode(), size=min(limit or _CHUNK, _CHUNK)):
                    rows.append(row)
                    if len(rows) == limit:
                        break
        return values.table(fields, rows)

    def _table_names(self, con: psycopg.Connection) -> Sequence[str]:
        found = con.execute(_TABLES.encode()).fetchall()
        return [name if schema == "public" else f"{schema}.{name}" for schema, name in found]

    def _end(self, con: psycopg.Connection) -> None:
        if con.info.transaction_status != TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                con.execute(b"ROLLBACK")

    def _version_in(self, con: psycopg.Connection) -> int | None:
        """Return the version of the tables that are there, None in a database without them."""
        if con.execute(b"SELECT to_regclass('headrace.meta')").fetchall() == [(None,)]:
            return None
        found = con.execute(b"SELECT value FROM headrace.meta WHERE key = 'schema_version'").fetchone()
        version = int(found[0]) if found else None
        if version is not None and version > tables.SCHEMA_VERSION:
            raise ConfigError(f"{self.place} was written by a newer headrace: upgrade this one.")
        return version


class PostgresReader(_Asking):
    """A store opened for nothing but reading; see protocol.Reader. It keeps nobody from writing.

    Raises ConfigError when there is no store in the database, or none for this role; as address.connect besides.
    """

    def __init__(self, url: str, *, password: str | None = None) -> None:
        super().__init__(url, password)
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        try:
            with self._sessions.reader() as con:
                version = self._version_in(con)
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigError(
                f"The role of store.url may not read the tables in {self.place}: GRANT pg_read_all_data to it."
            ) from error
        except psycopg.Error as error:
            raise sentences.unanswered(self._sessions.address) from error
        if version is None:
            raise sentences.missing(self._sessions.address)

    def close(self) -> None:
        """See protocol.Reader."""
        self._sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_owner(url: str, *, password: str | None = None) -> Owner | None:
    """Return the process that works with the store; None when there is none. Raises as address.connect."""
    to = address.address(url, password)
    with address.connect(to) as con:
        return ownership.find(con)


class PostgresStore(_Asking):
    """A store in a database; see protocol.Store. Made in an empty one, opened to write in any other.

    One transaction at a time, over all processes: others wait their turn. A server that went away is looked for again
    by the next transaction. Raises as address.connect, and ConfigError for a role that may not make tables; with
    `as_owner`, also StoreOwnedError when another process has opened it so.
    """

    def __init__(self, url: str, *, password: str | None = None, as_owner: bool = False) -> None:
        super().__init__(url, password)
        self._as_owner = as_owner
        self._writing = threading.Lock()
        self._writer_thread: int | None = None
        self._writer: psycopg.Connection | None = None
        self._known = Known()
        try:
            self._writer = self._connected()
            self._create_tables()
        except BaseException:
            self._drop_writer()
            self._sessions.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """See protocol.Store. PostgreSQL's errors come out as RunError, ConfigError or UnreachableError.

        Not to be nested: a thread that has one open gets a RuntimeError.
        """
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("this thread has a transaction open already")
        with self._writing:
            self._writer_thread = threading.get_ident()
            try:
                with self._told():
                    con = self._begin()
                    yield PostgresTransaction(con, self._sessions, self._known)
                    self._commit(con)
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._writer_thread = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """See protocol.Store."""
        with self._sessions.reader() as con:
            try:
                yield PostgresReading(con, self._sessions)
            except psycopg.Error as error:
                if sentences.lost(error, con):
                    raise sentences.unanswered(self._sessions.address) from error
                raise RunError(f"The store could not be read: {sentences.first_line(error)}") from error

    def close(self) -> None:
        """See protocol.Store. Waits for a transaction that another thread has open."""
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("this thread has a transaction open")
        with self._writing:
            if self._as_owner and self._writer is not None:
                # The server would drop the lock with the connection, but a moment later.
                with contextlib.suppress(psycopg.Error):
                    self._writer.execute(b"SELECT pg_advisory_unlock_all()")
            self._drop_writer()
            self._sessions.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            if sentences.lost(error, self._writer):
                raise sentences.unanswered(self._sessions.address) from error
            raise sentences.writing(error, self._sessions.address) from error

    def _begin(self) -> psycopg.Connection:
        """Begin, and wait for the turn; over a new connection where the last one has been lost meanwhile."""
        if self._writer is not None:
            try:
                self._writer.execute(b"BEGIN")
            except psycopg.Error:
                self._drop_writer()
        if self._writer is None:
            self._writer = self._connected()
            self._known.forget()
            self._writer.execute(b"BEGIN")
        self._writer.execute(_WRITER_LOCK.encode())
        return self._writer

    def _connected(self) -> psycopg.Connection:
        con = self._sessions.writer()
        try:
            if self._as_owner:
                ownership.take(con, self._sessions.address)
            for statement in _AT_WORK:
                con.execute(statement.encode())
        except BaseException:
            con.close()
            raise
        return con

    def _commit(self, con: psycopg.Connection) -> None:
        if con.info.transaction_status == TransactionStatus.INERROR:
            # COMMIT would answer ROLLBACK, and nobody would look.
            raise RunError("The store refused a batch: a statement of it had failed.")
        con.execute(b"COMMIT")

    def _roll_back(self) -> None:
        self._known.forget()
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                self._writer.execute(b"ROLLBACK")
            if self._writer.broken:
                self._drop_writer()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._known.forget()

    def _create_tables(self) -> None:
        with self.transaction() as tx:
            con = self._begun()
            if self._version_in(con) is None:
                for schema in tables.SCHEMAS_OF_TABLES:
                    con.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}".encode())
            for table, columns in tables.FIXED.items():
                tx.ensure_columns(table, columns)
            for view in tables.VIEWS:
                if con.execute(b"SELECT to_regclass($1)", [f"public.{view}"]).fetchall() == [(None,)]:
                    tx.ensure_view(view, tables.view_sql(view), own=True)
            # Written every time: a role that may only read is found out now, and not in the middle of a batch.
            version = {"key": "schema_version", "value": str(tables.SCHEMA_VERSION)}
            tx.upsert("headrace.meta", ("key",), tables.META, [version])

    def _begun(self) -> psycopg.Connection:
        if self._writer is None:
            raise RuntimeError("no transaction is open")
        return self._writer
