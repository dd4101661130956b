"""Dead letters: entries given up, kept with their reason in `<stream>.dead`, and put back on request."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.client import Pipeline
from redis.exceptions import ResponseError

from integration.core import exactjson
from integration.errors import RunError
from integration.stream.connection import Client, answering
from integration.stream.entry import readable
from integration.stream.names import GROUP, buried_key, dead_of, offset_key, offset_time, retried_key, settled_key
from schemas import DeadLetter

RETRIED: Final = "retried"
DROPPED: Final = "dropped"

_CHUNK: Final = 1000
_UNKNOWN_TIME: Final = "1970-01-01T00:00:00Z"
_RETRIED_SECONDS: Final = 3_600

# KEYS: the stream, and the hash of what was put back into it. ARGV: how long to remember that; then for each letter its
# offset among the dead, how many strings its fields are, and these. Gives the new offsets.
_PUT_BACK: Final = """
local offsets, at = {}, 2
while at <= #ARGV do
  local letter, count = ARGV[at], tonumber(ARGV[at + 1])
  local offset = redis.call('HGET', KEYS[2], letter)
  if not offset then
    offset = redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 2, at + 1 + count))
    redis.call('HSET', KEYS[2], letter, offset)
  end
  offsets[#offsets + 1] = offset
  at = at + 2 + count
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return offsets
"""


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
    """Write dead letters, then acknowledge their entries; return how many were not yet written.

    All letters of a stream or none: one transaction for each stream. An offset is buried once, however often it is
    delivered: the set `buried_key` names the offsets that lie in `<stream>.dead`, and is watched while the
    transaction is made. `ack=False` leaves the entries pending, for a caller who acknowledges after its own commit.
    Raises UnreachableError when Redis does not answer or is full.
    """
    by_stream: dict[str, dict[str, DeadLetter]] = {}
    for letter in letters:
        by_stream.setdefault(letter.stream, {})[letter.offset] = letter
    fresh = 0
    with answering(client):
        for stream, by_offset in by_stream.items():
            fresh += _bury(client, stream, by_offset)
            if ack:
                # In another slot than the letters, so after them: an entry that is not acknowledged because its worker
                # died in between is delivered again, found to be buried, and acknowledged then.
                client.xack(stream, GROUP, *by_offset)
    return fresh


def dead_count(client: Client, stream: str) -> int:
    """Return how many dead letters a stream has; none where another program uses the name for something else."""
    with answering(client):
        try:
            return int(client.xlen(dead_of(stream)))
        except ResponseError as error:
            if "WRONGTYPE" in str(error):
                return 0
            raise


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

    First they are put back, then, in one transaction for each stream, they leave `<stream>.dead` and are noted as
    retried (`settled_key`). Who dies in between, or does the same at the same time, puts no letter back twice: what
    was put back in the last hour is known (`retried_key`). Letters that are gone meanwhile, that headrace did not
    write, or that have nothing to put back, are left alone. Raises RunError where another program uses one of the
    keys, UnreachableError when Redis is away or full; then all letters of that stream are still there.
    """
    done: list[tuple[Buried, str]] = []
    for stream, letters in _by_stream(one for one in buried if one.ours and one.letter.fields).items():
        _refuse_other_kinds(client, stream)
        with answering(client):
            there = _still_there(client, stream, letters)
            offsets = _put_back(client, stream, there) if there else {}
        done += [(one, offsets[one.dead_offset]) for one in _settle(client, stream, there, RETRIED)]
    return done


def drop_dead(client: Client, buried: Sequence[Buried]) -> list[Buried]:
    """Delete dead letters for good; return those that were still there.

    In one transaction for each stream, which also notes that they were dropped (`settled_key`). Raises what
    `retry_dead` raises.
    """
    done: list[Buried] = []
    for stream, letters in _by_stream(buried).items():
        _refuse_other_kinds(client, stream)
        done += _settle(client, stream, letters, DROPPED)
    return done


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


def _bury(client: Client, stream: str, letters: Mapping[str, DeadLetter]) -> int:
    """Write letters of one stream, by offset, all or nothing; return how many were not yet written."""

    def work(pipe: Pipeline) -> int:
        done = _buried(pipe, stream, list(letters))
        fresh = [letter for offset, letter in letters.items() if offset not in done]
        pipe.multi()
        for letter in fresh:
            pipe.xadd(dead_of(stream), _to_fields(letter))  # type: ignore[arg-type]
            pipe.sadd(buried_key(stream), letter.offset)
        return len(fresh)

    return int(client.transaction(work, buried_key(stream), dead_of(stream), value_from_callable=True))  # type: ignore[arg-type]


def _put_back(client: Client, stream: str, buried: Sequence[Buried]) -> dict[str, str]:
    """Put letters at the end of their stream, those that were put back just now left out; return their new offsets by
    their offsets among the dead."""
    given: list[str | int] = [_RETRIED_SECONDS]
    for one in buried:
        fields = [text for pair in one.letter.fields.items() for text in pair]
        given += [one.dead_offset, len(fields), *fields]
    replies: Any = client.eval(_PUT_BACK, 2, stream, retried_key(stream), *given)
    return {one.dead_offset: _text(reply) for one, reply in zip(buried, replies, strict=True)}


def _settle(client: Client, stream: str, buried: Sequence[Buried], how: str) -> list[Buried]:
    """Take letters of one stream out of the dead and note what became of them; return those that were still there."""
    found: list[Buried] = []

    def work(pipe: Pipeline) -> None:
        # Somebody else may be at the same letters: what is there is looked at while it is watched.
        found[:] = _still_there(client, stream, buried)
        pipe.multi()
        if found:
            pipe.xdel(dead_of(stream), *[one.dead_offset for one in found])
        if ours := [one.letter.offset for one in found if one.ours]:
            pipe.srem(buried_key(stream), *ours)
            pipe.hset(settled_key(stream), mapping=dict.fromkeys(ours, how))

    with answering(client):
        client.transaction(work, dead_of(stream))
    return found


def _still_there(client: Client, stream: str, buried: Sequence[Buried]) -> list[Buried]:
    pipe = client.pipeline(transaction=False)
    for one in buried:
        pipe.xrange(dead_of(stream), one.dead_offset, one.dead_offset)
    return [one for one, reply in zip(buried, pipe.execute(), strict=True) if reply]


def _refuse_other_kinds(client: Client, stream: str) -> None:
    # A transaction goes on after a command that meets the wrong kind of key: the letter would be gone.
    kinds = {stream: b"stream", buried_key(stream): b"set", settled_key(stream): b"hash", retried_key(stream): b"hash"}
    for key, kind in kinds.items():
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
