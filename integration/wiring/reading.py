from collections.abc import Iterator
from contextlib import contextmanager

from integration.settings import Settings
from integration.store.reader import Reader, open_reader
from integration.stream.connection import Client
from integration.wiring.parts import open_streams


def reader(settings: Settings) -> Reader:
    """Open the store for reading, through its owner if one has it open."""
    return open_reader(settings.store_path)


@contextmanager
def redis(settings: Settings) -> Iterator[Client]:
    """Reach the Redis server of the settings."""
    with open_streams(settings) as streams:
        yield streams.client
