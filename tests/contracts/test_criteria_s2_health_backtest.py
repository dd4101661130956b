"""Story 2, what a score was worth: scores before outcomes, held against a past that is walked through by hand."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise, product
from random import Random
from typing import Any

import pytest
from defined import ACCOUNT, World, one_group, person

from consumers.members import Defined
from integration.core.columns import Column, ColumnType
from integration.core.efficacy import Judged, efficacy
from integration.errors import ConfigError
from integration.store import tables
from integration.store.definitions.conditions import Ref
from integration.store.projection import Kept, Part, Shape
from integration.store.protocol import Store
from integration.wiring.backtest import Asked, judged
from schemas.definitions import Health

pytestmark = pytest.mark.slow_on("clickhouse", "postgres")

TEXT, TIME = ColumnType.TEXT, ColumnType.TIMESTAMP
ACCOUNTS = [*ACCOUNT, Column("createddate", TIME), Column("type", TEXT)]
CONTACTS = [
    *(Column(name, TEXT) for name in ("id", "accountid", "title")),
    *(Column(name, TIME) for name in ("createddate", "systemmodstamp")), Column("is_deleted", ColumnType.BOOLEAN),
]  # fmt: skip
KEPT = {
    "Account": [("Type", "type", TEXT, "account_type"), ("ARR__c", "arr__c", ColumnType.DECIMAL, "arr")],
    "Contact": [("AccountId", "accountid", TEXT, "account_id"), ("Title", "title", TEXT, "title")],
}
FIELDS = [
    {"place": place, "object": name, "field": field, "prefix_object": name, "column_name": column, "type": str(kind),
     "property": f"sfdc_{name.lower()}_{word}"}
    for place, (name, field, column, kind, word) in enumerate((n, *each) for n, fields in KEPT.items() for each in fields)
]  # fmt: skip
SHAPE = Shape(
    columns={"Account": frozenset(c.name for c in ACCOUNTS), "Contact": frozenset(c.name for c in CONTACTS)},
    parts={"Account": Part(tuple((f["column_name"], f["property"]) for f in FIELDS if f["object"] == "Account"))},
    kept={
        name: [Kept(f["place"], f["column_name"], ColumnType(f["type"])) for f in FIELDS if f["object"] == name]
        for name in KEPT
    },
)
CHURN = "Churned Customer"
START = datetime(2025, 1, 1, tzinfo=UTC)


def stamp(days: float) -> str:
    return (START + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Past(World):
    """A store whose records have a past."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._noted: dict[str, tuple[Sequence[Column], list[dict[str, Any]]]] = {}
        with store.transaction() as tx:
            tx.ensure_columns("salesforce.account", ACCOUNTS)
            tx.ensure_columns("salesforce.contact", CONTACTS)
            tx.append(
                "headrace.properties",
                tables.PROPERTIES,
                [{**dict.fromkeys(c.name for c in tables.PROPERTIES), **f} for f in FIELDS],
            )
            for name in ("accounts", "record_values", "user_records"):
                tx.ensure_view(name, tables.OF_THE_ORG[name](SHAPE), own=True)

    def add(self, table: str, columns: Sequence[Column], **row: Any) -> None:
        """Note a row; `judge` writes them all."""
        self._noted.setdefault(table, (columns, []))[1].append({**dict.fromkeys(c.name for c in columns), **row})

    def account(self, account_id: str, *, seen: str, created: str = stamp(0), **fields: Any) -> None:
        """Have an account be so now; it was first seen at a time."""
        times = {"createddate": created, "systemmodstamp": created}
        given = {"id": account_id, "name": account_id, "is_deleted": False, **times}
        self.add("salesforce.account", ACCOUNTS, **{**given, **fields})
        ids = {"object": "Account", "account_id": account_id, "record_id": account_id}
        self.event("Account Created", created, seen_at=seen, **ids)

    def contact(self, contact_id: str, account_id: str, **fields: Any) -> None:
        """Have a contact be so now."""
        given = {"id": contact_id, "accountid": account_id, "is_deleted": False}
        self.add("users", tables.USERS, is_deleted=False, **person(contact_id, account_id=account_id))
        self.add("salesforce.contact", CONTACTS, **{**given, "createddate": stamp(0), **fields})
        self.add("identities", tables.IDENTITIES, alias=contact_id, kind="contact_id", user_id=contact_id)

    def event(self, name: str, time: str, **more: Any) -> str:
        """Have something happen to a record."""
        self._events += 1
        event_id = f"x{self._events}"
        row = {"event_id": event_id, "name": name, "time": time, "origin": "poll", "properties": b"{}"}
        self.add("events", tables.EVENTS, **{**row, **more})
        return event_id

    def changed(self, record: str, field: str, old: str | None, new: str | None, time: str, **more: Any) -> None:
        """Have a field of a record change."""
        name = next(f["object"] for f in FIELDS if f["field"] == field)
        ids = {"object": name, "record_id": record, "account_id": record if name == "Account" else None}
        told = {"field": field, "old_value": old, "new_value": new, "time": time, "origin": "poll", **ids, **more}
        event_id = self.event(f"{name} Updated", time, **ids, **more)
        self.add("changes", tables.CHANGES, event_id=event_id, **told)

    def judge(
        self, days: int = 30, since: str | None = None, **told: Any
    ) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Return what a health would have said before each outcome."""
        with self.store.transaction() as tx:
            for table, (columns, rows) in self._noted.items():
                tx.append(table, columns, rows)
        self._noted = {}
        health = Health.model_validate({"title": "h", **told})
        ref = Ref("health", "h")
        defined = Defined({**self.definitions, ref: health}, dict(self.lists))
        return dict(judged(self.store, defined, ref, health.outcomes, Asked(days, since)))  # type: ignore[arg-type]


@pytest.fixture
def past(store: Store) -> Past:
    return Past(store)


class History:
    """A random history, kept in Python: what the oracle looks at."""

    def __init__(self, luck: Random) -> None:
        self.arr: dict[str, list[tuple[float, int]]] = {}
        self.places: dict[str, list[tuple[float, str]]] = {}
        self.done: list[tuple[str, float]] = []
        self.outcomes: set[tuple[str, str, float]] = set()
        names = [f"acc{n}" for n in range(12)]
        for name in names:
            self.arr[name] = [(0, luck.randint(0, 100)), (luck.uniform(20, 200), luck.randint(0, 100))]
            for outcome in luck.sample(("won", "lost", "churned"), 2):
                self.outcomes.add((name, outcome, float(luck.randint(40, 300))))
        for n in range(24):
            self.places[f"p{n}"] = [
                (0, names[n % 12]),
                *([(luck.uniform(50, 250), luck.choice(names))] if n % 3 else []),
            ]
        self.done = [(luck.choice([*self.places]), luck.uniform(0, 320)) for _ in range(900)]

    def write(self, past: Past) -> None:
        for name, steps in self.arr.items():
            churned = [day for who, outcome, day in self.outcomes if (who, outcome) == (name, "churned")]
            past.account(name, seen=stamp(0), arr__c=steps[-1][1], type=CHURN if churned else "Customer")
            for (_, old), (day, new) in pairwise(steps):
                if old != new:
                    past.changed(name, "ARR__c", str(old), str(new), stamp(day))
            for day in churned:
                past.changed(name, "Type", "Customer", CHURN, stamp(day))
        for name, stays in self.places.items():
            past.contact(name, stays[-1][1])
            for (_, before), (day, now) in pairwise(stays):
                if before != now:
                    past.changed(name, "AccountId", before, now, stamp(day))
        for name, outcome, day in self.outcomes:
            if outcome != "churned":
                past.event(
                    f"Opportunity {outcome.title()}", stamp(day), object="Opportunity", record_id="o", account_id=name
                )
        past.happened(*((who, "Query", stamp(day)) for who, day in self.done))

    def scores(self, lead: int) -> dict[tuple[str, str, str], float]:
        """Return the score of the health below before each outcome."""
        return {(name, outcome, stamp(day)): self._score(name, day - lead) for name, outcome, day in self.outcomes}

    def _score(self, name: str, day: float) -> float:
        here = [who for who, stays in self.places.items() if at(stays, day) == name]
        counts = {who: sum(u == who and day - 30 < when <= day for u, when in self.done) for who in here}
        arr = at(self.arr[name], day)
        points = [min(sum(counts.values()) / 20, 1), min(sum(c > 0 for c in counts.values()) / 4, 1), arr / 100]
        return 50 * points[0] + 25 * points[1] + 25 * points[2]


def at(steps: Iterable[tuple[float, Any]], day: float) -> Any:
    # Times are written to the second.
    return [value for since, value in steps if int(since * 86400) <= day * 86400][-1]


HEALTH = {
    "events": {"queries": {"event": "Query"}},
    "groups": [
        {"name": "use", "weight": 2, "metrics": [{"name": "queries", "high": 20}]},
        {"name": "people", "metrics": [{"name": "n", "value": "queries.times > 0", "rollup": "count", "high": 4}]},
        {"name": "money", "metrics": [{"name": "arr", "value": "sfdc_account_arr", "high": 100}]},
    ],
}


def test_s2_15_scores_before_outcomes_are_those_of_a_past_walked_through_by_hand(past: Past) -> None:
    history = History(Random(15))
    history.write(past)
    found = past.judge(days=30, **HEALTH)
    expected = history.scores(30)
    assert found.keys() == expected.keys()
    assert all(row["known"] for row in found.values())
    assert {key: float(row["score"]) for key, row in found.items()} == pytest.approx(expected, abs=0.0002)


def test_s2_15_nothing_of_the_outcome_or_later_reaches_a_score(past: Past) -> None:
    # Whatever tells of the outcome: the type, what happens on the day and after it, who has gone since.
    past.account("acme", seen=stamp(0), type=CHURN, is_deleted=True)
    past.changed("acme", "Type", "Customer", CHURN, stamp(100))
    past.contact("ann", "other", is_deleted=True)
    past.changed("ann", "AccountId", "acme", "other", stamp(100))
    past.event("Contact Deleted", stamp(101), object="Contact", record_id="ann")
    past.happened(("ann", "Goodbye", stamp(99)), ("ann", "Goodbye", stamp(100)), ("ann", "Goodbye", stamp(101)))
    past.event("Farewell", stamp(99.5), account_id="acme")
    knowing = one_group(
        {"name": "type", "value": f"CASE WHEN sfdc_account_account_type = '{CHURN}' THEN 0 ELSE 1 END", "high": 1},
        {"name": "direct", "value": "bye.times", "low": 1, "high": 0},
        {"name": "farewell", "low": 1, "high": 0},
        {"name": "people", "value": "true", "rollup": "count", "high": 1},
        {"name": "days", "value": "bye.days_since IS NULL", "rollup": "count", "high": 1},
    )
    events = {"bye": {"event": "Goodbye", "days": 36500}, "farewell": {"event": "Farewell"}}
    (row,) = past.judge(days=1, events=events, groups=knowing).values()
    # A day before, the first goodbye has been said, and it is seen: by the account and by who said it.
    assert (row["outcome"], float(row["score"])) == ("churned", 60)


def test_s2_15_what_was_not_known_then_does_not_count(past: Past) -> None:
    # First seen when all was over: its type has been what it is now for ever, as far as anybody can tell.
    past.account("late", seen=stamp(200), type=CHURN)
    past.event("Opportunity Lost", stamp(100), object="Opportunity", account_id="late")
    metric = {"name": "type", "value": f"CASE WHEN sfdc_account_account_type = '{CHURN}' THEN 0 ELSE 1 END", "high": 1}
    (row,) = past.judge(groups=one_group(metric)).values()
    assert row["known"] is False
    # What was done has a time of its own.
    past.event("Meeting", stamp(60), account_id="late")
    (row,) = past.judge(events={"met": {"event": "Meeting"}}, groups=one_group({"name": "met", "high": 1})).values()
    assert (row["known"], float(row["score"])) == (True, 100)
    # Where Salesforce keeps the history of the field, its past is known from then on.
    past.account("other", seen=stamp(200), type="Customer")
    past.changed("other", "Type", "Prospect", "Customer", stamp(60), origin="history")
    (row,) = past.judge(groups=one_group(metric)).values()
    assert row["known"] is True
    (row,) = past.judge(days=60, groups=one_group(metric)).values()
    assert row["known"] is False


def test_s2_15_an_account_that_was_not_there_or_not_in_the_audience_has_no_score(past: Past) -> None:
    # 30 days before is the 70th: one account was not there, one tried later, one had tried by then.
    created = {"young": 90, "late": 0, "early": 0}
    for name, tried in {"young": 60, "late": 80, "early": 60}.items():
        past.account(name, seen=stamp(created[name]), created=stamp(created[name]))
        past.event("Trial", stamp(tried), account_id=name)
        past.event("Opportunity Won", stamp(100), object="Opportunity", account_id=name)
    past.define("audience", "trying", of="account", events={"t": {"event": "Trial"}}, where="t.times > 0")
    events = {"trial": {"event": "Trial", "days": 36500}}
    found = past.judge(within="trying", events=events, groups=one_group({"name": "trial", "high": 1}))
    assert {key[0]: row["score"] for key, row in found.items()} == {"young": None, "late": None, "early": 100}


def test_s2_15_outcomes_are_told_by_conditions_and_count_once_a_day(past: Past) -> None:
    past.account("acme", seen=stamp(0))
    for time in (stamp(50.2), stamp(50.1), stamp(51)):
        past.event("Renewed", time, account_id="acme", properties=b'{"plan": "big"}')
    past.event("Renewed", stamp(60), account_id="acme", properties=b'{"plan": "small"}')
    past.changed("acme", "ARR__c", "9", "0", stamp(70))
    outcomes = {
        "won": "name = 'Renewed' AND properties->>'$.plan' = 'big'",
        "churned": "field = 'ARR__c' AND new_value = '0'",
    }
    metric = one_group({"name": "n", "value": "1", "high": 1})
    found = past.judge(groups=metric, outcomes=outcomes)
    assert past.judge(groups=metric, outcomes=outcomes, since=stamp(60)).keys() == {("acme", "churned", stamp(70))}
    assert [*found] == [("acme", "churned", stamp(70)), ("acme", "won", stamp(50.1)), ("acme", "won", stamp(51))]


def test_s2_15_every_event_is_looked_at_where_the_file_says_so_and_what_it_needs_is_there(past: Past) -> None:
    past.account("acme", seen=stamp(0))
    past.contact("ann", "acme")
    past.event("Opportunity Lost", stamp(100), object="Opportunity", account_id="acme")
    # Told of a person alone.
    past.happened(("ann", "Query", stamp(65)), ("ann", "Export", stamp(66)))
    told = {"object": "Account", "schema_id": "s1"}
    with past.store.transaction() as tx:
        tx.append(
            "headrace.schemas",
            tables.SCHEMAS,
            [{**dict.fromkeys(c.name for c in tables.SCHEMAS), "body": b"{}", **told}],
        )
    events = {
        "whatever": {"event": "*"},
        "seen": {"event": "Query", "needs": "Account.ARR__c"},
        "unseen": {"event": "Query", "needs": "Case"},
    }
    metrics = one_group({"name": "whatever", "high": 4}, {"name": "seen", "high": 1}, {"name": "unseen", "high": 1})
    (row,) = past.judge(events=events, groups=metrics).values()
    # Two events and the account's own (created long before the window): half of a third, a third, nothing.
    assert float(row["score"]) == pytest.approx(50, abs=0.001)


REFUSED = [
    ({"value": "people_count"}, "There is no property people_count"),
    ({"value": "(SELECT count(*) FROM salesforce.contact)"}, "SELECT of its own"),
    ({"value": "CASE WHEN cohort.arms = 'a' THEN 1 ELSE 0 END"}, "cohort arms is known as of now only"),
    ({"value": "CASE WHEN audience.listed THEN 1 ELSE 0 END"}, "audience listed leaves out a list"),
    ({"value": "CASE WHEN email LIKE '%.org' THEN 1 ELSE 0 END", "rollup": "sum"}, "There is no property email"),
]


def test_s2_15_what_is_known_of_now_alone_is_refused(past: Past) -> None:
    past.lists["gone.csv"] = [("account_id", "acme")]
    past.define("cohort", "arms", of="account", arms={"a": 1})
    past.define("audience", "listed", of="account", exclude="lists/gone.csv")
    for metric, sentence in REFUSED:
        with pytest.raises(ConfigError, match="The past of the health h can't be worked out.*" + sentence):
            past.judge(groups=one_group({"name": "m", "high": 1, **metric}))


def test_s2_15_the_measures_are_those_of_counting_every_pair() -> None:
    luck = Random(5)
    for size in (0, 1, 2, 7, 60):
        judged_ = [
            Judged(luck.choice(("won", "lost", "churned")), score := Decimal(luck.randint(0, 12)), score < 4)
            for _ in range(size)
        ]
        won = [one.score for one in judged_ if one.outcome == "won"]
        bad = [one for one in judged_ if one.outcome != "won"]
        pairs = [(w > b.score) + (w == b.score) / 2 for w, b in product(won, bad)]
        found = efficacy("v", judged_)
        assert found.auc == pytest.approx(sum(pairs) / len(pairs)) if pairs else found.auc is None
        flagged, caught = sum(one.at_risk for one in judged_), sum(one.at_risk for one in bad)
        assert found.at_risk == flagged
        assert found.precision == (caught / flagged if flagged else None)
        assert found.recall == (caught / len(bad) if bad else None)
        assert found.mean_won == (pytest.approx(float(sum(won) / len(won))) if won else None)
