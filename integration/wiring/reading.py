"""The store: whether it is there, who owns it, and how it is opened: with patience, for DuckDB lets one process in at
a time, and some stay only for a moment."""

import time
from collections.abc import Callable
from typing import TypeVar

from integration.settings import Settings, mask_url
from integration.store import answers, opening
from integration.store.ownership import Owner, StoreOwnedError
from integration.store.protocol import Queryable, Reader

T = TypeVar("T")

_VERSION = "SELECT value FROM headrace.meta WHERE key = 'schema_version'"
_PATIENCE_SECONDS = 5.0
_BEAT_SECONDS = 0.05


def exists(settings: Settings) -> bool:
    """Tell whether there is a store to read; a server says by itself that it has none."""
    return settings.store_path is None or settings.store_path.exists()


def place(settings: Settings) -> str:
    """Name the store for people: its file, or its address without user and password."""
    return str(settings.store_path or mask_url(settings.store.url))


def find_owner(settings: Settings) -> Owner | None:
    """Return the living process that has the store to itself; None when there is none."""
    return opening.find_owner(settings.store.url, password=store_password(settings))


def store_password(settings: Settings) -> str | None:
    """Return the password of a store that a server keeps, where it does not stand in its address."""
    secret = settings.store.password
    return secret.get_secret_value() if secret is not None else None


def reader(settings: Settings) -> Reader:
    """Open the store for reading, through its owner if one has it open. To be closed."""
    # An owner holds the file for a moment before it says where it answers, and after it has stopped to.
    return patiently(
        lambda: opening.open_reader(settings.store.url, password=store_password(settings)), lambda _error: True
    )


def version_of(store: Queryable) -> int:
    """Return the version of a store's tables (see tables.SCHEMA_VERSION), 0 where none is noted."""
    found = answers.ask(store, _VERSION)
    return int(found[0]["value"]) if found else 0


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
