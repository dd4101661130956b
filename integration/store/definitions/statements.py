"""The SQL of a definition: one SELECT of those it is true of, with what makes it so.

It rests on nothing that an earlier run has stored (only a cohort does), so it may be asked of any time, and what one
definition says of another is always what that one says at the same moment. Written in DuckDB's dialect.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from integration.store import tables
from integration.store.definitions.book import Book, audiences_of, lists_of, metrics_of
from integration.store.definitions.conditions import (
    NOW,
    SUBJECT,
    Ref,
    columns,
    parsed,
    put_into_sql,
    referred,
    rendered,
    summed,
)
from integration.store.definitions.needs import Org, lacking, unseen
from integration.store.definitions.salesforce_users import DONE_BY_THEM, salesforce_users
from integration.store.definitions.scoring import (
    differing,
    gives,
    in_four_digits,
    number,
    of_people,
    rolled_up,
    scored,
    shares,
)
from integration.store.quoting import identifier, literal
from schemas.definitions import Audience, Cohort, Definition, Happening, Health, Journey, Metric, Persona, Step, Subject

KEYS: Mapping[Subject, str] = {"user": "user_id", "account": "account_id", "salesforce_user": "id"}
"""Of whom it tells -> the column of their key."""
_EVENT_KEYS: Mapping[Subject, str] = {"user": "user_id", "account": "told_of", "salesforce_user": "actor_id"}
_EVENTS: Mapping[Subject, str] = {
    "user": "events",
    # What somebody did in the product is their account's too: such an event names no account itself.
    "account": (
        f"(SELECT {', '.join(f'e.{identifier(one.name)}' for one in tables.EVENTS)}, "
        "coalesce(e.account_id, p.account_id) AS told_of "
        "FROM events AS e LEFT JOIN users AS p ON p.user_id = e.user_id)"
    ),
    "salesforce_user": "events",
}
_TABLES: Mapping[Subject, str] = {
    "user": "SELECT * FROM users WHERE NOT is_deleted",
    "account": "SELECT * FROM accounts WHERE NOT is_deleted",
}
_NO_VALUE = "CAST(NULL AS VARCHAR)"
_NO_SCORE = "CAST(NULL AS DECIMAL(18, 4))"
_UNSEEN = "CAST(NULL AS BOOLEAN)"
_GONE = (
    "gone AS (SELECT k.member_id FROM kept AS k LEFT JOIN wanted AS w ON w.member_id = k.member_id "
    "WHERE w.member_id IS NULL)"
)
_ASSIGNED = "SELECT member_id, value FROM members WHERE kind = 'cohort' AND name = {name} AND until IS NULL"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a definition says, in SQL; `?` is the time of the run, wherever it stands."""

    wanted: str
    """CTEs, the last of which, `wanted`, has `member_id`, `value`, `score`, and the columns of `reasons`."""
    reasons: Sequence[tuple[str, str]]
    """(column of `wanted`, what it is: the name of a column or a signal, or as it is written)."""
    out: Sequence[tuple[str, str]]
    """(condition under which somebody is out, the words for it), the first that holds being the reason."""
    key: str
    """The key of its subject."""
    joins: str
    """The JOINs under which those conditions hold."""
    beside: tuple[str, str] = ("", "FALSE")
    """The JOIN of what is stored of a health's metrics, and the condition under which that differs."""


@put_into_sql()
def statement(book: Book, ref: Ref, org: Org) -> Statement:
    """Return the SQL of a definition. `org` are the raw columns that the store has, by object.

    Raises ConfigError for what a condition says of events that are not summed up so, or nests too deeply.
    """
    parts = [f"{_cte(one)} AS ({_rows(book, one, org)})" for one in book.all_needs(ref)]
    one = book.definitions[ref]
    shown = _Shown(book, ref, org)
    joins, out = shown.joins(), shown.out()
    value, score, reasons = shown.result()
    listed = ", ".join(
        (
            f"{_key(one)} AS member_id",
            f"{value} AS value",
            f"{score} AS score",
            *(f"{expression} AS r{number}" for number, (expression, _) in enumerate(reasons)),
        )
    )
    parts += [
        f"everybody AS ({everybody(one.of, org)})",
        f"wanted AS (SELECT {listed} FROM everybody AS {SUBJECT} {joins} WHERE {_in(out)})",
        f"kept AS (SELECT * FROM members WHERE {_is(ref)} AND until IS NULL)",
    ]
    named = [(f"r{number}", name) for number, (_, name) in enumerate(reasons)]
    return Statement(f"WITH {', '.join(parts)}", named, out, _key(one), joins, differing(ref.name, one))


def everyone(said: Statement) -> str:
    """Return the SELECT of all of whom a definition is true."""
    return f"{said.wanted} SELECT * FROM wanted"


def changed(said: Statement) -> str:
    """Return the SELECT of those of whom it has not been stored, or with another value."""
    # Told one by one: where more than two are joined, not every store leaves their names as they are.
    names = ("member_id", "value", "score", *(column for column, _ in said.reasons))
    return f"{said.wanted} {_newly(said, ', '.join(f'w.{name} AS {name}' for name in names))}"


def missing(said: Statement) -> str:
    """Return the SELECT of those of whom nothing has been stored."""
    return (
        f"{said.wanted} SELECT w.* FROM wanted AS w LEFT JOIN kept AS k ON k.member_id = w.member_id "
        "WHERE k.member_id IS NULL"
    )


def ended(said: Statement) -> str:
    """Return the SELECT of those of whom it is stored and no longer true, with the reason as `ended_because`."""
    return f"{said.wanted}, {_GONE} {_no_longer(said, f'g.member_id, {_because(said)} AS ended_because')}"


def moves(said: Statement) -> str:
    """Return the SELECT of what a run would change: `member_id`, `what` (comes, changes, goes), `value`, `score` and
    `because`."""
    what = "CASE WHEN k.member_id IS NULL THEN 'comes' ELSE 'changes' END AS what"
    come = _newly(said, f"w.member_id, {what}, w.value, w.score, {_NO_VALUE} AS because")
    nothing = f"{_NO_VALUE} AS value, {_NO_SCORE} AS score"
    go = _no_longer(said, f"g.member_id, 'goes' AS what, {nothing}, {_because(said)} AS because")
    return f"{said.wanted}, {_GONE} {come} UNION ALL {go}"


def _newly(said: Statement, columns: str) -> str:
    return (
        f"SELECT {columns} FROM wanted AS w LEFT JOIN kept AS k ON k.member_id = w.member_id {said.beside[0]} "
        "WHERE k.member_id IS NULL OR coalesce(k.value, '') <> coalesce(w.value, '') "
        f"OR coalesce(k.score, -1) <> coalesce(w.score, -1) OR {said.beside[1]}"
    )


def _no_longer(said: Statement, columns: str) -> str:
    subjects = f"everybody AS {SUBJECT} ON {said.key} = g.member_id"
    return f"SELECT {columns} FROM gone AS g LEFT JOIN {subjects} {said.joins}"


def _because(said: Statement) -> str:
    cases = "".join(f" WHEN {condition} THEN {literal(words)}" for condition, words in said.out)
    return f"CASE WHEN {said.key} IS NULL THEN 'gone'{cases} END"


def at_time(sql: str, time: str | None) -> str:
    """Return a statement without parameters, for a run at a time (ISO 8601), or at the time it is asked at."""
    return sql.replace(NOW, "now()" if time is None else f"CAST({literal(time)} AS TIMESTAMPTZ)")


def versions_dealt(ref: Ref) -> str:
    """Return the SELECT of the `body` of each version by which the arms of a cohort were dealt, oldest first."""
    # Of one that could not be worked out as long as it was in force, nobody has an arm.
    dealt = f"size IS NOT NULL OR version IN (SELECT version FROM members WHERE {_is(ref)})"
    return f"SELECT body FROM definitions WHERE {_is(ref)} AND (problem IS NULL OR {dealt}) ORDER BY since"


@put_into_sql()
def in_lines(sql: str, dialect: str) -> str:
    """Return a statement as people read it: a clause a line."""
    return str(sqlglot.parse_one(sql, read=dialect).sql(dialect, pretty=True))


def parameters(sql: str) -> int:
    """Tell how many times a statement takes the time of its run."""
    return sql.count(NOW)


def _rows(book: Book, ref: Ref, org: Org) -> str:
    """Return the SELECT of `member_id` and `value` of a definition that another one speaks of."""
    one = book.definitions[ref]
    if isinstance(one, Cohort):
        return _ASSIGNED.format(name=literal(ref.name))
    shown = _Shown(book, ref, org)
    value, score, _ = shown.result()
    said = score if isinstance(one, Persona | Health) else value
    source = f"({everybody(one.of, org)}) AS {SUBJECT}"
    return f"SELECT {_key(one)} AS member_id, {said} AS value FROM {source} {shown.joins()} WHERE {_in(shown.out())}"


class _Shown:
    """The parts of one definition in SQL."""

    def __init__(self, book: Book, ref: Ref, org: Org) -> None:
        self._book = book
        self._ref = ref
        self._org = org
        self._one = one = book.definitions[ref]
        self._hidden = unseen(one, org) if isinstance(one, Persona) else {}

    def result(self) -> tuple[str, str, list[tuple[str, str]]]:
        """Return its value, its score, and (expression, name) of what makes it so."""
        one = self._one
        if isinstance(one, Persona):
            return _NO_VALUE, self._confidence(one), self._signals(one)
        if isinstance(one, Health):
            return scored(one)
        if isinstance(one, Journey):
            return self._stage(one), _NO_SCORE, self._looked_at([stage.where for stage in one.stages])
        return _NO_VALUE, _NO_SCORE, self._looked_at([one.where] if isinstance(one, Audience) else [])

    def out(self) -> list[tuple[str, str]]:
        """Return (condition, words) of everything that keeps somebody out. No condition is ever null."""
        one = self._one
        found = [(f"{_cte(ref)}.member_id IS NOT NULL", f"in {ref.name}") for ref in audiences_of(one)]
        found += [(_in_list(one.of, name), f"on the list {name}") for name in lists_of(one)]
        if one.within:
            found.append((f"{_cte(Ref('audience', one.within))}.member_id IS NULL", f"not in {one.within}"))
        if isinstance(one, Audience):
            found.append((f"NOT coalesce({self._sql(one.where)}, FALSE)", "does not fit"))
        elif isinstance(one, Persona):
            found.append((f"{self._confidence(one)} < {number(one.at_least)}", "too few signals"))
        elif isinstance(one, Journey):
            found.append((f"{self._stage(one)} IS NULL", "in no stage"))
        return found

    def joins(self) -> str:
        """Return the JOINs of its happenings, and of the definitions it speaks of itself."""
        one = self._one
        if not isinstance(one, Health):
            return self._joined(one.of, one.events, self._book.needs[self._ref])
        inside = {Ref("audience", one.within)} if one.within else ()
        points = f"LEFT JOIN ({self._points(one)}) AS points ON points.member_id = {_key(one)}"
        return f"{self._joined(one.of, (), inside)} {points}"

    def _joined(self, of: Subject, names: Iterable[str], refs: Iterable[Ref]) -> str:
        """Join happenings, and other definitions, to a row of a kind of subject."""
        found = [
            f"LEFT JOIN ({_happening(of, self._events(), name, self._org)}) AS {summed(name)} "
            f"ON {summed(name)}.member_id = {SUBJECT}.{KEYS[of]}"
            for name in names
        ]
        for ref in sorted(refs):
            key = KEYS[of] if self._book.definitions[ref].of == of else "account_id"
            found.append(f"LEFT JOIN {_cte(ref)} ON {_cte(ref)}.member_id = {SUBJECT}.{key}")
        return " ".join(found)

    def _events(self) -> Mapping[str, Happening]:
        one = self._one
        if not isinstance(one, Health):
            return one.events
        return {name: h if h.days else h.model_copy(update={"days": one.days}) for name, h in one.events.items()}

    def _points(self, one: Health) -> str:
        """Return the SELECT of what each metric gives to the score of each account: `c0`, `c1` and so on."""
        metrics = [*metrics_of(one).values()]
        rolled = {f"m{n}": metric for n, metric in enumerate(metrics) if metric.rollup is not None}
        values = [
            self._sql(metric.value) if metric.rollup is None else of_people(f"m{n}", metric)
            for n, metric in enumerate(metrics)
        ]
        points = [f"{gives(*each)} AS c{n}" for n, each in enumerate(zip(metrics, values, shares(one), strict=True))]
        joins = [self._joined(one.of, *self._looks_at(m.value for m in metrics if m.rollup is None))]
        if rolled:
            joins.append(f"LEFT JOIN ({self._rolled_up(rolled)}) AS people ON people.member_id = {_key(one)}")
        source = f"({everybody(one.of, self._org)}) AS {SUBJECT}"
        return f"SELECT {_key(one)} AS member_id, {', '.join(points)} FROM {source} {' '.join(joins)}"

    def _rolled_up(self, metrics: Mapping[str, Metric]) -> str:
        """Return the SELECT of metrics over the people of each account."""
        sums = [f"{rolled_up(metric, self._sql(metric.value))} AS {name}" for name, metric in metrics.items()]
        return (
            f"SELECT {SUBJECT}.account_id AS member_id, {', '.join(sums)} "
            f"FROM ({everybody('user', self._org)}) AS {SUBJECT} "
            f"{self._joined('user', *self._looks_at(metric.value for metric in metrics.values()))} "
            f"WHERE {SUBJECT}.account_id IS NOT NULL GROUP BY {SUBJECT}.account_id"
        )

    def _looks_at(self, texts: Iterable[str]) -> tuple[list[str], set[Ref]]:
        """Return the happenings and the definitions that conditions speak of."""
        trees = [parsed(text) for text in texts]
        named = {column.table for tree in trees for column in tree.find_all(exp.Column)}
        return [name for name in self._one.events if name in named], {ref for tree in trees for ref in referred(tree)}

    def _sql(self, text: str) -> str:
        return rendered(parsed(text), self._one.events, _cte)

    def _looked_at(self, texts: Sequence[str]) -> list[tuple[str, str]]:
        found = dict.fromkeys(c for text in texts for c in columns(parsed(text)))
        return [(rendered(c, self._one.events, _cte), c.sql("duckdb")) for c in found]

    def _stage(self, one: Journey) -> str:
        cases = " ".join(f"WHEN {self._sql(stage.where)} THEN {literal(stage.name)}" for stage in one.stages)
        return f"CASE {cases} END"

    def _confidence(self, one: Persona) -> str:
        total = sum(signal.weight for signal in one.signals)
        seen = [signal for signal in one.signals if signal.name not in self._hidden]
        held = " + ".join(f"CASE WHEN {self._sql(s.where)} THEN {number(s.weight)} ELSE 0 END" for s in seen)
        return in_four_digits(f"({held or 0}) / {number(total)}")

    def _signals(self, one: Persona) -> list[tuple[str, str]]:
        return [
            (_UNSEEN if s.name in self._hidden else f"CAST(coalesce({self._sql(s.where)}, FALSE) AS BOOLEAN)", s.name)
            for s in one.signals
        ]


def _in(out: Iterable[tuple[str, str]]) -> str:
    return " AND ".join(f"NOT ({condition})" for condition, _ in out) or "TRUE"


def _is(ref: Ref) -> str:
    return f"kind = {literal(ref.kind)} AND name = {literal(ref.name)}"


def _key(one: Definition) -> str:
    return f"{SUBJECT}.{KEYS[one.of]}"


def _cte(ref: Ref) -> str:
    # Two letters: PostgreSQL takes names of 63 characters, and theirs may have 60.
    return f"{ref.kind[:2]}_{ref.name}"


def everybody(subject: Subject, org: Org) -> str:
    """Return the SELECT of all there are of a kind of subject; `org` are the raw columns that the store has."""
    return salesforce_users(org.get("User")) if subject == "salesforce_user" else _TABLES[subject]


def _happening(subject: Subject, events: Mapping[str, Happening], name: str, org: Org) -> str:
    """Return the SELECT of a happening summed up for everybody of whom it is told."""
    one = events[name]
    key = f"{SUBJECT}.{_EVENT_KEYS[subject]}"
    joins, holds = [], [of_step(subject, one), f'{SUBJECT}."time" <= {NOW}']
    if lacking(one.needs, org):
        holds = ["FALSE"]
    if one.days is not None:
        holds.append(f'{SUBJECT}."time" > {NOW} - INTERVAL {one.days} DAY')
    if one.after is not None:
        other, _, moment = one.after.partition(".")
        joins.append(f"JOIN ({_happening(subject, events, other, org)}) AS since ON since.member_id = {key}")
        holds.append(f'{SUBJECT}."time" >= since.{moment or "last_at"}')
    if one.undone_by is not None:
        undone = _happening(subject, events, one.undone_by, org)
        joins.append(f"LEFT JOIN ({undone}) AS undone ON undone.member_id = {key}")
        holds.append(f'(undone.last_at IS NULL OR {SUBJECT}."time" > undone.last_at)')
    return (
        f'SELECT {key} AS member_id, count(*) AS times, min({SUBJECT}."time") AS first_at, '
        f'max({SUBJECT}."time") AS last_at FROM {told_of(subject)} {" ".join(joins)} '
        f"WHERE {' AND '.join(holds)} GROUP BY {key}"
    )


def told_of(subject: Subject) -> str:
    """Return what stands after FROM for the events of a kind of subject."""
    return f"{_EVENTS[subject]} AS {SUBJECT}"


def of_step(subject: Subject, one: Happening | Step) -> str:
    """Return the condition that an event is one of these, and told of somebody."""
    names = ", ".join(map(literal, one.event))
    holds = [] if "*" in one.event else [f"{SUBJECT}.name IN ({names})"]
    holds.append(f"{SUBJECT}.{_EVENT_KEYS[subject]} IS NOT NULL")
    if subject == "salesforce_user":
        holds.append(DONE_BY_THEM)
    if one.where is not None:
        holds.append(f"coalesce({rendered(parsed(one.where), (), _cte)}, FALSE)")
    return " AND ".join(holds)


def _in_list(subject: Subject, name: str) -> str:
    def listed(*kinds: str) -> str:
        among = ", ".join(map(literal, kinds))
        return f"(SELECT value FROM headrace.lists WHERE list_name = {literal(name)} AND kind IN ({among}))"

    own = "account_id" if subject == "account" else "user_id"
    found = [f"coalesce({SUBJECT}.{KEYS[subject]} IN {listed(own)}, FALSE)"]
    if subject != "account":
        domain = f"split_part(lower({SUBJECT}.email), '@', 2)"
        found += [
            f"coalesce(lower({SUBJECT}.email) IN {listed('email')}, FALSE)",
            f"coalesce({domain} IN {listed('domain')}, FALSE)",
        ]
    if subject == "user":
        # An id that they had is an alias of the one they have.
        of_alias = f"SELECT i.user_id FROM identities AS i WHERE i.alias IN {listed('alias', 'user_id')}"
        found += [
            f"coalesce({SUBJECT}.account_id IN {listed('account_id')}, FALSE)",
            f"{SUBJECT}.user_id IN ({of_alias})",
        ]
    return f"({' OR '.join(found)})"
