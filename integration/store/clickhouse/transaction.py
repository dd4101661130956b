"""One transaction on ClickHouse: writes are kept back and laid over the tables for its reads, until it commits."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from integration.core.columns import Column, ColumnType
from integration.core.identity import SPACE
from integration.errors import RunError
from integration.store import arrow, tables
from integration.store.clickhouse import catalog, layout, ranges
from integration.store.clickhouse.catalog import Catalog
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.dialect import Sql, compiled
from integration.store.clickhouse.journal import Entry
from integration.store.clickhouse.layout import Layout
from integration.store.clickhouse.overlay import Key, Overlay, arrow_type, keys_of
from integration.store.clickhouse.reading import ClickHouseReading
from integration.store.decimals import room_for
from integration.store.projection import Shape, users_select
from integration.store.protocol import Row
from integration.store.quoting import identifier, literal, table_name
from integration.store.widening import Shape as Digits
from integration.store.widening import holds, widened

_LISTED_AT_MOST = 1_000  # longer lists are sent as a table: the server is slow at reading them in a statement
_PEOPLE = "headrace_projected"
_FACTS = ('r.id AS "Id"', "s.version", "s.is_deleted")


class ClickHouseTransaction(ClickHouseReading):
    """See protocol.Transaction. Used by one thread, with a session that nobody else uses.

    `batch` is the number that it will commit under. With `any_time` false, times outside the years that an older
    server holds are misfits.
    """

    def __init__(self, session: Session, main: str, known: Catalog, batch: int, *, any_time: bool = True) -> None:
        super().__init__(session, main)
        self._catalog = known
        self._batch = batch
        self._any_time = any_time
        self._overlays: dict[str, Overlay] = {}
        self._reshaped: set[str] = set()
        self._views: dict[str, str] = {}
        self._forgotten: list[tuple[str, str, str]] = []
        self._temporary: dict[str, str] = {}
        self._lists = 0
        self._foreign: set[str] | None = None

    def ensure_columns(self, table: str, columns: Sequence[Column]) -> None:
        """See protocol.Transaction."""
        there = self._layout(table)
        if there is None:
            self._check_name(table)
            kinds = {c.name: layout.type_of(c) for c in columns}
            fresh = Layout(table.lower(), kinds, layout.key_of(table.lower(), [*kinds]))
            self._overlays[table.lower()] = Overlay(fresh, None, len(self._overlays))
            self._reshaped.add(table.lower())
            return
        for column in columns:
            place = there.place_of(column.name)
            if place is None:
                self._change(table).layout.columns[column.name] = layout.type_of(column)
                there = self._shape(table)
                continue
            had, asked = layout.digits_of(there.columns[place]), _digits(column)
            if had is not None and asked is not None and not holds(had, asked):
                wide = widened(had, asked)
                # None: the values decide later, they rarely use all the digits that describe allows.
                if wide is not None:
                    self._widen(table, place, wide)
                    there = self._shape(table)

    def append(self, table: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """See protocol.Transaction. Raises Misfit. Where the table has a key, a row that has the key of another
        replaces it."""
        if rows:
            self._overlay(table).put(self._staged(table, columns, rows), self._batch)

    def upsert(self, table: str, key: Sequence[str], columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """See protocol.Transaction. Columns that are not given become null in a replaced row.

        Raises Misfit, and ValueError for a row without a key.
        """
        if not rows:
            return
        stage = self._staged(table, columns, rows)
        given = _checked_keys(stage, key)
        last = sorted({k: place for place, k in enumerate(given)}.values())
        if len(last) < len(given):
            stage = stage.take(last)
        # A row under its own key replaces the other by itself.
        if {*key} != {*self._shape(table).key}:
            by = key[0]
            found = self._present(table, by, stage.column(by).to_pylist(), key)
            wanted = {*given}
            replaced = (
                k
                for k, other in zip(keys_of(found, self._shape(table)), _keys(found, key), strict=True)
                if other in wanted
            )
            self._overlay(table).delete(replaced)
        self._overlay(table).put(stage, self._batch)

    def differing(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """See protocol.Transaction."""
        return self._differing(table, key, keys, self._staged(table, columns, rows))[0]

    def make_equal(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """See protocol.Transaction."""
        stage = self._staged(table, columns, rows)
        differing, there = self._differing(table, key, keys, stage)
        if differing:
            overlay = self._overlay(table)
            places = [place for place, one in enumerate(there.column(key).to_pylist()) if one in differing]
            overlay.delete(keys_of(there.take(pa.array(places, pa.int64())), overlay.layout))
            wanted = [place for place, one in enumerate(stage.column(key).to_pylist()) if one in differing]
            if wanted:
                overlay.put(stage.take(wanted), self._batch)
        return differing

    def work_out(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], sql: str, parameters: Sequence[Any]
    ) -> set[str]:
        """See protocol.Transaction."""
        return self.make_equal(table, key, keys, columns, self.rows(sql, parameters))

    def delete(self, table: str, column: str, values: Iterable[str]) -> None:
        """See protocol.Transaction."""
        some = list(dict.fromkeys(values))
        if some:
            found = self._present(table, column, some)
            self._overlay(table).delete(keys_of(found, self._shape(table)))

    def update(self, table: str, key: str, column: str, values: Mapping[str, str | None]) -> None:
        """See protocol.Transaction."""
        if not values:
            return
        found = self._present(table, key, [*values], ["*"])
        if not found.num_rows:
            return
        overlay = self._overlay(table)
        fresh = pa.array([values[one] for one in found.column(key).to_pylist()], pa.string())
        kind = arrow_type(overlay.layout.columns[column])
        changed = found.set_column(found.column_names.index(column), column, fresh.cast(kind))
        if column in overlay.layout.key:
            overlay.delete(keys_of(found, overlay.layout))
        overlay.put(changed, self._batch)

    def forget_before(self, table: str, column: str, time: str) -> None:
        """See protocol.Transaction. What was committed before is deleted for good, and not only hidden."""
        overlay = self._overlay(table)
        older = f"{layout.name(column)} < parseDateTime64BestEffort({layout.literal(time)}, 6, 'UTC')"
        if overlay.base is not None:
            overlay.hidden.append(older)
            self._forgotten.append((overlay.layout.name, column, time))
        if not overlay.is_empty:
            listed = ", ".join(map(layout.name, overlay.layout.key))
            source = overlay.source(self._session, numbered=True)
            found = self._session.table(f"SELECT {listed} FROM {source} WHERE {older}")
            overlay.delete(keys_of(found, overlay.layout))

    def facts(
        self, object_name: str, any_of: Mapping[str, Iterable[str]], fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        """See protocol.Transaction."""
        table = f"salesforce.{object_name.lower()}"
        there = self._layout(table)
        wanted = {name: list(dict.fromkeys(values)) for name, values in any_of.items()}
        wanted = {n: v for n, v in wanted.items() if v and there is not None and there.place_of(n)}
        if not wanted or there is None:
            return []
        shown = [f"r.{identifier(f.lower())} AS {identifier(f)}" for f in fields if there.place_of(f)]
        conditions = " OR ".join(f"{_compared(name)} = any(?)" for name in wanted)
        return self.rows(
            f"SELECT {', '.join([*_FACTS, *shown])} "
            f"FROM {table_name(table)} AS r JOIN headrace.states AS s ON s.record_id = r.id "
            f"WHERE s.object = {literal(object_name)} AND ({conditions})",
            [*wanted.values()],
        )

    def project_users(self, shape: Shape, user_ids: Iterable[str], *, only_differing: bool = False) -> int:
        """See protocol.Transaction."""
        ids = list(dict.fromkeys(user_ids))
        if not ids:
            return 0
        self._make_temporary(_PEOPLE, self._text("SELECT * FROM headrace.people WHERE user_id = any(?)", [ids]))
        select = self._text(users_select(shape, _PEOPLE, tables.FIXED_OF_USERS))
        made = self._made(select)
        self._make_users_fit(made)
        kinds = self._shape("users").columns
        listed = ", ".join(f"CAST({layout.name(n)} AS Nullable({kinds[n]})) AS {layout.name(n)}" for n in made)
        there = self._text("SELECT user_id FROM users WHERE user_id = any(?)", [ids])
        had = {*self._session.table(there).column(0).to_pylist()}
        wanted = f"SELECT {listed} FROM ({select})"
        if only_differing and had:
            wanted += f" EXCEPT DISTINCT {there.replace('SELECT user_id', f'SELECT {listed}', 1)}"
        fresh = self._session.table(wanted)
        people = self._session.table(f"SELECT user_id FROM {layout.name(_PEOPLE)}") if only_differing else fresh
        gone = had.difference(people.column("user_id").to_pylist())
        overlay = self._overlay("users")
        overlay.delete((user,) for user in sorted(gone))
        if fresh.num_rows:
            overlay.put(fresh, self._batch)
        written: int = fresh.num_rows
        return max(written, len(gone) + len(had.intersection(fresh.column("user_id").to_pylist())))

    def ensure_view(self, name: str, sql: str, *, own: bool = False) -> None:
        """See protocol.Transaction."""
        lower = name.lower()
        if self._view(lower) == sql:
            return
        if not own and (lower in tables.names() or self._layout(lower) is not None):
            raise ValueError(f"{name} is the name of a table or of a view of headrace's own")
        if self._view(lower) is None:
            self._check_name(lower)
        if not own:
            self._session.types(self._text(sql))
        self._views[lower] = sql

    def entry(self) -> Entry:
        """Return all that this transaction does."""
        written = [one for one in self._overlays.values() if not one.is_empty]
        return Entry(
            [self._overlays[table].layout for table in sorted(self._reshaped)],
            [*self._views.items()],
            self._forgotten,
            [(one.layout.name, one.written(self._batch)) for one in written],
        )

    def remember(self) -> None:
        """Take what was committed into the catalog."""
        if self._reshaped:
            self._catalog.made.clear()
        for table in self._reshaped:
            self._catalog.tables[table] = self._overlays[table].layout
        self._catalog.views.update(self._views)
        self._catalog.filled.update(table for table, one in self._overlays.items() if not one.is_empty)

    def clear_up(self) -> None:
        """Drop what was temporary."""
        for overlay in self._overlays.values():
            overlay.drop(self._session)
        for name in [*self._temporary]:
            self._session.run(f"DROP TEMPORARY TABLE IF EXISTS {layout.name(name)}")
        self._temporary.clear()

    # --- tables -------------------------------------------------------------------------------------

    def _layout(self, table: str) -> Layout | None:
        overlay = self._overlays.get(table.lower())
        return overlay.layout if overlay is not None else self._catalog.tables.get(table.lower())

    def _shape(self, table: str) -> Layout:
        return self._overlay(table).layout

    def _overlay(self, table: str) -> Overlay:
        lower = table.lower()
        if lower not in self._overlays:
            base = self._catalog.tables.get(lower)
            if base is None:
                raise RunError(f"The store has no table {table}.")
            self._overlays[lower] = Overlay(base.copy(), base, len(self._overlays))
        return self._overlays[lower]

    def _change(self, table: str) -> Overlay:
        overlay = self._overlay(table)
        overlay.reshaped()
        self._reshaped.add(table.lower())
        return overlay

    def _check_name(self, name: str) -> None:
        # Looked up: a statement that replaces a view of ours would replace a table of somebody else as well.
        if self._foreign is None:
            self._foreign = catalog.read(self._session, self._main).foreign
        if name.lower() in self._foreign:
            raise ValueError(f"{name} is the name of a table that headrace has not made")

    def _view(self, name: str) -> str | None:
        return self._views.get(name) or self._catalog.views.get(name)

    # --- reading ------------------------------------------------------------------------------------

    def _text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        return super()._text(sql, [self._listed(p) if isinstance(p, list) else p for p in parameters])

    def _source(self, table: str) -> str:
        if table in self._temporary:
            return self._temporary[table]
        overlay = self._overlays.get(table)
        if overlay is not None:
            is_as_it_was = overlay.is_empty and not overlay.hidden and table not in self._reshaped
            return super()._source(table) if is_as_it_was else overlay.source(self._session)
        view = self._view(table)
        if view is not None and (table in self._views or self._is_touched(view)):
            return f"({self._text(view)})"
        return super()._source(table)

    def _is_touched(self, sql: str) -> bool:
        named = compiled(sql).tables
        return any(n in self._overlays or n in self._views for n in named) or any(
            self._is_touched(view) for n in named if (view := self._catalog.views.get(n)) is not None
        )

    def _listed(self, values: Sequence[Any]) -> Any:
        if len(values) <= _LISTED_AT_MOST:
            return list(values)
        self._lists += 1
        name = f"{layout.TEMPORARY}list_{self._lists}"
        self._session.run(f"CREATE TEMPORARY TABLE {layout.name(name)} (key String) ENGINE = Memory")
        self._temporary[name] = layout.name(name)
        self._session.insert(layout.name(name), pa.table({"key": pa.array(values, pa.string())}))
        return Sql(f"(SELECT key FROM {layout.name(name)})")

    def _make_temporary(self, name: str, select: str) -> None:
        quoted = layout.name(name)
        if name in self._temporary:
            self._session.run(f"DROP TEMPORARY TABLE IF EXISTS {quoted}")
        self._session.run(f"CREATE TEMPORARY TABLE {quoted} ENGINE = Memory AS {select}")
        self._temporary[name] = quoted

    def _present(self, table: str, column: str, values: Sequence[Any], more: Sequence[str] = ()) -> pa.Table:
        """Read the keys (and more columns) of the rows whose column holds one of the values."""
        overlay = self._overlay(table)
        shown = [name for name in overlay.layout.key if name == layout.ROW or more != ["*"]]
        shown += [*overlay.layout.columns] if more == ["*"] else [name for name in more if name not in shown]
        listed = ", ".join(map(layout.name, shown))
        if overlay.is_empty and not self._is_filled(overlay):
            kinds = {**overlay.layout.columns, layout.ROW: "Int64"}
            return pa.table({name: pa.array([], arrow_type(kinds[name])) for name in shown})
        where = compiled(f"SELECT 1 FROM x WHERE {identifier(column)} = any(?)").text(
            lambda _: overlay.source(self._session, numbered=True), [self._listed(values)]
        )
        return self._session.table(where.replace("SELECT 1", f"SELECT {listed}", 1))

    def _is_filled(self, overlay: Overlay) -> bool:
        if overlay.base is None:
            return False
        if overlay.base.name not in self._catalog.filled:
            if not self._session.table(f"SELECT 1 FROM {layout.rows_of(overlay.base.name)} LIMIT 1").num_rows:
                return False
            self._catalog.filled.add(overlay.base.name)
        return True

    def _differing(self, table: str, key: str, keys: Iterable[str], stage: pa.Table) -> tuple[set[str], pa.Table]:
        """Return the keys under which the table does not hold exactly the staged rows, and what it holds there."""
        some = list(dict.fromkeys(keys))
        if not some:
            return set(), self._present(table, key, [""], stage.column_names)
        there = self._present(table, key, some, stage.column_names)
        kinds = self._shape(table).columns
        wanted = Counter(_comparable(stage, stage.column_names, kinds))
        found = Counter(_comparable(there, stage.column_names, kinds))
        place = stage.column_names.index(key)
        asked = {*some}
        return {row[place] for row in [*(wanted - found), *(found - wanted)] if row[place] in asked}, there

    # --- decimals -----------------------------------------------------------------------------------

    def _staged(self, table: str, columns: Sequence[Column], rows: Sequence[Row]) -> pa.Table:
        stage = arrow.to_table(columns, rows, table=table)
        there = self._shape(table)
        places = {c.name: there.place_of(c.name) for c in columns}
        unknown = next((name for name, place in places.items() if place is None), None)
        if unknown is not None:
            raise RunError(f"The store refused a batch: {table} has no column {unknown}.")
        stage = stage.rename_columns([place or name for name, place in places.items()])
        if not self._any_time:
            ranges.check(table, stage)
        for column in columns:
            if column.type is ColumnType.DECIMAL:
                self._make_room(table, places[column.name] or column.name, stage)
        return stage

    def _make_room(self, table: str, column: str, stage: pa.Table) -> None:
        shape = layout.digits_of(self._shape(table).columns[column])
        if shape is None:
            return
        wide = room_for(table, column, shape, stage.column(column), lambda: self._used_digits(table, column))
        if wide is not None:
            self._widen(table, column, wide)

    def _widen(self, table: str, column: str, shape: Digits) -> None:
        self._change(table).layout.columns[column] = layout.decimal(shape)

    def _used_digits(self, table: str, column: str) -> Digits:
        sql = f"SELECT max(abs({layout.name(column)})) FROM {self._source(table.lower())}"
        before, _ = arrow.digits_needed(self._session.table(sql).column(0).to_pylist())
        return Digits(before, 0)

    def _made(self, select: str) -> Mapping[str, str]:
        """Return the columns that a SELECT makes, and their types."""
        known = self._catalog.made if not self._reshaped else {}
        if select not in known:
            known.clear()
            known[select] = {n: layout.plain_type(kind) for n, kind in self._session.types(select).items()}
        return known[select]

    def _make_users_fit(self, made: Mapping[str, str]) -> None:
        """A raw decimal column that was widened widens the property's column too: copying must not round."""
        there = self._shape("users").digits()
        for name, kind in made.items():
            shape, had = layout.digits_of(kind), there.get(name)
            if shape is not None and had is not None and not holds(had, shape):
                wide = widened(had, shape)
                if wide is not None:
                    self._widen("users", name, wide)


def _compared(field: str) -> str:
    column = f"r.{identifier(field.lower())}"
    return f"lower(trim({column}, {literal(SPACE)}))" if field == "Email" else column


def _digits(column: Column) -> Digits | None:
    return Digits(column.precision, column.scale) if column.type is ColumnType.DECIMAL else None


def _keys(rows: pa.Table, key: Sequence[str]) -> list[Key]:
    return list(zip(*(rows.column(name).to_pylist() for name in key), strict=True))


def _checked_keys(stage: pa.Table, key: Sequence[str]) -> list[Key]:
    for name in key:
        if stage.column(name).null_count:
            raise ValueError(f"a row has no {name}, which is part of its key")
    return _keys(stage, key)


def _comparable(rows: pa.Table, names: Sequence[str], kinds: Mapping[str, str]) -> list[Key]:
    return list(zip(*(rows.column(name).cast(arrow_type(kinds[name])).to_pylist() for name in names), strict=True))
