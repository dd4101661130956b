"""`headrace config show`: every setting, and where it came from."""

from typing import Any

import typer

from integration.cli.frame import Call, command, group
from integration.core import exactjson

_WIDEST = 60
"""Characters of a list in the table: some have dozens of names."""


def register(app: typer.Typer) -> None:
    """Add the group `config`."""
    added = group(app, "config", "Look at the settings.")
    command(
        added, "show", example="headrace config show --json", env=("HEADRACE_<SECTION>__<KEY>", "HEADRACE_SECRETS_DIR")
    )(show)


def show(call: Call) -> None:
    """Show every setting, its value (secrets masked) and where it came from.

    Secret files go before environment variables, those before headrace.toml, and that before the defaults. Long lists
    are cut; --json has the whole of them.
    """
    rows = [{"key": key, "value": value, "from": origin} for key, value, origin in call.settings.shown()]
    if call.json:
        call.out.document(rows)
    else:
        call.out.table(["key", "value", "from"], [row | {"value": _text(row["value"])} for row in rows])


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    text = exactjson.dumps(value).decode()
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
