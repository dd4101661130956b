"""The Redis server of the settings: one of the user's, or the embedded one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from integration.errors import ConfigError
from integration.settings import Settings
from integration.stream.connection import Client, reach
from integration.stream.embedded import embedded


@dataclass(frozen=True, slots=True)
class Streams:
    """A reachable Redis: its address (with its password: never show it) and a client."""

    url: str
    client: Client


@contextmanager
def open_streams(settings: Settings) -> Iterator[Streams]:
    """Reach the Redis server of the settings; the embedded one is started if nobody else has started it."""
    if settings.redis.url != "embedded":
        client = reach(settings.redis.url)
        try:
            yield Streams(settings.redis.url, client)
        finally:
            client.close()
        return
    with embedded(settings.redis_directory) as url:
        client = reach(url)
        try:
            yield Streams(url, client)
        finally:
            client.close()


def has_streams(settings: Settings) -> bool:
    """False where the embedded server has never been started; a server of the user's own is always worth a try."""
    return settings.redis.url != "embedded" or settings.redis_directory.is_dir()


@contextmanager
def existing_streams(settings: Settings) -> Iterator[Streams]:
    """The same for commands that only look: they don't leave an embedded server's directory where there was none.

    Raises ConfigError if there is nothing to look at yet.
    """
    if not has_streams(settings):
        raise ConfigError(
            f"There are no streams at {settings.redis_directory} yet: run headrace sync (or headrace demo) first."
        )
    with open_streams(settings) as streams:
        yield streams
