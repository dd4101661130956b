"""Rows as captures: plain dicts in the shape of `schemas.Capture`. Pure, and on the way of every record.

No model is built per row and no row is hashed that will not be seen again: 40,000 rows take a fraction of a second.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integration.core import exactjson
from integration.core.catalog import BOOKKEEPING, ObjectSchema
from integration.source.histories import is_of_selected
from integration.source.passes import DELETE_LOG, DELETED, Pass, Position
from integration.source.soql import parse_stamp


@dataclass(slots=True)
class Reading:
    """What a page gave. `seen` holds the new marks; `last` is the position of the last usable row.

    `dropped` counts rows that were seen before, `left_out` history rows of fields that are not selected.
    """

    captures: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    last: Position | None = None
    dropped: int = 0
    unreadable: int = 0
    left_out: int = 0
    is_late: bool = False


def hashed_fields(schema: ObjectSchema) -> tuple[str, ...]:
    """Return the fields that make up the content of a record, in a fixed order."""
    skip = BOOKKEEPING | {"Id", schema.cursor_field}
    return tuple(sorted(f.name for f in schema.fields if f.name not in skip))


def content_hash(row: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return 16 hex digits for the content of a record.

    Empty fields don't count, so a field that is new in the schema changes no hash until it is filled in.
    """
    content = {name: value for name in names if (value := row.get(name)) is not None}
    return hashlib.blake2b(exactjson.dumps(content), digest_size=8).hexdigest()


def read_rows(
    rows: Iterable[dict[str, Any]],
    *,
    org: str,
    schema: ObjectSchema,
    names: Sequence[str],
    this: Pass,
    marks: Mapping[str, str],
    seen_at: str,
    origin: str = "poll",
    told: frozenset[str] | None = None,
    is_known: bool = False,
) -> Reading:
    """Turn a page's rows into captures, leaving out what was seen before with the same stamp and content.

    `names` is `hashed_fields(schema)`, `marks` what earlier pages and passes have marked. `told` (see
    `histories.fields_told`) says of which fields history rows are wanted. `is_known` says that most stamps were seen
    before, marked or not, so that every capture's id must tell its content. The rows are taken over: each becomes the
    `fields` of its capture, less `attributes`.
    """
    reading = Reading()
    cursor_field, mark_from, late_before = schema.cursor_field, this.mark_from, this.late_before
    for row in rows:
        row.pop("attributes", None)
        record_id, stamp = row.get("Id"), _stamp(row.get(cursor_field))
        if stamp is None or not isinstance(record_id, str) or len(record_id) != 18:
            reading.unreadable += 1
            continue
        reading.last = (stamp, record_id)
        if told is not None and not is_of_selected(row, told):
            reading.left_out += 1
            continue
        is_deleted = row.get("IsDeleted") is True
        suffix = ""
        known = marks.get(record_id)
        is_known_version = known is not None and known.startswith(stamp)
        is_late = late_before is not None and stamp < late_before and not is_known_version
        reading.is_late |= is_late
        is_marked = is_known_version or is_late or stamp >= mark_from
        if is_marked or is_known:
            digest = content_hash(row, names)
            if known is not None and is_known_version and known.split("|", 2)[1] == digest:
                reading.dropped += 1
                continue
            if is_known_version or is_known:
                suffix = f":{digest}"
            if is_marked:
                reading.seen[record_id] = f"{stamp}|{digest}{DELETED if is_deleted else ''}"
        reading.captures.append(capture(org, schema, record_id, stamp, is_deleted, row, seen_at, origin, suffix))
    return reading


def deletions(
    entries: Iterable[tuple[str, str]], *, org: str, schema: ObjectSchema, seen_at: str, origin: str = "poll"
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Turn (record id, stamp) entries of the delete log into captures without fields, and their marks."""
    captures, seen = [], {}
    for record_id, stamp in entries:
        captures.append(capture(org, schema, record_id, stamp, True, None, seen_at, origin))
        seen[record_id] = f"{stamp}|{DELETE_LOG}{DELETED}"
    return captures, seen


def capture(
    org: str,
    schema: ObjectSchema,
    record_id: str,
    stamp: str,
    is_deleted: bool,
    fields: dict[str, Any] | None,
    seen_at: str,
    origin: str = "poll",
    suffix: str = "",
) -> dict[str, Any]:
    """Return a record's image in the shape of `schemas.Capture`; `suffix` is what its id has behind the stamp."""
    return {
        "id": f"{org}:{schema.object}:{record_id}:{stamp}{suffix}",
        "org": org,
        "object": schema.object,
        "record_id": record_id,
        "system_modstamp": stamp,
        "is_deleted": is_deleted,
        "fields": fields,
        "schema_id": schema.schema_id,
        "origin": origin,
        "seen_at": seen_at,
    }


def _stamp(raw: Any) -> str | None:
    try:
        return parse_stamp(raw)
    except (TypeError, ValueError):
        return None
