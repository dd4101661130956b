"""Days and times that a ClickHouse can not hold: servers of before 2026 know the years 1900 to 2299 only.

A value beyond is refused, not bent: the server would store another day without a word.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from integration.store.clickhouse.connecting import Session
from integration.store.protocol import Misfit

_FIRST, _LAST = date(1900, 1, 1), date(2299, 12, 31)
_FAR = "toString(toDate32('4000-12-31')) = '4000-12-31' AND toString(toDate32('1700-01-01')) = '1700-01-01'"
_FAR_TIMES = "toString(toDateTime64('4000-12-31 00:00:00', 6, 'UTC')) LIKE '4000-12-31%'"
_REASON = "a day or time outside the years 1900 to 2299, which this ClickHouse server can't hold"


def holds_all(session: Session) -> bool:
    """Ask a server whether it holds every day that Salesforce has (1700 to 4000)."""
    return bool(session.table(f"SELECT ({_FAR}) AND ({_FAR_TIMES}) AS far").column(0)[0].as_py())


def check(table: str, rows: pa.Table) -> None:
    """Raise Misfit for rows with a day or time outside of 1900 to 2299."""
    for field in rows.schema:
        limits = _limits(field.type)
        if limits is not None:
            values = rows.column(field.name)
            odd = pc.or_(pc.less(values, limits[0]), pc.greater(values, limits[1])).to_pylist()
            places: Sequence[int] = [place for place, is_odd in enumerate(odd) if is_odd]
            if places:
                raise Misfit(table, field.name, places, _REASON)


def _limits(kind: pa.DataType) -> tuple[pa.Scalar, pa.Scalar] | None:
    if pa.types.is_date(kind):
        return pa.scalar(_FIRST, kind), pa.scalar(_LAST, kind)
    if pa.types.is_timestamp(kind):
        ends = datetime(2299, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
        return pa.scalar(datetime(1900, 1, 1, tzinfo=UTC), kind), pa.scalar(ends, kind)
    return None
