"""The SQL that puts people and accounts together from the raw tables: values are copied, never computed twice.

`users` is a table (people are asked about all the time) that is filled with `users_select`; the view
`headrace.users_defined` is the same statement over everybody, so that anyone can hold the table against its definition.
`accounts` is a view: its counts change with almost every record, and read they are cheap and always right.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from integration.core.columns import ColumnType
from integration.store.quoting import identifier, table_name

_ACTIVITIES = ("Task", "Event")
_ROLL_UPS = ("count", "open_count", "open_amount", "won_count", "won_amount")
_ALIASES = {"Contact": "c", "Lead": "l", "Account": "a", "Opportunity": "o"}

Pairs = Sequence[tuple[str, str]]
"""(raw column, property) of the fields of one object."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup that is flattened in: its raw column, the object it points at, and what that becomes."""

    column: str
    target: str
    properties: Pairs


@dataclass(frozen=True, slots=True)
class Part:
    """An object that becomes properties of people: its own fields, and its flattened lookups."""

    properties: Pairs
    lookups: Sequence[Lookup] = ()


class Kept(NamedTuple):
    """A field by its newest names: its place in headrace.properties, its raw column and the type of that."""

    place: int
    column: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Shape:
    """What the org and the product have: raw columns by object (API name), what people are made of, and the fields of
    records whose past changes tell."""

    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    traits: Sequence[str] = ()
    """The columns of headrace.traits."""
    kept: Mapping[str, Sequence[Kept]] = field(default_factory=dict)


Pick = Callable[[str, Mapping[str, str], Iterable[str]], str]
"""Returns the SELECT of some columns of the few rows of a table that meet one of some conditions, each on a column."""


def picked(table: str, any_of: Mapping[str, str], columns: Iterable[str]) -> str:
    """See Pick: the plain way."""
    listed = ", ".join(identifier(column) for column in columns)
    return f"SELECT {listed} FROM {table_name(table)} WHERE {' OR '.join(any_of.values())}"


def users_select(shape: Shape, people: str, fixed: Sequence[str], pick: Pick = picked) -> str:
    """Return the SELECT that makes rows of `users` out of rows of `people` (a table in the shape of headrace.people).

    `fixed` are the columns taken from `people` as they are. An object that the org does not show is left out. `pick`
    is how the store best reads a few rows of a large table.
    """
    joins: list[str] = []
    shown: dict[str, str] = {}
    versions = ["p.updated_at"]
    for object_name, part in shape.parts.items():
        alias = _ALIASES[object_name]
        key = f"{object_name.lower()}_id"
        # Told which ids are wanted, the engine builds its hash table on those and not on the whole raw table.
        wanted = {"id": f"id IN (SELECT {key} FROM {people})"}
        raw = pick(f"salesforce.{object_name.lower()}", wanted, _read_of(shape, object_name, part))
        joins.append(f"LEFT JOIN ({raw}) AS {alias} ON {alias}.id = p.{key}")
        shown |= {name: f"{alias}.{identifier(column)}" for column, name in part.properties}
        versions += [f"{alias}.{column}" for column in _dates(shape, object_name)]
        for number, lookup in enumerate(part.lookups, start=1):
            inner = f"{alias}{number}"
            joins.append(_looked_up(lookup, alias, inner))
            # Where two lookups bring the same property, the last one named counts.
            shown |= {name: f"{inner}.{identifier(column)}" for column, name in lookup.properties}
            versions.append(f"{inner}.{_stamp(shape, lookup.target)}")
    columns = [
        f"greatest({', '.join(versions)}) AS updated_at" if name == "updated_at" else f"p.{identifier(name)}"
        for name in fixed
    ]
    if shape.traits:
        told = f"SELECT * FROM headrace.traits WHERE user_id IN (SELECT user_id FROM {people})"
        joins.append(f"LEFT JOIN ({told}) AS t ON t.user_id = p.user_id")
        shown |= {name: f"t.{identifier(name)}" for name in shape.traits}
    columns += [f"{expression} AS {identifier(name)}" for name, expression in shown.items()]
    return f"SELECT {', '.join(columns)} FROM {people} AS p {' '.join(joins)}"


def accounts_view(shape: Shape) -> str:
    """Return the SELECT of the view `accounts`. Without the object Account it has its fixed columns and no rows."""
    part = shape.parts.get("Account")
    if part is None or "Account" not in shape.columns:
        return _NO_ACCOUNTS
    joins = [_PEOPLE, _activities(shape), _deals(shape)]
    shown = {name: f"a.{identifier(column)}" for column, name in part.properties}
    for number, lookup in enumerate(part.lookups, start=1):
        joins.append(_looked_up(lookup, "a", f"a{number}"))
        shown |= {name: f"a{number}.{identifier(column)}" for column, name in lookup.properties}
    columns = [*_fixed(shape), *(f"{expression} AS {identifier(name)}" for name, expression in shown.items())]
    return f"SELECT {', '.join(columns)} FROM salesforce.account AS a {' '.join(filter(None, joins))}"


_NO_ACCOUNTS = (
    "SELECT NULL::VARCHAR AS account_id, NULL::VARCHAR AS owner_id, 0::BIGINT AS people_count, "
    "0::BIGINT AS activity_count, NULL::TIMESTAMPTZ AS updated_at, NULL::BOOLEAN AS is_deleted, "
    "0::BIGINT AS sfdc_opportunity_count, 0::BIGINT AS sfdc_opportunity_open_count, "
    "0::DECIMAL(18, 2) AS sfdc_opportunity_open_amount, 0::BIGINT AS sfdc_opportunity_won_count, "
    "0::DECIMAL(18, 2) AS sfdc_opportunity_won_amount WHERE false"
)
_PEOPLE = (
    "LEFT JOIN (SELECT account_id, count(*) AS n FROM users WHERE NOT is_deleted GROUP BY account_id) AS p "
    "ON p.account_id = a.id"
)


def _raw(object_name: str) -> str:
    # Not every store takes a name for the same in other letters.
    return table_name(f"salesforce.{object_name.lower()}")


def _read_of(shape: Shape, object_name: str, part: Part) -> Iterable[str]:
    """List the raw columns that rows of `users` read of an object."""
    properties = (column for column, _ in part.properties)
    return dict.fromkeys(["id", *_dates(shape, object_name), *properties, *(one.column for one in part.lookups)])


def _looked_up(lookup: Lookup, alias: str, inner: str) -> str:
    raw = _raw(lookup.target)
    return f"LEFT JOIN {raw} AS {inner} ON {inner}.id = {alias}.{identifier(lookup.column)} AND NOT {inner}.is_deleted"


def dated(shape: Shape) -> frozenset[str]:
    """Return the objects of people whose raw rows tell when the person's row last changed by them."""
    return frozenset(name for name in ("Contact", "Lead") if "systemmodstamp" in shape.columns.get(name, ()))


def _dates(shape: Shape, object_name: str) -> Sequence[str]:
    """Name the raw column that tells when the records of an object last changed, if rows of `users` go by it."""
    return [_stamp(shape, object_name)] if object_name == "Account" or object_name in dated(shape) else []


def _stamp(shape: Shape, object_name: str) -> str:
    return "systemmodstamp" if "systemmodstamp" in shape.columns.get(object_name, ()) else "createddate"


def _fixed(shape: Shape) -> list[str]:
    stamp = f"a.{_stamp(shape, 'Account')}"
    deals, activities = _deals(shape), _activities(shape)
    return [
        "a.id AS account_id",
        f"{'a.ownerid' if 'ownerid' in shape.columns['Account'] else 'NULL::VARCHAR'} AS owner_id",
        "coalesce(p.n, 0) AS people_count",
        f"{'coalesce(t.n, 0)' if activities else '0'} AS activity_count",
        f"greatest({stamp}, d.updated_at) AS updated_at" if deals else f"{stamp} AS updated_at",
        "a.is_deleted",
        *(f"{f'coalesce(d.{name}, 0)' if deals else '0'} AS sfdc_opportunity_{name}" for name in _ROLL_UPS),
    ]


def _activities(shape: Shape) -> str:
    """Count the live tasks and events of an account: those that name it (AccountId, else WhatId)."""
    parts = []
    for name in _ACTIVITIES:
        named = [c for c in ("accountid", "whatid") if c in shape.columns.get(name, ())]
        if named:
            account = f"coalesce({', '.join(named)})"
            parts.append(f"SELECT {account} AS account_id FROM {_raw(name)} WHERE NOT is_deleted")
    if not parts:
        return ""
    union = " UNION ALL ".join(parts)
    return (
        f"LEFT JOIN (SELECT account_id, count(*) AS n FROM ({union}) GROUP BY account_id) AS t ON t.account_id = a.id"
    )


def _deals(shape: Shape) -> str:
    columns = shape.columns.get("Opportunity", frozenset())
    if "accountid" not in columns:
        return ""
    amount = "amount" if "amount" in columns else "0"
    live = "NOT is_deleted"
    is_open = f"{live} AND NOT isclosed" if "isclosed" in columns else live
    is_won = f"{live} AND iswon" if "iswon" in columns else "false"
    return (
        f"LEFT JOIN (SELECT accountid, count(*) FILTER ({live}) AS count, "
        f"count(*) FILTER ({is_open}) AS open_count, sum({amount}) FILTER ({is_open}) AS open_amount, "
        f"count(*) FILTER ({is_won}) AS won_count, sum({amount}) FILTER ({is_won}) AS won_amount, "
        f"max({_stamp(shape, 'Opportunity')}) AS updated_at "
        "FROM salesforce.opportunity GROUP BY accountid) AS d ON d.accountid = a.id"
    )
