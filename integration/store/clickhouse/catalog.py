"""What tables and views there are, as the writer remembers it between its transactions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from integration.store.clickhouse import layout
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.dialect import compiled
from integration.store.clickhouse.layout import Layout


@dataclass(slots=True)
class Catalog:
    """Tables by name in lower case, and headrace's own views with the SQL they were made of."""

    tables: dict[str, Layout] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    """Tables and views in the same databases that headrace has not made."""
    filled: set[str] = field(default_factory=set)
    """Tables that are known to hold rows."""
    made: dict[str, dict[str, str]] = field(default_factory=dict)
    """SELECT -> the columns it gives and their types; the last one asked for."""


def read(session: Session, main: str) -> Catalog:
    """Read what there is. A table counts once people see it: rows without a view are of a batch not yet applied."""
    listed = ", ".join(map(layout.literal, (main, *layout.SCHEMAS)))
    found = session.table(
        f"SELECT database, name, comment FROM system.tables WHERE database IN ({listed}) AND NOT is_temporary"
    )
    catalog = Catalog()
    columns = _columns(session)
    for database, name, comment in zip(*(c.to_pylist() for c in found.columns), strict=True):
        shown = name if database == main else f"{database}.{name}"
        mark, _, source = comment.partition(": ")
        if mark != layout.MARK:
            catalog.foreign.add(shown.lower())
        elif source:
            catalog.views[shown] = source
        elif shown in columns:
            catalog.tables[shown.lower()] = columns[shown]
    return catalog


def above(views: Mapping[str, str], tables: Iterable[str]) -> dict[str, str]:
    """Return the views that read one of these tables, by themselves or through another view; the lower ones first."""
    found: dict[str, str] = {}
    below = {*tables}
    while fresh := {name: sql for name, sql in views.items() if below.intersection(compiled(sql).tables)}:
        for name in fresh:
            found.pop(name, None)  # it stands on one that came after it
        found |= fresh
        below = {*fresh}
    return found


def _columns(session: Session) -> dict[str, Layout]:
    found = session.table(
        "SELECT table, name, type FROM system.columns "
        f"WHERE database = {layout.literal(layout.ROWS)} AND NOT startsWith(table, '_') ORDER BY table, position"
    )
    tables: dict[str, Layout] = {}
    numbered: set[str] = set()
    for table, name, kind in zip(*(c.to_pylist() for c in found.columns), strict=True):
        one = tables.setdefault(table, Layout(table))
        if name not in layout.HIDDEN:
            one.columns[name] = layout.plain_type(kind)
        elif name == layout.ROW:
            numbered.add(table)
    for table, one in tables.items():
        if table not in numbered:
            one.key = layout.key_of(table, [*one.columns])
    return tables


def names(session: Session, main: str) -> Sequence[str]:
    """List every table and view as people name them."""
    listed = ", ".join(map(layout.literal, (main, *layout.SCHEMAS)))
    found = session.table(
        f"SELECT database, name FROM system.tables WHERE database IN ({listed}) ORDER BY database, name"
    )
    pairs = zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True)
    return sorted(name if database == main else f"{database}.{name}" for database, name in pairs)
