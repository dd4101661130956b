"""The SQL of a health as it would have been some time before each outcome: won, lost or churned.

It is the statement that is run every day (`statements`), asked of other tables: for each outcome there is an account,
with its people and their events, as it was so many days before; the time of the run is a column of every row. What is
not in these tables can't be seen, whatever the definition says.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

from integration.errors import ConfigError
from integration.store import tables
from integration.store.definitions.book import Book, lists_of, of_events, spoken
from integration.store.definitions.conditions import SUBJECT, Ref, parsed, put_into_sql, rendered
from integration.store.definitions.needs import Org
from integration.store.definitions.statements import statement
from integration.store.quoting import identifier, literal
from integration.store.then import Asked, among, side_by_side, typed
from schemas.definitions import Cohort, Outcomes, Subject

_SHADOWS: Mapping[str, str] = {"events": "then_user_events", "users": "then_users", "accounts": "then_accounts"}
_OF_CHANGES = {"field", "property", "old_value", "new_value"}
_HOLDS = "({0}.since IS NULL OR {0}.since <= {1}.at) AND ({0}.until IS NULL OR {1}.at < {0}.until)"


@dataclass(slots=True)
class Looks:
    """What a definition, and those it speaks of, look at."""

    properties: dict[Subject, set[str]] = field(default_factory=lambda: {"user": set(), "account": set()})
    """The columns of people and of accounts."""
    events: set[str] = field(default_factory=set)
    """Names of events."""
    people: bool = False
    """Whether people are looked at, not only accounts."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of times past."""

    asked: Mapping[Subject, Sequence[Asked]]
    """The properties that are looked at, with their types."""
    people: bool
    """Whether it matters who belonged to an account."""
    told_since: Sequence[str | None]
    """For each field that is looked at, the time (ISO 8601 UTC) of the first change that history tells of it."""
    dated: bool
    """Whether accounts have a CreatedDate."""
    org: Org = field(default_factory=dict)
    """The raw columns that the store has, by object: what a happening needs is there as it is now."""


def looks(book: Book, ref: Ref) -> Looks:
    """Return what a definition looks at. Raises ConfigError for what is not known of times past."""
    found = Looks()
    for other in [*book.all_needs(ref), ref]:
        one = book.definitions[other]
        if isinstance(one, Cohort) or lists_of(one):
            which = "" if isinstance(one, Cohort) else "leaves out a list, which "
            raise ConfigError(f"The {other} {which}is known as of now only.")
        for of, text in spoken(one):
            found.properties[of] |= _columns(text)
            found.people |= of == "user"
        for text in of_events(one):
            if "user_id" in _columns(text):
                raise ConfigError(f"`{text}` names user_id, which can't be asked of times past.")
        found.events |= {name for happening in one.events.values() for name in happening.event}
    return found


@put_into_sql()
def backtest_select(book: Book, ref: Ref, outcomes: Outcomes, past: Past, days: int, since: str | None = None) -> str:
    """Return the SELECT, in DuckDB's dialect, of a row for each outcome (since a time, ISO 8601 UTC).

    It has `account_id`, `outcome`, `time`, `known` (whether everything that is looked at was known so many days
    before), and the `score` and `state` of then; null where there was none.
    """
    names = looks(book, ref).events
    shadows = [
        f"then_told AS ({' UNION ALL '.join(_told(outcome, text) for outcome, text in outcomes)})",
        f"then_moments AS ({_moments(days, since)})",
        f"then_people AS ({_PEOPLE if past.people else _NOBODY})",
        f"then_gone AS ({_GONE})",
        f"then_users AS ({_users(past.asked['user'])})",
        f"then_accounts AS ({_accounts(past)})",
        f"then_user_events AS ({_user_events(names)})",
        f"then_account_events AS ({_account_events(names, people=past.people)})",
        f"then_seen AS ({_SEEN})",
    ]
    wanted = _of_then(statement(book, ref, past.org).wanted)
    return (
        f"WITH {', '.join(shadows)}, {wanted} "
        'SELECT m.account_id, m.outcome, m.happened_at AS "time", '
        f"CAST({_known(past.told_since)} AS BOOLEAN) AS known, w.score, w.value AS state "
        "FROM then_moments AS m LEFT JOIN wanted AS w ON w.member_id = m.k "
        "LEFT JOIN then_seen AS s ON s.record_id = m.account_id ORDER BY m.k"
    )


def _columns(text: str) -> set[str]:
    tree = parsed(text)
    if tree.find(exp.Select):
        raise ConfigError(f"`{text}` has a SELECT of its own, which can't be asked of times past.")
    return {column.name for column in tree.find_all(exp.Column) if column.table in ("", SUBJECT)}


def _of_then(wanted: str) -> str:
    """Return the CTEs of a statement with everything they read as it was then."""
    tree = sqlglot.parse_one(f"{wanted} SELECT 1 AS one", read="duckdb")
    ctes = {cte.alias: cte for cte in tree.find_all(exp.CTE)}
    ctes.pop("kept").pop()
    for inner in [*tree.find_all(exp.Subquery)]:
        if inner.alias == SUBJECT and isinstance(inner.this, exp.Select) and "told_of" in inner.this.named_selects:
            inner.replace(exp.to_table("then_account_events").as_(SUBJECT))
    for table in [*tree.find_all(exp.Table)]:
        if table.name in _SHADOWS and not table.db:
            table.set("this", exp.to_identifier(_SHADOWS[table.name]))
        elif table.name not in {*ctes, "then_account_events"}:
            raise ConfigError(f"It reads {table.sql('duckdb')}, whose past is not known.")
    for place in [*tree.find_all(exp.Placeholder)]:
        place.replace(exp.column("at", table=SUBJECT))
    return ", ".join(cte.sql("duckdb") for cte in ctes.values())


def _told(outcome: str, text: str) -> str:
    """Return the SELECT of every time at which an outcome came about."""
    tree = parsed(text)
    source = "events"
    if _OF_CHANGES & {column.name for column in tree.find_all(exp.Column)}:
        listed = ", ".join(f"e.{identifier(one.name)}" for one in tables.EVENTS)
        changed = ", ".join(f"c.{name}" for name in sorted(_OF_CHANGES))
        source = f"(SELECT {listed}, {changed} FROM events AS e LEFT JOIN changes AS c ON c.event_id = e.event_id)"
    account = f"coalesce({SUBJECT}.account_id, CASE WHEN {SUBJECT}.object = 'Account' THEN {SUBJECT}.record_id END)"
    holds = f"coalesce({rendered(tree, (), lambda ref: ref.name)}, FALSE)"
    return (
        f'SELECT {account} AS account_id, {literal(outcome)} AS outcome, {SUBJECT}."time" AS happened_at '
        f"FROM {source} AS {SUBJECT} WHERE {holds} AND {account} IS NOT NULL"
    )


def _moments(days: int, since: str | None) -> str:
    """Return the SELECT of outcomes, each once a day for each account, with the time at which it is to be foreseen."""
    later = "" if since is None else f" WHERE happened_at >= CAST({literal(since)} AS TIMESTAMPTZ)"
    return (
        "SELECT outcome || '/' || account_id || '/' || CAST(on_day AS VARCHAR) AS k, account_id, outcome, "
        f"first_at AS happened_at, first_at - INTERVAL {days} DAY AS at FROM ("
        "SELECT account_id, outcome, on_day, min(happened_at) AS first_at FROM ("
        "SELECT account_id, outcome, happened_at, CAST(happened_at AT TIME ZONE 'UTC' AS DATE) AS on_day FROM then_told"
        f"{later}) AS t GROUP BY account_id, outcome, on_day) AS d"
    )


_PEOPLE = (
    "SELECT m.k, m.at, r.user_id, r.user_id || '/' || m.k AS uk FROM then_moments AS m "
    "JOIN user_records AS r ON r.record_id = m.account_id "
    f"WHERE r.object = 'Account' AND {_HOLDS.format('r', 'm')}"
)
_NOBODY = "SELECT m.k, m.at, m.k AS user_id, m.k AS uk FROM then_moments AS m WHERE FALSE"
_GONE = (
    "SELECT p.uk FROM then_people AS p JOIN user_records AS r ON r.user_id = p.user_id "
    "JOIN events AS e ON e.record_id = r.record_id "
    f"WHERE r.object = 'Contact' AND {_HOLDS.format('r', 'p')} AND e.\"time\" <= p.at "
    "AND (e.name LIKE '% Deleted' OR e.name LIKE '% Merged' OR e.name LIKE '% Restored') "
    "GROUP BY p.uk HAVING sum(CASE WHEN e.name LIKE '% Restored' THEN -1 ELSE 1 END) > 0"
)
"""People whose contact was deleted by then."""
_SEEN = "SELECT record_id, min(seen_at) AS first_seen_at FROM events WHERE object = 'Account' GROUP BY record_id"


def _users(asked: Sequence[Asked]) -> str:
    told = ""
    if asked:
        told = (
            f"LEFT JOIN (SELECT p.uk, {side_by_side(asked)} FROM then_people AS p "
            f"JOIN (SELECT * FROM user_values WHERE {among(asked)}) AS v ON v.user_id = p.user_id "
            f"WHERE {_HOLDS.format('v', 'p')} GROUP BY p.uk) AS t ON t.uk = p.uk"
        )
    return (
        f"SELECT p.uk AS user_id, p.k AS account_id, FALSE AS is_deleted, p.at{_shown(asked)} FROM then_people AS p "
        f"LEFT JOIN then_gone AS g ON g.uk = p.uk {told} WHERE g.uk IS NULL"
    )


def _accounts(past: Past) -> str:
    asked, told = past.asked["account"], ""
    if asked:
        told = (
            f"LEFT JOIN (SELECT m.k, {side_by_side(asked)} FROM then_moments AS m "
            f"JOIN (SELECT * FROM record_values WHERE object = 'Account' AND {among(asked)}) AS v "
            f"ON v.record_id = m.account_id WHERE {_HOLDS.format('v', 'm')} GROUP BY m.k) AS t ON t.k = m.k"
        )
    there = " WHERE a.createddate <= m.at" if past.dated else ""
    return (
        f"SELECT m.k AS account_id, FALSE AS is_deleted, m.at{_shown(asked)} FROM then_moments AS m "
        f"JOIN salesforce.account AS a ON a.id = m.account_id {told}{there}"
    )


def _shown(asked: Sequence[Asked]) -> str:
    return "".join(f", {typed(one)} AS {identifier(one.property)}" for one in asked)


def _user_events(names: Collection[str]) -> str:
    listed = ", ".join("p.uk AS user_id" if c.name == "user_id" else _named(c.name) for c in tables.EVENTS)
    return (
        f"SELECT {listed}, p.at FROM then_people AS p JOIN (SELECT * FROM events WHERE {among_events(names)}) AS e "
        'ON e.user_id = p.user_id WHERE e."time" <= p.at'
    )


def _account_events(names: Collection[str], *, people: bool) -> str:
    listed = ", ".join(_named(c.name) for c in tables.EVENTS)
    some = f"(SELECT * FROM events WHERE {among_events(names)}) AS e"
    own = (
        f"SELECT {listed}, m.k AS told_of, m.at FROM then_moments AS m JOIN {some} ON e.account_id = m.account_id "
        'WHERE e."time" <= m.at'
    )
    theirs = (
        f" UNION ALL SELECT {listed}, p.k AS told_of, p.at FROM then_people AS p JOIN {some} ON e.user_id = p.user_id "
        'WHERE e.account_id IS NULL AND e."time" <= p.at'
    )
    return own + (theirs if people else "")


def _named(column: str) -> str:
    return f"e.{identifier(column)} AS {identifier(column)}"


def among_events(names: Collection[str]) -> str:
    """Return the condition that an event has one of these names; `*` is every name."""
    if "*" in names:
        return "TRUE"
    listed = ", ".join(map(literal, sorted(names)))
    return f"name IN ({listed})" if listed else "FALSE"


def _known(told_since: Sequence[str | None]) -> str:
    """Return the condition that no value is one of later times: what a record was before it was first seen is known
    of fields alone whose history Salesforce keeps."""
    seen = "coalesce(s.first_seen_at <= m.at, FALSE)"
    told = (f"({seen} OR m.at >= CAST({literal(at)} AS TIMESTAMPTZ))" if at else seen for at in told_since)
    return " AND ".join(dict.fromkeys(told)) or "TRUE"
