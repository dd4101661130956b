"""Who stores what a command has published: this process, or the worker that owns the store."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from integration.errors import UnreachableError
from integration.settings import Settings
from integration.store.ownership import StoreOwnedError
from integration.store.protocol import Store
from integration.stream import groups
from integration.stream.connection import Client, answering
from integration.wiring import owner, parts, reading
from integration.wiring.backfill_sink import lag_of

_NAP_SECONDS: Final = 0.25
_IDLE_SECONDS: Final = 120.0
"""A worker that takes nothing from the streams for so long is not waited for."""


def worker(settings: Settings) -> str | None:
    """Say who stores, as the subject of a sentence; None if nobody else does."""
    found = reading.find_owner(settings)
    return found.shown if found is not None and not found.is_me else None


@contextmanager
def store_or_none(settings: Settings) -> Iterator[Store | None]:
    """Open the store as its owner, and answer queries meanwhile; None where another process has it."""
    with ExitStack() as stack:
        store: Store | None = None
        if worker(settings) is None:
            try:
                store = stack.enter_context(parts.open_store(settings))
                stack.enter_context(owner.answering_queries(settings, store, port=0))
            except StoreOwnedError as error:
                if error.is_mine:
                    raise
        yield store


def wait(
    settings: Settings,
    client: Client,
    streams: Sequence[str],
    *,
    take_over: Callable[[], bool],
    on_wait: Callable[[int], None],
) -> bool:
    """Wait until the worker that owns the store has taken everything from these streams; False if it ended before and
    `take_over` did the rest, which says whether it could.

    `on_wait` is told now and then how many entries wait. Raises UnreachableError if nobody takes any.
    """
    last, since = -1, time.monotonic()
    while True:
        with answering(client):
            if groups.caught_up(client, streams):
                return True
        waiting = lag_of(client, streams)
        on_wait(waiting)
        if waiting != last:
            last, since = waiting, time.monotonic()
        if take_over():
            return False
        if time.monotonic() - since > _IDLE_SECONDS:
            raise UnreachableError(
                f"Everything is published, but {waiting:,} entries wait in the streams and "
                f"{worker(settings) or 'nobody'} has taken none for {_IDLE_SECONDS:.0f} seconds: look at its log; "
                "headrace sync stores them too."
            )
        time.sleep(_NAP_SECONDS)
