"""What a group believes of its deliveries, for the consumer to set right."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from redis.exceptions import ResponseError

from integration.stream import groups
from integration.stream.connection import Client, answering
from integration.stream.names import GROUP, offset_key

_AT_ONCE = 1_000


class Gap(NamedTuple):
    """Entries of a stream that lie strictly between two offsets."""

    stream: str
    after: str
    before: str


def filled(client: Client, gaps: Iterable[Gap]) -> list[Gap]:
    """Return the gaps that hold at least one entry: one round trip for all of them, none where nothing can be."""
    possible = [gap for gap in gaps if offset_key(gap.after) < offset_key(gap.before)]
    if not possible:
        return []
    pipe = client.pipeline(transaction=False)
    for gap in possible:
        pipe.xrange(gap.stream, min=f"({gap.after}", max=f"({gap.before}", count=1)
    with answering(client):
        return [gap for gap, entries in zip(possible, pipe.execute(), strict=True) if entries]


def delivered_past(client: Client, positions: Iterable[tuple[str, str]]) -> list[Gap]:
    """Return, of (stream, offset) pairs, what was delivered after the offset, to whomever: from there up to and with
    the last delivered entry. One round trip for all."""
    asked = list(positions)
    pipe = client.pipeline(transaction=False)
    for stream, _ in asked:
        pipe.xinfo_groups(stream)
    with answering(client):
        replies = pipe.execute(raise_on_error=False)
    found = []
    for (stream, position), told in zip(asked, replies, strict=True):
        # A stream that is not there answers with an error.
        ours = [g for g in told if _text(g["name"]) == GROUP] if isinstance(told, list) else []
        for group in ours:
            millis, number = offset_key(_text(group["last-delivered-id"]))
            if offset_key(position) < (millis, number):
                found.append(Gap(stream, position, f"{millis}-{number + 1}"))
    return found


def finish(client: Client, positions: Iterable[tuple[str, str]]) -> int:
    """Acknowledge, of (stream, offset) pairs, what is pending up to and with the offset: the store has it, and only the
    acknowledgement was lost, with a connection. Return how many entries it was. One round trip if there are none."""
    asked = list(positions)
    pipe = client.pipeline(transaction=False)
    for stream, _ in asked:
        pipe.xpending(stream, GROUP)
    with answering(client):
        told = groups.present([stream for stream, _ in asked], pipe.execute(raise_on_error=False))
    count = 0
    for stream, position in asked:
        oldest = (told.get(stream) or {}).get("min")
        if oldest is None or offset_key(_text(oldest)) > offset_key(position):
            continue
        while rows := groups.pending(client, stream, _AT_ONCE, last=position):
            count += groups.ack(client, stream, [row.offset for row in rows])
    return count


def undeliver(client: Client, stream: str, consumer: str, offsets: Sequence[str]) -> None:
    """Count one delivery less for pending entries: they were handed out, and not tried to the end."""
    by_count: dict[int, list[str]] = {}
    for offset, times in groups.deliveries(client, stream, offsets).items():
        by_count.setdefault(times - 1, []).append(offset)
    with answering(client):
        for times, same in by_count.items():
            client.xclaim(stream, GROUP, consumer, 0, same, retrycount=times, justid=True)  # type: ignore[arg-type]


def forget_idle_consumers(client: Client, stream: str, *, but: str) -> int:
    """Delete the group's consumers that hold nothing, all but one; return how many."""
    with answering(client):
        try:
            known = client.xinfo_consumers(stream, GROUP)
            idle = [one["name"] for one in known if _text(one["name"]) != but and not one["pending"]]
            for name in idle:
                client.xgroup_delconsumer(stream, GROUP, name)
        except ResponseError as error:
            if groups.is_missing(error):
                return 0
            raise
    return len(idle)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
