"""The command that moves a store to another one: migrate."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.frame import Call, command
from integration.cli.progress import now_and_then
from integration.errors import CheckError, SkippedError, UsageError

if TYPE_CHECKING:
    from integration.wiring.migrate import MigratePlan, MigrateProgress, MigrateReport

_UNITS = {"copy": "rows", "compare": "rows", "replay": "records"}


def register(app: typer.Typer) -> None:
    """Add migrate."""
    example = "headrace migrate --to postgresql://headrace@db.example.com/headrace --to-password-file password.txt"
    command(app, "migrate", example=example, env=("HEADRACE_STORE__URL", "HEADRACE_STORE__PASSWORD"))(migrate)


def migrate(
    call: Call,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="ADDRESS", help="The new store: duckdb:///..., postgresql://... or clickhouse://..."
        ),
    ],
    password_file: Annotated[
        Path | None,
        typer.Option("--to-password-file", metavar="FILE", help="File with the new store's password, on one line."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be copied.")] = False,
) -> None:
    """Copy the store to another one, whatever keeps it, and prove the two equal.

    No worker may have either of them open. Everything in the new store is derived anew from its captures, which must
    change nothing, and every row of every table is compared. Interrupted, the same command goes on from there. Exit
    code 5 if anything differs; 4 if records were left as they are.
    """
    settings = call.settings
    password = _password(password_file)
    from integration.wiring.migrate import migrate, target_of

    target = target_of(settings, to, password)
    report = migrate(
        settings, target, dry_run=dry_run, on_plan=_planned(call, dry_run), on_change=now_and_then(call, _line)
    )
    if report is None:
        return
    if call.json:
        call.out.document(report)
    else:
        _print(call, report)
    if not report.equal:
        # With --json the whole story is in the document; without, it stands here alone.
        raise CheckError(report.sentence)
    if report.skipped:
        count = len(report.skipped)
        what = "1 record as it is" if count == 1 else f"{count:,} records as they are"
        raise SkippedError(
            f"The stores are equal, but the replay left {what}: the reasons stand above (with --json, in it)."
        )


def _print(call: Call, report: "MigrateReport") -> None:
    call.out.table(
        ("table", "source_rows", "target_rows", "differing"),
        [
            {
                "table": one.table,
                "source_rows": one.source_rows,
                "target_rows": one.target_rows,
                "differing": one.differing,
            }
            for one in report.tables
        ],
    )
    if report.equal:
        call.out.text(report.sentence)
    for sentence in (*report.notes, *report.skipped):
        call.out.note(sentence)


def _planned(call: Call, dry_run: bool) -> "Callable[[MigratePlan], None]":
    """Return what shows the plan: as the result of a dry run, else beside the result."""

    def show(plan: "MigratePlan") -> None:
        if call.json:
            if dry_run:
                call.out.document(plan)
            return
        if dry_run:
            call.out.table(("table", "rows"), [{"table": one.table, "rows": one.rows} for one in plan.tables])
        say = call.out.text if dry_run else call.out.note
        say(f"{plan.rows:,} rows in {len(plan.tables)} tables, from {plan.source} to {plan.target}.")
        if plan.goes_on is not None:
            call.out.note(f"Going on with a migration that was begun before, at {plan.goes_on}.")

    return show


def _line(progress: "MigrateProgress") -> str:
    what = f"{progress.stage} {progress.phase}".rstrip()
    if not progress.done or (progress.total and progress.done >= progress.total):
        return what
    total = f" of {progress.total:,}" if progress.total else ""
    left = f", {progress.seconds_left:,.0f} s left" if progress.seconds_left is not None else ""
    return f"{what}: {progress.done:,}{total} {_UNITS[progress.stage]}; {progress.per_second:,.0f} a second{left}"


def _password(file: Path | None) -> str | None:
    """Return the line in a file. Raises UsageError."""
    if file is None:
        return None
    try:
        lines = file.read_text("utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The file {file} can't be read: {reason}.") from None
    if len(lines) != 1:
        raise UsageError(f"The file {file} has to hold the password and nothing else, on one line.")
    return lines[0]
