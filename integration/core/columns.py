"""Columns and their types: the words in which the core says what it wants stored."""

from dataclasses import dataclass
from enum import StrEnum


class ColumnType(StrEnum):
    """The types a column can have, with the plain values it takes (null is None everywhere)."""

    TEXT = "text"
    """str."""
    BOOLEAN = "boolean"
    """bool."""
    INTEGER = "integer"
    """int, 64 bits."""
    DECIMAL = "decimal"
    """int, float (its shortest decimal form counts) or Decimal; never rounded."""
    DATE = "date"
    """ISO text, `2024-01-02`."""
    TIMESTAMP = "timestamptz"
    """ISO text with offset or Z, milliseconds at most: `2024-01-22T16:26:15.000+0000`, `2024-01-22T16:26:15Z`."""
    JSON = "json"
    """bytes or str that hold JSON."""
    BYTES_AS_TEXT = "utf8"
    """UTF-8 bytes, stored as text without being decoded on the way."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and the key of its value in a row (`source`; the name when empty)."""

    name: str
    type: ColumnType
    precision: int = 18
    scale: int = 2
    source: str = ""
