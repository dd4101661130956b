"""Reading objects from end to end beside the poll: through REST in the order of Id, or through Bulk jobs.

Each page is published, then its object's course is saved: who is killed in between publishes the page once more, and
its captures are known by their ids. No cursor moves. One thread does everything: a page of up to five objects of REST
in each call, and between two calls whatever the jobs need, of which no object has more than one.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Protocol

from integration.core.catalog import ObjectSchema
from integration.core.chunks import Course, Sizes, Way, Window
from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.source.answers import Answer
from integration.source.bulk import (
    BulkQuery,
    BulkRefusedError,
    bulk_query,
    longer,
    why_not_bulk,
)
from integration.source.captures import hashed_fields, read_rows
from integration.source.client import QUERIES_PER_CALL, SalesforceClient
from integration.source.faults import InvalidFieldError, QueryTimeoutError, UnknownObjectError
from integration.source.passes import Pass
from integration.source.soql import Soql, datetime_literal, select, text_literal

JOBS_AT_ONCE: Final = 3
"""So many objects have a Bulk job at a time; the others wait for their turn."""

_SMALLEST_PAGE: Final = 200
_TRIES: Final = 3
# No row is marked: what a backfill reads is no business of the poll's.
_NO_MARKS: Final = Pass(started_at="", mark_from="9999")

Row = dict[str, Any]


class Sink(Protocol):
    """Where captures go, and where courses are kept."""

    def publish(self, schema: ObjectSchema, captures: Sequence[Mapping[str, Any]], /) -> None:
        """Publish captures of one object; returns when they are in the stream."""

    def save(self, course: Course, /) -> None:
        """Keep how far an object is."""

    def finish(self, course: Course, schema: ObjectSchema, /) -> None:
        """Take note of an object that has been read to its end."""

    def refresh(self, object_name: str, /) -> ObjectSchema | None:
        """Describe an object again; None if it can't be read any more."""


@dataclass(slots=True)
class Counted:
    """How many rows and captures an object has had in this run, and rows without a usable Id or stamp."""

    rows: int = 0
    published: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class Told:
    """What a run came to: counts by object, why an object was not (wholly) read, and what else is worth a sentence."""

    objects: dict[str, Counted] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, name: str) -> Counted:
        """Return the object's numbers, to be added to."""
        return self.objects.setdefault(name, Counted())


class Backfill:
    """Reads objects to their end.

    schemas    how the objects look, by name; brought up to date when a field has gone
    history    of which fields the rows of a history object are wanted, by its name (see `histories.fields_told`)
    between    called before each call to Salesforce; raises what is to end the work: an order to stop, a used-up budget
    on_page    called after each page, for whoever watches
    clock, wait
               seconds of any clock, and waiting for some
    """

    def __init__(
        self,
        client: SalesforceClient,
        sink: Sink,
        schemas: Mapping[str, ObjectSchema],
        *,
        history: Mapping[str, frozenset[str]],
        sizes: Sizes,
        between: Callable[[], None],
        on_page: Callable[[Course, Told], None] = lambda _course, _told: None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.told = Told()
        self._client, self._sink, self._sizes = client, sink, sizes
        self._schemas = dict(schemas)
        self._history = history
        self._between, self._on_page = between, on_page
        self._clock, self._wait = clock, wait
        self._rest: deque[_RestReading] = deque()
        self._queue: deque[_BulkReading] = deque()
        self._jobs: list[_BulkReading] = []
        self._turned: set[str] = set()

    def run(self, courses: Sequence[Course]) -> None:
        """Go on with these courses to their ends. What was published and saved stays so, whatever is raised.

        Raises what `between`, the sink and the client raise. A problem of one object alone is told in `told.skipped`.
        """
        for course in courses:
            self._enter(course)
        while self._rest or self._queue or self._jobs:
            while self._queue and len(self._jobs) < JOBS_AT_ONCE:
                self._jobs.append(self._queue.popleft())
            if self._rest:
                self._round()
            else:
                pause = min(job.due for job in self._jobs) - self._clock()
                if pause > 0:
                    self._between()
                    self._wait(pause)
            for job in [job for job in self._jobs if job.due <= self._clock()]:
                self._look_after(job)

    def _enter(self, course: Course) -> None:
        schema = self._schemas[course.object]
        if course.started_at is None:
            course.started_at = self._client.server_time
            self._sink.save(course)
        if course.way is Way.BULK:
            self._queue.append(_BulkReading(self._client, schema, course, self._sizes))
        else:
            self._rest.append(_RestReading(schema, course, self._sizes.rest_page))

    # --- REST -----------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        """Read a page of up to five objects in one call; those that have more come first in the next round."""
        packet = [self._rest.popleft() for _ in range(min(QUERIES_PER_CALL, len(self._rest)))]
        self._between()
        answers = self._client.query_pages([reading.query() for reading in packet])
        again = []
        for reading, answer in zip(packet, answers, strict=True):
            goes_on = self._taken(reading, answer) if answer.problem is None else self._helped(reading, answer.problem)
            if goes_on:
                again.append(reading)
        self._rest.extendleft(reversed(again))

    def _taken(self, reading: "_RestReading", answer: Answer) -> bool:
        course = reading.course
        is_last, last_id = reading.place(answer)
        self._publish(reading.schema, course, exact_numbers(answer.records), self._client.server_time)
        if last_id is not None:
            course.after_id = last_id
        if is_last:
            self._sink.finish(course, reading.schema)
        else:
            self._sink.save(course)
        self._on_page(course, self.told)
        return not is_last

    def _helped(self, reading: "_RestReading", problem: HeadraceError) -> bool:
        """Say whether to ask for the object's page again. Raises what concerns all objects."""
        course = reading.course
        if isinstance(problem, InvalidFieldError) and (schema := self._described(course.object)) is not None:
            reading.schema = schema
            return True
        if isinstance(problem, QueryTimeoutError):
            if reading.eased():
                return True
            if why_not_bulk(reading.schema) is None and course.object not in self._turned:
                self._turn(course, Way.BULK, "its queries ran too long")
                return False
        if not isinstance(problem, UnknownObjectError | RunError):
            raise problem
        self._skip(course, problem)
        return False

    # --- Bulk -----------------------------------------------------------------------------------------------------

    def _look_after(self, job: "_BulkReading") -> None:
        """Do the next thing for an object that is read through Bulk: make its job, look at it, take a page."""
        course = job.course
        self._between()
        try:
            page = job.step(self._clock())
        except BulkRefusedError as refused:
            self._turn_from(job, str(refused))
        except InvalidFieldError as problem:
            if (schema := self._described(course.object)) is None:
                self._jobs.remove(job)
                self._skip(course, problem)
            else:
                job.begin_anew(schema)
        except UnknownObjectError as problem:
            self._jobs.remove(job)
            self._skip(course, problem)
        except RunError as problem:  # lost, failed, aborted, timed out: the next one may do better
            job.tries += 1
            if job.tries >= _TRIES:
                self._turn_from(job, f"Its Bulk jobs came to nothing, REST has to read it: {problem}")
            else:
                self.told.notes.append(f"{course.object}: a Bulk job is made anew. {problem}")
                job.begin_anew(job.schema)
        else:
            if page is None:
                self._sink.save(course)
            else:
                self._take(job, page)

    def _take(self, job: "_BulkReading", page: "_Page") -> None:
        course = job.course
        # The rows are as they were when the job ran, which may be long ago: what was seen since is newer.
        self._publish(job.schema, course, page.rows, course.job_at or self._client.server_time)
        course.locator = page.locator
        if page.locator is None:
            course.chunk += 1
            course.forget_job()
        if course.chunk >= len(course.windows):
            self._jobs.remove(job)
            self._sink.finish(course, job.schema)
        else:
            self._sink.save(course)
        if page.locator is None:
            job.drop()
        self._on_page(course, self.told)

    def _turn_from(self, job: "_BulkReading", reason: str) -> None:
        self._jobs.remove(job)
        job.drop()
        self._turn(job.course, Way.REST, reason)

    def _turn(self, course: Course, way: Way, reason: str) -> None:
        """Read an object the other way, which is the last one for it."""
        self._turned.add(course.object)
        self.told.notes.append(reason if course.object in reason else f"{course.object}: {reason}.")
        course.turn_to(way, reason)
        self._sink.save(course)
        self._enter(course)

    # --- both -----------------------------------------------------------------------------------------------------

    def _publish(self, schema: ObjectSchema, course: Course, rows: list[Row], seen_at: str) -> None:
        count = len(rows)
        reading = read_rows(
            rows,
            org=self._client.org_id,
            schema=schema,
            names=hashed_fields(schema),
            this=_NO_MARKS,
            marks={},
            seen_at=seen_at,
            origin="backfill",
            told=self._history.get(schema.object),
            is_known=True,
        )
        self._sink.publish(schema, reading.captures)
        course.rows += count
        course.published += len(reading.captures)
        course.reached((c["system_modstamp"], c["record_id"]) for c in reading.captures)
        counted = self.told.count(course.object)
        counted.rows += count
        counted.published += len(reading.captures)
        counted.unreadable += reading.unreadable

    def _described(self, name: str) -> ObjectSchema | None:
        """Describe an object again, of which a field has gone; None if that is no help."""
        before = self._schemas[name].schema_id
        schema = self._sink.refresh(name)
        if schema is None or schema.schema_id == before:
            return None
        self._schemas[name] = schema
        return schema

    def _skip(self, course: Course, problem: HeadraceError) -> None:
        self.told.skipped[course.object] = str(problem)


class _RestReading:
    """An object in the course of being read through REST, in the order of Id."""

    def __init__(self, schema: ObjectSchema, course: Course, limit: int) -> None:
        self.schema, self.course = schema, course
        self._limit = limit

    def query(self) -> Soql:
        """Ask for the next page."""
        course, cursor = self.course, self.schema.cursor_field
        bounds = [f"{cursor} >= {datetime_literal(course.since)}"] if course.since else []
        bounds += [f"Id > {text_literal(course.after_id)}"] if course.after_id else []
        return select(self.schema, " AND ".join(bounds), "Id", self._limit)

    def place(self, answer: Answer) -> tuple[bool, str | None]:
        """Say whether this is the last page, and behind which id the next one begins."""
        is_last = answer.done and len(answer.records) < self._limit
        last_id = next((row["Id"] for row in reversed(answer.records) if isinstance(row.get("Id"), str)), None)
        if not is_last and last_id is None:
            raise UnreachableError(
                f"Salesforce's answer for {self.schema.object} ends before its first row: try again."
            )
        return is_last, last_id

    def eased(self) -> bool:
        """Ask for less from now on; False when nothing less can be asked."""
        if self._limit <= _SMALLEST_PAGE:
            return False
        self._limit = max(_SMALLEST_PAGE, self._limit // 2)
        return True


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[Row]
    locator: str | None


class _BulkReading:
    """An object in the course of being read through Bulk jobs, one after the other. `due` is when to `step` again."""

    def __init__(self, client: SalesforceClient, schema: ObjectSchema, course: Course, sizes: Sizes) -> None:
        self.schema, self.course = schema, course
        self.due = 0.0
        self.tries = 0
        self._client, self._sizes = client, sizes
        self._job: BulkQuery | None = None
        self._is_complete = False
        self._pause = sizes.first_look
        if course.schema_id not in (None, schema.schema_id):
            course.forget_job()  # its columns are not those of today

    def step(self, now: float) -> _Page | None:
        """Make the job, or look at it, or fetch a page: one call. Raises what BulkQuery raises."""
        job = self._job or self._chunk()
        if self.course.job_id is None:
            # As it is before the job is made: the rows it reads are no older than that.
            at = self._client.server_time
            self.course.job_id, self.course.schema_id, self.course.job_at = job.start(), self.schema.schema_id, at
            self._wait(now)
            return None
        if not self._is_complete:
            self._is_complete = job.is_done()
            if not self._is_complete:
                self._wait(now)
            return None
        page = job.page(self.course.locator)
        self.tries = 0
        return _Page(page.rows, page.locator)

    def begin_anew(self, schema: ObjectSchema) -> None:
        """Read the present chunk once more, by another job."""
        self.drop()
        self.schema = schema
        self.course.forget_job()

    def drop(self) -> None:
        """Delete the job; one that can't be deleted goes by itself within a week."""
        if self._job is not None:
            with suppress(ConfigError, RunError):
                self._job.drop()
        self._job, self._is_complete, self._pause, self.due = None, False, self._sizes.first_look, 0.0

    def _chunk(self) -> BulkQuery:
        low, high = self._window
        soql = bulk_query(self.schema, since=low, until=high)
        self._job = BulkQuery(
            self._client, self.schema, soql, job_id=self.course.job_id, rows_per_page=self._sizes.bulk_page
        )
        return self._job

    @property
    def _window(self) -> Window:
        low, high = self.course.windows[self.course.chunk]
        return low or self.course.since, high

    def _wait(self, now: float) -> None:
        self.due, self._pause = now + self._pause, longer(self._pause)


def exact_numbers(rows: list[Row]) -> list[Row]:
    """Give numbers the type that Bulk's have, whatever else is on their page: float where that keeps every digit.

    Changes the rows in place.
    """
    for row in rows:
        for name, value in row.items():
            if type(value) is Decimal and Decimal(repr(number := float(value))) == value:
                row[name] = number
    return rows
