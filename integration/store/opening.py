"""Which adapter a store's address calls for: the one place that knows them all."""

from pathlib import Path
from typing import Any

from integration.errors import ConfigError
from integration.store.duckdb import owner
from integration.store.duckdb.readers import OwnerReader, open_file
from integration.store.duckdb.store import DuckDBStore
from integration.store.ownership import Owner
from integration.store.protocol import Reader, Store

_DUCKDB = "duckdb:///"
_POSTGRES = ("postgresql://", "postgres://")
_CLICKHOUSE = ("clickhouse://", "clickhouses://")


def open_store(url: str, *, password: str | None = None) -> Store:
    """Open a store to write, with its tables made. Raises what the adapter raises: ConfigError, UnreachableError, and
    StoreOwnedError for a file that another process has open. `password` is for one that a server keeps."""
    if url.startswith(_POSTGRES):
        opened: Store = _postgres().PostgresStore(url, password=password, as_owner=True)
        return opened
    if url.startswith(_CLICKHOUSE):
        store: Store = _clickhouse().ClickHouseStore.at(url, password)
        return store
    return DuckDBStore(Path(url.removeprefix(_DUCKDB)))


def open_reader(url_or_path: str | Path, *, password: str | None = None) -> Reader:
    """Open a store for reading: its address, the path of a DuckDB file, or the `http(s)://` address of a process that
    owns one. Raises ConfigError when there is no store, and as `open_store` does."""
    where = str(url_or_path)
    if where.startswith(("http://", "https://")):
        return OwnerReader(where, token=None)
    if where.startswith(_POSTGRES):
        opened: Reader = _postgres().PostgresReader(where, password=password)
        return opened
    if where.startswith(_CLICKHOUSE):
        reader: Reader = _clickhouse().ClickHouseReader.at(where, password)
        return reader
    return open_file(Path(where.removeprefix(_DUCKDB)))


def find_owner(url: str, *, password: str | None = None) -> Owner | None:
    """Return the living process that works with the store: for a file on this machine, for a server on any.

    None when there is none. Raises UnreachableError when the server does not answer.
    """
    if url.startswith(_DUCKDB):
        return owner.find_owner(Path(url.removeprefix(_DUCKDB)))
    if url.startswith(_POSTGRES):
        found: Owner | None = _postgres().find_owner(url, password=password)
    else:
        found = _clickhouse().find_owner(url, password=password)
    return found


def _postgres() -> Any:
    """Return the module of the adapter: its driver is an extra, and takes its time to load."""
    try:
        from integration.store.postgres import store
    except ImportError as error:
        raise ConfigError(
            f"A store in PostgreSQL needs what is not installed ({error}): pip install 'headrace[postgres]'."
        ) from error
    return store


def _clickhouse() -> Any:
    """Return the module of the adapter."""
    try:
        from integration.store.clickhouse import store
    except ImportError as error:
        raise ConfigError(
            f"A store in ClickHouse needs what is not installed ({error}): pip install 'headrace[clickhouse]'."
        ) from error
    return store
