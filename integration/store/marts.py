"""The marts: tables that are worked out from other tables, and kept up to date by key.

A mart is one SELECT (`integration/marts/<name>.sql`, in DuckDB's dialect). Its rows of one key (a person, say) come
from the rows of that key alone, so whoever knows which keys have changed need not work out the others again. Two
markers stand in the SQL: `{among:column}` where a source is cut to the keys that are asked for, and
`{salesforce.contact}` for a raw table of which an org may lack columns, or all of it: what it lacks is null there.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from integration.core import naming
from integration.core.columns import Column, ColumnType
from integration.store import tables
from integration.store.projection import Shape
from integration.store.quoting import identifier

PERSON: Final = "person"
"""The kind of stale keys that are ids of users whose product events are others than they were. All other kinds are
names of objects, and their keys ids of records."""
SAME: Final = ""
"""Whose stale keys are keys of the mart as they are."""

_MARKERS: Final = re.compile(r"\{(?:among:(?P<column>[\w.]+)|salesforce\.(?P<table>\w+))\}")
_EMPTY: Final = "headrace.meta WHERE key IS NULL"
_NULLS: Final[Mapping[ColumnType, str]] = {
    ColumnType.TEXT: "VARCHAR",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.DECIMAL: "DECIMAL(18, 2)",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMPTZ",
}


@dataclass(frozen=True, slots=True)
class Mart:
    """A table to be worked out: the rows it has, and what makes some of them stale."""

    name: str
    key: str
    """The column by whose values it is kept up to date."""
    stale: Mapping[str, str]
    """Kind of stale keys -> SAME, or the SELECT of this mart's `key` that they reach; each `?` takes all of them."""
    reads: Mapping[str, Sequence[Column]] = field(default_factory=dict)
    """Object -> the raw columns that it is worked out from."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of its table."""
        return tables.FIXED[self.name]

    def everything(self, shape: Shape) -> str:
        """Return the SELECT of all its rows."""
        return _rendered(self, shape, "{column} IS NOT NULL")

    def some(self, shape: Shape) -> tuple[str, int]:
        """Return the SELECT of the rows of some keys, and how many times it takes the list of these as parameter."""
        sql = _rendered(self, shape, "{column} = any(?)")
        return sql, sql.count("= any(?)")

    def fingerprint(self, shape: Shape) -> str:
        """Return what is another when the mart is worked out in another way, or from other columns."""
        told = f"{self.everything(shape)} {[(c.name, c.type) for c in self.columns]}"
        return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()


_ALL_PEOPLE: Final = {PERSON: SAME}
_BY_RECORD: Final = {"Opportunity": SAME}


def _texts(*names: str) -> Sequence[Column]:
    return [Column(name, ColumnType.TEXT) for name in names]


_CREATED: Final = Column("createddate", ColumnType.TIMESTAMP)

MARTS: Sequence[Mart] = (
    Mart("sessions", "user_id", _ALL_PEOPLE),
    Mart("touches", "user_id", _ALL_PEOPLE),
    Mart("daily_activity", "user_id", _ALL_PEOPLE),
    Mart(
        "opportunity_stage_history",
        "opportunity_id",
        _BY_RECORD,
        reads={"Opportunity": [*_texts("id", "stagename"), _CREATED]},
    ),
)
"""All marts, each behind those that it is worked out from."""


KINDS: Final = frozenset(kind for mart in MARTS for kind in mart.stale)
"""What stale keys can be of."""


def _rendered(mart: Mart, shape: Shape, among: str) -> str:
    raw = {naming.table_of(name): name for name in mart.reads}

    def put(marker: re.Match[str]) -> str:
        if marker["column"]:
            return among.format(column=marker["column"])
        table = f"salesforce.{marker['table']}"
        return _raw(table, mart.reads[raw[table]], shape.columns.get(raw[table]))

    return _MARKERS.sub(put, files("integration").joinpath("marts", f"{mart.name}.sql").read_text("utf-8"))


def _raw(table: str, wanted: Iterable[Column], there: Iterable[str] | None) -> str:
    """Return a raw table with these columns, null where the org does not have them."""
    known = {name.lower() for name in there} | {"is_deleted"} if there else set()
    listed = ", ".join(
        identifier(c.name) if c.name in known else f"CAST(NULL AS {_NULLS[c.type]}) AS {identifier(c.name)}"
        for c in wanted
    )
    return f"(SELECT {listed} FROM {table if known else _EMPTY})"
