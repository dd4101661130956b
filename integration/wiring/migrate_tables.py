"""The tables of a store as a migration takes them: in parts, page by page, in an order that is the same anywhere."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Final, NamedTuple

from consumers.catalogs import Catalogs
from consumers.replay import MARK
from integration.core import cause, exactjson, history, naming
from integration.core.columns import Column, ColumnType
from integration.core.project import PERSON_OBJECTS
from integration.store import answers, tables
from integration.store.protocol import Queryable, Row, Transaction
from integration.store.quoting import identifier, literal, table_name
from integration.wiring.migrate_mark import MIGRATING

ROWS_AT_ONCE: Final = 5_000
"""Rows of a page, and about so many of a transaction."""
NAMES: Final = ("headrace.meta", "headrace.schemas", "headrace.properties")
"""What the columns of the others are made from: copied first, and together."""

_CELLS_AT_ONCE: Final = 400_000
_BOUNDS_AT_ONCE: Final = 200
_SECONDS: Final = 3_600.0
_OWN: Final = ("epoch", "schema_version", MARK, MIGRATING)
"""Keys of headrace.meta that each store has for itself; those of marts are too, which it works out by itself."""
_KEYS: Final[Mapping[str, str]] = {
    "headrace.meta": "key",
    "headrace.schemas": "schema_id",
    "headrace.properties": "object",
    "headrace.layouts": "layout",
    "headrace.states": "record_id",
    "captures": "record_id",
    "headrace.people": "user_id",
    "headrace.traits": "user_id",
    "users": "user_id",
    "identities": "alias",
    "headrace.memberships": "record_id",
    "headrace.sightings": "product_id",
    "events": "event_id",
    "changes": "event_id",
    "schema_log": "object",
    "dead_letters": "offset",
    "sync_runs": "run_id",
    "reconciliations": "run_id",
    "definitions": "name",
    "headrace.lists": "list_name",
    "health_contributions": "score_id",
    "members": "member_id",
    "headrace.positions": "stream",
}
"""Every fixed table, in the order in which they are copied, and the text that its rows are paged by. It need not be
unique; rows of one key come together."""
_BY_OBJECT: Final = ("headrace.states", "captures")
"""Tables that stores look up by object and record."""
_POSITIONS: Final = 'SELECT stream, "offset" FROM headrace.positions ORDER BY stream'
_EPOCH: Final = "SELECT value FROM headrace.meta WHERE key = 'epoch'"
_OBJECTS: Final = "SELECT DISTINCT object FROM headrace.schemas ORDER BY object"

Counts = Mapping[tuple[str, str], int]
"""(table, object; empty for tables that are not counted by object) -> rows."""


class Part(NamedTuple):
    """Some rows of a table: all of them, or those of one object."""

    table: str
    object: str = ""

    @property
    def label(self) -> str:
        """Name it, for people and in marks."""
        return f"{self.table} {self.object}".rstrip()

    @property
    def key(self) -> str:
        """The column that its rows are paged by."""
        return _KEYS.get(self.table, "id")


class Page(NamedTuple):
    """The rows of a part behind one key, up to another (None: to the end)."""

    part: Part
    after: str
    upto: str | None


def objects_of(store: Queryable) -> list[str]:
    """List the objects whose descriptions the store has, in order."""
    return [row["object"] for row in _rows(store, _OBJECTS)]


def tables_of(objects: Iterable[str]) -> list[str]:
    """List the tables to copy, in order: the raw tables of these objects come after those that name their columns."""
    others = [name for name in _KEYS if name not in NAMES]
    return [*NAMES, *(naming.table_of(name) for name in objects), *others]


def moment_of(store: Queryable) -> str:
    """Return where a store stands: it is another when anybody has written or begun to since."""
    told = [_rows(store, _EPOCH), _rows(store, _POSITIONS)]
    return hashlib.blake2b(exactjson.dumps(told), digest_size=12).hexdigest()


def counted(store: Queryable, names: Sequence[str]) -> Counts:
    """Count the rows of these tables."""
    selects = [_counting(table) for table in names]
    return {(row["name"], row["object"]): row["n"] for row in _rows(store, " UNION ALL ".join(selects))}


def rows_in(counts: Counts, table: str) -> int:
    """Return how many rows a table has."""
    return sum(n for (name, _), n in counts.items() if name == table)


def parts_of(names: Iterable[str], *counts: Counts) -> list[Part]:
    """List the parts of these tables, given how many rows one store or two have: a large archive goes by objects."""
    parts: list[Part] = []
    for table in names:
        there = sorted({name for one in counts for t, name in one if t == table})
        if table in _BY_OBJECT and max(rows_in(one, table) for one in counts) > ROWS_AT_ONCE:
            parts += [Part(table, name) for name in there]
        else:
            parts.append(Part(table))
    return parts


def rows_of(counts: Counts, part: Part) -> int:
    """Return how many rows a part has."""
    return counts.get((part.table, part.object), 0) if part.object else rows_in(counts, part.table)


def pages(store: Queryable, part: Part, rows: int, width: int, after: str = "") -> Iterator[Page]:
    """Give the pages of a part that has so many rows of so many columns, behind a key, as one store orders them."""
    size = max(min(ROWS_AT_ONCE, _CELLS_AT_ONCE // max(width, 1)), 1)
    while rows > size:
        bounds = _bounds(store, part, size, after)
        for upto in dict.fromkeys(bounds):
            yield Page(part, after, upto)
            after = upto
        if len(bounds) < _BOUNDS_AT_ONCE:
            break
    yield Page(part, after, None)


def read(store: Queryable, page: Page, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the rows of a page, in the form in which columns take them."""
    listed = ", ".join(identifier(c.name) for c in columns)
    return _rows(store, f"SELECT {listed} FROM {table_name(page.part.table)} WHERE {_within(page)}")


def columns_in(store: Queryable, table: str) -> list[str]:
    """List the columns that a table has."""
    found = store.query(store.compiled(f"SELECT * FROM {table_name(table)} LIMIT 0"))
    return [str(name) for name in found.column_names]


def differing(part: Part, columns: Sequence[Column], here: Sequence[Row], there: Sequence[Row]) -> list[str]:
    """Return the keys under which two stores do not hold the same rows, in order. JSON is compared parsed."""
    names = [c.name for c in columns]
    place = names.index(part.key)
    taken = itemgetter(*names)
    left, right = (Counter(map(taken, rows)) for rows in (here, there))
    if dict.__eq__(left, right):  # a Counter's own == looks at every key in Python
        return []
    json = [n for n, c in enumerate(columns) if c.type is ColumnType.JSON]
    left, right = (_parsed(one, json, part) for one in (left - right, right - left))
    return sorted({row[place] for row in ((left - right) | (right - left))})


def lay_out(tx: Transaction, catalogs: Catalogs, objects: Iterable[str], now: str) -> dict[str, Sequence[Column]]:
    """Make the tables, columns and views of these objects and of people, as they are where they come from; return
    every table's columns. The names must have been copied in the same transaction or before."""
    columns: dict[str, Sequence[Column]] = dict(tables.FIXED)
    for name in objects:
        raw = catalogs.raw_columns(name)
        columns[naming.table_of(name)] = [replace(c, source="") for c in raw]
        tx.ensure_columns(naming.table_of(name), raw)
        # No event is named after a history's rows.
        for event in cause.event_names(name) if history.parent_of(name) is None else ():
            tx.ensure_view(naming.view_name(event), tables.event_view(event), own=True)
    catalogs.save(tx, now)
    retired = [
        Column(name, key.type)
        for name, key in catalogs.registry.retired.items()
        if key.prefix_object in PERSON_OBJECTS and key.field != "IsDeleted"
    ]
    tx.ensure_columns("users", retired)
    columns["users"] = [*catalogs.people_columns(), *retired]
    columns["headrace.traits"] = catalogs.traits.table
    return columns


def shown_key(key: object) -> str:
    """Return a key as it may be shown: of an e-mail address only the domain."""
    name, at, domain = str(key).rpartition("@")
    return f"***@{domain}" if at and name else str(key)


def _parsed(rows: Counter[tuple[Any, ...]], places: Collection[int], part: Part) -> Counter[tuple[Any, ...]]:
    if not places:
        return rows
    found: Counter[tuple[Any, ...]] = Counter()
    for row, n in rows.items():
        found[tuple(_as_json(value, part) if place in places else value for place, value in enumerate(row))] += n
    return found


def _as_json(text: Any, part: Part) -> Any:
    if not isinstance(text, str):
        return text
    if part.table == "dead_letters":
        # The one place where any character may come to lie; PostgreSQL has none for this.
        text = text.replace("\\u0000", "\ufffd")
    try:
        return _canonical(exactjson.loads(text))
    except ValueError:
        return text


def _canonical(value: Any) -> Any:
    """Return a parsed value in a form that can be counted: numbers as numbers, whatever their digits look like."""
    if isinstance(value, dict):
        return "object", tuple(sorted((name, _canonical(one)) for name, one in value.items()))
    if isinstance(value, list):
        return "list", tuple(_canonical(one) for one in value)
    return type(value) is bool, value


def _rows(store: Queryable, sql: str) -> list[dict[str, Any]]:
    return answers.plain_rows(store.query(store.compiled(sql), timeout_seconds=_SECONDS))


def _counting(table: str) -> str:
    each = "object" if table in _BY_OBJECT else "''"
    group = " GROUP BY object" if table in _BY_OBJECT else ""
    own = f" WHERE {_not_own()}" if table == "headrace.meta" else ""
    return f"SELECT {literal(table)} AS name, {each} AS object, count(*) AS n FROM {table_name(table)}{own}{group}"


def _bounds(store: Queryable, part: Part, size: int, after: str) -> list[str]:
    """Return the keys at which the next pages of so many rows end."""
    key = identifier(part.key)
    numbered = (
        f"SELECT {key} AS k, row_number() OVER (ORDER BY {key}) AS n FROM {table_name(part.table)} "
        f"WHERE {_within(Page(part, after, None))}"
    )
    found = _rows(store, f"SELECT k FROM ({numbered}) AS p WHERE n % {size} = 0 ORDER BY n LIMIT {_BOUNDS_AT_ONCE}")
    return [row["k"] for row in found]


def _within(page: Page) -> str:
    key = identifier(page.part.key)
    conditions = [f"{key} > {literal(page.after)}" if page.after else f"{key} IS NOT NULL"]
    if page.upto is not None:
        conditions.append(f"{key} <= {literal(page.upto)}")
    if page.part.object:
        conditions.append(f"object = {literal(page.part.object)}")
    if page.part.table == "headrace.meta":
        conditions.append(_not_own())
    return " AND ".join(conditions)


def _not_own() -> str:
    return f"key NOT IN ({', '.join(map(literal, _OWN))}) AND key NOT LIKE 'mart %'"
