"""`headrace sweep`: compare source and store and repair what differs, here or in the worker that owns the store.

For workers there is `Sweeper`: after each poll `beat` answers sweeps that were asked for, sweeps when it is time, and
reads formulas again. Everything of it runs in the poller's thread.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import structlog

from integration.core.catalog import ObjectSchema
from integration.errors import HeadraceError, UnreachableError, UsageError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.store import tables
from integration.store.ownership import StoreOwnedError
from integration.store.protocol import Store
from integration.stream.connection import Client, answering
from integration.stream.names import SWEEP_REQUESTS, SWEEPER_KEY, SWEPT_KEY
from integration.wiring import asking, owner, parts, pipeline
from integration.wiring.clock import now
from integration.wiring.pipeline import Polling, Progress
from integration.wiring.reading import find_owner
from integration.wiring.reconciling import StoppedError, Tools
from integration.wiring.reread import Reread, Rereader, rereads
from integration.wiring.streams import open_streams
from integration.wiring.sweep_report import Finding, Ledger, SweepReport, ledger_rows, run_row
from integration.wiring.sweep_requests import DESK, Request, ask
from integration.wiring.sweeper import Sweep, SweepProgress

__all__ = [
    "Finding",
    "Ledger",
    "Reread",
    "StoppedError",
    "SweepProgress",
    "SweepReport",
    "Sweeper",
    "Tools",
    "rereads",
    "sweep",
]

log = structlog.get_logger()

_HOUR: Final = 3_600

OnChange = Callable[[SweepProgress], None]


def _nobody(_progress: SweepProgress) -> None:
    return None


class Sweeper:
    """Sweeps and re-reads for a process that owns the store and polls.

    `counts` tells what the consumer has written so far, under the names of the columns of `sync_runs` (see
    Progress.totals); the differences over a sweep go into its row.
    """

    def __init__(
        self,
        settings: Settings,
        tools: Tools,
        *,
        counts: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._tools = tools
        self._counts = counts
        self._every_hours = settings.sweep.every_hours
        self._rereader = Rereader(tools, settings.poll.reread_seconds)

    def run(
        self,
        objects: Sequence[str] = (),
        *,
        dry_run: bool = False,
        accept_loss: bool = False,
        run_id: str | None = None,
        on_change: OnChange = _nobody,
    ) -> SweepReport:
        """Sweep these objects (all that are read, if none is named), and note it in the store.

        Raises UsageError for an object that is not read, StoppedError when told to stop, and what source, streams and
        store raise; `sync_runs` has a row then too.
        """
        report = SweepReport(run_id or f"sweep-{uuid.uuid4().hex[:12]}", now(), dry_run=dry_run)
        before, began = dict(self._counts()), self._tools.source.server_time
        sweep = Sweep(self._tools, report, accept_loss=accept_loss, on_change=on_change)
        try:
            sweep.run(objects)
        except UsageError:
            raise
        except HeadraceError as error:
            report.outcome = "interrupted" if isinstance(error, StoppedError) else f"failed: {type(error).__name__}"
            report.objects.clear()
            with suppress(HeadraceError):  # a store that is broken has said so already
                self._note(report, before)
            raise
        self._note(report, before)
        if not dry_run:
            self._rereader.swept({one.object: began for one in report.objects if not one.trouble}, began)
            if not objects:
                self._swept(began)
        return report

    def step(self, max_calls: int = 1) -> Reread:
        """Go on re-reading formulas for about so many calls; does nothing between two rounds."""
        return self._rereader.step(max_calls)

    def round(self) -> Reread | None:
        """Re-read all formulas if it is time (`poll.reread_seconds`), or finish a round that was begun; else None.

        What has drifted is published when it returns, not yet stored.
        """
        return self._rereader.round()

    def beat(self, interval_seconds: float, spare_calls: float) -> None:
        """Do what is to be done after a poll: answer requests, sweep (`sweep.every_hours`), go on re-reading.

        `interval_seconds` is the time until the next beat, `spare_calls` what the API budget leaves for what can wait.
        Raises UnreachableError; other problems are logged. Told to stop, it just ends.
        """
        try:
            self.answer()
            if spare_calls < 1:
                return
            if self._is_time_to_sweep():
                self._sweep_unasked()
            step = self.step(min(self._rereader.calls_per_step(interval_seconds), int(spare_calls)))
            if step.drifted:
                log.info("formulas moved without a stamp", records=step.drifted)
        except UnreachableError:
            raise
        except HeadraceError as error:
            if not isinstance(error, StoppedError):
                log.warning("reconciling failed", detail=str(error))

    def settle(self) -> None:
        """Do what a one-shot sync does at its end: sweep if it is time, or else read all formulas again if it is."""
        if self._is_time_to_sweep():
            self._sweep_unasked()
        else:
            self.round()

    def announce(self) -> None:
        """Say that this process answers requests for sweeps."""
        with answering(self._tools.client):
            self._tools.client.set(SWEEPER_KEY, str(os.getpid()))

    def withdraw(self) -> None:
        """Take that back, and tell those who wait that nobody will answer."""
        with answering(self._tools.client):
            self._tools.client.delete(SWEEPER_KEY)
            while (text := self._tools.client.lpop(SWEEP_REQUESTS)) is not None:
                request = asking.request_of(text, Request)
                if request is not None:
                    self._reply(request, {"error": "The worker has ended: run headrace sweep again.", "exit_code": 3})

    def answer(self) -> int:
        """Make the sweeps that were asked for since; return how many. A sweep that fails is told to who asked for it.

        Cheap when there is none (one Redis command), so it may be called more often than polls are made.
        """
        answered = 0
        while True:
            with answering(self._tools.client):
                text = self._tools.client.lpop(SWEEP_REQUESTS)
            if text is None:
                return answered
            request = asking.request_of(text, Request)
            if request is not None:
                self._answer(request)
                answered += 1

    def _answer(self, request: Request) -> None:
        told: dict[str, Any] = {"error": "The worker ended in the middle of the sweep: run it again.", "exit_code": 3}
        try:
            report = self.run(
                request.objects, dry_run=request.dry_run, accept_loss=request.accept_loss, run_id=request.run_id
            )
            told = {"report": asdict(report)}
        except HeadraceError as error:
            told = {"error": str(error), "exit_code": error.exit_code}
            if isinstance(error, StoppedError | UnreachableError):
                raise
        finally:
            self._reply(request, told)

    def _reply(self, request: Request, told: Mapping[str, Any]) -> None:
        asking.reply(self._tools.client, DESK, request.run_id, told)

    def _is_time_to_sweep(self) -> bool:
        """Tell whether the last whole sweep is long enough ago; the first is so long after the first question."""
        if not self._every_hours:
            return False
        clock = self._tools.source.server_time
        with answering(self._tools.client):
            last = self._tools.client.get(SWEPT_KEY)
            swept = last.decode() if isinstance(last, bytes) else last
            if swept is None or swept > clock:
                self._tools.client.set(SWEPT_KEY, clock)
                return False
        return _hours(swept, clock) >= self._every_hours

    def _sweep_unasked(self) -> None:
        began = self._tools.source.server_time
        try:
            report = self.run()
        except (StoppedError, UnreachableError):
            raise
        except HeadraceError as error:
            log.warning("sweep failed", detail=str(error))
        else:
            tell = log.info if report.is_equal else log.warning
            tell("sweep", detail=report.sentence)
            for sentence in (s for one in report.objects for s in one.trouble):
                log.warning("sweep", detail=sentence)
        self._swept(began)

    def _swept(self, began: str) -> None:
        with answering(self._tools.client):
            self._tools.client.set(SWEPT_KEY, began)

    def _note(self, report: SweepReport, before: Mapping[str, int]) -> None:
        counts = {name: count - before.get(name, 0) for name, count in self._counts().items()}
        with self._tools.store.transaction() as tx:
            tx.append("reconciliations", tables.RECONCILIATIONS, ledger_rows(report))
            tx.append("sync_runs", tables.SYNC_RUNS, [run_row(report, counts)])


def tools_for(
    settings: Settings,
    source: SalesforceClient,
    client: Client,
    store: Store,
    polling: Polling,
    *,
    should_stop: Callable[[], bool],
    keep_polling: bool = False,
) -> Tools:
    """Return the tools of a process whose poller is `polling`.

    With `keep_polling` a long sweep lets the poll go on at its interval: changes don't wait for its end.
    """
    polled = time.monotonic()

    def schemas() -> Mapping[str, ObjectSchema]:
        return {schema.object: schema for schema in polling.schemas}

    def between() -> None:
        nonlocal polled
        if keep_polling and time.monotonic() - polled >= settings.poll.interval_seconds:
            polling.poll(deleted=False, should_stop=should_stop)
            polled = time.monotonic()

    return Tools(
        source=source,
        client=client,
        store=store,
        schemas=schemas,
        poll=lambda deleted: polling.poll(deleted=deleted, should_stop=should_stop),
        should_stop=should_stop,
        between=between,
        refused=lambda: parts.check_budget(settings, source),
        enriching=_enriching(settings, schemas()),
    )


def _enriching(settings: Settings, schemas: Mapping[str, ObjectSchema]) -> frozenset[str]:
    """Name the objects whose fields the settings have flattened into others."""
    lookups = (schema.field(lookup) for name, schema in schemas.items() for lookup in settings.object(name).enrich)
    return frozenset(target for field in lookups if field is not None for target in field.reference_to)


def sweep(
    settings: Settings,
    objects: Sequence[str] = (),
    *,
    dry_run: bool = False,
    accept_loss: bool = False,
    on_change: OnChange | None = None,
) -> SweepReport:
    """Compare source and store, after catching up, and repair what differs (with `dry_run`, only say what does).

    Where a worker owns the store, that worker is asked to do it. Raises UsageError for an object that is not read,
    ConfigError where there is no store yet, and what a sync raises.
    """
    asking.check_store(settings)
    request = Request(f"sweep-{uuid.uuid4().hex[:12]}", tuple(objects), dry_run, accept_loss)
    tell = on_change or _nobody
    worker = find_owner(settings)
    if worker is None:
        source = parts.salesforce(settings)
        source.org_id  # noqa: B018 - logs in: who is refused here need not wait for the store
        try:
            with parts.open_store(settings) as store, owner.answering_queries(settings, store, port=0):
                return _here(settings, source, store, request, tell)
        except StoreOwnedError:
            worker = find_owner(settings)
            if worker is None:
                raise
    return ask(settings, worker, request, tell)


def _here(
    settings: Settings, source: SalesforceClient, store: Store, request: Request, on_change: OnChange
) -> SweepReport:
    progress = Progress()
    reports: list[SweepReport] = []
    with open_streams(settings) as streams:
        polling = Polling(settings, source, streams, progress)
        consumer = pipeline.consumer(settings, store, streams, progress, polling.describe())

        def work(should_stop: Callable[[], bool]) -> None:
            tools = tools_for(settings, source, streams.client, store, polling, should_stop=should_stop)
            sweeper = Sweeper(settings, tools, counts=progress.totals)
            reports.append(
                sweeper.run(
                    request.objects,
                    dry_run=request.dry_run,
                    accept_loss=request.accept_loss,
                    run_id=request.run_id,
                    on_change=on_change,
                )
            )

        asyncio.run(pipeline.drain_while(consumer, streams, progress, work))
    return reports[0]


def _hours(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() / _HOUR
