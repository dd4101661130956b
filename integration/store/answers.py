"""Answers as plain values: what a query gave, ready for JSON, for a terminal or to be written back."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from integration.core import exactjson
from integration.core.columns import Column
from integration.store import arrow
from integration.store.protocol import Queryable

ARROW_STREAM = "application/vnd.apache.arrow.stream"
"""The media type of Arrow IPC."""
_FIRST_TICK = -62_135_596_800_000_000  # 0001-01-01 in microseconds since 1970
_LAST_TICK = 253_402_300_799_999_999  # 9999-12-31
_FIRST_DAY = date.min.toordinal() - date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal() - date(1970, 1, 1).toordinal()
_SQL_TYPE = b"headrace.type"


def with_types(table: pa.Table, types: Sequence[str]) -> pa.Table:
    """Note the store's own type names beside the columns: Arrow has no word for JSON. They survive Arrow IPC."""
    fields = [field.with_metadata({_SQL_TYPE: name.encode()}) for field, name in zip(table.schema, types, strict=True)]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))


def columns(table: pa.Table) -> list[dict[str, str]]:
    """List the columns as {"name", "type"}; a name that comes twice gets a number, as in `rows`."""
    types = [_type_of(field) for field in table.schema]
    return [{"name": name, "type": kind} for name, kind in zip(_names(table), types, strict=True)]


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows ready for exactjson.dumps.

    Decimals stay Decimal (written digit for digit), times are ISO 8601 text in UTC with `Z` (no fraction when it is
    zero; no `Z` for a TIMESTAMP without time zone), columns of type JSON are parsed. NaN, infinities and times outside
    the years 1 to 9999 are null.
    """
    values = [
        [None if v is None else _parsed(v) for v in column.to_pylist()]
        if _type_of(field) == "JSON"
        else _plain_column(column)
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return _as_rows(_names(table), values)


def ask(store: Queryable, sql: str, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Run one of headrace's own reading statements (in DuckDB's dialect, on any store); rows as `rows` gives them."""
    return rows(store.query(store.compiled(sql), limit=limit))


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as `rows` does, but JSON as text: the form in which a column takes its values."""
    return _as_rows(_names(table), [_plain_column(column) for column in table.columns])


def as_table(wanted: Sequence[Column], found: pa.Table, *, table: str) -> pa.Table:
    """Return the rows as `arrow.to_table` makes them of `plain_rows`, ready to be written to `table`.

    Columns that have their type already, or get it without a digit lost, are not taken apart. Raises Misfit.
    """
    arrays = [_as_column(column, found.column(column.name), table) for column in wanted]
    return pa.Table.from_arrays(arrays, names=[column.name for column in wanted])


def _as_column(column: Column, values: pa.ChunkedArray, table: str) -> pa.ChunkedArray:
    kind = arrow.arrow_type(column)
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(values.type) and values.type.tz:
        return _told_times(values)
    if pa.types.is_date(kind) and values.type == kind:
        return _told_days(values)
    if values.type == kind:
        return values
    if _is_exact(kind) and _is_exact(values.type):
        with suppress(pa.ArrowInvalid):
            return values.cast(kind)
    return arrow.to_table([column], [{column.name: value} for value in _plain_column(values)], table=table).column(0)


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind) or pa.types.is_integer(kind))


def _as_rows(names: Sequence[str], values: Sequence[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _names(table: pa.Table) -> list[str]:
    taken = set(table.column_names)
    names: list[str] = []
    for name in table.column_names:
        fresh, number = name, 1
        while fresh in names:
            fresh, number = f"{name}_{number}", number + 1
            if fresh in taken:
                fresh = name
        names.append(fresh)
    return names


def _type_of(field: pa.Field) -> str:
    told = (field.metadata or {}).get(_SQL_TYPE)
    return told.decode() if told else str(field.type)


def _parsed(text: str) -> Any:
    try:
        return exactjson.loads(text)
    except ValueError:
        # SQL can make JSON that no other reader takes (a bare NaN): show it as it is.
        return text


def _plain_column(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _each(_stamps(column), _stamp)
    if pa.types.is_date(kind):
        return _each(column.cast(pa.string()).to_pylist(), _date)
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return _each(column.to_pylist(), int)
    if pa.types.is_floating(kind):
        return _each(column.to_pylist(), _finite)
    if pa.types.is_map(kind):
        return _each(column.to_pylist(), lambda pairs: {str(_plain(k)): _plain(v) for k, v in pairs})
    values: list[Any] = _python_values(column)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_decimal(kind):
        return values
    return [_plain(value) for value in values]


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        # An infinite time inside a list or struct.
        values = [_python_value(value) for value in column]
    return values


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return None


def _each(values: list[Any], convert: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]


def _stamps(column: pa.ChunkedArray) -> list[Any]:
    stamps: list[Any] = _told_times(column).cast(pa.string()).to_pylist()
    return stamps


def _told_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = pa.timestamp("us", "UTC") if column.type.tz else pa.timestamp("us")
    exact = column.cast(kind, safe=False)
    return _told(exact, exact.cast(pa.int64()), _FIRST_TICK, _LAST_TICK)


def _told_days(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return _told(column, column.cast(pa.int32()), _FIRST_DAY, _LAST_DAY)


def _told(values: pa.ChunkedArray, numbers: pa.ChunkedArray, first: int, last: int) -> pa.ChunkedArray:
    # The store knows infinity and the year 294246; Arrow writes such times as others, Python not at all.
    return pc.if_else(pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last)), values, None)


def _stamp(text: str) -> str:
    zone = "Z" if text.endswith("Z") else ""
    day, _, clock = text.removesuffix("Z").partition(" ")
    return f"{day}T{_without_zeros(clock)}{zone}"


def _date(text: str) -> str | None:
    return text if len(text) == len("2024-01-22") else None


def _without_zeros(clock: str) -> str:
    return clock.rstrip("0").rstrip(".") if "." in clock else clock


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, datetime):
        return _stamp(str(value).replace("+00:00", "Z"))
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, bool | int | str | Decimal):
        return value
    return _seconds(value) if isinstance(value, timedelta) else str(value)


def _seconds(value: timedelta) -> float:
    return value.total_seconds()
