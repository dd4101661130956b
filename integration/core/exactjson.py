"""JSON that never rounds a number.

orjson reads a number with a fraction as a binary double, which keeps 15 significant digits exactly: enough for
most money, not for all. So text that holds a number that a double would change is read by the standard library with
Decimal, at a third of the speed, and Decimals are written digit for digit.
"""

import json
import re
from decimal import Decimal
from typing import Any

import orjson

# A search by regular expression would cost as much as the reading itself; turning every digit and point into 0 and
# looking for a run of sixteen costs a fifth of that. What it finds (rarely: long numbers, or such a run in a string)
# is then looked at closely.
_ZEROS = bytes.maketrans(b"123456789.", b"0000000000")
_LONG_RUN = b"0" * 16
_NUMBER = re.compile(rb"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_RUN = re.compile(rb"[0-9.]+")
_BEFORE_A_NUMBER = b":,[ \n\r\t-"
_INTEGERS = range(-(2**63), 2**64)
_MOST_DIGITS = 400


def loads(text: bytes | str) -> Any:
    """Read JSON; numbers with a fraction are float where that keeps every digit, else all of them are Decimal.

    Raises ValueError (a JSONDecodeError) for text that is not JSON.
    """
    raw = text.encode() if isinstance(text, str) else text
    flat = raw.translate(_ZEROS)
    at = flat.find(_LONG_RUN)
    while at >= 0:
        if (at == 0 or raw[at - 1] in _BEFORE_A_NUMBER) and _would_lose_digits(raw, at):
            return json.loads(raw, parse_float=Decimal, parse_constant=_refuse_constant)
        run = _RUN.match(raw, at)
        at = flat.find(_LONG_RUN, run.end() if run else at + 1)
    return orjson.loads(raw)


def _would_lose_digits(raw: bytes, at: int) -> bool:
    """Tell whether the number that begins here is changed by a double (or by 64 bits)."""
    found = _NUMBER.match(raw, at)
    if found is None:
        return False
    digits = found[0].decode()
    if digits.isdigit():
        return (-int(digits) if raw[at - 1 : at] == b"-" else int(digits)) not in _INTEGERS
    return Decimal(repr(float(digits))) != Decimal(digits)


def dumps(value: Any, *, sort_keys: bool = False) -> bytes:
    """Write JSON as UTF-8; Decimals and integers of any size digit for digit; objects in the order of their keys if
    asked to.

    Raises TypeError for what is no JSON value, is nested too deeply, holds half a character, or is a Decimal far beyond
    what a double can hold.
    """
    option = orjson.OPT_SORT_KEYS if sort_keys else None
    try:
        return orjson.dumps(value, _exact, option)
    except orjson.JSONEncodeError:
        # orjson refuses integers beyond 64 bits.
        return orjson.dumps(_with_fragments(value), _exact, option)


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
        if abs(value.adjusted()) > _MOST_DIGITS:  # written out, 1E+999999999 would be a gigabyte of zeros
            raise TypeError("the number is too large, or too near to zero, to be written out")
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _with_fragments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_fragments(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_with_fragments(one) for one in value]
    if isinstance(value, int) and value not in _INTEGERS:
        return orjson.Fragment(str(value))
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
