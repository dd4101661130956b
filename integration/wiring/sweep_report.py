"""What a sweep found: for people, for programs, and as rows of the store's own tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from integration.core.reconcile import Kind, counted
from integration.wiring.clock import now

FINDINGS_SHOWN: Final = 50
"""How many findings of an object a report lists; all are counted."""


@dataclass(slots=True)
class Finding:
    """A record that differed: how (`missing`, `stale`, `ghost`), in which fields, and whether it is equal now.

    `note` says why it is not.
    """

    record_id: str
    kind: str
    fields: list[str] = field(default_factory=list)
    repaired: bool = False
    note: str | None = None


@dataclass(slots=True)
class Ledger:
    """What comparing one object came to: a row of `reconciliations`.

    The counts are of live records, in the source and (after the repair) in the store. `left_to_poll` counts those that
    were saved again whenever they were looked at. `api_calls` are those made for this object; where a call also carried
    queries of the next one, it is counted once, here. `trouble` holds what kept the object from being compared.
    """

    object: str
    started_at: str
    ended_at: str = ""
    source_count: int = 0
    store_count: int = 0
    missing: int = 0
    stale: int = 0
    ghosts: int = 0
    repaired: int = 0
    api_calls: int = 0
    rows_read: int = 0
    left_to_poll: int = 0
    findings: list[Finding] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def differing(self) -> int:
        """How many records differed."""
        return self.missing + self.stale + self.ghosts

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.missing += finding.kind == Kind.MISSING
        self.stale += finding.kind == Kind.STALE
        self.ghosts += finding.kind == Kind.GHOST
        self.repaired += finding.repaired
        if len(self.findings) < FINDINGS_SHOWN:
            self.findings.append(finding)


@dataclass(slots=True)
class SweepReport:
    """What a sweep came to."""

    run_id: str
    started_at: str
    ended_at: str = ""
    dry_run: bool = False
    objects: list[Ledger] = field(default_factory=list)
    api_calls: int = 0
    """All calls, those made to catch up first and to look twice included."""
    captures_published: int = 0
    outcome: str = "ok"

    @property
    def differing(self) -> int:
        """How many records differed."""
        return sum(one.differing for one in self.objects)

    @property
    def repaired(self) -> int:
        """How many of them are equal now."""
        return sum(one.repaired for one in self.objects)

    @property
    def is_equal(self) -> bool:
        """True when everything could be compared, and is equal now."""
        return self.differing == self.repaired and not any(one.trouble for one in self.objects)

    @property
    def sentence(self) -> str:
        """Say how it ended, in one sentence."""
        records = sum(one.source_count for one in self.objects)
        all_of_them = f"{records:,} records of {_objects(len(self.objects))}"
        if not self.differing:
            return f"All {all_of_them} equal." if self.is_equal else "Not everything could be compared."
        kinds = counted({
            Kind.MISSING: sum(one.missing for one in self.objects),
            Kind.STALE: sum(one.stale for one in self.objects),
            Kind.GHOST: sum(one.ghosts for one in self.objects),
        })  # fmt: skip
        where = ", ".join(f"{one.object} {one.differing:,}" for one in self.objects if one.differing)
        if self.differing == self.repaired:
            return f"{kinds} {_were(self.differing)} repaired ({where}); all {all_of_them} equal now."
        left = "nothing was repaired" if not self.repaired else f"{self.repaired:,} of them repaired"
        return f"{kinds} found ({where}), {left}."


def run_row(report: SweepReport, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the row of `sync_runs` of a sweep; `counts` tells what the consumer has written meanwhile."""
    return {
        "run_id": report.run_id,
        "started_at": report.started_at,
        "ended_at": report.ended_at or now(),
        "kind": "sweep",
        "records_read": sum(one.rows_read for one in report.objects),
        "captures_published": report.captures_published,
        "events_written": counts.get("events_written"),
        "users_written": counts.get("users_written"),
        "dead_letters": counts.get("dead_letters"),
        "api_calls": report.api_calls,
        "outcome": report.outcome,
    }


def ledger_rows(report: SweepReport) -> list[dict[str, Any]]:
    """Return the rows of `reconciliations` of a sweep."""
    columns = ("object", "started_at", "ended_at", "source_count", "store_count", "missing", "stale", "ghosts")
    return [
        {
            "run_id": report.run_id,
            "kind": "dry-run" if report.dry_run else "sweep",
            "repaired": one.repaired,
            "api_calls": one.api_calls,
            **{column: getattr(one, column) for column in columns},
        }
        for one in report.objects
    ]


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
