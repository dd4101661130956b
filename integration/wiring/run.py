"""`headrace run`: long-running workers, until a signal ends them.

A worker outlives what it works with: when Redis, the store or its disk goes away, everything is taken down, and put up
again when it is back. Only a first start ends in an error, for there the settings may be wrong.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import structlog

from integration import __version__, tracing
from integration.errors import FencedError, UnreachableError
from integration.settings import Settings
from integration.store.ownership import StoreOwnedError
from integration.stream.lease import new_holder
from integration.wiring import pipeline
from integration.wiring.health import Health, components
from integration.wiring.intake import intake
from integration.wiring.measures import Measures
from integration.wiring.owner import WorkerDoor
from integration.wiring.pipeline import Progress
from integration.wiring.shift import Role, Shift, Telling

__all__ = ["Role", "run"]

log = structlog.get_logger()

_BEAT_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0


def run(
    settings: Settings,
    role: Role = Role.ALL,
    *,
    standby: bool = False,
    on_change: Callable[[Progress, Any], None] | None = None,
    on_ready: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    """Work until SIGTERM, SIGINT or `stop`; then finish the batches in hand (15 s at most) and return.

    `standby` waits while another worker owns the store or polls the org, and takes over when it is gone. `on_ready`
    gets the address of the worker's HTTP server once everything is connected.
    """
    progress = Progress(on_change=on_change or _log_change)
    worker = _Worker(settings, role, progress, on_ready or (lambda _: None), stop or threading.Event(), standby)
    asyncio.run(worker.run())
    return progress


def _log_change(_: Progress, applied: Any) -> None:
    if applied is not None and applied.stored:
        log.info("stored", captures=applied.stored, events=applied.events, people=applied.users)


def _hinted(error: Exception) -> Exception:
    if isinstance(error, StoreOwnedError):
        return StoreOwnedError(
            f"{error} Or start this one with --standby to have it take over then.", error.pid, error.host
        )
    return error


class _Worker:
    """One shift after the other, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        role: Role,
        progress: Progress,
        on_ready: Callable[[str], None],
        stop: threading.Event,
        standby: bool,
    ) -> None:
        self._settings, self._role, self._progress = settings, role, progress
        self._on_ready = on_ready
        self._standby = standby
        takes = settings.product.enabled
        measures = Measures(settings, role=role, polls=role.polls, consumes=role.consumes, takes=takes)
        has_store = role is not Role.POLLER
        health = Health(*components(polls=role.polls, consumes=role.consumes, has_store=has_store))
        progress.measures, progress.health = measures, health
        self._told = Telling(health, measures, new_holder(socket.gethostname(), os.getpid()))
        self._open = ExitStack()
        taking = self._open.enter_context(intake(settings, measures))
        self._door = WorkerDoor(settings, health=health, measures=measures, intake=taking, has_store=has_store)
        self._quit = stop
        self._shift: Shift | None = None
        self._was_ready = False

    async def run(self) -> None:
        """Work until told to stop."""
        pipeline.tell_in_one_line()
        self._listen()
        tasks = [asyncio.create_task(self._relay()), asyncio.create_task(self._beat())]
        endpoint = self._settings.telemetry.otlp_endpoint
        try:
            with tracing.sending(endpoint, version=__version__, role=self._role), self._open, self._door:
                await self._keep_working()
        finally:
            for task in tasks:
                task.cancel()

    async def _keep_working(self) -> None:
        failures = 0
        while not self._quit.is_set():
            shift = self._shift = Shift(
                self._settings, self._role, self._progress, self._door, self._told, stands_by=self._stands_by
            )
            try:
                await shift.work(self._ready)
            except (UnreachableError, FencedError) as error:
                failures = 0 if shift.is_ready else failures + 1
                if not self._may_wait_for(error):
                    raise _hinted(error) from None
                await self._wait(error, failures)

    @property
    def _stands_by(self) -> bool:
        return self._standby or self._was_ready

    def _may_wait_for(self, error: Exception) -> bool:
        if self._quit.is_set():
            return False
        return self._was_ready or (self._standby and isinstance(error, StoreOwnedError | FencedError))

    async def _wait(self, error: Exception, failures: int) -> None:
        if isinstance(error, StoreOwnedError):
            if failures <= 1:
                log.info("standing by", detail=str(error))
            self._told.health.broken("store", f"Standing by: {error}")
            self._told.measures.paused("standby", True)
            pause = _LOOK_SECONDS
        else:
            pause = min(2.0 ** min(failures, 10), _LONGEST_PAUSE_SECONDS)
            log.warning("trying again", detail=str(error), in_seconds=pause)
        until = asyncio.get_running_loop().time() + pause
        while not self._quit.is_set() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_BEAT_SECONDS)

    def _ready(self) -> None:
        self._told.measures.paused("standby", False)
        if self._was_ready:
            log.info("at work again")
        else:
            self._was_ready = True
            self._on_ready(self._door.url)

    async def _beat(self) -> None:
        """Show that the event loop runs."""
        while True:
            self._told.health.beat()
            await asyncio.sleep(1)

    async def _relay(self) -> None:
        """Pass a stop, from wherever it came, on to the shift."""
        while not self._quit.is_set():
            await asyncio.sleep(_BEAT_SECONDS)
        while True:
            if self._shift is not None:
                self._shift.stop()
            await asyncio.sleep(_BEAT_SECONDS)

    def _listen(self) -> None:
        """End on SIGTERM and SIGINT; where this is not the main thread, someone else looks after signals."""
        if threading.current_thread() is not threading.main_thread():
            return

        def end(number: signal.Signals) -> None:
            log.info("stopping", detail="finishing the batches in hand")
            self._progress.interrupted = number is signal.SIGINT
            self._quit.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)
