"""headrace's own statements in another store's dialect.

They are written once, in DuckDB's, and kept to what every store can say; sqlglot puts the rest into the other's words
(`FILTER`, `INTERVAL`, `->>`, where nulls sort, `QUALIFY`). What can't be said there raises: a test compiles them all.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import TokenType, exp

_STATEMENTS_KEPT = 512


@lru_cache(maxsize=_STATEMENTS_KEPT)
def compiled(sql: str, dialect: str, name: Callable[[str], str] | None = None) -> str:
    """Return a statement in `dialect` (sqlglot's name of it). Parameters, `?`, become `$1`, `$2`, ... in their order.

    `name` gives the store's form of the name of a column or table. Raises sqlglot.errors.SqlglotError for what does not
    parse or can't be said.
    """
    tree = sqlglot.parse_one(_numbered(sql), read="duckdb")
    number = 0
    for node in list(tree.walk()):
        if isinstance(node, exp.Parameter | exp.Placeholder):
            node.replace(exp.Var(this=f"${node.name}"))
        elif isinstance(node, exp.Subquery) and not node.alias and isinstance(node.parent, exp.From | exp.Join):
            number += 1
            node.set("alias", exp.TableAlias(this=exp.to_identifier(f"_{number}")))
        elif isinstance(node, exp.DataType) and node.this == exp.DType.DECIMAL and dialect == "postgres":
            # A numeric has all the digits that come; with a scale it would round.
            node.set("expressions", [])
        elif isinstance(node, exp.Identifier) and name is not None:
            node.set("this", name(node.name))
    text = tree.sql(dialect=dialect, comments=False, pretty=True, unsupported_level=sqlglot.ErrorLevel.RAISE)
    return str(text)


def _numbered(sql: str) -> str:
    """Number the parameters where they stand: in the tree they need not come in their order."""
    parts: list[str] = []
    end = 0
    for token in _tokens(sql):
        if token.token_type is TokenType.PLACEHOLDER:
            parts += [sql[end : token.start], f"${len(parts) // 2 + 1}"]
            end = token.end + 1
    return "".join([*parts, sql[end:]])


def _tokens(sql: str) -> list[Any]:
    return list(sqlglot.tokenize(sql, read="duckdb")) if "?" in sql else []
