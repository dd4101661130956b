"""The store that scales out: tables on a ClickHouse server, written by one process at a time, read by everyone.

ClickHouse has no transactions. What a transaction writes is kept back until it commits; then one row of the journal
commits all of it, and the tables are brought up to it (see journal.py). So a batch is in the store or it is not,
whenever the writer dies; but while it is applied, or before the next writer applies it, people may see part of it.
"""

import contextlib
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from typing import Self

import pyarrow as pa

from integration.errors import ConfigError, RunError
from integration.store import tables
from integration.store.clickhouse import catalog, layout, ownership, ranges, sentences
from integration.store.clickhouse.asking import ask
from integration.store.clickhouse.catalog import Catalog
from integration.store.clickhouse.connecting import ClickHouseError, Door, Session, door_of
from integration.store.clickhouse.dialect import compiled
from integration.store.clickhouse.journal import Journal
from integration.store.clickhouse.ownership import Ownership
from integration.store.clickhouse.reading import ClickHouseReading
from integration.store.clickhouse.transaction import ClickHouseTransaction
from integration.store.ownership import Owner
from integration.store.protocol import Reading

_OLDEST = (25, 3)
_VERSION = re.compile(r"(\d+)\.(\d+)")


class ClickHouseReader:
    """Asks a store on a ClickHouse server; see protocol.Reader. Any number of threads may use it.

    `main` is the database of the tables without a schema. Raises ConfigError when there is no store, UnreachableError
    when the server does not answer.
    """

    def __init__(self, door: Door, main: str = "default") -> None:
        self._door = door
        self._main = main
        with self._opening():
            self._people = Session(door, reading=True)
            _check_server(self._people.version, door)
            if not self._is_there():
                raise sentences.missing(door.shown)
            self._people.use(main)

    @classmethod
    def at(cls, url: str, password: str | None = None) -> Self:
        """Open the store at a `clickhouse://` or `clickhouses://` address; `password` counts before one in it."""
        return cls(*door_of(url, password))

    def query(self, sql: str, *, limit: int | None = None, timeout_seconds: float = 60.0) -> pa.Table:
        """See protocol.Queryable. At most `limit` rows come back."""
        try:
            return ask(self._people, sql, self._main, limit=limit, timeout_seconds=timeout_seconds)
        except ClickHouseError as error:
            raise sentences.reading(error, self._door.shown, self.table_names, timeout_seconds) from error

    def compiled(self, sql: str) -> str:
        """See protocol.Queryable."""
        return compiled(sql).text(lambda table: layout.public(table, self._main))

    def table_names(self) -> Sequence[str]:
        """List every table and view as people name them, `users` and `salesforce.contact`."""
        return catalog.names(self._people, self._main)

    def close(self) -> None:
        """See protocol.Reader."""
        self._people.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_there(self) -> bool:
        sql = f"SELECT 1 FROM system.tables WHERE database = '{layout.ROWS}' AND name = 'headrace.meta'"
        return bool(self._people.table(sql).num_rows)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except ClickHouseError as error:
            raise sentences.opening(error, self._door.shown) from error


def find_owner(url: str, *, password: str | None = None) -> Owner | None:
    """Return the process that works with the store; None when there is none. Raises as ClickHouseReader."""
    door, _ = door_of(url, password)
    try:
        return ownership.find(door)
    except ClickHouseError as error:
        raise sentences.opening(error, door.shown) from error


class ClickHouseStore:
    """A store on a ClickHouse server; see protocol.Store.

    One transaction at a time (others wait their turn), any number of queries beside it. Another process may write in
    between: of two that commit at the same time one gets a FencedError. Raises ConfigError for a server that is too
    old, a login that it refuses, or databases that hold something else; UnreachableError when it does not answer; with
    `as_owner`, also StoreOwnedError when another process has opened it so.
    """

    def __init__(self, door: Door, main: str = "default", *, as_owner: bool = False) -> None:
        self._door = door
        self._main = main
        self._ownership: Ownership | None = None
        self._lock = threading.Lock()
        self._writer_thread: int | None = None
        self._catalog = Catalog()
        self._seen = -1
        self._open: list[Session] = []
        try:
            self._session = self._started(own=True)
            _check_server(self._session.version, door)
            self._make_databases()
            self._ownership = Ownership(door) if as_owner else None
            self._journal = Journal(self._session, main)
            self._journal.create()
            self._any_time = ranges.holds_all(self._session)
            self._create_tables()
            self._beside = self._started()
            self._reader = ClickHouseReader(door, main)
        except BaseException as error:
            self._end()
            if isinstance(error, ClickHouseError):
                raise sentences.opening(error, door.shown) from error
            raise

    @classmethod
    def at(cls, url: str, password: str | None = None) -> Self:
        """Open the store at a `clickhouse://` or `clickhouses://` address as its owner; `password` counts before one in
        it."""
        return cls(*door_of(url, password), as_owner=True)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[ClickHouseTransaction]:
        """See protocol.Store. ClickHouse's errors come out as RunError or UnreachableError, a batch that another
        process has forestalled as FencedError.

        Not to be nested: a thread that has one open gets a RuntimeError.
        """
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("this thread has a transaction open already")
        with self._lock:
            self._writer_thread = threading.get_ident()
            try:
                with self._batch() as tx:
                    yield tx
            except ClickHouseError as error:
                raise sentences.writing(error, self._door.shown) from error
            finally:
                self._writer_thread = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """See protocol.Store."""
        try:
            yield ClickHouseReading(self._beside, self._main)
        except ClickHouseError as error:
            if sentences.code_of(error) is None:
                raise sentences.away(self._door.shown) from error
            raise RunError(f"The store could not be read: {sentences.first_line(error)}") from error

    def query(self, sql: str, *, limit: int | None = None, timeout_seconds: float = 60.0) -> pa.Table:
        """See protocol.Queryable. At most `limit` rows come back."""
        return self._reader.query(sql, limit=limit, timeout_seconds=timeout_seconds)

    def compiled(self, sql: str) -> str:
        """See protocol.Queryable."""
        return self._reader.compiled(sql)

    def table_names(self) -> Sequence[str]:
        """List every table and view as people name them, `users` and `salesforce.contact`."""
        return self._reader.table_names()

    def close(self) -> None:
        """See protocol.Store. Waits for a transaction that another thread has open."""
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("this thread has a transaction open")
        with self._lock:
            self._reader.close()
            self._end()

    def _started(self, *, own: bool = False) -> Session:
        session = Session(self._door, own=own)
        self._open.append(session)
        return session

    def _end(self) -> None:
        if self._ownership is not None:
            self._ownership.close()
        for session in self._open:
            with contextlib.suppress(ClickHouseError):
                session.close()

    @contextlib.contextmanager
    def _batch(self) -> Iterator[ClickHouseTransaction]:
        head = self._journal.settle()
        if head.committed != self._seen:
            # The first one, or another process has written since.
            self._catalog = catalog.read(self._session, self._main)
            self._seen = head.committed
        batch = head.committed + 1
        tx = ClickHouseTransaction(self._session, self._main, self._catalog, batch, any_time=self._any_time)
        try:
            yield tx
            self._commit(tx, batch)
        finally:
            with contextlib.suppress(ClickHouseError):
                tx.clear_up()

    def _commit(self, tx: ClickHouseTransaction, batch: int) -> None:
        entry = tx.entry()
        if not entry:
            return
        # Whatever happens from here on, what is remembered may be wrong.
        self._seen = -1
        writer = secrets.token_hex(8)
        self._journal.commit(batch, writer, entry)
        self._journal.apply(batch, writer, entry)
        tx.remember()
        self._seen = batch

    def _make_databases(self) -> None:
        for database in (self._main, layout.ROWS, *layout.SCHEMAS):
            self._session.run(f"CREATE DATABASE IF NOT EXISTS {layout.name(database)}")

    def _create_tables(self) -> None:
        with self.transaction() as tx:
            self._check_databases()
            for table, columns in tables.FIXED.items():
                tx.ensure_columns(table, columns)
            for view in tables.VIEWS:
                if view not in self._catalog.views:
                    tx.ensure_view(view, tables.view_sql(view), own=True)
            found = tx.rows("SELECT value FROM headrace.meta WHERE key = 'schema_version'")
            version = int(found[0]["value"]) if found else 0
            if version > tables.SCHEMA_VERSION:
                raise ConfigError(f"The store at {self._door.shown} was written by a newer headrace: upgrade this one.")
            if version < tables.SCHEMA_VERSION:
                row = {"key": "schema_version", "value": str(tables.SCHEMA_VERSION)}
                tx.upsert("headrace.meta", ("key",), tables.META, [row])

    def _check_databases(self) -> None:
        taken = sorted(self._catalog.foreign.intersection((*tables.FIXED, *tables.VIEWS)))
        if taken:
            raise ConfigError(
                f"The database {self._main} at {self._door.shown} has a table {taken[0]} that is not headrace's: give "
                "headrace a database of its own at the end of store.url."
            )
        others = self._session.table(
            "SELECT DISTINCT database FROM system.tables WHERE name = 'users' "
            f"AND startsWith(comment, '{layout.MARK}') AND database <> {layout.literal(self._main)}"
        )
        if others.num_rows:
            raise ConfigError(
                f"The store on this server has its tables in the database {others.column(0)[0]}: name it at the end "
                "of store.url. One server holds one store."
            )


def _check_server(version: str, door: Door) -> None:
    found = _VERSION.match(version)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        raise ConfigError(
            f"ClickHouse {version} at {door.shown} is too old: headrace needs {_OLDEST[0]}.{_OLDEST[1]} or newer."
        )
