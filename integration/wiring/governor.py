"""The beat of the poller: how long to wait, when to pause, and what others may know of it."""

import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog

from integration.core import budget
from integration.core.budget import Pace, Sample, Usage
from integration.errors import HeadraceError, UnreachableError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.source.faults import trouble_of
from integration.stream import metrics
from integration.stream.connection import Client
from integration.stream.metrics import PollerMetrics

log = structlog.get_logger()

_REMEMBERED_CYCLES = 60
State = Literal["polling", "waiting", "paused", "failed", "ended"]


class Governor:
    """Decides after every cycle when the next one may begin, and writes what it knows to Redis.

    One per worker. `clock` gives seconds since 1970, `chance` numbers from 0 to 1.

        while not stop.is_set():
            try:
                if governor.may_poll():
                    ... poll ...
                wait = governor.cycled(progress.published)
            except UnreachableError as error:
                wait = governor.failed(error)
            stop.wait(wait)
    """

    def __init__(
        self,
        settings: Settings,
        source: SalesforceClient,
        client: Client,
        *,
        by: Literal["run", "sync"] = "run",
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._asked = settings.poll.interval_seconds
        self._percent = settings.salesforce.api_budget_percent
        self._source, self._client = source, client
        self._by: Literal["run", "sync"] = by
        self._clock, self._chance = clock, chance
        self._started = clock()
        self._calls_before = source.calls
        self._costs: deque[int] = deque(maxlen=_REMEMBERED_CYCLES)
        self._samples: tuple[Sample, ...] = ()
        self._cycles = self._failures = self._published = 0
        self._polled = False
        self._told: str | None = None

    @property
    def usage(self) -> Usage | None:
        """The org's calls as Salesforce last told them."""
        told = self._source.api_usage
        return Usage(*told) if told is not None else None

    @property
    def pace(self) -> Pace:
        """How fast to poll, by what is known now."""
        return budget.pace(self.usage, self._percent, self._asked, budget.typical_calls(self._costs))

    @property
    def spare_calls(self) -> float:
        """How many calls this cycle may spend on work that can wait (re-reading, sweeps)."""
        return budget.spare_calls(self.usage, self._percent, self._asked, budget.typical_calls(self._costs))

    def may_poll(self) -> bool:
        """Say whether to make a cycle now. While the budget is used up it asks for the limits (one call) and judges by
        the answer. Raises what the client raises.
        """
        self._polled = False
        self._calls_before = self._source.calls
        if self.pace.paused:
            self._source.limits()
        if self.pace.paused:
            return False
        self._polled = True
        self._write("polling", None)
        return True

    def cycled(self, published: int) -> float:
        """Note the cycle that has ended (or was left out) and return the seconds to wait for the next.

        `published` counts the captures since the worker's start.
        """
        self._failures = 0
        self._published = published
        if self._polled:
            self._cycles += 1
            self._costs.append(self._source.calls - self._calls_before)
        self._sample()
        pace = self.pace
        self._tell(pace)
        state: State = "ended" if self._by == "sync" else "paused" if pace.paused else "waiting"
        self._write(state, None if state == "ended" else pace.interval_seconds)
        return pace.interval_seconds

    def failed(self, error: UnreachableError) -> float:
        """Note a cycle that ended in an error and return the seconds to wait."""
        self._failures += 1
        self._sample()
        wait = budget.pause_after(trouble_of(error), self._failures, self.pace.interval_seconds, self._chance)
        log.warning("poll failed", detail=str(error), next_in_seconds=round(wait))
        self._write("failed", wait, problem=str(error))
        return wait

    def _sample(self) -> None:
        usage = self.usage
        if usage is not None:
            self._samples = budget.remember(self._samples, self._clock(), usage.used)

    def _tell(self, pace: Pace) -> None:
        """Log a change of the pace, not every beat of it."""
        word = "paused" if pace.paused else "slowed" if pace.reason else None
        if word != self._told:
            if word is None:
                log.info("polling as asked again", every_seconds=pace.interval_seconds)
            else:
                log.warning(f"polling {word}", every_seconds=round(pace.interval_seconds), detail=pace.reason)
        self._told = word

    def _write(self, state: State, wait: float | None, *, problem: str | None = None) -> None:
        now, usage, pace = self._clock(), self.usage, self.pace
        told = PollerMetrics(
            by=self._by,
            state=state,
            started_at=_iso(self._started),
            at=_iso(now),
            next_at=_iso(now + wait) if wait is not None else None,
            asked_seconds=self._asked,
            interval_seconds=pace.interval_seconds,
            reason=pace.reason,
            problem=problem,
            used=usage.used if usage else None,
            total=usage.total if usage else None,
            percent=self._percent,
            cycles=self._cycles,
            calls=self._source.calls,
            published=self._published,
            last_calls=self._costs[-1] if self._costs else None,
            calls_per_cycle=budget.typical_calls(self._costs),
            growth_per_hour=budget.hourly_rate(self._samples),
        )
        with suppress(HeadraceError):  # a Redis that is full or gone has said so to the poller already
            metrics.write(self._client, told)


def _iso(seconds: float) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
