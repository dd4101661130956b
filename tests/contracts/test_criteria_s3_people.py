"""Story 3, what is known of contacts and of the traffic of the site: in one place, to be joined."""

from typing import Any

import pytest
from batches import NOW, Stream, product_event, record, schema_of

from consumers.apply import Flattener
from consumers.rules import Rules
from integration.core import catalog
from integration.store.answers import ask
from integration.store.protocol import Store

pytestmark = pytest.mark.slow_on("clickhouse")

CONTACT = schema_of(
    "Contact",
    {
        "Name": "string", "Email": "email", "Company__c": "string", "Original_Source__c": "picklist",
        "First_Page_Seen__c": "url", "First_Touchpoint__c": "picklist", "First_Source_URL__c": "url",
        "Anonymous_User_ID__c": "string", "Is_Server_Admin__c": "boolean", "NPS_Score__c": "double",
    },
)  # fmt: skip
HUBSPOT: dict[str, Any] = {
    "Name": "Ann Aiken", "Email": "ann@example.com", "Company__c": "Acme", "Original_Source__c": "Organic Search",
    "First_Page_Seen__c": "https://www.example.com/pricing", "First_Touchpoint__c": "Demo Request",
    "First_Source_URL__c": "https://search.example.org/", "Anonymous_User_ID__c": "uid-7", "Is_Server_Admin__c": True,
    "NPS_Score__c": 9,
}  # fmt: skip


@pytest.fixture
def worker(store: Store) -> Flattener:
    bodies = {CONTACT.schema_id: catalog.to_json(CONTACT)}
    found = Flattener(store, Rules({}, {}), now=lambda: NOW, fetch_schema=bodies.get)
    found.announce([CONTACT])
    found.apply([Stream().entry({"Contact": CONTACT}, "Contact", 1, "02-01T10:00:00", **HUBSPOT)])
    return found


@pytest.mark.usefixtures("worker")
def test_s3_01_what_hubspot_keeps_of_a_contact_is_in_the_row_of_the_person(store: Store) -> None:
    [ann] = ask(store, "SELECT * FROM users")
    assert ann["email"] == "ann@example.com"
    expected = {
        "name": "Ann Aiken",
        "email": "ann@example.com",
        "company": "Acme",
        "original_source": "Organic Search",
        "first_page_seen": "https://www.example.com/pricing",
        "first_touchpoint": "Demo Request",
        "first_source_url": "https://search.example.org/",
        "anonymous_user_id": "uid-7",
        "is_server_admin": True,
        "nps_score": 9,
    }
    assert {name: ann[f"sfdc_contact_{name}"] for name in expected} == expected


def test_s3_20_scores_traffic_goals_and_ad_clicks_join_by_person(store: Store, worker: Flattener) -> None:
    def visit(number: int, who: str, country: str, referrer: str, **campaign: str) -> Any:
        page = {"url": "https://www.example.com/", "referrer": referrer}
        context = {"page": page, "location": {"country": country}, "campaign": campaign}
        return product_event(number, f"01-{number:02d}T09:00:00", "page", "Home", anonymous_id=who, context=context)

    ads = {"name": "spring", "medium": "cpc", "source": "ads"}
    worker.apply(
        [
            visit(1, "b-1", "IE", "https://search.example.org/"),
            visit(2, "b-1", "IE", "", **ads),
            visit(3, "b-2", "FR", "https://blog.example.org/"),
            visit(4, "b-3", "FR", "https://blog.example.org/"),
            product_event(5, "01-05T09:00:00", name="Demo Requested", anonymous_id="b-1"),
            product_event(6, "01-06T09:00:00", "identify", user_id=record("Contact", 1), anonymous_id="b-1"),
            product_event(
                7,
                "01-07T09:00:00",
                "identify",
                user_id="u-2",
                anonymous_id="b-2",
                traits={"npsScore": 4, "isAdmin": True},
            ),
            product_event(8, "01-08T09:00:00", name="Demo Requested", user_id="u-2"),
        ]
    )
    while worker.marts.refresh():
        pass
    country = "properties->>'$.context.location.country'"
    traffic = f"SELECT {country} AS country, count(*) AS visits, count(DISTINCT user_id) AS people FROM page_viewed GROUP BY 1 ORDER BY 1"
    assert ask(store, traffic) == [
        {"country": "FR", "visits": 2, "people": 2},
        {"country": "IE", "visits": 2, "people": 1},
    ]
    referrals = "SELECT referrer, count(*) AS visits FROM page_viewed WHERE referrer <> '' GROUP BY 1 ORDER BY 1"
    assert [(row["referrer"], row["visits"]) for row in ask(store, referrals)] == [
        ("https://blog.example.org/", 2),
        ("https://search.example.org/", 1),
    ]
    goals = """SELECT u.sfdc_contact_nps_score AS score, u.nps_score AS told, u.is_admin, count(*) AS goals
        FROM demo_requested AS g JOIN users AS u ON u.user_id = g.user_id GROUP BY 1, 2, 3 ORDER BY 1"""
    found = [tuple(row.values()) for row in ask(store, goals)]
    assert sorted(found, key=repr) == sorted([(9, None, None, 1), (None, "4", "true", 1)], key=repr)
    clicks = """SELECT t.channel, t.utm_campaign, u.sfdc_contact_nps_score AS score
        FROM touches AS t JOIN users AS u ON u.user_id = t.user_id WHERE t.channel = 'paid'"""
    assert ask(store, clicks) == [{"channel": "paid", "utm_campaign": "spring", "score": 9}]
