"""The store, opened with patience: DuckDB lets one process in at a time, and some stay only for a moment."""

import time
from collections.abc import Callable
from typing import TypeVar

from integration.settings import Settings
from integration.store.duckdb.owner import StoreOwnedError
from integration.store.opening import Reader, open_reader

T = TypeVar("T")

_PATIENCE_SECONDS = 5.0
_BEAT_SECONDS = 0.05


def reader(settings: Settings) -> Reader:
    """Open the store for reading, through its owner if one has it open. To be closed."""
    # An owner holds the file for a moment before it says where it answers, and after it has stopped to.
    return patiently(lambda: open_reader(settings.store_path), lambda _error: True)


def patiently(opened: Callable[[], T], passes: Callable[[StoreOwnedError], bool]) -> T:
    """Return what `opened` returns; while another process is in, try again for some seconds if that `passes`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return opened()
        except StoreOwnedError as error:
            if time.monotonic() >= deadline or not passes(error):
                raise
        time.sleep(_BEAT_SECONDS)
