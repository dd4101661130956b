"""What /metrics shows of Redis: how far each stream is behind, how many dead letters lie there, how full it is.

Asked over a connection of its own, which gives up quickly: who watches must not hang with what is watched.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError

from integration.errors import HeadraceError
from integration.stream.connection import Client, connect_briefly, translated, where
from integration.stream.names import (
    GROUP,
    ORIGIN,
    PRODUCT_STREAM,
    REREAD_KEY,
    SWEPT_KEY,
    alive_of,
    dead_of,
    offset_key,
)

_KEPT_SECONDS: Final = 2.0
_NAMES_KEPT_SECONDS: Final = 15.0
_NOT_REACHED: Final = "Redis has not been reached yet."


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One stream: entries it holds, entries not yet delivered (`lag`; where Redis does not know, all it holds),
    delivered but not stored (`pending`), dead letters, and when Redis took the oldest of lag and pending (seconds
    since 1970; None: nothing waits).
    """

    entries: int = 0
    lag: int = 0
    pending: int = 0
    dead: int = 0
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """All there is to see. `problem` says in a sentence why there is nothing; then the rest is empty.

    `reread` says for objects since when their calculated fields have been read again, `swept` when the last sweep of
    all objects began: ISO 8601 UTC. `max_memory` is 0 where no limit is set.
    """

    streams: Mapping[str, StreamFigures] = field(default_factory=dict)
    used_memory: int = 0
    max_memory: int = 0
    reread: Mapping[str, str] = field(default_factory=dict)
    swept: str | None = None
    problem: str | None = None


class StreamWatch:
    """Looks at Redis when asked, at most every two seconds. Safe to use from any thread.

    `streams` are shown from the start; others are found by their names. An answer is waited for `patience` seconds.
    """

    def __init__(
        self, streams: Iterable[str] = (), *, clock: Callable[[], float] = time.monotonic, patience: float = 2.0
    ) -> None:
        self._expected = tuple(streams)
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._names: tuple[float, list[str]] | None = None
        self._figures: tuple[float, Figures] | None = None
        self._answered: tuple[float, str | None] | None = None

    def follow(self, url: str | None) -> None:
        """Look at this server from now on; None: there is none."""
        client = connect_briefly(url, self._patience) if url is not None else None
        with self._lock:
            old, self._client = self._client, client
            self._names = self._figures = self._answered = None
        if old is not None:
            old.close()

    def problem(self) -> str | None:
        """Return None if Redis answers, else why it does not, in a sentence."""
        with self._lock:
            if self._answered is None or self._clock() - self._answered[0] >= _KEPT_SECONDS:
                told = self._try(lambda client: client.ping())
                self._answered = self._clock(), told if isinstance(told, str) else None
            return self._answered[1]

    def look(self) -> Figures:
        """Return the figures; those of a Redis that does not answer hold nothing but the problem."""
        with self._lock:
            if self._figures is None or self._clock() - self._figures[0] >= _KEPT_SECONDS:
                told = self._try(self._look)
                self._figures = self._clock(), Figures(problem=told) if isinstance(told, str) else told
            return self._figures[1]

    def _try(self, work: Callable[[Client], Any]) -> Any:
        """Return what the work returns, or a sentence about what kept it from working."""
        client = self._client
        if client is None:
            return _NOT_REACHED
        try:
            return work(client)
        except RedisError as error:
            problem: HeadraceError = translated(error, where(client))
            return str(problem)

    def _look(self, client: Client) -> Figures:
        names = self._stream_names(client)
        pipe = client.pipeline(transaction=False)
        pipe.info("memory")
        pipe.hgetall(REREAD_KEY)
        pipe.get(SWEPT_KEY)
        for name in names:
            pipe.xlen(name)
            pipe.xinfo_groups(name)
            pipe.xpending(name, GROUP)
            pipe.xlen(dead_of(name))
        memory, reread, swept, *rest = (_or_none(reply) for reply in pipe.execute(raise_on_error=False))
        drafts = [_Draft(name, *rest[at : at + 4]) for at, name in zip(range(0, len(rest), 4), names, strict=True)]
        for draft in drafts:
            # Almost always nothing, and then nothing of an entry travels.
            pipe.xrange(draft.name, min=f"({draft.delivered}", count=1)
        for draft, reply in zip(drafts, pipe.execute(raise_on_error=False), strict=True):
            draft.next = _or_none(reply)
        memory = memory or {}
        return Figures(
            streams={draft.name: draft.figures() for draft in drafts},
            used_memory=int(memory.get("used_memory", 0)),
            max_memory=int(memory.get("maxmemory", 0)),
            reread=_rounds(reread or {}),
            swept=_text(swept) if swept is not None else None,
        )

    def _stream_names(self, client: Client) -> list[str]:
        if self._names is None or self._clock() - self._names[0] >= _NAMES_KEPT_SECONDS:
            found = [_text(key) for key in client.scan_iter(match="crm.*", count=1000, _type="stream")]
            found += [PRODUCT_STREAM] if client.exists(PRODUCT_STREAM) else []
            names = {*self._expected, *(alive_of(name) for name in found)}
            self._names = self._clock(), sorted(names)
        return self._names[1]


class _Draft:
    """What Redis said of one stream."""

    def __init__(self, name: str, entries: Any, groups: Any, pending: Any, dead: Any) -> None:
        self.name, self.entries, self.dead = name, int(entries or 0), int(dead or 0)
        group: Mapping[str, Any] = next((g for g in groups or () if _text(g["name"]) == GROUP), {})
        self.delivered = _text(group.get("last-delivered-id", ORIGIN))
        self._lag = group.get("lag")
        self._pending: Mapping[str, Any] = pending or {}
        self.next: Sequence[Any] | None = None

    def figures(self) -> StreamFigures:
        waiting = [_text(entry[0]) for entry in self.next or () if entry[0] is not None]
        lag = 0
        if waiting:
            told = self._lag
            # Redis can count entries that are gone: a number that can't be is as good as none.
            lag = int(told) if told is not None and 0 < int(told) <= self.entries else self.entries
        pending = int(self._pending.get("pending", 0))
        if pending:
            waiting.append(_text(self._pending["min"]))
        oldest = min((offset_key(offset)[0] for offset in waiting), default=None)
        at = oldest / 1000 if oldest is not None else None
        return StreamFigures(self.entries, lag, pending, self.dead, at)


def _rounds(found: Mapping[Any, Any]) -> dict[str, str]:
    rounds: dict[str, str] = {}
    for name, text in found.items():
        try:
            told = json.loads(text)
        except ValueError:
            continue
        if isinstance(told, dict) and isinstance(told.get("started"), str) and told.get("ended"):
            rounds[_text(name)] = told["started"]
    return rounds


def _or_none(reply: Any) -> Any:
    # A stream or group that is not there, a command that a hosted Redis does not offer: nothing to show.
    return None if isinstance(reply, Exception) else reply


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
