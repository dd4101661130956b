"""The commands that do the work, and those that say how it is going."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.frame import Call, command
from integration.cli.progress import progress_lines
from integration.errors import CheckError, SkippedError

if TYPE_CHECKING:
    from integration.wiring.sync import SyncReport

_LOGIN = ("HEADRACE_SALESFORCE__DOMAIN", "HEADRACE_SALESFORCE__CONSUMER_KEY", "HEADRACE_SALESFORCE__CONSUMER_SECRET")
_PLACES = ("HEADRACE_STORE__URL", "HEADRACE_REDIS__URL")

_WORDS = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}


class FailOn(StrEnum):
    """What of a status counts as a problem."""

    LATE = "late"
    DEAD = "dead"


class Role(StrEnum):
    """Which workers a process runs."""

    ALL = "all"
    POLLER = "poller"
    CONSUMER = "consumer"
    WEB = "web"


def register(app: typer.Typer) -> None:
    """Add run, sync, status and doctor."""
    command(app, "run", example="headrace run", env=(*_LOGIN, *_PLACES, "HEADRACE_POLL__INTERVAL_SECONDS"))(run)
    command(app, "sync", example="headrace sync --json", env=(*_LOGIN, *_PLACES))(sync)
    command(app, "status", example="headrace status --json", env=_PLACES)(status)
    command(app, "doctor", example="headrace doctor", env=(*_LOGIN, *_PLACES))(doctor)


def run(
    call: Call,
    role: Annotated[Role, typer.Argument(help="Which workers; `all` with a DuckDB store.")] = Role.ALL,
    standby: Annotated[
        bool, typer.Option("--standby", help="Wait while another worker is at work, and take over when it ends.")
    ] = False,
) -> None:
    """Poll, consume and answer queries until a signal ends it.

    SIGTERM and Ctrl-C end it after the batch in hand. With --json the totals are printed at the end.
    """
    settings = call.settings
    from integration.wiring import run as working

    def ready(url: str) -> None:
        what = {Role.POLLER: "probes", Role.WEB: "queries and taking events"}.get(role, "queries")
        call.out.note(f"Running ({role}), answering {what} at {url}. Ctrl-C ends it.")

    progress = working.run(settings, working.Role(role.value), standby=standby, on_ready=ready)
    if call.json:
        call.out.document(progress.totals())
    if progress.interrupted:
        raise KeyboardInterrupt


def sync(call: Call) -> None:
    """Bring the store up to date once: poll until caught up, consume until empty.

    For cron and scripts. Exit code 4 says that some records could not be used.
    """
    settings = call.settings
    from integration.wiring.sync import sync

    report = sync(settings, progress_lines(call))
    if call.json:
        call.out.document(report)
    else:
        _print_sync(call, report)
    left = report.dead_letters + len(report.skipped)
    if left:
        what = "1 record" if left == 1 else f"{left:,} records"
        raise SkippedError(f"Finished, but {what} could not be used: {_reasons(report)}.")


def _print_sync(call: Call, report: "SyncReport") -> None:
    used = f" ({report.api_usage[0]:,} of {report.api_usage[1]:,} of the day)" if report.api_usage else ""
    call.out.text(
        f"{report.records_read:,} records read, {report.captures_stored:,} of them new; {report.events_written:,} "
        f"events and {report.users_written:,} people written; {report.api_calls:,} API calls{used}."
    )
    rows = [{"object": name, "records_read": count} for name, count in report.by_object.items() if count]
    if rows:
        call.out.table(["object", "records_read"], rows)
    for sentence in (*report.not_watched.values(), *report.skipped, *report.notes):
        call.out.note(sentence)


def _reasons(report: "SyncReport") -> str:
    commands = [f"`headrace dlq ls {stream}`" for stream in report.dead_letters_by_stream]
    return f"{' and '.join(commands)} shows the reasons" if commands else "the reasons stand above"


def status(
    call: Call,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option("--fail-on", help="Exit with 5 if an object is late, or there are dead letters. Repeatable."),
    ] = None,
) -> None:
    """Take one look at everything: objects, streams, store.

    Exit code 3 if Redis or the store can't be reached.
    """
    settings = call.settings
    from integration.wiring.status import status

    report, problem = status(settings)
    summary = report["summary"]
    if call.json:
        call.out.document(report)
    else:
        call.out.report({name: part for name, part in report.items() if name != "summary"}, datetime.now(UTC))
        if problem is None:
            call.out.text("")
            call.out.text(f"{summary['sentence'][:1].upper()}{summary['sentence'][1:]}.")
    if problem is not None:
        raise problem
    if FailOn.LATE in (fail_on or ()) and summary["late"]:
        hint = next(one["hint"] for one in report["objects"] if one["state"] == "late")
        raise CheckError(f"Late: {', '.join(summary['late'])}. What to do: {hint}.")
    if FailOn.DEAD in (fail_on or ()) and summary["dead_letters"]:
        raise CheckError(f"Dead letters: {summary['dead_letters']:,}. headrace dlq ls shows them.")


def doctor(
    call: Call, offline: Annotated[bool, typer.Option("--offline", help="Do not ask Salesforce.")] = False
) -> None:
    """Say what is wrong with the set-up, and how to put it right.

    Exit code 5 if a check fails; a warning alone is no failure.
    """
    settings = call.settings
    from integration.wiring import doctor

    checks = []
    for check in doctor.checks(settings, offline=offline):
        checks.append(check)
        if not call.json:
            remedy = f"  -> {check.remedy}" if check.remedy else ""
            call.out.text(f"{_WORDS[check.state]:<4}  {check.sentence}{remedy}")
    failed = [check for check in checks if check.state == "fail"]
    if call.json:
        call.out.document({"ok": not failed, "checks": checks})
    if failed:
        raise CheckError(f"{len(failed)} of {len(checks)} checks found a problem.")
