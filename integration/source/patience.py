"""Patience with answers that are no good: the call is made again a few times, and never for long.

urllib3 repeats what it can see, 5xx and connections that break before the answer (see `session`). What shows only in
the answer (half a body, a maintenance page, "too many at once") is repeated here: every call of ours reads, or makes a
Bulk job that does; one job too many is harmless, and Salesforce drops it after seven days.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_exponential_jitter

from integration.source.faults import BusyError, PassingError

T = TypeVar("T")

ATTEMPTS: Final = 4
LONGEST_SECONDS: Final = 45.0
"""No attempt begins later than this after the first one."""

_SHORT = wait_exponential_jitter(multiplier=1, max=15)
_LONG = wait_exponential_jitter(multiplier=3, max=15)


class Patience:
    """Calls again what failed with a PassingError: four attempts at most, growing waits with jitter between them.

    `sleep` waits (seconds); `tell` hears of every wait (seconds, what happened). Any other error is raised at once,
    and so is the last one.
    """

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[float, BaseException | None], None] = lambda _seconds, _error: None,
    ) -> None:
        self._sleep = sleep
        self._tell = tell

    def __call__(self, work: Callable[[], T]) -> T:
        """Do the work, and do it again while what stands in its way may pass."""
        rule = Retrying(
            sleep=self._sleep,
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(LONGEST_SECONDS),
            wait=_wait,
            retry=retry_if_exception_type(PassingError),
            before_sleep=self._before_sleep,
            reraise=True,
        )
        return rule(work)

    def _before_sleep(self, state: RetryCallState) -> None:
        self._tell(state.upcoming_sleep, state.outcome.exception() if state.outcome else None)


def _wait(state: RetryCallState) -> float:
    """Seconds before the next attempt: 1, 2, 4 and a little; three times that where Salesforce asks for air."""
    is_busy = state.outcome is not None and isinstance(state.outcome.exception(), BusyError)
    return (_LONG if is_busy else _SHORT)(state)
