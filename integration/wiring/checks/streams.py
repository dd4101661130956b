"""What waits in the streams, who should have taken it, and what is gone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from integration.settings import Settings
from integration.stream import inspect
from integration.stream.connection import Client, answering
from integration.stream.groups import stream_info
from integration.stream.inspect import StreamInfo
from integration.stream.names import GROUP, offset_key, stream_of
from integration.stream.publish import Publisher
from integration.wiring.checks.check import Check, State
from integration.wiring.waiting import age_of, group_of, oldest_waiting

_OLD_SECONDS = 600
"""So long an entry waits only if nobody consumes, or the consumer is stuck."""
_DEAD_CONSUMER_MS = 600_000
_CATCH_UP = "start headrace run, or run: headrace sync; a worker that runs says in its log what keeps it"


def checks(settings: Settings, client: Client) -> Iterator[Check]:
    """Look at streams, groups and cursors."""
    now = datetime.now(UTC)
    streams = inspect.streams(client)
    for stream in streams:
        yield from _dead(stream)
        yield from _group(stream)
        yield from _waiting(client, stream, now)
        yield from _left_behind(stream)
    yield from late_commits(settings, client)


def _dead(stream: StreamInfo) -> Iterator[Check]:
    if stream.dead:
        yield Check(
            "dead letters", State.WARN, f"{stream.name} has given up {stream.dead}",
            f"look at them: headrace dlq ls {stream.name}; once the cause is mended: "
            f"headrace dlq retry {stream.name} --all",
        )  # fmt: skip


def _group(stream: StreamInfo) -> Iterator[Check]:
    if stream.length and group_of(stream) is None:
        yield Check(
            "groups", State.WARN,
            f"{stream.name} holds {_entries(stream.length)} and has no group {GROUP}: nobody reads it",
            "a consumer makes it: start headrace run, or run: headrace sync",
        )  # fmt: skip


def _waiting(client: Client, stream: StreamInfo, now: datetime) -> Iterator[Check]:
    if group_of(stream) is None:
        return
    age = age_of(oldest_waiting(client, stream), now)
    if age is not None and age > _OLD_SECONDS:
        yield Check("waiting", State.WARN, f"an entry has been waiting in {stream.name} for {span(age)}", _CATCH_UP)


def _left_behind(stream: StreamInfo) -> Iterator[Check]:
    """Tell of entries that a consumer took and, by all appearance, won't finish."""
    group = group_of(stream)
    for consumer in group.consumers if group else ():
        if consumer.pending and consumer.idle_ms > _DEAD_CONSUMER_MS:
            yield Check(
                "pending", State.WARN,
                f"the consumer {consumer.name} of {stream.name} took {_entries(consumer.pending)} and "
                f"has not been heard of for {span(consumer.idle_ms / 1000)}",
                "the next consumer takes them over: start headrace run, or run: headrace sync",
            )  # fmt: skip


def late_commits(settings: Settings, client: Client) -> Iterator[Check]:
    """Name the objects of which rows came later than the overlap allows for."""
    publisher = Publisher(client)
    late = [name for name in settings.watched if (cursor := publisher.cursor(name)) is not None and cursor.late_seen]
    if late:
        yield Check(
            "late commits", State.WARN,
            f"rows of {', '.join(late)} were committed later than polls read back "
            f"({settings.poll.overlap_seconds:g} s)",
            "they are read further back since then; what came later still is found by: headrace sweep "
            f"{' '.join(late)}; or raise poll.overlap_seconds",
        )  # fmt: skip


def gaps(client: Client, positions: Mapping[str, str], objects: Collection[str]) -> Iterator[Check]:
    """Tell where entries have gone from a stream before the store had them.

    `positions` is how far the store has each stream, `objects` are those it knows, by their API names.
    """
    for stream in inspect.streams(client):
        position = positions.get(stream.name, "")
        if has_gap(client, stream.name, position):
            yield Check(
                "gap", State.FAIL,
                f"entries of {stream.name} are gone that the store never had (it stands at "
                f"{position or 'the beginning'}, the stream begins at {stream.first or 'nothing'})",
                f"read them again: headrace backfill {_object(stream.name, objects)}",
            )  # fmt: skip


def has_gap(client: Client, stream: str, position: str) -> bool:
    """Tell whether entries after the store's position were cut off or deleted from the stream, as far as that shows."""
    with answering(client):
        info = stream_info(client, stream)
        groups: Sequence[Mapping[str, Any]] = client.xinfo_groups(stream) if info is not None else []
    if info is None:
        return False
    length, newest = int(info["length"]), _text(info["last-generated-id"])
    added = info.get("entries-added")
    if offset_key(position or "0-0") == (0, 0):
        return added is not None and int(added) > length
    if offset_key(newest) <= offset_key(position):
        return False
    if offset_key(_text(info.get("max-deleted-entry-id") or "0-0")) > offset_key(position):
        return True
    first = info["first-entry"]
    if first and offset_key(_text(first[0])) <= offset_key(position):
        return False
    # The entry of the position itself is gone. Were later ones too? The group counts what it has still to be given.
    group = next((g for g in groups if _text(g["name"]) == GROUP), {})
    if group and _text(group["last-delivered-id"]) == position and group.get("lag") is not None:
        return int(group["lag"]) > length
    return True


def span(seconds: float) -> str:
    """Say a time span: `12 min`, `3 h`, `2 days`."""
    if seconds < 2 * 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{round(seconds / 3600)} h" if seconds < 48 * 3600 else f"{round(seconds / 86400)} days"


def _object(stream: str, known: Collection[str]) -> str:
    return next((name for name in known if stream_of(name) == stream), stream.removeprefix("crm."))


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
