"""How results look: tables for people, JSON for programs, plain aligned text wherever there is no terminal."""

import csv
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, TextIO

from integration.core import exactjson

Row = Mapping[str, Any]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_GAP = "  "


class Output:
    """Prints results to one stream and everything else to another."""

    def __init__(self, result: TextIO, notes: TextIO) -> None:
        self._result = result
        self._notes = notes

    def note(self, text: str) -> None:
        """Print something that is not the result: progress, a hint, an error."""
        self._notes.write(text + "\n")
        self._notes.flush()

    def progress(self, text: str) -> None:
        """Print a line of progress where somebody watches; a log file is spared it."""
        if self._notes.isatty():
            self.note(text)

    def text(self, text: str) -> None:
        """Print a line of the result; control characters in it are shown, never obeyed."""
        self._result.write(visible(text) + "\n")

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        self._result.write(exactjson.dumps(plain(value)).decode() + "\n")

    def lines(self, values: Iterable[Any]) -> None:
        """Print one JSON document a line, each as soon as it is there."""
        for value in values:
            self.document(value)
            self._result.flush()

    def csv(self, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Print CSV with a header; null is an empty field."""
        writer = csv.writer(self._result, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([cell(row.get(c), null="") for c in columns] for row in rows)

    def table(self, columns: Sequence[str], rows: Sequence[Row], *, null: str = "-") -> None:
        """Print rows for people: a table, or one block per row where the terminal is too narrow for one."""
        cells = [[visible(cell(row.get(c), null=null)) for c in columns] for row in rows]
        numeric = [_is_numeric(row.get(c) for row in rows) for c in columns]
        console = self._console()
        if console is None:
            self._write_lines(_aligned(columns, cells, numeric))
        elif _width(columns, cells) > console.width:
            self._write_lines(_blocks(columns, cells))
        else:
            console.print(_rich_table(columns, cells, numeric))

    def report(self, value: Any, now: datetime) -> None:
        """Print a nested value for people: single values as a list, rows as a table, each part under its name.

        Times are told from `now`; parts without anything in them are left out.
        """
        document = _told_from(plain(value), now)
        single = {key: one for key, one in document.items() if not _is_part(one) and one not in ([], {})}
        self._pairs(single)
        first = not single
        for name, part in document.items():
            if not _is_part(part):
                continue
            self._write_lines([name.upper()] if first else ["", name.upper()])
            first = False
            if isinstance(part, dict):
                self._pairs(part)
            else:
                self.table(list(dict.fromkeys(key for row in part for key in row)), part)

    def _pairs(self, pairs: Mapping[str, Any]) -> None:
        width = max(map(len, pairs), default=0)
        self._write_lines(visible(f"{key:<{width}}{_GAP}{cell(one)}") for key, one in pairs.items())

    def _console(self) -> Any:
        """Return a rich console, or None where plain text is wanted: no terminal, a dumb one, NO_COLOR."""
        if not self._result.isatty():
            return None
        from rich.console import Console

        console = Console(file=self._result, highlight=False)
        return None if console.no_color or console.is_dumb_terminal else console

    def _write_lines(self, lines: Iterable[str]) -> None:
        self._result.writelines(line + "\n" for line in lines)


def plain(value: Any) -> Any:
    """Turn dataclasses, models, enums, times and paths into what JSON can carry; times are ISO 8601 UTC with Z."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json", by_alias=True))
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, PurePath) else value


def iso(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC with Z; one without a zone is taken for UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat().replace("+00:00", "Z")


def ago(moment: str | datetime | None, now: datetime) -> str:
    """Say how long ago something was: `12s ago`, `3m ago`, `4h ago`, `9d ago`; `-` if never."""
    if moment is None:
        return "-"
    then = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    then = then.replace(tzinfo=UTC) if then.tzinfo is None else then
    seconds = int((now - then).total_seconds())
    if seconds < 0:
        return "just now"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit} ago"
    return f"{seconds}s ago"


def cell(value: Any, *, null: str = "-") -> str:
    """Return a value as the text of a table cell: no exponents, `true` and `false`, nested values as JSON."""
    if value is None:
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, float):
        return repr(value)
    value = plain(value)
    return value if isinstance(value, str) else exactjson.dumps(value).decode()


def counted(count: int, word: str) -> str:
    """Say how many there are: `1 row`, `2,000 rows`, `3 entries`."""
    if count == 1:
        return f"1 {word}"
    return f"{count:,} {word[:-1] + 'ies' if word.endswith('y') else word + 's'}"


def visible(text: str) -> str:
    """Show control characters instead of sending them to a terminal: record fields may hold anything."""
    return _CONTROL.sub(lambda m: _NAMED.get(m[0], f"\\x{ord(m[0]):02x}"), text)


def indented(value: Any, depth: int = 0, end: str = "") -> Iterator[str]:
    """Give a value as the lines of indented JSON, numbers digit for digit."""
    pad = "  " * depth
    if not isinstance(value, dict | list) or not value:
        yield f"{pad}{exactjson.dumps(value).decode()}{end}"
        return
    named = isinstance(value, dict)
    pairs = list(value.items()) if isinstance(value, dict) else [("", one) for one in value]
    yield pad + ("{" if named else "[")
    for number, (key, inner) in enumerate(pairs, start=1):
        lines = indented(inner, depth + 1, "," if number < len(pairs) else "")
        head = f"{exactjson.dumps(key).decode()}: " if named else ""
        yield f"{pad}  {head}{next(lines).lstrip()}"
        yield from lines
    yield pad + ("}" if named else "]") + end


def _told_from(value: Any, now: datetime) -> Any:
    if isinstance(value, dict):
        return {key: _told_from(one, now) for key, one in value.items()}
    if isinstance(value, list):
        return [_told_from(one, now) for one in value]
    return ago(value, now) if isinstance(value, str) and _STAMP.fullmatch(value) else value


def _is_part(value: Any) -> bool:
    """Tell a part with a heading of its own from a single value; an empty one is a single value."""
    rows = isinstance(value, list) and all(isinstance(v, dict) for v in value)
    return bool(value) and (rows or isinstance(value, dict))


def _is_numeric(values: Iterable[Any]) -> bool:
    present = [v for v in values if v is not None]
    return bool(present) and all(isinstance(v, int | float | Decimal) and v is not True for v in present)


def _width(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    widths = [max(map(len, (name, *column))) for name, column in _by_column(columns, cells)]
    return sum(widths) + len(_GAP) * len(widths)


def _by_column(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterable[tuple[str, tuple[str, ...]]]:
    return [(name, tuple(row[i] for row in cells)) for i, name in enumerate(columns)]


def _aligned(columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Iterable[str]:
    widths = [max(map(len, (name, *column))) for name, column in _by_column(columns, cells)]
    for row in ([name.upper() for name in columns], *cells):
        fitted = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        yield _GAP.join(fitted).rstrip()


def _blocks(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterable[str]:
    width = max(map(len, columns))
    for number, row in enumerate(cells, start=1):
        yield f"-- {number} --"
        yield from (f"{name:<{width}}{_GAP}{text}" for name, text in zip(columns, row, strict=True))


def _rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(Text(name.upper()), justify="right" if right else "left", no_wrap=True)
    for row in cells:
        # Text and not str: square brackets in a record are no markup.
        table.add_row(*(Text(text) for text in row))
    return table
