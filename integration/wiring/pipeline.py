"""The workers: the poller in a thread, the consumer on the event loop, and when to stop."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from consumers.app import Consumer
from consumers.apply import Applied
from integration.core.catalog import ObjectSchema
from integration.errors import HeadraceError, UnreachableError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.source.poll import CycleReport, Poller
from integration.store.duckdb import DuckDBStore
from integration.stream import groups
from integration.stream.connection import answering
from integration.wiring import parts
from integration.wiring.clock import now
from integration.wiring.parts import Streams

log = structlog.get_logger()

_LOOK_SECONDS = 0.05
_NEW_STREAMS_SECONDS = 5.0
_DELETED_LOG_SECONDS = 300
"""Salesforce asks not to read the delete log more often than every five minutes."""


@dataclass(slots=True)
class Progress:
    """How far the work is: counted up by the workers, shown by whoever watches. `on_change` may be called from any
    thread."""

    read: int = 0
    published: int = 0
    calls: int = 0
    by_object: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_watched: dict[str, str] = field(default_factory=dict)
    applied: Applied = field(default_factory=Applied)
    polled: bool = False
    on_change: Callable[["Progress", Applied | None], None] = lambda _progress, _applied: None

    def stored(self, applied: Applied) -> None:
        """Count a committed batch."""
        self.applied.add(applied)
        self.on_change(self, applied)

    def cycled(self, report: CycleReport) -> None:
        """Count a cycle of the poller."""
        self.read += report.rows_read
        self.published += report.published
        for name, count in report.objects.items():
            self.by_object[name] = self.by_object.get(name, 0) + count.rows_read
            if count.unreadable:
                self.skipped.append(
                    f"{count.unreadable:,} rows of {name} have no usable Id or stamp and were left out."
                )
        self.notes += report.notes
        self.not_watched.update(report.skipped)
        self.on_change(self, None)


class Polling:
    """The poller with its beat."""

    def __init__(self, settings: Settings, source: SalesforceClient, streams: Streams, progress: Progress) -> None:
        self._settings = settings
        self._source = source
        self._streams = streams
        self._progress = progress
        self._poller: Poller | None = None
        self.schemas: list[ObjectSchema] = []

    def describe(self) -> list[ObjectSchema]:
        """Log in and read what the objects look like."""
        self._poller, self.schemas = parts.poller(self._settings, self._source, self._streams.client)
        return self.schemas

    def once(self, *, deleted: bool) -> None:
        """Poll every object until caught up, then (if asked) the delete log."""
        poller = self._ready()
        refused = parts.check_budget(self._settings, self._source)
        if refused is not None:
            raise refused
        self._count(poller.cycle())
        if deleted:
            self._count(poller.deleted())

    def for_ever(self, stop: threading.Event) -> None:
        """Poll at the interval of the settings; what passes by itself (no answer, no calls left) is waited out."""
        self._ready()
        next_deleted = 0.0
        interval = self._settings.poll.interval_seconds
        while not stop.is_set():
            pause = interval
            try:
                due = time.monotonic() >= next_deleted
                self.once(deleted=due)
                next_deleted = time.monotonic() + _DELETED_LOG_SECONDS if due else next_deleted
            except UnreachableError as error:
                log.warning("poll failed", detail=str(error))
                pause = min(max(interval, 5.0) * 2, 60.0)
            stop.wait(pause)

    def _ready(self) -> Poller:
        if self._poller is None:
            self.describe()
        if self._poller is None:
            raise HeadraceError("The poller has not described its objects.")
        return self._poller

    def _count(self, report: CycleReport) -> None:
        self._progress.calls = self._source.calls
        self._progress.cycled(report)


async def drain_while(consumer: Consumer, streams: Streams, progress: Progress, work: Callable[[], None]) -> None:
    """Consume while `work` (the poller, in a thread) runs, and on until nothing is left in the streams."""
    await consumer.start()
    try:
        await _either(asyncio.to_thread(work), consumer)
        progress.polled = True
        while not await asyncio.to_thread(_empty, streams, consumer):
            await _either(asyncio.sleep(_LOOK_SECONDS), consumer)
    finally:
        await consumer.stop()


async def consume_for_ever(settings: Settings, consumer: Consumer, streams: Streams, stop: asyncio.Event) -> None:
    """Consume until told to stop; streams that appear later (a lookup's object) are taken up within seconds."""
    await consumer.start()
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stopping.done():
            for name in await asyncio.to_thread(parts.stream_names, settings, streams.client):
                await consumer.follow(name)
            await _either(asyncio.wait({stopping}, timeout=_NEW_STREAMS_SECONDS), consumer)
    finally:
        stopping.cancel()
        await consumer.stop()


def consumer(
    settings: Settings, store: DuckDBStore, streams: Streams, progress: Progress, described: Iterable[str] = ()
) -> Consumer:
    """Return a consumer of every stream there is to consume."""
    flattener = parts.flattener(settings, store, streams.client)
    found = parts.stream_names(settings, streams.client, described)
    return Consumer(streams.url, streams.client, flattener, found, now=now, on_applied=progress.stored)


def _empty(streams: Streams, consumer: Consumer) -> bool:
    with answering(streams.client):
        return groups.caught_up(streams.client, consumer.streams)


async def _either(work: Any, consumer: Consumer) -> None:
    """Wait for the work, or raise what stopped the flattener meanwhile."""
    task = asyncio.ensure_future(work)
    if consumer.failed is None:
        raise HeadraceError("The consumer was not started.")
    await asyncio.wait({task, consumer.failed}, return_when=asyncio.FIRST_COMPLETED)
    if consumer.failed.done():
        task.cancel()
        consumer.failed.result()
    await task
