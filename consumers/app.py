"""The FastStream side: batch subscribers on every stream, one flattener behind them.

FastStream reads, and acknowledges a batch when its handler returns; the handler returns when the store has committed.
What FastStream leaves to its users is done here and in consumers.intake: groups begin at the store's position, entries
that an earlier run left pending are taken first, a subscriber that has stopped is started again, and a failing store
stops the worker instead of skipping a batch.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import structlog
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.exceptions import StreamGroupNotFoundError
from faststream.redis.parser import BinaryMessageFormatV1

from consumers.apply import Flattener
from consumers.batch import Applied, Entry
from consumers.intake import CONSUMER, Intake
from consumers.marts import KEYS_AT_ONCE
from integration.core.catalog import ObjectSchema
from integration.errors import UnreachableError
from integration.stream import names
from integration.stream.connection import Client, FullError, answering, where

T = TypeVar("T")

log = structlog.get_logger()
# Its supervisor tells of every task it looks after, at a level meant for operators.
logging.getLogger("faststream._internal.endpoint.subscriber.supervisor").setLevel(logging.WARNING)

Delivery = tuple[list[Entry], "asyncio.Future[None]"]
"""A batch of one stream, and what tells its handler that it is stored."""

_PEOPLE = frozenset(names.stream_of(name) for name in ("Contact", "Lead"))
_LINGER_SECONDS = 0.02
_GATHER_SECONDS = {names.PRODUCT_STREAM: 0.25}
"""So long a stream is not read after a batch that was not full. A batch costs the store the better part of what five
hundred of its entries cost, and product events come all the time: without a pause, a few at a time would keep a core
busy. What comes after quiet is taken at once, and a backlog too."""
_POLLING_MILLISECONDS = 1_000
_GRACE_SECONDS = 20
_WATCH_SECONDS = 0.5
_BEATS_PER_LOOK = 4


class Consumer:
    """Takes the entries of all streams through the flattener until it is stopped.

    `on_applied` is called after each commit. `max_records` bounds what one read of one stream brings, and with it
    the memory that a backlog needs. `keep` finished entries stay in each stream when it is trimmed, none while Redis
    uses `memory_percent` of its maxmemory; `max_dead_in_a_row` entries given up one after the other in one stream
    stop the consumer.
    """

    def __init__(
        self,
        url: str,
        client: Client,
        flattener: Flattener,
        streams: Sequence[str],
        *,
        now: Callable[[], str],
        on_applied: Callable[[Applied], None],
        max_records: int = 4_000,
        keep: int = 10_000,
        max_dead_in_a_row: int = 500,
        memory_percent: int = 70,
    ) -> None:
        self._client = client
        self._flattener = flattener
        self.streams = list(streams)
        self._intake = Intake(
            client,
            flattener,
            now=now,
            on_applied=on_applied,
            keep=keep,
            max_dead_in_a_row=max_dead_in_a_row,
            at_once=max_records,
            memory_percent=memory_percent,
        )
        self._max_records = max_records
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self.failed: asyncio.Future[None] | None = None
        """Carries the error that stopped the flattener; never a result."""
        self._stopping = asyncio.Event()
        self._broker = RedisBroker(
            url,
            logger=_Voice(self._stopping.is_set),
            graceful_timeout=_GRACE_SECONDS,
            socket_timeout=10,
            health_check_interval=15,
            max_connections=len(streams) + 16,
        )
        self._subscribers: dict[str, Any] = {}
        self._in_hand: Counter[str] = Counter()
        """Stream -> batches that were delivered here and are not yet stored."""
        self._away: str | None = None
        """Why Redis could not be asked the last time, in a sentence."""
        self._worker: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        """Held by whoever uses the flattener: it serves one at a time."""

    async def start(self) -> None:
        """Take what an earlier run left pending, then subscribe. Whatever it raises, nothing is left running then."""
        self.failed = asyncio.get_running_loop().create_future()
        try:
            await self._recover(self.streams)
            for stream in self.streams:
                self._subscribe(stream)
            self._worker = asyncio.create_task(self._work())
            with self._reaching():
                connection = await self._broker.connect()
                # FastStream would make a group that begins at the end of its stream; ours are made, at the store's
                # position. A full Redis, which has to be emptied, would refuse even to look whether one is there.
                connection.xgroup_create = _made_already  # type: ignore[method-assign]
                await self._broker.start()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def follow(self, stream: str) -> None:
        """Take up a stream that was not there at the start; one that is followed already is left alone."""
        if stream in self._subscribers:
            return
        self.streams.append(stream)
        async with self._turn:
            await self._recover([stream])
            with self._reaching():
                await self._subscribe(stream).start()

    async def announce(self, schemas: Sequence[ObjectSchema]) -> None:
        """Tell the flattener how objects look now, between two of its batches.

        To be awaited on the loop that the consumer runs on; from another thread, hand it to
        `asyncio.run_coroutine_threadsafe`. Raises what the store raises; telling it again is harmless.
        """
        async with self._turn:
            await asyncio.to_thread(self._flattener.announce, schemas)

    async def between_batches(self, work: Callable[[Flattener], T]) -> T:
        """Have some work done with the flattener, in a thread, between two of its batches; like `announce`."""
        async with self._turn:
            return await asyncio.to_thread(work, self._flattener)

    async def refresh_marts(self, *, at_once: int = KEYS_AT_ONCE, until: Callable[[], bool] = lambda: False) -> bool:
        """Bring the marts up to date, `at_once` keys at a time: batches wait for as long as these take. Stop early once
        `until` says so; return whether it was so. What becomes stale meanwhile is left to the next time. Raises what
        the store raises."""
        done = at_once
        while done == at_once and not until():
            done = await self.between_batches(lambda flattener: flattener.marts.refresh(limit=at_once))
        return done == at_once

    async def work_out_definitions(self) -> None:
        """Bring audiences and whatever else is defined up to date. Raises ConfigError, and what the store raises."""
        await self.between_batches(lambda flattener: flattener.work_out_definitions())

    async def tidy(self) -> None:
        """Note in the store what became of dead letters, and trim the streams; every few seconds, and at the end.

        Also before the start and after the stop. Raises UnreachableError when Redis or the store is away.
        """
        async with self._turn:
            await asyncio.to_thread(self._intake.tidy, list(self.streams))

    def healthy(self) -> str | None:
        """Return None while everything is being consumed, else a sentence that says what is not."""
        if self.failed is None:
            return "The consumer has not started yet."
        if self.failed.done():
            error = None if self.failed.cancelled() else self.failed.exception()
            return f"The consumer has stopped: {error}"
        if self._away is not None:
            return self._away
        idle = sorted(stream for stream, one in self._subscribers.items() if not one.running)
        return f"The consumer does not read {', '.join(idle)}." if idle else None

    async def stop(self) -> None:
        """Finish the batches in hand, then stop."""
        self._stopping.set()
        if self._watcher is not None:
            await asyncio.wait({self._watcher}, timeout=_GRACE_SECONDS)
        await self._broker.stop()
        for task in (self._watcher, self._worker):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.failed is not None and self.failed.done() and not self.failed.cancelled():
            self.failed.exception()

    def _subscribe(self, stream: str) -> Any:
        subscriber = self._broker.subscriber(
            stream=StreamSub(
                stream,
                group=names.GROUP,
                consumer=CONSUMER,
                batch=True,
                max_records=self._max_records,
                polling_interval=_POLLING_MILLISECONDS,
            ),
            parser=_parse,
            decoder=_decode,
            ack_policy=AckPolicy.NACK_ON_ERROR,
        )
        subscriber(self._handler(stream))
        self._subscribers[stream] = subscriber
        return subscriber

    async def _recover(self, streams: Sequence[str]) -> None:
        """Make streams ready to be read. Raises FullError where Redis has room for none of them."""
        refused: dict[str, FullError] = {}
        for stream in streams:
            try:
                await asyncio.to_thread(self._intake.recover, stream)
            except FullError as error:
                refused[stream] = error
        if not refused:
            return
        *_, last = refused.values()
        if len(refused) == len(self.streams):
            raise last  # there is nothing to take out, which would make room
        # A subscriber without a group stops at once; it is started again as soon as there is room for one.
        log.warning("streams not consumed yet", streams=list(refused), detail=str(last))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            with answering(self._client):
                yield
        except TimeoutError as error:
            raise UnreachableError(f"Redis at {where(self._client)} takes too long to answer: look at it.") from error

    def _handler(self, stream: str) -> Callable[[Any], Any]:
        async def handle(batch: Any) -> None:
            entries = [Entry(stream, offset, fields) for offset, fields in batch if fields]
            if not entries:
                return
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self.failed is not None and self.failed.done():
                done.cancel()  # nobody takes from the queue any more; the entries stay pending
            self._in_hand[stream] += 1
            self._queue.put_nowait((entries, done))
            try:
                await done
            finally:
                self._in_hand[stream] -= 1
            if len(batch) < self._max_records and (pause := _GATHER_SECONDS.get(stream)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)

        return handle

    async def _work(self) -> None:
        """Take together what all streams have brought, and commit it as one."""
        held: list[Delivery] = []
        while True:
            waiting = held or [await self._queue.get()]
            await asyncio.sleep(_LINGER_SECONDS)
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            held = []
            if not self._stopping.is_set():
                waiting, held = _people_last(waiting, self._max_records)
            try:
                async with self._turn:
                    await asyncio.to_thread(self._intake.take, [batch for batch, _ in waiting])
            except Exception as error:
                # Whatever it was, nothing of the batch is stored and its entries stay pending: stop, and let the
                # next start take them again, rather than run on with a hole.
                self._fail(error)
                while not self._queue.empty():
                    held.append(self._queue.get_nowait())
                for _, done in (*waiting, *held):
                    done.cancel()
                return
            for _, done in waiting:
                if not done.done():
                    done.set_result(None)

    async def _watch(self) -> None:
        """Start again what FastStream has stopped, and look for entries that were delivered and never came."""
        beat = 0
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _WATCH_SECONDS)
            beat += 1
            try:
                full = await self._heal_all()
                if beat % _BEATS_PER_LOOK == 0 and not self._stopping.is_set():
                    await self._find_stranded()
                    await self._make_room()
                    self._away = full
            except UnreachableError as error:
                self._away = str(error)  # its readers try again too
            except Exception as error:
                self._fail(error)
                return

    async def _heal_all(self) -> str | None:
        """Start again what has stopped; return why some could not be."""
        full = None
        for stream, subscriber in list(self._subscribers.items()):
            if subscriber.running or self._stopping.is_set():
                continue
            try:
                await self._heal(stream, subscriber)
            except FullError as error:
                full = str(error)  # no room for its group; others may have theirs
        return full

    async def _heal(self, stream: str, subscriber: Any) -> None:
        """Consume a stream again whose group, or which itself, was deleted."""
        async with self._turn:
            if subscriber.running or self._in_hand[stream]:
                return
            await asyncio.to_thread(self._intake.recover, stream)
            with self._reaching():
                await subscriber.start()

    async def _find_stranded(self) -> None:
        async with self._turn:
            idle = [stream for stream in self._subscribers if not self._in_hand[stream]]
            await asyncio.to_thread(self._intake.find_stranded, idle)

    async def _make_room(self) -> None:
        async with self._turn:
            await asyncio.to_thread(self._intake.make_room, list(self.streams))

    def _fail(self, error: Exception) -> None:
        if self.failed is not None and not self.failed.done():
            self.failed.set_exception(error)


async def _made_already(*_: Any, **__: Any) -> bool:
    """Stand in for XGROUP CREATE."""
    return True


def _people_last(waiting: list[Delivery], full: int) -> tuple[list[Delivery], list[Delivery]]:
    """Hold people back while the streams of what they are made of have a backlog (a batch as large as can be).

    A person's row is made of accounts, deals and roles; on a first sync it is written once if they come first.
    """
    people = [d for d in waiting if d[0][0].stream in _PEOPLE]
    others = [d for d in waiting if d[0][0].stream not in _PEOPLE]
    if any(len(batch) >= full for batch, _ in others):
        return others, people
    return waiting, []


class _Voice:
    """Lets FastStream speak through our log, in one line; what stops the worker is raised by us and told there."""

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping

    def log(self, level: int, msg: Any, /, *, exc_info: Any = None, **_: Any) -> None:
        """Take a line of FastStream's log."""
        error = exc_info if isinstance(exc_info, BaseException) else None
        if isinstance(error, StreamGroupNotFoundError):
            return  # it advises a restart; the consumer looks after that
        if level >= logging.ERROR and not isinstance(error, asyncio.CancelledError):
            # It may cut a connection before it ends the task that reads there, and be surprised itself.
            tell = log.debug if self._is_stopping() else log.warning
            tell("faststream", detail=f"{msg} ({type(error).__name__})" if error else str(msg))


async def _parse(message: Any, original: Any) -> Any:
    """Keep the acknowledgement and the correlation id of FastStream's own parser, skip its decoding of every row."""
    head = [fields for fields in message["data"][:1] if b"__data__" in fields]
    parsed = await original({**message, "data": head})
    parsed.body = message["data"]
    return parsed


async def _decode(message: Any) -> list[tuple[str, dict[bytes, bytes]]]:
    """Pair each entry's id with its fields; an envelope of FastStream's own is opened."""
    ids = [i.decode() if isinstance(i, bytes) else str(i) for i in message.raw_message["message_ids"]]
    return [(offset, _open(fields or {})) for offset, fields in zip(ids, message.body, strict=False)]


def _open(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    envelope = fields.get(b"__data__")
    if envelope is None:
        return fields
    try:
        return {b"data": BinaryMessageFormatV1.parse(envelope)[0]}
    except Exception:  # whatever it is, it is kept as it came and given up by the flattener with a reason
        return fields
