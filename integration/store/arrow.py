"""From plain rows to Arrow columns: whole columns at once, value by value only where that fails.

Numbers keep every digit: a float counts as its shortest decimal form, so 0.1 is stored as 0.1.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

import pyarrow as pa

from integration.core import exactjson
from integration.core.columns import Column, ColumnType
from integration.store.protocol import Misfit, Row

MAX_DIGITS = 38
_TIMESTAMP = pa.timestamp("us", "UTC")
_INT64 = range(-(2**63), 2**63)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class _OddError(ValueError):
    """One value that fits no column of its type; the text says what it is, never the value itself."""


def to_table(columns: Sequence[Column], rows: Sequence[Row], *, table: str = "") -> pa.Table:
    """Turn rows into an Arrow table with one column per Column; keys that no column asks for are left out.

    A decimal column is `decimal128(precision, scale)` as asked, or just wide enough for its values where they
    need more. Text columns take every value in a plain form. Raises Misfit (of `table`) for a value that a
    column of another type can't hold.
    """
    listed = _columnwise([c.source or c.name for c in columns], rows)
    arrays = [_array(c, values, table) for c, values in zip(columns, listed, strict=True)]
    return pa.Table.from_arrays(arrays, names=[c.name for c in columns])


def _columnwise(keys: Sequence[str], rows: Sequence[Row]) -> Sequence[Sequence[Any]]:
    """Turn rows into one sequence of values per key, null where a row lacks it."""
    if len(keys) > 1:
        # Rows of one object mostly have the same keys: then one call of C takes a row apart.
        with suppress(KeyError):
            return list(zip(*map(itemgetter(*keys), rows), strict=True)) or [()] * len(keys)
    return [[row.get(key) for row in rows] for key in keys]


def misfits(columns: Sequence[Column], row: Row) -> list[str]:
    """List what in one row fits no column, as `column: what the value is`; empty when the row can be stored."""
    found = []
    for column in columns:
        try:
            _plain_value(column, row.get(column.source or column.name))
        except _OddError as odd:
            found.append(f"{column.name}: {odd}")
    return found


def last_of_each_key(stage: pa.Table, key: Sequence[str]) -> pa.Array | None:
    """Return the places of the rows to keep where a key comes twice, None when all are distinct.

    Raises ValueError for a row without a key.
    """
    columns = [stage.column(k).to_pylist() for k in key]
    for name, values in zip(key, columns, strict=True):
        if None in values:
            raise ValueError(f"a row has no {name}, which is part of its key")
    keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    if len(set(keys)) == len(keys):
        return None
    return pa.array(sorted({k: place for place, k in enumerate(keys)}.values()), pa.int64())


def digits_needed(values: Sequence[Decimal | None]) -> tuple[int, int]:
    """Return how many digits these numbers need before and after the point, trailing zeros not counted."""
    before = after = 0
    for value in values:
        if value:
            one_before, one_after = _digits(value)
            before, after = max(before, one_before), max(after, one_after)
    return before, after


def _array(column: Column, values: Sequence[Any], table: str) -> pa.Array | pa.ChunkedArray:
    if values.count(None) == len(values):
        return pa.nulls(len(values), arrow_type(column))
    try:
        return _WHOLE[column.type](column, values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Something in the column is not what the fast way takes: look at each value.
        return _one_by_one(column, values, table)


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column."""
    if column.type is ColumnType.DECIMAL:
        return pa.decimal128(column.precision, column.scale)
    return _TYPES[column.type]


def _strings(_: Column, values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.string())


def _bytes_as_strings(_: Column, values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.binary()).cast(pa.string())


def _booleans(_: Column, values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.bool_())


def _integers(_: Column, values: Sequence[Any]) -> pa.Array:
    # Inferred first: pa.array(..., int64) would cut 1.5 down to 1 without a word, the cast refuses.
    inferred = pa.array(values)
    if not (pa.types.is_integer(inferred.type) or pa.types.is_floating(inferred.type)):
        raise TypeError
    return inferred.cast(pa.int64())


def _decimals(column: Column, values: Sequence[Any]) -> pa.Array:
    inferred = pa.array(values)
    if pa.types.is_floating(inferred.type):
        inferred = inferred.cast(pa.string())  # the shortest text that reads back as the same float
    elif not (pa.types.is_integer(inferred.type) or pa.types.is_decimal(inferred.type)):
        raise TypeError
    return inferred.cast(pa.decimal128(MAX_DIGITS, column.scale)).cast(arrow_type(column))


def _dates(_: Column, values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.string()).cast(pa.date32())


def _timestamps(_: Column, values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.string()).cast(_TIMESTAMP)


def _one_by_one(column: Column, values: Sequence[Any], table: str) -> pa.Array:
    plain: list[Any] = []
    odd_rows: list[int] = []
    reason = ""
    for place, value in enumerate(values):
        try:
            plain.append(_plain_value(column, value))
        except _OddError as odd:
            odd_rows.append(place)
            reason = reason or str(odd)
    if odd_rows:
        raise Misfit(table, column.name, odd_rows, reason)
    if column.type is not ColumnType.DECIMAL:
        return pa.array(plain, arrow_type(column))
    return pa.array(plain, _wide_enough(column, plain, table))


def _wide_enough(column: Column, values: Sequence[Decimal | None], table: str) -> pa.DataType:
    before, after = digits_needed(values)
    scale = max(column.scale, after)
    precision = max(column.precision - column.scale, before) + scale
    if precision <= MAX_DIGITS:
        return pa.decimal128(precision, scale)
    if before + after <= MAX_DIGITS:
        return pa.decimal128(before + after, after)
    # Each number fits alone (see _decimal), together they do not: give up those with the most decimals.
    odd = [i for i, v in enumerate(values) if v and _digits(v)[1] > MAX_DIGITS - before]
    raise Misfit(table, column.name, odd, "a number that needs more than 38 digits beside the others of its column")


def _digits(value: Decimal) -> tuple[int, int]:
    _, digits, exponent = value.as_tuple()
    after = -int(exponent)
    last = len(digits)
    while after > 0 and last > 1 and digits[last - 1] == 0:
        last -= 1
        after -= 1
    return max(last - after, 0), max(after, 0)


def _plain_value(column: Column, value: Any) -> Any:
    return None if value is None else _PLAIN[column.type](value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return exactjson.plain(value)
    text = value if isinstance(value, str) else exactjson.dumps(value).decode()
    # Half of a surrogate pair is no character: it is kept visible, escaped.
    return text.encode("utf-8", "backslashreplace").decode()


def _json(value: Any) -> str:
    if not isinstance(value, str | bytes):
        try:
            return exactjson.dumps(value).decode()
        except (TypeError, ValueError) as error:
            raise _OddError(f"{_kind(value)} instead of JSON") from error
    try:
        exactjson.loads(value)
    except ValueError as error:
        raise _OddError("text that is not JSON") from error
    return value.decode() if isinstance(value, bytes) else value


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _OddError(f"{_kind(value)} instead of true or false")


def _integer(value: Any) -> int:
    number = _decimal(value, "a whole number")
    if number != number.to_integral_value():
        raise _OddError("a number with a fraction instead of a whole number")
    if int(number) not in _INT64:
        raise _OddError("a whole number beyond 64 bits")
    return int(number)


def _decimal(value: Any, wanted: str = "a number") -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _OddError(f"{_kind(value)} instead of {wanted}")
    number = exactjson.number(value)
    if not number.is_finite():
        raise _OddError(f"not-a-number or infinity instead of {wanted}")
    if sum(_digits(number)) > MAX_DIGITS:
        raise _OddError("a number that needs more than 38 digits")
    return number


def _date(value: Any) -> date:
    if isinstance(value, datetime) or not isinstance(value, str | date):
        raise _OddError(f"{_kind(value)} instead of a date")
    if isinstance(value, date):
        return value
    if not _ISO_DATE.fullmatch(value):
        raise _OddError("text that is no date (YYYY-MM-DD)")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise _OddError("text that is no date (YYYY-MM-DD)") from error


def _timestamp(value: Any) -> datetime:
    if not isinstance(value, str | datetime):
        raise _OddError(f"{_kind(value)} instead of a time")
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError as error:
        raise _OddError("text that is no time (ISO 8601)") from error
    if at.tzinfo is None:
        raise _OddError("a time without an offset from UTC")
    return at


def _kind(value: Any) -> str:
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float, Decimal), "a number"),
    ((str, bytes), "text"),
    (Mapping, "an object"),
    ((list, tuple), "a list"),
)
_TYPES: Mapping[ColumnType, pa.DataType] = {
    ColumnType.TEXT: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: _TIMESTAMP,
    ColumnType.JSON: pa.string(),
    ColumnType.BYTES_AS_TEXT: pa.string(),
}
_WHOLE: Mapping[ColumnType, Callable[[Column, Sequence[Any]], pa.Array]] = {
    ColumnType.TEXT: _strings,
    ColumnType.BOOLEAN: _booleans,
    ColumnType.INTEGER: _integers,
    ColumnType.DECIMAL: _decimals,
    ColumnType.DATE: _dates,
    ColumnType.TIMESTAMP: _timestamps,
    ColumnType.JSON: _bytes_as_strings,
    ColumnType.BYTES_AS_TEXT: _bytes_as_strings,
}
_PLAIN: Mapping[ColumnType, Callable[[Any], Any]] = {
    ColumnType.TEXT: _text,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.INTEGER: _integer,
    ColumnType.DECIMAL: _decimal,
    ColumnType.DATE: _date,
    ColumnType.TIMESTAMP: _timestamp,
    ColumnType.JSON: _json,
    ColumnType.BYTES_AS_TEXT: _text,
}
