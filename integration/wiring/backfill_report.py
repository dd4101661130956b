"""What a backfill is going to do, how far it is, and what it came to."""

from dataclasses import dataclass, field

from integration.core import chunks
from integration.core.chunks import Course, Sizes


@dataclass(slots=True)
class ObjectPlan:
    """One object of a backfill: what is to be read, which way and why, and what was read in the end.

    rows          counted at the beginning, deleted ones included; None where that took too long
    rows_before   read by an earlier run of the same backfill
    chunks        Bulk jobs (1 through REST)
    calls         estimated API calls; None without a count
    is_first      nobody has polled the object yet: polling will go on from where the backfill began
    rows_read, published
                  in this run
    """

    object: str
    rows: int | None
    rows_before: int
    via: str
    reason: str
    chunks: int
    calls: int | None
    is_first: bool
    rows_read: int = 0
    published: int = 0

    @classmethod
    def of(cls, course: Course, sizes: Sizes) -> "ObjectPlan":
        """Return the plan for what is left of a course."""
        return cls(
            course.object,
            course.total,
            course.rows,
            course.way.value,
            course.reason,
            course.chunks,
            chunks.calls(course, sizes),
            course.is_first,
        )


@dataclass(slots=True)
class BackfillReport:
    """One backfill. `captures_new` and `captures_known` are None where the store could not be asked."""

    run_id: str
    started_at: str
    ended_at: str = ""
    dry_run: bool = False
    is_resumed: bool = False
    since: str | None = None
    objects: list[ObjectPlan] = field(default_factory=list)
    calls_estimated: int = 0
    share_of_budget: float | None = None
    """What the estimated calls are of the day's budget, in percent."""
    records_read: int = 0
    captures_published: int = 0
    captures_new: int | None = None
    captures_known: int | None = None
    events_written: int | None = None
    users_written: int | None = None
    dead_letters: int = 0
    dead_letters_by_stream: dict[str, int] = field(default_factory=dict)
    api_calls: int = 0
    api_usage: tuple[int, int] | None = None
    stored_by: str = ""
    """`here`, or which process stores."""
    skipped: list[str] = field(default_factory=list)
    """What was not read, or not wholly, a sentence each."""
    notes: list[str] = field(default_factory=list)
    outcome: str = "ok"


@dataclass(slots=True)
class BackfillProgress:
    """How far a backfill is. `total` and `seconds_left` are None where nobody knows; `lag` is what is not stored."""

    object: str = ""
    object_rows: int = 0
    object_total: int | None = None
    rows: int = 0
    total: int | None = None
    per_second: float = 0.0
    seconds_left: float | None = None
    lag: int = 0
    is_read: bool = False
    held: str | None = None
    """Why publishing waits, a sentence; None while it goes on."""
