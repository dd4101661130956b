"""The view `accounts`: one row per account, put together from the raw tables whenever it is read.

A view, because its counts (people, activities, opportunities) change with almost every record: kept as rows they would
be written again and again, and could be wrong; read, they are cheap. Its SQL depends on which fields the org has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from integration.store.quoting import identifier, table_name

_ACTIVITIES = ("Task", "Event")


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup of Account that is flattened in: its raw column, the raw table it points at, (column, property)s."""

    column: str
    target: str
    properties: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the view can draw on: raw columns by object (API name), and what becomes a property of an account."""

    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    properties: Sequence[tuple[str, str]] = ()
    lookups: Sequence[Lookup] = ()


def accounts_view(shape: Shape) -> str:
    """Return the SELECT of the view. Without the object Account it has the fixed columns and no rows."""
    if "Account" not in shape.columns:
        return _NOTHING
    joins = [_PEOPLE, _activities(shape), _deals(shape)]
    shown = {name: f"a.{identifier(column)}" for column, name in shape.properties}
    for number, lookup in enumerate(shape.lookups, start=1):
        alias = f"l{number}"
        joins.append(
            f"LEFT JOIN {table_name(lookup.target)} AS {alias} "
            f"ON {alias}.id = a.{identifier(lookup.column)} AND NOT {alias}.is_deleted"
        )
        # Where two lookups bring the same property, the last one named counts, as in a person's row.
        shown |= {name: f"{alias}.{identifier(column)}" for column, name in lookup.properties}
    properties = [f"{expression} AS {identifier(name)}" for name, expression in shown.items()]
    columns = ", ".join([*_fixed(shape), *properties])
    return f"SELECT {columns} FROM salesforce.account AS a {' '.join(filter(None, joins))}"


_NOTHING = (
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


def _fixed(shape: Shape) -> list[str]:
    account = shape.columns["Account"]
    stamp = "a.systemmodstamp" if "systemmodstamp" in account else "a.createddate"
    has_deals = "accountid" in shape.columns.get("Opportunity", ())
    dealt = (
        [
            f"greatest({stamp}, d.updated_at) AS updated_at",
            "a.is_deleted",
            *(f"coalesce(d.{name}, 0) AS sfdc_opportunity_{name}" for name in _ROLL_UPS),
        ]
        if has_deals
        else [f"{stamp} AS updated_at", "a.is_deleted", *(f"0 AS sfdc_opportunity_{name}" for name in _ROLL_UPS)]
    )
    return [
        "a.id AS account_id",
        f"{'a.ownerid' if 'ownerid' in account else 'NULL::VARCHAR'} AS owner_id",
        "coalesce(p.n, 0) AS people_count",
        f"{'coalesce(t.n, 0)' if _activities(shape) else '0'} AS activity_count",
        *dealt,
    ]


_ROLL_UPS = ("count", "open_count", "open_amount", "won_count", "won_amount")


def _activities(shape: Shape) -> str:
    """Count the live tasks and events of an account: those that name it (AccountId, else WhatId)."""
    parts = []
    for name in _ACTIVITIES:
        named = [c for c in ("accountid", "whatid") if c in shape.columns.get(name, ())]
        if named:
            account = f"coalesce({', '.join(named)})"
            parts.append(f"SELECT {account} AS account_id FROM {table_name(f'salesforce.{name}')} WHERE NOT is_deleted")
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
    is_open = "NOT isclosed" if "isclosed" in columns else "true"
    is_won = "iswon" if "iswon" in columns else "false"
    live = "NOT is_deleted"
    stamp = "systemmodstamp" if "systemmodstamp" in columns else "createddate"
    return (
        "LEFT JOIN (SELECT accountid, "
        f"count(*) FILTER ({live}) AS count, "
        f"count(*) FILTER ({live} AND {is_open}) AS open_count, "
        f"sum({amount}) FILTER ({live} AND {is_open}) AS open_amount, "
        f"count(*) FILTER ({live} AND {is_won}) AS won_count, "
        f"sum({amount}) FILTER ({live} AND {is_won}) AS won_amount, "
        f"max({stamp}) AS updated_at "
        "FROM salesforce.opportunity GROUP BY accountid) AS d ON d.accountid = a.id"
    )
