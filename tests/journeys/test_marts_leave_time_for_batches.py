"""A worker brings its marts up to date every few seconds, and rests longer where that takes long."""

import asyncio
import time
from collections.abc import Callable

import pytest

from integration.wiring import pipeline


class Refreshing:
    """A consumer whose marts take so many seconds, of a clock that it turns."""

    def __init__(self, seconds: float, *, is_more: bool) -> None:
        self.failed = asyncio.get_running_loop().create_future()
        self.now = 1_000.0
        self._seconds = seconds
        self._is_more = is_more

    async def refresh_marts(self, *, until: Callable[[], bool]) -> bool:
        self.now += self._seconds
        return self._is_more


@pytest.mark.parametrize(
    ("seconds", "is_more", "rest"),
    [(0.25, False, 1.0), (2.0, False, 8.0), (40.0, False, 60.0), (5.0, True, 0.0)],
    ids=["a small store", "a large one", "a minute at most", "a backlog waits for nothing"],
)
def test_a_worker_rests_four_times_as_long_as_its_marts_took(
    monkeypatch: pytest.MonkeyPatch, seconds: float, is_more: bool, rest: float
) -> None:
    async def refreshed() -> float:
        marts = Refreshing(seconds, is_more=is_more)
        monkeypatch.setattr(time, "monotonic", lambda: marts.now)
        stopping = asyncio.get_running_loop().create_future()
        return await pipeline._refreshed_marts(marts, stopping) - marts.now  # type: ignore[arg-type]

    assert asyncio.run(refreshed()) == rest
