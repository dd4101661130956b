"""One stretch of a worker's life: everything connected, at work until it is told to stop or something gives way."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import StrEnum
from functools import partial
from typing import Any, Final, NamedTuple

import structlog

from consumers.app import Consumer
from integration.core.catalog import ObjectSchema
from integration.errors import FencedError, HeadraceError, UnreachableError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.store.ownership import StoreOwnedError
from integration.store.protocol import Store
from integration.stream import orgs
from integration.stream.connection import Client
from integration.stream.lease import Lease, holder_of
from integration.wiring import parts, pipeline
from integration.wiring.health import Health
from integration.wiring.measures import Measures
from integration.wiring.owner import WorkerDoor
from integration.wiring.pipeline import Polling, Progress
from integration.wiring.replay_desk import ReplayDesk
from integration.wiring.streams import Streams, open_streams
from integration.wiring.sweep import Sweeper, tools_for

log = structlog.get_logger()

_GRACE_SECONDS: Final = 15.0
_LEASE_SECONDS: Final = 15.0
_RENEW_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 0.5


class Role(StrEnum):
    """Which workers a process runs; on DuckDB, `all` in one process is the way."""

    ALL = "all"
    POLLER = "poller"
    CONSUMER = "consumer"
    WEB = "web"

    @property
    def polls(self) -> bool:
        """Whether it reads Salesforce."""
        return self in (Role.ALL, Role.POLLER)

    @property
    def consumes(self) -> bool:
        """Whether it takes the streams into the store."""
        return self in (Role.ALL, Role.CONSUMER)


class Telling(NamedTuple):
    """Where a worker says how it is, and by what name it holds leases: the same over all its shifts."""

    health: Health
    measures: Measures
    holder: str


class Shift:
    """Connects everything that a role needs, and works. To be used once.

    `stop` (from any thread) ends it: threads look at the event, the event loop is woken.
    """

    def __init__(
        self, settings: Settings, role: Role, progress: Progress, door: WorkerDoor, told: Telling, *, stands_by: bool
    ) -> None:
        self._settings, self._role, self._progress = settings, role, progress
        self._door, self._health, self._measures, self._holder = door, *told
        self._stands_by = stands_by
        self._stop = threading.Event()
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.is_ready = False
        """True once everything was connected and at work."""

    def stop(self) -> None:
        """Finish what is in hand and end; may be called from any thread, and more than once."""
        self._stop.set()
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def work(self, on_ready: Callable[[], None]) -> None:
        """Work until told to stop. `on_ready` is called once everything is connected and at work.

        Raises UnreachableError when Redis or the store goes away, FencedError when another worker has taken over, and
        ConfigError for what only a change of settings can mend.
        """
        with ExitStack() as stack:
            await self._work(stack, on_ready)

    async def _work(self, stack: ExitStack, on_ready: Callable[[], None]) -> None:
        settings, role = self._settings, self._role
        # First, because it is the likeliest to be incomplete, and nothing has been made yet.
        source = parts.salesforce(settings) if role.polls else None
        jobs: list[Any] = []
        store = self._store(stack)
        streams = stack.enter_context(open_streams(settings)) if role.polls or role.consumes else None
        if streams is not None:
            self._measures.redis.follow(streams.url)
        polling: Polling | None = None
        described: list[ObjectSchema] = []
        if source is not None and streams is not None:
            lease = await self._lease(stack, streams.client, source)
            if lease is None:
                return
            jobs.append(self._renew(lease))
            polling = Polling(settings, source, streams, self._progress)
            described = await self._unless_stopped(pipeline.in_thread(polling.describe)) or []
            if self._stopping.is_set():
                return
        consumer, started = None, asyncio.Event()
        if role.consumes and store is not None and streams is not None:
            consumer = pipeline.consumer(settings, store, streams, self._progress, described)
            self._watch(stack, consumer)
            jobs.append(pipeline.consume_for_ever(settings, consumer, streams, self._stopping, started))
            desk = ReplayDesk(settings, streams.client, store, consumer, self._stop)
            stack.enter_context(desk.open())
            jobs.append(desk.serve(started))
        else:
            started.set()
        if polling is not None and source is not None and streams is not None:
            sweeper = self._sweeper(stack, source, streams, store, polling) if store is not None else None
            announce = self._announcing(consumer)
            poll = partial(polling.for_ever, self._stop, after_poll=sweeper, announce=announce)
            jobs.append(pipeline.in_thread(poll))
        await self._until_one_ends(jobs, started, on_ready)

    def _store(self, stack: ExitStack) -> Store | None:
        """Open the store, if the role has one; who only takes product events leaves it to its owner."""
        if self._role is Role.POLLER:
            return None
        try:
            store = stack.enter_context(parts.open_store(self._settings))
        except StoreOwnedError as error:
            if self._role is not Role.WEB or self._stands_by or not self._settings.product.enabled:
                raise
            log.info("taking product events only", detail=str(error))
            self._door.stay_closed("Another process has the store open, and answers queries: this one takes events.")
            return None
        stack.enter_context(self._door.open(store))
        return store

    async def _lease(self, stack: ExitStack, client: Client, source: SalesforceClient) -> Lease | None:
        """Wait until no other worker polls; None when told to stop meanwhile.

        A worker that died holds its lease for some seconds more. Raises UnreachableError for one that lives, unless
        this one is to stand by.
        """
        lease = Lease(client, "poller", holder=self._holder, seconds=_LEASE_SECONDS)
        patience = self._loop.time() + _LEASE_SECONDS + _LOOK_SECONDS
        told = False
        while not await asyncio.to_thread(lease.take):
            other = await asyncio.to_thread(holder_of, client, "poller")
            if not self._stands_by and self._loop.time() > patience:
                raise UnreachableError(
                    f"Another worker ({_place(other)}) polls this org already: stop it, or start this one with "
                    "--standby to have it take over when that one ends."
                )
            if not told:
                # A Redis of another org is not waited for.
                await asyncio.to_thread(orgs.claim, client, source.org_id)
                self._health.broken("poller", f"Standing by: {_place(other)} polls this org.")
                log.info("standing by", detail=f"{_place(other)} polls; this worker goes on when that one is gone")
                self._measures.paused("standby", True)
                told = True
            if not await self._rest(_LOOK_SECONDS):
                return None

        self._measures.lease(lease.role, True)

        def release() -> None:
            self._measures.lease(lease.role, False)
            with suppress(HeadraceError):  # a Redis that is gone holds no lease
                lease.release()

        stack.callback(release)
        return lease

    async def _renew(self, lease: Lease) -> None:
        while await self._rest(_RENEW_SECONDS):
            if not await asyncio.to_thread(lease.take):
                raise FencedError(
                    "Another worker polls this org now, since this one had not answered for a while: "
                    "it stands by from here on."
                )

    async def _rest(self, seconds: float) -> bool:
        """Wait; False when told to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return not self._stopping.is_set()

    def _watch(self, stack: ExitStack, consumer: Consumer) -> None:
        self._health.check("consumer", consumer.healthy)
        stack.callback(self._health.check, "consumer", None)

    def _sweeper(
        self, stack: ExitStack, source: SalesforceClient, streams: Streams, store: Store, polling: Polling
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

    def _announcing(self, consumer: Consumer | None) -> Callable[[list[ObjectSchema]], None]:
        """Return what tells the consumer, from the poller's thread, that objects have come to look different."""
        if consumer is None:
            return lambda _: None
        return lambda schemas: asyncio.run_coroutine_threadsafe(consumer.announce(schemas), self._loop).result()

    async def _unless_stopped(self, work: "asyncio.Future[Any]") -> Any:
        """Return what the work returns, or None when it is not done by the time the worker is to stop."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return work.result() if work.done() else None

    async def _until_one_ends(self, jobs: list[Any], started: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Wait until one job ends, be it in an error or because the worker is to stop; then all others are to end."""
        work = [asyncio.ensure_future(job) for job in (*jobs, self._stopping.wait())]
        ready = asyncio.ensure_future(started.wait())
        await asyncio.wait({*work, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.cancel():
            self.is_ready = True
            on_ready()
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        done, late = await asyncio.wait(work, timeout=_GRACE_SECONDS)
        for job in late:
            # Nothing is lost by it: what was published is in Redis, what was not is read again.
            log.warning("stopped without waiting", detail="Salesforce, Redis or the store took too long to answer")
            job.cancel()
        for job in done:
            job.result()


def _place(holder: str | None) -> str:
    """Name a lease's holder for people: process and host."""
    host, _, rest = (holder or "").partition(":")
    return f"process {rest.partition(':')[0]} on {host}" if rest else "somebody"
