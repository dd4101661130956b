"""A person's question to a ClickHouse: guarded, limited, and answered with the types that people know."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from integration.core.columns import ColumnType
from integration.errors import UsageError
from integration.store import answers, tables
from integration.store.clickhouse import layout
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.guard import reading_statement

# What Arrow has no plain form for is read as text, what it has as bare numbers as what it is.
_AS_ARROW = re.compile(r"Bool|String|U?Int(?:8|16|32|64)|Float(?:32|64)|Decimal\(.*\)|Date|Date32|DateTime64\(.*\)")
_MOMENT = re.compile(r"DateTime(?:\('([^']*)'\))?")
_JSON: Mapping[str, frozenset[str]] = {
    name: found
    for name, columns in {**tables.FIXED, "user_events": tables.EVENTS}.items()
    if (found := frozenset(c.name for c in columns if c.type is ColumnType.JSON))
}
_MAY_BE_JSON = re.compile(r"\*|" + "|".join(sorted({c for columns in _JSON.values() for c in columns})))


def ask(session: Session, sql: str, main: str, *, limit: int | None, timeout_seconds: float) -> pa.Table:
    """Run one reading statement. Raises UsageError for any other, and what clickhouse-connect raises."""
    text, is_select = reading_statement(sql, lambda select: session.text(f"EXPLAIN AST {select}"))
    try:
        if not is_select:
            found = session.table(text, timeout_seconds=timeout_seconds)
            return found if limit is None else found.slice(0, limit)
        types = session.types(text)
        found = session.table(_readable(text, types), timeout_seconds=timeout_seconds, limit=limit)
    except pa.ArrowException as error:
        raise UsageError("This statement gives no rows.") from error
    kinds = [layout.plain_type(types.get(name, "String")) for name in found.column_names]
    texts = [name for name, kind in zip(found.column_names, kinds, strict=True) if kind == "String"]
    if texts and _MAY_BE_JSON.search(text):
        json = json_columns(text, texts, main)
        kinds = ["JSON" if name in json else kind for name, kind in zip(found.column_names, kinds, strict=True)]
    return answers.with_types(found, kinds)


def _readable(select: str, types: Mapping[str, str]) -> str:
    shown = {name: _shown(name, kind) for name, kind in types.items()}
    if all(text == layout.name(name) for name, text in shown.items()):
        return select
    return f"SELECT {', '.join(shown.values())} FROM ({select}\n)"


def _shown(name: str, kind: str) -> str:
    quoted, plain = layout.name(name), layout.plain_type(kind)
    moment = _MOMENT.fullmatch(plain)
    if moment:
        return f"CAST({quoted} AS Nullable(DateTime64(0, '{moment[1] or 'UTC'}'))) AS {quoted}"
    if _AS_ARROW.fullmatch(plain) or plain.startswith(("Array(", "Tuple(", "Map(", "Nested(")):
        return quoted
    return f"toString({quoted}) AS {quoted}"


def json_columns(sql: str, names: Iterable[str], main: str) -> set[str]:
    """Return which columns of an answer hold JSON: those that come, as they are, from a column that does.

    ClickHouse knows them as text.
    """
    try:
        tree = sqlglot.parse_one(sql, read="clickhouse")
    except SqlglotError:
        return set()
    return {name for name in names if _is_json(tree, name, main, {})}


def _is_json(node: Any, name: str, main: str, ctes: Mapping[str, Any]) -> bool:
    if isinstance(node, exp.Subquery):
        return _is_json(node.this, name, main, ctes)
    if not isinstance(node, exp.Query):
        return False
    named = node.args.get("with_")
    inner = {**ctes, **({one.alias: one.this for one in named.expressions} if named is not None else {})}
    if isinstance(node, exp.SetOperation):
        return _is_json(node.this, name, main, inner)
    sources = [node.args["from_"].this] if node.args.get("from_") is not None else []
    sources += [join.this for join in node.args.get("joins") or ()]

    def from_sources(column: str, of: str) -> bool:
        return any(_gives_json(one, column, main, inner) for one in sources if not of or one.alias_or_name == of)

    for shown in node.expressions:
        if shown.alias_or_name == name and not shown.is_star:
            column = shown.unalias()
            return isinstance(column, exp.Column) and from_sources(column.name, column.table)
    stars = (shown for shown in node.expressions if shown.is_star)
    return any(from_sources(name, shown.table if isinstance(shown, exp.Column) else "") for shown in stars)


def _gives_json(source: Any, column: str, main: str, ctes: Mapping[str, Any]) -> bool:
    if not isinstance(source, exp.Table):
        return _is_json(source, column, main, ctes)
    if not source.db and source.name in ctes:
        # Within itself a name of WITH means what it meant outside.
        rest = {name: one for name, one in ctes.items() if name != source.name}
        return _is_json(ctes[source.name], column, main, rest)
    table = source.name if source.db in ("", main) else f"{source.db}.{source.name}"
    known = _JSON.get(table)
    if known is None:
        # The views of single events show what `events` has.
        return "." not in table and table not in tables.FIXED and column in _JSON["events"]
    return column in known
