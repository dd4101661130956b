"""The command that takes what was captured through flattening again: replay."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.frame import Call, command
from integration.cli.progress import now_and_then
from integration.errors import SkippedError

if TYPE_CHECKING:
    from integration.wiring.replay import Plan, ReplayProgress

_COLUMNS = ("object", "records", "captures", "first", "last")
_ENV = ("HEADRACE_STORE__URL", "HEADRACE_REDIS__URL", "HEADRACE_IDENTITY__MATCH_EMAIL")


class Source(StrEnum):
    """Where the captures come from."""

    ARCHIVE = "archive"
    STREAM = "stream"


def register(app: typer.Typer) -> None:
    """Add replay."""
    command(app, "replay", example="headrace replay --object Contact --from -7d --dry-run", env=_ENV)(replay)


def replay(
    call: Call,
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Only records with a capture stored since then: -7d, ...")
    ] = "",
    until: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Only records with a capture stored before then.")
    ] = "",
    objects: Annotated[
        list[str] | None, typer.Option("--object", metavar="NAME", help="An object to replay; may be given again.")
    ] = None,
    source: Annotated[
        Source,
        typer.Option("--source", help="The archive in the store; or the streams, for a store restored from a copy."),
    ] = Source.ARCHIVE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be replayed.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an unfinished replay; begin anew.")] = False,
) -> None:
    """Derive records, events and people anew from what was captured, under the settings of now.

    Salesforce is not asked, and what is as it should be is not written. Without a choice of objects or times, changed
    names, enrichments and identity settings take effect everywhere. Interrupted, the same command goes on from there.
    Exit code 4 if records were left as they are.
    """
    settings = call.settings
    from integration.wiring.replay import Asked, replay

    asked = Asked(source.value, since.strip(), until.strip(), tuple(objects or ()))
    report = replay(
        settings,
        asked,
        dry_run=dry_run,
        restart=restart,
        on_plan=_planned(call, dry_run),
        on_change=now_and_then(call, _line),
    )
    if report is None:
        return
    if call.json:
        call.out.document(report)
    else:
        call.out.text(report.sentence)
        for sentence in report.skipped:
            call.out.note(sentence)
    if report.skipped:
        count = len(report.skipped)
        what = "1 record was left as it is" if count == 1 else f"{count:,} records were left as they are"
        raise SkippedError(f"Finished, but {what}: the reasons stand above (with --json, in it).")


def _planned(call: Call, dry_run: bool) -> "Callable[[Plan], None]":
    """Return what shows the plan: as the result of a dry run, else beside the result."""

    def show(plan: "Plan") -> None:
        if call.json:
            if dry_run:
                call.out.document(plan)
            return
        say = call.out.text if dry_run else call.out.note
        if dry_run and plan.objects:
            call.out.table(
                _COLUMNS,
                [
                    {
                        "object": one.object,
                        "records": one.records,
                        "captures": one.captures,
                        "first": one.first,
                        "last": one.last,
                    }
                    for one in plan.objects
                ],
            )
        else:
            for one in plan.objects:
                records = f"{one.records:,} records, " if one.records is not None else ""
                call.out.note(f"  {one.object}: {records}{one.captures:,} captures, {one.first} to {one.last}")
        say(_summary(plan))
        if plan.goes_on is not None:
            call.out.note(
                f"Going on with a replay that was begun before, at {plan.goes_on}; --restart would begin anew."
            )

    return show


def _summary(plan: "Plan") -> str:
    what = "captures stored" if plan.source == "archive" else "entries taken by Redis"
    bounds = [f"{word} {moment}" for word, moment in (("from", plan.since), ("until", plan.until)) if moment]
    times = f" with {what} {' '.join(bounds)}" if bounds else ""
    if not plan.objects:
        return f"Nothing to replay: there is nothing{times}."
    captures = sum(one.captures for one in plan.objects)
    if plan.source == "stream":
        return f"{captures:,} entries lie in {len(plan.objects)} streams{times}."
    forgotten = (
        f" What was captured before {plan.archive_from} was forgotten (archive.days)." if plan.archive_from else ""
    )
    return f"{plan.records:,} records{times}, {captures:,} captures in all.{forgotten}"


def _line(progress: "ReplayProgress") -> str:
    if not progress.done or (progress.total and progress.done >= progress.total):
        return progress.phase
    total = f" of {progress.total:,}" if progress.total else ""
    left = f", {_duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    return f"{progress.phase}: {progress.done:,}{total} records; {progress.per_second:,.0f} a second{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
