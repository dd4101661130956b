"""The redo log. ClickHouse has no transactions: a batch is committed by one insert of one row that holds all of it.

The row's number is the batch's, and its insert carries a token made of that number: of two processes that write the
same number one wins, and both see which. Then the batch is applied, table by table; whoever opens the store or begins
the next batch applies again what was not noted as applied. Applying twice changes nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from integration.errors import FencedError
from integration.store.clickhouse import catalog, layout
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.dialect import compiled
from integration.store.clickhouse.layout import Layout

_JOURNAL = f"{layout.name(layout.ROWS)}.`_journal`"
_APPLIED = f"{layout.name(layout.ROWS)}.`_applied`"
_KEPT_TOGETHER = 64  # batches whose log is dropped together, once they are all applied
_LAST = ("headrace.meta", "headrace.positions")
# Of all tables only this one is forced to the disk: it holds whatever the others have not got yet.
_MAKE_JOURNAL = (
    f"CREATE TABLE IF NOT EXISTS {_JOURNAL} (batch UInt64, writer String, at DateTime64(6, 'UTC') DEFAULT now64(6), "
    f"body String) ENGINE = MergeTree PARTITION BY intDiv(batch, {_KEPT_TOGETHER}) ORDER BY batch "
    "SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1"
)
_MAKE_APPLIED = (
    f"CREATE TABLE IF NOT EXISTS {_APPLIED} (one UInt8 DEFAULT 1, batch UInt64) "
    "ENGINE = ReplacingMergeTree(batch) ORDER BY one"
)


@dataclass(slots=True)
class Entry:
    """All that a batch does."""

    layouts: list[Layout] = field(default_factory=list)
    """Tables that it makes, or whose columns it adds to or widens: all their columns."""
    views: list[tuple[str, str]] = field(default_factory=list)
    """Name and SQL (in DuckDB's dialect)."""
    forgotten: list[tuple[str, str, str]] = field(default_factory=list)
    """Table, column and time: all that was before is gone."""
    rows: list[tuple[str, pa.Table]] = field(default_factory=list)
    """Rows as they lie in the table, with their batch."""

    def __bool__(self) -> bool:
        return bool(self.layouts or self.views or self.forgotten or self.rows)

    def encoded(self) -> bytes:
        """Write it as bytes: a line of JSON, then an Arrow stream for each table."""
        bodies = [_ipc(table) for _, table in self.rows]
        head = {
            "layouts": [[one.name, one.columns, one.key] for one in self.layouts],
            "views": self.views,
            "forgotten": self.forgotten,
            "rows": [[name, len(body)] for (name, _), body in zip(self.rows, bodies, strict=True)],
        }
        return b"\n".join([json.dumps(head).encode(), b"".join(bodies)])

    @classmethod
    def decoded(cls, body: bytes) -> "Entry":
        """Read what `encoded` wrote."""
        line, _, rest = body.partition(b"\n")
        head = json.loads(line)
        entry = cls(
            [Layout(name, columns, tuple(key)) for name, columns, key in head["layouts"]],
            [(name, sql) for name, sql in head["views"]],
            [(table, column, time) for table, column, time in head["forgotten"]],
        )
        for name, length in head["rows"]:
            with pa.ipc.open_stream(rest[:length]) as stream:
                entry.rows.append((name, stream.read_all()))
            rest = rest[length:]
        return entry


class Head(NamedTuple):
    """How far the journal goes: the last batch committed, and the last one applied."""

    committed: int
    applied: int


class Journal:
    """The journal of one store. `main` is the database of the tables without a schema."""

    def __init__(self, session: Session, main: str) -> None:
        self._session = session
        self._main = main

    def create(self) -> None:
        """Make its tables."""
        self._session.run(_MAKE_JOURNAL)
        self._session.run(_MAKE_APPLIED)

    def head(self) -> Head:
        """Read how far it goes."""
        found = self._session.table(
            f"SELECT (SELECT max(batch) FROM {_JOURNAL}) AS committed, (SELECT max(batch) FROM {_APPLIED}) AS applied"
        )
        committed, applied = (int(found.column(name)[0].as_py() or 0) for name in ("committed", "applied"))
        # The log of batches long applied is dropped.
        return Head(max(committed, applied), applied)

    def settle(self) -> Head:
        """Apply what was committed and not noted as applied; return how far the journal goes then."""
        head = self.head()
        if head.committed > head.applied:
            pending = self._session.table(
                f"SELECT batch, writer, body FROM {_JOURNAL} WHERE batch > {head.applied} ORDER BY batch"
            )
            batches, writers, bodies = (pending.column(name) for name in ("batch", "writer", "body"))
            for batch, writer, body in zip(batches, writers, bodies.cast(pa.binary()), strict=True):
                self.apply(batch.as_py(), writer.as_py(), Entry.decoded(body.as_py()))
        return Head(head.committed, head.committed)

    def commit(self, batch: int, writer: str, entry: Entry) -> None:
        """Write a batch down: from here on it is in the store, or will be. Raises FencedError when another process has
        committed a batch of this number; nothing is written then."""
        row = {
            "batch": pa.array([batch], pa.uint64()),
            "writer": pa.array([writer], pa.string()),
            "body": pa.array([entry.encoded()], pa.large_binary()),
        }
        self._session.insert(_JOURNAL, pa.table(row), token=f"batch-{batch}")
        found = self._session.table(
            f"SELECT (SELECT any(writer) FROM {_JOURNAL} WHERE batch = {batch}) AS winner, "
            f"(SELECT max(batch) FROM {_APPLIED}) AS applied"
        )
        # A number that was applied already and is free again only because its log was dropped is another's too.
        if found.column("winner")[0].as_py() != writer or int(found.column("applied")[0].as_py() or 0) >= batch:
            raise FencedError(
                "Another process has written to this store meanwhile: nothing of what this one was writing is stored."
            )

    def apply(self, batch: int, writer: str, entry: Entry) -> None:
        """Bring the tables to what a committed batch says. May be done again, and again after later batches."""
        for one in entry.layouts:
            self._shape(one)
        views = dict(entry.views)
        if entry.layouts:
            # A view keeps the types that its columns had when it was made: it would round what a column holds since.
            there = catalog.read(self._session, self._main).views | views
            views |= catalog.above(there, [one.name for one in entry.layouts])
        for view, source in views.items():
            select = compiled(source).text(lambda table: layout.public(table, self._main))
            self._session.run(layout.create_named_view(view, self._main, select, source))
        for table, column, time in entry.forgotten:
            self._forget(batch, table, column, time)
        for table, rows in sorted(entry.rows, key=lambda one: one[0] in _LAST):
            self._session.insert(layout.rows_of(table), rows, token=f"{writer}-{table}")
        self._session.insert(_APPLIED, pa.table({"batch": pa.array([batch], pa.uint64())}))
        if batch % _KEPT_TOGETHER == 0 and batch >= _KEPT_TOGETHER:
            self._drop_log(batch // _KEPT_TOGETHER)

    def _shape(self, wanted: Layout) -> None:
        self._session.run(layout.create(wanted))
        there = self._columns_of(wanted.name)
        added = {name: kind for name, kind in wanted.columns.items() if name not in there}
        if added:
            self._session.run(layout.add_columns(wanted.name, added))
        wider = {name: kind for name, kind in wanted.columns.items() if _is_wider(kind, there.get(name))}
        if wider:
            self._session.run(layout.retype(wanted.name, wider))
        # Shown is what there is, and not what this batch knew of: it may be applied again after later ones.
        self._session.run(layout.create_view(wanted.name, self._main, [*there, *added]))

    def _columns_of(self, table: str) -> dict[str, str]:
        found = self._session.table(
            f"SELECT name, type FROM system.columns WHERE database = {layout.literal(layout.ROWS)} "
            f"AND table = {layout.literal(table)} ORDER BY position"
        )
        pairs = zip(found.column("name").to_pylist(), found.column("type").to_pylist(), strict=True)
        return {name: layout.plain_type(kind) for name, kind in pairs if name not in layout.HIDDEN}

    def _forget(self, batch: int, table: str, column: str, time: str) -> None:
        older = f"{layout.name(column)} < parseDateTime64BestEffort({layout.literal(time)}, 6, 'UTC')"
        self._session.run(
            f"ALTER TABLE {layout.rows_of(table)} DELETE WHERE {older} AND {layout.BATCH} < {batch} "
            "SETTINGS mutations_sync = 1"
        )

    def _drop_log(self, before: int) -> None:
        found = self._session.table(
            f"SELECT DISTINCT partition FROM system.parts WHERE active AND database = {layout.literal(layout.ROWS)} "
            "AND table = '_journal'"
        )
        old: Sequence[str] = [p for p in found.column(0).to_pylist() if int(p) < before - 1]
        for partition in old:
            self._session.run(f"ALTER TABLE {_JOURNAL} DROP PARTITION {partition}")


def _is_wider(kind: str, there: str | None) -> bool:
    wanted, had = layout.digits_of(kind), layout.digits_of(there or "")
    return wanted is not None and had is not None and (wanted.scale, wanted.precision) > (had.scale, had.precision)


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body
