"""Options that several commands share."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from integration.cli.output import Output
from integration.errors import UsageError

JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print one JSON document a line.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header line.")]
Svg = Annotated[
    str | None, typer.Option("--svg", metavar="FILE", help="Draw a picture into this file; `-` is standard output.")
]
Png = Annotated[str | None, typer.Option("--png", metavar="FILE", help="The same as PNG.")]


class Form(StrEnum):
    """The form of a result."""

    TABLE = "table"
    JSON = "json"
    JSON_LINES = "jsonl"
    CSV = "csv"
    SVG = "svg"
    PNG = "png"


PICTURES = frozenset({Form.SVG, Form.PNG})


def form(
    *, json: bool = False, jsonl: bool = False, csv: bool = False, svg: str | None = None, png: str | None = None
) -> Form:
    """Return the form that was asked for. Raises UsageError for two at once."""
    options = ((Form.JSON, json), (Form.JSON_LINES, jsonl), (Form.CSV, csv), (Form.SVG, svg), (Form.PNG, png))
    asked = [one for one, wanted in options if wanted]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} exclude each other: give one of them.")
    return asked[0] if asked else Form.TABLE


def put(out: Output, wanted: Form, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], null: str = "-") -> None:
    """Print rows in a form that is text; `null` is what a table shows for null."""
    if wanted is Form.JSON:
        out.document(rows)
    elif wanted is Form.JSON_LINES:
        out.lines(rows)
    elif wanted is Form.CSV:
        out.csv(columns, rows)
    else:
        out.table(columns, rows, null=null)
