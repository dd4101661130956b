"""SOQL texts and Salesforce's times, as pure functions."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from integration.core.catalog import ObjectSchema
from integration.errors import ConfigError

Soql = str
"""A SOQL query."""

LONGEST_QUERY = 100_000
"""Characters a SOQL query may have (SOQL and SOSL limits)."""

_TRIES = 3

_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


def text_literal(value: str) -> str:
    """Return a string as a SOQL literal: in single quotes, with quotes and control characters escaped."""
    return f"'{value.translate(_ESCAPES)}'"


def datetime_literal(stamp: str) -> str:
    """Return a stamp (ISO text with offset or Z) as a SOQL datetime literal, unquoted, in UTC with `Z`.

    Raises ValueError for anything else: what goes unquoted into a query must be a time and nothing but.
    """
    return parse_stamp(stamp)


def keyset(cursor: str, after: tuple[str, str]) -> str:
    """Return the condition for the rows behind a position, in the order of (cursor field, Id)."""
    return f"({tie(cursor, after)}) OR {cursor} > {datetime_literal(after[0])}"


def tie(cursor: str, after: tuple[str, str]) -> str:
    """Return the condition for the rows behind a position that have the same stamp."""
    return f"{cursor} = {datetime_literal(after[0])} AND Id > {text_literal(after[1])}"


def filled_query(schema: ObjectSchema, filled: Iterable[str], after_id: str, limit: int) -> Soql:
    """Ask for one page of an object in the order of Id: rows behind `after_id` in which one of the fields is filled.

    Without fields all rows are meant; without an id they are from the beginning.
    """
    conditions = [" OR ".join(f"{name} != null" for name in filled)]
    conditions += [f"Id > {text_literal(after_id)}"] if after_id else []
    given = [condition for condition in conditions if condition]
    where = " AND ".join(f"({c})" if " OR " in c and len(given) > 1 else c for c in given)
    return select(schema, where, "Id", limit)


def select(schema: ObjectSchema, where: str, order: str, limit: int) -> Soql:
    """Ask for an object's selected fields. Raises ConfigError if they make the query too long for Salesforce."""
    fields = ", ".join(field.name for field in schema.fields)
    condition = f" WHERE {where}" if where else ""
    query = f"SELECT {fields} FROM {schema.object}{condition} ORDER BY {order} LIMIT {limit:d}"
    if len(query) > LONGEST_QUERY:
        raise ConfigError(
            f"{schema.object} has too many fields for one query ({len(query):,} characters of {LONGEST_QUERY:,}): "
            f"leave some out with objects.{schema.object}.exclude."
        )
    return query


def ids_query(object_name: str, record_ids: Iterable[str]) -> Soql:
    """Ask which of these records can still be seen (deleted ones included, through queryAll)."""
    ids = ", ".join(text_literal(record_id) for record_id in record_ids)
    return f"SELECT Id FROM {object_name} WHERE Id IN ({ids})"


def smaller_parts(record_ids: Sequence[str], tries: int) -> list[tuple[list[str], int]]:
    """Say what to ask for instead when a query for these records has run too long for the n-th time: halves of it,
    or one record once more; nothing when that is no use any more. Pairs of (ids, tries so far).
    """
    if len(record_ids) > 1:
        half = len(record_ids) // 2
        return [(list(record_ids[:half]), tries), (list(record_ids[half:]), tries)]
    return [(list(record_ids), tries)] if tries < _TRIES else []


def parse_stamp(text: str) -> str:
    """Return Salesforce's time as UTC with `Z`: `2024-01-22T16:26:15.000+0000` is `2024-01-22T16:26:15Z`.

    A fraction of a second is kept when it is not zero (Salesforce's stamps are whole seconds, other servers' may
    not be). Raises ValueError if the text is no time or has no offset.
    """
    if len(text) == 28 and text.endswith(".000+0000") and text[10] == "T":
        # The usual form, as fast as it gets; reading the digits proves that it is one.
        datetime.fromisoformat(text[:19])
        return text[:19] + "Z"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return stamp_of(moment)


def stamp_of(moment: datetime) -> str:
    """Return an aware datetime as UTC text with `Z`, with a fraction only where there is one."""
    text = moment.astimezone(UTC).isoformat().removesuffix("+00:00")
    return (text.rstrip("0") if "." in text else text) + "Z"


def moment_of(stamp: str) -> datetime:
    """Return a stamp as an aware datetime. Raises ValueError if it is none."""
    return datetime.fromisoformat(parse_stamp(stamp))


def shift(stamp: str, seconds: float) -> str:
    """Return the stamp moved by so many seconds; a time before year 1 becomes year 1."""
    try:
        return stamp_of(moment_of(stamp) + timedelta(seconds=seconds))
    except OverflowError:
        return "0001-01-01T00:00:00Z"


def sort_key(stamp: str) -> str:
    """Return a text by which stamps with and without a fraction sort in time (`...15.5Z` after `...15Z`)."""
    return stamp.removesuffix("Z")


def earliest(*stamps: str | None) -> str | None:
    """Return the earliest of the given stamps, None if there is none."""
    return min((s for s in stamps if s is not None), key=sort_key, default=None)


def latest(*stamps: str | None) -> str | None:
    """Return the latest of the given stamps, None if there is none."""
    return max((s for s in stamps if s is not None), key=sort_key, default=None)
