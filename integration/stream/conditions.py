"""Conditions on entries as people type them: `StageName=Closed Won`, `subject=Contact/003*`, `Amount>1000`. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from operator import ge, gt, le, lt
from typing import Any, Final

from integration.core import exactjson
from integration.core.times import parse_time
from integration.stream.entry import describe_entry, short_type

_CONDITION: Final = re.compile(r"\s*([^=!~<>]*[^=!~<>\s])\s*(!=|~=|>=|<=|=|>|<)(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {">": gt, ">=": ge, "<": lt, "<=": le}
_ATTRIBUTES: Final = frozenset({"type", "subject", "origin", "id", "time", "seenat", "source", "reason", "deliveries"})
_MOST_DIGITS: Final = 400

_MISSING: Final = object()
Fields = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `path` is a field of the entry, of its record, or a way into its JSON (`data.fields.Name`).

    `bound` is what `>`, `>=`, `<` and `<=` compare with, `number` the value as a number (None if it is none), `parts`
    are what stands between the asterisks of the value.
    """

    path: str
    sign: str
    value: str
    bound: Decimal | datetime | None = None
    number: Decimal | None = None
    parts: tuple[str, ...] = ()


class Filter:
    """What entries are looked for: those of a type that fulfil all conditions. Counts what it was shown.

    `type_glob` is compared with the type as `short_type` gives it, with and without its version, in any case:
    `opportunity.*`, `*.deleted`, `product.track`. Values are found, in this order, among the fields of the entry
    (`subject`, `origin`), the fields of the record it shows (`StageName`), and in the JSON of its data (`is_deleted`,
    `fields.StageName`, `data.fields.StageName`); of a dead letter also in the entry that was given up. JSON is read
    only when a condition needs it. An entry without the field fulfils no condition about it, `!=` neither.
    """

    def __init__(self, conditions: Sequence[Condition] = (), type_glob: str | None = None) -> None:
        # What stands in the entry's own fields is looked at first: it may spare reading the JSON.
        self._conditions = sorted(conditions, key=lambda one: one.path not in _ATTRIBUTES)
        self._type_glob = type_glob.lower() if type_glob is not None else None
        self._asked: set[str] = set()
        self._met: set[str] = set()
        self.looked_at = 0

    @property
    def unmet(self) -> list[str]:
        """The fields that had to be looked for, and that no entry had so far."""
        return sorted(self._asked - self._met)

    def takes(self, fields: Fields) -> bool:
        """True for an entry that is looked for. Never raises."""
        self.looked_at += 1
        if self._type_glob is None and not self._conditions:
            return True
        entry = _Entry(fields)
        if self._type_glob is not None and not _is_of_type(entry.attribute(b"type"), self._type_glob):
            return False
        return all(self._holds(condition, entry) for condition in self._conditions)

    def _holds(self, condition: Condition, entry: "_Entry") -> bool:
        value = entry.find(condition.path)
        self._asked.add(condition.path)
        if value is _MISSING:
            return False
        self._met.add(condition.path)
        return holds(condition, value)


def parse_condition(text: str, now: datetime) -> Condition:
    """Read a condition: FIELD, one of = != ~= > >= < <=, and a value.

    `=` and `!=` compare text exactly, numbers as numbers (1200.50 is 1200.5), with `*` for any characters; `null`,
    `true` and `false` are those values. `~=` means: contains, in any case. The others compare numbers and times
    (ISO 8601, or `-7d` and the like, counted from `now`). Raises ValueError with a sentence.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{_quoted(text)} is no condition: write FIELD=VALUE, or another of = != ~= > >= < <= between them, e.g. "
            "StageName=Prospecting or Amount>1000."
        )
    path, sign, value = found.groups()
    number = _as_number(value)
    if sign not in _ORDER:
        return Condition(path, sign, value, number=number, parts=tuple(value.split("*")))
    try:
        return Condition(path, sign, value, bound=parse_time(value, now) if number is None else number)
    except ValueError:
        raise ValueError(
            f"{_quoted(text)} is no condition: {sign} compares numbers and times, and {value!r} is neither; "
            "write e.g. Amount>1000, CloseDate>=2026-11-22 or time>-2h."
        ) from None


def holds(condition: Condition, value: Any) -> bool:
    """Tell whether a value (JSON's, or an entry's text) fulfils a condition."""
    if condition.sign in _ORDER:
        comparable = _comparable(value, condition.bound)
        return comparable is not None and _ORDER[condition.sign](comparable, condition.bound)
    if condition.sign == "~=":
        return condition.value.casefold() in _plain(value).casefold()
    return _equals(condition, value) is (condition.sign == "=")


class _Entry:
    """The values of an entry by path. Its JSON is read once, when it is first needed."""

    __slots__ = ("_fields", "_inner", "_payload")

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._payload: Any = _MISSING
        self._inner: _Entry | None = None

    def attribute(self, name: bytes) -> str | None:
        """Return a field of the entry, or of the one that a dead letter keeps, as text."""
        if name in self._fields:
            return _text(self._fields[name])
        inner = self._given_up()
        return inner.attribute(name) if inner else None

    def find(self, path: str) -> Any:
        """Return the value at a path; _MISSING if there is none."""
        raw = self._fields.get(path.encode("utf-8", "backslashreplace"))
        if raw is not None:
            return _text(raw)
        payload = self._read()
        for root in (payload.get("fields") if isinstance(payload, dict) else None, payload):
            if (value := _walk(root, path)) is not _MISSING:
                return value
        head, dot, rest = path.partition(".")
        if dot and (value := self._inside(head, rest)) is not _MISSING:
            return value
        inner = self._given_up()
        return inner.find(path) if inner else _MISSING

    def _inside(self, head: str, rest: str) -> Any:
        if head == "data":
            return _walk(self._read(), rest)
        raw = self._fields.get(head.encode("utf-8", "backslashreplace"))
        return _walk(_json(raw), rest) if raw is not None else _MISSING

    def _read(self) -> Any:
        if self._payload is _MISSING:
            if b"__data__" in self._fields:
                self._payload = describe_entry(self._fields).data
            else:
                self._payload = _json(self._fields.get(b"data"))
        return self._payload

    def _given_up(self) -> "_Entry | None":
        """Return the entry inside a dead letter."""
        if self._inner is None and b"entry" in self._fields and b"reason" in self._fields:
            kept = _json(self._fields[b"entry"])
            pairs = kept.items() if isinstance(kept, dict) else ()
            # Without its own `entry`: a letter in a letter in a letter is looked into once.
            self._inner = _Entry({_bytes(k): _bytes(v) for k, v in pairs if k != "entry" and isinstance(v, str)})
        return self._inner


def _walk(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        if path in value:
            return value[path]
        head, dot, rest = path.partition(".")
        return _walk(value[head], rest) if dot and head in value else _MISSING
    return _MISSING


def _is_of_type(value: str | None, glob: str) -> bool:
    kind = short_type((value or "").lower())
    return fnmatchcase(kind, glob) or fnmatchcase(kind.rpartition(".v")[0], glob)


def _equals(condition: Condition, value: Any) -> bool:
    if len(condition.parts) > 1:
        return _has_parts(_plain(value), *condition.parts)
    if condition.number is not None and _is_number(value):
        return exactjson.number(value) == condition.number
    return _plain(value) == condition.value


def _comparable(value: Any, bound: Decimal | datetime | None) -> Decimal | datetime | None:
    if isinstance(bound, Decimal):
        if _is_number(value):
            return exactjson.number(value)
        return _as_number(value) if isinstance(value, str) else None
    return _as_moment(value) if isinstance(value, str) else None


def _as_moment(text: str) -> datetime | None:
    if not _DATE.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _as_number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if _NUMBER.fullmatch(text.strip()) else None


def _has_parts(text: str, first: str, *others: str) -> bool:
    """Tell whether a text has these parts, in order, with anything between them. Unlike a pattern never slow."""
    *middle, last = others
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float | Decimal):
        number = exactjson.number(value)
        # Written out, a number such as 1E+999999999 would fill the memory.
        return exactjson.plain(number) if abs(number.adjusted()) < _MOST_DIGITS else str(number)
    return exactjson.dumps(value).decode()


def _json(content: bytes | None) -> Any:
    try:
        return exactjson.loads(content) if content is not None else None
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _quoted(text: str) -> str:
    return text if text and text.isprintable() else repr(text)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
