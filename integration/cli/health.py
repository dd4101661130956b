"""`headrace health`: how much the scores of accounts are worth."""

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.entries import moment
from integration.cli.frame import Call, command, group
from integration.cli.query import Timeout
from integration.errors import UsageError

if TYPE_CHECKING:
    from integration.wiring.backtest import Backtest

_ENV = ("HEADRACE_STORE__URL", "HEADRACE_DEFINITIONS__FOLDER")
_COUNTS = ["outcome", "happened", "not_known", "not_scored", "counted"]
_MEASURES = {
    "mean_won": "mean score before won",
    "mean_lost": "mean score before lost",
    "mean_churned": "mean score before churned",
    "auc": "AUC",
    "at_risk": "at risk before",
    "precision": "precision of at risk",
    "recall": "recall of at risk",
}


def register(app: typer.Typer) -> None:
    """Add the group health."""
    health = group(app, "health", "Scores of accounts: how much they are worth.")
    example = "headrace health backtest adoption --file candidate.toml --lead 60d"
    command(health, "backtest", example=example, env=_ENV)(backtest)


def backtest(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a health.")],
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Another definition, to be measured beside it.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only by what happened from this time on.")
    ] = None,
    lead: Annotated[
        str, typer.Option("--lead", metavar="LENGTH", help="How long before it the score is looked at, in days.")
    ] = "30d",
    timeout: Timeout = 300.0,
) -> None:
    """Say how well a health would have told what became of accounts: whether they were won, lost or churned.

    Each score is worked out as of the time before the outcome, from what was known then. Read-only; works while a
    worker owns the store.
    """
    days = _days(lead)
    begin = None if since is None else moment("--since", since)
    settings = call.settings
    from integration.wiring import backtest as backtests
    from integration.wiring.clock import stamp

    asked = backtests.Asked(days, None if begin is None else stamp(begin), timeout)
    found = backtests.backtest(settings, name, asked, file)
    if call.json:
        call.out.document(found)
    else:
        _show(call, found)


def _days(text: str) -> int:
    from integration.core.times import parse_duration

    try:
        length = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--lead: {error}") from None
    if length < timedelta(days=1) or length % timedelta(days=1):
        raise UsageError("--lead takes whole days, and one at least: 30d, 8w. What happens on the day tells of itself.")
    return length.days


def _show(call: Call, found: "Backtest") -> None:
    call.out.table(_COUNTS, [asdict(one) for one in found.outcomes])
    shown = {kind: asdict(one) for kind in ("in_force", "candidate") if (one := getattr(found, kind)) is not None}
    rows = [
        {"measure": words, **{kind: _rounded(told[name]) for kind, told in shown.items()}}
        for name, words in _MEASURES.items()
    ]
    call.out.text("")
    call.out.table(["measure", *shown], rows)
    if found.problem:
        call.out.note(f"The one in force is not measured: {found.problem}")


def _rounded(number: float | None) -> float | None:
    return round(number, 3) if isinstance(number, float) else number
