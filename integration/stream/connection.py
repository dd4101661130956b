"""Connections to Redis or Valkey, and what went wrong with them in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as SlowError
from redis.retry import Retry

from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.stream.renaming import rename_old_keys

Client = redis.Redis
"""What the functions of integration.stream take; others name it without importing redis."""


class FullError(UnreachableError):
    """Redis has no memory left and wrote nothing: it takes reads, acknowledgements and trims, but no entries."""


_SETTING = "redis.url (HEADRACE_REDIS__URL)"
_SCHEMES = ("redis", "rediss", "unix")


def connect(url: str) -> Client:
    """Return a client; nothing is sent before its first command. Raises ConfigError for what is no Redis URL.

    Lost connections are made again: four tries, 0.1 to 2 seconds apart, with jitter. A transaction whose answer was
    lost is sent again as a whole, so what it publishes can come twice (with the same `id`), never in part.
    """
    return _client(url, Retry(ExponentialWithJitterBackoff(base=0.1, cap=2.0), retries=4))


def connect_briefly(url: str, seconds: float) -> Client:
    """The same for those who can't wait: no answer is waited for longer than this, and no more than one retry is made
    at once, since a server that was restarted has cut the connection that lay idle."""
    return _client(url, Retry(NoBackoff(), retries=1, supported_errors=(LostError,)), seconds)


def reach(url: str) -> Client:
    """Return a client of a server that has just answered a PING, and in which the keys have their present names.

    Raises ConfigError (no Redis URL, login refused, not a Redis server) or UnreachableError (no answer) at once,
    without trying again.
    """
    with _client(url, Retry(NoBackoff(), retries=0)) as probe, answering(probe):
        probe.ping()
        rename_old_keys(probe)
    return connect(url)


@contextmanager
def answering(client: Client) -> Iterator[None]:
    """Turn the errors of redis-py inside the block into errors of integration.errors, in one sentence each."""
    try:
        yield
    except RedisError as error:
        raise translated(error, where(client)) from error


def translated(error: RedisError, place: str) -> HeadraceError:
    """Return what a user should hear about an error of the server at `place` (host:port)."""
    at = f"Redis at {place}"
    # The order matters: a refused login and a loading server are ConnectionErrors too.
    if isinstance(error, AuthenticationError | AuthorizationError):
        return ConfigError(f"{at} refuses the login: set the user name and password in {_SETTING}.")
    if isinstance(error, NoPermissionError):
        return ConfigError(f"{at} does not allow its user this ({_said(error)}): grant it, or change {_SETTING}.")
    if isinstance(error, BusyLoadingError):
        return UnreachableError(f"{at} is still loading its data: try again in a moment.")
    if isinstance(error, InvalidResponse) or "Protocol error" in str(error):
        return ConfigError(f"What answers at {place} does not speak the Redis protocol: change {_SETTING}.")
    if isinstance(error, LostError | SlowError):
        return UnreachableError(f"{at} does not answer: start it, or set {_SETTING} to a server that runs.")
    if isinstance(error, OutOfMemoryError):
        return FullError(f"{at} is full and wrote nothing of it: raise its maxmemory, or let the consumers catch up.")
    if isinstance(error, ReadOnlyError) or _said(error).startswith("MISCONF"):
        return UnreachableError(f"{at} takes no writes now ({_said(error)}): repair it, or change {_SETTING}.")
    if isinstance(error, AskError):  # MOVED is one too
        return ConfigError(
            f"{at} is one of several shards of a cluster, and headrace talks to one server: set {_SETTING} to a Redis "
            "that is not sharded."
        )
    if isinstance(error, ClusterDownError):
        return UnreachableError(f"{at} takes no commands (its cluster is down): repair it, or change {_SETTING}.")
    if isinstance(error, ResponseError) and "DB index" in str(error):
        return ConfigError(f"{at} has no database of that number: change the end of {_SETTING}.")
    return RunError(f"{at} refused a command: {_said(error)}.")


def where(client: Client) -> str:
    """Return host:port (or the path of the socket) of a client, for messages."""
    settings = client.connection_pool.connection_kwargs
    if path := settings.get("path"):
        return str(path)
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


def masked(url: str) -> str:
    """Return a URL without its user name and password, fit for logs and errors."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***" if "@" in url else url
    # Up to the last @, since a password that was not percent-encoded may hold one.
    credentials, at, place = rest.rpartition("@")
    hidden = f"{scheme}://***@{place}" if at and credentials else f"{scheme}://{place}"
    return re.sub(r"([?&](?:username|password)=)[^&#]*", r"\1***", hidden)


def _client(url: str, retry: Retry, seconds: float | None = None) -> Client:
    if _scheme(url) not in _SCHEMES:
        raise ConfigError(
            f"{masked(url)!r} is not a Redis URL: set {_SETTING} to one such as redis://localhost:6379/0."
        )
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=False,
            socket_timeout=seconds or 10,
            socket_connect_timeout=seconds or 5,
            health_check_interval=15,
            retry=retry,
        )
    except ValueError as error:
        raise ConfigError(
            f"{masked(url)!r} is not a Redis URL ({masked(str(error))}): set {_SETTING} to one such as "
            "redis://localhost:6379/0."
        ) from None


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


def _said(error: RedisError) -> str:
    # redis-py puts the beginning of the command before the server's words, and a command can hold personal data.
    return str(error).rpartition("caused error: ")[2].rstrip(".")
