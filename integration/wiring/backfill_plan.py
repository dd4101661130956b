"""What a backfill will read: which objects, which way, in which windows; begun anew or gone on with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from integration.core import chunks, history
from integration.core.catalog import ObjectSchema
from integration.core.chunks import Choice, Course, Sizes, Way, Window
from integration.core.reconcile import chosen
from integration.core.times import parse_time
from integration.errors import UnreachableError, UsageError
from integration.source.bulk import why_not_bulk
from integration.source.client import SalesforceClient
from integration.source.counting import Size, count_windows, sizes_of
from integration.source.deletions import DeleteLog, Logged
from integration.source.report import CycleReport
from integration.source.soql import moment_of, stamp_of
from integration.store.hints import did_you_mean
from integration.stream.connection import Client, answering

BACKFILL_KEY: Final = "headrace:backfill"
"""A hash: object -> how far its backfill is (core.chunks.Course as JSON), while one is unfinished."""

_NO_JOBS: Final = "the org's Bulk jobs of the day are used up"


@dataclass(frozen=True, slots=True)
class Asked:
    """The words of the command."""

    objects: Sequence[str] = ()
    since: str = ""
    via: Way | None = None
    restart: bool = False


class Courses:
    """The courses in Redis. Every method raises UnreachableError when it does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def all(self) -> dict[str, Course]:
        """Read the courses of unfinished backfills by object; what can't be read counts as not there."""
        with answering(self._client):
            stored = self._client.hgetall(BACKFILL_KEY)
        found = [Course.from_json(text) for text in stored.values()]
        return {course.object: course for course in found if course is not None}

    def save(self, *courses: Course) -> None:
        """Keep how far these are."""
        if courses:
            fields: dict[Any, Any] = {course.object: course.to_json() for course in courses}
            with answering(self._client):
                self._client.hset(BACKFILL_KEY, mapping=fields)

    def forget(self, objects: Sequence[str]) -> None:
        """Forget these, finished or not."""
        if objects:
            with answering(self._client):
                self._client.hdel(BACKFILL_KEY, *objects)


@dataclass(frozen=True, slots=True)
class Org:
    """What is known of the org: the client, the objects that are read, and why others are not."""

    source: SalesforceClient
    schemas: Mapping[str, ObjectSchema]
    skipped: Mapping[str, str]

    def named(self, objects: Sequence[str]) -> list[str]:
        """Return the names of these objects as the org spells them, all of them if none is given. Raises UsageError."""
        found, unknown = chosen(self.schemas, objects)
        if not unknown:
            return found
        for name, sentence in self.skipped.items():
            if name.lower() == unknown[0].lower():
                raise UsageError(f"{name} can't be backfilled. {sentence}")
        hint = did_you_mean(unknown[0], [*self.schemas]) or f" It reads {', '.join(self.schemas)}."
        raise UsageError(f"headrace does not read an object '{unknown[0]}'.{hint}")


def since_of(text: str, now: datetime) -> str | None:
    """Return the stamp that `--since` means; None for an empty text. Raises UsageError."""
    if not text:
        return None
    try:
        moment = parse_time(text, now).replace(microsecond=0)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None
    if moment > now:
        raise UsageError(f"--since {text} lies in the future: nothing has changed since.")
    return stamp_of(moment)


def plan(
    org: Org,
    asked: Asked,
    known: Mapping[str, Course],
    sizes: Sizes,
    *,
    run_id: str,
    was_polled: Callable[[str], bool],
) -> list[Course]:
    """Return the courses of the objects that were asked for, in reading order: those that are under way (`known`) as
    they stand, the others from their beginning. Counts rows, five objects in a call. A course that is done was read,
    but not seen stored.

    Raises UsageError for an unknown object, or if an unfinished backfill was asked for in other words.
    """
    names = org.named(asked.objects)
    under_way = {} if asked.restart else {name: known[name] for name in names if name in known}
    for course in under_way.values():
        _check_words(asked, course)
    since = since_of(asked.since, moment_of(org.source.server_time))
    fresh = [name for name in names if name not in under_way]
    if under_way:
        run_id = next(iter(under_way.values())).run_id
        since = next(iter(under_way.values())).since
    made = {}
    for name, size in zip(fresh, sizes_of(org.source, [(org.schemas[n], since) for n in fresh]), strict=True):
        choice = chunks.choose(size.rows, asked.via, why_not_bulk(org.schemas[name]), sizes)
        made[name] = Course(
            name, run_id, choice.way, asked.since, since, asked.via, choice.reason,
            total=size.rows, is_first=since is None and not was_polled(name),
        )  # fmt: skip
        if choice.way is Way.BULK:
            made[name].windows = _windows(org, name, size, since, sizes)
    _spare_jobs(org.source, [course for course in made.values() if course.way is Way.BULK], asked)
    return [under_way.get(name) or made[name] for name in names]


def note_open_transactions(org: Org, courses: Sequence[Course]) -> None:
    """Ask the delete logs since when a transaction has been open, for objects of which nobody has polled anything.

    What it commits later is older than the overlap, so the first poll has to begin there.
    """
    first = [course for course in courses if course.is_first and course.started_at is None]
    logged = [c for c in first if history.parent_of(c.object) is None]
    if not logged:
        return
    log = DeleteLog(org.source, CycleReport())
    log.read([Logged(org.schemas[course.object], None, {}) for course in logged])
    for course in first:
        course.open_since = log.still_open.get(course.object, log.oldest_open)


def refused(calls: int, usage: tuple[int, int] | None, percent: int) -> UnreachableError | None:
    """Return an error if so many calls more would go beyond the budget."""
    if usage is None or not usage[1] or (usage[0] + calls) * 100 <= usage[1] * percent:
        return None
    return UnreachableError(
        f"This backfill would take about {calls:,} API calls, and the org has used {usage[0]:,} of its {usage[1]:,} of "
        f"the last 24 hours; salesforce.api_budget_percent allows {percent} %: name fewer objects, shorten it with "
        "--since, try again later, or raise the setting."
    )


def _check_words(asked: Asked, course: Course) -> None:
    is_other_way = asked.via is not None and course.via is not asked.via
    if asked.since == course.asked and not is_other_way:
        return
    words = [*([f"--since {course.asked}"] if course.asked else []), *([f"--via {course.via}"] if course.via else [])]
    raise UsageError(
        f"A backfill of {course.object} was begun {'with ' + ' '.join(words) if words else 'without options'} and is "
        "not finished: give the same words to go on with it, or --restart to forget it."
    )


def _windows(org: Org, name: str, size: Size, since: str | None, sizes: Sizes) -> list[Window]:
    if size.rows is None or size.low is None or size.high is None:
        return [(since, None)]

    def count(windows: Sequence[Window]) -> Sequence[int | None]:
        return count_windows(org.source, org.schemas[name], windows)

    return chunks.cut((size.low, size.high), size.rows, sizes.chunk, count)


def _spare_jobs(source: SalesforceClient, courses: Sequence[Course], asked: Asked) -> None:
    """Leave to REST what the org has no Bulk jobs left for."""
    if not courses or asked.via is not None:
        return
    try:
        left = int(source.limits()["DailyBulkV2QueryJobs"]["Remaining"])
    except (KeyError, TypeError, ValueError):
        return
    for course in courses:
        left -= course.chunks
        if left < 0:
            course.way, course.reason = Choice(Way.REST, _NO_JOBS)
