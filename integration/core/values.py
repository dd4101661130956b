"""Salesforce's JSON values: their column types, their text form, and when two of them are the same."""

from decimal import Decimal
from typing import Any

from integration.core import exactjson
from integration.core.catalog import Field
from integration.core.columns import Column, ColumnType

_TYPES = {
    "boolean": ColumnType.BOOLEAN,
    "int": ColumnType.INTEGER,
    "long": ColumnType.INTEGER,
    "double": ColumnType.DECIMAL,
    "currency": ColumnType.DECIMAL,
    "percent": ColumnType.DECIMAL,
    "date": ColumnType.DATE,
    "datetime": ColumnType.TIMESTAMP,
}


def column_type(field: Field) -> ColumnType:
    """Return the column type of a field; what is neither number, boolean nor time is text."""
    return _TYPES.get(field.type, ColumnType.TEXT)


def column(field: Field, name: str) -> Column:
    """Return the column that stores a field under this name, its value found under the field's API name."""
    kind = column_type(field)
    if kind is not ColumnType.DECIMAL:
        return Column(name, kind, source=field.name)
    # Describe tells 18 digits at most. Values with more decimals than it tells (formulas) widen the column later.
    precision = min(max(field.precision or 18, 18), 38)
    return Column(name, kind, precision, min(field.scale, precision), source=field.name)


def stamp(value: str) -> str:
    """Normalise a datetime of the REST API to ISO 8601 UTC: `2024-01-22T16:26:15.000+0000` -> `...:15Z`.

    Salesforce serialises datetimes in UTC, in one of two forms (`+0000`, `Z`).
    """
    if value.endswith(".000+0000"):
        return value[:-9] + "Z"
    body = value.removesuffix("+0000").removesuffix("+00:00").removesuffix("Z")
    if "." in body:
        body = body.rstrip("0").rstrip(".")
    return body + "Z"


def text(kind: ColumnType, value: Any) -> str | None:
    """Return a value as `changes` shows it; see schemas.Change."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A field that is a time now may have been a text before.
        return stamp(value) if kind is ColumnType.TIMESTAMP and value[10:11] == "T" else value
    if isinstance(value, int | float | Decimal):
        return exactjson.plain(value)
    return exactjson.dumps(value).decode()


def same(a: Any, b: Any) -> bool:
    """Tell whether two values are the same: 1.10 read as a float equals 1.1 read as a Decimal."""
    if a == b:
        return True
    if isinstance(a, Decimal) or isinstance(b, Decimal):
        return _is_number(a) and _is_number(b) and exactjson.number(a) == exactjson.number(b)
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
