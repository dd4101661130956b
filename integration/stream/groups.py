"""The consumer group of a stream: where it stands, what a dead consumer left behind, how far it is behind."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.exceptions import ResponseError

from integration.stream.connection import Client, answering
from integration.stream.names import GROUP, LOST_KEY, ORIGIN, buried_key, offset_key

Entry = tuple[str, dict[bytes, bytes]]
"""An entry's offset and fields."""

_CHUNK = 1000
_GAP_PAGE = 500
_ONCE_OR_TWICE = 2


class GroupState(StrEnum):
    """What `ensure_group` found or did."""

    CREATED = "created"
    KEPT = "kept"
    SET_BACK = "set back"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the group is behind in one stream.

    `length` counts the entries of the stream. `lag` counts those not yet delivered; None where Redis does not know
    (entries were deleted, or the group was set to a place in the middle). `pending` counts those delivered and not
    acknowledged, `oldest_pending` is the offset of the first of them. `last_delivered` is None without a group.
    """

    length: int
    lag: int | None
    pending: int
    oldest_pending: str | None
    last_delivered: str | None


@dataclass(frozen=True, slots=True)
class Pending:
    """An entry that was delivered and not acknowledged: to whom, how long ago (ms), how often."""

    offset: str
    consumer: str
    idle_ms: int
    deliveries: int


def ensure_group(client: Client, stream: str, position: str) -> GroupState:
    """Make sure that the group exists and that nothing after the store's position is missed.

    `position` is the offset up to which the store has committed the stream, `0-0` (or empty) for none. A group that
    stands ahead of it is set back, unless every entry in between is still pending or lies among the dead letters: the
    store is the truth, so that after a lost or restored store the stream is delivered again, in order. Stream and
    group are created when missing. Call it while no other consumer of the stream is active.
    """
    position = position or ORIGIN
    offset_key(position)
    with answering(client):
        while True:
            # Look before creating: a full Redis refuses to create even what is there, and must still be emptied.
            group = _group(client, stream)
            if not group:
                if _create(client, stream, position):
                    return GroupState.CREATED
                continue
            delivered = _text(group["last-delivered-id"])
            if offset_key(delivered) <= offset_key(position):
                return GroupState.KEPT
            if not _covered(client, stream, position, delivered):
                if _set_back(client, stream, position):
                    return GroupState.SET_BACK
            elif _group(client, stream):  # a stream deleted meanwhile is covered too, having nothing to cover
                return GroupState.KEPT


def note_loss(client: Client, stream: str, position: str) -> bool:
    """Say that a stream, stored up to `position` once, is gone with what it held, should that be so.

    Whatever was in it and not yet stored is in no stream any more: the poller reads the object again from its
    beginning (see Publisher.cursor). Best before `ensure_group`, which makes the group again.
    """
    with answering(client):
        if position == ORIGIN or _group(client, stream):
            return False
        client.sadd(LOST_KEY, stream)
        return True


def drain(
    client: Client, stream: str, consumer: str, count: int = 500
) -> Iterator[list[tuple[str, dict[bytes, bytes]]]]:
    """Take over everything pending, whoever read it, oldest first, in lists of at most `count` entries.

    An entry that was delivered three times or more may be what ended its readers: it comes in a list of at most
    `count // 8`, after four times `count // 64`, and so on down to a list of its own. Entries that were trimmed away
    while pending have nothing to give: they are acknowledged and left out. Ends after one round, also when the caller
    acknowledges nothing. Without a stream or group there is nothing to drain.
    """
    start = ORIGIN
    while size := _portion(pending(client, stream, count, first=start), count):
        with answering(client):
            try:
                reply = client.xautoclaim(stream, GROUP, consumer, 0, start, count=size)
            except ResponseError as error:
                if is_missing(error):
                    return
                raise
        start = _text(reply[0])
        entries = [(_text(offset), fields) for offset, fields in reply[1] if offset is not None and fields]
        empty = [_text(offset) for offset, fields in reply[1] if offset is not None and not fields]
        if empty:
            ack(client, stream, empty)
        if entries:
            yield entries
        if start == ORIGIN:
            return


def between(client: Client, stream: str, after: str, before: str) -> Iterator[Entry]:
    """Give the entries that lie strictly between two offsets, in order, whatever the group knows of them.

    `after` may be empty for the beginning. One short read where there are none, and none at all where nothing can
    lie between. Raises ValueError for what is no offset.
    """
    after = after or ORIGIN
    low, end = offset_key(after), offset_key(before)
    while low < end:
        with answering(client):
            page: Sequence[Any] = client.xrange(stream, min=f"({after}", max=f"({before}", count=_GAP_PAGE) or []
        for offset, fields in page:
            yield _text(offset), fields
        if len(page) < _GAP_PAGE:
            return
        after = _text(page[-1][0])
        low = offset_key(after)


def deliveries(client: Client, stream: str, offsets: Iterable[str]) -> dict[str, int]:
    """Return how often each of these entries was delivered; those that are not pending are left out."""
    wanted = sorted(set(offsets), key=offset_key)
    told: dict[str, int] = {}
    first = wanted[0] if wanted else ""
    while wanted and (rows := pending(client, stream, _CHUNK, first=first, last=wanted[-1])):
        told |= {row.offset: row.deliveries for row in rows}
        first = f"({rows[-1].offset}"
    return {offset: told[offset] for offset in wanted if offset in told}


def ack(client: Client, stream: str, offsets: Sequence[str]) -> int:
    """Acknowledge entries; return how many of them were pending."""
    if not offsets:
        return 0
    with answering(client):
        return int(client.xack(stream, GROUP, *offsets))


def pending(client: Client, stream: str, count: int = 100, *, first: str = "-", last: str = "+") -> list[Pending]:
    """List pending entries with offsets from `first` to `last`, oldest first, with how often each was delivered."""
    with answering(client):
        try:
            rows: Sequence[Mapping[str, Any]] = client.xpending_range(stream, GROUP, first, last, count)
        except ResponseError as error:
            if is_missing(error):
                return []
            raise
    return [
        Pending(_text(r["message_id"]), _text(r["consumer"]), r["time_since_delivered"], r["times_delivered"])
        for r in rows
    ]


def lag(client: Client, stream: str) -> Lag:
    """Return how far the group is behind in the stream; all zero for a stream that is not there."""
    with answering(client):
        info = stream_info(client, stream)
        if info is None:
            return Lag(0, 0, 0, None, None)
        return group_lag(client, stream, info, _group(client, stream))


def caught_up(client: Client, streams: Iterable[str]) -> bool:
    """True when every entry of every stream was delivered and acknowledged. Exact also where the lag is unknown."""
    for stream in streams:
        behind = lag(client, stream)
        if behind.pending or (behind.lag != 0 and behind.length):
            return False
    return True


def group_lag(client: Client, stream: str, info: Mapping[str, Any], group: Mapping[str, Any]) -> Lag:
    """Return the lag of one group from the answers of XINFO STREAM and XINFO GROUPS (empty: no such group)."""
    length = int(info["length"])
    if not group:
        return Lag(length, None if length else 0, 0, None, None)
    delivered = _text(group["last-delivered-id"])
    waiting = int(group["pending"])
    oldest = _oldest_pending(client, stream, group["name"]) if waiting else None
    return Lag(
        length=length,
        lag=honest_lag(group, length, last_offset(info)),
        pending=waiting,
        oldest_pending=oldest,
        last_delivered=delivered,
    )


def stream_info(client: Client, stream: str) -> Mapping[str, Any] | None:
    """Return the answer of XINFO STREAM, None for a stream that is not there."""
    try:
        return client.xinfo_stream(stream)
    except ResponseError as error:
        if is_missing(error):
            return None
        raise


def first_offset(info: Mapping[str, Any]) -> str | None:
    """Return the offset of the stream's first entry from the answer of XINFO STREAM."""
    entry = info["first-entry"]
    return _text(entry[0]) if entry else None


def last_offset(info: Mapping[str, Any]) -> str | None:
    """Return the offset of the stream's last entry from the answer of XINFO STREAM."""
    entry = info["last-entry"]
    return _text(entry[0]) if entry else None


def honest_lag(group: Mapping[str, Any], length: int, last: str | None) -> int | None:
    """Return how many entries were not yet delivered, from the answers of XINFO GROUPS and XINFO STREAM; None where
    Redis does not know. `last` is the offset of the stream's last entry. Pure."""
    if last is None or offset_key(last) <= offset_key(_text(group["last-delivered-id"])):
        return 0
    told = group.get("lag")
    # Redis can count entries that are gone: a number that can't be is as good as none.
    return int(told) if told is not None and 0 < int(told) <= length else None


def _portion(rows: Sequence[Pending], count: int) -> int:
    """Return how many of the oldest pending entries to take at once: the oftener delivered, the fewer."""
    most = count
    for taken, row in enumerate(rows):
        # Each delivery more means one reader more that did not finish: an eighth at a time finds the culprit soon.
        suspicion = min(max(0, row.deliveries - _ONCE_OR_TWICE), 10)
        most = min(most, max(1, count // 8**suspicion))
        if taken >= most:
            return max(1, taken)
    return len(rows)


def _create(client: Client, stream: str, position: str) -> bool:
    info = stream_info(client, stream)
    newest = _text(info["last-generated-id"]) if info else ORIGIN
    # A position beyond the stream's end is from another life of this Redis. If its clock is behind now, new entries
    # sort before that position and would never be delivered: so take all there is.
    start = position if offset_key(position) <= offset_key(newest) else ORIGIN
    try:
        client.xgroup_create(stream, GROUP, id=start, mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" in str(error):
            return False
        raise
    return True


def _group(client: Client, stream: str) -> Mapping[str, Any]:
    """Return the answer of XINFO GROUPS for our group; empty without it or its stream."""
    try:
        groups: Sequence[Mapping[str, Any]] = client.xinfo_groups(stream)
    except ResponseError as error:
        if is_missing(error):
            return {}
        raise
    return next((g for g in groups if _text(g["name"]) == GROUP), {})


def _oldest_pending(client: Client, stream: str, group: Any) -> str | None:
    try:
        oldest = client.xpending(stream, group)["min"]
    except ResponseError as error:
        if is_missing(error):
            return None
        raise
    return _text(oldest) if oldest is not None else None


def _covered(client: Client, stream: str, position: str, delivered: str) -> bool:
    """True when every entry after `position` up to `delivered` is pending or among the dead letters."""
    low = position
    while True:
        # Almost always one batch: a consumer commits and acknowledges before it reads on.
        entries = client.xrange(stream, min=f"({low}", max=delivered, count=_CHUNK) or []
        offsets = [_text(entry[0]) for entry in entries if entry[0] is not None]
        if not offsets:
            return True
        held = {p.offset for p in pending(client, stream, _CHUNK, first=offsets[0], last=offsets[-1])}
        free = [offset for offset in offsets if offset not in held]
        if free and not all(client.smismember(buried_key(stream), free)):
            return False
        low = offsets[-1]


def _set_back(client: Client, stream: str, position: str) -> bool:
    """Set the group back; False when it is gone meanwhile."""
    # What is pending comes again with all the rest. Kept pending it would be drained first, out of order.
    pipe = client.pipeline(transaction=True)
    pipe.xgroup_setid(stream, GROUP, position)
    first = "-"
    while rows := pending(client, stream, _CHUNK, first=first):
        pipe.xack(stream, GROUP, *[row.offset for row in rows])
        first = f"({rows[-1].offset}"
    try:
        pipe.execute()
    except ResponseError as error:
        if is_missing(error):
            return False
        raise
    return True


def present(streams: Iterable[str], replies: Iterable[Any]) -> dict[str, Any]:
    """Pair streams with what a pipeline answered about them; those that are not there are left out. Raises the first
    other error among the answers."""
    found: dict[str, Any] = {}
    for stream, reply in zip(streams, replies, strict=True):
        if isinstance(reply, ResponseError) and is_missing(reply):
            continue
        if isinstance(reply, Exception):
            raise reply
        found[stream] = reply
    return found


def is_missing(error: ResponseError) -> bool:
    """Tell whether Redis means by it that the stream or the group is not there."""
    return any(words in str(error) for words in ("NOGROUP", "no such key", "requires the key to exist"))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
