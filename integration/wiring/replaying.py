"""One replay in the process that owns the store: from batch to batch, with a mark that says how far it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

from consumers.apply import Flattener
from consumers.batch import Applied, Entry
from consumers.people import people_ids
from consumers.replay import MARK, Note, Replayed
from integration.core import exactjson, history
from integration.core.identity import PRODUCT
from integration.errors import HeadraceError, RunError, UnreachableError, UsageError
from integration.store import tables
from integration.store.protocol import Store
from integration.stream.connection import Client
from integration.wiring.clock import now
from integration.wiring.replay_plan import (
    ARCHIVED,
    LISTED_AT_ONCE,
    MARKED,
    entries_of,
    records_sql,
    streams_of,
    unfinished,
    wanted,
)
from integration.wiring.replay_report import ReplayProgress, ReplayReport, Request, run_row

T = TypeVar("T")
OnChange = Callable[[ReplayProgress], None]

RECORDS_AT_ONCE: Final = 1_000
_CAPTURES_AT_ONCE: Final = 5_000
_PEOPLE_AT_ONCE: Final = 2_000
_RENAMING: Final = "names as the settings have them"
_EVERYBODY: Final = "everybody is stitched and projected anew"
_PEOPLE_OBJECTS: Final = ("Contact", "Lead")
_PEOPLE: Final = (*_PEOPLE_OBJECTS, PRODUCT)


class StoppedError(RunError):
    """The worker was told to stop; the replay can be gone on with."""


class Exclusively(Protocol):
    """Runs work with the flattener while nobody else uses it, and returns what it returns."""

    def __call__(self, work: Callable[[Flattener], T]) -> T:
        """Run it."""


class Replaying:
    """One replay, in the process that owns the store. To be used once."""

    def __init__(
        self,
        store: Store,
        exclusively: Exclusively,
        request: Request,
        progress: ReplayProgress,
        on_change: OnChange = lambda _progress: None,
        *,
        client: Client | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store, self._exclusively, self._request = store, exclusively, request
        self._progress, self._on_change = progress, on_change
        self._client = client
        self._should_stop = should_stop
        self._report = ReplayReport(
            request.run_id,
            now(),
            source=request.source,
            since=request.since,
            until=request.until,
            objects=list(request.objects),
        )
        self._since, self._until = request.since, request.until

    def run(self) -> ReplayReport:
        """Replay; a row of `sync_runs` tells of it however it ends.

        Raises UsageError for an object of which there is nothing, StoppedError, and what store and Redis raise. The
        same request goes on where it was broken off.
        """
        try:
            if self._request.source == "archive":
                self._archive()
            else:
                self._streams()
        except UsageError:
            raise
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | StoppedError)
            self._report.outcome = "interrupted" if stopped else f"failed: {type(error).__name__}"
            with suppress(HeadraceError):  # a store that is broken has said so already
                self._note(finished=False)
            raise
        self._note(finished=True)
        self._report.conclude()
        return self._report

    def _archive(self) -> None:
        request, report = self._request, self._report
        with self._store.reading() as store:
            there = [row["object"] for row in store.rows(ARCHIVED)]
            mark = None if request.restart else unfinished(store.rows(MARKED), request)
        steps = self._steps(wanted(request.objects, there))
        step, after = steps[0], ""
        if mark is not None:
            step, after = mark["step"], mark["after"]
            self._since, self._until = report.since, report.until = mark["since"], mark["until"]
            report.resumed, report.run_id, report.started_at = True, mark["run_id"], mark["started_at"]
            for name, count in mark["counts"].items():
                setattr(report, name, count)
            self._progress.done = self._progress.began_at = report.records
        for one in steps[steps.index(step) :] if step in steps else steps:
            self._step(one, after if one == step else "")

    def _steps(self, objects: Sequence[str]) -> list[str]:
        # History rows come before the records they are about, which are told with them; then what people are made of.
        ordered = sorted(objects, key=lambda name: (history.parent_of(name) is None, name in _PEOPLE_OBJECTS, name))
        records = [f"records {name}" for name in ordered]
        if not self._request.is_complete:
            return records
        return ["names", *records, *(f"people {name}" for name in _PEOPLE), "nobody"]

    def _step(self, step: str, after: str) -> None:
        kind, _, name = step.partition(" ")
        if kind == "names":
            self._once(step, _RENAMING, _names)
        elif kind == "nobody":
            self._once(step, _EVERYBODY, _nobody)
        elif kind == "people":
            self._people(step, name, after)
        else:
            self._records(step, name, after)

    def _once(self, step: str, phase: str, work: Callable[..., Replayed]) -> None:
        self._check(phase)
        self._count(self._exclusively(partial(work, note=self._marking(step, "~"))), records=False)

    def _records(self, step: str, name: str, after: str) -> None:
        for ids in self._batches(name, after):
            self._check(name)
            note = self._marking(step, ids[-1])
            work = partial(_records, object_name=name, ids=ids, follow=not self._request.is_complete, note=note)
            self._count(self._exclusively(work))

    def _people(self, step: str, name: str, after: str) -> None:
        while True:
            self._check(_EVERYBODY)
            with self._store.reading() as store:
                ids = people_ids(store, name, after, _PEOPLE_AT_ONCE)
            if not ids:
                return
            work = partial(_people, object_name=name, after=after, note=self._marking(step, ids[-1]))
            self._count(self._exclusively(work), records=False)
            after = ids[-1]

    def _batches(self, name: str, after: str) -> Iterator[list[str]]:
        """Give the ids of the records to do, so many at once that a worker's own batches need not wait for long."""
        sql = records_sql(self._since, self._until)
        while True:
            with self._store.reading() as store:
                listed = store.rows(sql, [name, after])
            batch: list[str] = []
            captures = 0
            for row in listed:
                if batch and (len(batch) >= RECORDS_AT_ONCE or captures + row["n"] > _CAPTURES_AT_ONCE):
                    yield batch
                    batch, captures = [], 0
                batch.append(row["record_id"])
                captures += row["n"]
            if batch:
                yield batch
            if len(listed) < LISTED_AT_ONCE:
                return
            after = listed[-1]["record_id"]

    def _streams(self) -> None:
        client = self._client
        if client is None:
            raise UnreachableError("A replay from the streams needs Redis.")
        for stream in streams_of(client, self._request.objects):
            for entries in entries_of(client, stream, self._since, self._until):
                self._check(stream)
                applied = self._exclusively(partial(_again, entries=entries))
                self._report.captures += len(entries)
                self._report.skipped += [
                    f"{r.entry.stream} {r.entry.offset} was left out: {r.reason}" for r in applied.rejects
                ]
                done = Replayed(
                    applied.stored, rewritten=applied.stored, events_after=applied.events, users=applied.users
                )
                self._count(done, progress=len(entries))

    def _marking(self, step: str, after: str) -> Note:
        def note(done: Replayed) -> str:
            report = self._report
            counts = {
                "records": report.records + (done.records if step.startswith("records") else 0),
                "captures": report.captures + done.captures,
                "records_rewritten": report.records_rewritten + done.rewritten,
                "events_before": report.events_before + done.events_before,
                "events_after": report.events_after + done.events_after,
                "users_written": report.users_written + done.users,
            }
            mark = {
                "run_id": report.run_id,
                "started_at": report.started_at,
                "words": self._request.words,
                "rules": self._request.rules,
                "since": self._since,
                "until": self._until,
                "objects": list(self._request.objects),
                "step": step,
                "after": after,
                "counts": counts,
            }
            return exactjson.dumps(mark).decode()

        return note

    def _count(self, done: Replayed, *, records: bool = True, progress: int | None = None) -> None:
        report = self._report
        report.records += done.records if records else 0
        report.captures += done.captures
        report.records_rewritten += done.rewritten
        report.events_before += done.events_before
        report.events_after += done.events_after
        report.users_written += done.users
        report.skipped += done.skipped
        if records:
            self._progress.done += done.records if progress is None else progress
        self._on_change(self._progress)

    def _check(self, phase: str) -> None:
        self._progress.phase = phase
        self._on_change(self._progress)
        if self._should_stop():
            raise StoppedError("The worker ended in the middle of the replay: the same command goes on from there.")

    def _note(self, *, finished: bool) -> None:
        self._report.ended_at = now()

        def write(flattener: Flattener) -> None:
            with flattener.transaction() as tx:
                tx.upsert("sync_runs", ("run_id",), tables.SYNC_RUNS, [run_row(self._report)])
                if finished:
                    tx.delete("headrace.meta", "key", [MARK])

        self._exclusively(write)


def _names(flattener: Flattener, note: Note) -> Replayed:
    return flattener.replayer.names(note)


def _nobody(flattener: Flattener, note: Note) -> Replayed:
    return flattener.replayer.nobody(note)


def _records(flattener: Flattener, object_name: str, ids: Sequence[str], follow: bool, note: Note) -> Replayed:
    return flattener.replayer.records(object_name, ids, follow=follow, note=note)


def _people(flattener: Flattener, object_name: str, after: str, note: Note) -> Replayed:
    return flattener.replayer.people(object_name, after, limit=_PEOPLE_AT_ONCE, note=note)


def _again(flattener: Flattener, entries: Sequence[Entry]) -> Applied:
    return flattener.apply(entries, again=True)
