"""Time as the sandbox org sees it: every stamp and every Date header comes from here."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Anything that can say what time it is, as an aware UTC datetime."""

    def now(self) -> datetime:
        """Return the present as an aware UTC datetime."""
        ...


class RealClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present as an aware UTC datetime."""
        return datetime.now(UTC)


class VirtualClock:
    """A clock that moves only when told to. Safe to share between threads."""

    def __init__(self, start: datetime) -> None:
        self._now = _utc(start)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the time it was last set or advanced to."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds (a negative number goes back)."""
        with self._lock:
            self._now += timedelta(seconds=seconds)

    def set(self, to: datetime) -> None:
        """Jump to an aware datetime. Raises ValueError for a naive one."""
        with self._lock:
            self._now = _utc(to)


def stamp(at: datetime) -> str:
    """Write a datetime the way Salesforce does: `2024-01-22T16:26:15.000+0000`, whole seconds, UTC."""
    return _utc(at).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def from_stamp(text: str) -> datetime:
    """Read what `stamp` wrote (any offset Python knows is accepted). Raises ValueError."""
    return _utc(datetime.fromisoformat(text))


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("A clock takes aware datetimes only; add a timezone, for example datetime.UTC.")
    return at.astimezone(UTC)
