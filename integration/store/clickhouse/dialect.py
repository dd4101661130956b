"""headrace's own SQL, written in DuckDB's dialect, as ClickHouse says it.

A statement is compiled once to a text with holes: one for every table (a transaction puts its own writes there) and
one for every parameter. Only what headrace's statements use is translated; a person's SQL never comes here.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlglot
from sqlglot import TokenType, exp

from integration.store.clickhouse import layout

_TABLE, _PARAMETER = "\x01table ", "\x01parameter "
_HOLE = re.compile(r'"\x01table (\d+)"|\x01parameter (\d+)\x01')
_TYPES: dict[exp.DType, str] = {
    exp.DType.TIMESTAMPTZ: "DateTime64(6, 'UTC')",
    exp.DType.TIMESTAMP: "DateTime64(6, 'UTC')",
    exp.DType.TIMESTAMPNTZ: "DateTime64(6, 'UTC')",
    exp.DType.DATE: "Date32",
    exp.DType.VARCHAR: "String",
    exp.DType.TEXT: "String",
    exp.DType.BIGINT: "Int64",
    exp.DType.INT: "Int32",
    exp.DType.DOUBLE: "Float64",
    exp.DType.BOOLEAN: "Bool",
    exp.DType.JSON: "String",
}
_MICROSECONDS = 1_000_000


class Compiled(NamedTuple):
    """A statement with holes."""

    parts: Sequence[str | int]
    """Texts; a number n stands for table n, -n - 1 for parameter n."""
    tables: Sequence[str]
    """The tables it reads, as people name them, in lower case."""

    def text(self, table: Callable[[str], str], parameters: Sequence[Any] = ()) -> str:
        """Fill the holes. `table` gives what stands for a table: a name, or a SELECT in parentheses; parameters are
        values, or texts of SQL wrapped in `Sql`."""
        shown = [p.text if isinstance(p, Sql) else layout.literal(p) for p in parameters]
        return "".join(
            part if isinstance(part, str) else table(self.tables[part]) if part >= 0 else shown[-part - 1]
            for part in self.parts
        )


class Sql(NamedTuple):
    """A parameter that is SQL already."""

    text: str


@lru_cache(maxsize=1_000)
def compiled(sql: str, *, pretty: bool = False) -> Compiled:
    """Compile a statement of headrace's own; `?` are its parameters, a list is matched with `= any(?)`.

    It is one line, or for people many.
    """
    tree = sqlglot.parse_one(_numbered(sql), read="duckdb")
    tables: list[str] = []
    for node in [*tree.find_all(exp.Table)]:
        _make_hole(node, tables)
    for select in tree.find_all(exp.Select):
        _name_what_is_shown(select)
        _name_by_place(select)
    for number, sub in enumerate([*tree.find_all(exp.Subquery)]):
        if not sub.alias and isinstance(sub.parent, exp.From | exp.Join):
            sub.set("alias", exp.TableAlias(this=exp.to_identifier(f"_{number}")))
    # From the leaves up: what a translation wraps is translated already.
    for inner in reversed([*tree.walk()]):
        _translate(inner)
    text = tree.sql(dialect="clickhouse", comments=False, pretty=pretty)
    parts: list[str | int] = []
    last = 0
    for found in _HOLE.finditer(text):
        parts += [text[last : found.start()], int(found[1]) if found[1] else -int(found[2]) - 1]
        last = found.end()
    return Compiled([*parts, text[last:]], tables)


def _numbered(sql: str) -> str:
    """Write `?` as `$p0`, `$p1`, ...: in the tree they would have lost their order."""
    places = [t.start for t in sqlglot.tokenize(sql, read="duckdb") if t.token_type == TokenType.PLACEHOLDER]
    pieces, last = [], 0
    for number, place in enumerate(places):
        pieces += [sql[last:place], f"$p{number}"]
        last = place + 1
    return "".join([*pieces, sql[last:]])


def _make_hole(node: exp.Table, tables: list[str]) -> None:
    if not isinstance(node.this, exp.Identifier) or _is_cte(node):
        return  # a function, or a name that WITH gave
    shown = f"{node.db}.{node.name}".lower() if node.db else node.name.lower()
    alias = node.alias or node.name.lower()
    if shown not in tables:
        tables.append(shown)
    node.set("db", None)
    node.set("this", exp.to_identifier(f"{_TABLE}{tables.index(shown)}", quoted=True))
    if not node.alias:
        node.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))


def _is_cte(node: exp.Table) -> bool:
    if node.db:
        return False
    above = node.parent
    while above is not None:
        named = above.args.get("with_")
        if named is not None and node.name in {one.alias for one in named.expressions}:
            return True
        above = above.parent
    return False


def _name_what_is_shown(select: exp.Select) -> None:
    """Name every column of an answer: `s.user_id` is called so by ClickHouse where another table has a user_id too."""
    for shown in select.expressions:
        if isinstance(shown, exp.Column) and shown.table and not shown.is_star:
            shown.replace(exp.alias_(shown.copy(), shown.name, quoted=True))


def _name_by_place(select: exp.Select) -> None:
    """Have ORDER BY name what is shown by its place.

    Where a name is a column's and an alias's, ClickHouse is told to take the column; ORDER BY means the alias.
    """
    places = {
        one.alias: str(place) for place, one in enumerate(select.expressions, start=1) if isinstance(one, exp.Alias)
    }
    order = select.args.get("order")
    for term in order.expressions if order is not None else ():
        column = term.this if isinstance(term, exp.Ordered) else term
        if isinstance(column, exp.Column) and not column.table and column.name in places:
            column.replace(exp.Literal.number(places[column.name]))


def _translate(node: Any) -> None:
    translation = _TRANSLATIONS.get(type(node))
    if translation is not None:
        fresh = translation(node)
        if fresh is not node:
            node.replace(fresh)


def _hole(node: Any) -> Any:
    return exp.Var(this=f"{_PARAMETER}{node.name.removeprefix('p')}\x01")


def _equal(node: Any) -> Any:
    if not isinstance(node.expression, exp.Any):
        return node
    return exp.In(this=node.this, field=node.expression.this.unnest())


def _cast(node: Any) -> Any:
    kind = _TYPES.get(node.to.this)
    if node.to.this == exp.DType.DECIMAL:
        kind = f"Decimal({', '.join(one.name for one in node.to.expressions) or '38, 9'})"
    if kind is not None:
        node.set("to", exp.Var(this=f"Nullable({kind})"))
    return node


def _in_zone(node: Any) -> Any:
    return exp.Anonymous(this="toTimeZone", expressions=[node.this, node.args["zone"]])


def _seconds(node: Any) -> Any:
    ticks = exp.Anonymous(this="toUnixTimestamp64Micro", expressions=[node.this])
    return exp.Paren(this=exp.Div(this=ticks, expression=exp.Literal.number(_MICROSECONDS)))


def _json(node: Any) -> Any:
    path = [one for one in node.expression.expressions if not isinstance(one, exp.JSONPathRoot)]
    keys: list[exp.Expression] = [
        exp.Literal.string(one.this) if isinstance(one, exp.JSONPathKey) else exp.Literal.number(int(one.this) + 1)
        for one in path
    ]
    if isinstance(node, exp.JSONExtract):
        return exp.Anonymous(this="JSONExtractRaw", expressions=[node.this, *keys])
    return exp.Anonymous(this="JSONExtract", expressions=[node.this, *keys, exp.Literal.string("Nullable(String)")])


def _trim(node: Any) -> Any:
    """Trim whole characters: ClickHouse's own trim takes the bytes of the characters named."""
    if node.expression is None:
        return node
    some = "|".join(one if one.isspace() else re.escape(one) for one in node.expression.name)
    shown = node.this
    for pattern in (f"^(?:{some})+", f"(?:{some})+$"):
        shown = exp.Anonymous(
            this="replaceRegexpOne", expressions=[shown, exp.Literal.string(pattern), exp.Literal.string("")]
        )
    return shown


def _part(node: Any) -> Any:
    """Give the n-th part of a text: of none where there is no text, and empty where there is no such part."""
    text = exp.Anonymous(this="assumeNotNull", expressions=[node.this.copy()])
    parts = exp.Anonymous(this="splitByString", expressions=[node.args["delimiter"], text])
    part = exp.Anonymous(this="arrayElement", expressions=[parts, node.args["part_index"]])
    unknown = exp.Anonymous(this="isNull", expressions=[node.this])
    return exp.Anonymous(this="if", expressions=[unknown, exp.null(), part])


def _joined_texts(node: Any) -> Any:
    """Join texts in an order: ClickHouse's own function for it knows none."""
    if not isinstance(node.this, exp.Order):
        return node
    shown, keys = node.this.this, [one.this for one in node.this.expressions]
    pairs = exp.Anonymous(this="groupArray", expressions=[exp.Tuple(expressions=[*keys, shown])])
    last = exp.Anonymous(this="tupleElement", expressions=[exp.column("t"), exp.Literal.number(len(keys) + 1)])
    each = exp.Lambda(this=last, expressions=[exp.to_identifier("t")])
    texts = exp.Anonymous(this="arrayMap", expressions=[each, exp.Anonymous(this="arraySort", expressions=[pairs])])
    return exp.Anonymous(this="arrayStringConcat", expressions=[texts, node.args["separator"]])


def _days(node: Any) -> Any:
    """Turn a series of days into an array of days; no other series is headrace's."""
    first, last = node.args["start"], node.args["end"]
    apart = exp.Anonymous(this="dateDiff", expressions=[exp.Literal.string("day"), first.copy(), last])
    count = exp.Anonymous(
        this="assumeNotNull",
        expressions=[exp.Add(this=apart, expression=exp.Literal.number(1))],
    )
    day = exp.Add(this=first, expression=exp.Anonymous(this="toIntervalDay", expressions=[exp.column("n")]))
    each = exp.Lambda(this=day, expressions=[exp.to_identifier("n")])
    return exp.Anonymous(this="arrayMap", expressions=[each, exp.Anonymous(this="range", expressions=[count])])


_TRANSLATIONS: dict[type[exp.Expression], Callable[[Any], Any]] = {
    exp.Placeholder: _hole,
    exp.EQ: _equal,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.AtTimeZone: _in_zone,
    exp.TimeToUnix: _seconds,
    exp.JSONExtract: _json,
    exp.JSONExtractScalar: _json,
    exp.Trim: _trim,
    exp.SplitPart: _part,
    exp.GroupConcat: _joined_texts,
    exp.GenerateSeries: _days,
    # What lower() and upper() mean here is ASCII alone.
    exp.Lower: lambda node: exp.Anonymous(this="lowerUTF8", expressions=[node.this]),
    exp.Upper: lambda node: exp.Anonymous(this="upperUTF8", expressions=[node.this]),
}
