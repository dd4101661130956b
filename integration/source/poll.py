"""The poller: reads what changed, page by page, and hands each page with its cursor to the streams."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from integration.core.catalog import ObjectSchema
from integration.core.page import Page
from integration.errors import HeadraceError, RunError, UnreachableError, UsageError
from integration.source.captures import hashed_fields, read_rows
from integration.source.client import QUERIES_PER_CALL, Answer, Log, SalesforceClient
from integration.source.deletions import DeleteLog
from integration.source.faults import InvalidFieldError, QueryTimeoutError, UnknownObjectError
from integration.source.passes import Pass, Position, end_of_pass, forgettable, mid_pass, plan_pass, window_start
from integration.source.report import CycleReport
from integration.source.soql import page_query, stamp_of
from integration.source.watch import Catalog, WatchedObject
from schemas import Cursor

__all__ = ["CycleReport", "PageSink", "Poller", "WatchedObject"]

# Below this a page gains nothing by being smaller: Salesforce's own smallest page.
_SMALLEST_PAGE = 200


def _machine_time() -> str:
    return stamp_of(datetime.now(UTC).replace(microsecond=0))


class PageSink(Protocol):
    """Where pages go, and where cursors and marks are kept: the streams."""

    def cursor(self, object_name: str, /) -> Cursor | None:
        """Return the saved cursor of the object; None if it was never read."""

    def seen(self, object_name: str, /) -> Mapping[str, str]:
        """Return the saved marks of the object: record id -> mark."""

    def publish(self, page: Page, /) -> Any:
        """Publish captures, cursor and marks together, or nothing of it."""


@dataclass(slots=True)
class _Work:
    """An object in the course of its pass."""

    schema: ObjectSchema
    names: tuple[str, ...]
    this: Pass
    cursor: Cursor
    marks: dict[str, str]
    after: Position | None
    limit: int

    @property
    def is_resumed(self) -> bool:
        """True if the pass was begun by an earlier cycle."""
        return self.this.after is not None and self.this.floor is None

    def query(self) -> str:
        """Ask for the next page."""
        return page_query(self.schema, self.after, None if self.after else self.this.since, self.limit)


class Poller:
    """Reads the watched objects of one org into a sink. One cycle at a time; not for several threads at once."""

    def __init__(
        self,
        client: SalesforceClient,
        sink: PageSink,
        *,
        objects: Sequence[WatchedObject],
        overlap_seconds: float = 600,
        page_size: int = 2000,
        clock: Callable[[], str] = _machine_time,
        log: Log | None = None,
    ) -> None:
        self._client = client
        self._sink = sink
        self._catalog = Catalog(client, objects)
        self._overlap = overlap_seconds
        self._page_size = page_size
        self._clock = clock
        self._log: Log = log if log is not None else structlog.get_logger("headrace.source")
        self._limits: dict[str, int] = {}
        # Marks by object, with the cursor they were last saved with: as long as the sink still has that cursor, nobody
        # else has published, and the marks need not be fetched again.
        self._known: dict[str, tuple[Cursor, dict[str, str]]] = {}

    @property
    def schemas(self) -> Mapping[str, ObjectSchema]:
        """The objects that are read, as last described."""
        return self._catalog.schemas

    @property
    def skipped(self) -> Mapping[str, str]:
        """The watched objects that are not read: name -> why not, as a sentence."""
        return self._catalog.skipped

    def describe(self) -> list[ObjectSchema]:
        """Describe all watched objects (one call each, and one for the list).

        An object that is missing or can't be read is left out and told in `skipped`; if it is required, UsageError.
        """
        return self._catalog.describe()

    def cycle(self, *, should_stop: Callable[[], bool] = lambda: False) -> CycleReport:
        """Make one pass over all objects, until each is caught up.

        Every round asks for the next page of up to five objects in one call. Stops between pages when `should_stop`
        says so; the next cycle goes on from there. Raises what the client raises; what was published stays published.
        """
        report = CycleReport(started_at=self._clock())
        calls = self._client.calls
        if not self.schemas and not self.skipped:
            self.describe()
        report.skipped.update(self.skipped)
        self._client.org_id  # noqa: B018 - logs in, so that the clock is Salesforce's
        now = self._client.server_time
        queue = deque(self._begin(schema, now) for schema in self.schemas.values())
        described_again: set[str] = set()
        while queue:
            if should_stop():
                report.is_complete = False
                break
            packet = [queue.popleft() for _ in range(min(QUERIES_PER_CALL, len(queue)))]
            # To the front: objects are finished in the order in which they are watched, as far as calls stay full.
            queue.extendleft(reversed(self._round(packet, report, described_again)))
        report.calls = self._client.calls - calls
        report.ended_at = self._clock()
        return report

    def deleted(self) -> CycleReport:
        """Read the delete log of every object that has been polled (one call each): hard deletes show only there.

        Objects whose rows can still be seen, deleted or not, are left to the ordinary poll.
        """
        report = CycleReport(started_at=self._clock())
        calls = self._client.calls
        log = DeleteLog(self._client, report)
        for schema in self.schemas.values():
            cursor = self._sink.cursor(schema.object)
            if cursor is not None and cursor.covered_until and self._catalog.has_delete_log(schema.object):
                log.read(schema, cursor, self._marks(schema.object, cursor))
        for page in log.pages():
            self._publish(page)
        report.calls = self._client.calls - calls
        report.ended_at = self._clock()
        return report

    def _begin(self, schema: ObjectSchema, now: str) -> _Work:
        cursor = self._sink.cursor(schema.object)
        this = plan_pass(cursor, now, self._overlap)
        return _Work(
            schema=schema,
            names=hashed_fields(schema),
            this=this,
            cursor=cursor or Cursor(object=schema.object),
            marks=self._marks(schema.object, cursor),
            after=this.after,
            limit=self._limits.get(schema.object, self._page_size),
        )

    def _restart(self, work: _Work) -> None:
        work.this = plan_pass(work.cursor, self._client.server_time, self._overlap)
        work.after = work.this.after

    def _marks(self, name: str, cursor: Cursor | None) -> dict[str, str]:
        known = self._known.get(name)
        if known is not None and known[0] == cursor:
            return known[1]
        return dict(self._sink.seen(name))

    def _round(self, packet: list[_Work], report: CycleReport, described_again: set[str]) -> list[_Work]:
        """Read one page of each; return those that have more. A problem of one does not keep the others waiting."""
        answers = self._client.query_pages([work.query() for work in packet])
        answers.reverse()
        more: list[_Work] = []
        problems: list[HeadraceError] = []
        for work in packet:
            answer = answers.pop()  # gone from the list, so that a page is freed before the next is read
            try:
                if answer.problem is not None:
                    has_more = self._recover(work, answer.problem, report, described_again)
                else:
                    has_more = self._take(work, answer, report)
            except UsageError as error:
                problems.append(error)
                continue
            if has_more:
                more.append(work)
        if problems:
            raise problems[0]
        return more

    def _take(self, work: _Work, answer: Answer, report: CycleReport) -> bool:
        """Publish a page; say whether there are more."""
        name, this = work.schema.object, work.this
        is_last = answer.done and len(answer.records) < work.limit
        reading = read_rows(
            answer.records,
            org=self._client.org_id,
            schema=work.schema,
            names=work.names,
            this=this,
            marks=work.marks,
            seen_at=self._client.server_time,
        )
        count = report.count(name)
        count.pages += 1
        count.rows_read += len(answer.records)
        count.published += len(reading.captures)
        count.dropped_as_seen += reading.dropped
        count.unreadable += reading.unreadable
        if not is_last and reading.last in (None, work.after):
            raise UnreachableError(f"Salesforce's answer for {name} ends before its first row: try again.")
        late_seen = self._late(work, reading.is_late)
        last = reading.last or work.after
        forget: list[str] = []
        if is_last:
            cursor = end_of_pass(work.cursor, this, last, late_seen=late_seen)
            forget = self._leaving(work, reading.seen, cursor)
        else:
            assert last is not None  # noqa: S101 - seen to above
            cursor = mid_pass(work.cursor, this, last, late_seen=late_seen)
        page = Page(cursor, reading.captures, reading.seen, forget, work.schema)
        self._publish(page, work.marks)
        work.cursor, work.after = cursor, last
        if is_last and work.is_resumed:
            # It began before an interruption: what became visible behind its position since needs a pass from now.
            self._restart(work)
            return True
        return not is_last

    def _late(self, work: _Work, is_late: bool) -> bool:
        if is_late and not work.cursor.late_seen:
            self._log.warning(
                f"{work.schema.object}: a row became visible more than {self._overlap:g} seconds after its stamp, so "
                "each poll reads further back from now on; raise poll.overlap_seconds if transactions are long here."
            )
        return work.cursor.late_seen or is_late

    def _leaving(self, work: _Work, seen: Mapping[str, str], cursor: Cursor) -> list[str]:
        position = (cursor.system_modstamp, cursor.record_id) if cursor.system_modstamp else None
        start = window_start(position, work.this.started_at, late_seen=cursor.late_seen, overlap_seconds=self._overlap)
        return forgettable({**work.marks, **seen}, start, cursor.deleted_until)

    def _publish(self, page: Page, marks: dict[str, str] | None = None) -> None:
        name = page.cursor.object
        if marks is None:
            marks = self._marks(name, self._sink.cursor(name))
        self._known.pop(name, None)  # until the sink has taken the page, what it knows is open
        self._sink.publish(page)
        marks.update(page.seen)
        for record_id in page.forget:
            marks.pop(record_id, None)
        self._known[name] = (page.cursor, marks)

    def _recover(self, work: _Work, problem: HeadraceError, report: CycleReport, described_again: set[str]) -> bool:
        """Deal with an object's own problem; say whether to ask for its page again. Raises what can't be helped."""
        name = work.schema.object
        if isinstance(problem, InvalidFieldError) and name not in described_again:
            described_again.add(name)
            schema = self._catalog.refresh(name)
            if schema is None:
                report.skipped[name] = self.skipped[name]
                return False
            work.schema, work.names = schema, hashed_fields(schema)
            return True
        if isinstance(problem, QueryTimeoutError) and work.limit > _SMALLEST_PAGE:
            work.limit = self._limits[name] = max(_SMALLEST_PAGE, work.limit // 2)
            report.notes.append(f"{name}: a query ran too long; its pages are now {work.limit} rows.")
            return True
        if isinstance(problem, UnknownObjectError):
            self._catalog.drop(name, str(problem))
        if isinstance(problem, (UnknownObjectError, RunError)):
            report.skipped[name] = str(problem)
            return False
        raise problem
