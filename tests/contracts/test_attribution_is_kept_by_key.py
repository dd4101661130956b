"""Attribution, influence, sources and touchpoints that were refreshed key by key hold what their SELECTs say."""

from collections import Counter
from random import Random
from typing import Any

import duckdb
import psycopg
import pytest
from batches import NOW, Stream, product_event, record, schema_of
from test_marts_are_worked_out_by_key import assert_equal_to_their_definitions, refreshed, shape_of

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.core import catalog
from integration.store.answers import ask
from integration.store.clickhouse.connecting import _SETTINGS
from integration.store.clickhouse.store import ClickHouseStore
from integration.store.dialects import Dialect, said_in
from integration.store.duckdb.store import DuckDBStore
from integration.store.marts import SHOWN
from integration.store.postgres.store import PostgresStore
from integration.store.protocol import Store

OBJECTS = {
    "Account": {"MasterRecordId": "reference", "Name": "string", "Website": "url"},
    "Contact": {"MasterRecordId": "reference", "AccountId": "reference", "Email": "email", "LeadSource": "picklist"},
    "Lead": {
        "MasterRecordId": "reference", "Email": "email", "Company": "string", "LeadSource": "picklist", "IsConverted": "boolean",
        "ConvertedDate": "date", "ConvertedAccountId": "reference", "ConvertedContactId": "reference",
        "ConvertedOpportunityId": "reference",
    },
    "Opportunity": {
        "AccountId": "reference", "Amount": "currency", "IsClosed": "boolean", "IsWon": "boolean",
        "LeadSource": "picklist", "CampaignId": "reference", "StageName": "picklist", "CloseDate": "date",
    },
    "OpportunityContactRole": {"OpportunityId": "reference", "ContactId": "reference"},
    "CampaignMember": {
        "CampaignId": "reference", "LeadId": "reference", "ContactId": "reference", "HasResponded": "boolean",
        "FirstRespondedDate": "date",
    },
    "Task": {"WhoId": "reference", "TaskSubtype": "picklist", "IsClosed": "boolean", "ActivityDate": "date"},
    "Event": {"WhoId": "reference", "StartDateTime": "datetime"},
}  # fmt: skip
SCHEMAS = {name: schema_of(name, fields) for name, fields in OBJECTS.items()}
BODIES = {one.schema_id: catalog.to_json(one) for one in SCHEMAS.values()}
NAMES = (
    "attribution", "campaign_influence", "headrace.lead_accounts", "opportunity_source", "opportunity_spans",
    "touchpoints",
)  # fmt: skip
MAILS = ["ann@example.com", "bo@example.com", "cy@example.org", None]
COMPANIES = ["Acme", "Acme Ltd.", "Zenith", None]
SOURCES = ["SDR Created", "SDR Created", "AE Created", "Web", None]
OFTEN = [
    "Account",
    "Task",
    "Event",
    *["Contact", "Lead"] * 3,
    *["CampaignMember", "OpportunityContactRole", "Opportunity"] * 2,
]
FIRST_DEAL = 12
"""Opportunities are created after people and visits, and by their number at other days."""


def values(luck: Random, name: str, number: int) -> dict[str, Any]:
    """Return what a record of this object may look like. What Salesforce lets nobody change follows from its number."""

    def some(of: str) -> str:
        return record(of, luck.randrange(1, 4) + (FIRST_DEAL if of == "Opportunity" else 0))

    def told(**fields: Any) -> dict[str, Any]:
        return fields

    converted = luck.random() < 0.5
    return {
        "Account": told(
            Name=luck.choice(COMPANIES), Website=luck.choice([None, "https://www.example.com/", "example.org"])
        ),
        "Contact": told(AccountId=some("Account"), Email=luck.choice(MAILS), LeadSource=luck.choice(SOURCES)),
        "Lead": told(
            Email=luck.choice(MAILS), LeadSource=luck.choice(SOURCES), IsConverted=converted,
            Company=luck.choice(COMPANIES),
            ConvertedDate="2026-01-20" if converted else None,
            ConvertedAccountId=some("Account") if converted else None,
            ConvertedContactId=some("Contact") if converted else None,
            ConvertedOpportunityId=some("Opportunity") if converted else None,
        ),
        "Opportunity": told(
            AccountId=some("Account"), Amount=luck.choice([None, 0, 100, 33.35]), IsClosed=False, IsWon=False,
            LeadSource=luck.choice(SOURCES), CampaignId=luck.choice([None, "c1"]),
            StageName=luck.choice(["Prospecting", "Proposal", None]), CloseDate=luck.choice([None, "2026-06-30"]),
        ),
        "OpportunityContactRole": told(
            OpportunityId=record("Opportunity", FIRST_DEAL + number), ContactId=some("Contact")
        ),
        "CampaignMember": told(
            CampaignId=f"c{number % 2}", LeadId=record("Lead", number), HasResponded=luck.random() < 0.6,
            ContactId=luck.choice([None, some("Contact")]), FirstRespondedDate=luck.choice([None, "2026-01-09"]),
        ),
        "Task": told(
            WhoId=some(luck.choice(["Contact", "Lead"])), TaskSubtype=luck.choice(["Call", "Call", "Email"]),
            IsClosed=luck.random() < 0.7, ActivityDate=luck.choice([None, "2026-01-09"]),
        ),
        "Event": told(
            WhoId=luck.choice([None, some("Contact"), some("Lead")]),
            StartDateTime=luck.choice([None, "2026-01-09T10:00:00.000+0000"]),
        ),
    }[name]  # fmt: skip


def story(luck: Random) -> list[Entry]:
    """Return entries in which records come, change and go, and visitors turn out to be the people of these records."""
    stream, found = Stream(), []
    for number in range(100):
        if number > 20 and luck.random() < 0.5:
            found.append(visit(luck, number))
            continue
        name = luck.choice(OFTEN)
        which = luck.randrange(1, 4)
        gone = {"IsDeleted": True} if luck.random() < (0.5 if name == "OpportunityContactRole" else 0.1) else {}
        if gone and name in ("Account", "Contact") and luck.random() < 0.5:
            gone["MasterRecordId"] = record(name, luck.randrange(1, 4))
        at = f"02-{1 + number // 24:02d}T{number % 24:02d}:00:00"
        place = which + (FIRST_DEAL if name == "Opportunity" else 0)
        found.append(stream.entry(SCHEMAS, name, place, at, **values(luck, name, which), **gone))
    return found


def visit(luck: Random, number: int) -> Entry:
    """Return a product event of a browser, of somebody who has signed in, or of both."""
    at = f"01-{luck.randrange(1, 20):02d}T{luck.randrange(24):02d}:00:00"
    who: dict[str, Any] = {"anonymous_id": f"a-{luck.randrange(4)}"}
    if luck.random() < 0.7:
        who["user_id"] = luck.choice(["u-1", "u-2", *(record("Contact", n) for n in (1, 2, 3))])
    mail = luck.choice(MAILS)
    kind, name = luck.choice([("page", "Home"), ("track", "Sign Up"), ("identify", None)])
    traits = {"traits": {"email": mail}} if kind == "identify" and mail else {}
    return product_event(number, at, kind, name, **who, **traits)


def opened(store: Store) -> Flattener:
    worker = Flattener(store, Rules({}, {}), now=lambda: NOW, fetch_schema=BODIES.get)
    worker.announce(SCHEMAS.values())
    return worker


@pytest.mark.slow_on("clickhouse")
@pytest.mark.parametrize("seed", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_refreshed_in_any_parts_they_hold_what_they_are_defined_as(store: Store, seed: int) -> None:
    luck = Random(seed)

    worker, entries, shape = opened(store), story(luck), shape_of(OBJECTS)
    most = Counter[str]()
    while entries:
        size = luck.randrange(1, 8)
        worker.apply(entries[:size])
        del entries[:size]
        if luck.random() < 0.5:
            refreshed(worker)
            if luck.random() < 0.5:
                assert_equal_to_their_definitions(store, shape)
            most |= Counter({name: len(ask(store, f"SELECT * FROM {name}")) for name in NAMES})
        elif luck.random() < 0.5:
            worker.marts.refresh(limit=luck.choice([1, 3]))
    refreshed(worker)
    assert_equal_to_their_definitions(store, shape)
    assert min(most[name] for name in NAMES) > 0


def asked(store: Store, zone: str, sql: str) -> Counter[Any]:
    """Ask as people do who bring their own tools: in a session of another time zone."""
    if isinstance(store, DuckDBStore):
        store.close()  # it is alone with its file
        with duckdb.connect(store.path) as con:
            con.execute(f"SET TimeZone = '{zone}'")
            return Counter(tuple(row.values()) for row in con.sql(sql).to_arrow_table().to_pylist())
    if isinstance(store, PostgresStore):
        with psycopg.connect(store._sessions.address.words, options=f"-c TimeZone={zone}") as session:
            return Counter(session.execute(sql.encode()).fetchall())
    assert isinstance(store, ClickHouseStore)
    client = store._door.client({**_SETTINGS, "session_timezone": zone}, None)
    found: list[tuple[Any, ...]] = client.query(sql).result_rows
    client.close()
    return Counter(found)


@pytest.mark.slow_on("clickhouse")
def test_the_sql_that_people_are_shown_means_the_same_whatever_the_time_zone_of_their_session(store: Store) -> None:
    worker, dialect = opened(store), next(one for one in Dialect if one.name.lower() in type(store).__name__.lower())
    worker.apply(story(Random(2)))
    refreshed(worker)
    days = (
        "SELECT count(*) AS n FROM touchpoints WHERE kind = 'sales' AND \"time\" = TIMESTAMPTZ '2026-01-09T00:00:00Z'"
    )
    assert ask(store, days)[0]["n"] > 0, "a day is the beginning of it in UTC"
    for mart in SHOWN:
        listed = ", ".join(f'"{column.name}"' for column in mart.columns)
        sql = f"SELECT {listed} FROM ({said_in(dialect, mart.everything(shape_of(OBJECTS)))}) AS shown"
        kept = asked(store, "America/New_York", f"SELECT {listed} FROM {mart.name}")
        assert asked(store, "America/New_York", sql) == kept, mart.name


@pytest.mark.slow_on("clickhouse")
def test_a_visit_that_is_told_later_and_a_browser_that_becomes_known_get_their_credit(store: Store) -> None:
    stream, worker, at = Stream(), opened(store), "02-01T00:00:00"
    ann, deal = record("Contact", 1), record("Opportunity", FIRST_DEAL)

    def credited() -> list[str | None]:
        refreshed(worker)
        rows = ask(store, "SELECT touch_id FROM attribution WHERE model = 'linear' ORDER BY \"time\"")
        return [row["touch_id"] for row in rows]

    role = {"OpportunityId": deal, "ContactId": ann}
    worker.apply(
        [
            stream.entry(SCHEMAS, "Contact", 1, at, Email="ann@example.com"),
            stream.entry(SCHEMAS, "Opportunity", FIRST_DEAL, at, Amount=10),
            stream.entry(SCHEMAS, "OpportunityContactRole", 1, at, **role),
        ]
    )
    assert credited() == [None]
    worker.apply([product_event(1, "01-05T00:00:00", "page", user_id=ann)])
    assert credited() == ["product:m1"]
    worker.apply([product_event(2, "01-03T00:00:00", "page", anonymous_id="a-1")])
    assert credited() == ["product:m1"]
    worker.apply([product_event(3, "01-09T00:00:00", "identify", user_id=ann, anonymous_id="a-1")])
    assert credited() == ["product:m2", "product:m1"]
    worker.apply([stream.entry(SCHEMAS, "OpportunityContactRole", 1, "02-02T00:00:00", IsDeleted=True, **role)])
    assert credited() == [None]
