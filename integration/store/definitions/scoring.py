"""The SQL of a health: points of metrics, their shares, and a score that is their sum to the last digit."""

import sys
from decimal import Decimal
from itertools import pairwise

from integration.store.definitions.book import metrics_of
from integration.store.quoting import literal
from schemas.definitions import Definition, Health, Metric

_MOST = sys.float_info.max
_DIGITS = Decimal("0.0001")


def number(value: float) -> str:
    """Return a number as SQL."""
    return f"CAST({value!r} AS DOUBLE)"


def in_four_digits(expression: str) -> str:
    """Return the SQL of a number as scores and confidences are kept."""
    # By way of text: ClickHouse cuts a binary fraction where the others round it (0.7273 would be 0.7272).
    return f"CAST(CAST(round(CAST({expression} AS DOUBLE), 4) AS VARCHAR) AS DECIMAL(18, 4))"


def shares(one: Health) -> list[float]:
    """Return the share of each metric: its weight in its group times the weight of that."""
    groups = sum(group.weight for group in one.groups)
    return [
        group.weight / groups * metric.weight / sum(each.weight for each in group.metrics)
        for group in one.groups
        for metric in group.metrics
    ]


def most(one: Health) -> dict[str, Decimal]:
    """Return what each metric can give: 100 in all, to the last digit."""
    found, sum_, given = {}, 0.0, Decimal(0)
    for name, share in zip(metrics_of(one), shares(one), strict=True):
        sum_ += share
        upto = Decimal(100 * sum_).quantize(_DIGITS)
        found[name], given = upto - given, upto
    return found


def rolled_up(metric: Metric, value: str) -> str:
    """Return the aggregate over people; `value` is that of one of them."""
    if metric.rollup == "count":
        return f"sum(CASE WHEN {value} THEN 1 ELSE 0 END)"
    return f"{metric.rollup}({_known(value)})"


def of_people(column: str, metric: Metric) -> str:
    """Return what the metric is of an account: nobody has done nothing, and on average nobody knows what."""
    if metric.rollup in ("sum", "count"):
        return f"CASE WHEN people.member_id IS NULL THEN 0 ELSE people.{column} END"
    return f"people.{column}"


def gives(metric: Metric, value: str, share: float) -> str:
    """Return what a metric gives to the score at a value. What is not known gives nothing."""
    way = f"({_known(value)} - {number(metric.low)}) / {number(metric.high - metric.low)}"
    return f"{number(100 * share)} * greatest(least(coalesce({way}, 0), 1), 0)"


def _known(value: str) -> str:
    """Return a number, or null where it is none: 0 / 0 is NaN in one store, and null in another."""
    given = f"CAST({value} AS DOUBLE)"
    # NaN is more than every number, or not comparable.
    return f"CASE WHEN {given} BETWEEN {number(-_MOST)} AND {number(_MOST)} THEN {given} END"


def scored(one: Health) -> tuple[str, str, list[tuple[str, str]]]:
    """Return the state, the score, and (contribution, metric).

    A contribution is what the score grows by where its metric is added, so that rounded ones have the rounded sum.
    """
    names = [*metrics_of(one)]
    sums = [in_four_digits(" + ".join(f"points.c{n}" for n in range(upto + 1))) for upto in range(len(names))]
    added = [sums[0], *(f"{after} - {before}" for before, after in pairwise(sums))]
    return _grade(one, sums[-1]), sums[-1], [*zip(added, names, strict=True)]


def differing(name: str, one: Definition) -> tuple[str, str]:
    """Return the JOIN of a health's stored contributions, and the condition under which they differ from `w`."""
    if not isinstance(one, Health):
        return "", "FALSE"
    mosts = most(one)
    fits = " OR ".join(
        f"(metric = {literal(metric)} AND most = CAST({whole} AS DECIMAL(18, 4)))" for metric, whole in mosts.items()
    )
    given = ", ".join(
        f"max(CASE WHEN metric = {literal(metric)} THEN contribution END) AS c{n}" for n, metric in enumerate(mosts)
    )
    stored = (
        f"SELECT account_id, sum(CASE WHEN {fits} THEN 1 ELSE -1 END) AS fits, {given} "
        f"FROM health_contributions WHERE health = {literal(name)} GROUP BY account_id"
    )
    differs = " OR ".join(f"coalesce(s.c{n}, -1) <> w.r{n}" for n in range(len(mosts)))
    return (
        f"LEFT JOIN ({stored}) AS s ON s.account_id = w.member_id",
        f"coalesce(s.fits, 0) <> {len(mosts)} OR {differs}",
    )


def _grade(one: Health, score: str) -> str:
    healthy, at_risk = number(one.healthy), number(one.at_risk)
    return f"CASE WHEN {score} >= {healthy} THEN 'healthy' WHEN {score} < {at_risk} THEN 'at risk' ELSE 'neutral' END"
