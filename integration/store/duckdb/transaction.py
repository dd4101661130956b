"""One transaction on DuckDB: batches go in as Arrow tables, reads join with a table of keys."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from integration.core.columns import Column, ColumnType
from integration.core.identity import SPACE
from integration.store import answers, arrow, tables
from integration.store.decimals import room_for
from integration.store.duckdb.held import Held, only_table_of
from integration.store.projection import Shape, users_select
from integration.store.protocol import Row, State
from integration.store.quoting import identifier, literal, table_name
from integration.store.widening import Shape as Digits
from integration.store.widening import holds, widened

_STAGE = "headrace_stage"
_KEYS = "headrace_keys"
_PEOPLE = "headrace_projected"
_USERS = "headrace_users"
_SAME = "headrace_same"
# Of rows that were stored before their object showed a stamp nobody knows the version any more.
_FACTS = ('id AS "Id"', "coalesce(systemmodstamp, TIMESTAMPTZ 'epoch') AS version", "is_deleted")
_FACTS_OF_STATES = ('r.id AS "Id"', "s.version", "s.is_deleted")
_KEPT_AS: Mapping[str, str] = {
    # Read in long runs, by a replay: a fifth of the room, and a fifth of the work.
    "captures.payload": "ZSTD",
    # Read one by one, for each change.
    "headrace.states.payload": "DICT_FSST",
}
_KEYS_OF_ROWS = frozenset({"id", "record_id", "user_id", "alias", "email"})
"""Every batch looks for some rows by these: to take them out of their packing would cost twice what looking does."""
_SQL_TYPES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "VARCHAR",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMPTZ",
    ColumnType.JSON: "JSON",
    ColumnType.BYTES_AS_TEXT: "VARCHAR",
}


@dataclass(slots=True)
class Known:
    """What the writer remembers of its own catalog between transactions; forgotten at every rollback."""

    columns: dict[str, dict[str, Digits | None]] | None = None
    """Table -> column -> shape of a decimal, None for other types; all names in lower case. None: not read yet."""
    rows: dict[str, int] | None = None
    """Table -> how many rows it has, deleted ones of late included. None: not read yet."""
    filled: set[str] = field(default_factory=set)
    """Tables that are known to hold rows."""
    views: dict[str, str] = field(default_factory=dict)
    users_fit: bool = False
    """Whether every column of `users` has room for what the raw tables hold."""

    def forget(self) -> None:
        """Forget everything: what a rolled-back transaction created is not there."""
        self.columns = None
        self.rows = None
        self.filled.clear()
        self.views.clear()
        self.users_fit = False


class DuckDBTransaction:
    """See protocol.Transaction. Used by one thread, between BEGIN and COMMIT of `con`."""

    def __init__(self, con: duckdb.DuckDBPyConnection, known: Known) -> None:
        self._con = con
        self._known = known
        self._held = Held(con, self._rows_of)

    def store_held(self, table: str | None = None) -> None:
        """Store the rows that were held back of a table, or of all: before a commit, and before what reads them."""
        for name, rows in self._held.give(table):
            self._store(name, rows)

    def ensure_columns(self, table: str, columns: Sequence[Column]) -> None:
        """See protocol.Transaction."""
        there = self._columns(table)
        if not there:
            listed = ", ".join(_definition(table, c) for c in columns)
            self._con.execute(f"CREATE TABLE {table_name(table)} ({listed})")
            there.update({c.name.lower(): _shape(c) for c in columns})
            self._known.users_fit = False
            return
        self._add(table, [c for c in columns if c.name.lower() not in there])
        for column in columns:
            shape = there[column.name.lower()]
            asked = _shape(column)
            if shape is not None and asked is not None and not holds(shape, asked):
                wide = widened(shape, asked)
                # None: the values decide later, they rarely use all the digits that describe allows.
                if wide is not None:
                    self._widen(table, column.name, wide)

    def _add(self, table: str, columns: Sequence[Column]) -> None:
        if len(columns) > 1 and not self._is_filled(table):
            # A table without rows is made anew: an ALTER for each of hundreds of columns takes a tenth of a first sync.
            added = ", ".join(f"NULL::{_sql_type(c)} AS {identifier(c.name)}" for c in columns)
            name = table_name(table)
            self._con.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT *, {added} FROM {name}")
        else:
            for column in columns:
                self._con.execute(
                    f"ALTER TABLE {table_name(table)} ADD COLUMN {identifier(column.name)} {_sql_type(column)}"
                )
        self._columns(table).update({c.name.lower(): _shape(c) for c in columns})
        self._known.users_fit = self._known.users_fit and not columns

    def append(self, table: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """See protocol.Transaction. Raises Misfit."""
        if rows:
            self._insert(table, self._staged(table, columns, rows))

    def upsert(self, table: str, key: Sequence[str], columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """See protocol.Transaction. Columns that are not given become null in a replaced row.

        Raises Misfit, and ValueError for a row without a key.
        """
        if not rows:
            return
        stage = self._staged(table, columns, rows)
        last = arrow.last_of_each_key(stage, key)
        self.store_held(table)
        if self._is_filled(table):
            keys = stage.select(list(key))
            with self._registered(_KEYS, keys if last is None else keys.take(last)):
                same = " AND ".join(f"t.{identifier(k)} = k.{identifier(k)}" for k in key)
                self._con.execute(f"DELETE FROM {table_name(table)} AS t USING {_KEYS} AS k WHERE {same}")
        self._insert(table, stage if last is None else stage.take(last))

    def differing(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """See protocol.Transaction."""
        differing = self._differing(table, key, keys, self._staged(table, columns, rows))
        return set(differing.column(0).to_pylist())

    def make_equal(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """See protocol.Transaction."""
        return self._make_equal(table, key, keys, self._staged(table, columns, rows))

    def work_out(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], sql: str, parameters: Sequence[Any]
    ) -> set[str]:
        """See protocol.Transaction."""
        stage = answers.as_table(columns, self._read(sql, parameters), table=table)
        return self._make_equal(table, key, keys, self._with_room(table, columns, stage))

    def _make_equal(self, table: str, key: str, keys: Iterable[str], stage: pa.Table) -> set[str]:
        differing = self._differing(table, key, keys, stage)
        if differing.num_rows:
            with self._registered(_KEYS, differing), self._registered(_STAGE, stage):
                by = identifier(key)
                self._con.execute(f"DELETE FROM {table_name(table)} AS t USING {_KEYS} AS k WHERE t.{by} = k.key")
                self._held.stored(table)
                self._con.execute(
                    f"INSERT INTO {table_name(table)} BY NAME "
                    f"SELECT * FROM {_STAGE} WHERE {by} IN (SELECT key FROM {_KEYS})"
                )
        return set(differing.column(0).to_pylist())

    def _differing(self, table: str, key: str, keys: Iterable[str], stage: pa.Table) -> pa.Table:
        self.store_held(table)
        listed, by = ", ".join(identifier(name) for name in stage.column_names), identifier(key)
        with self._keys(keys) as some:
            if not some:
                return pa.table({"key": pa.array([], pa.string())})
            there = f"SELECT {listed} FROM {table_name(table)} WHERE {by} IN (SELECT key FROM {_KEYS})"
            with self._registered(_STAGE, stage):
                return self._table(_differing(by, f"SELECT {listed} FROM {_STAGE}", there))

    def delete(self, table: str, column: str, values: Iterable[str]) -> None:
        """See protocol.Transaction."""
        self.store_held(table)
        with self._keys(values) as some:
            if some:
                self._con.execute(
                    f"DELETE FROM {table_name(table)} AS t USING {_KEYS} AS k WHERE t.{identifier(column)} = k.key"
                )

    def update(self, table: str, key: str, column: str, values: Mapping[str, str | None]) -> None:
        """See protocol.Transaction."""
        if not values:
            return
        self.store_held(table)
        self._held.stored(table)
        pairs = pa.table({"key": pa.array(values.keys(), pa.string()), "value": pa.array(values.values(), pa.string())})
        with self._registered(_KEYS, pairs):
            self._con.execute(
                f"UPDATE {table_name(table)} AS t SET {identifier(column)} = k.value "
                f"FROM {_KEYS} AS k WHERE t.{identifier(key)} = k.key"
            )

    def forget_before(self, table: str, column: str, time: str) -> None:
        """See protocol.Transaction."""
        self.store_held(table)
        self._con.execute(f"DELETE FROM {table_name(table)} WHERE {identifier(column)} < ?::TIMESTAMPTZ", [time])

    def states(self, object_name: str, record_ids: Iterable[str]) -> list[State]:
        """See protocol.Transaction."""
        with self._keys(record_ids) as some:
            return self._states(object_name, f"SELECT key FROM {_KEYS}") if some else []

    def facts(
        self, object_name: str, any_of: Mapping[str, Iterable[str]], fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        """See protocol.Transaction."""
        table = f"salesforce.{object_name.lower()}"
        there = self._columns(table)
        with ExitStack() as stack:
            conditions = {
                field_name.lower(): condition
                for number, (field_name, values) in enumerate(any_of.items())
                if field_name.lower() in there
                and (condition := self._condition(stack, f"{_KEYS}_{number}", field_name, values))
            }
            if not conditions:
                return []
            shown = {f.lower(): f for f in fields if f.lower() in there}
            if "systemmodstamp" in there:
                read = dict.fromkeys(("id", "systemmodstamp", "is_deleted", *shown))
                listed = (*_FACTS, *(f"{identifier(column)} AS {identifier(f)}" for column, f in shown.items()))
                found = self._held.picked(table, conditions, read)
                return answers.plain_rows(self._table(f"SELECT {', '.join(listed)} FROM ({found}) AS r"))
            found = self._held.picked(table, conditions, {"id": None, **dict.fromkeys(shown)})
            known = self._held.picked(
                "headrace.states",
                {"record_id": f"object = {literal(object_name)} AND record_id IN (SELECT id FROM found)"},
                ("record_id", "version", "is_deleted"),
            )
            listed = (*_FACTS_OF_STATES, *(f"r.{identifier(column)} AS {identifier(f)}" for column, f in shown.items()))
            return answers.plain_rows(
                self._table(
                    f"WITH found AS MATERIALIZED ({found}) SELECT {', '.join(listed)} "
                    f"FROM found AS r JOIN ({known}) AS s ON s.record_id = r.id"
                )
            )

    def _condition(self, stack: ExitStack, name: str, field_name: str, values: Iterable[str]) -> str:
        keys = list(dict.fromkeys(values))
        if not keys:
            return ""
        stack.enter_context(self._registered(name, pa.table({"key": pa.array(keys, pa.string())})))
        column = identifier(field_name.lower())
        if field_name == "Email":
            column = _normal(column)
        return f"{column} IN (SELECT key FROM {name})"

    def project_users(self, shape: Shape, user_ids: Iterable[str], *, only_differing: bool = False) -> int:
        """See protocol.Transaction."""
        with self._keys(user_ids) as some:
            if not some:
                return 0
            wanted = f"user_id IN (SELECT key FROM {_KEYS})"
            people = self._held.picked("headrace.people", {"user_id": wanted}, (c.name for c in tables.PEOPLE))
            self._con.execute(f"CREATE OR REPLACE TEMP TABLE {_PEOPLE} AS {people}")
            for target in {lookup.target for part in shape.parts.values() for lookup in part.lookups}:
                self.store_held(f"salesforce.{target.lower()}")
            select = users_select(shape, f"temp.{_PEOPLE}", tables.FIXED_OF_USERS, self._held.picked)
            self._make_users_fit(select)
            if only_differing:
                return self._write_differing_users(select, wanted)
            deleted = self._count(f"DELETE FROM users WHERE {wanted}")
            return max(deleted, self._count(f"INSERT INTO users BY NAME {select}"))

    def _write_differing_users(self, select: str, wanted: str) -> int:
        self._con.execute(f"CREATE OR REPLACE TEMP TABLE {_USERS} AS {select}")
        names = [row[0] for row in self._con.execute(f"DESCRIBE temp.{_USERS}").fetchall()]
        listed = ", ".join(identifier(name) for name in names)
        there = f"SELECT {listed} FROM users WHERE {wanted}"
        # Comparing reads every column of these rows: about as dear as writing them.
        same = f"SELECT {listed} FROM temp.{_USERS} INTERSECT {there}"
        self._con.execute(f"CREATE OR REPLACE TEMP TABLE {_SAME} AS SELECT user_id FROM ({same})")
        differs = f"user_id NOT IN (SELECT user_id FROM temp.{_SAME})"
        deleted = self._count(f"DELETE FROM users WHERE {wanted} AND {differs}")
        written = self._count(f"INSERT INTO users BY NAME SELECT * FROM temp.{_USERS} WHERE {differs}")
        return max(deleted, written)

    def _make_users_fit(self, select: str) -> None:
        """A raw decimal column that was widened widens the property's column too: copying must not round."""
        if self._known.users_fit:
            return
        made = self._columns_of(select)
        there = self._columns("users")
        for name, shape in made.items():
            had = there.get(name)
            if shape is not None and had is not None and not holds(had, shape):
                wide = widened(had, shape)
                if wide is not None:
                    self._widen("users", name, wide)
        self._known.users_fit = True

    def _columns_of(self, select: str) -> dict[str, Digits | None]:
        found = self._con.execute(f"DESCRIBE {select}").fetchall()
        return {row[0].lower(): _shape_of(row[1]) for row in found}

    def _count(self, sql: str) -> int:
        row = self._con.execute(sql).fetchone()
        return int(row[0]) if row else 0

    def known_ids(self, object_name: str, *, after: str = "", limit: int) -> list[tuple[str, bool]]:
        """See protocol.Reading."""
        self.store_held("headrace.states")
        sql = (
            "SELECT record_id, is_deleted FROM headrace.states WHERE object = ? AND record_id > ? "
            f"ORDER BY record_id LIMIT {limit:d}"
        )
        found = self._table(sql, [object_name, after])
        return list(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """See protocol.Transaction. Values have the form in which columns take them: times and dates as ISO text,
        numbers as int, float or Decimal, JSON as text."""
        return answers.plain_rows(self._read(sql, parameters))

    def _read(self, sql: str, parameters: Sequence[Any]) -> pa.Table:
        self.store_held(only_table_of(sql))
        return self._table(sql, parameters)

    def ensure_view(self, name: str, sql: str, *, own: bool = False) -> None:
        """See protocol.Transaction."""
        lower = name.lower()
        if self._known.views.get(lower) == sql:
            return
        if not own and (lower in tables.names() or self._columns(name)):
            raise ValueError(f"{name} is the name of a table or of a view of headrace's own")
        self._con.execute(f"CREATE OR REPLACE VIEW {table_name(name)} AS {sql}")
        self._known.views[lower] = sql

    def _staged(self, table: str, columns: Sequence[Column], rows: Sequence[Row]) -> pa.Table:
        return self._with_room(table, columns, arrow.to_table(columns, rows, table=table))

    def _with_room(self, table: str, columns: Sequence[Column], stage: pa.Table) -> pa.Table:
        for column in columns:
            if column.type is ColumnType.DECIMAL:
                self._make_room(table, column.name, stage.column(column.name))
        return stage

    def _make_room(self, table: str, column: str, values: pa.ChunkedArray) -> None:
        shape = self._columns(table).get(column.lower())
        if shape is None:
            return
        wide = room_for(table, column, shape, values, lambda: self._used_digits(table, column))
        if wide is not None:
            self._widen(table, column, wide)

    def _widen(self, table: str, column: str, shape: Digits) -> None:
        kind = f"DECIMAL({shape.precision}, {shape.scale})"
        self._con.execute(f"ALTER TABLE {table_name(table)} ALTER {identifier(column)} TYPE {kind}")
        self._columns(table)[column.lower()] = shape
        self._known.users_fit = False

    def _used_digits(self, table: str, column: str) -> Digits:
        self.store_held(table)
        sql = f"SELECT max(abs({identifier(column)})) FROM {table_name(table)}"
        before, _ = arrow.digits_needed(self._table(sql).column(0).to_pylist())
        return Digits(before, 0)

    def _insert(self, table: str, stage: pa.Table) -> None:
        if not self._held.take(table, stage):
            self.store_held(table)
            self._store(table, stage)
        self._known.filled.add(table.lower())

    def _rows_of(self, name: str) -> int:
        if self._known.rows is None:
            sql = (
                "SELECT schema_name, table_name, estimated_size FROM duckdb_tables() "
                "WHERE database_name = current_database()"
            )
            listed = zip(*(c.to_pylist() for c in self._table(sql).columns), strict=True)
            self._known.rows = {_known_as(schema, table): rows for schema, table, rows in listed}
        return self._known.rows.get(name, 0)

    def _store(self, table: str, stage: pa.Table) -> None:
        if self._known.rows is not None:
            name = table.lower()
            self._known.rows[name] = self._known.rows.get(name, 0) + stage.num_rows
        self._held.stored(table)
        with self._registered(_STAGE, stage):
            self._con.execute(f"INSERT INTO {table_name(table)} BY NAME SELECT * FROM {_STAGE}")

    def _is_filled(self, table: str) -> bool:
        if table.lower() not in self._known.filled:
            if not self._table(f"SELECT 1 FROM {table_name(table)} LIMIT 1").num_rows:
                return False
            self._known.filled.add(table.lower())
        return True

    def _columns(self, table: str) -> dict[str, Digits | None]:
        if self._known.columns is None:
            self._known.columns = self._read_columns()
        return self._known.columns.setdefault(table.lower(), {})

    def _read_columns(self) -> dict[str, dict[str, Digits | None]]:
        """Read the columns of all tables: to look into the catalog costs the same for one."""
        sql = (
            "SELECT schema_name, table_name, lower(column_name), data_type, numeric_precision, "
            "numeric_scale FROM duckdb_columns() JOIN duckdb_tables() USING (table_oid, schema_oid, database_oid, "
            "schema_name, table_name) WHERE duckdb_columns.database_name = current_database()"
        )
        found: dict[str, dict[str, Digits | None]] = {}
        for schema, table, column, kind, precision, scale in zip(
            *(c.to_pylist() for c in self._table(sql).columns), strict=True
        ):
            shape = Digits(precision, scale) if kind.startswith("DECIMAL") else None
            found.setdefault(_known_as(schema, table), {})[column] = shape
        return found

    def _states(self, object_name: str, ids: str) -> list[State]:
        wanted = {"record_id": f"object = {literal(object_name)} AND record_id IN ({ids})"}
        found = self._table(self._held.picked("headrace.states", wanted, ("record_id", "payload")))
        payloads = found.column("payload").cast(pa.binary())
        return [State(*pair) for pair in zip(found.column("record_id").to_pylist(), payloads.to_pylist(), strict=True)]

    def _table(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        return self._con.sql(sql, params=list(parameters) or None).to_arrow_table()

    @contextmanager
    def _keys(self, values: Iterable[str]) -> Iterator[bool]:
        """Register the distinct values as a table with the column `key`; False when there are none."""
        keys = list(dict.fromkeys(values))
        if not keys:
            yield False
            return
        with self._registered(_KEYS, pa.table({"key": pa.array(keys, pa.string())})):
            yield True

    @contextmanager
    def _registered(self, name: str, table: pa.Table) -> Iterator[None]:
        self._con.register(name, table)
        try:
            yield
        finally:
            # After an error the transaction refuses every statement; its rollback drops the view as well.
            with suppress(duckdb.Error):
                self._con.unregister(name)


def _known_as(schema: str, table: str) -> str:
    return (table if schema == "main" else f"{schema}.{table}").lower()


def _normal(email: str) -> str:
    """Return what makes the join key of an e-mail. Trimming costs five times what the rest does, and hardly any e-mail
    needs it: its first and its last letter tell."""
    spaces = f"({', '.join(str(ord(one)) for one in SPACE)})"
    bare = f"unicode({email}) NOT IN {spaces} AND unicode({email}[-1]) NOT IN {spaces}"
    return f"CASE WHEN {bare} THEN lower({email}) ELSE lower(trim({email}, {literal(SPACE)})) END"


def _definition(table: str, column: Column) -> str:
    """Return how a column is created, with the way it is kept where the usual search for the smallest is not best."""
    name = column.name.lower()
    kept = _KEPT_AS.get(f"{table.lower()}.{name}") or ("UNCOMPRESSED" if name in _KEYS_OF_ROWS else "")
    return f"{identifier(column.name)} {_sql_type(column)}{f' USING COMPRESSION {kept}' if kept else ''}"


def _sql_type(column: Column) -> str:
    if column.type is ColumnType.DECIMAL:
        return f"DECIMAL({column.precision}, {column.scale})"
    return _SQL_TYPES[column.type]


def _shape_of(kind: str) -> Digits | None:
    digits = kind.removeprefix("DECIMAL(").removesuffix(")")
    return Digits(*map(int, digits.split(","))) if digits != kind else None


def _shape(column: Column) -> Digits | None:
    return Digits(column.precision, column.scale) if column.type is ColumnType.DECIMAL else None


def _differing(key: str, wanted: str, there: str) -> str:
    """Return the SELECT of the keys under which two SELECTs disagree; no row of `wanted` comes twice.

    What is wanted and not there differs; and if all that is wanted is there, any more shows in the count.
    """
    counts = [f"SELECT {key} AS key, count(*) AS n FROM ({select}) GROUP BY ALL" for select in (wanted, there)]
    return (
        f"SELECT {key} AS key FROM ({wanted} EXCEPT {there}) UNION SELECT coalesce(w.key, t.key) "
        f"FROM ({counts[0]}) AS w FULL JOIN ({counts[1]}) AS t ON t.key = w.key WHERE w.n IS DISTINCT FROM t.n"
    )
