"""Stream entries: captures and product events as CloudEvents 1.0 in plain fields, and any entry as a person wants to
see it. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from struct import Struct
from typing import Any

from integration import tracing
from integration.core import exactjson
from integration.stream.names import offset_time

# FastStream wraps a message in `__data__`: magic, version (2 bytes), where the headers start and where the body
# starts (4 bytes each), headers, body.
_ENVELOPE_FIELD = b"__data__"
_ENVELOPE_MAGIC = b"\x89BIN\r\n\x1a\n"
_ENVELOPE_HEAD = Struct(">HII")

# Not `user/` and `anonymous/`, as the subjects of product events begin: those are people.
_SUBJECT = re.compile(r"(?!user/|anonymous/)[A-Za-z]\w*/[A-Za-z0-9]{18}", re.ASCII)
_OUR_TYPES = ("com.salesforce.", "com.headrace.")
_REQUIRED = (b"specversion", b"id", b"type", b"source", b"data")
_DEAD_LETTER = (b"stream", b"offset", b"reason", b"entry")


@dataclass(frozen=True, slots=True)
class EntryView:
    """A stream entry for people.

    `at` is the time in the offset (when Redis took the entry), ISO 8601 UTC with milliseconds. `data` is the parsed
    payload: the capture or product event of an entry of ours, the body of a FastStream message, the given-up entry's
    fields of a dead letter, else None. `raw` has every field as text; bytes that are not UTF-8 are backslash-escaped.
    `note` says in words what is special about the entry; empty for one of ours.
    """

    stream: str
    offset: str
    at: str | None
    type: str | None
    subject: str | None
    origin: str | None
    ours: bool
    data: Any
    raw: dict[str, str] = field(repr=False)
    note: str = ""


def to_entry(capture: Mapping[str, Any], traceparent: str | None = None) -> dict[str, bytes | str]:
    """Return a capture (a plain dict in the shape of schemas.Capture) as the field map of its stream entry.

    The order of the fields is fixed: Redis then stores their names once per node instead of once per entry. While
    traces are made, `traceparent` (W3C) is one more of them.
    """
    entry: dict[str, bytes | str] = {
        "specversion": "1.0",
        "id": capture["id"],
        "type": _type(capture),
        "source": f"/salesforce/{capture['org']}",
        "subject": f"{capture['object']}/{capture['record_id']}",
        "time": capture["system_modstamp"],
        "origin": str(capture["origin"]),
        "seenat": capture["seen_at"],
        "datacontenttype": "application/json",
        "data": exactjson.dumps(capture),
    }
    if traceparent is not None:
        entry["traceparent"] = traceparent
    return entry


def to_product_entry(event: Mapping[str, Any], traceparent: str | None = None) -> dict[str, bytes | str]:
    """Return a product event (a plain dict in the shape of schemas.ProductEvent) as the field map of its stream entry.

    The same fields in the same order as those of a capture.
    """
    user = event["user_id"]
    entry: dict[str, bytes | str] = {
        "specversion": "1.0",
        "id": event["id"],
        "type": f"com.headrace.product.{event['type']}.v1",
        "source": "/product",
        "subject": f"user/{user}" if user is not None else f"anonymous/{event['anonymous_id']}",
        "time": event["time"],
        "origin": "product",
        "seenat": event["received_at"],
        "datacontenttype": "application/json",
        "data": exactjson.dumps(event),
    }
    if traceparent is not None:
        entry["traceparent"] = traceparent
    return entry


def short_type(kind: str) -> str:
    """Return a type as people say it: `contact.updated.v1`, `product.track.v1`; a stranger's as it is."""
    for prefix in _OUR_TYPES:
        if kind.lower().startswith(prefix):
            return kind[len(prefix) :]
    return kind


def about(fields: Mapping[str, str]) -> dict[str, str]:
    """Return what a line of the log says of an entry (see `readable`): its `record` (`Contact/003...`), and its trace
    if it has one."""
    subject = fields.get("subject", "")
    trace_id = tracing.trace_id_of(fields.get("traceparent", ""))
    # What strangers write there could be anything.
    told = {"record": subject if _SUBJECT.fullmatch(subject) else None, "trace_id": trace_id}
    return {name: text for name, text in told.items() if text}


def traceparents(entries: Iterable[Mapping[bytes, bytes]]) -> Iterator[str]:
    """Give the traceparents of entries that have one, each once."""
    return (_text(one) for one in dict.fromkeys(e.get(b"traceparent") for e in entries) if one is not None)


def readable(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return an entry's fields as text; bytes that are not UTF-8 are backslash-escaped."""
    return {_text(name): _text(value) for name, value in fields.items()}


def describe_entry(fields: Mapping[bytes, bytes], *, stream: str = "", offset: str = "") -> EntryView:
    """Return an entry as a person wants to see it: ours, FastStream's, a dead letter, a stranger's. Never raises."""
    if _ENVELOPE_FIELD in fields:
        data, note = _envelope(fields[_ENVELOPE_FIELD])
        return _view(fields, stream, offset, data=data, note=note)
    if all(name in fields for name in _DEAD_LETTER):
        return _describe_dead(fields, stream, offset)
    missing = [name.decode() for name in _REQUIRED if name not in fields]
    if missing:
        return _view(fields, stream, offset, note=f"not ours: no field {', '.join(missing)}")
    data = _json(fields[b"data"])
    if not isinstance(data, dict):
        return _view(fields, stream, offset, note="not ours: data is not a JSON object")
    return _view(fields, stream, offset, ours=True, data=data)


def _type(capture: Mapping[str, Any]) -> str:
    return f"com.salesforce.{capture['object'].lower()}.{_verb(capture)}.v1"


def _verb(capture: Mapping[str, Any]) -> str:
    # A first load tells what is, not what happened: calling its rows created or updated would invent events.
    if capture["origin"] == "backfill":
        return "snapshot"
    if capture["is_deleted"]:
        return "deleted"
    created = (capture["fields"] or {}).get("CreatedDate")
    return "created" if _same_second(created, capture["system_modstamp"]) else "updated"


def _same_second(a: object, b: object) -> bool:
    if not isinstance(a, str) or not isinstance(b, str):
        return False
    if a.endswith("+0000") and b.endswith("Z"):  # how REST and captures write UTC: spare the parsing
        return a[:19] == b[:19]
    try:
        return _utc_second(a) == _utc_second(b)
    except ValueError:
        return False


def _utc_second(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)


def _view(
    fields: Mapping[bytes, bytes], stream: str, offset: str, *, ours: bool = False, data: Any = None, note: str = ""
) -> EntryView:
    raw = readable(fields)
    return EntryView(
        stream=stream,
        offset=offset,
        at=offset_time(offset),
        type=raw.get("type"),
        subject=raw.get("subject"),
        origin=raw.get("origin"),
        ours=ours,
        data=data,
        raw=raw,
        note=note,
    )


def _describe_dead(fields: Mapping[bytes, bytes], stream: str, offset: str) -> EntryView:
    raw = readable(fields)
    note = f"dead letter of {raw['stream']} {raw['offset']}: {raw['reason']}"
    return _view(fields, stream, offset, ours=True, data=_json(fields[b"entry"]), note=note)


def _envelope(content: bytes) -> tuple[Any, str]:
    """Open FastStream's binary envelope, or the JSON one of its older versions."""
    head = len(_ENVELOPE_MAGIC) + _ENVELOPE_HEAD.size
    if not content.startswith(_ENVELOPE_MAGIC):
        data = _json(content)
        if isinstance(data, dict) and data.keys() == {"data", "headers"} and isinstance(data["data"], str):
            content, data = data["data"].encode("utf-8", "surrogatepass"), _json(data["data"])
        return _or_text(data, content), "not ours: a FastStream message (JSON)"
    if len(content) < head:
        return _text(content), "not ours: a FastStream message cut short"
    # The headers are passed over: their lengths count characters where they should count bytes, so that a header
    # with an umlaut makes FastStream itself misread all that follows. The start of the body is always right.
    body = content[_ENVELOPE_HEAD.unpack_from(content, len(_ENVELOPE_MAGIC))[2] :]
    return _or_text(_json(body), body), "not ours: a FastStream message"


def _or_text(data: Any, content: bytes) -> Any:
    return _text(content) if data is None and content.strip() != b"null" else data


def _json(content: bytes | str) -> Any:
    try:
        return exactjson.loads(content)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")
