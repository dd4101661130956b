"""What `headrace streams ls|tail|peek|lag` shows: the streams, their groups, and single entries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from redis.exceptions import ResponseError

from integration.core import exactjson
from integration.errors import UsageError
from integration.stream.connection import Client, answering
from integration.stream.entry import EntryView, describe_entry
from integration.stream.groups import Lag, first_offset, group_lag, last_offset, stream_info
from integration.stream.names import ORIGIN, alive_of, dead_of, is_ours, offset_key, offset_time

_BLOCK_MS = 1000
_AT_ONCE = 100


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


def streams(client: Client) -> list[StreamInfo]:
    """List headrace's streams (`crm.*` and `product.events`) by name."""
    with answering(client):
        found = {_text(key) for key in client.scan_iter(count=1000, _type="stream")}
        return [_stream(client, name) for name in sorted({alive_of(key) for key in found if is_ours(key)})]


def peek(client: Client, stream: str, offset: str | None = None, count: int = 1) -> list[EntryView]:
    """Return `count` entries from `offset` on, or the newest ones, in the stream's order.

    Raises UsageError for an unknown stream, or an offset that is none.
    """
    with answering(client):
        if stream_info(client, stream) is None:
            raise UsageError(f"There is no stream {stream}: `headrace streams ls` lists those there are.")
        if offset is None:
            entries = list(reversed(client.xrevrange(stream, count=count) or []))
        else:
            entries = client.xrange(stream, min=_checked(offset), count=count) or []
    return [_view(stream, entry) for entry in entries]


def tail(
    client: Client,
    names: Sequence[str],
    *,
    start: str = "$",
    type_glob: str | None = None,
    where: Mapping[str, str] | None = None,
    stop: Callable[[], bool],
) -> Iterator[EntryView]:
    """Follow streams, also such as do not exist yet; entries come as they arrive, a few at a time.

    `start` is `$` (only what comes from now on) or the offset after which to begin. `type_glob` is compared with the
    type after `com.salesforce.`, with and without its version: `opportunity.*`, `*.deleted`. `where` gives fields of
    the record and the text they must have (numbers in plain decimals, `true`, `false`, `null`). `stop` is asked at
    least once a second. Raises UsageError for an offset that is none.
    """
    with answering(client):
        after: dict[Any, Any] = {n: _newest(client, n) if start == "$" else _checked(start) for n in names}
    while after and not stop():
        with answering(client):
            reply: Any = client.xread(after, count=_AT_ONCE, block=_BLOCK_MS)
        for key, entries in reply.items() if isinstance(reply, Mapping) else reply or ():
            for entry in entries:
                view = _view(_text(key), entry)
                after[view.stream] = view.offset
                if stop():
                    return
                if _has_type(view, type_glob) and _has_fields(view, where):
                    yield view


def _stream(client: Client, name: str) -> StreamInfo:
    dead = int(client.xlen(dead_of(name)))
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


def _group(client: Client, stream: str, info: Mapping[str, Any], group: Mapping[str, Any]) -> GroupInfo:
    consumers: Sequence[Mapping[str, Any]] = client.xinfo_consumers(stream, group["name"])
    return GroupInfo(
        name=_text(group["name"]),
        lag=group_lag(client, stream, info, group),
        consumers=tuple(ConsumerInfo(_text(c["name"]), int(c["pending"]), int(c["idle"])) for c in consumers),
    )


def _memory(client: Client, stream: str) -> int | None:
    try:
        return client.memory_usage(stream)
    except ResponseError:  # a hosted Redis may not offer MEMORY
        return None


def _newest(client: Client, stream: str) -> str:
    # "$" again and again would miss what arrives between two reads.
    info = stream_info(client, stream)
    return _text(info["last-generated-id"]) if info else ORIGIN


def _checked(offset: str) -> str:
    try:
        offset_key(offset)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    return offset


def _view(stream: str, entry: Any) -> EntryView:
    return describe_entry(entry[1] or {}, stream=stream, offset=_text(entry[0]))


def _has_type(view: EntryView, glob: str | None) -> bool:
    if glob is None:
        return True
    kind = (view.type or "").removeprefix("com.salesforce.")
    return any(fnmatchcase(name, glob.lower()) for name in (kind, kind.rpartition(".v")[0]))


def _has_fields(view: EntryView, where: Mapping[str, str] | None) -> bool:
    if not where:
        return True
    data = view.data if isinstance(view.data, dict) else {}
    fields = data.get("fields")
    record = fields if isinstance(fields, dict) else {}
    return all(name in record and _plain(record[name]) == value for name, value in where.items())


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float | Decimal):
        return exactjson.plain(value)
    return value if isinstance(value, str) else exactjson.dumps(value).decode()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
