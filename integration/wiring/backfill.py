"""`headrace backfill`: read objects again from the beginning, beside the poll, and see it stored.

The captures go down the same streams as the poll's. Where a worker owns the store, it stores them; else this process
does. No cursor is touched, but that of an object which nobody has polled yet is made: polling goes on from there.
"""

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from integration.core import history
from integration.core.catalog import ObjectSchema
from integration.core.chunks import Course, Sizes, Way
from integration.errors import HeadraceError, RunError, UnreachableError
from integration.settings import Settings
from integration.source.backfill import Backfill, Told
from integration.source.client import SalesforceClient
from integration.source.histories import fields_told, tells_fields
from integration.source.poll import Poller
from integration.source.recover import StoppedError
from integration.store.answers import ask
from integration.store.protocol import Queryable, Store
from integration.stream import names
from integration.stream.connection import reach
from integration.stream.embedded import embedded
from integration.stream.lease import Lease, new_holder
from integration.stream.pressure import Gate
from integration.stream.publish import Publisher
from integration.wiring import parts, pipeline, reading, runs, storing
from integration.wiring.backfill_plan import Asked, Courses, Org, note_open_transactions, plan, refused, since_of
from integration.wiring.backfill_report import BackfillProgress, BackfillReport, ObjectPlan
from integration.wiring.backfill_sink import OnChange, Sink, Watch, lag_of
from integration.wiring.clock import now
from integration.wiring.pipeline import Progress
from integration.wiring.streams import Streams, has_streams, open_streams

__all__ = ["Asked", "BackfillProgress", "BackfillReport", "Sizes", "Way", "backfill"]

_LEASE_SECONDS: Final = 120.0
_RENEW_SECONDS: Final = 10.0
_NAP_SECONDS: Final = 0.25

OnPlan = Callable[[BackfillReport], None]


def backfill(
    settings: Settings,
    asked: Asked,
    *,
    dry_run: bool = False,
    on_plan: OnPlan = lambda _report: None,
    on_change: OnChange = lambda _progress: None,
    sizes: Sizes | None = None,
) -> BackfillReport:
    """Plan, read, publish, and see it stored; with `dry_run` only plan. `on_plan` is shown the plan before any reading.

    An unfinished backfill of the same words is gone on with. Raises UsageError (unknown object, no time, other words
    than those of the unfinished one), UnreachableError (also for a budget that does not suffice), RunError and
    ConfigError; whatever was read stays published, and the same command goes on from there.
    """
    since_of(asked.since, datetime.now(UTC))  # a slip of the pen is told before anything is asked for
    source = parts.salesforce(settings)
    source.org_id  # noqa: B018 - logs in
    report = BackfillReport(f"backfill-{uuid.uuid4().hex[:12]}", now(), dry_run=dry_run)
    with _streams(settings, dry_run) as streams:
        work = _Work(settings, source, streams, report, sizes or Sizes(), on_change)
        if dry_run:
            work.plan(asked, on_plan)
            report.ended_at, report.api_calls, report.api_usage = now(), source.calls, source.api_usage
            return report
        with work.alone():
            work.plan(asked, on_plan)
            work.execute()
    return report


class _Work:
    """One run of the command."""

    def __init__(
        self,
        settings: Settings,
        source: SalesforceClient,
        streams: Streams,
        report: BackfillReport,
        sizes: Sizes,
        on_change: OnChange,
    ) -> None:
        self._settings, self._source, self._streams = settings, source, streams
        self._report, self._sizes = report, sizes
        self._courses = Courses(streams.client)
        self._todo: list[Course] = []
        self._poller: Poller | None = None
        self._progress = Watch(on_change)
        self._lease = Lease(
            streams.client,
            "backfill",
            holder=new_holder(socket.gethostname(), os.getpid()),
            seconds=_LEASE_SECONDS,
        )
        self._renewed = time.monotonic()
        self._known: int | None = None
        """How many captures of backfills the store had before; None where it could not be asked."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second backfill from reading the same at the same time. Raises RunError if there is one."""
        if not self._lease.take():
            raise RunError(
                "Another headrace backfill is at work: wait for it, or end it; the same command then goes on with it."
            )
        try:
            yield
        finally:
            with suppress(HeadraceError):  # it expires
                self._lease.release()

    # --- planning -------------------------------------------------------------------------------------------------

    def plan(self, asked: Asked, on_plan: OnPlan) -> None:
        """Decide what to read, show it, and refuse it where the API budget does not suffice."""
        report, client = self._report, self._streams.client
        self._poller, _ = parts.poller(self._settings, self._source, client)
        org = Org(self._source, self._poller.schemas, self._poller.skipped)
        publisher, known = Publisher(client), self._courses.all()
        self._todo = plan(
            org, asked, known, self._sizes,
            run_id=report.run_id, was_polled=lambda name: publisher.cursor(name) is not None,
        )  # fmt: skip
        report.run_id, report.since = self._todo[0].run_id, self._todo[0].since
        report.is_resumed = any(course.started_at is not None for course in self._todo)
        report.objects = [ObjectPlan.of(course, self._sizes) for course in self._todo if not course.is_done]
        report.calls_estimated = sum(one.calls or 0 for one in report.objects)
        usage, percent = self._source.api_usage, self._settings.salesforce.api_budget_percent
        if usage is not None and usage[1]:
            report.share_of_budget = 100 * report.calls_estimated / (usage[1] * percent / 100)
        if not asked.objects:
            report.notes += org.skipped.values()
        left = [name for name, course in known.items() if name not in org.named(asked.objects) and not course.is_done]
        if left:
            report.notes.append(f"Not finished either: headrace backfill {' '.join(left)} would go on with it.")
        on_plan(report)
        problem = refused(report.calls_estimated, usage, percent)
        if problem is not None:
            raise problem
        if not report.dry_run:
            note_open_transactions(org, self._todo)
            self._courses.save(*self._todo)

    # --- reading --------------------------------------------------------------------------------------------------

    def execute(self) -> None:
        """Read and see it stored: by the worker that owns the store, or here."""
        with storing.store_or_none(self._settings) as store:
            if store is not None:
                self._here(store)
                return
        self._beside()

    def _here(self, store: Store) -> None:
        report, progress = self._report, Progress()
        report.stored_by, self._known = "here", _archived(store)
        try:
            self._consume(store, progress, self._read)
            report.outcome = "dead letters" if progress.dead else "skipped" if report.skipped else "ok"
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            report.outcome = "interrupted" if stopped else f"failed: {type(error).__name__}"
            with suppress(HeadraceError):  # a store that is broken has said so already
                self._end(store, progress)
                runs.note(store, self._report, "backfill")
            raise
        self._stored()
        self._end(store, progress)
        runs.note(store, self._report, "backfill")

    def _stored(self) -> None:
        """Forget the courses: whoever gives the same words again means another backfill."""
        self._courses.forget([course.object for course in self._todo])

    def _beside(self) -> None:
        """Read, and wait until the worker that owns the store has taken everything; if it ends, take over."""
        report, client = self._report, self._streams.client
        report.stored_by = storing.worker(self._settings) or ""
        with suppress(HeadraceError), reading.reader(self._settings) as store:
            self._known = _archived(store)
        self._read(lambda: False)
        streams = [names.stream_of(course.object) for course in self._todo]
        if not storing.wait(self._settings, client, streams, take_over=self._took_over, on_wait=self._waits):
            return
        self._stored()
        with suppress(HeadraceError), reading.reader(self._settings) as store:
            self._end(store, None)
        report.outcome = "dead letters" if report.dead_letters else "skipped" if report.skipped else "ok"

    def _took_over(self) -> bool:
        """Store what the worker has left behind; False if another one has come."""
        with storing.store_or_none(self._settings) as store:
            if store is None:
                return False
            progress = Progress()
            self._report.stored_by = "here"
            self._consume(store, progress, lambda _should_stop: None)
            self._stored()
            self._end(store, progress)
            self._report.outcome = "dead letters" if progress.dead else "skipped" if self._report.skipped else "ok"
            runs.note(store, self._report, "backfill")
            return True

    def _waits(self, entries: int) -> None:
        self._progress.stored(entries)
        self._renew()

    def _consume(self, store: Store, progress: Progress, work: Callable[[Callable[[], bool]], None]) -> None:
        """Consume while `work` runs in a thread, and on until nothing is left in the streams."""
        streams = [names.stream_of(course.object) for course in self._todo]

        def applied(_progress: Progress, _applied: Any) -> None:
            if self._progress.is_read:
                self._progress.stored(lag_of(self._streams.client, streams))

        progress.on_change = applied
        described = list(self._poller.schemas.values()) if self._poller is not None else []
        consumer = pipeline.consumer(self._settings, store, self._streams, progress, described)
        asyncio.run(pipeline.drain_while(consumer, self._streams, progress, work))

    def _read(self, should_stop: Callable[[], bool]) -> None:
        """Read all that is left, into the streams. Told to stop it just ends: what was read is saved."""
        if self._poller is None:
            raise HeadraceError("The backfill was not planned.")
        settings, client = self._settings, self._streams.client
        gate = Gate(
            client,
            high=settings.streams.high_water,
            memory_percent=settings.streams.memory_percent,
            should_stop=should_stop,
            on_change=self._progress.held,
        )
        sink = Sink(client, gate, self._courses, self._poller)
        schemas = self._poller.schemas
        work = Backfill(
            self._source, sink, schemas,
            history=_told(schemas),
            sizes=self._sizes,
            between=lambda: self._go_on(should_stop),
            on_page=lambda course, told: self._progress.page(course, told, self._todo, gate),
            wait=lambda seconds: _wait(seconds, should_stop),
        )  # fmt: skip
        try:
            with suppress(StoppedError):
                work.run([course for course in self._todo if not course.is_done])
                self._progress.read(work.told)
        finally:
            self._count(work.told)

    def _go_on(self, should_stop: Callable[[], bool]) -> None:
        """Raise what ends the reading: an order to stop, or the budget."""
        if should_stop():
            raise StoppedError("It was stopped before it was done: the same command goes on from there.")
        usage, percent = self._source.api_usage, self._settings.salesforce.api_budget_percent
        if usage is not None and usage[1] and usage[0] * 100 >= usage[1] * percent:
            raise UnreachableError(
                f"The org has used {usage[0]:,} of its {usage[1]:,} API calls of the last 24 hours, and "
                f"salesforce.api_budget_percent allows {percent} %: the backfill pauses. When calls are free, run the "
                "same command again, and it goes on from there."
            )
        self._renew()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed >= _RENEW_SECONDS:
            self._renewed = time.monotonic()
            self._lease.take()

    # --- what it came to ------------------------------------------------------------------------------------------

    def _count(self, told: Told) -> None:
        report = self._report
        by_name = {one.object: one for one in report.objects}
        for name, counted in told.objects.items():
            by_name[name].rows_read, by_name[name].published = counted.rows, counted.published
            if counted.unreadable:
                report.skipped.append(
                    f"{counted.unreadable:,} rows of {name} have no usable Id or stamp and were left out."
                )
        for course in self._todo:
            if course.object in by_name:
                by_name[course.object].via = course.way.value
        report.skipped += [f"{name} was not read to its end: {why}" for name, why in told.skipped.items()]
        report.notes += told.notes
        report.records_read = sum(counted.rows for counted in told.objects.values())
        report.captures_published = sum(counted.published for counted in told.objects.values())
        report.api_calls, report.api_usage, report.ended_at = self._source.calls, self._source.api_usage, now()

    def _end(self, store: Queryable, progress: Progress | None) -> None:
        """Ask the store what became of the captures."""
        report = self._report
        if progress is not None:
            report.events_written, report.users_written = progress.applied.events, progress.applied.users
            report.dead_letters, report.dead_letters_by_stream = progress.dead.total(), dict(progress.dead)
        else:
            dead = (
                "SELECT stream, count(*) AS n FROM dead_letters WHERE entry->>'$.origin' = 'backfill' "
                f"AND first_tried_at >= TIMESTAMPTZ '{report.started_at}' GROUP BY stream ORDER BY stream"
            )
            report.dead_letters_by_stream = {row["stream"]: int(row["n"]) for row in ask(store, dead)}
            report.dead_letters = sum(report.dead_letters_by_stream.values())
        if self._known is not None:
            new = max(_archived(store) - self._known, 0)
            report.captures_new = new
            report.captures_known = max(report.captures_published - new - report.dead_letters, 0)
        report.ended_at = now()


def _archived(store: Queryable) -> int:
    return int(ask(store, "SELECT count(*) AS n FROM captures WHERE origin = 'backfill'")[0]["n"])


@contextmanager
def _streams(settings: Settings, dry_run: bool) -> Iterator[Streams]:
    """Reach Redis; a dry run leaves no embedded server's directory where there was none."""
    if dry_run and not has_streams(settings):
        with TemporaryDirectory() as folder, embedded(Path(folder)) as url, reach(url) as client:
            yield Streams(url, client)
        return
    with open_streams(settings) as streams:
        yield streams


def _told(schemas: Mapping[str, ObjectSchema]) -> dict[str, frozenset[str]]:
    """Return of which fields rows of history are wanted: what the settings keep out must not come in by them."""
    return {
        name: fields_told(schemas[parent])
        for name, schema in schemas.items()
        if (parent := history.parent_of(name)) in schemas and parent is not None and tells_fields(schema)
    }


def _wait(seconds: float, should_stop: Callable[[], bool]) -> None:
    """Sleep; wake up early to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if should_stop():
            raise StoppedError("Stopped while a Bulk job was running.")
        time.sleep(min(left, _NAP_SECONDS))
