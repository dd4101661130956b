"""What every chapter of the invented company shares: chance, time, ids and the audit columns."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from integration.sandbox.clock import stamp
from integration.sandbox.names import Company, EmailBook

Row = dict[str, Any]
T = TypeVar("T")

HISTORY_DAYS = 730
QUIET_SECONDS = 3600
"""Nothing is stamped in the last hour before the end, but for a few edits: an org at rest, nearly."""


@dataclass
class Story:
    """The state of one telling.

    new_id     gives the next id of a key prefix
    rows       object -> ready records in the order of loading
    companies  of the accounts, in their order; ``strangers`` are those that only leads come from
    times      id -> when the record was created, to keep children younger than their parents
    """

    seed: int
    ends_at: datetime
    new_id: Callable[[str], str]
    rng: random.Random = field(init=False)
    starts: datetime = field(init=False)
    quiet: datetime = field(init=False)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)
    emails: EmailBook = field(default_factory=EmailBook)
    companies: list[Company] = field(default_factory=list)
    strangers: list[Company] = field(default_factory=list)
    manager: str = ""
    robot: str = ""
    reps: list[str] = field(default_factory=list)
    _by_id: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ends_at.tzinfo is None:
            raise ValueError("ends_at needs a time zone; add one, for example datetime.UTC.")
        self.ends_at = self.ends_at.astimezone(UTC).replace(microsecond=0)
        self.quiet = self.ends_at - timedelta(seconds=QUIET_SECONDS)
        self.starts = self.ends_at - timedelta(days=HISTORY_DAYS)
        self.rng = random.Random(self.seed)

    def chance(self, share: float) -> bool:
        """Return True in that share of cases."""
        return self.rng.random() < share

    def pick(self, values: Sequence[T]) -> T:
        """Return one of the values."""
        return values[int(self.rng.random() * len(values))]

    def maybe(self, share: float, value: T) -> T | None:
        """Return the value in that share of cases, else None."""
        return value if self.rng.random() < share else None

    def moment(self, low: datetime, high: datetime | None = None) -> datetime:
        """Return a whole second between the two, by default up to the last quiet hour; a weekday if it can."""
        high = self.quiet if high is None else min(high, self.quiet)
        if high <= low:
            return min(low, self.quiet)
        at = low + timedelta(seconds=int(self.rng.random() * (high - low).total_seconds()))
        if at.weekday() >= 5 and at + timedelta(days=2) <= high:
            at += timedelta(days=2)
        return at

    def day(self, low: int, high: int) -> date:
        """Return a date so many days from the end (negative: before it)."""
        return (self.ends_at + timedelta(days=self.rng.randint(low, high))).date()

    def add(self, object_name: str, prefix: str, row: Row, created: datetime, by: str, **when: datetime) -> str:
        """Add a record with its id and audit columns, and return the id.

        ``changed=`` dates its last edit; without it half of the records were edited at some time since.
        """
        key = self.new_id(prefix)
        self.times[key] = created
        row["Id"] = key
        row.update(self._audit(created, by, when.get("changed")))
        self.rows.setdefault(object_name, []).append(row)
        self._by_id[key] = row
        return key

    def note(self, history: str, row: Row, prefix: str = "017") -> None:
        """Add a history row, which has an id but no audit columns beyond those it brings."""
        row["Id"] = self.new_id(prefix)
        self.rows.setdefault(history, []).append(row)

    def saved(self, row: Row, at: datetime) -> None:
        """Have the record's stamps know of an edit that its history tells of."""
        for name in ("LastModifiedDate", "SystemModstamp"):
            row[name] = max(row[name], stamp(at))

    def row(self, key: str) -> Row:
        """Return the record with that id."""
        return self._by_id[key]

    def _audit(self, created: datetime, by: str, changed: datetime | None) -> Row:
        if changed is None:
            changed = self.moment(created) if self.chance(0.5) else created
        # An internal process (a roll-up, a bounce, an activity) moves the stamp alone, now and then.
        touched = self.moment(changed) if changed < self.quiet and self.chance(0.25) else changed
        return {
            "CreatedDate": stamp(created),
            "CreatedById": by,
            "LastModifiedDate": stamp(changed),
            "LastModifiedById": by if self.chance(0.7) else self.pick(self.reps) if self.reps else by,
            "SystemModstamp": stamp(touched),
        }


def clock_time(story: Story) -> str:
    """Return a time of day as the org keeps it, ``08:30:00.000Z``."""
    return f"{story.rng.randint(6, 18):02d}:{story.pick((0, 15, 30, 45)):02d}:00.000Z"


def some_of(story: Story, values: Sequence[str], most: int) -> str | None:
    """Return a multi-picklist value: up to ``most`` of the values joined by semicolons, None for none."""
    chosen = set(story.rng.sample(range(len(values)), story.rng.randint(0, most)))
    return ";".join(value for place, value in enumerate(values) if place in chosen) or None


def name_of(first: str | None, last: str) -> str:
    """Return the full name the platform puts together."""
    return f"{first} {last}" if first else last
