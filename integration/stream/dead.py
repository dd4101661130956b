"""Dead letters: entries given up, kept with their reason in `<stream>.dead`, and put back on request."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.client import Pipeline

from integration.core import exactjson
from integration.errors import RunError
from integration.stream.connection import Client, answering
from integration.stream.entry import readable
from integration.stream.names import GROUP, buried_key, dead_of, offset_key, offset_time, settled_key
from schemas import DeadLetter

RETRIED: Final = "retried"
DROPPED: Final = "dropped"

_CHUNK: Final = 1000
_UNKNOWN_TIME: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Buried:
    """A dead letter and the offset it has in the stream of the dead; `ours` is False for a stranger's entry."""

    dead_offset: str
    letter: DeadLetter
    ours: bool = True

    @property
    def subject(self) -> str | None:
        """Which record it is about (`Contact/003...`): its subject, else what its capture says."""
        fields = self.letter.fields
        if "subject" in fields:
            return fields["subject"]
        try:
            capture = exactjson.loads(fields.get("data", ""))
            return f"{capture['object']}/{capture['record_id']}"
        except (ValueError, ArithmeticError, RecursionError, KeyError, TypeError):
            return None


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
        entries: Any = client.xrange(dead_of(stream), min=start, max=end, count=count) or []
    return [read_letter(stream, _text(offset), fields or {}) for offset, fields in entries]


def read_letter(stream: str, dead_offset: str, fields: Mapping[bytes, bytes]) -> Buried:
    """Read an entry of `<stream>.dead`; one that headrace did not write is a letter that says so. Never raises."""
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
        offset_key(letter.offset)
        if letter.stream == stream:
            return Buried(dead_offset, letter)
    except (KeyError, ValueError, ArithmeticError, RecursionError):  # ValidationError is a ValueError
        pass
    at = offset_time(dead_offset) or _UNKNOWN_TIME
    letter = DeadLetter(
        stream=stream,
        offset=dead_offset,
        reason="This entry was not written by headrace.",
        first_tried_at=at,
        last_tried_at=at,
        fields=raw,
    )
    return Buried(dead_offset, letter, ours=False)


def retry_dead(client: Client, buried: Sequence[Buried]) -> list[tuple[Buried, str]]:
    """Put dead letters back at the end of their streams; return those put back, each with its new offset.

    In one transaction for each stream, which also notes in `headrace:settled:<stream>` that they were retried.
    Letters that are gone meanwhile, that headrace did not write, or that have nothing to put back, are left alone.
    Raises RunError where another program uses one of the keys, UnreachableError when Redis is away or full; then
    nothing of that stream has changed.
    """
    done: list[tuple[Buried, str]] = []
    for stream, letters in _by_stream(one for one in buried if one.ours and one.letter.fields).items():
        found, replies = _settle(client, stream, letters, RETRIED)
        done += [(one, _text(reply)) for one, reply in zip(found, replies, strict=False)]
    return done


def drop_dead(client: Client, buried: Sequence[Buried]) -> list[Buried]:
    """Delete dead letters for good; return those that were still there.

    In one transaction for each stream, which also notes in `headrace:settled:<stream>` that they were dropped. Raises
    what `retry_dead` raises.
    """
    return [one for s, letters in _by_stream(buried).items() for one in _settle(client, s, letters, DROPPED)[0]]


def settled(client: Client, stream: str) -> dict[str, str]:
    """Return what was done with dead letters and is not yet in the store: original offset -> `retried`|`dropped`."""
    with answering(client):
        return {_text(offset): _text(how) for offset, how in client.hscan_iter(settled_key(stream), count=_CHUNK)}


def forget_settled(client: Client, stream: str, offsets: Sequence[str]) -> None:
    """Remove what `settled` told, once the store has it."""
    for start in range(0, len(offsets), _CHUNK):
        with answering(client):
            client.hdel(settled_key(stream), *offsets[start : start + _CHUNK])


def missing(client: Client, stream: str, offsets: Sequence[str]) -> list[str]:
    """Return which of these original offsets are neither among the dead letters in Redis nor settled: bury them."""
    lost: list[str] = []
    for start in range(0, len(offsets), _CHUNK):
        some = list(offsets[start : start + _CHUNK])
        # At one moment: a letter that is being settled would be in neither place if they were looked at in turn.
        pipe = client.pipeline(transaction=True)
        pipe.exists(dead_of(stream))
        pipe.smismember(buried_key(stream), some)
        pipe.hmget(settled_key(stream), some)
        with answering(client):
            is_there, known, how = pipe.execute()
        lost += [
            o for o, is_in, done in zip(some, known, how, strict=True) if not (is_there and is_in) and done is None
        ]
    return lost


def _settle(client: Client, stream: str, buried: Sequence[Buried], how: str) -> tuple[list[Buried], list[Any]]:
    """Take letters of one stream out of the dead, and put them back if they are retried; return those that were still
    there, and what Redis answered (the new offsets first, if there are any)."""
    _refuse_other_kinds(client, stream)
    found: list[Buried] = []

    def work(pipe: Pipeline) -> None:
        # Somebody else may be at the same letters: what is there is looked at while it is watched.
        found[:] = _still_there(client, stream, buried)
        pipe.multi()
        if how == RETRIED:
            for one in found:
                pipe.xadd(stream, one.letter.fields)  # type: ignore[arg-type]
        if found:
            pipe.xdel(dead_of(stream), *[one.dead_offset for one in found])
        if ours := [one.letter.offset for one in found if one.ours]:
            pipe.srem(buried_key(stream), *ours)
            pipe.hset(settled_key(stream), mapping=dict.fromkeys(ours, how))

    with answering(client):
        replies: Any = client.transaction(work, dead_of(stream))
    return found, replies


def _still_there(client: Client, stream: str, buried: Sequence[Buried]) -> list[Buried]:
    pipe = client.pipeline(transaction=False)
    for one in buried:
        pipe.xrange(dead_of(stream), one.dead_offset, one.dead_offset)
    return [one for one, reply in zip(buried, pipe.execute(), strict=True) if reply]


def _refuse_other_kinds(client: Client, stream: str) -> None:
    # A transaction goes on after a command that meets the wrong kind of key: the letter would be gone.
    for key, kind in ((stream, b"stream"), (buried_key(stream), b"set"), (settled_key(stream), b"hash")):
        with answering(client):
            found = client.type(key)
        if found not in (b"none", kind):
            raise RunError(
                f"The key {key} holds a {_text(found)}, not a {_text(kind)} of headrace: delete or rename it, or give "
                "headrace a Redis database of its own."
            )


def _by_stream(buried: Iterable[Buried]) -> dict[str, list[Buried]]:
    found: dict[str, list[Buried]] = {}
    for one in buried:
        found.setdefault(one.letter.stream, []).append(one)
    return found


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


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
