"""Files of product events, read a piece at a time: JSON Lines, CSV and Parquet, as Segment calls.

What can't be read is given too, with the reason and as it stands in the file, so that it can be written elsewhere.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from integration.core import exactjson, rows
from integration.core.kinds import Format
from integration.errors import RunError, UsageError

STDIN: Final = "-"
MOST_LINE_BYTES: Final = 2 * 1024 * 1024
"""Of a line of text: what a whole call may take at the door, unpacked."""
_ROWS_AT_ONCE: Final = 1_000
_BUFFER_BYTES: Final = 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_WIDE_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS: Final = ",;\t|"
_ARRAY: Final = "It is one JSON array: write each event on a line of its own."


_FORMATS: Final[Mapping[str, Format]] = {
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".json": Format.JSON_LINES,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".parquet": Format.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: their format (None: as their names tell), the columns of fields, and the fields of those who
    do not tell them."""

    format: Format | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def format_of(self, name: str) -> Format:
        """Return what a file is. Raises UsageError where neither its name nor anybody tells."""
        if self.format is not None or name == STDIN:
            return self.format or Format.JSON_LINES
        found = _FORMATS.get(Path(name.removesuffix(".gz")).suffix.lower())
        if found is None:
            raise UsageError(f"The name of {name} does not tell its format: add --format jsonl, csv or parquet.")
        return found


@dataclass(frozen=True, slots=True)
class Record:
    """A line or row of a file: the call that it holds, or the reason why it holds none.

    `place` counts the lines of a text, the rows of Parquet, from 1. `raw` is what stands there, for `Rejects`. A line
    that is too long comes in pieces; all but the first are `more` of it.
    """

    place: int
    raw: Any = field(repr=False)
    body: Any = field(default=None, repr=False)
    reason: str | None = None
    more: bool = False


class Rejects(Protocol):
    """A file that takes what was rejected."""

    def write(self, raw: Any) -> None:
        """Write a record as it stands in its file."""

    def close(self) -> None:
        """Finish the file."""


class Table(Protocol):
    """A file of events that is open."""

    head: Any
    """What a file of rejects shares with it: only files with the same one can share such a file."""

    def records(self) -> Iterator[Record]:
        """Give what stands in it, once."""

    def rejects(self, path: Path) -> Rejects:
        """Make a file for what is rejected of it."""


@contextmanager
def opened(name: str, reading: Reading) -> Iterator[Table]:
    """Open a file by its name; `-` is standard input.

    Raises UsageError for what is no such file, and RunError for one that ends too early.
    """
    kind = reading.format_of(name)
    if kind is Format.PARQUET and name == STDIN:
        raise UsageError("Parquet can't be read from standard input: give the name of a file.")
    try:
        # By its number, so that closing it leaves the process its standard input.
        with open(0 if name == STDIN else name, "rb", closefd=name != STDIN) as file:
            yield _TABLES[kind](file, reading)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise RunError(
            f"{_shown(name)} is packed by gzip and is not whole: what stood before its end is taken. Get it anew and "
            "import it again; every event comes in once."
        ) from None
    except OSError as error:
        raise UsageError(f"{_shown(name)} can't be read ({error.strerror or type(error).__name__}).") from None
    except _NotEventsError as error:
        raise UsageError(f"{_shown(name)}: {error}") from None


class _NotEventsError(Exception):
    """Why a file can't be read as one of events."""


def _shown(name: str) -> str:
    return "Standard input" if name == STDIN else name


def _layout(columns: list[str], reading: Reading) -> rows.Layout:
    try:
        return rows.layout(columns, reading.columns)
    except ValueError as error:
        raise _NotEventsError(str(error)) from None


def _text_of(file: BinaryIO) -> Any:
    """Return the bytes of a text, unpacked where they are packed, without their byte order mark."""
    text: Any = file
    if text.peek(2).startswith(_GZIP):
        text = gzip.GzipFile(fileobj=text)
    begin = text.peek(3)
    if begin.startswith(_WIDE_BOMS):
        raise _NotEventsError("It is UTF-16: write it as UTF-8.")
    if begin.startswith(_BOM):
        text.read(len(_BOM))
    return text


class _TextRejects:
    def __init__(self, path: Path, head: bytes = b"") -> None:
        self._file = path.open("xb")
        self._file.write(head)

    def write(self, raw: bytes) -> None:
        self._file.write(raw)

    def close(self) -> None:
        self._file.close()


class _JsonLines:
    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        if reading.columns:
            raise _NotEventsError("It is JSON Lines, which has no columns: --column is for CSV and Parquet.")
        self.head: Any = Format.JSON_LINES
        self._file, self._defaults = _text_of(file), reading.defaults

    def records(self) -> Iterator[Record]:
        place, more = 0, False
        while line := self._file.readline(MOST_LINE_BYTES):
            place += not more
            is_end = line.endswith(b"\n") or len(line) < MOST_LINE_BYTES
            raw = line + b"\n" if is_end and not line.endswith(b"\n") else line
            if more:
                yield Record(place, raw, more=True)
            elif not is_end:
                yield Record(place, raw, reason=f"It is longer than {MOST_LINE_BYTES // 1024 // 1024} MB.")
            elif line.strip():
                yield self._record(place, raw)
            more = not is_end

    def rejects(self, path: Path) -> Rejects:
        return _TextRejects(path)

    def _record(self, place: int, line: bytes) -> Record:
        try:
            body = exactjson.loads(line)
        except (ValueError, ArithmeticError, RecursionError):
            if place == 1 and line.lstrip().startswith(b"["):
                raise _NotEventsError(_ARRAY) from None
            return Record(place, line, reason="It is not JSON.")
        if place == 1 and isinstance(body, list):
            raise _NotEventsError(_ARRAY)
        return Record(place, line, rows.with_defaults(body, self._defaults))


class _Lines:
    """Gives lines, and remembers those since it was last asked for them."""

    def __init__(self, file: Any) -> None:
        # What is not UTF-8 comes through as halves of characters: no event may hold them, and they can be written back.
        self._text = TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
        self._given: list[str] = []

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MOST_LINE_BYTES):
            if len(line) == MOST_LINE_BYTES and not line.endswith(("\n", "\r")):
                raise _NotEventsError(f"It has a line of more than {MOST_LINE_BYTES // 1024 // 1024} MB.")
            self._given.append(line)
            yield line

    def given(self) -> bytes:
        text, self._given = "".join(self._given), []
        return (text if text.endswith(("\n", "\r")) else text + "\n").encode("utf-8", "surrogateescape")


class _Csv:
    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        self._lines = _Lines(_text_of(file))
        given = iter(self._lines)
        first = next(given, "")
        if not first.strip():
            raise _NotEventsError("It has no header line.")
        delimiter = max(_DELIMITERS, key=first.count)
        self._reader = csv.reader(chain([first], given), delimiter=delimiter, strict=True)
        try:
            self._columns = [name.strip() for name in next(self._reader)]
        except csv.Error as error:
            raise _NotEventsError(f"Its header is not CSV ({error}).") from None
        self.head: Any = self._lines.given()
        self._layout, self._defaults = _layout(self._columns, reading), reading.defaults

    def records(self) -> Iterator[Record]:
        while True:
            place = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(place, self._lines.given(), reason=f"It is not CSV ({error}).")
                continue
            raw = self._lines.given()
            if len(cells) == len(self._columns):
                values = [cell or None for cell in cells]
                yield _record(place, raw, self._layout, values, self._defaults)
            elif cells:
                reason = f"It has {len(cells)} cells, and the header has {len(self._columns)}."
                yield Record(place, raw, reason=reason)

    def rejects(self, path: Path) -> Rejects:
        return _TextRejects(path, self.head)


class _ParquetRejects:
    """Writes the rows of a batch together."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.open("xb").close()
        self._writer = pq.ParquetWriter(path, schema)
        self._batch: pa.RecordBatch | None = None
        self._places: list[int] = []

    def write(self, raw: tuple[pa.RecordBatch, int]) -> None:
        batch, place = raw
        if batch is not self._batch:
            self._flush()
            self._batch = batch
        self._places.append(place)

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._batch is not None and self._places:
            self._writer.write_batch(self._batch.take(pa.array(self._places)))
        self._places = []


class _Parquet:
    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        try:
            # Column by column through a small buffer: a row group can be larger than memory.
            self._file = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except pa.ArrowException as error:
            raise _NotEventsError(f"It is not Parquet ({type(error).__name__}).") from None
        self.head: Any = self._file.schema_arrow
        self._layout, self._defaults = _layout(self.head.names, reading), reading.defaults

    def records(self) -> Iterator[Record]:
        place = 0
        try:
            for batch in self._file.iter_batches(_ROWS_AT_ONCE):
                columns = [_values(column) for column in batch.columns]
                for number, values in enumerate(zip(*columns, strict=True)):
                    place += 1
                    yield _record(place, (batch, number), self._layout, values, self._defaults)
        except pa.ArrowException as error:
            raise _NotEventsError(f"Behind row {place:,} it can't be read ({type(error).__name__}).") from None

    def rejects(self, path: Path) -> Rejects:
        return _ParquetRejects(path, self.head)


def _record(place: int, raw: Any, layout: rows.Layout, values: Sequence[Any], defaults: Mapping[str, Any]) -> Record:
    try:
        return Record(place, raw, rows.call(layout, values, defaults))
    except ValueError as error:
        return Record(place, raw, reason=str(error))


def _values(column: pa.Array) -> list[Any]:
    """Return plain values; times to the microsecond."""
    kind = _to_microseconds(column.type)
    if kind != column.type:
        column = column.cast(kind, safe=False)
    try:
        return cast("list[Any]", column.to_pylist(maps_as_pydicts="lossy"))
    except (OverflowError, ValueError):
        return [_python_value(value) for value in column]  # one odd value is no reason to lose the others


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py(maps_as_pydicts="lossy")
    except (OverflowError, ValueError):
        return rows.UNREADABLE


def _to_microseconds(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct(
            [kind.field(place).with_type(_to_microseconds(kind.field(place).type)) for place in range(kind.num_fields)]
        )
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_to_microseconds(kind.value_type)))
    return kind


_TABLES: Final[Mapping[Format, Any]] = {Format.JSON_LINES: _JsonLines, Format.CSV: _Csv, Format.PARQUET: _Parquet}
