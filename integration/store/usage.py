"""`user_usage`: who uses the product, one row per person, in the shape that tools for customer success load."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from integration.store.quoting import identifier, literal

VIEW: Final = "user_usage"
METRICS: Final = 4
"""Columns there are at least; those that no event is named for are null."""
_TODAY: Final = "(now() AT TIME ZONE 'UTC')::DATE"


@dataclass(frozen=True, slots=True)
class Usage:
    """What the view shows: the settings of the section `usage`."""

    view: str = VIEW
    events: Sequence[str] = ()
    """Names of the events that are counted, for `metric1_30d` and so on."""
    user_id: str = "user_id"
    """Column of `users` by which the tool that loads the view knows a person."""
    company_name: str = "company_name"
    company_id: str = "company"
    """Columns of `users` for the company of a person."""
    exclude_emails: Sequence[str] = ()
    """E-mails to leave out, with `*` for anything."""
    all_people: bool = False
    """Also people without an e-mail, and those who have never visited."""
    zeros: bool = False
    """Whether nothing is 0; else it is null."""
    compatible: bool = False
    """Whether only the first metric takes in the first instant of its 30 days."""


def usage_view(usage: Usage, columns: Collection[str]) -> str:
    """Return the SELECT of the view. `columns` are those of `users`; a column that is to be shown and none of them is
    null."""
    names = [*usage.events, *[None] * (METRICS - len(usage.events))]
    after = ">" if usage.compatible else ">="
    metrics = [
        _count(f"name = {literal(name)} AND {_since(30, '>=' if number == 1 else after)}", f"metric{number}_30d")
        if name is not None
        else f"CAST(NULL AS BIGINT) AS metric{number}_30d"
        for number, name in enumerate(names, start=1)
    ]
    listed = ", ".join(literal(name) for name in usage.events)
    shown = [f"m.metric{number}_30d" for number in range(1, len(names) + 1)]
    return f"""
WITH visits AS (
    SELECT
        user_id,
        {_count(_since(30, after), "number_sessions_30d")},
        {_count(_since(90, after), "number_sessions_90d")},
        max("time") AS most_recent_session
    FROM sessions
    GROUP BY user_id
),
metrics AS (
    SELECT user_id, {", ".join(metrics)}
    FROM events
    WHERE origin = 'product' AND {f"name IN ({listed})" if listed else "FALSE"} AND {_since(30, ">=")}
    GROUP BY user_id
)
SELECT
    u.email,
    {_column(usage.user_id, columns)} AS user_id,
    {_column(usage.company_name, columns)} AS company_name,
    {_column(usage.company_id, columns)} AS company_id,
    {", ".join(_number(name, usage) for name in ("v.number_sessions_30d", "v.number_sessions_90d"))},
    v.most_recent_session,
    {", ".join(_number(name, usage) for name in shown)}
FROM users AS u
LEFT JOIN visits AS v ON v.user_id = u.user_id
LEFT JOIN metrics AS m ON m.user_id = u.user_id
WHERE {" AND ".join(_conditions(usage))}
"""


def _since(days: int, compared: str) -> str:
    return f"(\"time\" AT TIME ZONE 'UTC') {compared} {_TODAY} - INTERVAL {days} DAY"


def _count(condition: str, name: str) -> str:
    # Of somebody who has done nothing, nothing is known: null, as a join with those who have done something says it.
    return f"nullif(sum(CASE WHEN {condition} THEN 1 ELSE 0 END), 0)::BIGINT AS {name}"


def _number(column: str, usage: Usage) -> str:
    return f"coalesce({column}, 0) AS {column.rpartition('.')[2]}" if usage.zeros else column


def _column(name: str, columns: Collection[str]) -> str:
    return f"u.{identifier(name)}" if name in columns else "CAST(NULL AS VARCHAR)"


def _conditions(usage: Usage) -> list[str]:
    found = ["NOT u.is_deleted"]
    if not usage.all_people:
        found += ["u.email IS NOT NULL", "v.most_recent_session IS NOT NULL"]
    for pattern in usage.exclude_emails:
        # No LIKE: the underscore of an address would stand for any character.
        whole = literal(f"^{'.*'.join(re.escape(part) for part in pattern.lower().split('*'))}$")
        found.append(f"(u.email IS NULL OR NOT regexp_matches(lower(u.email), {whole}))")
    return found
