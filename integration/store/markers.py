"""What stands in braces in headrace's own SQL files, and what becomes of it.

`{among:column}` stands where a source is cut to the keys that are asked for; `{salesforce.contact}` for a raw table of
which an org may lack columns, or all of it: what it lacks is null there; `{outbound:column}` for the question whether a
lead source says that sales made the first step.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from integration.core import naming
from integration.core.columns import Column, ColumnType
from integration.store.quoting import identifier, literal

Reads = Mapping[str, Sequence[Column]]
"""Object -> the raw columns that a statement is worked out from."""

OUTBOUND_WORDS: Sequence[str] = ("SDR", "AE", "Outbound")
"""A lead source is outbound when one of these is a word of it, in whatever letters: `SDR Created`, `outbound (AE)`."""

_MARKERS: Final = re.compile(
    r"\{(?:among:(?P<among>[\w.]+)|outbound:(?P<outbound>[\w.]+)|salesforce\.(?P<table>\w+))\}"
)
_EMPTY: Final = "headrace.meta WHERE key IS NULL"
_NULLS: Final[Mapping[ColumnType, str]] = {
    ColumnType.TEXT: "VARCHAR",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.DECIMAL: "DECIMAL(18, 2)",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMPTZ",
}


def rendered(
    sql: str, reads: Reads, columns: Mapping[str, Collection[str]], among: str = "{column} IS NOT NULL"
) -> str:
    """Return the SQL with its markers filled in.

    `columns` are the raw columns that the org has, by object (see projection.Shape); `among` is the condition that cuts
    a `{column}`. Raises KeyError for a raw table that `reads` does not tell of.
    """
    raw = {naming.table_of(name): name for name in reads}

    def put(marker: re.Match[str]) -> str:
        if marker["among"]:
            return among.format(column=marker["among"])
        if marker["outbound"]:
            return is_outbound(marker["outbound"])
        name = raw[f"salesforce.{marker['table']}"]
        return _raw(naming.table_of(name), reads[name], columns.get(name))

    return _MARKERS.sub(put, sql)


def is_outbound(column: str) -> str:
    """Return the condition that a lead source is outbound; null where there is none."""
    words = "|".join(re.escape(word.lower()) for word in OUTBOUND_WORDS)
    return f"regexp_matches(lower({column}), {literal(f'(^|[^a-z0-9])({words})([^a-z0-9]|$)')})"


def _raw(table: str, wanted: Iterable[Column], there: Iterable[str] | None) -> str:
    """Return a raw table with these columns, null where the org does not have them."""
    known = {name.lower() for name in there} | {"is_deleted"} if there else set()
    listed = ", ".join(
        identifier(c.name) if c.name in known else f"CAST(NULL AS {_NULLS[c.type]}) AS {identifier(c.name)}"
        for c in wanted
    )
    return f"(SELECT {listed} FROM {table if known else _EMPTY})"
