"""The SQL of a funnel: how many come how far on a way of steps, and how long they take from step to step.

Of everybody one way through is looked at: the one that gets farthest; of these, the one that is there first. It begins
at the last first step from which that can be reached, and takes each step as soon as it comes.

Nothing is read twice: not every store keeps what WITH names. Written in DuckDB's dialect.
"""

from integration.store.definitions.book import Book
from integration.store.definitions.conditions import NOW, SUBJECT, Ref, put_into_sql
from integration.store.definitions.statements import KEYS, at_time, everybody, of_step, told_of
from integration.store.quoting import literal
from schemas.definitions import Funnel, Step, Subject

_KEPT = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"


@put_into_sql()
def funnel_of(book: Book, one: Funnel, now: str | None, since: str | None = None) -> str:
    """Return the SELECT of a funnel of these definitions: see `funnel_select`."""
    members_of = one.of if one.within is None else book.definitions[Ref("audience", one.within)].of
    return funnel_select(one, members_of, now, since)


def funnel_select(one: Funnel, members_of: Subject, now: str | None, since: str | None = None) -> str:
    """Return the SELECT of a row for each step: `step` (1, 2, ...), `name`, `reached`, `of_first`, `of_previous` and
    `median_seconds` from the step before.

    `members_of` is of whom the audience tells that the funnel is about; `now` is the end of what counts (None: when it
    is asked), `since` the time from which on ways begin (ISO 8601, in UTC).
    """
    steps = _all_steps(one, members_of, since)
    for number in range(2, len(one.steps) + 1):
        steps = _begun(steps, one, number)
    walked = _chosen(steps)
    for number in range(2, len(one.steps) + 1):
        walked = _walked(walked, one, number)
    return at_time(_answer(walked, one.steps), now)


def _all_steps(one: Funnel, members_of: Subject, since: str | None) -> str:
    """Give a row for each event that is a step: `member_id`, `time`, `step`, and `start`, which is when its way began.

    An event that is two steps has two rows. Only of the first step it is known when its way began.
    """
    who = f"({_counted(one, members_of)}) AS who"
    each = []
    for number, step in enumerate(one.steps, start=1):
        key = f"who.member_id = {SUBJECT}.{'told_of' if one.of == 'account' else 'user_id'}"
        holds = f'{of_step(one.of, step)} AND {SUBJECT}."time" <= {NOW}'
        if one.within is not None and one.from_joining:
            holds += f' AND {SUBJECT}."time" >= who.since'
        start = f'{SUBJECT}."time"' if number == 1 else "CAST(NULL AS TIMESTAMPTZ)"
        if number == 1 and since is not None:
            holds += f' AND {SUBJECT}."time" >= CAST({literal(since)} AS TIMESTAMPTZ)'
        each.append(
            f'SELECT who.member_id AS member_id, {SUBJECT}."time" AS "time", {number} AS step, {start} AS start '
            f"FROM {told_of(one.of)} JOIN {who} ON {key} WHERE {holds}"
        )
    return " UNION ALL ".join(each)


def _counted(one: Funnel, members_of: Subject) -> str:
    """Give whom the funnel counts: `member_id`, and `since` when they have been in its audience."""
    source = f"({everybody(one.of, {})}) AS {SUBJECT}"
    key = f"{SUBJECT}.{KEYS[one.of]}"
    if one.within is None:
        return f"SELECT {key} AS member_id, CAST(NULL AS TIMESTAMPTZ) AS since FROM {source}"
    stays = (
        "SELECT member_id, min(since) AS since FROM members "
        f"WHERE kind = 'audience' AND name = {literal(one.within)} AND since <= {NOW} GROUP BY member_id"
    )
    belongs = key if members_of == one.of else f"{SUBJECT}.account_id"
    return f"SELECT {key} AS member_id, m.since AS since FROM {source} JOIN ({stays}) AS m ON m.member_id = {belongs}"


def _begun(steps: str, one: Funnel, number: int) -> str:
    """Tell of each event that is step `number` when the last way began that leads to it."""
    order = f'"time", CASE WHEN step = {number} THEN {0 if _is_later(one.steps, number) else 1} '
    order += f"ELSE {1 if _is_later(one.steps, number) else 0} END"
    before = f"max(CASE WHEN step = {number - 1} THEN start END) OVER (PARTITION BY member_id ORDER BY {order} {_KEPT})"
    led = f'SELECT member_id, "time", step, start, {before} AS led FROM ({steps}) AS s{number}'
    holds = f"step = {number}"
    if one.days is not None:
        holds += f' AND "time" <= led + INTERVAL {one.days} DAY'
    return (
        f'SELECT member_id, "time", step, CASE WHEN {holds} THEN led ELSE start END AS start FROM ({led}) AS l{number}'
    )


def _is_later(steps: tuple[Step, ...], number: int) -> bool:
    """Tell whether a step must be later than the one before it, and not at its very moment: its event might be one
    that has been a step already."""
    names = {*steps[number - 1].event}
    return any("*" in names.union(before.event) or names & {*before.event} for before in steps[: number - 1])


def _chosen(steps: str) -> str:
    """Give every step of everybody from where their way begins on, and that as `t1`."""
    farthest = (
        'SELECT member_id, "time", step, start, first_value(start) OVER ('
        'PARTITION BY member_id ORDER BY CASE WHEN start IS NULL THEN 0 ELSE step END DESC, "time", start DESC'
        f") AS t1 FROM ({steps}) AS s"
    )
    return f'SELECT member_id, "time", step, t1 FROM ({farthest}) AS f WHERE t1 IS NOT NULL AND "time" >= t1'


def _walked(steps: str, one: Funnel, number: int) -> str:
    """Add when step `number` was taken, as `t<number>`: as soon as it comes behind the one before."""
    listed = ", ".join(f"t{before}" for before in range(1, number))
    than = ">" if _is_later(one.steps, number) else ">="
    holds = f'step = {number} AND "time" {than} t{number - 1}'
    if one.days is not None:
        holds += f' AND "time" <= t1 + INTERVAL {one.days} DAY'
    taken = f'min(CASE WHEN {holds} THEN "time" END) OVER (PARTITION BY member_id) AS t{number}'
    return f'SELECT member_id, "time", step, {listed}, {taken} FROM ({steps}) AS w{number}'


def _answer(walked: str, steps: tuple[Step, ...]) -> str:
    numbers = range(1, len(steps) + 1)
    each = f"SELECT {', '.join(f'min(t{n}) AS t{n}' for n in numbers)} FROM ({walked}) AS w GROUP BY member_id"
    names = " UNION ALL ".join(f"SELECT {n} AS step, {literal(steps[n - 1].name)} AS name" for n in numbers)
    at = " ".join(f"WHEN {n} THEN epoch(t{n})" for n in numbers)
    earlier = " ".join(f"WHEN {n} THEN epoch(t{n - 1})" for n in numbers if n > 1) or "WHEN 0 THEN epoch(t1)"
    came = f"CASE k.step {at} END"
    taken = (
        f"SELECT k.step AS step, {came} AS came, {came} - CASE k.step {earlier} END AS seconds "
        f"FROM ({each}) AS e CROSS JOIN (SELECT step FROM ({names}) AS n) AS k"
    )
    # The median is that of the middle, or between both middle ones: not every store's own is exact.
    ranked = (
        "SELECT step, seconds, row_number() OVER (PARTITION BY step ORDER BY seconds) AS place, "
        f"count(*) OVER (PARTITION BY step) AS reached FROM ({taken}) AS t WHERE came IS NOT NULL"
    )
    summed = (
        "SELECT step, max(reached) AS reached, "
        f"avg(CASE WHEN 2 * place BETWEEN reached AND reached + 2 THEN seconds END) AS seconds FROM ({ranked}) AS r "
        "GROUP BY step"
    )
    counted = (
        "SELECT n.step AS step, n.name AS name, coalesce(c.reached, 0) AS reached, c.seconds AS seconds "
        f"FROM ({names}) AS n LEFT JOIN ({summed}) AS c ON c.step = n.step"
    )
    first, previous = "first_value(reached) OVER (ORDER BY step)", "lag(reached) OVER (ORDER BY step)"
    return (
        f"SELECT step, name, reached, {_share(first)} AS of_first, {_share(previous)} AS of_previous, "
        f"round(1000 * seconds) / 1000 AS median_seconds FROM ({counted}) AS a ORDER BY step"
    )


def _share(whole: str) -> str:
    return f"CASE WHEN {whole} > 0 THEN round(10000 * CAST(reached AS DOUBLE) / {whole}) / 10000 END"
