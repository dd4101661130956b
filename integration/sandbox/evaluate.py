"""SOQL conditions and sort keys turned into functions over rows.

Pure: what a field is and how to read it comes from the caller, as a `Column`. A null is equal to null alone;
every comparison with it is false, except `!=` and `NOT IN`, which it satisfies.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from integration.sandbox.errors import OrgError
from integration.sandbox.ids import is_id, to18
from integration.sandbox.soql import Among, And, Compare, Condition, Name, Not, Or, Order, Value, located

Row = Any
Test = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Column:
    """A field as the evaluator needs it: its path in correct spelling, its type, how to read it from a row."""

    path: tuple[str, ...]
    type: str
    get: Callable[[Row], Any]
    filterable: bool = True
    sortable: bool = True


Resolve = Callable[[Name], Column]

_NUMBERS = frozenset({"int", "long", "double", "currency", "percent"})
_IDS = frozenset({"id", "reference"})
_WANTED = {"boolean": "boolean", "date": "date", "datetime": "datetime"} | dict.fromkeys(_NUMBERS, "number")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def condition(tree: Condition, resolve: Resolve, text: str = "") -> Test:
    """Return a function that tells whether a row satisfies the condition. Raises OrgError.

    `text` is the query, for error messages.
    """
    match tree:
        case And(parts):
            return _all([condition(part, resolve, text) for part in parts])
        case Or(parts):
            return _any([condition(part, resolve, text) for part in parts])
        case Not(part):
            inner = condition(part, resolve, text)
            return lambda row: not inner(row)
        case Compare():
            return _compare(tree, _filterable(tree.field, resolve, text), text)
        case Among():
            return _among(tree, _filterable(tree.field, resolve, text), text)


def sort(rows: list[Row], order: tuple[Order, ...], resolve: Resolve, text: str = "") -> None:
    """Sort rows in place. Raises OrgError for a field that can't be sorted by."""
    for key in reversed(order):
        column = resolve(key.field)
        if not column.sortable:
            message = f"field '{column.path[-1]}' can not be sorted in a query call"
            raise OrgError("INVALID_FIELD", located(text, key.field.start, message))
        read = partial(_sort_key, column.get, fold=folds(column.type), null=key.descending != key.nulls_last)
        rows.sort(key=read, reverse=key.descending)


def literal(column: Column, value: Value, text: str = "") -> Any:
    """Return a literal in the form in which rows keep values of that column. Raises OrgError."""
    if value.kind == "null":
        return None
    wanted = _WANTED.get(column.type)
    if wanted is not None and value.kind != wanted:
        raise _wrong_type(column, value, wanted, text)
    if wanted is None and column.type != "time" and value.kind != "string":
        raise _wrong_type(column, value, "string", text)
    if column.type == "datetime":
        return _datetime(value, text)
    if column.type == "date":
        return _date(value, text)
    if column.type in _IDS:
        return _id(value, text)
    return value.value


def folds(kind: str) -> bool:
    """Tell whether values of that type are compared without regard to upper and lower case."""
    return kind not in _WANTED and kind not in _IDS and kind != "time"


def _sort_key(get: Callable[[Row], Any], row: Row, *, fold: bool, null: bool) -> tuple[bool, Any]:
    value = get(row)
    if value is None:
        return null, ""
    return not null, value.lower() if fold else value


def _filterable(name: Name, resolve: Resolve, text: str) -> Column:
    column = resolve(name)
    if not column.filterable:
        message = f"field '{column.path[-1]}' can not be filtered in a query call"
        raise OrgError("INVALID_FIELD", located(text, name.start, message))
    return column


def _all(tests: list[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda row: first(row) and second(row)
    return lambda row: all(test(row) for test in tests)


def _any(tests: list[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda row: first(row) or second(row)
    return lambda row: any(test(row) for test in tests)


def _compare(tree: Compare, column: Column, text: str) -> Test:
    get, op = column.get, tree.op
    if op == "LIKE":
        return _like(tree, column, text)
    if op not in ("=", "!=") and column.type in ("boolean", "multipicklist"):
        raise OrgError(
            "INVALID_QUERY_FILTER_OPERATOR",
            located(text, tree.field.start, f"invalid operator on {column.type} field"),
        )
    value = literal(column, tree.value, text)
    fold = folds(column.type)
    if value is None or (value == "" and op in ("=", "!=")):
        if op not in ("=", "!="):
            return lambda _row: False
        return (lambda row: get(row) is None) if op == "=" else (lambda row: get(row) is not None)
    value = value.lower() if fold else value
    if op in ("=", "!="):
        equal = op == "="
        if fold:
            return lambda row: ((got := get(row)) is not None and got.lower() == value) is equal
        return lambda row: (get(row) == value) is equal
    compare = _OPERATORS[op]
    if fold:
        return lambda row: (got := get(row)) is not None and compare(got.lower(), value)
    return lambda row: (got := get(row)) is not None and compare(got, value)


def _like(tree: Compare, column: Column, text: str) -> Test:
    if not folds(column.type) or tree.value.kind != "string" or column.type == "multipicklist":
        raise OrgError(
            "INVALID_QUERY_FILTER_OPERATOR",
            located(text, tree.field.start, "invalid operator on " + column.type + " field"),
        )
    get, pattern = column.get, like_pattern(tree.value.raw)
    return lambda row: (got := get(row)) is not None and pattern.fullmatch(got) is not None


def like_pattern(raw: str) -> re.Pattern[str]:
    r"""Return the regular expression of a LIKE pattern: % any text, _ one character, \% and \_ themselves."""
    plain = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
    parts = []
    chars = iter(raw)
    for char in chars:
        if char == "\\":
            escaped = next(chars, "")
            parts.append(re.escape(plain.get(escaped, escaped)))
        else:
            parts.append({"%": ".*", "_": "."}.get(char) or re.escape(char))
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _among(tree: Among, column: Column, text: str) -> Test:
    get, wanted = column.get, tree.op in ("IN", "INCLUDES")
    if tree.op in ("INCLUDES", "EXCLUDES"):
        return _includes(tree, column, text, wanted)
    fold = folds(column.type)
    values = {literal(column, value, text) for value in tree.values}
    if fold:
        values = {None if value in (None, "") else value.lower() for value in values}
        return lambda row: ((None if (got := get(row)) is None else got.lower()) in values) is wanted
    return lambda row: (get(row) in values) is wanted


def _includes(tree: Among, column: Column, text: str, wanted: bool) -> Test:
    if column.type != "multipicklist":
        raise OrgError(
            "INVALID_QUERY_FILTER_OPERATOR",
            located(text, tree.field.start, f"invalid operator on {column.type} field"),
        )
    get = column.get
    choices = [set(str(literal(column, value, text)).lower().split(";")) for value in tree.values]

    def test(row: Row) -> bool:
        held = set((get(row) or "").lower().split(";"))
        return any(choice <= held for choice in choices) is wanted

    return test


def _datetime(value: Value, text: str) -> str:
    try:
        at = datetime.fromisoformat(value.value).astimezone(UTC)
    except ValueError as error:
        raise OrgError("MALFORMED_QUERY", located(text, value.start, f"invalid date: {value.raw}")) from error
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}+0000"


def _date(value: Value, text: str) -> str:
    try:
        return date.fromisoformat(value.value).isoformat()
    except ValueError as error:
        raise OrgError("MALFORMED_QUERY", located(text, value.start, f"invalid date: {value.raw}")) from error


def _id(value: Value, text: str) -> str:
    if value.value == "" or is_id(value.value):
        return to18(value.value) if value.value else ""
    raise OrgError("INVALID_QUERY_FILTER_OPERATOR", located(text, value.start, f"invalid ID field: {value.value}"))


def _wrong_type(column: Column, value: Value, wanted: str, text: str) -> OrgError:
    quotes = "should be enclosed in quotes" if wanted == "string" else "should not be enclosed in quotes"
    wanted = "dateTime" if wanted == "datetime" else wanted
    message = f"value of filter criterion for field '{column.path[-1]}' must be of type {wanted}" + (
        f" and {quotes}" if (value.kind == "string") != (wanted == "string") else ""
    )
    return OrgError("INVALID_FIELD", located(text, value.start, message))
