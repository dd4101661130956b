"""`headrace run`: long-running workers, until a signal ends them."""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import StrEnum
from functools import partial
from typing import Any

import structlog

from consumers.app import Consumer
from integration.core.catalog import ObjectSchema
from integration.errors import HeadraceError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.store.duckdb import DuckDBStore
from integration.wiring import owner, parts, pipeline
from integration.wiring.pipeline import Polling, Progress
from integration.wiring.streams import Streams, open_streams
from integration.wiring.sweep import Sweeper, tools_for

log = structlog.get_logger()

_GRACE_SECONDS = 15.0


class Role(StrEnum):
    """Which workers a process runs; on DuckDB, `all` in one process is the way."""

    ALL = "all"
    POLLER = "poller"
    CONSUMER = "consumer"
    WEB = "web"


def run(
    settings: Settings,
    role: Role = Role.ALL,
    *,
    on_change: Callable[[Progress, Any], None] | None = None,
    on_ready: Callable[[str | None], None] | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    """Work until SIGTERM, SIGINT or `stop`; then finish the batches in hand (15 s at most) and return.

    `on_ready` gets the address of the query endpoint (None where the role has none) once everything is connected.
    """
    progress = Progress(on_change=on_change or _log_change)
    worker = _Worker(settings, role, progress, on_ready or (lambda _url: None), stop or threading.Event())
    asyncio.run(worker.run())
    return progress


def _log_change(_: Progress, applied: Any) -> None:
    if applied is not None and applied.stored:
        log.info("stored", captures=applied.stored, events=applied.events, people=applied.users)


class _Worker:
    """One run of the workers. `stop` ends the threads, `_stopping` the event loop."""

    def __init__(
        self,
        settings: Settings,
        role: Role,
        progress: Progress,
        on_ready: Callable[[str | None], None],
        stop: threading.Event,
    ) -> None:
        self._settings, self._role, self._progress = settings, role, progress
        self._on_ready = on_ready
        self._stop = stop
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Connect everything, then work until told to stop."""
        pipeline.tell_in_one_line()
        self._listen()
        relay = asyncio.create_task(self._relay())
        try:
            with ExitStack() as stack:
                await self._work(stack)
        finally:
            relay.cancel()

    async def _work(self, stack: ExitStack) -> None:
        settings, role = self._settings, self._role
        polls, consumes = role in (Role.ALL, Role.POLLER), role in (Role.ALL, Role.CONSUMER)
        # First, because it is the likeliest to be incomplete, and nothing has been made yet.
        source = parts.salesforce(settings) if polls else None
        url = None
        jobs: list[Any] = []
        described: list[ObjectSchema] = []
        store = stack.enter_context(parts.open_store(settings)) if role is not Role.POLLER else None
        if store is not None:
            url = stack.enter_context(owner.answering_queries(settings, store, port=settings.web.port))
        streams = stack.enter_context(open_streams(settings)) if polls or consumes else None
        polling = None
        if source is not None and streams is not None:
            polling = Polling(settings, source, streams, self._progress)
            schemas = await self._unless_stopped(pipeline.in_thread(polling.describe))
            if schemas is None:
                return
            described = schemas
        consumer, started = None, asyncio.Event()
        if consumes and store is not None and streams is not None:
            consumer = pipeline.consumer(settings, store, streams, self._progress, described)
            jobs.append(pipeline.consume_for_ever(settings, consumer, streams, self._stopping, started))
        else:
            started.set()
        if polling is not None and source is not None and streams is not None:
            sweeper = self._sweeper(stack, source, streams, store, polling) if store is not None else None
            announce = self._announcing(consumer)
            poll = partial(polling.for_ever, self._stop, after_poll=sweeper, announce=announce)
            jobs.append(pipeline.in_thread(poll))
        work = [asyncio.ensure_future(job) for job in (*jobs, self._stopping.wait())]
        ready = asyncio.ensure_future(started.wait())
        await asyncio.wait({*work, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.cancel():
            self._on_ready(url)
        await self._until_one_ends(work)

    def _sweeper(
        self, stack: ExitStack, source: SalesforceClient, streams: Streams, store: DuckDBStore, polling: Polling
    ) -> Sweeper:
        """Return what reconciles between two polls, and says so to those who ask for a sweep."""
        tools = tools_for(
            self._settings, source, streams.client, store, polling, should_stop=self._stop.is_set, keep_polling=True
        )
        sweeper = Sweeper(self._settings, tools, counts=self._progress.totals)
        sweeper.announce()

        def withdraw() -> None:
            with suppress(HeadraceError):  # a Redis that is gone holds no requests
                sweeper.withdraw()

        stack.callback(withdraw)
        return sweeper

    @staticmethod
    def _announcing(consumer: Consumer | None) -> Callable[[list[ObjectSchema]], None]:
        """Return what tells the consumer, from the poller's thread, that objects have come to look different."""
        if consumer is None:
            return lambda _: None
        loop = asyncio.get_running_loop()
        return lambda schemas: asyncio.run_coroutine_threadsafe(consumer.announce(schemas), loop).result()

    async def _unless_stopped(self, work: "asyncio.Future[Any]") -> Any:
        """Return what the work returns, or None when it is not done by the time the worker is to stop."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return work.result() if work.done() else None

    async def _until_one_ends(self, jobs: "list[asyncio.Future[Any]]") -> None:
        """Wait until one job ends, be it in an error or because the worker is to stop; then all others are to end."""
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        self._end()
        done, late = await asyncio.wait(jobs, timeout=_GRACE_SECONDS)
        for job in late:
            # Nothing is lost by it: what was published is in Redis, what was not is read again.
            log.warning("stopped without waiting", detail="Salesforce, Redis or the store took too long to answer")
            job.cancel()
        for job in done:
            job.result()

    def _end(self) -> None:
        self._stop.set()
        self._stopping.set()

    async def _relay(self) -> None:
        """Pass a stop from another thread on to the event loop."""
        while not self._stop.is_set():
            await asyncio.sleep(0.1)
        self._stopping.set()

    def _listen(self) -> None:
        """End on SIGTERM and SIGINT; where this is not the main thread, someone else looks after signals."""
        if threading.current_thread() is not threading.main_thread():
            return

        def end(number: signal.Signals) -> None:
            log.info("stopping", detail="finishing the batches in hand")
            self._progress.interrupted = number is signal.SIGINT
            self._end()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)
