"""Story 2, what is done about the health of accounts, and who may read it: each test is one of the criteria."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from defined import ACCOUNT, SHAPE, World, person

from integration.core.columns import Column, ColumnType
from integration.errors import UsageError
from integration.store import tables
from integration.store.answers import ask
from integration.store.projection import Kept, Shape
from integration.store.protocol import Store

pytestmark = pytest.mark.slow_on("clickhouse")
DEALS = [
    *(Column(name, ColumnType.TEXT) for name in ("id", "name", "accountid", "ownerid")),
    *(Column(name, ColumnType.DECIMAL) for name in ("amount", "probability")),
    *(Column(name, ColumnType.BOOLEAN) for name in ("isclosed", "iswon", "is_deleted")),
    Column("closedate", ColumnType.DATE),
]
WITH_ARR = Shape(
    {**SHAPE.columns, "Opportunity": frozenset(c.name for c in DEALS)},
    SHAPE.parts,
    kept={"Account": [Kept(0, "arr__c", ColumnType.DECIMAL)]},
)
NOW = datetime.now(UTC).replace(microsecond=0)


def ago(days: float) -> str:
    return (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_days(days: int) -> str:
    return (NOW + timedelta(days=days)).date().isoformat()


class Office(World):
    """Accounts with owners, deals and two healths."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.shape(WITH_ARR)
        with store.transaction() as tx:
            tx.ensure_columns("salesforce.opportunity", DEALS)
        self.salesforce_users({"id": "o1", "name": "Olga"}, {"id": "o2", "name": "Omar"})
        plan = {
            "name": "plan",
            "value": "CASE WHEN sfdc_account_plan = 'good' THEN 1 ELSE 0 END",
            "high": 1,
            "weight": 3,
        }
        arr = {"name": "arr", "value": "sfdc_account_arr", "high": 1000}
        self.define("health", "adoption", groups=[{"name": "g", "metrics": [plan, arr]}])
        self.define("health", "money", groups=[{"name": "g", "metrics": [arr]}])

    def shape(self, shape: Shape) -> None:
        with self.store.transaction() as tx:
            tx.ensure_columns("salesforce.opportunity", DEALS)
            tx.ensure_view("account_health", tables.OF_THE_ORG["account_health"](shape), own=True)

    def account(self, account_id: str, owner: str, plan: str, arr: int | None) -> None:
        self.accounts({"id": account_id, "name": account_id.title(), "ownerid": owner, "plan__c": plan, "arr__c": arr})

    def deal(self, deal_id: str, account_id: str | None, closes: str, **fields: Any) -> None:
        row = {"id": deal_id, "name": deal_id, "accountid": account_id, "ownerid": "o2", "closedate": closes}
        given = {"amount": 100, "probability": 50, "isclosed": False, "iswon": False, "is_deleted": False}
        with self.store.transaction() as tx:
            tx.upsert("salesforce.opportunity", ("id",), DEALS, [{**given, **row, **fields}])

    def report(self, name: str) -> list[dict[str, Any]]:
        # Of one moment, so that no midnight comes between the rows and the question.
        now = f"CAST('{ago(0)}' AS TIMESTAMPTZ)"
        text = files("integration").joinpath("reports", f"{name}.sql").read_text("utf-8")
        return self.ask(text.replace("now()", now))


@pytest.fixture
def office(store: Store) -> Office:
    one = Office(store)
    # Score of adoption and of money before two weeks, and now: acme 100 and 100, then 0 and 0.
    one.account("acme", "o1", "good", 1000)
    one.account("big", "o2", "bad", 900)
    one.account("calm", "o1", "good", 400)
    one.account("tiny", "o2", "bad", None)
    one.run(ago(20))
    one.account("acme", "o1", "bad", 0)
    one.account("big", "o2", "bad", 800)
    one.run(ago(3))
    return one


def told(row: Mapping[str, Any], *columns: str) -> tuple[Any, ...]:
    return tuple(float(row[c]) if isinstance(row[c], Decimal) else row[c] for c in columns)


def test_s2_16_accounts_at_risk_are_listed_once_with_owner_worth_and_what_takes_most(office: Office) -> None:
    columns = ("account", "owner", "worth", "score", "change_in_two_weeks", "most_lost_by", "points_lost", "health")
    assert [told(row, *columns) for row in office.report("accounts-at-risk")] == [
        ("Big", "Omar", 800, 20, -2.5, "g.plan", 75, "adoption"),
        ("Acme", "Olga", 0, 0, -100, "g.plan", 75, "adoption"),
        ("Tiny", "Omar", None, 0, 0, "g.plan", 75, "adoption"),
    ]


def test_s2_16_those_at_risk_are_called_first_and_each_account_once(office: Office) -> None:
    office.people(person("ann", account_id="calm"), person("bo", account_id="calm"), person("cy", account_id="acme"))
    office.deal("soon", "calm", in_days(5))
    office.deal("later", "calm", in_days(50))
    office.deal("won", "calm", in_days(1), isclosed=True)
    columns = (
        "place",
        "account",
        "owner",
        "state",
        "worth",
        "score",
        "most_lost_by",
        "people_with_email",
        "next_close",
    )
    assert [told(row, *columns) for row in office.report("outreach")] == [
        (1, "Big", "Omar", "at risk", 800, 20, "g.plan", 0, None),
        (2, "Acme", "Olga", "at risk", 0, 0, "g.plan", 1, None),
        (3, "Tiny", "Omar", "at risk", None, 0, "g.plan", 0, None),
        (4, "Calm", "Olga", "neutral", 400, 40, "g.arr", 2, in_days(5)),
    ]


def test_s2_16_renewals_of_90_days_are_forecast_by_the_health_of_their_account(office: Office) -> None:
    office.deal("today", "acme", in_days(0), amount=1000, probability=20)
    office.deal("last", "big", in_days(89), amount=None)
    office.deal("more", "big", in_days(10), amount=300, probability=10)
    office.deal("calm", "calm", in_days(10), amount=200, probability=None)
    office.deal("alone", None, in_days(10), amount=10)
    for name, closes, fields in (
        ("late", in_days(90), {}), ("over", in_days(-1), {}),
        ("lost", in_days(5), {"isclosed": True}), ("gone", in_days(5), {"is_deleted": True}),
    ):  # fmt: skip
        office.deal(name, "acme", closes, **fields)
    columns = ("state", "opportunity", "owner", "expected", "expected_of_state")
    assert [told(row, *columns) for row in office.report("renewals")] == [
        ("at risk", "today", "Omar", 200, 230),
        ("at risk", "more", "Omar", 30, 230),
        ("at risk", "last", "Omar", 0, 230),
        ("neutral", "calm", "Omar", 0, 0),
        ("(no score)", "alone", "Omar", 5, 5),
    ]


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [("arr__c", ColumnType.DECIMAL, 800), ("mrr__c", ColumnType.DECIMAL, 9600), ("arr__c", ColumnType.TEXT, 75), (None, None, None)],
)  # fmt: skip
def test_s2_16_an_account_is_worth_what_a_number_says_else_what_it_has_bought(
    column: str | None, kind: ColumnType | None, expected: float | None, office: Office
) -> None:
    for name, fields in (
        ("w1", {}),
        ("w2", {"amount": 25}),
        ("open", {"iswon": False}),
        ("gone", {"is_deleted": True}),
    ):
        office.deal(name, "big", in_days(-9), **{"amount": 50, "iswon": True, **fields})
    if column is None or kind is None:
        office.shape(Shape())
    else:
        if column == "mrr__c":
            set_mrr(office)
        office.shape(shape_with(column, kind))
    (row,) = office.ask("SELECT worth FROM account_health WHERE account_id = 'big' AND health = 'money'")
    assert row["worth"] == expected


def shape_with(column: str, kind: ColumnType) -> Shape:
    name = f"sfdc_account_{column.removesuffix('__c')}"
    part = type(SHAPE.parts["Account"])(((column, name),))
    return Shape(WITH_ARR.columns, {"Account": part}, kept={"Account": [Kept(0, column, kind)]})


def set_mrr(office: Office) -> None:
    columns = [*ACCOUNT, Column("mrr__c", ColumnType.DECIMAL)]
    with office.store.transaction() as tx:
        tx.ensure_columns("salesforce.account", columns)
        tx.upsert(
            "salesforce.account",
            ("id",),
            columns,
            [{**dict.fromkeys(c.name for c in ACCOUNT), "id": "big", "mrr__c": 800}],
        )


def test_s2_10_people_whom_no_account_matches_are_reported_with_the_reason(office: Office) -> None:
    office.people(
        person("ann", account_id="acme", contact_id="ann"), person("bo", contact_id="bo"), person("cy", lead_id="cy"),
        person("di"), {"user_id": "ed", "email": None}, person("gone", is_deleted=True), person("idle"), person("old"),
    )  # fmt: skip
    active = {"ann": 0, "bo": 1, "cy": 2, "di": 3, "ed": 89, "gone": 1, "old": 90}
    rows = [
        {"user_id": who, "day": in_days(-days), "name": name, "events": 10 - n, "last_at": ago(days)}
        for n, (who, days) in enumerate(active.items())
        for name in ("Query", "Page Viewed")
    ]
    with office.store.transaction() as tx:
        tx.append("daily_activity", tables.MARTS["daily_activity"], [{"first_at": None, **row} for row in rows])
    assert [told(row, "user_id", "reason", "events", "last_seen") for row in office.report("unmatched-people")] == [
        ("bo", "contact without an account", 18, ago(1)),
        ("cy", "lead that is not converted", 16, ago(2)),
        ("di", "no contact or lead with this e-mail", 14, ago(3)),
        ("ed", "no e-mail is known", 12, ago(89)),
    ]


@pytest.mark.parametrize("view", ["account_health", "account_health_history", "user_usage"])
def test_s2_08_whoever_reads_a_view_can_not_write(view: str, office: Office) -> None:
    office.people(person("ann", account_id="acme"))
    columns = tables.MARTS["sessions"]
    visit = {**dict.fromkeys(column.name for column in columns), "user_id": "ann", "time": ago(2)}
    with office.store.transaction() as tx:
        tx.append("sessions", columns, [visit])

    def rows() -> list[str]:
        return sorted(map(repr, ask(office.store, f"SELECT * FROM {view}")))

    before = rows()
    assert before
    for statement in (
        f"DELETE FROM {view}", f"DROP VIEW {view}", f"CREATE TABLE copied AS SELECT * FROM {view}", "DELETE FROM members",
        "UPDATE members SET score = 100", "INSERT INTO members SELECT * FROM members",
    ):  # fmt: skip
        with pytest.raises(UsageError):
            office.store.query(statement)
    assert rows() == before
