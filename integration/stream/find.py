"""Finding entries: page by page, in a stream or among its dead letters, so that no stream is ever loaded whole."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from integration.errors import UsageError
from integration.stream.conditions import Filter
from integration.stream.connection import Client, answering
from integration.stream.dead import Buried, list_dead, read_letter
from integration.stream.entry import EntryView, describe_entry
from integration.stream.groups import last_offset, stream_info
from integration.stream.inspect import require_stream
from integration.stream.names import ORIGIN, alive_of, dead_of, is_ours, offset_key

PAGE = 500
"""No call asks Redis for more entries at once."""

_BLOCK_MS = 1000
_BEAT_SECONDS = 0.1
_AT_ONCE = 100
_LAST_SEQUENCE = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RawEntry = tuple[str, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is behind a position of a stream. `offset` is the first entry of the record there, None if there is none
    among the `looked_at` entries; `is_all` is False when there are more than were looked at."""

    offset: str | None
    looked_at: int
    is_all: bool


def pages(
    client: Client, stream: str, *, first: str = "-", last: str = "+", newest_first: bool = False, page: int = PAGE
) -> Iterator[list[RawEntry]]:
    """Give the entries between two offsets (as XRANGE takes them), a page at a time, forwards or backwards."""
    while True:
        with answering(client):
            entries: Any = (
                client.xrevrange(stream, max=last, min=first, count=page)
                if newest_first
                else client.xrange(stream, min=first, max=last, count=page)
            )
        found = [(_text(offset), fields or {}) for offset, fields in entries or ()]
        if found:
            yield found
        if len(found) < page:
            return
        first, last = (first, f"({found[-1][0]}") if newest_first else (f"({found[-1][0]}", last)


def peek(
    client: Client,
    stream: str,
    *,
    first: str = "-",
    last: str = "+",
    count: int = 1,
    newest: bool = True,
    wanted: Filter | None = None,
) -> list[EntryView]:
    """Return the `count` newest (or, with `newest=False`, oldest) entries between two offsets that are wanted.

    They come in the stream's order. Raises UsageError for an unknown stream.
    """
    require_stream(client, stream)
    page = min(count, PAGE) if wanted is None else PAGE
    found: list[EntryView] = []
    for entries in pages(client, stream, first=first, last=last, newest_first=newest, page=page):
        for offset, fields in entries:
            if wanted is None or wanted.takes(fields):
                found.append(describe_entry(fields, stream=stream, offset=offset))
                if len(found) == count:
                    return found[::-1] if newest else found
    return found[::-1] if newest else found


def tail(
    client: Client,
    names: Sequence[str],
    *,
    start: str = "$",
    wanted: Filter | None = None,
    stop: Callable[[], bool],
) -> Iterator[EntryView]:
    """Follow streams, also such as do not exist yet; entries come as they arrive, a few at a time.

    `start` is `$` (only what comes from now on) or the offset after which to begin. `stop` is asked at least once a
    second. Raises UsageError for an offset that is none.
    """
    if start != "$":
        checked(start)
    with answering(client):
        after: dict[str, str] = {n: _newest(client, n) if start == "$" else start for n in names}
    while after and not stop():
        for stream, entries in _come(client, after):
            for raw_offset, fields in entries:
                after[stream] = offset = _text(raw_offset)
                if stop():
                    return
                if wanted is None or wanted.takes(fields or {}):
                    yield describe_entry(fields or {}, stream=stream, offset=offset)


def _come(client: Client, after: Mapping[Any, Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Give what has come to each stream after its offset; wait a moment where nothing has."""
    if len(after) == 1:
        with answering(client):
            reply: Any = client.xread({**after}, count=_AT_ONCE, block=_BLOCK_MS)
        yield from _by_stream(reply)
        return
    # One command can't wait for streams in several slots, so each is asked by itself.
    pipe = client.pipeline(transaction=False)
    for stream, offset in after.items():
        pipe.xread({stream: offset}, count=_AT_ONCE)
    with answering(client):
        found = [pair for reply in pipe.execute() for pair in _by_stream(reply)]
    if not found:
        time.sleep(_BEAT_SECONDS)
    yield from found


def _by_stream(reply: Any) -> Iterator[tuple[str, Sequence[Any]]]:
    for key, entries in reply.items() if isinstance(reply, Mapping) else reply or ():
        yield _text(key), entries


def find_waiting(client: Client, stream: str, subject: str, after: str, *, most: int = 20_000) -> Waiting:
    """Look for an entry of a record (`Contact/003...`) behind the offset `after`. Without the stream there is none."""
    looked_at = 0
    with answering(client):
        info = stream_info(client, stream)
    end = last_offset(info) if info else None
    if end is None or offset_key(after) >= offset_key(end):
        return Waiting(None, 0, is_all=True)
    for entries in pages(client, stream, first=f"({after}", last=end):
        for offset, fields in entries:
            if looked_at >= most:
                return Waiting(None, looked_at, is_all=False)
            looked_at += 1
            if fields.get(b"subject") == subject.encode():
                return Waiting(offset, looked_at, is_all=True)
    return Waiting(None, looked_at, is_all=True)


def dead_letters(
    client: Client, stream: str, *, last: str = "+", newest_first: bool = False, wanted: Filter | None = None
) -> Iterator[list[Buried]]:
    """Give the dead letters of a stream that are wanted, a page at a time; a page may be empty."""
    for entries in pages(client, dead_of(stream), last=last, newest_first=newest_first):
        yield [
            read_letter(stream, offset, fields) for offset, fields in entries if wanted is None or wanted.takes(fields)
        ]


def dead_streams(client: Client) -> list[str]:
    """List the streams of headrace that have (or had) dead letters, by name."""
    with answering(client):
        found = {_text(key) for key in client.scan_iter(match=dead_of("*"), count=1000, _type="stream")}
    return sorted(alive_of(key) for key in found if is_ours(key))


def newest_dead(client: Client, stream: str) -> str | None:
    """Return the offset of the newest dead letter of a stream, None if it has none."""
    with answering(client):
        entries: Any = client.xrevrange(dead_of(stream), count=1)
    return _text(entries[0][0]) if entries else None


def find_letters(client: Client, stream: str, offsets: Sequence[str]) -> list[Buried]:
    """Find dead letters by the offsets their entries had in the stream, or by those they have in `<stream>.dead`.

    One letter each, in the order of the offsets, no letter twice; the former offset goes first where both fit.
    Raises UsageError for an offset that is none, and for letters that are not there.
    """
    keys = {offset_key(checked(offset)): offset for offset in offsets}
    by_origin: dict[tuple[int, int], Buried] = {}
    by_dead: dict[tuple[int, int], Buried] = {}
    for page in dead_letters(client, stream):
        for one in page:
            if one.ours and (key := offset_key(one.letter.offset)) in keys:
                by_origin[key] = one
            if (key := offset_key(one.dead_offset)) in keys:
                by_dead[key] = one
    found = {key: by_origin.get(key) or by_dead.get(key) for key in keys}
    missing = [offset for key, offset in keys.items() if found[key] is None]
    if missing:
        raise UsageError(
            f"{stream} has no dead letter {', '.join(missing)}: `headrace dlq ls {stream}` lists those there are."
        )
    return list({one.dead_offset: one for one in found.values() if one is not None}.values())


def find_dead_of(client: Client, stream: str, subject: str, *, most: int = 20_000) -> list[Buried]:
    """List the dead letters of a record (`Contact/003...`), oldest first, among the first `most` of the stream."""
    return [buried for buried in _dead(client, stream, most) if buried.subject == subject]


def offset_at(moment: datetime) -> str:
    """Return the first offset that an entry which Redis took at this moment can have."""
    return f"{max((moment - _EPOCH) // timedelta(milliseconds=1), 0)}-0"


def offset_before(offset: str) -> str:
    """Return the offset just before another one; `0-0` for the very first."""
    millis, sequence = offset_key(offset)
    if sequence:
        return f"{millis}-{sequence - 1}"
    return f"{millis - 1}-{_LAST_SEQUENCE}" if millis else ORIGIN


def checked(offset: str) -> str:
    """Return the offset. Raises UsageError for what is none."""
    try:
        key = offset_key(offset)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    if max(key) > _LAST_SEQUENCE:
        raise UsageError(f"{offset} is not an entry id: it is beyond the largest there can be.")
    return offset


def _dead(client: Client, stream: str, most: int) -> Iterator[Buried]:
    start, seen = "-", 0
    while seen < most and (page := list_dead(client, stream, start=start, count=PAGE)):
        yield from page
        start, seen = f"({page[-1].dead_offset}", seen + len(page)


def _newest(client: Client, stream: str) -> str:
    # "$" again and again would miss what arrives between two reads.
    info = stream_info(client, stream)
    return _text(info["last-generated-id"]) if info else ORIGIN


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
