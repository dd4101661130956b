"""How a backfill is cut up: the way an object is read, in which windows, what that costs, how far it is. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from math import ceil
from typing import Any, Final, NamedTuple

from integration.core import exactjson

Window = tuple[str | None, str | None]
"""Stamps from the first (included) to the second (not included); None: no bound."""

# A window that is a little too large is not worth counting its halves for.
_TOLERANCE: Final = 1.5
# Counting more windows than this at once brings nothing: they are cut again where they have to be.
_MOST_PIECES: Final = 60
# Created, looked at (the pauses double), deleted.
_CALLS_PER_JOB: Final = 1 + 6 + 1


class Way(StrEnum):
    """How an object is read."""

    REST = "rest"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows make Bulk worth a job, one job, a page of REST, a page of Bulk; after how many seconds a new job
    is looked at first."""

    bulk_from: int = 20_000
    chunk: int = 100_000
    rest_page: int = 2_000
    bulk_page: int = 10_000
    first_look: float = 1.0


class Choice(NamedTuple):
    """The way an object is read, and why, as the end of a sentence."""

    way: Way
    reason: str


@dataclass(slots=True)
class Course:
    """One object's backfill: what was asked, and how far it is. Saved after every page.

    asked        `--since` as it was typed; empty without it
    since        the stamp that it meant
    via          `--via` as it was given
    started_at   Salesforce's clock when the reading began; None before that
    windows      what each Bulk job reads; `chunk` counts those that are done
    job_id, locator, job_at, schema_id
                 the job of the present chunk, its next page, Salesforce's clock when it was made, and with which
                 description of the object
    after_id     the last row that REST gave
    total, rows  rows counted at the beginning (None: not known), rows read
    newest       (stamp, id) of the newest row read
    open_since   when the oldest transaction began that was open at the beginning
    is_first     the object had no cursor: nobody has polled it
    """

    object: str
    run_id: str
    way: Way
    asked: str = ""
    since: str | None = None
    via: Way | None = None
    reason: str = ""
    started_at: str | None = None
    windows: list[Window] = field(default_factory=lambda: [(None, None)])
    chunk: int = 0
    job_id: str | None = None
    locator: str | None = None
    job_at: str | None = None
    schema_id: str | None = None
    after_id: str = ""
    total: int | None = None
    rows: int = 0
    published: int = 0
    newest: tuple[str, str] | None = None
    open_since: str | None = None
    is_first: bool = False
    is_done: bool = False

    @property
    def rows_left(self) -> int | None:
        """Rows that are still to be read, as far as they were counted."""
        return None if self.total is None else max(self.total - self.rows, 0)

    @property
    def chunks(self) -> int:
        """How many pieces it is read in: Bulk jobs; REST's pages are one."""
        return len(self.windows) if self.way is Way.BULK else 1

    def reached(self, stamps: Iterable[tuple[str, str]]) -> None:
        """Take note of (stamp, id) of rows that were read."""
        self.newest = max((*stamps, *([self.newest] if self.newest else ())), key=_place, default=None)

    def forget_job(self) -> None:
        """The present chunk is to be read by a job of its own."""
        self.job_id = self.locator = self.job_at = self.schema_id = None

    def turn_to(self, way: Way, reason: str) -> None:
        """Read the object another way, from its beginning: what was read by then is known when it comes again."""
        self.forget_job()
        self.way, self.reason, self.after_id, self.chunk, self.rows = way, reason, "", 0, 0
        self.windows = [(self.since, None)]

    def to_json(self) -> bytes:
        """Write it for the hash `headrace:backfill`."""
        return exactjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes | str) -> "Course | None":
        """Read what `to_json` wrote; None for anything else, such as that of another version."""
        try:
            raw: dict[str, Any] = exactjson.loads(text)
            course = cls(**raw)
            course.way, course.via = Way(course.way), Way(course.via) if course.via is not None else None
            course.windows = [(low, high) for low, high in course.windows]
            course.newest = (course.newest[0], course.newest[1]) if course.newest else None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return None
        return course


def choose(rows: int | None, asked: Way | None, refused: str | None, sizes: Sizes) -> Choice:
    """Decide how to read an object of so many rows (None: they could not be counted).

    `asked` is what the user wants; `refused` says why Bulk can't read the object.
    """
    if asked is Way.REST:
        return Choice(Way.REST, "as asked")
    if refused is not None:
        few = rows is not None and rows < sizes.bulk_from and asked is None
        return Choice(Way.REST, _few(sizes) if few else refused)
    if asked is Way.BULK:
        return Choice(Way.BULK, "as asked")
    if rows is None:
        return Choice(Way.BULK, "too many rows to be counted in time")
    if rows < sizes.bulk_from:
        return Choice(Way.REST, _few(sizes))
    return Choice(Way.BULK, f"{sizes.bulk_from:,} rows or more")


def _few(sizes: Sizes) -> str:
    return f"fewer than {sizes.bulk_from:,} rows"


def calls(course: Course, sizes: Sizes) -> int | None:
    """Estimate the API calls left to make, rather too many than too few; None where nobody counted the rows."""
    left = course.rows_left
    if left is None:
        return None
    if course.is_done:
        return 0
    if course.way is Way.REST:
        return left // sizes.rest_page + 1
    jobs = max(len(course.windows) - course.chunk, 0)
    return jobs * _CALLS_PER_JOB + ceil(left / sizes.bulk_page) + max(jobs - 1, 0)


# --- windows ---------------------------------------------------------------------------------------------------------


def cut(
    span: tuple[str, str], rows: int, size: int, count: Callable[[Sequence[Window]], Sequence[int | None]]
) -> list[Window]:
    """Cut the time from the first stamp to the last into windows of about `size` rows each, in order.

    `count` counts the rows of windows (None: it can't; then the window is taken as it is). What has one stamp stays
    together, however much that is. The first window has no beginning and the last no end.
    """
    todo: list[tuple[Window, int]] = [((span[0], _after(span[1])), rows)]
    found: list[tuple[Window, int]] = []
    while todo:
        large = [(w, n) for w, n in todo if n > size * _TOLERANCE and _seconds(w) > 1]
        found += [one for one in todo if one not in large]
        parts = [part for window, n in large for part in _pieces(window, ceil(n / size))]
        counted = count(parts) if parts else []
        todo = [(part, size if n is None else n) for part, n in zip(parts, counted, strict=True)]
    found.sort(key=lambda one: str(one[0][0]))
    return _unbounded(_merged(found, size))


def _pieces(window: Window, parts: int) -> list[Window]:
    """Cut a window into so many of equal length, at whole seconds."""
    low, length = _moment(window[0]), _seconds(window)
    parts = max(2, min(parts, length, _MOST_PIECES))
    edges = [window[0], *(_stamp(low + timedelta(seconds=length * n // parts)) for n in range(1, parts)), window[1]]
    return list(pairwise(edges))


def _merged(found: Iterable[tuple[Window, int]], size: int) -> list[Window]:
    """Put neighbours together as long as they don't become too large."""
    merged: list[tuple[Window, int]] = []
    for window, rows in found:
        if merged and merged[-1][1] + rows <= size:
            (low, _), before = merged.pop()
            merged.append(((low, window[1]), before + rows))
        else:
            merged.append((window, rows))
    return [window for window, _ in merged]


def _unbounded(windows: Sequence[Window]) -> list[Window]:
    edges = [low for low, _ in windows][1:]
    return list(zip([None, *edges], [*edges, None], strict=True))


def _moment(stamp: str | None) -> datetime:
    return datetime.fromisoformat(stamp or "").astimezone(UTC)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _after(stamp: str) -> str:
    return _stamp(_moment(stamp) + timedelta(seconds=1))


def _seconds(window: Window) -> int:
    return ceil((_moment(window[1]) - _moment(window[0])).total_seconds())


def _place(position: tuple[str, str]) -> tuple[str, str]:
    # `...15.5Z` comes after `...15Z`.
    return position[0].removesuffix("Z"), position[1]
