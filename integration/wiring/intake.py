"""Product events from the door of a worker into Redis, whatever else of the worker is up."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import structlog

from integration import tracing
from integration.errors import HeadraceError, UnreachableError
from integration.settings import Settings, is_loopback
from integration.stream import product
from integration.stream.connection import Client, FullError, connect_briefly
from integration.stream.product import Room
from integration.web.segment import Intake
from integration.wiring.measures import Measures
from integration.wiring.streams import open_streams

log = structlog.get_logger()

_PATIENCE_SECONDS: Final = 3.0
_AGAIN_SECONDS: Final = 1.0


@contextmanager
def intake(settings: Settings, measures: Measures) -> Iterator[Intake | None]:
    """Give what the door takes product events with; None where `product.enabled` is off. Redis is reached when the
    first events come."""
    if not settings.product.enabled:
        yield None
        return
    channel = Channel(settings)
    try:
        yield Intake(
            take=channel.take,
            keys=[key.get_secret_value() for key in settings.product.write_keys],
            is_private=is_loopback(settings.web.host),
            count=measures.product_call,
        )
    finally:
        channel.close()


class Channel:
    """The way to the stream: opened when it is first needed, and anew after it failed. Safe to use from any thread.

    Clients wait for an answer, so nothing here waits for long: after a failure every call fails for a second.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._found: tuple[Client, Room] | None = None
        self._problem: str | None = None
        self._again_at = clock()

    def take(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Add events to the stream; return how many were new. Raises FullError and whatever else kept it from that."""
        client, room = self._open()
        with tracing.span("take product events", events=len(events)) as span:
            try:
                room.check()
                fresh = len(product.publish(client, events, tracing.traceparent()))
            except FullError as error:
                self._say(str(error))
                raise
            except HeadraceError as error:
                self._failed(str(error), client)
                raise
            span.set(new=fresh)
        self._say(None)
        return fresh

    def close(self) -> None:
        """Let go of Redis."""
        with self._lock:
            self._found = None
            self._stack.close()

    def _open(self) -> tuple[Client, Room]:
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            raise UnreachableError("Redis is being reached: try again in a moment.")
        try:
            if self._found is not None:
                return self._found
            if self._clock() < self._again_at:
                raise UnreachableError(str(self._problem))
            try:
                self._found = self._reached()
            except HeadraceError as error:
                self._again_at = self._clock() + _AGAIN_SECONDS
                self._say(str(error))
                raise
            return self._found
        finally:
            self._lock.release()

    def _reached(self) -> tuple[Client, Room]:
        with ExitStack() as stack:
            streams = stack.enter_context(open_streams(self._settings))
            client = stack.enter_context(connect_briefly(streams.url, _PATIENCE_SECONDS))
            limits = self._settings.streams
            room = Room(client, high=limits.high_water, memory_percent=limits.memory_percent, clock=self._clock)
            self._stack = stack.pop_all()
        return client, room

    def _failed(self, problem: str, client: Client) -> None:
        """Open anew next time: an embedded server that was started again answers somewhere else."""
        self._say(problem)
        with self._lock:
            if self._found is not None and self._found[0] is client:
                self._found = None
                self._again_at = self._clock() + _AGAIN_SECONDS
                self._stack.close()

    def _say(self, problem: str | None) -> None:
        """Write it down when it begins, and when it is over."""
        before, self._problem = self._problem, problem
        if problem is not None and before is None:
            log.warning("product events can't be taken", detail=problem)
        elif problem is None and before is not None:
            log.info("product events are taken again")
