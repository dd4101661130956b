"""The JSON that commands print, as types; writes their JSON Schemas: `python -m integration.cli.shapes [--check]`.

What a command prints as a dataclass or a model is named here as it is. What it puts together as a dict has its model
here, and a test holds the two against each other.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from integration.cli.dlq import LetterRow, LetterShown, Settlement
from integration.cli.inspecting import StreamReport
from integration.stream.entry import EntryView
from integration.stream.inspect import PendingEntry, StreamInfo
from integration.wiring.backfill_report import BackfillReport
from integration.wiring.backtest import Backtest
from integration.wiring.checks import Check
from integration.wiring.defining import DefinitionRow, DefinitionShown
from integration.wiring.demo import View
from integration.wiring.explanation import Explanation
from integration.wiring.imports import ImportReport
from integration.wiring.marts import Exported, MartRow, MartShown
from integration.wiring.migrate_report import MigratePlan, MigrateReport
from integration.wiring.replay_report import Plan, ReplayReport
from integration.wiring.report import Report
from integration.wiring.sweep_report import Ledger
from integration.wiring.sync import SyncReport
from integration.wiring.why import Report as Whereabouts
from schemas.export import write_or_check

FOLDER = Path(__file__).parents[2] / "schemas" / "jsonschema" / "cli"
Rows = list[dict[str, JsonValue]]


class Shape(BaseModel):
    """A JSON object with these keys and no others; one with a default may be missing."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Totals(Shape):
    """What a worker did (`run`)."""

    records_read: int
    captures_published: int
    captures_stored: int
    versions_without_change: int
    events_written: int
    users_written: int
    dead_letters: int
    api_calls: int


class Demo(Shape):
    """What the demo shows (`demo --exit`)."""

    told: dict[str, int]
    """What the org holds: object -> records."""
    said: list[str]
    """What happened in it meanwhile."""
    sync: SyncReport
    views: list[View]


class Doctor(Shape):
    """The findings of the doctor; `ok` unless a check failed."""

    ok: bool
    checks: list[Check]


class StatusStore(Shape):
    """The store, or the `error` that keeps from seeing it."""

    url: str
    error: str | None = None
    open_in_process: int | None = None
    """The process that has it open, if one has."""
    open_since: str | None = None
    users: int | None = None
    deleted_users: int | None = None
    accounts: int | None = None
    events: int | None = None
    newest_event: str | None = None
    captures: int | None = None


class StatusRedis(Shape):
    """Redis, or the `error` that keeps from seeing it."""

    url: str
    error: str | None = None


class StatusApi(Shape):
    """The org's API calls as the poller last knew them; empty before the first poll."""

    used: int | None = None
    total: int | None = None
    used_percent_of_budget: float | None = None
    budget: int | None = None
    pace: str | None = None
    forecast: str | None = None
    interval_seconds: float | None = None
    paused: bool | None = None
    calls_a_day: int | None = None
    budget_reached_in_seconds: int | None = None
    calls_per_1000_changes: float | None = None
    last_cycle_calls: int | None = None
    cycles: int | None = None
    calls: int | None = None
    captures_published: int | None = None
    counted_since: str | None = None
    seen_at: str | None = None
    problem: str | None = None


class StatusObject(Shape):
    """How far an object has been read."""

    object: str
    records: int
    changes_24h: int
    """Its events whose time lies in the last 24 hours."""
    last_poll: str | None
    watermark: str | None
    state: str
    """ok, late, reading (for the first time, or a pass is under way) or never read."""
    hint: str | None
    """What to do about one that is late."""


class StatusChecked(Shape):
    """When an object was last compared with Salesforce, and since when its calculated fields are known."""

    object: str
    swept_at: str | None
    differences: int | None
    repaired: int | None
    calculated_as_of: str | None = None


class StatusStream(Shape):
    """What waits in a stream; `lag` and `pending` are null where nobody reads it, or Redis does not know."""

    stream: str
    length: int
    lag: int | None
    pending: int | None
    oldest: str | None
    """When Redis took the oldest entry that is not finished."""
    dead: int
    hint: str | None


class StatusMarts(Shape):
    """How fresh the tables are that are worked out from others; empty where there is no store to ask."""

    waiting: int | None = None
    """People and records for which they are still to be worked out anew."""
    oldest: str | None = None
    """Since when the first of these waits."""


class StatusSummary(Shape):
    """Everything added up."""

    late: list[str]
    waiting: int
    oldest_waiting: str | None
    dead_letters: int
    sentence: str


class Status(Shape):
    """One look at everything."""

    store: StatusStore
    redis: StatusRedis
    api: StatusApi
    objects: list[StatusObject]
    checked: list[StatusChecked]
    streams: list[StatusStream]
    marts: StatusMarts
    last_run: dict[str, JsonValue] = {}
    """The newest row of `sync_runs`."""
    summary: StatusSummary


class Sweep(Shape):
    """What a sweep found and repaired."""

    run_id: str
    started_at: str
    ended_at: str
    dry_run: bool
    objects: list[Ledger]
    api_calls: int
    captures_published: int
    outcome: str
    sentence: str
    equal: bool


class Lag(Shape):
    """How far a group is behind; null where Redis does not know."""

    stream: str
    group: str | None
    lag: int | None
    pending: int


class NamedField(Shape):
    """A field with the property and the column it became."""

    object: str
    field: str
    prefix_object: str
    property: str | None
    raw_column: str | None
    type: str
    since: str


class Setting(Shape):
    """A setting and where it came from, secrets masked."""

    key: str
    value: JsonValue
    origin: str = Field(alias="from")


class FunnelName(Shape):
    """A funnel that is defined."""

    name: str
    title: str


class FunnelStep(Shape):
    """How many took a step of a funnel: as shares of the first step and of the one before, with the time from that."""

    step: int
    name: str
    reached: int
    of_first: float | None
    of_previous: float | None
    median_seconds: float | None


class ReportName(Shape):
    """A named report."""

    name: str
    sentence: str


SHAPES: Mapping[str, Any] = {
    "backfill": BackfillReport,
    "config show": list[Setting],
    "definitions check": list[DefinitionRow],
    "definitions ls": list[DefinitionRow],
    "definitions members": Rows,
    "definitions preview": Rows,
    "definitions show": DefinitionShown,
    "demo": Demo,
    "dlq drop": Settlement,
    "dlq ls": list[LetterRow],
    "dlq retry": Settlement,
    "dlq show": LetterShown,
    "doctor": Doctor,
    "explain": Explanation,
    "import": ImportReport,
    "marts export-dbt": Exported,
    "marts ls": list[MartRow],
    "marts show": MartShown,
    "funnel": list[FunnelName] | list[FunnelStep],
    "health backtest": Backtest,
    "migrate": MigratePlan | MigrateReport,
    "personas impact": Rows,
    "query": Rows,
    "replay": Plan | ReplayReport,
    "report": Report | list[ReportName] | Rows,
    "run": Totals,
    "schema": list[NamedField],
    "sql": Rows,
    "status": Status,
    "streams inspect": StreamReport,
    "streams lag": list[Lag],
    "streams ls": list[StreamInfo],
    "streams peek": list[EntryView],
    "streams pending": list[PendingEntry],
    "streams tail": list[EntryView],
    "sweep": Sweep,
    "sync": SyncReport,
    "users": Rows,
    "why": Whereabouts,
}
"""Command -> what it prints with --json. Each command of the command line has its line here."""


def documents() -> dict[str, str]:
    """Return the text of every schema file by file name: `streams_ls.json`."""
    return {f"{_stem(command)}.json": _document(command, shape) for command, shape in SHAPES.items()}


def main(arguments: Sequence[str]) -> int:
    """Write the files; with `--check` only compare, and return 1 if any differs."""
    return write_or_check(documents(), FOLDER, arguments, "integration.cli.shapes")


class _AsPrinted(GenerateJsonSchema):
    """Dataclasses are printed whole: every field is there, and nothing else."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return field["type"] == "dataclass-field" or super().field_is_required(field, total)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return {**super().dataclass_schema(schema), "additionalProperties": False}


def _document(command: str, shape: Any) -> str:
    body = TypeAdapter(shape).json_schema(mode="validation", schema_generator=_AsPrinted)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:headrace:schema:cli:{_stem(command)}",
        "title": f"headrace {command} --json",
    }
    return json.dumps({**head, **body, "title": head["title"]}, indent=2, ensure_ascii=False) + "\n"


def _stem(command: str) -> str:
    return command.replace(" ", "_")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
