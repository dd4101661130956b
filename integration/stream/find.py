"""Finding the entries of one record in a stream, and among its dead letters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from integration.core import exactjson
from integration.stream.connection import Client, answering
from integration.stream.dead import Buried, list_dead
from integration.stream.groups import last_offset, stream_info
from integration.stream.names import offset_key

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is behind a position of a stream. `offset` is the first entry of the record there, None if there is none
    among the `looked_at` entries; `is_all` is False when there are more than were looked at."""

    offset: str | None
    looked_at: int
    is_all: bool


def find_waiting(client: Client, stream: str, subject: str, after: str, *, most: int = 20_000) -> Waiting:
    """Look for an entry of a record (`Contact/003...`) behind the offset `after`. Without the stream there is none."""
    looked_at = 0
    with answering(client):
        info = stream_info(client, stream)
        end = last_offset(info) if info else None
        while end is not None and offset_key(after) < offset_key(end):
            if looked_at >= most:
                return Waiting(None, looked_at, is_all=False)
            entries: Any = client.xrange(stream, min=f"({after}", max=end, count=_PAGE) or []
            for offset, fields in entries:
                after, looked_at = str(offset, "ascii"), looked_at + 1
                if fields and fields.get(b"subject") == subject.encode():
                    return Waiting(after, looked_at, is_all=True)
            if not entries:
                break
    return Waiting(None, looked_at, is_all=True)


def find_dead_of(client: Client, stream: str, subject: str, *, most: int = 20_000) -> list[Buried]:
    """List the dead letters of a record (`Contact/003...`), oldest first, among the first `most` of the stream."""
    return [buried for buried in _dead(client, stream, most) if _subject(buried.letter.fields) == subject]


def _dead(client: Client, stream: str, most: int) -> Iterator[Buried]:
    start, seen = "-", 0
    while seen < most and (page := list_dead(client, stream, start=start, count=_PAGE)):
        yield from page
        start, seen = f"({page[-1].dead_offset}", seen + len(page)


def _subject(fields: dict[str, str]) -> str | None:
    """Tell which record an entry is about: by its subject, else by what its capture says."""
    if "subject" in fields:
        return fields["subject"]
    try:
        capture = exactjson.loads(fields.get("data", ""))
        return f"{capture['object']}/{capture['record_id']}"
    except (ValueError, KeyError, TypeError):
        return None
