"""The embedded store: one DuckDB file, owned by one process, read by all of them.

The file is attached under the name `store`: opened directly, DuckDB would name the database after the file, and in
`headrace.duckdb` the name `headrace.states` would be ambiguous.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from integration.errors import ConfigError, RunError, UnreachableError, UsageError
from integration.store import answers, tables
from integration.store.duckdb import sentences, wal
from integration.store.duckdb.guard import reading_statement
from integration.store.duckdb.transaction import DuckDBTransaction, Known
from integration.store.protocol import Reading
from integration.store.quoting import identifier, literal, table_name

_ROWS_AT_ONCE = 10_000
# Arrow has no plain form for these: they are read as text.
_AS_TEXT = ("BIGNUM", "BIT", "VARIANT", "INTERVAL", "UNION", "TIME WITH TIME ZONE", "UHUGEINT")


class DuckDBStore:
    """A store in one file; see protocol.Store.

    One transaction at a time (others wait their turn), any number of queries beside it: a query sees the last
    commit and never holds the writer up. `memory_limit` is DuckDB's (`512MB`; larger work spills to
    `<file>.tmp`), `threads` defaults to the number of cores.

    Raises ConfigError when there is no store (read_only) or no directory for it, StoreOwnedError when another
    process has it open, UnreachableError when the file can't be used.
    """

    def __init__(
        self, path: Path | str, *, read_only: bool = False, memory_limit: str = "512MB", threads: int | None = None
    ) -> None:
        self.path = Path(path).absolute()
        self._writing = threading.Lock()
        self._writer_thread: int | None = None
        self._branching = threading.Lock()
        self._known = Known()
        self._is_writer = not read_only
        self._root = _open(self.path, read_only=read_only, memory_limit=memory_limit, threads=threads)
        try:
            self._con = self._branch()
            self._check_version()
            if not read_only:
                self._create_tables()
        except BaseException:
            self._root.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[DuckDBTransaction]:
        """See protocol.Store. DuckDB's errors come out as RunError or UnreachableError.

        Not to be nested: a thread that has one open gets a RuntimeError.
        """
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("this thread has a transaction open already")
        with self._writing:
            self._writer_thread = threading.get_ident()
            try:
                if wal.is_long(self.path):
                    self._checkpoint()
                self._con.execute("BEGIN TRANSACTION")
                tx = DuckDBTransaction(self._con, self._known)
                yield tx
                tx.store_held()
                self._con.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, duckdb.Error):
                    raise sentences.writing(error) from error
                raise
            finally:
                self._writer_thread = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """See protocol.Store."""
        con = self._branch()
        try:
            yield DuckDBTransaction(con, Known())
        except duckdb.Error as error:
            raise RunError(f"The store could not be read: {sentences.first_line(error)}") from error
        finally:
            con.close()

    def query(self, sql: str, *, limit: int | None = None, timeout_seconds: float = 60.0) -> pa.Table:
        """See protocol.Queryable. At most `limit` rows come back; more are not computed where that can be helped."""
        con = self._branch()
        timer = _Timer(con, timeout_seconds)
        try:
            with timer:
                con.execute("BEGIN TRANSACTION READ ONLY")
                return _run(con, reading_statement(con, sql), limit)
        except duckdb.Error as error:
            timed_out = timeout_seconds if timer.rang else None
            raise sentences.reading(error, self.table_names, timed_out) from error
        finally:
            with contextlib.suppress(duckdb.Error):
                con.execute("ROLLBACK")
            con.close()

    def compiled(self, sql: str) -> str:
        """See protocol.Queryable."""
        return sql

    def table_names(self) -> Sequence[str]:
        """List every table and view as people name them, `users` and `salesforce.contact`."""
        con = self._branch()
        try:
            found = con.sql(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'store' UNION "
                "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'store' AND NOT internal "
                "ORDER BY ALL"
            ).to_arrow_table()
        finally:
            con.close()
        pairs = zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True)
        return [name if schema == "main" else f"{schema}.{name}" for schema, name in pairs]

    def close(self) -> None:
        """See protocol.Store. Waits for a transaction that another thread has open."""
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("this thread has a transaction open")
        with self._writing:
            if self._is_writer:
                with contextlib.suppress(duckdb.Error):  # nothing is lost: the log is read when the file is opened
                    wal.let_merge(self._con)
            self._con.close()
            self._root.close()

    def _checkpoint(self) -> None:
        wal.let_merge(self._con)
        with contextlib.suppress(duckdb.TransactionException):  # a reader may be in the way: the next batch tries again
            self._con.execute("CHECKPOINT store")

    def _branch(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the same open file."""
        try:
            with self._branching:
                con = self._root.cursor()
            con.execute("USE store")
        except duckdb.Error as error:
            raise UnreachableError(f"{self.path} is closed: open the store again.") from error
        return con

    def _roll_back(self) -> None:
        self._known.forget()
        with contextlib.suppress(duckdb.Error):
            self._con.execute("ROLLBACK")

    def _check_version(self) -> None:
        try:
            found = self._con.sql("SELECT value FROM headrace.meta WHERE key = 'schema_version'").to_arrow_table()
        except duckdb.CatalogException:
            return  # a new file
        version = found.column(0).to_pylist()
        if version and int(version[0]) > tables.SCHEMA_VERSION:
            raise ConfigError(f"{self.path} was written by a newer headrace: upgrade this one.")

    def _create_tables(self) -> None:
        with self.transaction() as tx:
            for schema in tables.SCHEMAS_OF_TABLES:
                self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
            for table, columns in tables.FIXED.items():
                tx.ensure_columns(table, columns)
            for view in tables.VIEWS:
                self._con.execute(f"CREATE VIEW IF NOT EXISTS {table_name(view)} AS {tables.view_sql(view)}")
            version = {"key": "schema_version", "value": str(tables.SCHEMA_VERSION)}
            tx.upsert("headrace.meta", ("key",), tables.META, [version])


class _Timer:
    """Interrupts a connection when the time is up."""

    def __init__(self, con: duckdb.DuckDBPyConnection, seconds: float) -> None:
        self.rang = False
        self._con = con
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        # A bell that rings now must have rung before the connection is used for anything else.
        self._timer.join()

    def _ring(self) -> None:
        self.rang = True
        self._con.interrupt()


def _open(path: Path, *, read_only: bool, memory_limit: str, threads: int | None) -> duckdb.DuckDBPyConnection:
    if read_only and not path.exists():
        raise sentences.missing(path)
    if not path.parent.is_dir():
        raise ConfigError(f"The directory {path.parent} does not exist: create it, or change store.url.")
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "checkpoint_threshold": "1TB",  # see wal
        wal.SETTING: 0,
        "allowed_configs": [wal.SETTING],
        "temp_directory": f"{path}.tmp",
        # Names of Python variables are no tables, and nothing is fetched from anywhere.
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    if threads is not None:
        config["threads"] = threads
    try:
        con = duckdb.connect(":memory:", config=config)
    except duckdb.Error as error:
        raise ConfigError(f"DuckDB refuses its settings: {sentences.first_line(error)}") from error
    try:
        con.execute(f"ATTACH {literal(str(path))} AS store{' (READ_ONLY)' if read_only else ''}")
        con.execute("SET GLOBAL enable_external_access = false")
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        con.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        con.close()
        raise sentences.opening(error, path) from error
    return con


def _run(con: duckdb.DuckDBPyConnection, sql: str, limit: int | None) -> pa.Table:
    relation = con.sql(sql)
    if relation is None:
        raise UsageError("This statement gives no rows.")
    types = [str(kind) for kind in relation.types]
    if any(_reads_as_text(kind) for kind in types) and len(set(relation.columns)) == len(types):
        shown = (
            f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}" if _reads_as_text(kind) else identifier(name)
            for name, kind in zip(relation.columns, types, strict=True)
        )
        relation = relation.project(", ".join(shown))
    with relation.to_arrow_reader(_ROWS_AT_ONCE) as reader:
        batches, left = [], limit
        while left is None or left > 0:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            batches.append(batch if left is None else batch.slice(0, left))
            left = left if left is None else left - batches[-1].num_rows
        found = pa.Table.from_batches(batches, reader.schema)
    return answers.with_types(found, types)


def _reads_as_text(kind: str) -> bool:
    return kind.startswith(_AS_TEXT)
