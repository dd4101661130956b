"""One transaction on PostgreSQL: batches go in by COPY, keys travel as arrays.

Rows of a table with a primary key are copied into a table of the session and merged from there; those of others are
deleted, and the new ones copied straight into the table.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import errors

from integration.core.columns import Column, ColumnType
from integration.store import arrow, tables
from integration.store.postgres.catalog import Catalog, Known
from integration.store.postgres.names import identifier, short, split, table_name
from integration.store.postgres.reading import PostgresReading, compiled
from integration.store.postgres.sessions import Sessions
from integration.store.postgres.views import replace_view
from integration.store.projection import Shape, users_select
from integration.store.protocol import Misfit, RefusedError, Row
from integration.store.quoting import literal

_PEOPLE = "headrace_projected"
# Of rows that were stored before their object showed a stamp nobody knows the version any more.
_FACTS = ('r.id AS "Id"', "coalesce(r.systemmodstamp, 'epoch') AS version", "r.is_deleted")
_FACTS_OF_STATES = ('r.id AS "Id"', "s.version", "s.is_deleted")
_ODD = "text with the character U+0000, which PostgreSQL has no room for"
_SHOWN_AS = "\ufffd"
_LETTERS = "dead_letters"
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_IS_TABLE = (
    "SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'm')"
)
_CSV = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")


class PostgresTransaction(PostgresReading):
    """See protocol.Transaction. Used by one thread, between BEGIN and COMMIT of its connection."""

    def __init__(self, con: psycopg.Connection, sessions: Sessions, known: Known) -> None:
        super().__init__(con, sessions)
        self._known = known
        self._catalog = Catalog(con, known)

    def ensure_columns(self, table: str, columns: Sequence[Column]) -> None:
        """See protocol.Transaction. Decimal columns hold numbers of any size: none is ever widened."""
        self._catalog.ensure(table, columns)

    def append(self, table: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """See protocol.Transaction. Raises Misfit."""
        if rows:
            self._copy(table, _staged(table, columns, rows))

    def upsert(self, table: str, key: Sequence[str], columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """See protocol.Transaction. Columns that are not given become null in a replaced row.

        Raises Misfit, and ValueError for a row without a key.
        """
        if not rows:
            return
        stage = _staged(table, columns, rows)
        last = arrow.last_of_each_key(stage, key)
        kept = stage if last is None else stage.take(last)
        if self._catalog.key_of(table) == tuple(key):
            self._merge(table, key, kept, stage)
            return
        kinds = [self._kind(stage.schema.field(name).type) for name in key]
        arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(kinds, 1))
        same = " AND ".join(f"t.{identifier(name)} = k.k{place}" for place, name in enumerate(key, 1))
        names = ", ".join(f"k{place}" for place in range(1, len(key) + 1))
        self._run(
            f"DELETE FROM {table_name(table)} AS t USING unnest({arrays}) AS k({names}) WHERE {same}",
            [kept.column(name).cast(pa.string()).to_pylist() for name in key],
        )
        self._copy(table, kept, handed=stage)

    def _merge(self, table: str, key: Sequence[str], kept: pa.Table, handed: pa.Table) -> None:
        """Insert rows, or update those with their key where they lie: while there is room on its page, a row that is
        updated needs no new entry in any index."""
        staged = self._stage(table, kept, handed=handed)
        same = " AND ".join(f"t.{identifier(name)} = n.{identifier(name)}" for name in key)
        update, insert = self._written(table, kept.column_names)
        self._run(
            f"MERGE INTO {table_name(table)} AS t USING {staged} AS n ON {same} "
            f"WHEN MATCHED THEN {update} WHEN NOT MATCHED THEN {insert}"
        )

    def _written(self, table: str, given: Iterable[str]) -> tuple[str, str]:
        """Return how MERGE updates and how it inserts a row `n` of some columns: one that is not given becomes null.

        Nobody else writes meanwhile, so that the row locks and the second look of ON CONFLICT would be for nothing.
        """
        filled = self._catalog.spelled(table, given)
        emptied = [name for name in map(identifier, self._catalog.columns(table).values()) if name not in filled]
        replaced = ", ".join([*(f"{name} = n.{name}" for name in filled), *(f"{name} = NULL" for name in emptied)])
        return f"UPDATE SET {replaced}", f"INSERT ({', '.join(filled)}) VALUES ({_of('n', filled)})"

    def differing(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """See protocol.Transaction."""
        return set(self._differing(table, key, list(dict.fromkeys(keys)), columns, _staged(table, columns, rows)))

    def make_equal(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """See protocol.Transaction."""
        stage = _staged(table, columns, rows)
        differing = self._differing(table, key, list(dict.fromkeys(keys)), columns, stage)
        if differing:
            self.delete(table, key, differing)
            written = pc.is_in(stage.column(key), value_set=pa.array(differing, pa.string()))
            self._copy(table, stage.filter(written), handed=stage)
        return set(differing)

    def work_out(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], sql: str, parameters: Sequence[Any]
    ) -> set[str]:
        """See protocol.Transaction."""
        return self.make_equal(table, key, keys, columns, self.rows(sql, parameters))

    def _differing(
        self, table: str, key: str, keys: Sequence[str], columns: Sequence[Column], stage: pa.Table
    ) -> list[str]:
        """Name the keys under which the table does not hold exactly the staged rows, of which none comes twice.

        What is staged and not there differs; and if all that is staged is there, any more shows in the count.
        """
        if not keys:
            return []
        staged = self._stage(table, stage)
        # json has no equality of its own; the text is what must be the same.
        listed = ", ".join(f"{identifier(c.name)}{'::text' if c.type is ColumnType.JSON else ''}" for c in columns)
        by, there = identifier(key), f"{table_name(table)} WHERE {identifier(key)} = any($1)"
        found = self._run(
            f"SELECT key FROM (SELECT {by} AS key, {listed} FROM {staged} EXCEPT "
            f"SELECT {by} AS key, {listed} FROM {there}) AS d "
            f"UNION SELECT coalesce(w.key, t.key) FROM "
            f"(SELECT {by} AS key, count(*) AS n FROM {staged} GROUP BY {by}) AS w FULL JOIN "
            f"(SELECT {by} AS key, count(*) AS n FROM {there} GROUP BY {by}) AS t ON t.key = w.key "
            "WHERE w.n IS DISTINCT FROM t.n",
            [keys],
        )
        return [row[0] for row in found]

    def _stage(self, table: str, stage: pa.Table, *, handed: pa.Table | None = None) -> str:
        """Fill a table of this session, of the same types as the table's, and return its name.

        It is kept from one transaction to the next: making one writes to the server's catalog.
        """
        name = "pg_temp." + identifier(f"headrace_stage_{'_'.join(split(table))}")
        shape = tuple(stage.column_names)
        if self._known.stages.get(table) != shape:
            listed = self._catalog.listed(table, shape)
            self._run(f"DROP TABLE IF EXISTS {name}")
            self._run(
                f"CREATE TEMP TABLE {name.removeprefix('pg_temp.')} AS "
                f"SELECT {listed} FROM {table_name(table)} WITH NO DATA"
            )
            self._known.stages[table] = shape
        else:
            self._run(f"TRUNCATE {name}")
        self._copy(table, stage, into=name, handed=handed)
        return name

    def delete(self, table: str, column: str, values: Iterable[str]) -> None:
        """See protocol.Transaction."""
        keys = list(dict.fromkeys(values))
        if keys:
            self._run(f"DELETE FROM {table_name(table)} WHERE {identifier(column)} = any($1)", [keys])

    def update(self, table: str, key: str, column: str, values: Mapping[str, str | None]) -> None:
        """See protocol.Transaction."""
        if values:
            self._run(
                f"UPDATE {table_name(table)} AS t SET {identifier(column)} = k.value "
                f"FROM unnest($1::text[], $2::text[]) AS k(key, value) WHERE t.{identifier(key)} = k.key",
                [list(values.keys()), list(values.values())],
            )

    def forget_before(self, table: str, column: str, time: str) -> None:
        """See protocol.Transaction."""
        self._run(f"DELETE FROM {table_name(table)} WHERE {identifier(column)} < $1::timestamptz", [time])

    def facts(
        self, object_name: str, any_of: Mapping[str, Iterable[str]], fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        """See protocol.Transaction. A field that is asked by gets an index when it is first asked for."""
        table = f"salesforce.{object_name.lower()}"
        there = self._catalog.columns(table)
        conditions: list[str] = []
        parameters: list[Any] = []
        for name, values in any_of.items():
            keys = list(dict.fromkeys(values))
            if keys and short(name.lower()) in there:
                expression = self._catalog.index(table, short(name.lower()), is_mail=name == "Email")
                parameters.append(keys)
                conditions.append(f"{expression} = any(${len(parameters)})")
        if not conditions:
            return []
        shown = [f"r.{identifier(f.lower())} AS {identifier(f)}" for f in fields if short(f.lower()) in there]
        # The conditions stand by themselves: in the join their columns would need a table's name.
        found = f"(SELECT * FROM {table_name(table)} WHERE {' OR '.join(conditions)}) AS r"
        if "systemmodstamp" in there:
            return self._plain(f"SELECT {', '.join([*_FACTS, *shown])} FROM {found}", parameters)
        return self._plain(
            f"SELECT {', '.join([*_FACTS_OF_STATES, *shown])} FROM {found} "
            f"JOIN headrace.states AS s ON s.record_id = r.id AND s.object = {literal(object_name)}",
            parameters,
        )

    def project_users(self, shape: Shape, user_ids: Iterable[str], *, only_differing: bool = False) -> int:
        """See protocol.Transaction. Rows that do not differ are never written: each would leave a dead one behind."""
        del only_differing
        ids = list(dict.fromkeys(user_ids))
        if not ids:
            return 0
        select = compiled(users_select(shape, _PEOPLE, tables.FIXED_OF_USERS))
        made = (
            f"WITH {_PEOPLE} AS MATERIALIZED (SELECT * FROM headrace.people WHERE user_id = any($1)), "
            f"made AS ({select})"
        )
        names = [one.name for one in self._run(f"{made} SELECT * FROM made LIMIT 0", [ids]).description or ()]
        given = self._catalog.spelled("users", names)
        update, insert = self._written("users", names)
        # Who is asked for and not made is nobody any more.
        asked = "SELECT k.asked, made.* FROM unnest($1::text[]) AS k(asked) LEFT JOIN made ON made.user_id = k.asked"
        merged = self._run(
            f"{made} MERGE INTO users AS t USING ({asked}) AS n ON t.user_id = n.asked "
            "WHEN MATCHED AND n.user_id IS NULL THEN DELETE "
            f"WHEN MATCHED AND ROW({_of('t', given)}) IS DISTINCT FROM ROW({_of('n', given)}) THEN {update} "
            f"WHEN NOT MATCHED AND n.user_id IS NOT NULL THEN {insert}",
            [ids],
        )
        return merged.rowcount

    def ensure_view(self, name: str, sql: str, *, own: bool = False) -> None:
        """See protocol.Transaction."""
        lower = name.lower()
        if self._known.views.get(lower) == sql:
            return
        if not own and (lower in tables.names() or self._run(_IS_TABLE, [*map(short, split(name))]).fetchone()):
            raise ValueError(f"{name} is the name of a table or of a view of headrace's own")
        replace_view(self._con, lower, compiled(sql))
        self._known.views[lower] = sql
        self._known.columns.pop(lower, None)

    def _copy(self, table: str, stage: pa.Table, *, into: str | None = None, handed: pa.Table | None = None) -> None:
        """Copy rows into a table. `handed` are the rows that were handed over, where these are some of them."""
        if not stage.num_rows:
            return
        listed = self._catalog.listed(table, stage.column_names)
        buffer = pa.BufferOutputStream()
        pyarrow.csv.write_csv(stage, buffer, _CSV)
        statement = f"COPY {into or table_name(table)} ({listed}) FROM STDIN (FORMAT csv)"
        try:
            with self._con.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                copy.write(memoryview(buffer.getvalue()))
        except errors.CharacterNotInRepertoire as error:
            raise _odd(table, stage if handed is None else handed) or error from error

    def _kind(self, kind: pa.DataType) -> str:
        return "timestamptz" if pa.types.is_timestamp(kind) else "text"


def _of(side: str, columns: Iterable[str]) -> str:
    return ", ".join(f"{side}.{name}" for name in columns)


def _staged(table: str, columns: Sequence[Column], rows: Sequence[Row]) -> pa.Table:
    stage = arrow.to_table(columns, rows, table=table)
    if table == _LETTERS:
        # The one place where anything may come to lie, and nobody could give it up any more.
        return _shown(stage)
    for place, column in enumerate(columns):
        # Escaped, PostgreSQL would take it in and fail whenever that JSON is asked for a field.
        if column.type is ColumnType.JSON and pc.any(pc.match_substring(stage.column(place), "\\u0000")).as_py():
            texts = stage.column(place).to_pylist()
            odd = [i for i, text in enumerate(texts) if text and _ESCAPED_NUL.search(text)]
            if odd:
                raise _refused(table, column.name, odd)
    return stage


def _shown(stage: pa.Table) -> pa.Table:
    for place, one in enumerate(stage.schema):
        if pa.types.is_string(one.type):
            texts = stage.column(place).to_pylist()
            told = [t and _ESCAPED_NUL.sub(rf"\1{_SHOWN_AS}", t).replace("\x00", _SHOWN_AS) for t in texts]
            stage = stage.set_column(place, one, pa.array(told, pa.string()))
    return stage


def _odd(table: str, stage: pa.Table) -> Exception | None:
    for one, values in zip(stage.schema, stage.columns, strict=True):
        if pa.types.is_string(one.type):
            odd = [place for place, text in enumerate(values.to_pylist()) if text and "\x00" in text]
            if odd:
                return _refused(table, one.name, odd)
    return None


def _refused(table: str, column: str, rows: Sequence[int]) -> Exception:
    """Say so to who can give up the records: of raw rows the records themselves, of all else the batch they came in."""
    if table.startswith("salesforce."):
        return Misfit(table, column, rows, _ODD)
    return RefusedError(f"The store refused a batch: {literal(column)} would hold {_ODD}.")
