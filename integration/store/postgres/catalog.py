"""Tables, columns and indexes: what a store in PostgreSQL is made of.

Texts are ordered by their characters, as Python orders them and every other store does: the collation is one of code
points, and of those one that knows small and capital letters beyond ASCII, where the server has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from integration.core.columns import Column, ColumnType
from integration.core.identity import SPACE
from integration.store.postgres.names import identifier, short, split, table_name
from integration.store.quoting import literal

_COLLATIONS = ("pg_c_utf8", "C.utf8", "C.UTF-8", "C")
_SQL_TYPES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "text",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.INTEGER: "bigint",
    # Of any size: no digit is ever lost, and no column has to be rewritten to become wider.
    ColumnType.DECIMAL: "numeric",
    ColumnType.DATE: "date",
    ColumnType.TIMESTAMP: "timestamptz",
    # Kept to the letter, which jsonb does not.
    ColumnType.JSON: "json",
    ColumnType.BYTES_AS_TEXT: "text",
}
_KEYS: Mapping[str, Sequence[str]] = {
    "users": ("user_id",),
    "identities": ("alias",),
    "events": ("event_id",),
    "headrace.states": ("object", "record_id"),
    "headrace.layouts": ("layout",),
    "headrace.people": ("user_id",),
    "headrace.traits": ("user_id",),
    "headrace.sightings": ("product_id",),
    "headrace.positions": ("stream",),
    "headrace.meta": ("key",),
}
_INDEXES: Mapping[str, Sequence[str]] = {
    "users": ("(email)",),
    "identities": ("(user_id) INCLUDE (alias, kind)",),
    "events": (
        "(user_id, time)",
        "(record_id)",
        "(name, time)",
        "(account_id) WHERE user_id IS NULL",
        "(alias) WHERE user_id IS NULL AND alias IS NOT NULL",
    ),
    "changes": ("(event_id)", "(record_id)"),
    "captures": ("(object, record_id)", "USING brin (stored_at)"),
    "headrace.memberships": ("(record_id)", "(alias)", "(target_id)"),
    "headrace.people": ("(account_id)", "(opportunity_id)"),
    "headrace.sightings": ("(follows)", "(email_key)"),
    "members": ("(kind, name)", "(member_id)"),
    "health_contributions": ("(score_id)", "(health)"),
    "sessions": ("(user_id)",),
    "touches": ("(user_id)",),
    "daily_activity": ("(user_id)", "(day)"),
    "opportunity_stage_history": ("(opportunity_id)",),
    "opportunity_spans": ("(opportunity_id)", "(first_day, last_day)"),
    "attribution": ("(opportunity_id)", "(user_id)"),
    "campaign_influence": ("(opportunity_id)", "(campaign_id)"),
    "opportunity_source": ("(opportunity_id)",),
    "touchpoints": ("(user_id)",),
    "headrace.lead_accounts": ("(lead_id)", "(account_id)"),
    "headrace.pseudonyms": ("(account_id)",),
}
"""What batches, replays and a person's timeline are looked up by; each costs something with every write."""
_ROOM = {"headrace.states": 75, "headrace.people": 75, "headrace.traits": 75, "headrace.sightings": 75, "users": 60}
"""How many percent of a page are filled at first where rows are updated: a new version finds room beside the old one.
Rows of users are wide, and the people of an account lie side by side and change together."""
_ROOM_OF_RAW_ROWS = 75

_READ_COLUMNS = (
    "SELECT a.attname FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 "
    "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
)


@dataclass(slots=True)
class Known:
    """What a writer remembers of the catalog between transactions; forgotten at every rollback."""

    collation: str = ""
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    """Table (in lower case) -> column in lower case -> its name."""
    stages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Table -> the columns that its staging table of this session has."""
    indexed: set[tuple[str, str]] = field(default_factory=set)
    views: dict[str, str] = field(default_factory=dict)

    def forget(self) -> None:
        """Forget what a rolled-back transaction may have made."""
        self.columns.clear()
        self.stages.clear()
        self.indexed.clear()
        self.views.clear()


class Catalog:
    """The tables as one transaction sees and makes them."""

    def __init__(self, con: psycopg.Connection, known: Known) -> None:
        self._con = con
        self._known = known

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns of a table or view, in lower case -> as they are; empty when there is none."""
        lower = table.lower()
        found = self._known.columns.get(lower)
        if found is None:
            found = {name.lower(): name for (name,) in self._run(_READ_COLUMNS, [*map(short, split(lower))])}
            if found:
                self._known.columns[lower] = found
        return found

    def listed(self, table: str, names: Iterable[str]) -> str:
        """Return columns of a table as a list in SQL."""
        return ", ".join(self.spelled(table, names))

    def spelled(self, table: str, names: Iterable[str]) -> list[str]:
        """Return columns of a table each as SQL names it."""
        there = self.columns(table)
        return [identifier(there.get(short(name).lower(), name)) for name in names]

    def ensure(self, table: str, columns: Sequence[Column]) -> None:
        """Create the table if it is missing, add columns that are missing."""
        there = self.columns(table)
        missing = [c for c in columns if short(c.name).lower() not in there]
        if not missing:
            return
        made = [f"{identifier(c.name)} {self._type(c)}" for c in missing]
        if there:
            self._run(f"ALTER TABLE {table_name(table)} {', '.join(f'ADD COLUMN {one}' for one in made)}")
        else:
            self._create(table, made, [c.name for c in columns])
        for column in missing:
            if short(column.name) != column.name:
                place = f"{table_name(table)}.{identifier(column.name)}"
                self._run(f"COMMENT ON COLUMN {place} IS {literal(column.name)}")
        self._known.columns.pop(table.lower(), None)

    def index(self, table: str, column: str, *, is_mail: bool = False) -> str:
        """Return the expression that finds rows by a column, and make its index when it is first asked for."""
        place = identifier(self.columns(table)[column])
        expression = f"lower(btrim({place}, {literal(SPACE)}))" if is_mail else place
        if column != "id" and (table, column) not in self._known.indexed:
            name = identifier(f"{split(table)[1]}_{column}_lookup")
            self._run(f"CREATE INDEX IF NOT EXISTS {name} ON {table_name(table)} (({expression}))")
            self._known.indexed.add((table, column))
        return expression

    def key_of(self, table: str) -> tuple[str, ...]:
        """Return the primary key that headrace gives a table; empty for one without."""
        columns = self.columns(table)
        return tuple(_KEYS.get(table) or (("id",) if table.startswith("salesforce.") and "id" in columns else ()))

    def _create(self, table: str, columns: Sequence[str], names: Sequence[str]) -> None:
        key = _KEYS.get(table) or (("id",) if table.startswith("salesforce.") and "id" in names else ())
        made = [*columns, f"PRIMARY KEY ({', '.join(map(identifier, key))})"] if key else columns
        filled = _ROOM.get(table, _ROOM_OF_RAW_ROWS if table.startswith("salesforce.") else 100)
        self._run(f"CREATE TABLE {table_name(table)} ({', '.join(made)}) WITH (fillfactor = {filled})")
        for indexed in _INDEXES.get(table, ()):
            self._run(f"CREATE INDEX ON {table_name(table)} {indexed}")

    def _type(self, column: Column) -> str:
        kind = _SQL_TYPES[column.type]
        return f"{kind} COLLATE {identifier(self._collation())}" if kind == "text" else kind

    def _collation(self) -> str:
        """Return the collation of the tables that are there: two would not compare. In a new store the best one."""
        if not self._known.collation:
            found = self._run(
                "SELECT c.collname FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_collation AS c "
                "ON c.oid = a.attcollation WHERE a.attrelid = to_regclass('public.users') AND a.attname = 'user_id'"
            ).fetchone()
            offered = self._run(
                "SELECT c.collname FROM pg_catalog.pg_collation AS c WHERE c.collname = any($1) "
                "AND c.collencoding IN (-1, 6) ORDER BY array_position($1::text[], c.collname::text)",
                [list(_COLLATIONS)],
            ).fetchone()
            self._known.collation = (found or offered or ("C",))[0]
        return self._known.collation

    def _run(self, sql: str, parameters: Sequence[Any] | None = None) -> psycopg.Cursor[Any]:
        return self._con.execute(sql.encode(), parameters)
