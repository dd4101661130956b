"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer

from integration.errors import UsageError

JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print one JSON document a line.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header line.")]


class Form(StrEnum):
    """The form of a result."""

    TABLE = "table"
    JSON = "json"
    JSON_LINES = "jsonl"
    CSV = "csv"


def form(*, json: bool = False, jsonl: bool = False, csv: bool = False) -> Form:
    """Return the form that was asked for. Raises UsageError for two at once."""
    asked = [f for f, wanted in ((Form.JSON, json), (Form.JSON_LINES, jsonl), (Form.CSV, csv)) if wanted]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} exclude each other: give one of them.")
    return asked[0] if asked else Form.TABLE
