"""headrace's own statements as text for people: in the dialect of any store, whichever is open."""

import re
from collections.abc import Callable
from typing import Final

from integration.core.kinds import Dialect
from integration.errors import ConfigError
from integration.store import tables

__all__ = ["Dialect", "dialect_of", "said_in"]

Naming = Callable[[str], str]
"""Gives what stands for a table of headrace: for `events`, for `salesforce.contact`."""

_READ: Final = re.compile(r"\b(FROM|JOIN) ((?:headrace|salesforce)\.\w+|\w+)\b")
_STANDS: Final = "headrace_table_{}_"
_STANDING: Final = re.compile(r'(AS )?"?\bheadrace_table_(\d+)_(?!\w)"?')


def dialect_of(url: str) -> Dialect:
    """Return the dialect of the store at an address."""
    kind = url.partition("://")[0].removesuffix("s")
    return {"postgresql": Dialect.POSTGRES, "postgre": Dialect.POSTGRES, "clickhouse": Dialect.CLICKHOUSE}.get(
        kind, Dialect.DUCKDB
    )


def said_in(dialect: Dialect, sql: str, naming: Naming = str) -> str:
    """Return a SELECT of headrace's own (in DuckDB's dialect, without parameters) in a dialect.

    Raises ConfigError where what translates it is not installed.
    """
    read: list[str] = []

    def stand_in(found: re.Match[str]) -> str:
        if found[2] not in tables.FIXED and not found[2].startswith("salesforce."):
            return found[0]  # a name that WITH gave
        if found[2] not in read:
            read.append(found[2])
        # By another name for now: what is to stand there may be no SQL. What was called by its own name still is.
        return f"{found[1]} {_STANDS.format(read.index(found[2]))}"

    def put(found: re.Match[str]) -> str:
        table = read[int(found[2])]
        return f'AS "{table.rpartition(".")[2]}"' if found[1] else naming(table)

    return _STANDING.sub(put, _translated(dialect, _READ.sub(stand_in, sql)))


def _translated(dialect: Dialect, sql: str) -> str:
    if dialect is Dialect.DUCKDB:
        return sql
    try:
        if dialect is Dialect.POSTGRES:
            from integration.store import dialect as any_dialect
            from integration.store.postgres.names import short

            return any_dialect.compiled(sql, "postgres", short)
        from integration.store.clickhouse.dialect import compiled
    except ImportError as error:
        raise ConfigError(
            f"SQL for {dialect} needs what is not installed ({error}): pip install 'headrace[{dialect}]'."
        ) from error
    return compiled(sql, pretty=True).text(str)
