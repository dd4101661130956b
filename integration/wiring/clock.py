from datetime import UTC, datetime


def now() -> str:
    """Return this machine's time as headrace writes times: ISO 8601 in UTC, whole seconds, `Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
