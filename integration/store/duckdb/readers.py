"""Readers of an embedded store: from its file while nobody owns it, else through the process that does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pyarrow as pa
import requests

from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError, UsageError
from integration.store.answers import ARROW_STREAM
from integration.store.duckdb.owner import find_owner
from integration.store.duckdb.store import DuckDBStore
from integration.store.ownership import Owner, StoreOwnedError
from integration.store.protocol import Reader

_CONNECT_SECONDS = 5.0
_GRACE_SECONDS = 10.0  # beyond the query's own time: the owner's sentence should come first
_KINDS: Mapping[str, type[HeadraceError]] = {
    "usage": UsageError,
    "config": ConfigError,
    "unreachable": UnreachableError,
    "run": RunError,
}


def open_file(path: Path) -> Reader:
    """Open a store's file for reading, through its owner if one has it open.

    Raises ConfigError when there is no store, StoreOwnedError when a process has it open that does not answer
    queries, UnreachableError when the file can't be used.
    """
    try:
        return FileReader(path)
    except StoreOwnedError as error:
        owner = find_owner(path)
        if owner is None:
            raise StoreOwnedError(
                f"{error} It answers no queries (headrace run and headrace demo would).", error.pid, error.host
            ) from error
        return OwnerReader(owner.url, token=owner.token, owner=owner)


class _Closing:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def compiled(self, sql: str) -> str:
        """Return it as it is: headrace's own statements are written in DuckDB's dialect."""
        return sql


class FileReader(_Closing):
    """Reads the file itself. While it is open, no process can write to it."""

    def __init__(self, path: Path) -> None:
        self._store = DuckDBStore(path, read_only=True)

    def query(self, sql: str, *, limit: int | None = None, timeout_seconds: float = 60.0) -> pa.Table:
        """See protocol.Reader."""
        return self._store.query(sql, limit=limit, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """See protocol.Reader."""
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

    def query(self, sql: str, *, limit: int | None = None, timeout_seconds: float = 60.0) -> pa.Table:
        """See protocol.Queryable. Raises UnreachableError when the owner does not answer."""
        body = {"sql": sql, "limit": limit, "timeout_seconds": timeout_seconds}
        try:
            answer = self._session.post(
                f"{self._url}/api/sql", json=body, timeout=(_CONNECT_SECONDS, timeout_seconds + _GRACE_SECONDS)
            )
        except requests.RequestException as error:
            who = f"Process {self._owner.pid} owns the store but" if self._owner else "The process that owns the store"
            raise UnreachableError(f"{who} does not answer at {self._url}: look at its log, or restart it.") from error
        if answer.status_code != requests.codes.ok:
            raise _error_of(answer, self._url)
        with pa.ipc.open_stream(answer.content) as stream:
            return stream.read_all()

    def close(self) -> None:
        """See protocol.Reader."""
        self._session.close()


def _error_of(answer: requests.Response, url: str) -> HeadraceError:
    try:
        told = answer.json()
        return _KINDS.get(told["kind"], RunError)(told["error"])
    except (ValueError, KeyError, TypeError):
        return UnreachableError(f"{url} answered {answer.status_code}, which is not headrace: look at what runs there.")
