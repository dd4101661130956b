"""Turning what a caller gives into what a record keeps: the same plain values that the REST JSON carries."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any

from integration.sandbox.clock import from_stamp, stamp
from integration.sandbox.errors import OrgError
from integration.sandbox.ids import is_id, to18
from integration.sandbox.model import FieldDef

Cleaner = Callable[[FieldDef, Any], Any]


def clean(field: FieldDef, value: Any) -> Any:
    """Return the stored form of a value. Raises OrgError if the field's type can't take it."""
    if value is None or value == "":
        return field.default if field.type == "boolean" else None
    try:
        cleaner: Cleaner = _CLEANERS.get(field.type, _text)
        return cleaner(field, value)
    except (TypeError, ValueError) as error:
        raise OrgError(
            "JSON_PARSER_ERROR",
            f"Cannot deserialize a {field.type} for field {field.name} from VALUE {value!r}",
            (field.name,),
        ) from error


def convert(field: FieldDef, value: Any) -> Any:
    """Return a stored value in the form that a field of another type keeps, or the field's default if it can't."""
    if value is None:
        return field.default
    try:
        return clean(field, _as_written(field.type, value))
    except (OrgError, ValueError):
        return field.default


def _as_written(kind: str, value: Any) -> Any:
    """The value as somebody would type it into a field of that type."""
    if kind in _NUMBERS and isinstance(value, str):
        number = float(value)
        if not isfinite(number):
            raise ValueError
        return number
    if kind == "boolean" and isinstance(value, str):
        return value.lower() == "true"
    if kind == "datetime" and isinstance(value, str) and len(value) == 10:
        return f"{value}T00:00:00Z"
    if kind in _CLEANERS:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _text(field: FieldDef, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if field.length and len(value) > field.length:
        raise OrgError(
            "STRING_TOO_LONG",
            f"{field.label}: data value too large: {value[:40]} (max length={field.length})",
            (field.name,),
        )
    return value


def _boolean(_field: FieldDef, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integer(_field: FieldDef, value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise TypeError
    return int(value)


def _double(_field: FieldDef, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError
    return float(value)


def _date(_field: FieldDef, value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).date().isoformat()
    return (value if isinstance(value, date) else date.fromisoformat(value[:10])).isoformat()


def _datetime(_field: FieldDef, value: Any) -> str:
    if isinstance(value, str):
        if len(value) == 28 and value.endswith(".000+0000"):
            return value
        value = from_stamp(value)
    return stamp(value)


def _time(_field: FieldDef, value: Any) -> str:
    at = value if isinstance(value, time) else time.fromisoformat(str(value).removesuffix("Z"))
    return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _reference(field: FieldDef, value: Any) -> str:
    if not is_id(value):
        raise OrgError("MALFORMED_ID", f"{field.label}: id value of incorrect type: {value}", (field.name,))
    return to18(value)


_NUMBERS = frozenset({"int", "double", "currency", "percent"})
_CLEANERS: dict[str, Cleaner] = {
    "boolean": _boolean,
    "int": _integer,
    "double": _double,
    "currency": _double,
    "percent": _double,
    "date": _date,
    "datetime": _datetime,
    "time": _time,
    "id": _reference,
    "reference": _reference,
}
