"""What a migration plans, how far it is, and what it came to."""

from dataclasses import dataclass, field

from integration.wiring.replay_report import ReplayProgress, ReplayReport

KEYS_NAMED = 10
"""How many differing keys of a table are named."""


@dataclass(slots=True)
class TablePlan:
    """A table that is to be copied, and its rows."""

    table: str
    rows: int


@dataclass(slots=True)
class MigratePlan:
    """What a migration would do."""

    source: str
    target: str
    tables: list[TablePlan]
    rows: int
    goes_on: str | None = None
    """Where an unfinished migration of the same store is gone on with: `events`, `the proof`, ..."""
    archive_from: str | None = None
    """What was captured before this time was forgotten (`archive.days`)."""


@dataclass(slots=True)
class MigrateProgress(ReplayProgress):
    """How far one stage of a migration is: `phase` is what is in hand, the counts are of rows (replayed: records)."""

    stage: str = ""
    """copy, replay or compare."""


@dataclass(slots=True)
class TableLedger:
    """A table, row by row in both stores."""

    table: str
    source_rows: int = 0
    target_rows: int = 0
    differing: int = 0
    """Keys under which the two stores do not hold the same rows."""
    keys: list[str] = field(default_factory=list)
    """The first of them; of e-mail addresses only the domain."""


@dataclass(slots=True)
class MigrateReport:
    """What a migration came to."""

    started_at: str
    source: str
    target: str
    ended_at: str = ""
    resumed: bool = False
    rows_copied: int = 0
    """Rows written by this run."""
    copy_seconds: float = 0.0
    records_replayed: int = 0
    captures_replayed: int = 0
    records_changed: int = 0
    """Records that the replay wrote anew: none, if the copy is as its captures say."""
    events_changed: int = 0
    users_changed: int = 0
    skipped: list[str] = field(default_factory=list)
    """Records that the replay left as they are, and why."""
    archive_from: str | None = None
    """What was captured before this time was forgotten (`archive.days`): it is compared, and can't be replayed."""
    tables: list[TableLedger] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else is to be done or known."""
    equal: bool = False
    sentence: str = ""

    def replayed(self, done: ReplayReport) -> None:
        """Take in what the replay of the new store came to."""
        self.records_replayed, self.captures_replayed = done.records, done.captures
        self.records_changed, self.users_changed = done.records_rewritten, done.users_written
        self.events_changed = max(done.events_before, done.events_after)
        self.skipped = list(done.skipped)

    @property
    def changed(self) -> int:
        """How much the replay changed."""
        return self.records_changed + self.events_changed + self.users_changed

    def conclude(self) -> None:
        """Say whether the stores are equal, and what to do next."""
        differing = [one for one in self.tables if one.differing]
        self.equal = not differing and not self.changed
        rows = sum(one.source_rows for one in self.tables)
        if self.equal:
            self.sentence = (
                f"{rows:,} rows in {len(self.tables)} tables are in both stores alike, and a replay of "
                f"{self.records_replayed:,} records in the new one changed nothing{self._bounds()}: point store.url at "
                f"{self.target}, and start the worker."
            )
            return
        found = ", ".join(f"{one.table} ({one.differing:,}: {', '.join(one.keys)})" for one in differing)
        parts = [f"The stores differ in {found}."] if found else []
        if self.changed:
            parts.append(
                f"A replay of the new store wrote {self.records_changed:,} records, {self.events_changed:,} events and "
                f"{self.users_changed:,} people anew: the old one is not as its captures and these settings say. Run "
                "headrace replay on it first."
            )
        parts.append("The same headrace migrate writes what differs anew, and proves it again.")
        self.sentence = " ".join(parts)

    def _bounds(self) -> str:
        told = f" (what was captured before {self.archive_from} is compared only)" if self.archive_from else ""
        left = f" ({len(self.skipped):,} could not be derived, and are compared only)" if self.skipped else ""
        return told + left
