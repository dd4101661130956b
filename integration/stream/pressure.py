"""Back-pressure: whoever publishes waits while too much lies unread in the streams, or while Redis is filling up."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.client import Pipeline
from redis.exceptions import ResponseError

from integration.stream.connection import Client, FullError, answering, where
from integration.stream.groups import honest_lag, last_offset, present
from integration.stream.names import GROUP, PRODUCT_STREAM, alive_of, is_ours

T = TypeVar("T")

_LOOK_SECONDS = 2.0
_SEARCH_SECONDS = 60.0
_BEAT_SECONDS = 0.5
_FEW = 200
_WAITING = "waiting"
_MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Load:
    """How many entries wait over all streams (not yet delivered, or not yet acknowledged), and how much of its memory
    Redis uses, in percent; None where it has no limit or does not tell."""

    waiting: int
    memory: float | None


class Gate:
    """What a publisher waits at: it closes when `high` entries wait or Redis uses `memory_percent` of its memory.

    It opens again when fewer than a fifth of `high` wait and memory is ten percent points lower. Full memory closes
    it only while entries of ours wait: else nobody could make room by reading on. `should_stop` is asked before each
    look and opens it for good. `on_change` gets a sentence when it closes (what is the matter, and what ends it) and
    None when it opens. Not for two threads at once.
    """

    def __init__(
        self,
        client: Client,
        *,
        high: int,
        memory_percent: int,
        should_stop: Callable[[], bool],
        on_change: Callable[[str | None], None],
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._high = max(1, high)
        self._low = max(1, high // 5)
        self._percent = float(memory_percent)
        self._should_stop = should_stop
        self._on_change = on_change
        self._sleep = sleep
        self._clock = clock
        self._noted = 0
        self._look_at = clock()
        self._search_at = clock()
        self._streams: set[str] = set()
        self._tells_memory = True

    def wait(self) -> None:
        """Return when publishing may go on. Raises UnreachableError when Redis does not answer.

        Redis is asked only once a tenth of `high` was published or two seconds went by since the last look.
        """
        if self._should_stop() or not (self._noted * 10 >= self._high or self._clock() >= self._look_at):
            return
        cause = ""
        try:
            while not self._should_stop() and (found := self._cause(cause)) is not None:
                if found[0] != cause:
                    cause = found[0]
                    self._tell(found[1])
                self._sleep(_BEAT_SECONDS)
        finally:
            if cause:
                self._tell(None)

    def note(self, published: int, streams: Iterable[str] = ()) -> None:
        """Count entries that were published; `streams` names where, so that a new stream is looked at from now on."""
        self._noted += published
        self._streams.update(streams)

    def through(self, send: Callable[[], T]) -> T:
        """Wait, then send; a Redis that is full is waited out and sent to again. `send` does all or nothing.

        Raises FullError only when told to stop meanwhile, and whatever else `send` raises.
        """
        self.wait()
        is_told = False
        try:
            while True:
                try:
                    return send()
                except FullError:
                    if self._should_stop():
                        raise
                    if not is_told:
                        self._tell(
                            f"Redis at {where(self._client)} is full: what is read is kept back and tried again until "
                            "the consumers have caught up or its maxmemory is raised."
                        )
                        is_told = True
                    self._sleep(_BEAT_SECONDS)
        finally:
            if is_told:
                self._tell(None)

    def load(self, *, exact_from: int = 0) -> Load:
        """Look at Redis. The number that waits may be too high as long as it is below `exact_from`.

        Raises UnreachableError.
        """
        if self._clock() >= self._search_at:
            self._streams = our_streams(self._client)
            self._search_at = self._clock() + _SEARCH_SECONDS
        pipe = self._client.pipeline(transaction=False)
        streams = sorted(self._streams)
        for stream in streams:
            pipe.xinfo_groups(stream)
        if self._tells_memory:
            pipe.info("memory")
        with answering(self._client):
            replies: list[Any] = pipe.execute(raise_on_error=False)
            groups = {s: _ours(found) for s, found in present(streams, replies[: len(streams)]).items()}
            waiting = self._waiting(groups, exact_from)
        self._noted = 0
        self._look_at = self._clock() + _LOOK_SECONDS
        return Load(waiting, self._memory(replies[-1]) if self._tells_memory else None)

    def _cause(self, closed_by: str) -> tuple[str, str] | None:
        """Return why the gate is to be closed: in one word, to compare, and in a sentence. None: it may be open."""
        most = self._low if closed_by == _WAITING else self._high
        lowest = max(self._percent - 10, self._percent / 2)
        load = self.load(exact_from=most)
        if load.waiting >= most:
            return _WAITING, (
                f"{load.waiting:,} entries wait in the streams (streams.high_water is {self._high:,}): reading goes on "
                f"when the consumers have brought them below {self._low:,}."
            )
        is_much = load.memory is not None and load.memory >= (lowest if closed_by == _MEMORY else self._percent)
        if is_much and load.waiting >= max(1, self._high // 50):
            return _MEMORY, (
                f"Redis uses {load.memory:.0f} % of its maxmemory (streams.memory_percent is {self._percent:.0f}): "
                f"reading goes on below {lowest:.0f} %, or when the consumers have caught up."
            )
        return None

    def _waiting(self, groups: Mapping[str, Mapping[str, Any]], exact_from: int) -> int:
        # In this version nobody reads product events: they would never be fewer.
        groups = {s: group for s, group in groups.items() if group or s != PRODUCT_STREAM}
        told = {s: int(g["lag"]) + int(g["pending"]) for s, g in groups.items() if g.get("lag") is not None}
        if sum(told.values()) >= exact_from:
            # Some versions of Redis go on counting entries that were deleted by hand: never wait for those.
            told = {stream: count for stream, count in told.items() if not count}
        return sum(told.values()) + _counted(self._client, {s: g for s, g in groups.items() if s not in told})

    def _memory(self, reply: Any) -> float | None:
        if isinstance(reply, ResponseError):  # a hosted Redis may not offer INFO
            self._tells_memory = False
        return _percent(reply) if isinstance(reply, Mapping) else None

    def _tell(self, sentence: str | None) -> None:
        # Whoever writes it down in the same Redis can't while it is full.
        with suppress(FullError):
            self._on_change(sentence)


def our_streams(client: Client) -> set[str]:
    """Return the names of headrace's streams, those of the dead left out. Raises UnreachableError."""
    with answering(client):
        found = {_text(key) for key in client.scan_iter(count=1000, _type="stream")}
    return {stream for stream in found if is_ours(stream) and alive_of(stream) == stream}


def memory_used(client: Client) -> float | None:
    """Return how much of its maxmemory Redis uses, in percent; None where it has no limit or does not tell."""
    with answering(client):
        try:
            return _percent(client.info("memory"))
        except ResponseError:
            return None


def refused_writes(client: Client) -> int:
    """Return how often Redis has refused a write for want of memory since it was started; 0 where it does not tell.

    Something large is refused long before all memory is used.
    """
    with answering(client):
        try:
            told: Mapping[str, Any] = client.info("errorstats")
        except ResponseError:
            return 0
    # A transaction is refused as such when the want shows only at its end.
    return sum(int(told[kind]["count"]) for kind in ("errorstat_OOM", "errorstat_EXECABORT") if kind in told)


def _percent(told: Mapping[str, Any]) -> float | None:
    used, most = int(told.get("used_memory") or 0), int(told.get("maxmemory") or 0)
    return 100 * used / most if most else None


def _ours(groups: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((group for group in groups if _text(group["name"]) == GROUP), {})


def _counted(client: Client, groups: Mapping[str, Mapping[str, Any]]) -> int:
    """Count what waits in these streams by looking at the streams themselves."""
    if not groups:
        return 0
    infos = _asked(client, groups, lambda pipe, stream: pipe.xinfo_stream(stream))
    total, unknown = 0, {}
    for stream, info in infos.items():
        group, length = groups[stream], int(info["length"])
        behind = honest_lag(group, length, last_offset(info)) if group else length
        total += int(group["pending"]) if group else 0
        if behind is None:
            unknown[stream] = group["last-delivered-id"]
        else:
            total += behind
    # A few entries are counted; more than a few are as good as all, since only reading them would tell.
    pages = _asked(client, unknown, lambda pipe, stream: pipe.xrange(stream, f"({_text(unknown[stream])}", count=_FEW))
    return total + sum(len(page) if len(page) < _FEW else int(infos[s]["length"]) for s, page in pages.items())


def _asked(client: Client, streams: Iterable[str], ask: Callable[[Pipeline, str], object]) -> dict[str, Any]:
    """Ask the same about several streams in one round trip; a stream that is not there is left out."""
    names = list(streams)
    if not names:
        return {}
    pipe = client.pipeline(transaction=False)
    for name in names:
        ask(pipe, name)
    return present(names, pipe.execute(raise_on_error=False))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
