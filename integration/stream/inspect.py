"""What `headrace streams ls|lag|inspect|pending` shows: the streams, their groups, and who holds what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from redis.exceptions import ResponseError

from integration.errors import UsageError
from integration.stream.connection import Client, answering
from integration.stream.dead import dead_count
from integration.stream.entry import describe_entry
from integration.stream.groups import Lag, first_offset, group_lag, last_offset, stream_info
from integration.stream.names import GROUP, alive_of, is_ours, offset_time

NEWEST = 1000
"""So many of the newest entries `inspect` looks at."""

_PAGE = 500
_MOST_TYPES = 10


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A consumer of a group: how many entries it holds unacknowledged, and when it last asked (ms ago)."""

    name: str
    pending: int
    idle_ms: int


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group of a stream."""

    name: str
    lag: Lag
    consumers: tuple[ConsumerInfo, ...]


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream: its entries, both ends with the times they came (ISO 8601 UTC), its groups and dead letters.

    `bytes` is the memory it takes by Redis's estimate, None where Redis does not tell.
    """

    name: str
    length: int
    first: str | None
    first_at: str | None
    last: str | None
    last_at: str | None
    groups: tuple[GroupInfo, ...]
    bytes: int | None
    dead: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What the newest entries of a stream are: how many were looked at, how many of them headrace wrote (dead letters
    included), and how often each of the most frequent types came (None: entries without one)."""

    looked_at: int
    ours: int
    types: tuple[tuple[str | None, int], ...]


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that was delivered and not acknowledged: to whom, how long ago (ms), how often, and what it is.

    `is_gone` is True when the entry was trimmed away or deleted meanwhile; its type and subject are None then.
    """

    offset: str
    consumer: str
    idle_ms: int
    deliveries: int
    type: str | None
    subject: str | None
    is_gone: bool


def streams(client: Client) -> list[StreamInfo]:
    """List headrace's streams (`crm.*` and `product.events`) by name."""
    return [stream(client, name) for name in sorted({alive_of(key) for key in _names(client) if is_ours(key)})]


def stream(client: Client, name: str) -> StreamInfo:
    """Describe one stream, whoever's it is; one that is not there is empty."""
    dead = dead_count(client, name)
    with answering(client):
        info = stream_info(client, name)
        if info is None:
            return StreamInfo(name, 0, None, None, None, None, (), None, dead)
        first, last = first_offset(info), last_offset(info)
        return StreamInfo(
            name=name,
            length=int(info["length"]),
            first=first,
            first_at=offset_time(first) if first else None,
            last=last,
            last_at=offset_time(last) if last else None,
            groups=tuple(_group(client, name, info, group) for group in client.xinfo_groups(name)),
            bytes=_memory(client, name),
            dead=dead,
        )


def sample(client: Client, name: str) -> Sample:
    """Look at the newest `NEWEST` entries of a stream."""
    types: Counter[str | None] = Counter()
    ours, last, looked_at = 0, "+", 0
    while looked_at < NEWEST:
        with answering(client):
            entries: Any = client.xrevrange(name, max=last, count=min(_PAGE, NEWEST - looked_at)) or []
        if not entries:
            break
        for _, fields in entries:
            view = describe_entry(fields or {})
            types[view.type] += 1
            ours += view.ours
        looked_at, last = looked_at + len(entries), f"({_text(entries[-1][0])}"
    return Sample(looked_at, ours, tuple(types.most_common(_MOST_TYPES)))


def pending_entries(
    client: Client, name: str, group: str = GROUP, *, idle_ms: int = 0, count: int = 100
) -> list[PendingEntry]:
    """List what a group was given and has not acknowledged, oldest entry first, `count` at most.

    `idle_ms` leaves out what was delivered more recently. Raises UsageError for a group that the stream has not.
    """
    with answering(client):
        groups = [_text(one["name"]) for one in client.xinfo_groups(name)]
    if group not in groups:
        raise UsageError(_no_group(name, group, groups))
    found: list[PendingEntry] = []
    first = "-"
    while len(found) < count:
        with answering(client):
            rows = client.xpending_range(name, group, first, "+", min(_PAGE, count - len(found)), idle=idle_ms or None)
        if not rows:
            break
        found += _with_entries(client, name, rows)
        first = f"({found[-1].offset}"
    return found


def exists(client: Client, name: str) -> bool:
    """True for a stream, False where there is nothing. Raises UsageError for a key that is something else."""
    with answering(client):
        kind = _text(client.type(name))
    if kind not in ("stream", "none"):
        raise UsageError(f"{name} is a {kind} in Redis, not a stream: `headrace streams ls` lists the streams.")
    return kind == "stream"


def require_stream(client: Client, name: str) -> None:
    """Raise UsageError if there is no such stream: with the name that is nearest, or with what the key is instead."""
    if not exists(client, name):
        near = nearest(client, name)
        hint = f"; did you mean {near}?" if near else ":"
        raise UsageError(f"There is no stream {name}{hint} `headrace streams ls` lists those there are.")


def nearest(client: Client, name: str) -> str | None:
    """Return the stream whose name is most like this one (`Contact` is like `crm.contact`), None if none is."""
    names = sorted(_names(client))
    near = [*get_close_matches(f"crm.{name.lower()}", names, 1, 0.8), *get_close_matches(name.lower(), names, 1)]
    return near[0] if near else None


def _names(client: Client) -> set[str]:
    with answering(client):
        return {_text(key) for key in client.scan_iter(count=1000, _type="stream")}


def _group(client: Client, name: str, info: Mapping[str, Any], group: Mapping[str, Any]) -> GroupInfo:
    consumers: Sequence[Mapping[str, Any]] = client.xinfo_consumers(name, group["name"])
    return GroupInfo(
        name=_text(group["name"]),
        lag=group_lag(client, name, info, group),
        consumers=tuple(ConsumerInfo(_text(c["name"]), int(c["pending"]), int(c["idle"])) for c in consumers),
    )


def _memory(client: Client, name: str) -> int | None:
    try:
        return client.memory_usage(name)
    except ResponseError:  # a hosted Redis may not offer MEMORY
        return None


def _with_entries(client: Client, name: str, rows: Sequence[Mapping[str, Any]]) -> list[PendingEntry]:
    pipe = client.pipeline(transaction=False)
    for row in rows:
        pipe.xrange(name, row["message_id"], row["message_id"])
    with answering(client):
        replies = pipe.execute()
    return [_pending(row, reply[0][1] if reply else None) for row, reply in zip(rows, replies, strict=True)]


def _pending(row: Mapping[str, Any], fields: Mapping[bytes, bytes] | None) -> PendingEntry:
    kind, subject = ((fields or {}).get(name) for name in (b"type", b"subject"))
    return PendingEntry(
        offset=_text(row["message_id"]),
        consumer=_text(row["consumer"]),
        idle_ms=int(row["time_since_delivered"]),
        deliveries=int(row["times_delivered"]),
        type=_text(kind) if kind is not None else None,
        subject=_text(subject) if subject is not None else None,
        is_gone=not fields,
    )


def _no_group(name: str, group: str, groups: Sequence[str]) -> str:
    if not groups:
        return f"{name} has no group: nobody has read it yet."
    near = get_close_matches(group, groups, 1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"{name} has no group {group}{hint} It has {', '.join(groups)}."


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
