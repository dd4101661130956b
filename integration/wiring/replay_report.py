"""What a replay is asked for, what it plans, and what it came to."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from integration import __version__
from integration.core import exactjson
from integration.settings import Settings
from integration.stream import names
from integration.wiring import asking

Source = Literal["archive", "stream"]

DESK: Final = asking.Desk(
    "replay",
    names.REPLAY_REQUESTS,
    names.REPLAYER_KEY,
    roles="headrace run all and headrace run consumer replay when asked",
    trace="what it still does will stand in the table sync_runs",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The words of a command: times as they were typed, empty for none."""

    source: Source = "archive"
    since: str = ""
    until: str = ""
    objects: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A replay that is to be made. Times are ISO 8601 UTC, None for no bound; no object means all there are."""

    run_id: str
    source: str
    since: str | None
    until: str | None
    objects: Sequence[str]
    words: str
    """The words it was asked for with: a replay that was broken off is gone on with when it is asked for again."""
    rules: str
    """A hash of the settings that decide what the tables say."""
    restart: bool = False

    @property
    def is_complete(self) -> bool:
        """Tell whether it takes every record: then names, enrichments and people follow the settings too."""
        return self.source == "archive" and not self.objects and self.since is None and self.until is None


@dataclass(slots=True)
class ObjectPlan:
    """What there is to replay of one object: of the archive records and their captures, of a stream its entries."""

    object: str
    records: int | None
    captures: int
    first: str | None
    last: str | None


@dataclass(slots=True)
class Plan:
    """What a replay would take, with the times that the words came to."""

    source: str
    since: str | None
    until: str | None
    objects: list[ObjectPlan]
    archive_from: str | None = None
    """What was captured before this time was forgotten (`archive.days`)."""
    goes_on: str | None = None
    """Where an earlier run of the same words was broken off: `Contact 003...`."""

    @property
    def records(self) -> int:
        """How much there is to do."""
        return sum(one.captures if one.records is None else one.records for one in self.objects)


@dataclass(slots=True)
class ReplayProgress:
    """How far a replay is."""

    phase: str = ""
    done: int = 0
    total: int | None = None
    began: float = field(default_factory=time.monotonic)
    began_at: int = 0
    """What was done when this run began."""

    @property
    def per_second(self) -> float:
        """How many records a second this run does."""
        return (self.done - self.began_at) / max(time.monotonic() - self.began, 0.001)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at that pace; None while that is not to be known."""
        if not self.total or self.done <= self.began_at:
            return None
        return max(self.total - self.done, 0) / self.per_second


@dataclass(slots=True)
class ReplayReport:
    """What a replay came to; the counts of a replay that was gone on with are those of all its runs."""

    run_id: str
    started_at: str
    ended_at: str = ""
    source: str = "archive"
    since: str | None = None
    until: str | None = None
    objects: list[str] = field(default_factory=list)
    resumed: bool = False
    records: int = 0
    captures: int = 0
    records_rewritten: int = 0
    """Records whose state, raw row or memberships were not as their captures say."""
    events_before: int = 0
    """Events that were there and are so no more."""
    events_after: int = 0
    """Events that were written, be it in the place of others."""
    users_written: int = 0
    skipped: list[str] = field(default_factory=list)
    """Records that were left as they are, and why."""
    outcome: str = "ok"
    sentence: str = ""

    def conclude(self) -> None:
        """Say it in a sentence."""
        what = f"{self.records:,} records replayed from {self.captures:,} captures"
        if self.source == "stream":
            what = f"{self.captures:,} entries taken again, {self.records:,} of them new to the store"
        changed = (
            f"{self.records_rewritten:,} records, {self.events_after:,} events and {self.users_written:,} people were "
            f"written anew, {max(self.events_before - self.events_after, 0):,} events went"
        )
        nothing = not (self.records_rewritten or self.events_before or self.events_after or self.users_written)
        self.sentence = f"{what}: {'nothing was different' if nothing else changed}."


def run_row(report: ReplayReport) -> dict[str, Any]:
    """Return the row of `sync_runs`."""
    return {
        "run_id": report.run_id,
        "started_at": report.started_at,
        "ended_at": report.ended_at,
        "kind": "replay",
        "records_read": report.records,
        "captures_published": 0,
        "events_written": report.events_after,
        "users_written": report.users_written,
        "dead_letters": 0,
        "api_calls": 0,
        "outcome": report.outcome,
    }


def rules_of(settings: Settings) -> str:
    """Return a hash of the settings that decide what the tables say, and of the version that reads them."""
    objects: Mapping[str, Any] = {
        name: [sorted(one.enrich), dict(one.names), sorted(one.fields), sorted(one.exclude)]
        for name, one in sorted(settings.objects.items())
    }
    told = [
        __version__,
        objects,
        settings.identity.match_email,
        settings.identity.max_cluster,
        sorted(settings.privacy.exclude),
    ]
    return hashlib.blake2b(exactjson.dumps(told), digest_size=8).hexdigest()
