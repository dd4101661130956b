"""The command that reads everything again: backfill."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.frame import Call, command
from integration.cli.output import counted
from integration.cli.progress import with_waits
from integration.errors import SkippedError

if TYPE_CHECKING:
    from integration.wiring.backfill import BackfillProgress, BackfillReport
    from integration.wiring.backfill_report import ObjectPlan

_ENV = (
    "HEADRACE_SALESFORCE__DOMAIN",
    "HEADRACE_SALESFORCE__CONSUMER_KEY",
    "HEADRACE_SALESFORCE__CONSUMER_SECRET",
    "HEADRACE_SALESFORCE__API_BUDGET_PERCENT",
    "HEADRACE_STORE__URL",
    "HEADRACE_REDIS__URL",
)


class Via(StrEnum):
    """How to read."""

    REST = "rest"
    BULK = "bulk"


def register(app: typer.Typer) -> None:
    """Add backfill."""
    command(app, "backfill", example="headrace backfill Contact Account --dry-run", env=_ENV)(backfill)


def backfill(
    call: Call,
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="[OBJECT]...", help="Objects to read; all, if none is named.")
    ] = None,
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="Only what changed since then: 2026-11-22, -7d, yesterday, ..."),
    ] = "",
    via: Annotated[
        Via | None, typer.Option("--via", help="The way to read; by default Bulk for large objects, REST for others.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be read, and what it costs.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an unfinished backfill; begin anew.")] = False,
) -> None:
    """Read objects again from the beginning, through REST or Bulk API 2.0, beside the poll.

    What the store knows stays as it is. Interrupted, the same command goes on from there. Where a worker owns the
    store, it stores what is read. Exit code 4 if something could not be used or read.
    """
    settings = call.settings
    from integration.wiring.backfill import Asked, Way, backfill

    asked = Asked(tuple(objects or ()), since.strip(), Way(via.value) if via is not None else None, restart)
    report = backfill(
        settings,
        asked,
        dry_run=dry_run,
        on_plan=_planned(call),
        on_change=with_waits(call, _line, "Publishing goes on."),
    )
    if call.json:
        call.out.document(report)
    else:
        _print(call, report)
    left = report.dead_letters + len(report.skipped)
    if left:
        raise SkippedError(_left(report))


def _planned(call: Call) -> "Callable[[BackfillReport], None]":
    """Return what shows the plan: as the result of a dry run, else beside the result."""

    def show(report: "BackfillReport") -> None:
        if call.json:
            return
        if report.dry_run:
            call.out.table(
                ("object", "rows", "via", "why", "chunks", "calls"),
                [
                    {
                        "object": one.object,
                        "rows": one.rows,
                        "via": one.via,
                        "why": one.reason,
                        "chunks": one.chunks,
                        "calls": one.calls,
                    }
                    for one in report.objects
                ],
            )
            call.out.text(_cost(report))
            return
        if report.is_resumed:
            call.out.note("Going on with the backfill that was begun before; --restart would begin anew.")
        for one in report.objects:
            call.out.note(f"  {_plan_line(one)}")
        call.out.note(_cost(report))

    return show


def _plan_line(one: "ObjectPlan") -> str:
    rows = "an unknown number of rows" if one.rows is None else counted(one.rows, "row")
    read = f", {one.rows_before:,} of them read" if one.rows_before else ""
    jobs = f", {counted(one.chunks, 'job')}" if one.via == "bulk" else ""
    way = "Bulk" if one.via == "bulk" else "REST"
    first = "; polling will go on from here" if one.is_first else ""
    return f"{one.object}: {rows}{read}, through {way} ({one.reason.rstrip('.')}){jobs}{first}"


def _cost(report: "BackfillReport") -> str:
    share = f", {report.share_of_budget:.2g} % of the day's API budget" if report.share_of_budget is not None else ""
    unknown = " and those of what could not be counted" if any(one.calls is None for one in report.objects) else ""
    return f"About {counted(report.calls_estimated, 'API call')}{unknown}{share}."


def _print(call: Call, report: "BackfillReport") -> None:
    if not report.dry_run:
        rows = [
            {"object": one.object, "via": one.via, "rows_read": one.rows_read, "published": one.published}
            for one in report.objects
        ]
        if rows:
            call.out.table(("object", "via", "rows_read", "published"), rows)
        call.out.text(_sentence(report))
    for sentence in (*report.skipped, *report.notes):
        call.out.note(sentence)


def _sentence(report: "BackfillReport") -> str:
    used = f" ({report.api_usage[0]:,} of {report.api_usage[1]:,} of the day)" if report.api_usage else ""
    became = (
        f"{report.captures_new:,} new to the store, {report.captures_known:,} known to it"
        if report.captures_new is not None and report.captures_known is not None
        else f"stored by {report.stored_by}"
    )
    dead = f", {counted(report.dead_letters, 'dead letter')}" if report.dead_letters else ""
    return (
        f"{counted(report.records_read, 'row')} read, {report.captures_published:,} published: {became}{dead}; "
        f"{counted(report.api_calls, 'API call')}{used}."
    )


def _left(report: "BackfillReport") -> str:
    commands = [f"`headrace dlq ls {stream}`" for stream in report.dead_letters_by_stream]
    where = f"{' and '.join(commands)} shows the reasons" if commands else "the reasons stand above"
    if not report.dead_letters:
        return f"Finished, but not everything could be read: {where}."
    return f"Finished, but {counted(report.dead_letters, 'record')} could not be used: {where}."


def _line(progress: "BackfillProgress") -> str:
    if progress.is_read:
        return f"everything is read; {counted(progress.lag, 'entry')} left to be stored"
    total = f" of {progress.object_total:,}" if progress.object_total is not None else ""
    left = f", {_duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    return (
        f"{progress.object}: {progress.object_rows:,}{total} rows; {progress.per_second:,.0f} rows a second{left}; "
        f"{progress.lag:,} waiting in the streams"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
