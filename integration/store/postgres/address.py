"""Where a store's server is, and why it can't be reached: no sentence tells a password."""

import re
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import conninfo, pq

from integration.errors import ConfigError, HeadraceError, UnreachableError

OLDEST = 15
_CONNECT_SECONDS = 10
_EXAMPLE = "postgresql://headrace@db.example.com/headrace"
_DATABASE = re.compile(r'database "(.+)"')
_ROLE = re.compile(r'(?:role|user) "(.+?)"')


@dataclass(frozen=True, slots=True)
class Address:
    """A database on a server."""

    place: str
    """`host:port/database`, for people."""
    database: str
    words: str = field(repr=False)
    """What libpq takes; a password may be in it."""


def address(url: str, password: str | None = None) -> Address:
    """Read a store's address. What it leaves out is as for psql: service files, .pgpass and the like included.

    Raises ConfigError for one that can't be read.
    """
    given: dict[str, Any] = {
        "application_name": "headrace",
        "connect_timeout": _CONNECT_SECONDS,
        # A server that vanishes without a word is found out within a minute.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    try:
        told = conninfo.conninfo_to_dict(url)
        secret = {"password": password} if password is not None else {}
        words = conninfo.make_conninfo("", **(given | told | secret), client_encoding="utf8")
    except psycopg.Error:
        # libpq's sentence may hold the whole address, and with it the password.
        raise ConfigError(f"store.url is no address of a PostgreSQL database: write it as {_EXAMPLE}.") from None
    host, port = str(told.get("host") or "localhost"), told.get("port")
    database = str(told.get("dbname") or told.get("user") or "")
    where = f"{host}:{port or 5432}" if not host.startswith("/") else host
    return Address(f"{where}/{database}", database, words)


def connect(to: Address) -> psycopg.Connection:
    """Open a connection, in autocommit.

    Raises UnreachableError when the server does not answer or has no room, ConfigError when it refuses the login or
    is too old.
    """
    try:
        con = psycopg.connect(to.words, autocommit=True, cursor_factory=psycopg.RawCursor, prepare_threshold=None)
    except psycopg.Error as error:
        raise refusal(error, to) from None
    version, encoding = con.info.server_version, con.info.parameter_status("server_encoding")
    problem = None
    if version < OLDEST * 10_000:
        problem = f"PostgreSQL {version // 10_000} at {to.place} is too old: headrace needs {OLDEST} or newer."
    elif encoding != "UTF8":
        problem = (
            f"The database {to.place} has the encoding {encoding}, which can't hold every text: "
            "create one with ENCODING 'UTF8' and name it in store.url."
        )
    if problem is not None:
        con.close()
        raise ConfigError(problem)
    return con


def gone(to: Address) -> UnreachableError:
    """Say that the server does not answer."""
    return UnreachableError(f"PostgreSQL at {to.place} does not answer: start it, or correct store.url.")


def refusal(error: psycopg.Error, to: Address) -> HeadraceError:
    """Say why there is no connection. libpq gives no code for it, only words; the kind is asked of the server."""
    text = str(error)
    if pq.PGconn.ping(to.words.encode()) != pq.Ping.OK:
        return gone(to)
    if "too many" in text or "remaining connection slots" in text:
        return UnreachableError(
            f"PostgreSQL at {to.place} has no connection left: end what holds them, or raise max_connections."
        )
    database, role = _DATABASE.search(text), _ROLE.search(text)
    if database and "does not exist" in text:
        return ConfigError(
            f"There is no database {database[1]} at {to.place}: create it (CREATE DATABASE ... ENCODING 'UTF8'), "
            "or correct store.url."
        )
    who = f" as {role[1]}" if role else ""
    if "password" in text:
        return ConfigError(f"PostgreSQL at {to.place} refuses the password{who}: correct store.password.")
    line = text.strip().splitlines()[-1].rpartition("FATAL:")[2].strip()
    return ConfigError(f"PostgreSQL at {to.place} refuses to let headrace in{who} ({line}): correct store.url.")
