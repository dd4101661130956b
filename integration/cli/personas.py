"""The commands about personas: impact."""

from typing import Annotated

import typer

from integration.cli.frame import Call, command, group
from integration.cli.options import Csv, JsonLines, form
from integration.cli.query import Limit, Timeout, answer

_ENV = ("HEADRACE_STORE__URL",)


def register(app: typer.Typer) -> None:
    """Add personas."""
    personas = group(app, "personas", "Kinds of people, and what they use.")
    command(personas, "impact", example="headrace personas impact Opportunity.NextStep", env=_ENV)(impact)


def impact(
    call: Call,
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="An object, Object.Field, or the name of an event of your product."),
    ],
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="In the last so many days.")] = 90,
    event: Annotated[
        bool, typer.Option("--event", help="WHAT is an event of your product, even if an object is called so.")
    ] = False,
    jsonl: JsonLines = False,
    csv: Csv = False,
    limit: Limit = None,
    timeout: Timeout = 60.0,
) -> None:
    """Show who would notice a change: for each persona how many of its members use an object, a field or a feature.

    Read-only; works while a worker owns the store.
    """
    wanted = form(json=call.json, jsonl=jsonl, csv=csv)
    settings = call.settings
    from integration.wiring import personas

    answer(call, personas.impact(settings, what, days, is_event=event), wanted, limit, timeout)
