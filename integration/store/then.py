"""Questions about people as they were, as SELECTs: at one time, or at each event of the product. Pure.

Both put the rows of the view `user_values` side by side, as columns of the types that `users` has.
"""

from collections.abc import Sequence
from typing import NamedTuple

from integration.core.columns import ColumnType
from integration.store.quoting import identifier, literal

_NUMBER = {ColumnType.INTEGER: ("BIGINT", r"^-?[0-9]+$"), ColumnType.DECIMAL: ("", r"^-?[0-9]+([.][0-9]+)?$")}
_MOMENT = {
    ColumnType.DATE: ("DATE", r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    ColumnType.TIMESTAMP: ("TIMESTAMPTZ", r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"),
}
_FORMS = _NUMBER | _MOMENT
_RECORDS = {"Contact": "contact_id", "Lead": "lead_id", "Account": "account_id"}


class Asked(NamedTuple):
    """A property that is asked for: its name, its type, and of a decimal what the store calls that."""

    property: str
    type: ColumnType
    decimal: str = "DECIMAL(38, 9)"


def users_as_of(time: str, asked: Sequence[Asked]) -> str:
    """Return the SELECT of one row for each person who was there at `time` (ISO 8601 UTC), with these properties."""
    moment = f"CAST({literal(time)} AS TIMESTAMPTZ)"
    records = ", ".join(
        f"max(CASE WHEN object = {literal(name)} THEN record_id END) AS {column}" for name, column in _RECORDS.items()
    )
    holds = f"(since IS NULL OR since <= {moment}) AND (until IS NULL OR {moment} < until)"
    told = f"SELECT user_id, {side_by_side(asked)} FROM user_values WHERE {among(asked)} AND {holds} GROUP BY user_id"
    columns = ["u.user_id", "u.identity", *(f"r.{column}" for column in _RECORDS.values()), *_shown(asked)]
    return (
        f"SELECT {', '.join(columns)} FROM users AS u "
        f"LEFT JOIN (SELECT user_id, {records} FROM user_records WHERE {holds} GROUP BY user_id) AS r "
        f"ON r.user_id = u.user_id LEFT JOIN ({told}) AS t ON t.user_id = u.user_id "
        f"WHERE u.first_seen <= {moment} ORDER BY u.user_id"
    )


def users_at_events(asked: Sequence[Asked], name: str | None = None) -> str:
    """Return the SELECT of one row for each product event (of this name), with these properties of its person then."""
    these = "origin = 'product'" + ("" if name is None else f" AND name = {literal(name)}")
    told = (
        f"SELECT e.event_id, {side_by_side(asked)} "
        f'FROM (SELECT event_id, user_id, "time" FROM events WHERE {these}) AS e '
        f"JOIN (SELECT * FROM user_values WHERE {among(asked)}) AS v ON v.user_id = e.user_id "
        'WHERE (v.since IS NULL OR v.since <= e."time") AND (v.until IS NULL OR e."time" < v.until) '
        "GROUP BY e.event_id"
    )
    columns = ["e.event_id", 'e."time"', "e.name", "e.user_id", *_shown(asked)]
    return (
        f'SELECT {", ".join(columns)} FROM (SELECT event_id, "time", name, user_id FROM events WHERE {these}) AS e '
        f'LEFT JOIN ({told}) AS t ON t.event_id = e.event_id ORDER BY e."time", e.event_id'
    )


def among(asked: Sequence[Asked]) -> str:
    """Return the condition that a row of values is of one of these properties."""
    return f"property IN ({', '.join(literal(one.property) for one in asked)})"


def side_by_side(asked: Sequence[Asked]) -> str:
    """Return these properties as columns of text, of rows that are grouped by whom they are of."""
    return ", ".join(
        f"max(CASE WHEN property = {literal(one.property)} THEN value END) AS {identifier(one.property)}"
        for one in asked
    )


def _shown(asked: Sequence[Asked]) -> list[str]:
    return [f"{typed(one)} AS {identifier(one.property)}" for one in asked]


def typed(one: Asked) -> str:
    """Return the value of `t` in its type; text from before a field had this type that is nothing of it is null."""
    value = f"t.{identifier(one.property)}"
    if one.type is ColumnType.BOOLEAN:
        return f"CASE {value} WHEN 'true' THEN true WHEN 'false' THEN false END"
    if one.type not in _FORMS:
        return value
    kind, form = _FORMS[one.type]
    return f"CASE WHEN regexp_matches({value}, {literal(form)}) THEN CAST({value} AS {kind or one.decimal}) END"
