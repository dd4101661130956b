"""The commands that ask: sql, query, schema."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli import pictures
from integration.cli.frame import Call, command
from integration.cli.options import PICTURES, Csv, Form, JsonLines, Png, Svg, form, put
from integration.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from integration.store.protocol import Queryable

TABLE_LIMIT = 1000
"""Rows that a table shows unless --limit says otherwise; JSON and CSV have no limit of their own."""

_ENV = ("HEADRACE_STORE__URL",)

Limit = Annotated[
    int | None,
    typer.Option("--limit", min=0, help=f"At most this many rows; 0: all. A table shows {TABLE_LIMIT:,} unless told."),
]

Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Give up after this many seconds.")
]


def register(app: typer.Typer) -> None:
    """Add sql, query and schema."""
    example = 'headrace sql "select name, count(*) as n from events group by name order by n desc"'
    command(app, "sql", example=example, env=_ENV)(sql)
    command(app, "query", example="headrace query report.sql --csv > report.csv", env=_ENV)(query)
    command(app, "schema", example="headrace schema --json", env=_ENV)(schema)


def sql(
    call: Call,
    statement: Annotated[str, typer.Argument(help="One SELECT; `-` reads it from standard input.")],
    jsonl: JsonLines = False,
    csv: Csv = False,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """Ask the store in SQL, read-only; works while a worker owns it.

    --json prints a list with one object per row.
    """
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    text = _read(Path(statement)) if statement == "-" else statement
    show(call, ask(call, as_it_stands(text), rows_to_ask(wanted, limit), timeout), wanted, limit)


def query(
    call: Call,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File with one SELECT; `-` is standard input.")],
    jsonl: JsonLines = False,
    csv: Csv = False,
    svg: Svg = None,
    png: Png = None,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """Ask the store with the SQL in a file, read-only; works while a worker owns it.

    A picture is drawn as the second line of the file says it, as in what headrace report --sql prints.
    """
    wanted = form(json=call.json, jsonl=jsonl, csv=csv, svg=svg, png=png)
    text = _read(file)
    if wanted in PICTURES:
        from integration.wiring.report import header

        sentence, told, _ = header(text)
        drawing = pictures.Drawing(wanted, svg or png or "", sentence, told)
        drawing.how()
        pictures.draw(call, drawing, ask(call, as_it_stands(text), None, timeout), limit)
    else:
        show(call, ask(call, as_it_stands(text), rows_to_ask(wanted, limit), timeout), wanted, limit)


def schema(call: Call) -> None:
    """List objects and fields with the property and the type each became."""
    settings = call.settings
    from integration.wiring.catalog import catalog

    rows = catalog(settings)
    if call.json:
        call.out.document(rows)
    elif not rows:
        call.out.note("No object has been read yet: run headrace sync first.")
    else:
        call.out.table(list(dict.fromkeys(key for row in rows for key in row)), rows)


def as_it_stands(statement: str) -> "Callable[[Queryable], str]":
    """Return how a statement of somebody else is put to a store. Raises UsageError if there is none."""
    if not statement.strip():
        raise UsageError('There is no SQL to run: give a statement, e.g. headrace sql "select * from users".')
    return lambda _store: statement


def rows_to_ask(wanted: Form, limit: int | None) -> int | None:
    """Return how many rows to ask for; None for all. One more than is shown tells whether there are more."""
    shown = _shown(wanted, limit)
    return shown + 1 if shown else None


def ask(call: Call, statement: "Callable[[Queryable], str]", rows: int | None, timeout: float) -> "pa.Table":
    """Return what the store answers; `statement` is told which store it is."""
    from integration.wiring.reading import reader

    with reader(call.settings) as store:
        return store.query(statement(store), limit=rows, timeout_seconds=timeout)


def answer(call: Call, statement: str, wanted: Form, limit: int | None, timeout: float) -> None:
    """Ask a statement of headrace's own, put into the store's dialect, and print what it says."""
    show(call, ask(call, lambda store: store.compiled(statement), rows_to_ask(wanted, limit), timeout), wanted, limit)


def show(call: Call, table: "pa.Table", wanted: Form, limit: int | None) -> None:
    """Print an answer."""
    from integration.store import answers

    shown = _shown(wanted, limit)
    columns = [column["name"] for column in answers.columns(table)]
    put(call.out, wanted, columns, answers.rows(table.slice(0, shown) if shown else table), null="null")
    if shown is not None and table.num_rows > shown:
        call.out.note(f"There are more than these {shown:,} rows: --limit 0 shows all.")


def _shown(wanted: Form, limit: int | None) -> int | None:
    return TABLE_LIMIT if limit is None and wanted is Form.TABLE else limit or None


def _read(file: Path) -> str:
    is_stdin = str(file) == "-"
    try:
        return sys.stdin.read() if is_stdin else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{'Standard input' if is_stdin else f'The file {file}'} can't be read: {reason}.") from None
