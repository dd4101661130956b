"""JSON that never rounds a number.

orjson reads a number with a fraction as a binary double, which keeps 15 significant digits exactly: enough for
most money, not for all. So text that holds a longer number is read by the standard library with Decimal, at a
third of the speed, and Decimals are written digit for digit.
"""

import json
import re
from decimal import Decimal
from typing import Any

import orjson

# A number of 16 characters or more (digits, point, exponent) after a colon, comma or bracket. The same shape inside
# a string only costs the slow path, never a wrong value.
_LONG_NUMBER = re.compile(rb"[:,\[]\s*-?[0-9][0-9.eE+\-]{15}")


def loads(text: bytes | str) -> Any:
    """Read JSON; numbers with a fraction are float where 15 digits are enough, else Decimal.

    Raises ValueError (a JSONDecodeError) for text that is not JSON.
    """
    raw = text.encode() if isinstance(text, str) else text
    if _LONG_NUMBER.search(raw):
        return json.loads(raw, parse_float=Decimal, parse_constant=_refuse_constant)
    return orjson.loads(raw)


def dumps(value: Any) -> bytes:
    """Write JSON as UTF-8; Decimals and integers of any size digit for digit."""
    try:
        return orjson.dumps(value, default=_exact)
    except orjson.JSONEncodeError:
        # An integer beyond 64 bits: orjson refuses it, the standard library does not.
        return json.dumps(value, default=_as_json_value, ensure_ascii=False, separators=(",", ":")).encode()


def number(value: int | float | Decimal) -> Decimal:
    """Return a JSON number as an exact Decimal without an exponent: 1.395E8 is 139500000."""
    if isinstance(value, float):
        value = Decimal(repr(value))
    return value if isinstance(value, Decimal) else Decimal(value)


def plain(value: int | float | Decimal) -> str:
    """Return a number as text in plain decimals: no exponent, no trailing zeros (`1395.5`, `12`, `-0.001`)."""
    text = format(number(value), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _exact(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _as_json_value(value: object) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
