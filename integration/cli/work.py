"""The commands that do the work, and those that say how it is going."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from integration.cli.frame import Call, command
from integration.cli.output import plain
from integration.errors import CheckError, SkippedError

_LOGIN = ("HEADRACE_SALESFORCE__DOMAIN", "HEADRACE_SALESFORCE__CONSUMER_KEY", "HEADRACE_SALESFORCE__CONSUMER_SECRET")
_PLACES = ("HEADRACE_STORE__URL", "HEADRACE_REDIS__URL")

_WORDS = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}


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
    call: Call, role: Annotated[Role, typer.Argument(help="Which workers; `all` with a DuckDB store.")] = Role.ALL
) -> None:
    """Poll, consume and answer queries until a signal ends it.

    SIGTERM and Ctrl-C end it after the batch in hand. With --json the totals are printed at the end.
    """
    settings = call.settings
    from integration import wiring

    def ready(url: str | None) -> None:
        call.out.note(f"Running ({role}){f', answering queries at {url}' if url else ''}. Ctrl-C ends it.")

    totals = wiring.run(settings, wiring.Role(role.value), on_ready=ready)
    if call.json:
        call.out.document(totals)


def sync(call: Call) -> None:
    """Bring the store up to date once: poll until caught up, consume until empty.

    For cron and scripts. Exit code 4 says that some records could not be used.
    """
    settings = call.settings
    from integration import wiring

    report = plain(wiring.sync(settings))
    _show(call, report)
    left = _count(report.get("dead_letters")) + _count(report.get("skipped"))
    if left:
        what = "1 record" if left == 1 else f"{left:,} records"
        raise SkippedError(f"Finished, but {what} could not be used: `headrace dlq ls` has the reasons.")


def status(call: Call) -> None:
    """Take one look at everything: objects, streams, store, API calls."""
    settings = call.settings
    from integration import wiring

    _show(call, wiring.status(settings))


def doctor(call: Call) -> None:
    """Say what is wrong with the set-up, and how to put it right.

    Exit code 5 if a check fails; a warning alone is no failure.
    """
    settings = call.settings
    from integration import wiring

    checks = []
    for check in wiring.checks(settings):
        checks.append(check)
        if not call.json:
            remedy = f"  -> {check.remedy}" if check.remedy else ""
            call.out.text(f"{_WORDS[check.state]:<4}  {check.sentence}{remedy}")
    failed = [check for check in checks if check.state == "fail"]
    if call.json:
        call.out.document({"ok": not failed, "checks": checks})
    if failed:
        raise CheckError(f"{len(failed)} of {len(checks)} checks found a problem.")


def _show(call: Call, report: Any) -> None:
    if call.json:
        call.out.document(report)
    else:
        call.out.report(report, datetime.now(UTC))


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else int(value or 0)
