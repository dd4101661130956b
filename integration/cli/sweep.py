"""The command that proves the store right: sweep."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.frame import Call, command
from integration.errors import CheckError

if TYPE_CHECKING:
    from integration.wiring.sweep import SweepProgress, SweepReport

_COLUMNS = ("object", "source", "store", "missing", "stale", "ghosts", "repaired", "calls")
_SECONDS_BETWEEN_LINES = 0.5
_ENV = (
    "HEADRACE_SALESFORCE__DOMAIN",
    "HEADRACE_SALESFORCE__CONSUMER_KEY",
    "HEADRACE_SALESFORCE__CONSUMER_SECRET",
    "HEADRACE_STORE__URL",
    "HEADRACE_REDIS__URL",
)


def register(app: typer.Typer) -> None:
    """Add sweep."""
    command(app, "sweep", example="headrace sweep Contact Account --dry-run", env=_ENV)(sweep)


def sweep(
    call: Call,
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="[OBJECT]...", help="Objects to compare; all, if none is named.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs; repair nothing.")] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Mark the records of an object as deleted though it shows none at all any more."
        ),
    ] = False,
) -> None:
    """Compare every record of source and store, and repair what differs.

    Catches up first, as sync does. A worker that owns the store does it itself when asked; Ctrl-C leaves it at work.
    Exit code 5 if something differs that was not repaired, with --dry-run if anything differs.
    """
    settings = call.settings
    from integration.wiring.sweep import sweep

    report = sweep(settings, objects or (), dry_run=dry_run, accept_loss=accept_loss, on_change=_progress(call))
    if call.json:
        call.out.document(_document(report))
    else:
        _print(call, report)
    if not report.is_equal:
        raise CheckError(_verdict(report))


def _print(call: Call, report: "SweepReport") -> None:
    rows = [
        {
            "object": one.object,
            "source": one.source_count,
            "store": one.store_count,
            "missing": one.missing,
            "stale": one.stale,
            "ghosts": one.ghosts,
            "repaired": one.repaired,
            "calls": one.api_calls,
        }
        for one in report.objects
    ]
    total: dict[str, Any] = {"object": "total"}
    call.out.table(_COLUMNS, [*rows, total | {c: sum(row[c] for row in rows) for c in _COLUMNS[1:]}])  # type: ignore[misc]
    call.out.text(report.sentence)
    for sentence in _remarks(report):
        call.out.note(sentence)


def _document(report: "SweepReport") -> dict[str, Any]:
    from integration.cli.output import plain

    return {**plain(report), "sentence": report.sentence, "equal": report.is_equal}


def _remarks(report: "SweepReport") -> list[str]:
    left = sum(one.left_to_poll for one in report.objects)
    remarks = [sentence for one in report.objects for sentence in one.trouble]
    if left:
        remarks.append(f"{left:,} records were being changed all the while: the next poll brings them.")
    return remarks


def _verdict(report: "SweepReport") -> str:
    unrepaired = report.differing - report.repaired
    if report.dry_run and unrepaired:
        return f"{_records(unrepaired)} not equal; --dry-run repairs nothing, headrace sweep does."
    if unrepaired:
        return f"{_records(unrepaired)} not equal and could not be repaired; --json lists them with the reasons."
    return "Not everything could be compared; the reasons stand above."


def _records(count: int) -> str:
    return "1 record is" if count == 1 else f"{count:,} records are"


def _progress(call: Call) -> "Callable[[SweepProgress], None]":
    last = 0.0

    def show(progress: "SweepProgress") -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            counts = f": {progress.compared:,} records compared, {progress.differing:,} to look at again"
            call.out.progress(f"  {progress.phase}{counts if progress.compared else ''}")

    return show
