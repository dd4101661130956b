"""The command for people as they were: users."""

from typing import Annotated

import typer

from integration.cli.entries import moment
from integration.cli.frame import Call, command
from integration.cli.options import Csv, JsonLines, form
from integration.cli.query import Limit, Timeout, answer
from integration.errors import UsageError

_ENV = ("HEADRACE_STORE__URL",)


def register(app: typer.Typer) -> None:
    """Add users."""
    example = "headrace users --as-of 2026-03-01 --columns sfdc_account_arr,sfdc_contact_title --csv > then.csv"
    command(app, "users", example=example, env=_ENV)(users)


def users(
    call: Call,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="As they were at this time: 2026-03-01, -7d, now.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="EVENT", help="As they were at each product event of this name: 'Sign Up'."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B", help="Only these properties; all of them without.")
    ] = None,
    jsonl: JsonLines = False,
    csv: Csv = False,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """Show people as they were: at one time, a row for each, or at each event of your product, a row for each of those.

    Fewer columns take less time. Works while a worker owns the store; asks Salesforce nothing.
    """
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    if (as_of is None) == (at is None):
        raise UsageError("When? Give one of --as-of TIME and --at EVENT; as they are now: headrace sql, table users.")
    named = None if columns is None else [name for one in columns.split(",") if (name := one.strip())]
    if named == []:
        raise UsageError("--columns names no property: headrace schema lists them all.")
    then = None if as_of is None else moment("--as-of", as_of)
    from integration.wiring import as_of as past

    settings = call.settings
    sql = past.at_events(settings, at, named) if then is None else past.as_of(settings, then, named)
    answer(call, sql, wanted, limit, timeout)
