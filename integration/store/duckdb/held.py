"""Rows of a transaction that wait in memory until something reads their tables as they are.

A few rows of a large table are best read by their places: asked for them by a key, DuckDB reads every column of every
row and throws most away (measured on 400,000 records: 130 ms for 300 payloads by their ids, 15 ms by their places).
But only rows that were there before the transaction have a place: to look for places in a table that holds rows of the
transaction itself ends the process (DuckDB 2.0). So the new rows of the large tables are held back, and read together
with those that are there, until somebody wants the whole table or the transaction ends.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import duckdb
import pyarrow as pa

from integration.store import tables
from integration.store.quoting import identifier, table_name

_LARGE: Final = 50_000
"""Rows from which on it pays: up to then, what is saved in reading is lost in planning."""
_KEPT: Final = frozenset({"headrace.states", "headrace.people"})
_RAW: Final = "salesforce."
_FROM_ONE: Final = re.compile(r"\s*SELECT\s[^()]*?\sFROM\s+([\w.]+)(\s+WHERE\s.*)?", re.IGNORECASE | re.DOTALL)
_READS: Final = re.compile(r"\b(?:FROM|JOIN)\b", re.IGNORECASE)


class Held:
    """What one transaction holds back. A rollback drops it with everything else."""

    def __init__(self, con: duckdb.DuckDBPyConnection, rows_of: Callable[[str], int]) -> None:
        self._con = con
        self._rows_of = rows_of
        self._rows: dict[str, pa.Table] = {}
        self._stored: set[str] = set()

    def take(self, table: str, rows: pa.Table) -> bool:
        """Hold these rows back, if they are a large table's of which the transaction has stored none yet."""
        name = table.lower()
        if name in self._stored or not self._is_large(name):
            return False
        had = self._rows.get(name)
        if had is not None:
            if had.schema != rows.schema:
                return False
            rows = pa.concat_tables([had, rows])
        self._rows[name] = rows
        self._con.register(_view(name), rows)
        return True

    def give(self, table: str | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Give what is held of a table, or of all: the caller stores it. A table given, or stored without being held,
        is read by keys from now on."""
        for name in [table.lower()] if table is not None else list(self._rows):
            rows = self._rows.pop(name, None)
            if rows is not None:
                self._con.unregister(_view(name))
                yield name, rows

    def stored(self, table: str) -> None:
        """Note that the table holds rows of this transaction."""
        self._stored.add(table.lower())

    def picked(self, table: str, any_of: Mapping[str, str], columns: Iterable[str]) -> str:
        """Return the SELECT of these columns of the rows that meet one of some conditions, each of one column; the
        held rows are among them."""
        name, shown = table.lower(), table_name(table)
        condition = " OR ".join(any_of.values())
        by_place = f"rowid IN (SELECT rowid FROM {shown} WHERE {condition})"
        listed = [identifier(column) for column in columns]
        is_whole = name not in self._stored and self._is_large(name)
        select = f"SELECT {', '.join(listed)} FROM {shown} WHERE {by_place if is_whole else condition}"
        if name not in self._rows:
            return select
        there = {column.lower() for column in self._rows[name].column_names}
        # A column that these rows do not have is null in them, and meets no condition.
        mine = [one if one.strip('"').lower() in there else f"NULL AS {one}" for one in listed]
        met = [one for column, one in any_of.items() if column.lower() in there]
        return f"{select} UNION ALL SELECT {', '.join(mine)} FROM {_view(name)} WHERE {' OR '.join(met) or 'false'}"

    def _is_large(self, name: str) -> bool:
        return (name in _KEPT or name.startswith(_RAW)) and self._rows_of(name) >= _LARGE


def only_table_of(sql: str) -> str | None:
    """Return the one table that a statement of headrace's own reads; None where it is a view or may be several."""
    found = _FROM_ONE.fullmatch(sql)
    if found is None or len(_READS.findall(sql)) > 1:
        return None
    name = found[1].lower()
    return name if name in tables.FIXED or name.startswith(_RAW) else None


def _view(name: str) -> str:
    return f"headrace_held_{name.replace('.', '_')}"
