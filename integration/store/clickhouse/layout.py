"""How headrace's tables lie in ClickHouse: their databases, keys, types and DDL. Pure text.

People see views under the names they know (`users`, `salesforce.contact`). Behind each lies a ReplacingMergeTree in the
database `headrace_rows`, under the same name, with three columns more than the view shows: which batch wrote a row,
whether it wrote that there is none any more, and for a table without a key, the row's number.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from integration.core.columns import Column, ColumnType
from integration.store.widening import Shape as Digits

ROWS = "headrace_rows"
"""The database of all rows, of the journal, and of nothing that people should ask."""
SCHEMAS = ("headrace", "salesforce")
"""The databases of the tables with a schema before the dot."""
BATCH, DELETED, ROW = "_v", "_deleted", "_row"
TEMPORARY = "_headrace_"
"""How the names of temporary tables begin."""
HIDDEN = frozenset({BATCH, DELETED, ROW})
MARK = "headrace"
"""How the comment of every view of ours begins; behind a colon stands the SQL it was made of."""

_KEYS: Mapping[str, Sequence[str]] = {
    "users": ("user_id",),
    # By person first: a timeline is one range, and a row that changes hands is deleted here and written there, as it
    # would be where each person's rows lie on a server of their own.
    "events": ("user_id", "event_id"),
    "changes": ("user_id", "event_id", "field"),
    "identities": ("alias",),
    "captures": ("object", "record_id", "capture_id", "stream", "offset"),
    "sync_runs": ("run_id",),
    "reconciliations": ("run_id", "object", "kind"),
    "dead_letters": ("stream", "offset"),
    "headrace.states": ("object", "record_id"),
    "headrace.layouts": ("layout",),
    "headrace.positions": ("stream",),
    "headrace.schemas": ("schema_id", "object"),
    "headrace.properties": ("prefix_object", "object", "field", "type"),
    "headrace.memberships": ("record_id", "since", "alias", "target_id"),
    "headrace.people": ("user_id",),
    "headrace.traits": ("user_id",),
    "headrace.sightings": ("product_id",),
    "headrace.meta": ("key",),
    "headrace.stale": ("key", "kind"),
    "members": ("kind", "name", "member_id", "since"),
    "definitions": ("kind", "name", "since"),
    "health_contributions": ("score_id", "metric"),
    "headrace.lists": ("list_name", "kind", "value"),
    "sessions": ("user_id", "session_id"),
    "touches": ("user_id", "touch_id"),
    "daily_activity": ("user_id", "day", "name"),
    "opportunity_stage_history": ("opportunity_id", "place"),
    "opportunity_spans": ("opportunity_id", "since"),
    "attribution": ("opportunity_id", "model", "touch_id"),
    "campaign_influence": ("opportunity_id", "campaign_id"),
    "opportunity_source": ("opportunity_id",),
    "touchpoints": ("user_id", "touchpoint_id"),
    "headrace.lead_accounts": ("lead_id", "account_id"),
    "headrace.pseudonyms": ("account_id",),
}
_TYPES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "String",
    ColumnType.BOOLEAN: "Bool",
    ColumnType.INTEGER: "Int64",
    ColumnType.DATE: "Date32",
    ColumnType.TIMESTAMP: "DateTime64(6, 'UTC')",
    ColumnType.JSON: "String",
    ColumnType.BYTES_AS_TEXT: "String",
}
_DECIMAL = re.compile(r"Decimal\((\d+), (\d+)\)")
_NULLABLE = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")
_SETTINGS = (
    # Null is null in a key too; and what is sent again after a crash is known by its token.
    "allow_nullable_key = 1, non_replicated_deduplication_window = 1000"
)


@dataclass(slots=True)
class Layout:
    """A table as a transaction sees it: its columns (name -> type, without Nullable) in order, and its sort key."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = (ROW,)

    @property
    def has_row_numbers(self) -> bool:
        """Tell whether rows are told apart by their number, for want of a key."""
        return self.key == (ROW,)

    def place_of(self, column: str) -> str | None:
        """Return the name of a column as the table has it, whatever the case of its letters."""
        if column in self.columns:
            return column
        lower = column.lower()
        return next((name for name in self.columns if name.lower() == lower), None)

    def digits(self) -> dict[str, Digits]:
        """Return the shapes of the decimal columns, by their names in lower case."""
        found = {name.lower(): digits_of(kind) for name, kind in self.columns.items()}
        return {name: digits for name, digits in found.items() if digits is not None}

    def copy(self) -> "Layout":
        """Return a copy whose columns may be changed."""
        return Layout(self.name, dict(self.columns), self.key)


def key_of(table: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the sort key of a new table. What is known of neither name nor `id` counts its rows."""
    key = ("id",) if table.startswith("salesforce.") else tuple(_KEYS.get(table, ()))
    return key if key and {*key} <= {*columns} else (ROW,)


def type_of(column: Column) -> str:
    """Return the type of a column, without Nullable around it."""
    if column.type is ColumnType.DECIMAL:
        return decimal(Digits(column.precision, column.scale))
    return _TYPES[column.type]


def decimal(digits: Digits) -> str:
    """Return the type of a decimal column."""
    return f"Decimal({digits.precision}, {digits.scale})"


def digits_of(kind: str) -> Digits | None:
    """Return the shape of a decimal type, None for every other."""
    found = _DECIMAL.fullmatch(kind)
    return Digits(int(found[1]), int(found[2])) if found else None


def plain_type(kind: str) -> str:
    """Take Nullable and LowCardinality off a type."""
    while found := _NULLABLE.fullmatch(kind):
        kind = found[1]
    return kind


def name(text: str) -> str:
    """Quote a name."""
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(value: object) -> str:
    """Write a value as ClickHouse reads it: text, a number, a boolean, None, or a list of them (for IN)."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
        return f"'{escaped}'"
    if isinstance(value, list | tuple | set | frozenset):
        # NULL equals nothing: an empty list written so keeps its statement well formed, and matches no row.
        return f"({', '.join(map(literal, value)) or 'NULL'})"
    return str(value)


def rows_of(table: str) -> str:
    """Return the quoted name of the table that holds the rows."""
    return f"{name(ROWS)}.{name(table)}"


def public(table: str, main: str) -> str:
    """Return the quoted name of the view that people see."""
    schema, dot, one = table.partition(".")
    return f"{name(schema if dot else main)}.{name(one if dot else table)}"


def create(layout: Layout) -> str:
    """Return the CREATE TABLE of a table's rows."""
    own = [f"{BATCH} UInt64", f"{DELETED} UInt8", *([f"{ROW} UInt64"] if layout.has_row_numbers else [])]
    columns = [*own, *(f"{name(c)} Nullable({kind})" for c, kind in layout.columns.items())]
    return (
        f"CREATE TABLE IF NOT EXISTS {rows_of(layout.name)} ({', '.join(columns)}) "
        f"ENGINE = ReplacingMergeTree({BATCH}, {DELETED}) ORDER BY ({', '.join(map(name, layout.key))}) "
        f"SETTINGS {_SETTINGS}"
    )


def add_columns(table: str, columns: Mapping[str, str]) -> str:
    """Return the ALTER that adds columns behind the others."""
    added = (f"ADD COLUMN IF NOT EXISTS {name(c)} Nullable({kind})" for c, kind in columns.items())
    return f"ALTER TABLE {rows_of(table)} {', '.join(added)}"


def retype(table: str, columns: Mapping[str, str]) -> str:
    """Return the ALTER that gives columns another type."""
    changed = (f"MODIFY COLUMN {name(c)} Nullable({kind})" for c, kind in columns.items())
    return f"ALTER TABLE {rows_of(table)} {', '.join(changed)} SETTINGS alter_sync = 1, mutations_sync = 1"


def create_view(table: str, main: str, columns: Sequence[str], *, rows: str = "") -> str:
    """Return the CREATE VIEW that shows the live rows of a table; `rows` is what holds them, where not its own."""
    listed = ", ".join(map(name, columns))
    return (
        f"CREATE OR REPLACE VIEW {public(table, main)} AS "
        f"SELECT {listed} FROM {rows or rows_of(table)} FINAL WHERE NOT {DELETED} COMMENT {literal(MARK)}"
    )


def create_named_view(view: str, main: str, select: str, source: str) -> str:
    """Return the CREATE VIEW of a statement; the comment keeps the text it was compiled from."""
    return f"CREATE OR REPLACE VIEW {public(view, main)} AS {select} COMMENT {literal(f'{MARK}: {source}')}"
