"""How many rows there are to be read, and of what age: a few cheap queries, packed five to a call."""

from collections.abc import Sequence
from dataclasses import dataclass

from integration.core.catalog import ObjectSchema
from integration.core.chunks import Window
from integration.errors import RunError
from integration.source.answers import Answer
from integration.source.client import SalesforceClient
from integration.source.faults import UnknownObjectError
from integration.source.soql import datetime_literal, parse_stamp


@dataclass(slots=True)
class Size:
    """How many rows an object has and from when to when their stamps go; None where nobody could count them."""

    rows: int | None = None
    low: str | None = None
    high: str | None = None


def sizes_of(client: SalesforceClient, objects: Sequence[tuple[ObjectSchema, str | None]]) -> list[Size]:
    """Count the rows of objects, deleted ones included; five objects in a call. `objects` are (object, since)."""
    queries = []
    for schema, since in objects:
        at = schema.cursor_field
        queries.append(
            f"SELECT COUNT(Id) n, MIN({at}) low, MAX({at}) high FROM {schema.object}{_where(at, since, None)}"
        )
    return [_size(answer) for answer in client.query_pages(queries)]


def count_windows(client: SalesforceClient, schema: ObjectSchema, windows: Sequence[Window]) -> list[int | None]:
    """Count the rows of windows of one object, five in a call; None for one that can't be counted."""
    at = schema.cursor_field
    queries = [f"SELECT COUNT(Id) n FROM {schema.object}{_where(at, low, high)}" for low, high in windows]
    return [_size(answer).rows for answer in client.query_pages(queries)]


def _size(answer: Answer) -> Size:
    if answer.problem is not None:
        if not isinstance(answer.problem, UnknownObjectError | RunError):
            raise answer.problem
        return Size()
    try:
        row = answer.records[0]
        low, high = row.get("low"), row.get("high")
        return Size(int(row["n"]), parse_stamp(low) if low else None, parse_stamp(high) if high else None)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        return Size()


def _where(at: str, low: str | None, high: str | None) -> str:
    bounds = [f"{at} {sign} {datetime_literal(stamp)}" for sign, stamp in ((">=", low), ("<", high)) if stamp]
    return f" WHERE {' AND '.join(bounds)}" if bounds else ""
