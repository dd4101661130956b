"""How well a score has told what became of accounts. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

WON, LOST, CHURNED = "won", "lost", "churned"
OUTCOMES = (WON, LOST, CHURNED)


class Judged(NamedTuple):
    """An outcome, and the score some time before it."""

    outcome: str
    score: Decimal
    at_risk: bool


@dataclass(frozen=True, slots=True)
class Efficacy:
    """What the scores of a definition were worth; null where there is nothing to say it of."""

    version: str
    mean_won: float | None
    mean_lost: float | None
    mean_churned: float | None
    auc: float | None
    """How often an account that was won had the higher score of two, the other being lost or churned; a tie is half."""
    at_risk: int
    """Outcomes before which the account was at risk."""
    precision: float | None
    """The share of these that were lost or churned."""
    recall: float | None
    """The share of those lost or churned that were at risk before."""


def efficacy(version: str, judged: Sequence[Judged]) -> Efficacy:
    """Measure a definition by outcomes and the scores it gave before them."""
    bad = [one for one in judged if one.outcome != WON]
    flagged = [one for one in judged if one.at_risk]
    caught = sum(one.outcome != WON for one in flagged)
    mean_won, mean_lost, mean_churned = (
        _mean([one.score for one in judged if one.outcome == outcome]) for outcome in OUTCOMES
    )
    return Efficacy(
        version=version,
        mean_won=mean_won,
        mean_lost=mean_lost,
        mean_churned=mean_churned,
        auc=auc(judged),
        at_risk=len(flagged),
        precision=_share(caught, flagged),
        recall=_share(caught, bad),
    )


def auc(judged: Iterable[Judged]) -> float | None:
    """Return the area under the ROC curve of the score as a sign that an account is won; None without both kinds."""
    won = lost = 0
    over = Decimal(0)
    for _, tied in groupby(sorted(judged, key=_score), _score):
        here = [one.outcome == WON for one in tied]
        wins, losses = sum(here), len(here) - sum(here)
        over += wins * (lost + Decimal(losses) / 2)
        won, lost = won + wins, lost + losses
    return float(over / (won * lost)) if won and lost else None


def _score(one: Judged) -> Decimal:
    return one.score


def _mean(scores: Sequence[Decimal]) -> float | None:
    return float(sum(scores) / len(scores)) if scores else None


def _share(part: int, whole: Collection[Judged]) -> float | None:
    return part / len(whole) if whole else None
