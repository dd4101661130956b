"""Product events into their stream: each once, whatever clients send again, as long as there is room."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from integration.errors import RunError
from integration.stream.connection import Client, FullError, answering, where
from integration.stream.entry import to_product_entry
from integration.stream.groups import lag
from integration.stream.names import PRODUCT_STREAM, TAKEN_KEY
from integration.stream.pressure import memory_used

REMEMBERED_SECONDS: Final = 3_600
"""So long, and for so many events, it is known which were taken. Clients try again within minutes; what comes again
later than that lies in the stream twice, and the store knows it by its id."""
REMEMBERED_EVENTS: Final = 100_000
_LOOK_SECONDS: Final = 2.0
_KINDS: Final = {PRODUCT_STREAM: b"stream", TAKEN_KEY: b"zset"}


def publish(
    client: Client,
    events: Sequence[Mapping[str, Any]],
    traceparent: str | None = None,
    *,
    even_again: bool = False,
) -> list[str]:
    """Add events (plain dicts in the shape of schemas.ProductEvent) to the stream; return the offsets of the new ones.

    All or none, in one transaction that also remembers them: whoever lost the answer may send them again. Two calls
    with the same event at the same moment can both add it. With `even_again` what was taken lately is added too, and
    nothing is remembered: for many events that a store may have lost, and that are no client's second try. Raises
    FullError, UnreachableError, and RunError when another program uses the names of the stream or of what is
    remembered.
    """
    marked: dict[bytes, Mapping[str, Any]] = {}
    for event in events:
        marked.setdefault(_mark(event), event)
    fresh = _fresh(client, list(marked)) if marked else []
    fresh = list(marked) if even_again else fresh
    if not fresh:
        return []
    now = time.time_ns() // 1_000_000
    pipe = client.pipeline(transaction=True)
    for mark in fresh:
        pipe.xadd(PRODUCT_STREAM, to_product_entry(marked[mark], traceparent))  # type: ignore[arg-type]
    if not even_again:
        pipe.zadd(TAKEN_KEY, dict.fromkeys(fresh, now))
        pipe.zremrangebyscore(TAKEN_KEY, "-inf", now - REMEMBERED_SECONDS * 1000)
        pipe.zremrangebyrank(TAKEN_KEY, 0, -REMEMBERED_EVENTS - 1)
    with answering(client):
        replies = pipe.execute()
    return [_text(offset) for offset in replies[: len(fresh)]]


class Room:
    """Whether the stream may grow: not while `high` of its entries wait to be stored, nor while many do and Redis uses
    `memory_percent` of its memory.

    Only what waits here counts. What Salesforce has can be read again, so its pollers pause first; a client that is
    turned away too often throws its events away. Redis is asked every two seconds at most. Safe to use from any thread.
    """

    def __init__(
        self, client: Client, *, high: int, memory_percent: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._high = high
        self._percent = memory_percent
        self._clock = clock
        self._lock = threading.Lock()
        self._look_at = clock()
        self._want: str | None = None

    def check(self) -> None:
        """Return if there is room. Raises FullError, and UnreachableError when Redis does not answer."""
        with self._lock:
            is_due = self._clock() >= self._look_at
            if is_due:
                self._look_at = self._clock() + _LOOK_SECONDS
        if is_due:  # one thread looks, the others go by what was found before
            self._want = self._look()
        if self._want is not None:
            raise FullError(self._want)

    def _look(self) -> str | None:
        behind = lag(self._client, PRODUCT_STREAM)
        waiting = (behind.length if behind.lag is None else behind.lag) + behind.pending
        if waiting >= self._high:
            return f"{waiting:,} product events wait in Redis (streams.high_water is {self._high:,})."
        if waiting < max(1, self._high // 50):
            return None
        used = memory_used(self._client)
        if used is None or used < self._percent:
            return None
        return (
            f"Redis at {where(self._client)} uses {used:.0f} % of its maxmemory (streams.memory_percent is "
            f"{self._percent}), and {waiting:,} product events wait there."
        )


def _fresh(client: Client, marks: Sequence[bytes]) -> list[bytes]:
    """Leave out the events that were taken lately."""
    pipe = client.pipeline(transaction=False)
    for key in _KINDS:
        pipe.type(key)
    pipe.zmscore(TAKEN_KEY, list(marks))  # type: ignore[arg-type]
    with answering(client):
        *kinds, scores = pipe.execute(raise_on_error=False)
        # A transaction goes on after a command that meets the wrong kind of key: events would be remembered and lost.
        for (key, right), kind in zip(_KINDS.items(), kinds, strict=True):
            if isinstance(kind, bytes) and kind not in (b"none", right):
                raise RunError(
                    f"The key {key} holds a {_text(kind)}, not a {_text(right)} of headrace: delete or rename it, or "
                    "give headrace a Redis database of its own."
                )
        for reply in (*kinds, scores):
            if isinstance(reply, Exception):
                raise reply
    return [mark for mark, score in zip(marks, scores, strict=True) if score is None]


def _mark(event: Mapping[str, Any]) -> bytes:
    return blake2b(event["id"].encode(), digest_size=16).digest()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
