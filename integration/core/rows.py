"""Rows of a table as Segment calls: which column is what. Pure.

A row is one event. The fields of a call are found by their names in whatever letters (`userId`, `user_id`); columns
that begin with `context_`, and those that the views of product events have (`utm_source`, `page_url`), stand around the
event; every other column is a property, of people and groups a trait.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, cast

from integration.core import exactjson

FIELDS: Sequence[str] = (
    "type", "event", "name", "category", "userId", "anonymousId", "previousId", "groupId", "messageId", "timestamp",
    "originalTimestamp", "sentAt", "receivedAt", "properties", "traits", "context",
)  # fmt: skip
"""What a call holds, as the Segment Tracking API writes it."""

TOLD_AROUND: Mapping[str, str] = {
    "utm_source": "campaign.source",
    "utm_medium": "campaign.medium",
    "utm_campaign": "campaign.name",
    "utm_term": "campaign.term",
    "utm_content": "campaign.content",
    "referrer": "page.referrer",
    "page_url": "page.url",
    "page_path": "page.path",
}
"""Where a product event says how somebody came: column of its view -> place in the context that its client sent."""

UNREADABLE: Final = object()
"""Stands for a value that a file has and Python has not."""
_NO_VALUE: Final = "what can't be read: a time outside the years 1 to 9999, or text that is not UTF-8"
_AROUND: Final = "context_"
_GROUPS: Final = ("app", "campaign", "device", "library", "location", "network", "os", "page", "screen", "traits")
"""Objects within a context: `context_page_url` is `url` of `page`, `context_user_agent` is `userAgent`."""
_OBJECTS: Final = ("properties", "traits", "context")
_OF_VIEWS: Final = ("page", "screen")
_WITH_TRAITS: Final = ("identify", "group")
_NOT_LETTERS: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """What each column is, by its place."""

    names: Sequence[str]
    """What the columns are called."""
    fields: Mapping[str, int]
    around: Sequence[tuple[int, Sequence[str]]]
    """Where in the context they stand."""
    others: Sequence[tuple[int, str]]
    """What the properties are called."""


def field_of(word: str) -> str | None:
    """Return the field that a word names in whatever letters; None for any other."""
    return _BY_WORD.get(_plain(word))


def layout(columns: Sequence[str], named: Mapping[str, str]) -> Layout:
    """Find out which column is what; `named` tells the column of a field. Raises ValueError, in a sentence."""
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise ValueError(f"It has more than one column {twice[0]}: rename one of them.")
    fields: dict[str, int] = {}
    for field, name in named.items():
        if name not in columns:
            raise ValueError(f"It has no column {name} for {field}; its columns are {', '.join(columns)}.")
        fields[field] = columns.index(name)
    around: list[tuple[int, Sequence[str]]] = []
    others: list[tuple[int, str]] = []
    for place, name in enumerate(columns):
        if place in fields.values():
            continue
        found = field_of(name)
        if found is not None and found not in named:
            if found in fields:
                raise ValueError(
                    f"Its columns {columns[fields[found]]} and {name} are both {found}: say which one with "
                    f"--column {found}={name}."
                )
            fields[found] = place
        elif (way := _way(name)) is not None:
            around.append((place, way))
        else:
            others.append((place, name or f"column_{place + 1}"))
    return Layout(columns, fields, around, others)


def call(columns: Layout, values: Sequence[Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a Segment call; None is a value that is not there. `defaults` are fields for those not told.

    Raises ValueError, in a sentence, for a value that no event can hold, and for columns that contradict each other.
    """
    plain = [_named(name, value) for name, value in zip(columns.names, values, strict=True)]
    told = dict(defaults)
    for field, place in columns.fields.items():
        value = _parsed(plain[place]) if field in _OBJECTS else plain[place]
        if value is not None:
            told[field] = value
    found = {name: plain[place] for place, name in columns.others if plain[place] is not None}
    kind = told.get("type")
    if kind not in _OF_VIEWS:
        # Only a page or screen has these beside its properties.
        found |= {name: told.pop(name) for name in ("name", "category") if name in told}
    field = "traits" if kind in _WITH_TRAITS else "properties"
    there = told.get(field, {})
    if found and isinstance(there, dict):
        told[field] = {**found, **there}
    context: dict[str, Any] = {}
    for place, way in columns.around:
        if plain[place] is not None:
            context = _united(context, _nested(way, plain[place]), "context", is_last_word=False)
    there = told.get("context", {})
    if context and isinstance(there, dict):
        told["context"] = _united(there, context, "context", is_last_word=True)
    return told


def with_defaults(body: Any, defaults: Mapping[str, Any]) -> Any:
    """Return a call, or a batch of them, with these fields where it does not tell them."""
    if not isinstance(body, dict):
        return body
    batch = body.get("batch")
    if isinstance(batch, list):
        return {**body, "batch": [with_defaults(one, defaults) for one in batch]}
    return body if "batch" in body else {**defaults, **body}


def _nested(way: Sequence[str], value: Any) -> dict[str, Any]:
    for step in reversed(way):
        value = {step: value}
    return cast("dict[str, Any]", value)


def _united(there: Mapping[str, Any], found: Mapping[str, Any], way: str, *, is_last_word: bool) -> dict[str, Any]:
    """Return two objects as one, and those within them. Where both tell a value, `there` has the last word, or else
    they must agree. Raises ValueError."""
    whole = dict(there)
    for name, value in found.items():
        known, here = whole.get(name), f"{way}.{name}"
        if known is None:
            whole[name] = value
        elif isinstance(known, dict) and isinstance(value, dict):
            whole[name] = _united(known, value, here, is_last_word=is_last_word)
        elif value is not None and isinstance(known, dict) != isinstance(value, dict):
            raise ValueError(f"Its columns tell {here} both as an object and as a single value: leave one of them out.")
        elif value is not None and known != value and not is_last_word:
            raise ValueError(f"Two of its columns tell {here}, and not the same: leave one of them out.")
    return whole


def _way(name: str) -> Sequence[str] | None:
    if name in TOLD_AROUND:
        return TOLD_AROUND[name].split(".")
    if name.startswith("utm_"):
        return ("campaign", name.removeprefix("utm_"))
    if not name.startswith(_AROUND):
        return None
    first, _, rest = name.removeprefix(_AROUND).partition("_")
    if rest and first in _GROUPS:
        return (first, rest if first == "traits" else _camel(rest))
    return (_camel(name.removeprefix(_AROUND)),)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)


def _parsed(value: Any) -> Any:
    """Read a cell that holds JSON; what is none stays as it is, and is refused as that."""
    if not isinstance(value, str):
        return value
    try:
        return exactjson.loads(value)
    except (ValueError, ArithmeticError, RecursionError):
        return value


def _named(column: str, value: Any) -> Any:
    try:
        return _value(value)
    except OverflowError:
        raise ValueError(f"Its column {column} holds {_NO_VALUE}.") from None
    except ValueError as error:
        raise ValueError(f"Its column {column} holds {error}.") from None


def _value(value: Any) -> Any:
    """Return a value as JSON has it; None for what is no number. Raises ValueError: what it is that JSON has not."""
    if value is UNREADABLE:
        raise ValueError(_NO_VALUE)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and value != value:  # so says who has no value
        return None
    if isinstance(value, dict):
        return {str(key): _value(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_value(one) for one in value]
    if isinstance(value, timedelta | bytes):
        raise ValueError("a length of time" if isinstance(value, timedelta) else "bytes")
    return value


def _plain(word: str) -> str:
    return _NOT_LETTERS.sub("", word).lower()


_BY_WORD: Final[Mapping[str, str]] = {_plain(field): field for field in FIELDS}
