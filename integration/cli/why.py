"""The command that follows one record: why."""

from typing import Annotated

import typer

from integration.cli.frame import Call, command
from integration.errors import CheckError

_ENV = ("HEADRACE_SALESFORCE__DOMAIN", "HEADRACE_STORE__URL", "HEADRACE_REDIS__URL")
_OUTCOMES = {"stored": "ok", "coming": "on its way", "problem": "PROBLEM", "unknown": "unknown"}


def register(app: typer.Typer) -> None:
    """Add why."""
    command(app, "why", example="headrace why 003000000000001AAA", env=_ENV)(why)


def why(
    call: Call,
    record_id: Annotated[str, typer.Argument(help="Id of a Salesforce record, 15 or 18 characters.")],
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask Salesforce.")] = False,
) -> None:
    """Say where a record is on its way, and why it is not in the store.

    Fields are named, their values never shown. Exit code 5 if the record is missing, stale, or was given up.
    """
    settings = call.settings
    from integration.wiring import why

    report, problem = why.why(settings, record_id, offline=offline)
    if call.json:
        call.out.document(report)
    else:
        call.out.text(f"{report.object} {report.record_id}")
        width = max((len(step.about) for step in report.steps), default=0)
        for step in report.steps:
            call.out.text(f"  {step.about:<{width}}  {step.sentence}")
        call.out.text(f"{_OUTCOMES[report.outcome]}: {report.verdict}")
        if report.remedy:
            call.out.text(f"  -> {report.remedy}")
    if problem is not None:
        raise problem
    if report.outcome in ("problem", "unknown"):
        raise CheckError(f"{report.object} {report.record_id} is not in the store as it should be.")
