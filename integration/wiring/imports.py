"""`headrace import`: product events of the past from files, through the same stream as those of today, into the store.

An event is known by its id, and the id is told or follows from what happened: whoever imports a file twice, or part of
it again, changes nothing. Where a worker owns the store, it stores what is published; else this process does.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from integration.core.product import event_name
from integration.core.segment import Call, Refusal, read_past, stamp
from integration.errors import HeadraceError, RunError, UsageError
from integration.settings import Settings
from integration.store.answers import ask
from integration.store.protocol import Queryable
from integration.stream import groups, names, product
from integration.stream.connection import Client, answering
from integration.stream.pressure import Gate
from integration.wiring import event_files, pipeline, reading, storing
from integration.wiring.event_files import Reading, Record, Rejects, Table
from integration.wiring.pipeline import Progress
from integration.wiring.streams import Streams, open_streams

REASONS_TOLD: Final = 10
"""Of so many refused rows the place and the reason are told."""
_NAMES_TOLD: Final = 1_000
_EVENTS_AT_ONCE: Final = 200
_OTHERS: Final = "(other names)"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be imported, and how. `rejected` takes the rows that can't be used, as they stand in their file."""

    files: Sequence[str]
    reading: Reading
    rejected: Path | None = None


@dataclass(slots=True)
class Named:
    """The events of one name: how many were read, and the first and last time of them."""

    name: str
    events: int
    first: str
    last: str

    def add(self, time: str) -> None:
        """Count one more."""
        self.events += 1
        self.first, self.last = min(self.first, time), max(self.last, time)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that can't be used: its file, its line (in Parquet, its row), and why."""

    file: str
    line: int
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What an import came to."""

    started_at: str
    ended_at: str = ""
    dry_run: bool = False
    files: int = 0
    rows: int = 0
    """Lines of JSON, rows of tables."""
    events: int = 0
    """What they hold that can be used."""
    refused: int = 0
    """Events and rows that can't be used."""
    reasons: list[Refused] = field(default_factory=list)
    """The first of these."""
    by_name: list[Named] = field(default_factory=list)
    published: int = 0
    """Events that went into Redis; one that stands twice near by goes once."""
    stored: int | None = None
    """Of the events, those that the store did not have; None where it can't be told."""
    dead_letters: int = 0
    stored_by: str = ""
    """`here`, or which process stores."""


@dataclass(slots=True)
class ImportProgress:
    """How far an import is. `held` says why it waits, None while it goes on."""

    rows: int = 0
    published: int = 0
    waiting: int | None = None
    """What is left to be stored, once everything is read."""
    held: str | None = None


OnChange = Callable[[ImportProgress], None]


def import_events(
    settings: Settings, asked: Asked, *, dry_run: bool = False, on_change: OnChange = lambda _progress: None
) -> ImportReport:
    """Read the files, publish their events and see them stored; with `dry_run` only read.

    Raises UsageError (a file that is none, or a column that it lacks; before anything is read, but for what shows only
    later), UnreachableError and RunError. Where a file breaks off, what was read before is stored first; what was
    published stays, and the same files may be imported again.
    """
    if asked.rejected is not None and asked.rejected.exists():
        raise UsageError(f"{asked.rejected} is there already: name another file for --rejected, or remove it.")
    _check(asked)
    work = _Work(settings, asked, dry_run, on_change)
    if dry_run:
        work.read(lambda: False, lambda _events: 0)
    else:
        with open_streams(settings) as streams:
            work.publish(streams)
    return work.done()


def _check(asked: Asked) -> None:
    """Look at the head of every file before any is read."""
    first: tuple[str, Any] | None = None
    for name in asked.files:
        if name == event_files.STDIN or Path(name).is_fifo():
            continue  # what is read of it is gone
        with event_files.opened(name, asked.reading) as table:
            if first is not None and asked.rejected is not None and table.head != first[1]:
                raise _unlike(first[0], name)
            first = first or (name, table.head)


def _unlike(first: str, name: str) -> UsageError:
    return UsageError(
        f"{first} and {name} have not the same columns, so what is rejected of them fits into no file: import them one "
        "by one."
    )


class _Work:
    """One run of the command."""

    def __init__(self, settings: Settings, asked: Asked, dry_run: bool, on_change: OnChange) -> None:
        self._settings, self._asked, self._on_change = settings, asked, on_change
        self._now = datetime.now(UTC)
        self._report = ImportReport(stamp(self._now), dry_run=dry_run)
        self._progress = ImportProgress()
        self._names: dict[str, Named] = {}
        self._rejects: Rejects | None = None
        self._rejects_of: tuple[str, Any] = ("", None)
        """The first file of which something was rejected, and its head."""
        self._broken: HeadraceError | None = None
        """Why nothing more was read."""

    def done(self) -> ImportReport:
        """Return the report. Raises what ended the reading early."""
        if self._broken is not None:
            raise self._broken
        report = self._report
        report.by_name = sorted(self._names.values(), key=lambda one: (-one.events, one.name))
        report.ended_at = stamp(datetime.now(UTC))
        return report

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self, should_stop: Callable[[], bool], take: Callable[[Sequence[Mapping[str, Any]]], int]) -> None:
        """Read all files; `take` is given the events, some at a time, and returns how many were new."""
        with closing(self._read(should_stop)) as found:
            for events in found:
                self._report.published += take(events)
                self._progress.published = self._report.published

    def _read(self, should_stop: Callable[[], bool]) -> Generator[Sequence[Mapping[str, Any]]]:
        """Give events, some at a time. What ends the reading is kept: what stood before it is to be stored first."""
        events: list[dict[str, Any]] = []
        try:
            with self._closing():
                for name in self._asked.files:
                    with event_files.opened(name, self._asked.reading) as table:
                        for record in table.records():
                            if should_stop():
                                return
                            events += self._events(name, table, record)
                            if len(events) >= _EVENTS_AT_ONCE:
                                full, events = events, []
                                yield full
                    self._report.files += 1
        except HeadraceError as error:
            self._broken = error
        if events:
            yield events

    @contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self._rejects is not None:
                with self._writing():
                    self._rejects.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self._asked.rejected} can't be written ({error.strerror or type(error).__name__}): see to it, "
                "remove what is there of it, and import again."
            ) from None

    def _events(self, name: str, table: Table, record: Record) -> list[dict[str, Any]]:
        if record.more:
            self._reject(name, table, record)
            return []
        report = self._report
        report.rows += 1
        self._progress.rows = report.rows
        self._on_change(self._progress)
        call = Call(refused=[Refusal(None, record.reason)]) if record.reason else read_past(record.body, self._now)
        for refused in call.refused:
            report.refused += 1
            if len(report.reasons) < REASONS_TOLD:
                report.reasons.append(Refused(name, record.place, refused.reason))
        if call.refused:
            self._reject(name, table, record)
        for event in call.events:
            report.events += 1
            self._count(event)
        return call.events

    def _count(self, event: Mapping[str, Any]) -> None:
        name, at = event_name(event["type"], event["name"]), event["time"]
        if name not in self._names and len(self._names) >= _NAMES_TOLD:
            name = _OTHERS
        known = self._names.setdefault(name, Named(name, 0, at, at))
        known.add(at)

    def _reject(self, name: str, table: Table, record: Record) -> None:
        path = self._asked.rejected
        if path is None:
            return
        with self._writing():
            if self._rejects is None:
                self._rejects, self._rejects_of = table.rejects(path), (name, table.head)
        if table.head != self._rejects_of[1]:
            raise _unlike(self._rejects_of[0], name)  # of a pipe it shows only now
        with self._writing():
            self._rejects.write(record.raw)

    # --- publishing -----------------------------------------------------------------------------------------------

    def publish(self, streams: Streams) -> None:
        """Publish, and see it stored: by the worker that owns the store, or here."""
        client = streams.client

        def work(should_stop: Callable[[], bool]) -> None:
            gate = self._gate(client, should_stop)
            self.read(should_stop, lambda events: _published(gate, client, events))

        with answering(client):
            is_there = client.exists(names.PRODUCT_STREAM)
        if not is_there:
            groups.ensure_group(client, names.PRODUCT_STREAM, names.ORIGIN)  # from now on it is known what waits there
        if not self._here(streams, work):
            self._report.stored_by = storing.worker(self._settings) or "another process"
            work(lambda: False)
            self._wait(streams)

    def _gate(self, client: Client, should_stop: Callable[[], bool]) -> Gate:
        # The door turns its clients away where pollers pause, and what they tell can't be read again: a file can.
        limits = self._settings.streams
        return Gate(
            client,
            high=limits.high_water // 2,
            memory_percent=max(1, limits.memory_percent // 2),
            should_stop=should_stop,
            on_change=self._held,
        )

    def _held(self, sentence: str | None) -> None:
        self._progress.held = sentence
        self._on_change(self._progress)

    def _here(self, streams: Streams, work: Callable[[Callable[[], bool]], None]) -> bool:
        """Store while `work` runs, and on until nothing is left; False where another process has the store."""
        with storing.store_or_none(self._settings) as store:
            if store is None:
                return False
            self._report.stored_by = "here"
            progress = Progress()
            consumer = pipeline.consumer(self._settings, store, streams, progress)
            asyncio.run(pipeline.drain_while(consumer, streams, progress, work))
            self._ask(store)
            return True

    def _wait(self, streams: Streams) -> None:
        """Wait until the worker that owns the store has taken everything; if it ends, take over."""

        def waits(entries: int) -> None:
            self._progress.waiting = entries
            self._on_change(self._progress)

        is_elsewhere = storing.wait(
            self._settings, streams.client, [names.PRODUCT_STREAM],
            take_over=lambda: self._here(streams, lambda _should_stop: None), on_wait=waits,
        )  # fmt: skip
        if not is_elsewhere:
            return
        with suppress(HeadraceError), reading.reader(self._settings) as store:
            self._ask(store)

    def _ask(self, store: Queryable) -> None:
        """Ask the store what became of them: they are known by the moment at which they were seen."""
        at = self._report.started_at
        stored = f"SELECT count(*) AS n FROM events WHERE origin = 'product' AND seen_at = TIMESTAMPTZ '{at}'"
        dead = (
            f"SELECT count(*) AS n FROM dead_letters WHERE stream = '{names.PRODUCT_STREAM}' "
            f"AND entry->>'$.seenat' = '{at}'"
        )
        self._report.stored, self._report.dead_letters = (int(ask(store, sql)[0]["n"]) for sql in (stored, dead))


def _published(gate: Gate, client: Client, events: Sequence[Mapping[str, Any]]) -> int:
    fresh = len(gate.through(lambda: product.publish(client, events, even_again=True)))
    gate.note(fresh, [names.PRODUCT_STREAM])
    return fresh
