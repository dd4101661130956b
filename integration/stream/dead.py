"""Dead letters: entries given up, kept with their reason in `<stream>.dead`, and put back on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from redis.client import Pipeline

from integration.core import exactjson
from integration.stream.connection import Client, answering
from integration.stream.entry import readable
from integration.stream.names import GROUP, buried_key, dead_of, offset_time
from schemas import DeadLetter

_UNKNOWN_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Buried:
    """A dead letter and the offset it has in the stream of the dead."""

    dead_offset: str
    letter: DeadLetter


def bury(client: Client, letters: Sequence[DeadLetter], *, ack: bool = True) -> int:
    """Write dead letters and acknowledge their entries, all or nothing; return how many were not yet written.

    An offset is buried once, however often it is delivered: the set `headrace:buried:<stream>` names the offsets that
    lie in `<stream>.dead`, and is watched while the transaction is made. `ack=False` leaves the entries pending, for
    a caller who acknowledges after its own commit. Raises UnreachableError when Redis does not answer or is full.
    """
    if not letters:
        return 0
    by_address = {(letter.stream, letter.offset): letter for letter in letters}
    streams = sorted({stream for stream, _ in by_address})

    def work(pipe: Pipeline) -> int:
        done = {s: _buried(pipe, s, [o for stream, o in by_address if stream == s]) for s in streams}
        fresh = [letter for letter in by_address.values() if letter.offset not in done[letter.stream]]
        pipe.multi()
        for letter in fresh:
            pipe.xadd(dead_of(letter.stream), _to_fields(letter))  # type: ignore[arg-type]
            pipe.sadd(buried_key(letter.stream), letter.offset)
        if ack:
            for stream, offset in by_address:
                pipe.xack(stream, GROUP, offset)
        return len(fresh)

    watched = [key for stream in streams for key in (buried_key(stream), dead_of(stream))]
    with answering(client):
        return int(client.transaction(work, *watched, value_from_callable=True))  # type: ignore[arg-type]


def dead_count(client: Client, stream: str) -> int:
    """Return how many dead letters the stream has."""
    with answering(client):
        return int(client.xlen(dead_of(stream)))


def list_dead(client: Client, stream: str, *, start: str = "-", end: str = "+", count: int = 100) -> list[Buried]:
    """List dead letters of a stream, oldest first, with offsets in `<stream>.dead` from `start` to `end`."""
    with answering(client):
        entries = client.xrange(dead_of(stream), min=start, max=end, count=count) or []
    return [_read(stream, _text(offset), fields) for offset, fields in _whole(entries)]


def find_dead(client: Client, stream: str, offset: str) -> Buried | None:
    """Find a dead letter by its offset in `<stream>.dead` or by the one its entry had in the stream."""
    start = "-"
    while page := list_dead(client, stream, start=start):
        for buried in page:
            if offset in (buried.dead_offset, buried.letter.offset):
                return buried
        start = f"({page[-1].dead_offset}"
    return None


def drop_dead(client: Client, buried: Sequence[Buried]) -> int:
    """Delete dead letters for good; return how many were still there."""
    pipe = client.pipeline(transaction=True)
    for one in buried:
        _unbury(pipe, one)
    with answering(client):
        return sum(int(reply) for reply in pipe.execute()[::2])


def retry_dead(client: Client, buried: Sequence[Buried]) -> list[str]:
    """Put dead letters back at the end of their streams; return the new offsets. All or nothing."""
    pipe = client.pipeline(transaction=True)
    for one in buried:
        pipe.xadd(one.letter.stream, one.letter.fields)  # type: ignore[arg-type]
        _unbury(pipe, one)
    with answering(client):
        return [_text(reply) for reply in pipe.execute()[::3]]


def _unbury(pipe: Pipeline, one: Buried) -> None:
    pipe.xdel(dead_of(one.letter.stream), one.dead_offset)
    pipe.srem(buried_key(one.letter.stream), one.letter.offset)


def _buried(pipe: Pipeline, stream: str, offsets: list[str]) -> set[str]:
    # Someone may have deleted the stream of the dead by hand: the set alone is no proof then.
    if not pipe.exists(dead_of(stream)):
        return set()
    known: list[Any] = pipe.smismember(buried_key(stream), offsets)
    return {offset for offset, is_known in zip(offsets, known, strict=True) if is_known}


def _to_fields(letter: DeadLetter) -> dict[str, str | bytes]:
    return {
        "stream": letter.stream,
        "offset": letter.offset,
        "reason": letter.reason,
        "first": letter.first_tried_at,
        "last": letter.last_tried_at,
        "deliveries": str(letter.deliveries),
        "entry": exactjson.dumps(letter.fields),
    }


def _read(stream: str, dead_offset: str, fields: dict[bytes, bytes]) -> Buried:
    raw = readable(fields)
    try:
        letter = DeadLetter(
            stream=raw["stream"],
            offset=raw["offset"],
            reason=raw["reason"],
            first_tried_at=raw["first"],
            last_tried_at=raw["last"],
            deliveries=int(raw["deliveries"]),
            fields=exactjson.loads(raw["entry"]),
        )
    except (KeyError, ValueError, ValidationError):
        at = offset_time(dead_offset) or _UNKNOWN_TIME
        letter = DeadLetter(
            stream=stream,
            offset=dead_offset,
            reason="This entry was not written by headrace.",
            first_tried_at=at,
            last_tried_at=at,
            fields=raw,
        )
    return Buried(dead_offset, letter)


def _whole(entries: Sequence[Any]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [(offset, fields) for offset, fields in entries if fields]


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
