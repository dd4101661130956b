"""Rows that no query of REST can bring in time, read through the Bulk API."""

from collections.abc import Callable
from typing import Any

from integration.source.bulk import BulkQuery, bulk_query
from integration.source.passes import Position
from integration.source.soql import parse_stamp, shift, sort_key
from integration.source.tools import Tools
from integration.source.work import PassWork

Row = dict[str, Any]


def read_through_bulk(tools: Tools, work: PassWork, wait: Callable[[float], None]) -> bool:
    """Read the next day of the work's pass through a Bulk job, and publish it; say whether the pass goes on.

    The rows come unsorted, so they are sorted here: a page's cursor can stand for it only if all before it are out.
    `wait` sleeps while the job runs, and may raise to give up. Raises BulkRefusedError, RunError for a job that failed,
    and what the client raises.
    """
    since, last = work.walk.ask_in_bulk()
    # Salesforce's stamps are whole seconds, so what is not beyond `last` is before the next second.
    soql = bulk_query(work.schema, since=since, until=shift(last, 1) if last else None)
    job = BulkQuery(tools.client, work.schema, soql, wait=wait)
    try:
        found = [(_position(row, work), row) for page in job.pages() for row in page.rows]
    finally:
        job.drop()
    found = [entry for entry in found if work.walk.is_behind(entry[0])]
    found.sort(key=lambda entry: (sort_key(entry[0][0]), entry[0][1]))
    rows = [row for _, row in found]
    goes_on = True
    for start in range(0, max(len(rows), 1), tools.page_size):
        end = start + tools.page_size
        goes_on = work.take_rows(rows[start:end], is_exhausted=end >= len(rows))
    return goes_on


def _position(row: Row, work: PassWork) -> Position:
    """Return where a row stands; one without a stamp stands last, where it is counted as unreadable."""
    try:
        return parse_stamp(row[work.schema.cursor_field]), str(row["Id"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return "9999-12-31T23:59:59Z", ""
