"""What one transaction has written into a table: kept here until it commits, and laid over the table for its reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from integration.store.clickhouse import layout
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.layout import BATCH, DELETED, ROW, Layout
from integration.store.protocol import RefusedError

_ORDER = "_n"
_ARROW_TYPES: Mapping[str, pa.DataType] = {
    "String": pa.string(),
    "Bool": pa.bool_(),
    "Int64": pa.int64(),
    "Date32": pa.date32(),
    "DateTime64(6, 'UTC')": pa.timestamp("us", "UTC"),
}
_ROWS_OF_A_BATCH = 24  # bits of a row's number that count the rows of its batch
_ROWS_OF_A_CHUNK = 32

Key = tuple[Any, ...]


@dataclass(slots=True)
class Overlay:
    """The rows of one table that a transaction has written, by key, and the keys it has deleted.

    `base` is the table as it lies in the store, None for a new one; `layout` as the transaction wants it.
    """

    layout: Layout
    base: Layout | None
    place: int
    """Which of the transaction's overlays it is."""
    hidden: list[str] = field(default_factory=list)
    """Conditions under which the store's own rows are gone."""
    _chunks: list[pa.Table] = field(default_factory=list)
    _rows: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """Key -> the chunk and the place in it that hold what was written last."""
    _sent: int = 0
    """How many chunks lie in the temporary table."""
    _is_made: bool = False
    _numbered: int = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was written."""
        return not self._rows

    def put(self, rows: pa.Table, batch: int) -> None:
        """Write rows; one that has the key of another replaces it. Columns that are not given are null."""
        if self.layout.has_row_numbers and ROW not in rows.column_names:
            first = (batch << _ROWS_OF_A_BATCH) + self._numbered
            numbers = pa.array(range(first, first + rows.num_rows), pa.uint64())
            rows = rows.append_column(ROW, numbers)
            self._numbered += rows.num_rows
        self._add(rows, keys_of(rows, self.layout), deleted=False)

    def delete(self, keys: Iterable[Key]) -> None:
        """Delete the rows of these keys."""
        gone = list(dict.fromkeys(keys))
        if gone:
            types = [_key_type(self.layout, name) for name in self.layout.key]
            arrays = [pa.array(values, kind) for values, kind in zip(zip(*gone, strict=True), types, strict=True)]
            self._add(pa.table(arrays, names=list(self.layout.key)), gone, deleted=True)

    def reshaped(self) -> None:
        """Note that the columns are others by now."""
        self._sent = 0

    def written(self, batch: int) -> pa.Table:
        """Return all that was written as the table takes it."""
        places: dict[int, list[int]] = {}
        for chunk, place in self._rows.values():
            places.setdefault(chunk, []).append(place)
        parts = [self._as_stored(self._chunks[chunk].take(sorted(some))) for chunk, some in places.items()]
        rows = pa.concat_tables(parts)
        return rows.append_column(BATCH, pa.array([batch], pa.uint64()).take(pa.array([0] * rows.num_rows, pa.int32())))

    def source(self, session: Session, *, numbered: bool = False) -> str:
        """Return the SELECT, in parentheses, of the table as the transaction sees it. Sends what is not sent yet.

        `numbered` shows the numbers of the rows too, where a table has them.
        """
        own = [ROW] if numbered and self.layout.has_row_numbers else []
        parts = []
        if self.base is not None:
            parts.append(self._below(own))
        if self._rows:
            self._send(session)
            parts.append(self._above(own))
        if not parts:
            typed = [*((name, "Nullable(UInt64)") for name in own), *self._typed()]
            nothing = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in typed)
            return f"(SELECT {nothing} WHERE false)"
        return f"({' UNION ALL '.join(parts)})"

    def drop(self, session: Session) -> None:
        """Drop the temporary table."""
        if self._is_made:
            session.run(f"DROP TEMPORARY TABLE IF EXISTS {self._name}")
            self._is_made = False

    @property
    def _name(self) -> str:
        return layout.name(f"{layout.TEMPORARY}{self.place}")

    def _add(self, rows: pa.Table, keys: Sequence[Key], *, deleted: bool) -> None:
        flags = pa.array([int(deleted)], pa.uint8()).take(pa.array([0] * rows.num_rows, pa.int32()))
        self._chunks.append(rows.append_column(DELETED, flags))
        self._rows.update((key, (len(self._chunks) - 1, place)) for place, key in enumerate(keys))

    def _as_stored(self, chunk: pa.Table) -> pa.Table:
        """Bring a chunk to the columns of the table."""
        given = {name.lower(): name for name in chunk.column_names}
        names = [DELETED, *([ROW] if self.layout.has_row_numbers else []), *self.layout.columns]
        arrays = []
        for name in names:
            kind = _own_type(name) or arrow_type(self.layout.columns[name])
            found = given.get(name.lower())
            if found is None:
                arrays.append(pa.nulls(chunk.num_rows, kind))
                continue
            try:
                arrays.append(chunk.column(found).cast(kind))
            except pa.ArrowException as error:
                raise RefusedError(f"The store refused a batch: a value does not fit {self.layout.name}.{name}.") from (
                    error
                )
        return pa.table(arrays, names=names)

    def _send(self, session: Session) -> None:
        if self._sent == len(self._chunks):
            return
        if not self._sent:
            self.drop(session)
            columns = ", ".join(f"{name} {kind}" for name, kind in [*self._own(), *self._typed()])
            session.run(f"CREATE TEMPORARY TABLE {self._name} ({_ORDER} UInt64, {columns}) ENGINE = Memory")
            self._is_made = True
        fresh = []
        for number in range(self._sent, len(self._chunks)):
            rows = self._as_stored(self._chunks[number])
            first = number << _ROWS_OF_A_CHUNK
            fresh.append(rows.append_column(_ORDER, pa.array(range(first, first + rows.num_rows), pa.uint64())))
        session.insert(self._name, pa.concat_tables(fresh))
        self._sent = len(self._chunks)

    def _below(self, own: Sequence[str]) -> str:
        base = self.base
        assert base is not None  # noqa: S101 - asked for only where there is one
        shown = []
        for name, kind in self.layout.columns.items():
            quoted = layout.name(name)
            had = base.columns.get(name)
            if had == kind:
                shown.append(quoted)
            else:
                shown.append(f"CAST({quoted if had else 'NULL'} AS Nullable({kind})) AS {quoted}")
        conditions = [f"NOT {DELETED}", *(f"NOT coalesce({condition}, false)" for condition in self.hidden)]
        if self._rows:
            key = self._comparable_key()
            conditions.append(f"({key}) NOT IN (SELECT {key} FROM {self._name})")
        return (
            f"SELECT {', '.join([*own, *shown])} FROM {layout.rows_of(base.name)} FINAL "
            f"WHERE {' AND '.join(conditions)}"
        )

    def _above(self, own: Sequence[str]) -> str:
        listed = ", ".join([*own, *map(layout.name, self.layout.columns)])
        by = ", ".join(map(layout.name, self.layout.key))
        last = f"SELECT * FROM {self._name} ORDER BY {_ORDER} DESC LIMIT 1 BY {by}"
        return f"SELECT {listed} FROM ({last}) WHERE NOT {DELETED}"

    def _comparable_key(self) -> str:
        # IN takes no null for another.
        if self.layout.has_row_numbers:
            return ROW
        pairs = [(f"isNull({name})", f"ifNull(toString({name}), '')") for name in map(layout.name, self.layout.key)]
        return ", ".join(one for pair in pairs for one in pair)

    def _own(self) -> list[tuple[str, str]]:
        return [(DELETED, "UInt8"), *([(ROW, "UInt64")] if self.layout.has_row_numbers else [])]

    def _typed(self) -> list[tuple[str, str]]:
        return [(layout.name(name), f"Nullable({kind})") for name, kind in self.layout.columns.items()]


def keys_of(rows: pa.Table, shape: Layout) -> list[Key]:
    """Return the keys of rows, as they are told apart in the table."""
    given = {name.lower(): name for name in rows.column_names}
    columns = [
        rows.column(given[name.lower()]).to_pylist() if name.lower() in given else [None] * rows.num_rows
        for name in shape.key
    ]
    return list(zip(*columns, strict=True))


def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of one of our columns."""
    digits = layout.digits_of(kind)
    return pa.decimal128(digits.precision, digits.scale) if digits is not None else _ARROW_TYPES[kind]


def _key_type(shape: Layout, name: str) -> pa.DataType:
    return _own_type(name) or arrow_type(shape.columns[name])


def _own_type(name: str) -> pa.DataType | None:
    return {DELETED: pa.uint8(), ROW: pa.uint64()}.get(name)
