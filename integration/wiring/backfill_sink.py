"""Where the pages of a backfill go, and who is told of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from integration.core.catalog import ObjectSchema
from integration.core.chunks import Course
from integration.source.backfill import Told
from integration.source.poll import Poller
from integration.stream import groups
from integration.stream.connection import Client
from integration.stream.pressure import Gate
from integration.stream.publish import Publisher
from integration.wiring.backfill_plan import Courses
from integration.wiring.backfill_report import BackfillProgress
from schemas import Cursor

_TELL_SECONDS: Final = 0.5

OnChange = Callable[[BackfillProgress], None]


class Sink:
    """Publishes to the streams, keeps courses, and makes the first cursor of an object that nobody has polled."""

    def __init__(self, client: Client, gate: Gate, courses: Courses, poller: Poller) -> None:
        self._courses, self._poller = courses, poller
        self._publisher = Publisher(client, gate)

    def publish(self, schema: ObjectSchema, captures: Sequence[Mapping[str, Any]]) -> None:
        """Publish captures; waits while too much lies in the streams."""
        self._publisher.publish_more(captures, schema)

    def save(self, course: Course) -> None:
        """Keep how far an object is."""
        self._courses.save(course)

    def finish(self, course: Course, schema: ObjectSchema) -> None:
        """Note that an object is done; polling goes on from where the backfill began, if nobody has polled it."""
        if course.is_first:
            self._publisher.begin(first_cursor(course, schema), schema)
        course.is_done = True
        self._courses.save(course)

    def refresh(self, object_name: str) -> ObjectSchema | None:
        """Describe all objects again; None if this one can't be read any more."""
        self._poller.refresh_schemas()
        return self._poller.schemas.get(object_name)


class Watch:
    """Tells whoever watches how far it is, now and then."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._progress = BackfillProgress()
        self._began = time.monotonic()
        self._told_at = 0.0

    @property
    def is_read(self) -> bool:
        """True once everything is read and published."""
        return self._progress.is_read

    def page(self, course: Course, told: Told, courses: Sequence[Course], gate: Gate) -> None:
        """A page was published."""
        if time.monotonic() - self._told_at < _TELL_SECONDS:
            return
        self._told_at = time.monotonic()
        one, read = self._progress, sum(counted.rows for counted in told.objects.values())
        totals = [c.total for c in courses]
        one.object, one.object_rows, one.object_total = course.object, course.rows, course.total
        one.rows = sum(c.rows for c in courses)
        one.total = None if None in totals else sum(total or 0 for total in totals)
        one.per_second = read / max(time.monotonic() - self._began, 1e-3)
        left = None if one.total is None else max(one.total - one.rows, 0)
        one.seconds_left = left / one.per_second if left is not None and one.per_second else None
        one.lag = gate.load().waiting
        self._on_change(one)

    def held(self, sentence: str | None) -> None:
        """Publishing waits (or goes on again)."""
        self._progress.held = sentence
        self._on_change(self._progress)

    def read(self, told: Told) -> None:
        """Everything is published."""
        self._progress.is_read = True
        self._progress.rows = max(self._progress.rows, sum(counted.rows for counted in told.objects.values()))
        self._on_change(self._progress)

    def stored(self, lag: int) -> None:
        """So many entries are left to be stored."""
        self._progress.lag = lag
        self._on_change(self._progress)


def first_cursor(course: Course, schema: ObjectSchema) -> Cursor:
    """Return the cursor that a finished first pass would have left, had it begun when the backfill began."""
    stamp, record_id = course.newest or (None, "")
    return Cursor(
        object=course.object,
        system_modstamp=stamp,
        record_id=record_id,
        covered_until=course.started_at,
        passed_until=course.started_at,
        open_since=course.open_since,
        still_open=course.open_since,
        schema_id=schema.schema_id,
    )


def lag_of(client: Client, streams: Sequence[str]) -> int:
    """Count the entries of these streams that are not stored yet; where Redis does not know, rather too many."""
    behind = [groups.lag(client, stream) for stream in streams]
    return sum((one.lag if one.lag is not None else one.length) + one.pending for one in behind)
