"""Who would notice if an object, a field or an event of the product were changed: which personas use it."""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from integration.errors import UsageError
from integration.settings import Settings
from integration.store.answers import ask
from integration.store.definitions.salesforce_users import DONE_BY_THEM
from integration.store.hints import did_you_mean
from integration.store.quoting import literal
from integration.wiring import reading

_FIELDS: Final = "SELECT DISTINCT object, field FROM headrace.properties ORDER BY object, field"
_EVENTS: Final = "SELECT DISTINCT name FROM events WHERE object IS NULL ORDER BY name"
_IMPACT: Final = """
WITH used AS ({used}),
by_one AS (SELECT member_id, count(*) AS times, max("time") AS last_at FROM used GROUP BY member_id)
SELECT
    d.name AS persona,
    d.title,
    count(m.member_id) AS members,
    count(u.member_id) AS who_use_it,
    coalesce(sum(u.times), 0)::BIGINT AS times,
    max(u.last_at) AS last_at
FROM definitions AS d
LEFT JOIN members AS m ON m.kind = 'persona' AND m.name = d.name AND m.until IS NULL
LEFT JOIN by_one AS u ON u.member_id = m.member_id
WHERE d.kind = 'persona' AND d.until IS NULL
GROUP BY d.name, d.title
ORDER BY who_use_it DESC, members DESC, persona
"""


def impact(settings: Settings, what: str, days: int, *, is_event: bool = False) -> str:
    """Return the SELECT, in DuckDB's dialect, of all personas with how many of their members have used it lately.

    `what` is an object, `Object.Field`, or the name of an event of the product; nothing but the last, if `is_event`.
    Raises UsageError where there is none.
    """
    with reading.reader(settings) as store:
        fields = [(row["object"], row["field"]) for row in ask(store, _FIELDS)]
        events = [row["name"] for row in ask(store, _EVENTS)]
    return statement(what, days, [] if is_event else fields, events)


def statement(what: str, days: int, fields: Sequence[tuple[str, str]], events: Collection[str]) -> str:
    """Return that SELECT. `fields` are all (object, field), `events` all names of the product's events."""
    return _IMPACT.format(used=f'{_used(what, fields, events)} AND "time" > now() - INTERVAL {days} DAY')


def _used(what: str, fields: Sequence[tuple[str, str]], events: Collection[str]) -> str:
    """Return the SELECT of each use, with who it was and when. What is written to the letter goes before the rest."""
    objects = dict.fromkeys(name for name, _ in fields)
    uses: list[tuple[str, Callable[..., str], tuple[str, ...]]] = [
        *((name, _of_object, (name,)) for name in objects),
        *((f"{name}.{field}", _of_field, (name, field)) for name, field in fields),
        *((name, _of_event, (name,)) for name in events),
    ]
    alike = [use for use in uses if use[0].lower() == what.lower()]
    for _, said, words in sorted(alike, key=lambda use: use[0] != what):
        return said(*words)
    raise UsageError(_unknown(what, fields, [*objects, *events]))


def _of_object(name: str) -> str:
    return f'SELECT actor_id AS member_id, "time" FROM events WHERE object = {literal(name)} AND {DONE_BY_THEM}'


def _of_field(name: str, field: str) -> str:
    # What is filled in when a record is created is no change of it, and what moves alone is nobody's doing.
    return (
        f'SELECT actor_id AS member_id, "time" FROM changes WHERE object = {literal(name)} '
        f"AND field = {literal(field)} AND origin NOT IN ('sweep', 'backfill')"
    )


def _of_event(name: str) -> str:
    return f'SELECT user_id AS member_id, "time" FROM events WHERE object IS NULL AND name = {literal(name)}'


def _unknown(what: str, fields: Sequence[tuple[str, str]], known: Sequence[str]) -> str:
    found, _, field = what.partition(".")
    of_it = [(name, one) for name, one in fields if name.lower() == found.lower()]
    if of_it and field:
        hint = did_you_mean(field, [one for _, one in of_it])
        return f"{of_it[0][0]} has no field {field}.{hint} headrace schema lists them."
    return (
        f"There is no object, and no event of the product, {what}.{did_you_mean(what, known)} Write an object, an "
        "object's field (Opportunity.NextStep), or the name of an event: headrace schema lists the fields."
    )
