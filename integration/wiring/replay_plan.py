"""What a replay finds to do: in the archive, in the streams, and where an earlier one was broken off."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from consumers.batch import Entry
from consumers.replay import MARK
from integration.core import exactjson
from integration.core.times import parse_time
from integration.errors import ConfigError, UsageError
from integration.settings import Settings
from integration.store.answers import ask
from integration.store.hints import did_you_mean
from integration.store.protocol import Reader
from integration.store.quoting import literal
from integration.stream import find, names
from integration.stream.connection import Client, answering
from integration.wiring.replay_report import ObjectPlan, Plan, Request
from integration.wiring.streams import existing_streams

LISTED_AT_ONCE: Final = 20_000
"""How many records are listed with one question to the archive."""
MARKED: Final = f"SELECT value FROM headrace.meta WHERE key = '{MARK}'"
ARCHIVED: Final = "SELECT DISTINCT object FROM captures ORDER BY object"

_ARCHIVE_FROM: Final = "SELECT value FROM headrace.meta WHERE key = 'archive_from'"
_ENTRIES_AT_ONCE: Final = 1_000


def time_of(text: str, option: str, moment: datetime) -> str | None:
    """Return a time as it was typed as ISO 8601 UTC, None for none. Raises UsageError that names the option."""
    if not text:
        return None
    try:
        return parse_time(text, moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def unfinished(marked: Sequence[dict[str, Any]], request: Request) -> dict[str, Any] | None:
    """Return the mark of a replay of the same words that was broken off, from the rows of MARKED.

    One that was made under other settings is no use any more: half of the records would follow other rules.
    """
    mark: dict[str, Any] | None = exactjson.loads(marked[0]["value"]) if marked else None
    if mark is None or (mark["words"], mark["rules"]) != (request.words, request.rules):
        return None
    return mark


def place_of(mark: dict[str, Any]) -> str:
    """Say where a replay was broken off."""
    kind, _, name = str(mark["step"]).partition(" ")
    return f"{name} {mark['after']}" if kind == "records" else "the people"


def wanted(objects: Sequence[str], there: Sequence[str]) -> list[str]:
    """Return the objects to do, by the names the archive has. Raises UsageError for one it does not have."""
    known = {name.lower(): name for name in there}
    for name in objects:
        if name.lower() not in known:
            hint = did_you_mean(name, there) or f" It has {', '.join(there)}."
            raise UsageError(f"The archive has no captures of {name}.{hint}")
    return [known[name.lower()] for name in dict.fromkeys(objects)] if objects else list(there)


def records_sql(since: str | None, until: str | None) -> str:
    """Return the SELECT of the next records (parameters: object, id) with how many captures they have in all.

    Where times are given, those of which a capture was stored from `since` until before `until`.
    """
    return (
        f"SELECT record_id, sum(n) AS n FROM ({_stored(since, until)}) AS s WHERE object = ? AND record_id > ? "
        f"GROUP BY record_id {_having(since, until)} ORDER BY record_id LIMIT {LISTED_AT_ONCE}"
    )


def archived(store: Reader, objects: Sequence[str], since: str | None, until: str | None) -> Plan:
    """Plan a replay from the archive. Raises UsageError for an unknown object, ConfigError for an empty archive."""
    there = [row["object"] for row in ask(store, ARCHIVED)]
    if not there:
        raise ConfigError("The archive (table captures) is empty: run headrace sync first.")
    chosen = wanted(objects, there)
    each = (
        "SELECT object, record_id, sum(n) AS n, min(stored_at) AS first, max(stored_at) AS last "
        f"FROM ({_stored(since, until)}) AS s GROUP BY object, record_id {_having(since, until)}"
    )
    found = ask(
        store,
        "SELECT object, count(*) AS records, CAST(sum(n) AS BIGINT) AS captures, min(first) AS first, "
        f"max(last) AS last FROM ({each}) AS r GROUP BY object ORDER BY object",
    )
    forgotten = ask(store, _ARCHIVE_FROM)
    plans = [ObjectPlan(**row) for row in found if row["object"] in chosen]
    return Plan("archive", since, until, plans, forgotten[0]["value"] if forgotten else None)


def in_streams(settings: Settings, objects: Sequence[str], since: str | None, until: str | None) -> Plan:
    """Plan a replay from what lies in the streams. Raises UsageError for an object without a stream."""
    plans, (first, last) = [], _range(since, until)
    with existing_streams(settings) as streams, answering(streams.client):
        client = streams.client
        for stream in streams_of(client, objects):
            ends: list[Any] = [client.xrange(stream, first, last, 1), client.xrevrange(stream, last, first, 1)]
            if ends[0]:
                times = [names.offset_time(_text(end[0][0])) for end in ends]
                plans.append(ObjectPlan(stream, None, int(client.xlen(stream)), times[0], times[1]))
    return Plan("stream", since, until, plans)


def streams_of(client: Client, objects: Sequence[str]) -> list[str]:
    """Return the streams of these objects, or all there are. Raises UsageError for one that is not there."""
    with answering(client):
        found = {_text(key) for key in client.scan_iter(match="crm.*", count=1_000, _type="stream")}
    there = sorted(name for name in found if names.alive_of(name) == name)
    asked = [names.stream_of(name) for name in dict.fromkeys(objects)]
    for stream in asked:
        if stream not in there:
            raise UsageError(f"There is no stream {stream}: `headrace streams ls` shows those there are.")
    return asked or there


def entries_of(client: Client, stream: str, since: str | None, until: str | None) -> Iterator[list[Entry]]:
    """Give what lies in a stream, oldest first, of what Redis took from `since` until before `until`."""
    first, last = _range(since, until)
    for page in find.pages(client, stream, first=first, last=last, page=_ENTRIES_AT_ONCE):
        yield [Entry(stream, offset, fields) for offset, fields in page if fields]


def _range(since: str | None, until: str | None) -> tuple[str, str]:
    first = find.offset_at(datetime.fromisoformat(since)) if since else "-"
    return first, f"({find.offset_at(datetime.fromisoformat(until))}" if until else "+"


def _stored(since: str | None, until: str | None) -> str:
    """Return the SELECT of all captures; without times, also of the records whose captures were all forgotten."""
    captures = "SELECT object, record_id, stored_at, 1 AS n FROM captures"
    if since or until:
        return captures
    return f"{captures} UNION ALL SELECT object, record_id, CAST(NULL AS TIMESTAMPTZ), 0 FROM headrace.states"


def _having(since: str | None, until: str | None) -> str:
    within = [
        f"stored_at {comparison} CAST({literal(moment)} AS TIMESTAMPTZ)"
        for comparison, moment in ((">=", since), ("<", until))
        if moment is not None
    ]
    return f"HAVING sum(CASE WHEN {' AND '.join(within)} THEN 1 ELSE 0 END) > 0" if within else ""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
