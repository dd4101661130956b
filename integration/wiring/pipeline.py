"""The workers: the poller in a thread, the consumer on the event loop, and when to stop."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog

from consumers import orgs
from consumers.app import Consumer
from consumers.batch import Applied
from consumers.marts import KEYS_BEHIND_A_SYNC
from integration import tracing
from integration.core.catalog import ObjectSchema
from integration.errors import ConfigError, HeadraceError, UnreachableError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.source.poll import CycleReport, Poller
from integration.store.protocol import Store
from integration.stream import groups
from integration.stream.connection import answering
from integration.stream.pressure import Gate
from integration.wiring import parts
from integration.wiring.clock import now
from integration.wiring.governor import Governor
from integration.wiring.health import Health
from integration.wiring.measures import Measures
from integration.wiring.streams import Streams

log = structlog.get_logger()

_LOOK_SECONDS = 0.05
_NEW_STREAMS_SECONDS = 5.0
_REST = 4
_LONGEST_REST_SECONDS = 60.0
"""Marts of a large store cost about the same whether one key is stale or a thousand: with rests four times as long they
take a fifth of the time."""
_LAST_PAGE_SECONDS = 5.0
_ANSWER_SECONDS = 1.0
_SLOW_BEAT_SECONDS = 300
"""How often the delete log, histories and descriptions are read; Salesforce asks to read the log no more often."""


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
    """Added up; its lists stay empty, for a worker may run for months."""
    dead: Counter[str] = field(default_factory=Counter)
    """Stream -> entries given up."""
    polled: bool = False
    interrupted: bool = False
    """True when Ctrl-C ended the work."""
    on_change: Callable[["Progress", Applied | None], None] = lambda _progress, _applied: None
    measures: Measures | None = None
    """The numbers that the worker shows, if it shows any."""
    health: Health | None = None
    """Where the poller reports how it is."""

    def stored(self, applied: Applied) -> None:
        """Count a committed batch."""
        if self.measures is not None:
            self.measures.stored(applied)
        self.applied.add(applied)
        self.applied.rejects.clear()
        self.dead.update(reject.entry.stream for reject in applied.rejects)
        self.on_change(self, applied)

    def cycled(self, report: CycleReport) -> None:
        """Count a cycle of the poller."""
        if self.measures is not None:
            self.measures.cycled(report)
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

    def totals(self) -> dict[str, int]:
        """Return the counts, under the names of the columns of `sync_runs` where they are there."""
        return {
            "records_read": self.read,
            "captures_published": self.published,
            "captures_stored": self.applied.stored,
            "versions_without_change": self.applied.untouched,
            "events_written": self.applied.events,
            "users_written": self.applied.users,
            "dead_letters": self.dead.total(),
            "api_calls": self.calls,
        }


class AfterPoll(Protocol):
    """What a worker does between two polls: reconciling (see wiring.sweep.Sweeper)."""

    def beat(self, interval_seconds: float, spare_calls: float) -> None:
        """Work for as long as is fit. Raises UnreachableError."""

    def answer(self) -> int:
        """Do what was asked for from outside; cheap when that is nothing. Raises UnreachableError."""


class Polling:
    """The poller with its beat. `by` tells `headrace status` who polls."""

    def __init__(
        self,
        settings: Settings,
        source: SalesforceClient,
        streams: Streams,
        progress: Progress,
        *,
        by: Literal["run", "sync"] = "run",
    ) -> None:
        self._settings = settings
        self._source = source
        self._streams = streams
        self._progress = progress
        self._poller: Poller | None = None
        self._governor = Governor(settings, source, streams.client, by=by)
        self._should_stop: Callable[[], bool] = lambda: False
        self.gate = Gate(
            streams.client,
            high=settings.streams.high_water,
            memory_percent=settings.streams.memory_percent,
            should_stop=self._is_to_stop,
            on_change=self._pressed,
        )
        """What everything that publishes waits at."""

    @property
    def schemas(self) -> list[ObjectSchema]:
        """What the objects look like that are read, as last described."""
        return list(self._poller.schemas.values()) if self._poller is not None else []

    def describe(self) -> list[ObjectSchema]:
        """Log in and read what the objects look like."""
        self._poller, schemas = parts.poller(self._settings, self._source, self._streams.client, self.gate)
        return schemas

    def once(self, *, should_stop: Callable[[], bool]) -> None:
        """Poll every object until caught up, histories and the delete log included, as `headrace sync` does."""
        self._ready()
        self._should_stop = should_stop
        self._check_budget()
        self._governor.may_poll()
        self.poll(deleted=True, should_stop=should_stop)
        self._governor.cycled(self._progress.published)

    def poll(self, *, deleted: bool, should_stop: Callable[[], bool]) -> None:
        """Poll every object until caught up, if asked after the delete log. Stops early, between two pages, if told
        to: the next poll goes on from there."""
        poller = self._ready()
        self._check_budget()
        began = time.monotonic()
        with tracing.span("poll cycle"):
            if deleted:
                # First, because it tells of transactions that are open: their rows may show in no page of this poll.
                self._count(poller.deleted())
            self._count(poller.cycle(should_stop=should_stop, histories=deleted))
        if self._progress.measures is not None:
            self._progress.measures.polled(time.monotonic() - began, len(poller.skipped))

    def for_ever(
        self,
        stop: threading.Event,
        *,
        after_poll: AfterPoll | None = None,
        announce: Callable[[list[ObjectSchema]], None] = lambda _: None,
    ) -> None:
        """Poll at the interval of the settings, or as slowly as the API budget asks for; what passes by itself (no
        answer, no calls left) is waited out. `announce` is told of objects that have come to look different."""
        self._ready()
        self._should_stop = stop.is_set
        self._report("The first poll is under way.")
        next_slow = 0.0
        while not stop.is_set():
            try:
                slow = time.monotonic() >= next_slow
                if self._governor.may_poll():
                    if slow and next_slow:
                        announce(self._ready().refresh_schemas())
                    self.poll(deleted=slow, should_stop=stop.is_set)
                    next_slow = time.monotonic() + _SLOW_BEAT_SECONDS if slow else next_slow
                self._tell()
                pause = self._governor.cycled(self._progress.published)
                self._report()
                if after_poll is not None and not stop.is_set():
                    after_poll.beat(pause, self._governor.spare_calls)
                _rest(pause, stop, after_poll)
            except UnreachableError as error:
                self._report(failure=error)
                stop.wait(self._governor.failed(error))

    def _is_to_stop(self) -> bool:
        return self._should_stop()

    def _pressed(self, sentence: str | None) -> None:
        """Say that publishing waits, or that it goes on."""
        if sentence is None:
            log.info("polling goes on")
        else:
            log.warning("polling waits", detail=sentence)
        if self._progress.measures is not None:
            self._progress.measures.paused("back-pressure", sentence is not None)
        if self._progress.health is not None:
            self._progress.health.ok("poller", sentence or "")

    def _report(self, note: str = "", *, failure: HeadraceError | None = None) -> None:
        """Say how the poller is to whoever watches the worker; one that pauses for the API budget is well."""
        measures, health, pace = self._progress.measures, self._progress.health, self._governor.pace
        if measures is not None:
            measures.called(self._source.calls)
            measures.budgeted(self._governor.usage, self._settings.salesforce.api_budget_percent, pace)
            if failure is not None:
                measures.poll_failed()
            elif pace.paused:
                measures.poll_left_out()
        if health is None:
            return
        if failure is not None:
            health.broken("poller", str(failure))
        else:
            health.ok("poller", f"Polling pauses, because {pace.reason}." if pace.paused else note)

    def _check_budget(self) -> None:
        refused = parts.check_budget(self._settings, self._source)
        if refused is not None:
            # One call, so that the next time is judged by what is free then.
            self._source.limits()
            raise refused

    def _tell(self) -> None:
        """Log what a worker's cycle could not do, and forget it: nobody prints a report at its end."""
        for sentence in (*self._progress.skipped, *self._progress.notes):
            log.warning("poll", detail=sentence)
        self._progress.skipped.clear()
        self._progress.notes.clear()

    def _ready(self) -> Poller:
        if self._poller is None:
            self.describe()
        if self._poller is None:
            raise HeadraceError("The poller has not described its objects.")
        return self._poller

    def _count(self, report: CycleReport) -> None:
        self._progress.calls = self._source.calls
        self._progress.cycled(report)


def _rest(seconds: float, stop: threading.Event, after_poll: AfterPoll | None) -> None:
    """Wait until the next poll; who asks for a sweep meanwhile need not wait that long."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, _ANSWER_SECONDS)):
        if after_poll is not None:
            after_poll.answer()


def in_thread(work: Callable[[], Any]) -> "asyncio.Future[Any]":
    """Run in a thread that never keeps the process from ending: an answer of Salesforce can take minutes to come."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def finish(result: Any, error: BaseException | None) -> None:
        if done.done():
            return  # nobody waits for it any more
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # it belongs to whoever waits
            failure = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=run, name="headrace-work", daemon=True).start()
    return done


def tell_in_one_line() -> None:
    """Have the event loop log what a task of some library left unsaid in one line, its traceback at debug only.

    When everything ends at once, connections are cut under tasks that nobody waits for any more.
    """

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        kind = f" ({type(error).__name__})" if error is not None else ""
        log.warning("event loop", detail=f"{context.get('message')}{kind}")
        log.debug("event loop", exc_info=error)

    asyncio.get_running_loop().set_exception_handler(tell)


async def drain_while(
    consumer: Consumer, streams: Streams, progress: Progress, work: Callable[[Callable[[], bool]], None]
) -> None:
    """Consume while `work` (the poller, in a thread) runs, and on until nothing is left in the streams.

    `work` is handed a question to ask now and then: whether it should stop early.
    """
    tell_in_one_line()
    stop = threading.Event()
    working: asyncio.Future[Any] | None = None
    try:
        await consumer.start()
        working = in_thread(lambda: work(stop.is_set))
        await _either(asyncio.shield(working), consumer)
        progress.polled = True
        while not await asyncio.to_thread(_empty, streams, consumer):
            await _either(asyncio.sleep(_LOOK_SECONDS), consumer)
        await consumer.tidy()
        await _either(consumer.refresh_marts(at_once=KEYS_BEHIND_A_SYNC), consumer)
        await _either(_definitions(consumer), consumer)
    finally:
        stop.set()
        await consumer.stop()
        if working is not None:
            # It stops after the page in hand; only an answer that does not come is not waited for.
            await asyncio.wait({working}, timeout=_LAST_PAGE_SECONDS)


async def consume_for_ever(
    settings: Settings, consumer: Consumer, streams: Streams, stop: asyncio.Event, started: asyncio.Event
) -> None:
    """Consume until told to stop; streams that appear later (a lookup's object) are taken up within seconds.

    `started` is set once it consumes.
    """
    await consumer.start()
    started.set()
    stopping = asyncio.ensure_future(stop.wait())
    next_marts = next_definitions = 0.0
    try:
        while not stopping.done():
            for name in await asyncio.to_thread(parts.stream_names, settings, streams.client):
                await consumer.follow(name)
            await _either(consumer.tidy(), consumer)
            if time.monotonic() >= next_marts:
                next_marts = await _refreshed_marts(consumer, stopping)
            if time.monotonic() >= next_definitions and not stopping.done():
                await _either(_definitions(consumer), consumer)
                next_definitions = time.monotonic() + settings.definitions.interval_seconds
            await _either(asyncio.wait({stopping}, timeout=_NEW_STREAMS_SECONDS), consumer)
    finally:
        stopping.cancel()
        await consumer.stop()


async def _refreshed_marts(consumer: Consumer, stopping: asyncio.Future[Any]) -> float:
    """Bring marts up to date; return when to do so again, at the earliest."""
    began = time.monotonic()
    # A long backlog of theirs keeps nobody from tidying, or from taking up streams.
    until = _done_or_late(stopping, _NEW_STREAMS_SECONDS)
    is_more = await _either(consumer.refresh_marts(until=until), consumer)
    ended = time.monotonic()
    return ended if is_more else ended + min(_REST * (ended - began), _LONGEST_REST_SECONDS)


def consumer(
    settings: Settings,
    store: Store,
    streams: Streams,
    progress: Progress,
    described: Sequence[ObjectSchema] = (),
) -> Consumer:
    """Return a consumer of every stream there is to consume, the tables of all described objects made ready."""
    orgs.check(streams.client, store.transaction)
    flattener = parts.flattener(settings, store, streams.client)
    flattener.announce(described)
    found = parts.stream_names(settings, streams.client, [schema.object for schema in described])
    return Consumer(
        streams.url,
        streams.client,
        flattener,
        found,
        now=now,
        on_applied=progress.stored,
        keep=settings.streams.keep,
        max_dead_in_a_row=settings.streams.max_dead_in_a_row,
        memory_percent=settings.streams.memory_percent,
    )


def _empty(streams: Streams, consumer: Consumer) -> bool:
    with answering(streams.client):
        return groups.caught_up(streams.client, consumer.streams)


async def _definitions(consumer: Consumer) -> None:
    try:
        await consumer.work_out_definitions()
    except ConfigError as error:
        # Nothing else waits for them: data goes on, and they are worked out again at the next turn.
        log.warning("definitions can't be read", detail=str(error))


def _done_or_late(future: asyncio.Future[Any], seconds: float) -> Callable[[], bool]:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    return lambda: future.done() or loop.time() > end


async def _either(work: Any, consumer: Consumer) -> Any:
    """Wait for the work and return what it returns, or raise what stopped the flattener meanwhile."""
    task = asyncio.ensure_future(work)
    if consumer.failed is None:
        raise HeadraceError("The consumer was not started.")
    await asyncio.wait({task, consumer.failed}, return_when=asyncio.FIRST_COMPLETED)
    if consumer.failed.done():
        task.cancel()
        consumer.failed.result()
    return await task
