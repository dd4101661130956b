"""The command for questions that are asked often: report."""

from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli import pictures
from integration.cli.frame import Call, command
from integration.cli.options import PICTURES, Csv, Form, JsonLines, Png, Svg, form, put
from integration.cli.query import Limit, Timeout, ask, rows_to_ask, show
from integration.errors import ConfigError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

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
    svg: Svg = None,
    png: Png = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of asking it.")] = False,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """Answer a question that is asked often, or list these questions.

    Read-only; works while a worker owns the store. --sql prints the SQL, to be changed and asked with headrace query.
    With --svg and --png, --limit says how many bars there may be.
    """
    wanted = form(json=call.json, jsonl=jsonl, csv=csv, svg=svg, png=png)
    if sql and wanted in (Form.CSV, *PICTURES):
        raise UsageError(f"--sql and --{wanted} exclude each other: give one of them.")
    from integration.wiring import report as reports

    if name is None:
        if sql:
            raise UsageError("The SQL of which report? headrace report lists them: headrace report pipeline --sql.")
        if wanted in PICTURES:
            raise UsageError(f"The picture of which report? Name one: headrace report pipeline --{wanted} FILE.")
        _list(call, wanted)
    elif sql:
        _show(call, reports.in_words_of_store(call.settings, reports.report(name)), wanted)
    elif wanted in PICTURES:
        one = reports.report(name)
        drawing = pictures.Drawing(wanted, svg or png or "", one.sentence, one.picture, f"headrace report {name}")
        drawing.how()
        pictures.draw(call, drawing, _answer(call, one, None, timeout), limit)
    else:
        show(call, _answer(call, reports.report(name), rows_to_ask(wanted, limit), timeout), wanted, limit)


def _answer(call: Call, one: "Report", rows: int | None, timeout: float) -> "pa.Table":
    from integration.wiring.report import fitted

    try:
        return ask(call, lambda store: store.compiled(fitted(store, one).sql), rows, timeout)
    except UsageError as error:
        # The SQL is ours: what does not fit are the objects and fields that this store has.
        raise ConfigError(
            f"The report {one.name} needs objects or fields that this store does not have ({error}) "
            "headrace schema lists what has been read."
        ) from error


def _list(call: Call, wanted: Form) -> None:
    from integration.wiring.report import reports

    rows = [{"name": one.name, "sentence": one.sentence} for one in reports()]
    put(call.out, wanted, ["name", "sentence"], rows)


def _show(call: Call, one: "Report", wanted: Form) -> None:
    if wanted is not Form.TABLE:
        call.out.document(one)
        return
    for line in (f"-- {one.sentence}", f"-- Picture: {one.picture}", *one.sql.splitlines()):
        call.out.text(line)
