"""Where a worker that owns the store is asked for replays."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, Final, TypeVar

import structlog

from consumers.app import Consumer
from consumers.apply import Flattener
from integration.errors import FencedError, HeadraceError, UnreachableError
from integration.settings import Settings
from integration.store.protocol import Store
from integration.stream.connection import Client, answering
from integration.wiring import asking
from integration.wiring.pipeline import in_thread
from integration.wiring.replay_report import DESK, ReplayProgress, Request, rules_of
from integration.wiring.replaying import Replaying, StoppedError

log = structlog.get_logger()

T = TypeVar("T")

_BEAT_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 1.0
_TELL_SECONDS: Final = 0.5


class ReplayDesk:
    """Answers requests for replays, one at a time, while the consumer goes on with its batches in between.

    To be made on the loop that the consumer runs on.
    """

    def __init__(
        self, settings: Settings, client: Client, store: Store, consumer: Consumer, stop: threading.Event
    ) -> None:
        self._rules = rules_of(settings)
        self._client, self._store, self._consumer = client, store, consumer
        self._stop = stop
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Say that this process answers while the block runs; at its end, tell those who wait that nobody will."""
        with answering(self._client):
            self._client.set(DESK.worker, str(os.getpid()))
        try:
            yield
        finally:
            with suppress(HeadraceError):  # a Redis that is gone holds no requests
                self._close()

    async def serve(self, started: asyncio.Event) -> None:
        """Answer, once the consumer has started, until told to stop. Raises UnreachableError and FencedError."""
        while not started.is_set() and not self._stop.is_set():
            await asyncio.sleep(_BEAT_SECONDS)
        await in_thread(self._serve)

    def _serve(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            with answering(self._client):
                text = self._client.lpop(DESK.requests)
            request = asking.request_of(text, Request) if text is not None else None
            if request is not None:
                self._answer(request)

    def _close(self) -> None:
        with answering(self._client):
            self._client.delete(DESK.worker)
            while (text := self._client.lpop(DESK.requests)) is not None:
                request = asking.request_of(text, Request)
                if request is not None:
                    told = {"error": "The worker has ended: run headrace replay again.", "exit_code": 3}
                    asking.reply(self._client, DESK, request.run_id, told)

    def _answer(self, request: Request) -> None:
        told: dict[str, Any] = {
            "error": "The worker ended in the middle of the replay: the same command goes on from there.",
            "exit_code": 3,
        }
        try:
            if request.rules != self._rules:
                told = {"error": _OTHER_SETTINGS.format(pid=os.getpid()), "exit_code": 2}
                return
            report = Replaying(
                self._store,
                self._exclusively,
                request,
                ReplayProgress(),
                self._telling(request.run_id),
                client=self._client,
                should_stop=self._stop.is_set,
            ).run()
            log.info("replayed", detail=report.sentence)
            told = {"report": asdict(report)}
        except StoppedError:
            return
        except HeadraceError as error:
            told = {"error": str(error), "exit_code": error.exit_code}
            if isinstance(error, UnreachableError | FencedError):
                raise
            log.warning("replay failed", detail=str(error))
        finally:
            asking.reply(self._client, DESK, request.run_id, told)

    def _exclusively(self, work: Callable[[Flattener], T]) -> T:
        between = self._consumer.between_batches(work)
        return asyncio.run_coroutine_threadsafe(between, self._loop).result()

    def _telling(self, run_id: str) -> Callable[[ReplayProgress], None]:
        last = 0.0

        def tell(progress: ReplayProgress) -> None:
            nonlocal last
            if time.monotonic() - last >= _TELL_SECONDS:
                last = time.monotonic()
                told = {"phase": progress.phase, "done": progress.done, "began_at": progress.began_at}
                asking.reply(self._client, DESK, run_id, {"progress": told})

        return tell


_OTHER_SETTINGS: Final = (
    "The worker that owns the store (process {pid}) runs with other settings of objects, identity or privacy than this "
    "command, or is of another version: restart it, then replay."
)
