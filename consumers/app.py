"""The FastStream side: batch subscribers on every stream, one flattener behind them.

FastStream reads, and acknowledges a batch when its handler returns; the handler returns when the store has committed.
What FastStream leaves to its users is done here: groups begin at the store's position, entries that an earlier run
left pending are taken first, and a failing store stops the worker instead of skipping a batch.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.parser import BinaryMessageFormatV1

from consumers.apply import Applied, Entry, Flattener
from integration.core.catalog import ObjectSchema
from integration.stream import dead, groups, names
from integration.stream.connection import Client, answering
from integration.stream.entry import readable
from schemas import DeadLetter

log = structlog.get_logger()
# Its supervisor tells of every task it looks after, at a level meant for operators.
logging.getLogger("faststream._internal.endpoint.subscriber.supervisor").setLevel(logging.WARNING)

CONSUMER = "flattener"
"""The consumer's name in the group: always the same, since one flattener at a time takes an org's streams."""

Delivery = tuple[list[Entry], "asyncio.Future[None]"]
"""A batch of one stream, and what tells its handler that it is stored."""

_PEOPLE = frozenset(names.stream_of(name) for name in ("Contact", "Lead"))
_LINGER_SECONDS = 0.02
_POLLING_MILLISECONDS = 1_000
_GRACE_SECONDS = 20


class Consumer:
    """Takes the entries of all streams through the flattener until it is stopped.

    `on_applied` is called after each commit. `max_records` bounds what one read of one stream brings, and with it
    the memory that a backlog needs.
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
        max_records: int = 2_000,
    ) -> None:
        self._client = client
        self._flattener = flattener
        self.streams = list(streams)
        self._subscribed: set[str] = set()
        self._now = now
        self._on_applied = on_applied
        self._max_records = max_records
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self.failed: asyncio.Future[None] | None = None
        """Carries the error that stopped the flattener; never a result."""
        self._broker = RedisBroker(
            url,
            logger=_Voice(),
            graceful_timeout=_GRACE_SECONDS,
            socket_timeout=10,
            health_check_interval=15,
            max_connections=len(streams) + 16,
        )
        self._worker: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        """Held by whoever uses the flattener: it serves one at a time."""

    async def start(self) -> None:
        """Take what an earlier run left pending, then subscribe."""
        self.failed = asyncio.get_running_loop().create_future()
        for stream in self.streams:
            await asyncio.to_thread(self._recover, stream)
            self._subscribe(stream)
        self._worker = asyncio.create_task(self._work())
        with answering(self._client):
            await self._broker.start()

    async def follow(self, stream: str) -> None:
        """Take up a stream that was not there at the start; one that is followed already is left alone."""
        if stream in self._subscribed:
            return
        self.streams.append(stream)
        async with self._turn:
            await asyncio.to_thread(self._recover, stream)
        with answering(self._client):
            await self._subscribe(stream).start()

    async def announce(self, schemas: Sequence[ObjectSchema]) -> None:
        """Tell the flattener how objects look now, between two of its batches.

        To be awaited on the loop that the consumer runs on; from another thread, hand it to
        `asyncio.run_coroutine_threadsafe`. Raises what the store raises; telling it again is harmless.
        """
        async with self._turn:
            await asyncio.to_thread(self._flattener.announce, schemas)

    async def stop(self) -> None:
        """Finish the batches in hand, then stop."""
        await self._broker.stop()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        if self.failed is not None and self.failed.done() and not self.failed.cancelled():
            self.failed.exception()

    def _subscribe(self, stream: str) -> Any:
        self._subscribed.add(stream)
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
        return subscriber

    def _recover(self, stream: str) -> None:
        """Set the group to the store's position, and take what an earlier run was given but did not finish."""
        with answering(self._client):
            position = self._flattener.positions.get(stream, names.ORIGIN)
            if groups.ensure_group(self._client, stream, position) is groups.GroupState.CREATED:
                # A stream that knows no group of ours may be another one than the position was taken in (a new Redis,
                # its clock behind the old one's): by that position its entries would be taken for old ones.
                self._flattener.forget_position(stream)
            for batch in groups.drain(self._client, stream, CONSUMER):
                self._apply([Entry(stream, offset, fields) for offset, fields in batch])
                groups.ack(self._client, stream, [offset for offset, _ in batch])

    def _handler(self, stream: str) -> Callable[[Any], Any]:
        async def handle(batch: Any) -> None:
            entries = [Entry(stream, offset, fields) for offset, fields in batch if fields]
            if not entries:
                return
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self.failed is not None and self.failed.done():
                done.cancel()  # nobody takes from the queue any more; the entries stay pending
            self._queue.put_nowait((entries, done))
            await done

        return handle

    async def _work(self) -> None:
        """Take together what all streams have brought, and commit it as one."""
        held: list[Delivery] = []
        while True:
            waiting = held or [await self._queue.get()]
            await asyncio.sleep(_LINGER_SECONDS)
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            waiting, held = _people_last(waiting, self._max_records)
            entries = [entry for batch, _ in waiting for entry in batch]
            try:
                async with self._turn:
                    await asyncio.to_thread(self._apply, entries)
            except Exception as error:
                # Whatever it was, nothing of the batch is stored and its entries stay pending: stop, and let the
                # next start take them again, rather than run on with a hole.
                if self.failed is not None and not self.failed.done():
                    self.failed.set_exception(error)
                while not self._queue.empty():
                    held.append(self._queue.get_nowait())
                for _, done in (*waiting, *held):
                    done.cancel()
                return
            for _, done in waiting:
                if not done.done():
                    done.set_result(None)

    def _apply(self, entries: Sequence[Entry]) -> None:
        applied = self._flattener.apply(entries)
        if applied.rejects:
            now = self._now()
            letters = [
                DeadLetter(
                    stream=r.entry.stream,
                    offset=r.entry.offset,
                    reason=r.reason,
                    first_tried_at=now,
                    last_tried_at=now,
                    fields=readable(r.entry.fields),
                )
                for r in applied.rejects
            ]
            dead.bury(self._client, letters)
            for letter in letters:
                log.warning("dead letter", stream=letter.stream, offset=letter.offset, reason=letter.reason)
        self._on_applied(applied)


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

    def log(self, level: int, msg: Any, /, *, exc_info: Any = None, **_: Any) -> None:
        """Take a line of FastStream's log."""
        error = exc_info if isinstance(exc_info, BaseException) else None
        if level >= logging.ERROR and not isinstance(error, asyncio.CancelledError):
            log.warning("faststream", detail=f"{msg} ({type(error).__name__})" if error else str(msg))


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
