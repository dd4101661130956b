"""What waits, and since when: in a stream, and for the marts."""

from datetime import datetime
from typing import Final

from integration.stream.connection import Client, answering
from integration.stream.inspect import GroupInfo, StreamInfo
from integration.stream.names import GROUP, offset_key, offset_time

MARTS_WAITING: Final = "SELECT count(DISTINCT key) AS waiting, min(since) AS oldest FROM headrace.stale"
"""How many keys the marts are still to be worked out for, and since when the first of them waits."""


def group_of(stream: StreamInfo) -> GroupInfo | None:
    """Return the consumer group of headrace, None where the stream has none."""
    return next((group for group in stream.groups if group.name == GROUP), None)


def oldest_waiting(client: Client, stream: StreamInfo) -> str | None:
    """Return the offset of the oldest entry that is not yet finished: delivered or not; None when there is none."""
    group = group_of(stream)
    if group is None:
        return stream.first
    found = [group.lag.oldest_pending] if group.lag.oldest_pending else []
    if group.lag.lag != 0 and stream.length:
        with answering(client):
            page = client.xrange(stream.name, min=f"({group.lag.last_delivered or '0-0'}", count=1) or []
        found += [offset.decode() if isinstance(offset, bytes) else str(offset) for offset, _ in page]
    return min(found, key=offset_key, default=None)


def age_of(offset: str | None, now: datetime) -> float | None:
    """Return how long ago Redis took an entry, in seconds by this machine's clock; None where that is unknown."""
    at = offset_time(offset) if offset else None
    return max(0.0, (now - datetime.fromisoformat(at)).total_seconds()) if at else None
