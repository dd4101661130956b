"""Story 3, attribution of a customer-operations team: those of its acceptance criteria that need the whole system.

The rules with days in them are tried at their edges in tests/contracts/test_criteria_s3.py; here Salesforce and a product
tell what happened, and a sync brings it into the tables.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from test_criteria_s1 import send

from integration.wiring.report import report

MODELS = ("first", "last", "linear", "position", "time_decay")
STARTS = datetime(2026, 3, 2, 9, tzinfo=UTC)
"""When companies are founded."""
Found = Any


def ago(days: float) -> Any:
    return STARTS - timedelta(days=days)


def stamp(days: float) -> str:
    return ago(days).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def visit(who: str, days: float, campaign: str | None = None, *, user: str | None = None) -> list[dict[str, Any]]:
    """Return the calls of a browser: a page seen from a campaign, and who it was where somebody signs in."""
    told = {"campaign": {"name": campaign, "source": "ads", "medium": "cpc"}} if campaign else {}
    page = {"url": "https://www.example.com/", "referrer": ""}
    common = {"anonymousId": f"browser-{who}", "timestamp": stamp(days)}
    calls = [
        {**common, "type": "page", "name": "Home", "messageId": f"{who}-{days}", "context": {**told, "page": page}}
    ]
    if user:
        calls.append({**common, "type": "identify", "userId": user, "messageId": f"{who}-{days}-who"})
    return calls


class Story:
    """What happened: ids of records by the names that the tests know them by."""

    def __init__(self, company: Any) -> None:
        self.company, self.org = company, company.org
        self.ids: dict[str, str] = {}

    def add(self, name: str, of: str, days: float = 0, **fields: Any) -> str:
        at = ago(days) if days else None
        self.ids[name] = self.org.insert(of, fields, at=at)
        return self.ids[name]

    def form(self, campaign: str, days: float, status: str = "Responded", **who: str) -> None:
        self.org.insert("CampaignMember", {"CampaignId": self.ids[campaign], "Status": status, **who}, at=ago(days))

    def lead(self, name: str, days: float, source: str) -> str:
        fields = {"LastName": name.title(), "Company": f"{name.title()} Ltd", "LeadSource": source, "Status": "New"}
        return self.add(name, "Lead", days, Email=f"{name}@example.com", **fields)

    def convert(self, name: str, **into: str) -> None:
        for what, record_id in self.org.convert_lead(self.ids[name], **into).items():
            self.ids[f"{name} {what.removesuffix('_id')}"] = record_id


@pytest.fixture(scope="module")
def story(found_for_all: Found) -> Story:
    """A company in which sales and forms bring in people, and some of them buy."""
    company = found_for_all(build=False)
    assert company.clock.now() == STARTS
    told = Story(company)
    for campaign in ("Contact form", "Cloud sign-up", "Webinar"):
        told.add(campaign, "Campaign", 200, Name=campaign, IsActive=True)
    holding = told.add("holding", "Account", 300, Name="Acme Holding")
    acme = told.add("acme", "Account", 250, Name="Acme Ireland", ParentId=holding)
    told.add(
        "prospect", "Contact", 40, LastName="Aiken", AccountId=acme, LeadSource="SDR Created", Email="a@example.com"
    )
    told.form("Webinar", 35, "Sent", ContactId=told.ids["prospect"])

    lead = told.lead("bea", 3, "Contact Form")
    told.form("Contact form", 3, LeadId=lead)
    lead = told.lead("cy", 10, "Demo Request")
    told.form("Webinar", 45, LeadId=lead)
    told.lead("dora", 5, "Web Sign-up")
    told.form("Contact form", 2, LeadId=told.ids["dora"])
    company.sync()

    told.convert("bea", account_id=acme)
    told.convert("cy")
    told.org.update("Opportunity", told.ids["bea opportunity"], {"Amount": 1000.01})
    told.org.update("Opportunity", told.ids["cy opportunity"], {"Amount": 500, "StageName": "Closed Won"})
    sign_up = {"type": "track", "event": "Sign Up", "userId": "dora@example.com", "timestamp": stamp(6)}
    send(
        company,
        [
            *visit("b1", 20, "spring"), *visit("b1", 12, "launch", user="bea@example.com"), *visit("b1", 4),
            *visit("c1", 15, "spring", user="cy@example.com"),
            {**sign_up, "messageId": "dora-up"},
            *clicks(),
        ],
        STARTS,
    )  # fmt: skip
    company.clock.advance(10)
    company.sync()
    return told


def clicks() -> list[dict[str, Any]]:
    """Return what a tag manager sends of a visitor, cookie variables included."""
    cookies = {"anonymousUid": "uid-7", "sourceURL": "https://www.example.com/pricing?from=ad"}
    names = {
        "Button Clicked": {"label": "Start trial"},
        "PDF Downloaded": {"file": "guide.pdf"},
        "Cloud Searched": {"query": "TODO"},
        "Demo Requested": {"form": "demo"},
    }
    return [
        {
            "type": "track", "event": name, "anonymousId": "uid-7", "messageId": f"tag-{number}",
            "timestamp": stamp(1), "properties": {**told, **cookies},
        }
        for number, (name, told) in enumerate(names.items())
    ]  # fmt: skip


def one(story: Story, sql: str) -> dict[str, Any]:
    [row] = story.company.query(sql)
    return dict(row)


def deal(story: Story, table: str, name: str) -> dict[str, Any]:
    return one(story, f"SELECT * FROM {table} WHERE opportunity_id = '{story.ids[f'{name} opportunity']}'")


def test_s3_04_a_person_is_a_lead_or_a_contact_and_never_both(story: Story) -> None:
    """The converted lead stays known as what the contact was; who it is now is the contact."""
    current = """SELECT i.user_id, count(l.id) AS leads, count(c.id) AS contacts FROM identities AS i
        LEFT JOIN salesforce.lead AS l ON l.id = i.alias AND NOT l.isconverted AND NOT l.is_deleted
        LEFT JOIN salesforce.contact AS c ON c.id = i.alias AND NOT c.is_deleted
        WHERE i.kind IN ('lead_id', 'contact_id') GROUP BY 1"""
    rows = {row["user_id"]: (row["leads"], row["contacts"]) for row in story.company.query(current)}
    assert sorted(rows.values()) == [(0, 1), (0, 1), (0, 1), (1, 0)]
    for name in ("bea", "cy"):
        assert rows[story.ids[f"{name} contact"]] == (0, 1)
        found = one(story, f"SELECT user_id FROM identities WHERE alias = '{story.ids[name]}'")
        assert found["user_id"] == story.ids[f"{name} contact"]


def test_s3_05_a_lead_reaches_an_account_by_its_conversion_alone(story: Story) -> None:
    users = {row["email"]: row for row in story.company.query("SELECT * FROM users WHERE lead_id IS NOT NULL")}
    assert {email: row["account_id"] for email, row in users.items()} == {
        "bea@example.com": story.ids["acme"],
        "cy@example.com": story.ids["cy account"],
        "dora@example.com": None,
    }
    assert (users["dora@example.com"]["contact_id"], users["dora@example.com"]["sfdc_opportunity_count"]) == (None, 0)
    rows = {row["lead_source"]: row for row in story.company.query(report("lead-conversions").sql)}
    assert {source: tuple(row.values())[1:] for source, row in rows.items()} == {
        "Contact Form": (1, 1, 1, 1, 1, 0),
        "Demo Request": (1, 1, 1, 1, 1, 1),
        "Web Sign-up": (1, 0, 0, 0, 0, 0),
    }


def test_s3_06_people_of_opportunities_add_up_at_the_topmost_account(story: Story) -> None:
    [acme, cy] = sorted(story.company.query(report("account-families").sql), key=lambda row: row["account"])
    assert acme == {
        "account_id": story.ids["holding"], "account": "Acme Holding", "accounts": 2, "people_in_deals": 1,
        "opportunities": 1, "open_amount": Decimal("1000.01"), "won_amount": 0,
    }  # fmt: skip
    assert (cy["account"], cy["accounts"], cy["won_amount"]) == ("Cy Ltd", 1, 500)
    assert story.company.query("SELECT id FROM salesforce.opportunity WHERE accountid IS NULL") == []


def test_s3_10_outbound_people_without_a_touchpoint_are_a_line_of_their_own(story: Story) -> None:
    rows = story.company.query(report("lead-source-by-first-touchpoint").sql)
    told = {(row["lead_source"], row["first_touchpoint"]): (row["is_outbound"], row["people"]) for row in rows}
    assert told == {
        ("SDR Created", "(uncategorised)"): (True, 1),
        ("Contact Form", "Contact form"): (False, 1),
        ("Demo Request", "Webinar"): (False, 1),
        ("Web Sign-up", "Sign-up"): (False, 1),
    }
    assert {row["lead_source"]: row["origin"] for row in rows} == {
        "SDR Created": "outbound", "Contact Form": "inbound", "Demo Request": "inbound", "Web Sign-up": "inbound",
    }  # fmt: skip
    assert {row["lead_source"]: row["accounts_that_won"] for row in rows}["Demo Request"] == 1


def test_s3_11_a_new_account_has_nobody_whom_sales_could_have_spoken_to(story: Story) -> None:
    row = deal(story, "opportunity_source", "cy")
    assert (row["opportunity_source"], row["source_rule"]) == ("Demo Request", "converted lead")


def test_s3_14_sales_wrote_to_one_and_another_one_filled_in_the_form(story: Story) -> None:
    row = deal(story, "opportunity_source", "bea")
    assert (row["opportunity_source"], row["source_rule"]) == ("SDR Created", "outbound within 60 days")
    assert (row["lead_source"], row["outbound_contact_id"]) == ("Contact Form", story.ids["prospect"])
    assert row["primary_campaign_id"] == story.ids["Contact form"]
    rows = {
        row["opportunity_source"]: row["won_amount"] for row in story.company.query(report("opportunity-sources").sql)
    }
    assert rows == {"SDR Created": 0, "Demo Request": 500}


def test_s3_15_the_form_of_a_lead_has_influenced_the_opportunity_it_became(story: Story) -> None:
    influenced = story.company.query("SELECT opportunity_id, campaign_id FROM campaign_influence")
    # The webinar was 45 days before; who had it sent has no role in a deal.
    expected = {"opportunity_id": story.ids["bea opportunity"], "campaign_id": story.ids["Contact form"]}
    assert influenced == [expected]
    [row] = story.company.query(report("campaign-influence").sql)
    assert (row["campaign"], row["opportunities"], row["amount"]) == ("Contact form", 1, Decimal("1000.01"))


def test_s3_16_a_sign_up_and_a_form_are_two_touches_and_one_first_touchpoint(story: Story) -> None:
    dora = story.ids["dora"]
    rows = story.company.query(f"SELECT * FROM touchpoints WHERE user_id = '{dora}' ORDER BY place")
    assert [(row["kind"], row["campaign_id"]) for row in rows] == [
        ("sign-up", None),
        ("campaign", story.ids["Contact form"]),
    ]
    first = one(story, f"SELECT * FROM first_touchpoints WHERE user_id = '{dora}'")
    assert (first["first_touchpoint_kind"], first["first_touchpoint_id"]) == ("sign-up", "product:dora-up")


def test_s3_21_what_a_tag_manager_tells_is_stored_and_can_be_asked(story: Story) -> None:
    for view, key in {
        "button_clicked": "label", "pdf_downloaded": "file", "cloud_searched": "query", "demo_requested": "form",
    }.items():  # fmt: skip
        row = one(
            story,
            f"""SELECT user_id, properties->>'$.{key}' AS told, properties->>'$.anonymousUid' AS uid,
                properties->>'$.sourceURL' AS source FROM {view}""",
        )
        assert row["told"], view
        assert (row["user_id"], row["uid"]) == ("uid-7", "uid-7")
        assert row["source"].startswith("https://www.example.com/pricing")


def test_visits_before_a_conversion_get_the_credit_of_the_opportunity(story: Story) -> None:
    credited = f"""SELECT model, utm_campaign, weight, amount FROM attribution
        WHERE opportunity_id = '{story.ids["bea opportunity"]}' ORDER BY model, "time" """
    told: dict[str, list[Any]] = {}
    for row in story.company.query(credited):
        told.setdefault(row["model"], []).append((row["utm_campaign"], row["weight"], row["amount"]))
    whole = (Decimal(1), Decimal("1000.01"))
    assert told["first"] == [("spring", *whole)]
    assert told["last"] == [("launch", *whole)]  # the visit after it was a return
    assert told["linear"] == [
        ("spring", Decimal("0.333333"), Decimal("333.33")),
        ("launch", Decimal("0.333333"), Decimal("333.33")),
        (None, Decimal("0.333334"), Decimal("333.35")),
    ]
    assert told["position"] == [
        ("spring", Decimal("0.4"), Decimal(400)),
        ("launch", Decimal("0.2"), Decimal(200)),
        (None, Decimal("0.4"), Decimal("400.01")),
    ]
    # 16 and 8 days before the last of them, at a half-life of 7: 2^(-16/7) + 2^(-8/7) + 1 is 1.65793.
    assert [row[1] for row in told["time_decay"]] == [Decimal("0.123697"), Decimal("0.273146"), Decimal("0.603157")]


def test_every_model_shares_out_the_same_won_amount(story: Story) -> None:
    rows = story.company.query(report("attribution").sql)
    for model in MODELS:
        assert sum(row[f"won_amount_{model}"] for row in rows) == 500
    assert sum(row["opportunities"] for row in rows) == 2
    assert {(row["channel"], row["campaign"]) for row in rows} == {
        ("paid", "spring"), ("paid", "launch"), ("direct", "(none)"),
    }  # fmt: skip
