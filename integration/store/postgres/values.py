"""From PostgreSQL's text to plain values and Arrow columns: the same values that every other store shows.

Times are read as text and not as Python's datetime, which ends with the year 9999 and knows no infinity.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg
import pyarrow as pa
from psycopg.adapt import AdaptersMap
from psycopg.types.string import TextLoader

from integration.store import answers

_TYPES = psycopg.postgres.types
# Python has an exact form for these; all others stay the text that PostgreSQL shows.
_TAKEN = ("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric")
_ARROW: Mapping[int, pa.DataType] = {
    _TYPES[name].oid: kind
    for name, kind in {
        "bool": pa.bool_(),
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "oid": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
    }.items()
}
_NUMERIC = _TYPES["numeric"].oid
_DATE = _TYPES["date"].oid
_TIMES = {_TYPES["timestamptz"].oid: pa.timestamp("us", "UTC"), _TYPES["timestamp"].oid: pa.timestamp("us")}
_JSON = ("json", "jsonb")
_YEAR = 4

Rows = Sequence[Sequence[Any]]


class Field(NamedTuple):
    """A column of an answer."""

    name: str
    oid: int
    modifier: int

    @property
    def type_name(self) -> str:
        """PostgreSQL's name of the type, `numeric(18,2)`; `JSON` for both kinds of JSON (see answers.rows)."""
        info = _TYPES.get(self.oid)
        if info is None:
            return "unknown"
        return "JSON" if info.name in _JSON and info.oid == self.oid else info.get_type_display(self.oid, self.modifier)


def prepare(adapters: AdaptersMap) -> None:
    """Have a connection read every type as text that Python has no exact form for."""
    for info in _TYPES:
        if info.name not in _TAKEN:
            adapters.register_loader(info.oid, TextLoader)


def plain_rows(fields: Sequence[Field], rows: Rows) -> list[dict[str, Any]]:
    """Return rows as answers.plain_rows does."""
    names = [one.name for one in fields]
    told = {place: convert for place, one in enumerate(fields) if (convert := _plain(one.oid)) is not None}
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for place, convert in told.items():
        name = names[place]
        for row in found:
            if row[name] is not None:
                row[name] = convert(row[name])
    return found


def table(fields: Sequence[Field], rows: Rows) -> pa.Table:
    """Return an answer as an Arrow table, with PostgreSQL's names of the types noted."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(fields)
    arrays = [_array(one, values) for one, values in zip(fields, columns, strict=True)]
    made = pa.Table.from_arrays(arrays, names=[one.name for one in fields])
    return answers.with_types(made, [one.type_name for one in fields])


def _array(field: Field, values: Sequence[Any]) -> pa.Array:
    if field.oid in _TIMES:
        kind = _TIMES[field.oid]
        return pa.array([None if v is None else _instant(v) for v in values], pa.string()).cast(kind)
    if field.oid == _DATE:
        return pa.array([None if v is None else _day(v) for v in values], pa.string()).cast(pa.date32())
    if field.oid == _NUMERIC:
        return _numbers([None if v is None or not v.is_finite() else v for v in values])
    if field.oid in _ARROW:
        return pa.array(values, _ARROW[field.oid])
    if any(isinstance(v, list) for v in values):
        return _lists(field, values)
    return pa.array(values, pa.string())


def _numbers(values: Sequence[Decimal | None]) -> pa.Array:
    if values.count(None) == len(values):
        return pa.nulls(len(values), pa.decimal128(38, 0))
    try:
        return pa.array(values)
    except pa.ArrowInvalid:
        # More digits than Arrow has room for: every digit is shown, as text.
        return pa.array([None if v is None else f"{v:f}" for v in values], pa.string())


def _lists(field: Field, values: Sequence[Any]) -> pa.Array:
    convert = _plain(field.oid) or (lambda one: one)
    plain = [None if v is None else convert(v) for v in values]
    try:
        return pa.array(plain)
    except pa.ArrowException:
        return pa.array([None if v is None else str(v) for v in plain], pa.string())


def _plain(oid: int) -> Callable[[Any], Any] | None:
    if oid in _PLAIN:
        return _PLAIN[oid]
    info = _TYPES.get(oid)
    element = _PLAIN.get(info.oid) if info is not None and oid == info.array_oid else None
    return None if element is None else lambda value: _each(element, value)


def _each(convert: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list):
        return [None if one is None else _each(convert, one) for one in value]
    return convert(value)


def _number(value: Decimal) -> Decimal | int | None:
    if not value.is_finite():
        return None
    return int(value) if value.as_tuple().exponent == 0 else value


def _real(value: float) -> float | None:
    return value if value - value == 0 else None


def _instant(text: str) -> str | None:
    """Return what Arrow reads as a time; None for infinity and years that Python does not know."""
    if text[_YEAR : _YEAR + 1] != "-" or text.endswith("BC"):
        return None
    return f"{text[:-3]}Z" if text.endswith("+00") else text


def _stamp(text: str) -> str | None:
    told = _instant(text)
    return None if told is None else told.replace(" ", "T", 1)


def _day(text: str) -> str | None:
    return text if len(text) == len("2024-01-22") else None


_PLAIN: Mapping[int, Callable[[Any], Any]] = {
    _NUMERIC: _number,
    _DATE: _day,
    **dict.fromkeys(_TIMES, _stamp),
    _TYPES["float4"].oid: _real,
    _TYPES["float8"].oid: _real,
}
