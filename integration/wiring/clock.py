from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """Return a moment as text that every store takes for it: ISO 8601 in UTC, to the microsecond, `Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def now() -> str:
    """Return this machine's time as headrace writes times: ISO 8601 in UTC, whole seconds, `Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
