"""How fast to poll, so that the org's daily API calls last: for headrace and for everyone else who needs them. Pure.

The calls of an org are shared by all of its integrations and counted over the last 24 hours. headrace may bring their
use up to a share of the allowance, its *budget* (`salesforce.api_budget_percent`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median
from typing import Final

DAY: Final = 86_400.0
HOUR: Final = 3_600.0
EASY_UNTIL: Final = 0.5
"""Share of the budget up to which polling is as fast as asked, whatever a day of it would come to."""
SLOW_FROM: Final = 0.8
"""Share of the budget from which polling slows down even if a day of it would fit."""
SLOWEST: Final = 10.0
"""How many times the interval grows on the way from there to the whole budget."""
PAUSE_SECONDS: Final = 600.0
"""How long polling waits before it asks whether calls are free again; slowing down never goes beyond it."""

_BUSY_SECONDS: Final = 30.0
_LONGEST_SILENCE: Final = 60.0
_FIRST_SILENCE: Final = 5.0
_SHORTEST_SPAN: Final = 600.0
_UNTYPICAL: Final = 10
_TOO_FEW: Final = 5
_FIRST_GUESS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """The org's API calls of the last 24 hours and its allowance, as every answer of Salesforce tells them."""

    used: int
    total: int

    def spent(self, percent: float) -> float:
        """Return the used share of the budget: 1.0 when it is reached, more beyond."""
        budget = self.budget(percent)
        return max(self.used, 0) / budget if budget > 0 else 1.0

    def budget(self, percent: float) -> float:
        """Return the number of calls that `percent` of the allowance are."""
        return max(self.total, 0) * percent / 100


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait from one cycle to the next. All objects of a cycle are slowed alike.

    `paused` says that no cycle may be made then: one cheap call has to tell whether calls are free again. `reason` is
    the second half of a sentence ("because ..."); None at the pace that was asked for.
    """

    interval_seconds: float
    paused: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the present pace comes to.

    `calls_a_day` are headrace's own; `share` is theirs of the whole allowance (0.1 for a tenth), None if that is not
    known. `budget_reached_in` counts seconds at the rate of the last hour, everyone's calls included; None if that is
    not within a day, 0 if it is reached.
    """

    calls_a_day: float
    share: float | None
    budget_reached_in: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """The org's use at a moment (seconds of any clock)."""

    at: float
    used: int


class Trouble(StrEnum):
    """Why a cycle ended early."""

    DAILY_LIMIT = "daily limit"
    BUSY = "busy"
    UNREACHABLE = "unreachable"


def pace(usage: Usage | None, percent: float, interval_seconds: float, calls_per_cycle: float) -> Pace:
    """Say how fast to poll.

    As asked, until the org has used half of the budget. If a day of such cycles would not fit into it, the interval
    grows from there on, and fits at 80 %. From 80 % on it grows up to tenfold in any case (to ten minutes at most); at
    100 % polling pauses. Without knowing the use: as asked.
    """
    if usage is None or usage.total <= 0:
        return Pace(interval_seconds)
    budget, spent = usage.budget(percent), usage.spent(percent)
    fits = DAY * max(calls_per_cycle, 0.0) / budget if budget > 0 else PAUSE_SECONDS
    dear = min(max((spent - EASY_UNTIL) / (SLOW_FROM - EASY_UNTIL), 0.0), 1.0)
    usual = interval_seconds * max(fits / interval_seconds, 1.0) ** dear
    if spent >= 1.0:
        return Pace(max(usual, PAUSE_SECONDS), True, _so_much_used(usage, percent))
    if spent > SLOW_FROM:
        slowed = usual * SLOWEST ** ((spent - SLOW_FROM) / (1.0 - SLOW_FROM))
        return Pace(max(usual, min(slowed, PAUSE_SECONDS)), False, _so_much_used(usage, percent))
    reason = _would_not_fit(interval_seconds, calls_per_cycle, budget) if usual > interval_seconds else None
    return Pace(usual, False, reason)


def forecast(
    usage: Usage | None,
    percent: float,
    interval_seconds: float,
    calls_per_cycle: float,
    growth: float | None = None,
) -> Forecast:
    """Say what a pace comes to; `growth` is what `hourly_rate` says of the org's use."""
    own = DAY / interval_seconds * max(calls_per_cycle, 0.0) if interval_seconds > 0 else 0.0
    if usage is None or usage.total <= 0:
        return Forecast(own, None, None)
    left = usage.budget(percent) - usage.used
    reached = None
    if left <= 0:
        reached = 0.0
    elif growth is not None and growth * (DAY / HOUR) >= left:
        reached = left / growth * HOUR
    return Forecast(own, own / usage.total, reached)


def remember(samples: Sequence[Sample], now: float, used: int) -> tuple[Sample, ...]:
    """Add a sample; keep those of the last hour (one a minute) and the last one before it."""
    older = [s for s in samples if s.at <= now - HOUR][-1:]
    recent = [s for s in samples if now - HOUR < s.at <= now]
    if len(recent) > 1 and recent[-1].at - recent[-2].at < 60:
        recent.pop()
    return (*older, *recent, Sample(now, used))


def hourly_rate(samples: Sequence[Sample]) -> float | None:
    """Return by how many calls the org's use grows in an hour, by the samples of the last one; None before they span
    ten minutes, for a first sync says nothing of the hour.

    It is negative while more calls of yesterday drop out of the count than new ones are made.
    """
    if not samples or samples[-1].at - samples[0].at < _SHORTEST_SPAN:
        return None
    return (samples[-1].used - samples[0].used) * HOUR / (samples[-1].at - samples[0].at)


def typical_calls(recent: Sequence[int]) -> float:
    """Return what a cycle costs, from what the last ones cost: their mean, where single large ones (a first sync, a
    backlog) count as ten times the usual at most. Few cycles say little: then the cheapest of them, five at most.
    """
    if len(recent) < _TOO_FEW:
        return min(min(recent, default=_FIRST_GUESS), _FIRST_GUESS)
    largest = max(median(recent), 1) * _UNTYPICAL
    return fmean(min(calls, largest) for calls in recent)


def spare_calls(usage: Usage | None, percent: float, interval_seconds: float, calls_per_cycle: float) -> float:
    """Return how many calls a cycle may spend on work that can wait (re-reading, sweeps): half of what the day's cycles
    leave of the budget (one, while there is plenty), none once polling slows down.
    """
    if usage is None or usage.total <= 0 or interval_seconds <= 0 or usage.spent(percent) >= SLOW_FROM:
        return 0.0
    plenty = 1.0 if usage.spent(percent) < EASY_UNTIL else 0.0
    return max((usage.budget(percent) * interval_seconds / DAY - calls_per_cycle) / 2, plenty)


def calls_per_thousand(calls: int, changes: int) -> float | None:
    """Return the calls spent on 1,000 changes published; None before the first change."""
    return calls * 1000 / changes if changes > 0 else None


def pause_after(
    trouble: Trouble, attempts_in_a_row: int, interval_seconds: float, random: Callable[[], float]
) -> float:
    """Return the seconds to wait after a cycle that failed, never less than the interval.

    Ten minutes when the org's calls are used up; about half a minute when it is busy; growing from twice the interval
    (ten seconds at least) to a minute when nobody answers. `random` gives numbers from 0 to 1, so that several workers
    don't come back at the same moment.
    """
    if trouble is Trouble.DAILY_LIMIT:
        seconds = PAUSE_SECONDS
    elif trouble is Trouble.BUSY:
        seconds = _BUSY_SECONDS * (0.75 + 0.5 * random())
    else:
        doubled = max(interval_seconds, _FIRST_SILENCE) * 2.0 ** min(max(attempts_in_a_row, 1), 16)
        seconds = min(doubled, _LONGEST_SILENCE) * (0.75 + 0.25 * random())
    return max(seconds, interval_seconds)


def _so_much_used(usage: Usage, percent: float) -> str:
    return (
        f"the org has used {usage.used:,} of its {usage.total:,} API calls of the last 24 hours, and "
        f"salesforce.api_budget_percent allows {usage.budget(percent):,.0f} ({percent:g} %)"
    )


def _would_not_fit(interval_seconds: float, calls: float, budget: float) -> str:
    a_day = calls * DAY / max(interval_seconds, 1e-9)
    return (
        f"{calls:.3g} calls every {interval_seconds:g} s would be {a_day:,.0f} a day, more than the {budget:,.0f} that "
        "salesforce.api_budget_percent allows"
    )
