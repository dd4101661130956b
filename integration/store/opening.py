"""Reading a store from any process: from its file while nobody owns it, else from the process that does."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa
import requests

from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError, UsageError
from integration.store.answers import ARROW_STREAM
from integration.store.duckdb.owner import Owner, StoreOwnedError, find_owner
from integration.store.duckdb.store import DuckDBStore

_DUCKDB = "duckdb:///"
_CONNECT_SECONDS = 5.0
_GRACE_SECONDS = 10.0  # beyond the query's own time: the owner's sentence should come first
_KINDS: Mapping[str, type[HeadraceError]] = {
    "usage": UsageError,
    "config": ConfigError,
    "unreachable": UnreachableError,
    "run": RunError,
}


class Reader(Protocol):
    """Answers read-only SQL."""

    def query(self, sql: str, limit: int | None = None, timeout: float = 60.0) -> pa.Table:
        """Run one statement; `timeout` in seconds. See protocol.Store.query for the errors."""

    def close(self) -> None:
        """Let go of the file or the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_reader(url_or_path: str | Path) -> Reader:
    """Open a store for reading: a path, `duckdb:///path`, or the `http(s)://` address of a process that owns one.

    Raises ConfigError when there is no store, StoreOwnedError when a process has it open that does not answer
    queries, UnreachableError when the file can't be used.
    """
    where = str(url_or_path)
    if where.startswith(("http://", "https://")):
        return OwnerReader(where, token=None)
    path = Path(where.removeprefix(_DUCKDB))
    try:
        return FileReader(path)
    except StoreOwnedError as error:
        owner = find_owner(path)
        if owner is None:
            raise StoreOwnedError(
                f"{error} It answers no queries (headrace run and headrace demo would).", error.pid
            ) from error
        return OwnerReader(owner.url, token=owner.token, owner=owner)


class _Closing:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class FileReader(_Closing):
    """Reads the file itself. While it is open, no process can write to it."""

    def __init__(self, path: Path) -> None:
        self._store = DuckDBStore(path, read_only=True)

    def query(self, sql: str, limit: int | None = None, timeout: float = 60.0) -> pa.Table:
        """See Reader."""
        return self._store.query(sql, limit=limit, timeout_seconds=timeout)

    def close(self) -> None:
        """See Reader."""
        self._store.close()


class OwnerReader(_Closing):
    """Asks the process that owns the store, over HTTP, and gets Arrow back."""

    def __init__(self, url: str, *, token: str | None, owner: Owner | None = None) -> None:
        self._url = url.rstrip("/")
        self._owner = owner
        self._session = requests.Session()
        # The owner is on this machine or named outright: proxies and .netrc have no part in it.
        self._session.trust_env = False
        self._session.headers["Accept"] = ARROW_STREAM
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def query(self, sql: str, limit: int | None = None, timeout: float = 60.0) -> pa.Table:
        """See Reader. Raises UnreachableError when the owner does not answer."""
        body = {"sql": sql, "limit": limit, "timeout_seconds": timeout}
        try:
            answer = self._session.post(
                f"{self._url}/api/sql", json=body, timeout=(_CONNECT_SECONDS, timeout + _GRACE_SECONDS)
            )
        except requests.RequestException as error:
            who = f"Process {self._owner.pid} owns the store but" if self._owner else "The process that owns the store"
            raise UnreachableError(f"{who} does not answer at {self._url}: look at its log, or restart it.") from error
        if answer.status_code != requests.codes.ok:
            raise _error_of(answer, self._url)
        with pa.ipc.open_stream(answer.content) as stream:
            return stream.read_all()

    def close(self) -> None:
        """See Reader."""
        self._session.close()


def _error_of(answer: requests.Response, url: str) -> HeadraceError:
    try:
        told = answer.json()
        return _KINDS.get(told["kind"], RunError)(told["error"])
    except (ValueError, KeyError, TypeError):
        return UnreachableError(f"{url} answered {answer.status_code}, which is not headrace: look at what runs there.")
