"""The command for questions that are asked often: report."""

from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.frame import Call, command
from integration.cli.options import Csv, Form, JsonLines, form
from integration.cli.query import Limit, Timeout, answer
from integration.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from integration.wiring.report import Report

_ENV = ("HEADRACE_STORE__URL",)


def register(app: typer.Typer) -> None:
    """Add report."""
    command(app, "report", example="headrace report pipeline --csv > pipeline.csv", env=_ENV)(report)


def report(
    call: Call,
    name: Annotated[
        str | None, typer.Argument(metavar="[REPORT]", help="Name of a report; all are listed without.")
    ] = None,
    jsonl: JsonLines = False,
    csv: Csv = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of asking it.")] = False,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """Answer a question that is asked often, or list these questions.

    Read-only; works while a worker owns the store. --sql prints the SQL, to be changed and asked with headrace query.
    """
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    from integration.wiring import report as reports

    if name is None:
        if sql:
            raise UsageError("The SQL of which report? headrace report lists them: headrace report pipeline --sql.")
        _list(call, wanted)
    elif sql:
        _show(call, reports.in_words_of_store(call.settings, reports.report(name)), wanted)
    else:
        asked = reports.report(name)
        try:
            answer(call, asked.sql, wanted, limit, timeout, is_ours=True)
        except UsageError as error:
            # The SQL is ours: what does not fit are the objects and fields that this store has.
            raise ConfigError(
                f"The report {name} needs objects or fields that this store does not have ({error}) "
                "headrace schema lists what has been read."
            ) from error


def _list(call: Call, wanted: Form) -> None:
    from integration.wiring.report import reports

    rows = [{"name": one.name, "sentence": one.sentence} for one in reports()]
    if wanted is Form.JSON:
        call.out.document(rows)
    elif wanted is Form.JSON_LINES:
        call.out.lines(rows)
    elif wanted is Form.CSV:
        call.out.csv(["name", "sentence"], rows)
    else:
        call.out.table(["name", "sentence"], rows)


def _show(call: Call, one: "Report", wanted: Form) -> None:
    if wanted is Form.CSV:
        raise UsageError("--sql and --csv exclude each other: give one of them.")
    if wanted is not Form.TABLE:
        call.out.document(one)
        return
    for line in (f"-- {one.sentence}", *one.sql.splitlines()):
        call.out.text(line)
