"""The command for how many come how far on a way of steps: funnel."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from integration.cli.entries import moment
from integration.cli.frame import Call, command
from integration.cli.options import Csv, Form, JsonLines, form, put
from integration.cli.query import Timeout, ask
from integration.errors import UsageError

_ENV = ("HEADRACE_STORE__URL", "HEADRACE_DEFINITIONS__FOLDER")
_COLUMNS = ["step", "name", "reached", "of_first", "of_previous", "median_seconds"]
_UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def register(app: typer.Typer) -> None:
    """Add funnel."""
    command(app, "funnel", example="headrace funnel activation --as-of 2026-03-01", env=_ENV)(funnel)


def funnel(
    call: Call,
    name: Annotated[
        str | None, typer.Argument(metavar="[FUNNEL]", help="Name of a funnel; all are listed without.")
    ] = None,
    as_of: Annotated[
        str, typer.Option("--as-of", metavar="TIME", help="As it was at this time: 2026-03-01, -7d, now.")
    ] = "now",
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only of those who begin from this time on.")
    ] = None,
    jsonl: JsonLines = False,
    csv: Csv = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of asking it.")] = False,
    timeout: Timeout = 60.0,
) -> None:
    """Show how many come how far on a way of steps that a file of yours defines, or list these ways.

    Read-only; works while a worker owns the store. Shares are of the first step and of the step before; times are the
    median from the step before.
    """
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    if sql and (wanted is not Form.TABLE or name is None):
        raise UsageError("--sql prints the SQL of one funnel as text: give its name, and no --json, --jsonl or --csv.")
    until, begin = moment("--as-of", as_of), None if since is None else moment("--since", since)
    if begin is not None and begin > until:
        raise UsageError("--since lies after --as-of: nobody can have begun then.")
    settings = call.settings
    from integration.store import answers
    from integration.wiring import funnel as funnels
    from integration.wiring.defining import in_words_of_store

    if name is None:
        rows = [{"name": one, "title": title} for one, title in funnels.funnels(settings)]
        if rows or wanted is not Form.TABLE:
            put(call.out, wanted, ["name", "title"], rows)
        else:
            call.out.note(f"No funnel is defined: put one into {settings.definitions.folder}/funnels.")
        return
    select = funnels.select(settings, name, until, begin)
    if sql:
        for line in in_words_of_store(settings, select).splitlines():
            call.out.text(line)
        return
    rows = answers.rows(ask(call, lambda store: store.compiled(select), None, timeout))
    if wanted is Form.TABLE:
        put(call.out, wanted, [*_COLUMNS[:-1], "median"], [_readable(row) for row in rows])
    else:
        put(call.out, wanted, _COLUMNS, rows)


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    shares = {name: None if row[name] is None else f"{row[name]:.1%}" for name in ("of_first", "of_previous")}
    return {**row, **shares, "median": None if row["median_seconds"] is None else lasting(row["median_seconds"])}


def lasting(seconds: float) -> str:
    """Say how long something lasts: `3.5 days`, `12.0 minutes`."""
    length, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    return f"{seconds / length:.1f} {unit}"
