"""`headrace definitions`: audiences, personas, journeys, cohorts and health, as their files define them."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.entries import moment
from integration.cli.frame import Call, command, group
from integration.cli.options import Csv, Form, JsonLines, form
from integration.cli.output import ago, indented
from integration.cli.query import Limit, Timeout, answer, rows_to_ask
from integration.cli.query import show as print_table
from integration.errors import CheckError

if TYPE_CHECKING:
    from integration.wiring.defining import DefinitionRow

_ENV = ("HEADRACE_DEFINITIONS__FOLDER", "HEADRACE_STORE__URL")
_COLUMNS = ("kind", "name", "title", "members", "since", "last run", "problem")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, or kind/name where several have it.")]


def register(app: typer.Typer) -> None:
    """Add the group `definitions`."""
    added = group(
        app, "definitions", "Look at audiences, personas, journeys, cohorts and health, and at their members."
    )
    command(added, "ls", example="headrace definitions ls", env=_ENV)(ls)
    command(added, "show", example="headrace definitions show overage --sql", env=_ENV)(show)
    command(added, "check", example="headrace definitions check", env=_ENV)(check)
    command(added, "preview", example="headrace definitions preview overage", env=_ENV)(preview)
    command(added, "members", example="headrace definitions members overage --as-of -7d --csv", env=_ENV)(members)


def ls(call: Call) -> None:
    """List what is defined, with how many members each has and what is wrong with it."""
    from integration.wiring import defining

    _print(call, defining.listed(call.settings))


def show(
    call: Call,
    name: Name,
    sql: Annotated[bool, typer.Option("--sql", help="Only its SQL, in the words of the store.")] = False,
) -> None:
    """Show a definition: what its file says, what it speaks of and is spoken of by, and its SQL."""
    from integration.wiring import defining

    shown = defining.shown(call.settings, name)
    if call.json:
        call.out.document(shown)
    elif sql:
        for line in shown.sql.splitlines():
            call.out.text(line)
    else:
        for line in indented({key: value for key, value in asdict(shown).items() if key != "sql"}):
            call.out.text(line)


def check(call: Call) -> None:
    """Read every definition and ask it of the store once, writing nothing; exit code 5 when one can't be used."""
    from integration.wiring import defining

    rows = defining.checked(call.settings)
    _print(call, rows)
    wrong = [row for row in rows if row.problem]
    if wrong:
        raise CheckError(f"{len(wrong)} of {len(rows)} definitions can't be used: mend their files.")


def preview(
    call: Call, name: Name, jsonl: JsonLines = False, csv: Csv = False, limit: Limit = None, timeout: Timeout = 60.0
) -> None:
    """Show who would come, change and go if a definition were worked out now. Writes nothing."""
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    from integration.wiring import defining

    rows = rows_to_ask(wanted, limit)
    print_table(call, defining.preview(call.settings, name, datetime.now(UTC), rows, timeout), wanted, limit)


def members(
    call: Call,
    name: Name,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="As it was at this time: 2026-03-01, -7d.")
    ] = None,
    jsonl: JsonLines = False,
    csv: Csv = False,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """List the members of a definition: since when, with which value or score, and what made it so."""
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    then = None if as_of is None else moment("--as-of", as_of)
    from integration.wiring import defining

    answer(call, defining.members_sql(call.settings, name, then), wanted, limit, timeout)


def _print(call: Call, rows: "list[DefinitionRow]") -> None:
    if form(json=call.json) is Form.JSON:
        call.out.document(rows)
        return
    now = datetime.now(UTC)
    call.out.table(
        list(_COLUMNS),
        [
            {
                "kind": row.kind,
                "name": row.name,
                "title": row.title,
                "members": row.size,
                "since": ago(row.since, now) if row.since else None,
                "last run": ago(row.run_at, now) if row.run_at else None,
                "problem": row.problem,
            }
            for row in rows
        ],
    )
