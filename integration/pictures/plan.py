"""What stands in a picture: labels, panels and their values, made of the rows of an answer. Draws nothing."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final

from integration.errors import UsageError
from integration.pictures.how import How, Kind

BARS: Final = 25
"""Bars of a picture, unless told."""
PARTS: Final = 8
"""Colours that everybody can tell from each other; the last one is for the others, if there are more."""
MOST_BARS: Final = 500
"""As many as a picture has: more are a table."""
_MEASURES: Final = {Kind.BARS: 6, Kind.STACKS: 1, Kind.LINES: 30}
"""For how many panels there is room: of bars they stand beside each other, of lines below."""
_LABEL: Final = 34
_PART: Final = 22
_ALWAYS_LARGE: Final = frozenset({"arr", "mrr", "id", "utm"})
_JOIN: Final = " · "
_ADDRESS: Final = re.compile(r"https?://[^/]+")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

Row = Mapping[str, Any]
Number = int | float | Decimal
Values = tuple[Number | None, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The values of a measure, one for each label of the picture; None where nothing is known."""

    name: str
    values: Values
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a picture with a scale of its own."""

    name: str
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is to be drawn. `labels` of lines are times, in their order; of bars they are texts, cut to fit.

    `has_rest`: the last bar is that of all others. `note` says what is left out, or nothing.
    """

    kind: Kind
    title: str
    labels: tuple[str, ...] | tuple[datetime, ...]
    panels: tuple[Panel, ...]
    has_rest: bool = False
    note: str = ""


def plan(how: How, title: str, rows: Sequence[Row], *, at_most: int = BARS) -> Picture:
    """Return the picture of an answer. `at_most` limits the bars, in the order of the rows.

    Raises UsageError for columns that the answer does not have, or that hold no numbers or no times, for several rows
    of one time in a line, and for more panels or bars than there is room for.
    """
    if len(how.measures) > (room := _MEASURES[how.kind]):
        raise UsageError(
            f"A picture of {how.kind} has room for {room} measures, not {len(how.measures)}: leave some out."
        )
    if rows:
        _check(how, rows)
    title = title.removesuffix(".")
    made = {Kind.BARS: _bars, Kind.STACKS: _stacks, Kind.LINES: _lines}[how.kind](how, title, rows, at_most)
    if how.kind is not Kind.LINES and len(made.labels) > MOST_BARS:
        raise UsageError(
            f"A picture has room for {MOST_BARS} bars, not {len(made.labels):,}: --limit {MOST_BARS} draws the first."
        )
    # What nobody knows anything of would be an empty panel.
    known = tuple(one for one in made.panels if any(v is not None for each in one.series for v in each.values))
    return replace(made, panels=known or made.panels[:1])


def words(column: str) -> str:
    """Say the name of a column in words: `arr_by_account` is `ARR by account`."""
    parts = [part.upper() if part in _ALWAYS_LARGE else part for part in column.split("_")]
    text = " ".join(parts).replace("sign up", "sign-up")
    return text[:1].upper() + text[1:]


def letters(text: str) -> int:
    """Return how wide a text is, in letters: a sign of Chinese, Japanese or Korean, and an emoji, takes two."""
    return sum(2 if is_wide(sign) else 1 for sign in text)


def is_wide(sign: str) -> bool:
    """Tell whether a sign is as wide as it is high."""
    return unicodedata.east_asian_width(sign) in "WF"


def cut(text: str, length: int = _LABEL) -> str:
    """Return a text on one line, as wide as so many letters at most; of an address its end stays."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    shown = _SCHEME.sub("", line, count=1) if _SCHEME.match(line) else line
    if letters(shown) <= length:
        return shown
    if shown != line or line.startswith("/"):
        return f"…{_beginning(shown[::-1], length - 1)[::-1]}"
    return f"{_beginning(shown, length - 1).rstrip()}…"


def _beginning(text: str, room: int) -> str:
    """Return as much of a text as there is room for."""
    widths = accumulate(letters(sign) for sign in text)
    return text[: sum(width <= room for width in widths)]


def _check(how: How, rows: Sequence[Row]) -> None:
    for column in (*how.measures, *how.by):
        if column not in rows[0]:
            raise UsageError(f"There is no column {column} to draw: there are {', '.join(rows[0])}.")
    for column in how.measures:
        if any(row[column] is not None and not _is_number(row[column]) for row in rows):
            raise UsageError(f"The column {column} can't be drawn: it has values that are no numbers.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _bars(how: How, title: str, rows: Sequence[Row], at_most: int) -> Picture:
    shown, rest = _divided(rows, at_most, how.adds_up)
    parts = [_without_site([_text(row[column]) for row in shown]) for column in how.by]
    labels = [_joined(of_row) for of_row in zip(*parts, strict=True)]
    values = {column: [row[column] for row in shown] for column in how.measures}
    if rest and how.adds_up:
        labels.append(_others(len(rest)))
        for column in how.measures:
            values[column].append(_sum(row[column] for row in rest))
    panels = tuple(Panel(words(column), (Series("", tuple(values[column])),)) for column in how.measures)
    return Picture(how.kind, title, tuple(labels), panels, bool(rest) and how.adds_up, _left_out(rest, how.adds_up))


def _stacks(how: How, title: str, rows: Sequence[Row], at_most: int) -> Picture:
    [measure], (bar, part) = how.measures, how.by
    cells: dict[str, dict[str, Number | None]] = {}
    for row in rows:
        of_bar = cells.setdefault(_text(row[bar]), {})
        of_bar[_text(row[part])] = _sum((of_bar.get(_text(row[part])), row[measure]))
    bars, rest = _divided(_largest({name: _sum(of.values()) for name, of in cells.items()}), at_most, how.adds_up)
    columns = [[one] for one in bars] + ([rest] if rest and how.adds_up else [])
    of_parts = {name: _sum(of.get(name) for of in cells.values()) for name in {p for of in cells.values() for p in of}}
    # The parts of a bar are what it is made of: they can be added up whatever the bars are.
    parts, other_parts = _divided(_largest(of_parts), PARTS, True)
    series = [Series(cut(name, _PART), _parts_of(cells, columns, [name])) for name in parts]
    if other_parts:
        series.append(Series(_others(len(other_parts)), _parts_of(cells, columns, other_parts), is_rest=True))
    labels = [cut(name) for name in _without_site(bars)] + [_others(len(rest)) for _ in columns[len(bars) :]]
    panels = (Panel(words(measure), tuple(series)),)
    return Picture(how.kind, title, tuple(labels), panels, len(columns) > len(bars), _left_out(rest, how.adds_up))


def _parts_of(
    cells: Mapping[str, Mapping[str, Number | None]], bars: Iterable[Sequence[str]], parts: Sequence[str]
) -> Values:
    return tuple(_sum(cells[bar].get(part) for bar in of for part in parts) for of in bars)


def _lines(how: How, title: str, rows: Sequence[Row], _: int) -> Picture:
    over, split = how.by[0], how.by[1] if len(how.by) == 2 else None
    known = [row for row in rows if row[over] is not None]
    times = sorted({_time(row[over], over) for row in known})
    place = {at: number for number, at in enumerate(times)}
    names = list(dict.fromkeys(_text(row[split]) if split else "" for row in known))
    _check_lines(known, over, split)
    panels = []
    for measure in how.measures:
        values: dict[str, list[Number | None]] = {name: [None] * len(times) for name in names[:PARTS]}
        for row in known:
            name = _text(row[split]) if split else ""
            if name in values:
                values[name][place[_time(row[over], over)]] = row[measure]
        panels.append(Panel(words(measure), tuple(Series(cut(n, _PART), tuple(v)) for n, v in values.items())))
    note = _left_out(names[PARTS:], False)
    return Picture(how.kind, title, tuple(times), tuple(panels), note=note)


def _check_lines(rows: Sequence[Row], over: str, split: str | None) -> None:
    seen: set[tuple[datetime, str]] = set()
    for row in rows:
        point = _time(row[over], over), _text(row[split]) if split else ""
        if point in seen:
            of = f"{row[over]} and {point[1]}" if split else row[over]
            raise UsageError(f"A line has one value for each time, and there are several rows of {of}: add them up.")
        seen.add(point)


def _time(value: Any, column: str) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise UsageError(f"The column {column} can't be drawn as time: it holds {value!r}.") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _divided(rows: Sequence[Any], at_most: int, adds_up: bool) -> tuple[list[Any], list[Any]]:
    """Part what is shown from the rest; where that becomes a bar of its own, it is of more than one."""
    if len(rows) <= at_most:
        return [*rows], []
    shown = max(at_most - adds_up, 1)
    return [*rows[:shown]], [*rows[shown:]]


def _largest(sums: Mapping[str, Number | None]) -> list[str]:
    return sorted(sums, key=lambda name: (-(sums[name] or 0), name))


def _sum(values: Iterable[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    exact = [value for value in known if not isinstance(value, float)]
    total: Number = sum(exact, 0)
    floats = [value for value in known if isinstance(value, float)]
    return float(total) + sum(floats) if floats else total


def _without_site(labels: Sequence[str]) -> list[str]:
    """Leave out the site of addresses where it is the same in all of them: that goes without saying."""
    addresses = [_ADDRESS.match(label) for label in labels if not label.startswith("(")]
    if len({found[0] if found else None for found in addresses}) == 1 and addresses[0] and len(addresses) > 1:
        return [label.removeprefix(addresses[0][0]) or "/" for label in labels]
    return [*labels]


def _joined(parts: Sequence[str]) -> str:
    """Put the parts of a label behind each other. What a short one leaves is room for a long one."""
    room = _LABEL - len(_JOIN) * (len(parts) - 1)
    fitting: dict[int, str] = {}
    for place in sorted(range(len(parts)), key=lambda place: letters(cut(parts[place]))):
        fitting[place] = cut(parts[place], room // (len(parts) - len(fitting)))
        room -= letters(fitting[place])
    return _JOIN.join(fitting[place] for place in range(len(parts)))


def _text(value: Any) -> str:
    if value is None:
        return "(unknown)"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _others(count: int) -> str:
    return f"{count:,} others"


def _left_out(rest: Sequence[Any], adds_up: bool) -> str:
    if not rest or adds_up:
        return ""
    return f"{len(rest):,} more {'is' if len(rest) == 1 else 'are'} not shown."
