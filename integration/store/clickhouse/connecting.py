"""The way to a ClickHouse: its address, and the clients that talk to it. The only module that knows clickhouse-connect.

A store asks its `Door` for clients; the door of a server makes them over HTTP. Tests hand in a door to the engine in
their own process: everything behind it is the same.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.exceptions import Error as DriverError

from integration.errors import ConfigError
from integration.store.addresses import database_of

__all__ = ["ClickHouseError", "Door", "DriverError", "HttpDoor", "Session", "door_of"]

_SECONDS_TO_CONNECT = 10
_SECONDS_TO_ANSWER = 600
_PORTS = {"clickhouse": 8123, "clickhouses": 8443}
_SETTINGS: Mapping[str, str] = {
    # SQL as other databases understand it.
    "join_use_nulls": "1",
    "union_default_mode": "DISTINCT",
    "except_default_mode": "DISTINCT",
    "intersect_default_mode": "DISTINCT",
    "prefer_column_name_to_alias": "1",
    "session_timezone": "UTC",
    # A batch is written when it says so.
    "async_insert": "0",
    "insert_deduplicate": "1",
    "output_format_arrow_string_as_string": "1",
    # Ids are listed in the statement.
    "max_query_size": str(256 * 1024 * 1024),
}
_READING: Mapping[str, str] = {"readonly": "2"}
"""What people's statements run under. 1 would forbid the time limit of each statement too."""


class Door(Protocol):
    """Makes clients of one ClickHouse."""

    @property
    def shown(self) -> str:
        """What it is called in sentences: `db.example.com:8123`. No user and no password."""

    def client(self, settings: Mapping[str, str], session: str | None) -> Any:
        """Return a new client of clickhouse-connect. With a session, what it makes temporary is its own."""


@dataclass(frozen=True, slots=True)
class HttpDoor:
    """A server behind HTTP or HTTPS."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    secure: bool = False

    @property
    def shown(self) -> str:
        """See Door."""
        return f"{self.host}:{self.port}"

    def client(self, settings: Mapping[str, str], session: str | None) -> Any:
        """See Door."""
        more = {"session_timeout": "3600"} if session else {}
        return clickhouse_connect.get_client(
            host=self.host,
            port=self.port,
            username=self.user,
            password=self.password,
            interface="https" if self.secure else "http",
            settings={**settings, **more},
            session_id=session,
            autogenerate_session_id=False,
            connect_timeout=_SECONDS_TO_CONNECT,
            send_receive_timeout=_SECONDS_TO_ANSWER,
            client_name="headrace",
            # Errors are told with their number: the sentences are our own.
            show_clickhouse_errors=True,
        )


def door_of(url: str, password: str | None = None) -> tuple[HttpDoor, str]:
    """Return the way to the server of a `clickhouse://user:password@host:port/database` (`clickhouses`: over TLS), and
    the name of the database; `password` counts before one in the address. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise ConfigError("The port in store.url is no number: write clickhouse://host:8123/database.") from error
    if not port or not parts.hostname:
        raise ConfigError("store.url names no server: write clickhouse://user@host:8123/database.")
    database = database_of(url)
    if "/" in database or database.lower() in _TAKEN:
        raise ConfigError(f"store.url can't name the database {database}: take default, or another of its own.")
    if parts.query or parts.fragment:
        raise ConfigError("store.url of a ClickHouse takes no parameters: write clickhouse://user@host:8123/database.")
    return (
        HttpDoor(
            parts.hostname,
            port,
            unquote(parts.username or "default"),
            password or unquote(parts.password or ""),
            secure=parts.scheme == "clickhouses",
        ),
        database,
    )


_TAKEN = frozenset({"headrace", "headrace_rows", "salesforce", "system", "information_schema"})


class Session:
    """A client, and the few things that are asked of it. Raises what clickhouse-connect raises.

    `own` is for one thread at a time and may make temporary tables; without it any number of threads may use it.
    """

    def __init__(self, door: Door, *, own: bool = False, reading: bool = False) -> None:
        settings = {**_SETTINGS, **(_READING if reading else {})}
        self._client = door.client(settings, f"headrace-{secrets.token_hex(8)}" if own else None)

    @property
    def version(self) -> str:
        """The version of the server."""
        return str(self._client.server_version)

    def use(self, database: str) -> None:
        """Have names without a database mean this one."""
        self._client.database = database

    def run(self, sql: str) -> None:
        """Run a statement that gives nothing."""
        self._client.command(sql)

    def table(self, sql: str, *, timeout_seconds: float | None = None, limit: int | None = None) -> pa.Table:
        """Run a statement that gives rows."""
        settings: dict[str, str] = {}
        if timeout_seconds is not None:
            settings["max_execution_time"] = str(max(timeout_seconds, 0.001))
        if limit is not None:
            settings["limit"] = str(limit)
        # Not query_arrow: that would set for every statement what is set for the session already.
        with pa.ipc.open_stream(self._client.raw_query(sql, settings=settings or None, fmt="ArrowStream")) as stream:
            return stream.read_all()

    def text(self, sql: str) -> str:
        """Run a statement that gives lines of text."""
        answer: bytes = self._client.raw_query(sql, fmt="TSVRaw")
        return answer.decode("utf-8", "replace")

    def types(self, select: str) -> dict[str, str]:
        """Return the names and types of what a SELECT gives; a name that comes twice is there once."""
        found = self._client.query(f"DESCRIBE TABLE ({select}\n)")
        return {str(row[0]): str(row[1]) for row in found.result_rows}

    def insert(self, table: str, rows: pa.Table, *, token: str = "") -> None:
        """Insert rows into a table (its quoted name). The same token twice writes once."""
        settings = {"insert_deduplication_token": token} if token else None
        self._client.insert_arrow(table, rows.combine_chunks(), settings=settings)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
