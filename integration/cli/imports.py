"""The command that takes product events out of files: import."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.frame import Call, command
from integration.cli.output import counted
from integration.cli.progress import with_waits
from integration.core.kinds import CallType, Format
from integration.errors import SkippedError, UsageError

if TYPE_CHECKING:
    from integration.wiring.event_files import Reading
    from integration.wiring.imports import ImportProgress, ImportReport

_ENV = ("HEADRACE_REDIS__URL", "HEADRACE_STORE__URL", "HEADRACE_STREAMS__HIGH_WATER")
_MOST_NAMES = 20


def register(app: typer.Typer) -> None:
    """Add import."""
    command(app, "import", example="headrace import events.jsonl.gz --dry-run", env=_ENV)(import_)


def import_(
    call: Call,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSON Lines, CSV or Parquet; - for stdin.")],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="What the files are, where their names do not tell.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="FIELD=COLUMN", help="Which column is a field: event=event_name. Repeatable."),
    ] = None,
    kind: Annotated[
        CallType, typer.Option("--type", help="What those are who do not tell their type.")
    ] = CallType.TRACK,
    event: Annotated[str, typer.Option("--event", metavar="NAME", help="The event of those who tell none.")] = "",
    rejected: Annotated[
        Path | None, typer.Option("--rejected", metavar="NEW", help="Write what can't be used into this new file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read, and say what would be imported.")] = False,
) -> None:
    """Take product events of the past out of files.

    Every event comes in once, however often its file is imported. Exit code 4 if something can't be used.
    """
    settings = call.settings
    call.after_interrupt = (
        "import the same files again, from their beginning: every event comes in once"
        f"{f'. {rejected} has to be removed before' if rejected is not None else ''}"
    )
    from integration.wiring.event_files import Reading
    from integration.wiring.imports import Asked, import_events

    defaults = {"type": kind.value} | ({"event": event} if event else {})
    reading = Reading(file_format, _columns(column or []), defaults)
    report = import_events(
        settings,
        Asked(files, reading, rejected),
        dry_run=dry_run,
        on_change=with_waits(call, _line, "Importing goes on."),
    )
    if call.json:
        call.out.document(report)
    else:
        _print(call, report, reading)
    if report.refused or report.dead_letters:
        raise SkippedError(_left(report, rejected))


def _columns(given: list[str]) -> dict[str, str]:
    from integration.core.rows import FIELDS, field_of

    found: dict[str, str] = {}
    for text in given:
        word, equals, column = text.partition("=")
        field = field_of(word)
        if not equals or field is None:
            raise UsageError(
                f"--column {text} does not say which column is a field: write FIELD=COLUMN, with one of "
                f"{', '.join(FIELDS)}."
            )
        if found.get(field, column) != column:
            raise UsageError(f"--column names both {found[field]} and {column} for {field}: leave one of them out.")
        found[field] = column
    return found


def _print(call: Call, report: "ImportReport", reading: "Reading") -> None:
    shown = report.by_name[:_MOST_NAMES]
    if shown:
        rows = [{"name": one.name, "events": one.events, "first": one.first, "last": one.last} for one in shown]
        call.out.table(("name", "events", "first", "last"), rows)
    if len(report.by_name) > len(shown):
        call.out.note(f"There are {len(report.by_name) - len(shown):,} more names: --json lists them.")
    call.out.text(_sentence(report))
    for one in report.reasons:
        place = "row" if reading.format_of(one.file) is Format.PARQUET else "line"
        call.out.note(f"{one.file}, {place} {one.line:,}: {one.reason}")
    if report.refused > len(report.reasons):
        call.out.note(f"... and {report.refused - len(report.reasons):,} more.")


def _sentence(report: "ImportReport") -> str:
    read = f"{counted(report.rows, 'row')} read, {counted(report.events, 'event')}"
    refused = f", {report.refused:,} refused" if report.refused else ""
    if report.dry_run:
        return f"{read}{refused}; nothing was imported."
    if report.stored is None:
        return f"{read}{refused}: {report.published:,} published, to be stored by {report.stored_by}."
    dead = f", {counted(report.dead_letters, 'dead letter')}" if report.dead_letters else ""
    known = max(report.events - report.stored - report.dead_letters, 0)
    return f"{read}{refused}: {report.stored:,} new to the store, {known:,} known to it{dead}."


def _left(report: "ImportReport", rejected: Path | None) -> str:
    stored = "not everything could be stored: headrace dlq ls product.events shows the reasons"
    if not report.refused:
        return f"Finished, but {stored}."
    remedy = f"{rejected} has the rest" if rejected is not None else "--rejected NEW writes out the rest"
    refused = f"{report.refused:,} refused"
    used = f"not everything can be used ({refused}): {remedy}; corrected, it can be imported alone"
    return f"Finished, but {used}." if not report.dead_letters else f"Finished, but {used}. And {stored}."


def _line(progress: "ImportProgress") -> str:
    left = f", {progress.waiting:,} waiting to be stored" if progress.waiting is not None else ""
    return f"{progress.rows:,} rows read, {progress.published:,} events published{left}"
