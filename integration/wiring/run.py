"""`headrace run`: long-running workers, until a signal ends them."""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from typing import Any

import structlog

from integration.settings import Settings
from integration.wiring import owner, parts, pipeline
from integration.wiring.pipeline import Polling, Progress

log = structlog.get_logger()


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
    """Work until SIGTERM, SIGINT or `stop`; then finish the batches in hand (20 s at most) and return.

    `on_ready` gets the address of the query endpoint (None where the role has none) once everything is connected.
    """
    progress = Progress()
    if on_change is not None:
        progress.on_change = on_change
    asyncio.run(_run(settings, role, progress, on_ready or (lambda _url: None), stop or threading.Event()))
    return progress


async def _run(
    settings: Settings,
    role: Role,
    progress: Progress,
    on_ready: Callable[[str | None], None],
    stop: threading.Event,
) -> None:
    stopping = asyncio.Event()
    _listen(stop, stopping)
    with ExitStack() as stack:
        url = None
        jobs: list[Any] = []
        store = stack.enter_context(parts.open_store(settings)) if role is not Role.POLLER else None
        if store is not None:
            url = stack.enter_context(owner.answering_queries(settings, store, port=settings.web.port))
        if role is not Role.WEB:
            streams = stack.enter_context(parts.open_streams(settings))
            described: list[str] = []
            if role in (Role.ALL, Role.POLLER):
                polling = Polling(settings, parts.salesforce(settings), streams, progress)
                described = [s.object for s in await asyncio.to_thread(polling.describe)]
                jobs.append(asyncio.to_thread(polling.for_ever, stop))
            if store is not None:
                consumer = pipeline.consumer(settings, store, streams, progress, described)
                jobs.append(pipeline.consume_for_ever(settings, consumer, streams, stopping))
        jobs = jobs or [stopping.wait()]
        on_ready(url)
        await _until_one_fails(jobs, stop, stopping)


async def _until_one_fails(jobs: list[Any], stop: threading.Event, stopping: asyncio.Event) -> None:
    """Wait for all jobs; when one ends in an error the others are told to stop, and the error is raised."""
    watch = asyncio.create_task(_relay(stop, stopping))
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        stop.set()
        stopping.set()
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()
    finally:
        watch.cancel()


async def _relay(stop: threading.Event, stopping: asyncio.Event) -> None:
    """Pass a stop from another thread on to the event loop."""
    while not stop.is_set():
        await asyncio.sleep(0.1)
    stopping.set()


def _listen(stop: threading.Event, stopping: asyncio.Event) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def end() -> None:
        log.info("stopping", detail="finishing the batches in hand")
        stop.set()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
