"""The poller: reads what changed, page by page, and hands each page with its cursor to the streams."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from integration.core.catalog import ObjectSchema
from integration.core.page import Page
from integration.source.client import QUERIES_PER_CALL, Log, SalesforceClient
from integration.source.deletions import DeleteLog, Logged
from integration.source.fill import FillWork
from integration.source.histories import fields_told, tells_fields
from integration.source.outlet import Outlet, PageSink
from integration.source.passes import told
from integration.source.recover import Recovery, StoppedError, Work
from integration.source.report import CycleReport
from integration.source.soql import stamp_of
from integration.source.tools import Tools
from integration.source.watch import Catalog, WatchedObject
from integration.source.work import PassWork
from schemas import Cursor

__all__ = ["CycleReport", "PageSink", "Poller", "WatchedObject"]


def _machine_time() -> str:
    return stamp_of(datetime.now(UTC).replace(microsecond=0))


class Poller:
    """Reads the watched objects of one org into a sink. One cycle at a time; not for several threads at once.

    A watched object that holds another one's field history is read after it, and only when that one has had news.
    """

    def __init__(
        self,
        client: SalesforceClient,
        sink: PageSink,
        *,
        objects: Sequence[WatchedObject],
        overlap_seconds: float = 600,
        page_size: int = 2000,
        clock: Callable[[], str] = _machine_time,
        wait: Callable[[float], None] = time.sleep,
        log: Log | None = None,
    ) -> None:
        self._client = client
        self._catalog = Catalog(client, objects)
        self._clock = clock
        self._outlet = Outlet(sink)
        self._tools = Tools(
            client=client,
            outlet=self._outlet,
            log=log if log is not None else structlog.get_logger("headrace.source"),
            overlap=overlap_seconds,
            page_size=page_size,
            wait=wait,
        )
        # What the delete log said last of transactions that are open, for objects that have no cursor yet.
        self._still_open: dict[str, str | None] = {}
        self._told_open: str | None = None

    @property
    def schemas(self) -> Mapping[str, ObjectSchema]:
        """The objects that are read, as last described, histories included."""
        return self._catalog.schemas

    @property
    def skipped(self) -> Mapping[str, str]:
        """The watched objects that are not read: name -> why not, as a sentence."""
        return self._catalog.skipped

    def describe(self) -> list[ObjectSchema]:
        """Describe all watched objects (one call for 25 of them, and one for the list).

        An object that is missing or can't be read is left out and told in `skipped`; if it is required, the first
        time, UsageError.
        """
        return self._catalog.describe()

    def refresh_schemas(self) -> list[ObjectSchema]:
        """Describe all watched objects anew; return those that have another description than before, or none before.

        The next cycle reads again the records in which new fields are filled. An object that can't be read any more is
        told in `skipped` and comes back by itself.
        """
        before = {name: schema.schema_id for name, schema in self.schemas.items()}
        return [schema for schema in self._catalog.describe() if before.get(schema.object) != schema.schema_id]

    def cycle(self, *, should_stop: Callable[[], bool] = lambda: False, histories: bool = False) -> CycleReport:
        """Make one pass over all objects, until each is caught up.

        Every round asks for the next page of up to five objects in one call. A history object is read if the object it
        belongs to had something new, if it was never read to its end, or if `histories` asks for all of them. Stops
        between pages when `should_stop` says so; the next cycle goes on from there. Raises what the client raises;
        what was published stays published.
        """
        report = CycleReport(started_at=self._clock())
        calls = self._client.calls
        if not self._catalog.is_described:
            self.describe()
        report.skipped.update(self.skipped)
        self._client.org_id  # noqa: B018 - logs in, so that the clock is Salesforce's
        tools = replace(self._tools, report=report)
        recovery = Recovery(tools, self._catalog, should_stop)
        try:
            self._work(tools, recovery, should_stop, histories)
        except StoppedError:
            report.is_complete = False
        report.calls = self._client.calls - calls
        report.ended_at = self._clock()
        return report

    def deleted(self) -> CycleReport:
        """Read the delete log of every object (25 in a call): hard deletes show only there, and so do transactions that
        have been open for long. Best before a cycle, which then knows how far to read back.

        Objects whose rows can still be seen, deleted or not, are left to the ordinary poll.
        """
        report = CycleReport(started_at=self._clock())
        calls = self._client.calls
        cursors = {name: self._outlet.cursor(name) for name in self.schemas}
        log = DeleteLog(self._client, report)
        log.read(
            [
                Logged(schema, cursors[name], self._outlet.marks(name, cursors[name]))
                for name, schema in self.schemas.items()
                if self._catalog.has_delete_log(name)
            ]
        )
        for page in log.pages():
            self._outlet.publish(page)
        if log.still_open:
            self._note_open(log, cursors, report)
        report.calls = self._client.calls - calls
        report.ended_at = self._clock()
        return report

    def _work(self, tools: Tools, recovery: Recovery, should_stop: Callable[[], bool], histories: bool) -> None:
        """Read the records, then the histories that are due, then what new fields hold."""

        def finish(works: Iterable[Work]) -> None:
            queue = deque(works)
            while queue:
                if should_stop():
                    raise StoppedError("Stopped between two pages.")
                packet = [queue.popleft() for _ in range(min(QUERIES_PER_CALL, len(queue)))]
                # To the front: objects are finished in the order in which they are watched, as far as calls stay full.
                queue.extendleft(reversed(self._round(packet, recovery)))

        parents = self._catalog.parents
        passes = {n: self._begin(tools, schema) for n, schema in self.schemas.items() if n not in parents}
        wide = {name for name, work in passes.items() if work.this.is_wide}
        finish(passes.values())
        shown = {name: self._words(work) for name, work in passes.items() if work.cursor.filling}
        diaries = [
            # What a wide pass over the records finds late, a wide pass over their history has to find too.
            self._begin(tools, schema, must_be_wide=parents[name] in wide, shown=shown.get(parents[name], frozenset()))
            for name, schema in self.schemas.items()
            if name in parents and parents[name] in self.schemas
            if histories or parents[name] in shown or self._is_due(name, tools.report)
        ]
        finish(diaries)
        done = [work for work in (*passes.values(), *diaries) if work.is_through and work.cursor.filling]
        fills = [FillWork(tools, work.schema, work.cursor, self._told(work.schema)) for work in done]
        finish(fill for fill in fills if fill.begin())

    def _round(self, packet: list[Work], recovery: Recovery) -> list[Work]:
        """Read one page of each; return those that have more. A problem of one does not keep the others waiting."""
        answers = self._client.query_pages([work.query() for work in packet])
        answers.reverse()
        more: list[Work] = []
        for work in packet:
            answer = answers.pop()  # gone from the list, so that a page is freed before the next is read
            goes_on = work.take(answer) if answer.problem is None else recovery.goes_on(work, answer.problem)
            if goes_on:
                more.append(work)
        return more

    def _begin(
        self, tools: Tools, schema: ObjectSchema, *, must_be_wide: bool = False, shown: frozenset[str] = frozenset()
    ) -> PassWork:
        name = schema.object
        still_open = self._still_open.get(name)
        fresh = Cursor(object=name, open_since=still_open, still_open=still_open)
        work = PassWork(tools, schema, self._outlet.cursor(name), fresh, self._told(schema))
        if work.told is not None:
            work.reread(shown)
        work.begin(self._client.server_time, must_be_wide=must_be_wide)
        return work

    @staticmethod
    def _words(work: PassWork) -> frozenset[str]:
        """Return the words by which history rows name the fields that an object is to be read again for."""
        fields = tuple(f for f in work.schema.fields if f.name in work.cursor.filling)
        return fields_told(replace(work.schema, fields=fields))

    def _told(self, schema: ObjectSchema) -> frozenset[str] | None:
        """Return of which fields a history object's rows are wanted; None for other objects."""
        parent = self._catalog.parents.get(schema.object)
        if parent is None or not tells_fields(schema):
            return None
        return fields_told(self.schemas[parent])

    def _is_due(self, name: str, report: CycleReport) -> bool:
        """Say whether a history object may have something new, or was not read to its end."""
        parent = report.objects.get(self._catalog.parents[name])
        if parent is not None and parent.published:
            return True
        cursor = self._outlet.cursor(name)
        return cursor is None or cursor.covered_until is None or cursor.pass_started_at is not None

    def _note_open(self, log: DeleteLog, cursors: Mapping[str, Cursor | None], report: CycleReport) -> None:
        """Pass on what the log said of open transactions to the objects that have no log, and to the operator."""
        self._still_open = {name: log.still_open.get(name, log.oldest_open) for name in self.schemas}
        for name, cursor in cursors.items():
            if cursor is None or self._catalog.has_delete_log(name):
                continue
            moved = told(cursor, log.oldest_open)
            if moved != cursor:
                self._outlet.publish(Page(moved))
        if log.oldest_open != self._told_open and log.oldest_open is not None:
            report.notes.append(
                f"A transaction has been open in the org since {log.oldest_open}: polls read back to there until it is "
                "over."
            )
        self._told_open = log.oldest_open
