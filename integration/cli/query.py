"""The commands that ask: sql, query, schema."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from integration.cli.frame import Call, command
from integration.cli.options import Csv, Form, JsonLines, form
from integration.errors import UsageError

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
    text = sys.stdin.read() if statement == "-" else statement
    answer(call, text, wanted, limit, timeout)


def query(
    call: Call,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File with one SELECT; `-` is standard input.")],
    jsonl: JsonLines = False,
    csv: Csv = False,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """Ask the store with the SQL in a file, read-only; works while a worker owns it."""
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    answer(call, _read(file), wanted, limit, timeout)


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


def answer(
    call: Call, statement: str, wanted: Form, limit: int | None, timeout: float, *, is_ours: bool = False
) -> None:
    """Ask the store and print what it says. A statement of headrace's own is put into the store's dialect first."""
    if not statement.strip():
        raise UsageError('There is no SQL to run: give a statement, e.g. headrace sql "select * from users".')
    settings = call.settings
    from integration.store import answers
    from integration.wiring.reading import reader

    shown = TABLE_LIMIT if limit is None and wanted is Form.TABLE else limit or None
    with reader(settings) as store:
        # One row more than is shown tells whether there are more.
        text = store.compiled(statement) if is_ours else statement
        table = store.query(text, limit=shown + 1 if shown else None, timeout_seconds=timeout)
    more = shown is not None and table.num_rows > shown
    columns = [column["name"] for column in answers.columns(table)]
    _print(call, columns, answers.rows(table.slice(0, shown) if shown else table), wanted)
    if more:
        call.out.note(f"There are more than these {shown:,} rows: --limit 0 shows all.")


def _print(call: Call, columns: list[str], rows: list[dict[str, Any]], wanted: Form) -> None:
    if wanted is Form.JSON:
        call.out.document(rows)
    elif wanted is Form.JSON_LINES:
        call.out.lines(rows)
    elif wanted is Form.CSV:
        call.out.csv(columns, rows)
    else:
        call.out.table(columns, rows, null="null")


def _read(file: Path) -> str:
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The file {file} can't be read: {reason}.") from None
