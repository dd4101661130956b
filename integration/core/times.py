"""Times as people type them: `2026-11-22`, `2026-11-22T05:00Z`, `-7d`, `yesterday`. Pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"-(\d+)([wdhms])", re.ASCII)
_LENGTH: Final = re.compile(r"(\d+)([wdhms]?)", re.ASCII)
_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}
_EXAMPLES: Final = "2026-11-22, 2026-11-22T05:00Z, -7d, -2h, -30m, now, today or yesterday"


def parse_time(text: str, now: datetime) -> datetime:
    """Return the moment that a person means, in UTC.

    Takes ISO 8601 (a date means its first moment; without a zone it is UTC), `-7d`, `-2h`, `-30m` (also `w` and `s`)
    before now, `now`, `today` and `yesterday` (their first moments, in UTC). `now` must know its zone. Raises
    ValueError with a sentence for anything else.
    """
    word = text.strip().lower()
    now = now.astimezone(UTC)
    if word == "now":
        return now
    if word in _DAYS_AGO:
        return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=_DAYS_AGO[word])
    try:
        if ago := _AGO.fullmatch(word):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        # Lower-case t and z are ISO 8601 too, but not to Python.
        moment = datetime.fromisoformat(word.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time: write one such as {_EXAMPLES}.") from None


def parse_duration(text: str) -> timedelta:
    """Return the length of time that a person means: `60s`, `5m`, `2h`, `1d`, `1w`; a bare number counts seconds.

    Raises ValueError with a sentence for anything else.
    """
    found = _LENGTH.fullmatch(text.strip().lower())
    try:
        if found:
            return timedelta(**{_UNITS[found[2] or "s"]: int(found[1])})
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!r} is not a length of time: write one such as 60s, 5m, 2h or 1d.")
