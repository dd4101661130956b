"""The command that proves the store right: sweep."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.frame import Call, command
from integration.cli.progress import now_and_then
from integration.errors import CheckError

if TYPE_CHECKING:
    from integration.wiring.sweep import SweepProgress, SweepReport

_COLUMNS = ("object", "source", "store", "missing", "stale", "ghosts", "repaired", "calls")
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

    report = sweep(
        settings, objects or (), dry_run=dry_run, accept_loss=accept_loss, on_change=now_and_then(call, _line)
    )
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


def _line(progress: "SweepProgress") -> str:
    counts = f": {progress.compared:,} records compared, {progress.differing:,} to look at again"
    return f"{progress.phase}{counts if progress.compared else ''}"
