"""Which adapter a store's address calls for: the one place that knows them all."""

from pathlib import Path

from integration.store.duckdb import owner
from integration.store.duckdb.readers import OwnerReader, open_file
from integration.store.duckdb.store import DuckDBStore
from integration.store.ownership import Owner
from integration.store.protocol import Reader, Store

_DUCKDB = "duckdb:///"


def open_store(url: str) -> Store:
    """Open a store to write, with its tables made. Raises what the adapter raises: ConfigError, UnreachableError, and
    StoreOwnedError for a file that another process has open."""
    return DuckDBStore(Path(url.removeprefix(_DUCKDB)))


def open_reader(url_or_path: str | Path) -> Reader:
    """Open a store for reading: its address, the path of a DuckDB file, or the `http(s)://` address of a process that
    owns one. Raises ConfigError when there is no store, and as `open_store` does."""
    where = str(url_or_path)
    if where.startswith(("http://", "https://")):
        return OwnerReader(where, token=None)
    return open_file(Path(where.removeprefix(_DUCKDB)))


def find_owner(url: str) -> Owner | None:
    """Return the living process on this machine that has the store to itself; None when there is none."""
    return owner.find_owner(Path(url.removeprefix(_DUCKDB))) if url.startswith(_DUCKDB) else None
