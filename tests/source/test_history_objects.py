"""History objects are read after the objects they belong to, when those had news; what the settings keep out of a record
does not come in by its history."""

from datetime import UTC, datetime

import pytest

from integration.core.catalog import schema_from_describe
from integration.core.history import histories_of
from integration.errors import UsageError
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.world import build_world
from integration.settings import ObjectSettings, Settings
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.histories import fields_told, is_of_selected, narrowed
from integration.source.poll import Poller, WatchedObject
from integration.stream.connection import connect
from integration.stream.embedded import embedded
from integration.wiring import parts

NOON = datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)
DEFAULT = (
    "User",
    "Account",
    "Opportunity",
    "OpportunityContactRole",
    "Campaign",
    "Contact",
    "Lead",
    "Task",
    "Event",
    "CampaignMember",
)
HISTORIES = tuple(h for name in DEFAULT for h in histories_of(name))


@pytest.fixture
def org():
    return Org(clock=VirtualClock(NOON))


@pytest.fixture
def server(org):
    with SandboxServer(org) as running:
        yield running


@pytest.fixture
def client(server):
    connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
    return SalesforceClient(connection)


@pytest.fixture
def sink(little):
    return little.Sink()


def quiet(*names: str) -> list[WatchedObject]:
    return [WatchedObject(name, quiet=True) for name in names]


def poller_of(client, sink, little, *objects: WatchedObject, **more) -> Poller:
    return Poller(client, sink, objects=objects, log=little.Log(), **more)


def told(sink, name: str) -> list[dict]:
    return [c["fields"] for c in sink.captures if c["object"] == name]


# --- when they are read ---


def test_a_quiet_cycle_over_ten_objects_costs_two_calls_and_three_with_their_histories(
    org, server, client, sink, little
):
    build_world(org, accounts=5, ends_at=NOON)
    poller = poller_of(client, sink, little, *map(WatchedObject, DEFAULT), *quiet(*HISTORIES))
    poller.describe()
    assert poller.skipped == {}
    poller.cycle()
    for name in ("AccountHistory", "ContactHistory", "LeadHistory", "OpportunityFieldHistory"):
        assert len(told(sink, name)) == len(org.records(name)), name
    org.clock.advance(7200)
    client.limits()
    poller.cycle(histories=True)
    server.requests.clear()
    assert poller.cycle().calls == 2
    assert poller.cycle(histories=True).calls <= 3
    assert server.requests["composite"] <= 5


def test_a_history_is_read_in_the_cycle_in_which_its_object_had_news(org, client, sink, little):
    key = org.insert("Contact", {"LastName": "One"})
    org.insert("Lead", {"LastName": "Two", "Company": "Acme"})
    watched = (WatchedObject("Contact"), WatchedObject("Lead"), *quiet("ContactHistory", "LeadHistory"))
    poller = poller_of(client, sink, little, *watched)
    poller.cycle()
    org.clock.advance(60)
    org.update("Contact", key, {"Title": "First"})
    org.clock.advance(1)
    org.update("Contact", key, {"Title": "Second"})
    report = poller.cycle()
    assert [(r["OldValue"], r["NewValue"]) for r in told(sink, "ContactHistory")] == [
        (None, "First"),
        ("First", "Second"),
    ]
    assert "ContactHistory" in report.objects
    assert "LeadHistory" not in report.objects
    assert set(poller.cycle().objects) == {"Contact", "Lead"}


def test_a_history_row_committed_late_is_found_although_passes_were_left_out(little, sink):
    org = little.Org(("Contact", "ContactHistory"))
    poller = poller_of(org, sink, little, WatchedObject("Contact"), *quiet("ContactHistory"))
    org.save(1)
    poller.cycle()
    org.save(2, name="ContactHistory", open_for=500)
    org.wait(400)
    org.look()
    poller.cycle(histories=True)
    org.wait(200)
    org.look()
    for _ in range(20):
        org.wait(60)
        org.look()
        assert "ContactHistory" not in poller.cycle().objects
    org.save(1)
    poller.cycle()
    assert "version 2" in sink.names


def test_a_history_whose_reading_was_interrupted_is_gone_on_with(little, sink):
    org = little.Org(("Contact", "ContactHistory"))
    for number in range(9):
        org.save(number, name="ContactHistory")
    watched = (WatchedObject("Contact"), *quiet("ContactHistory"))
    poller = poller_of(org, sink, little, *watched, page_size=2)
    report = poller.cycle(should_stop=lambda: len(sink.pages) >= 3)
    assert not report.is_complete
    assert len(sink.names) == 4
    poller_of(org, sink, little, *watched, page_size=2).cycle()
    assert len(sink.names) == len(set(sink.names)) == 9


def test_histories_are_read_when_they_are_asked_for(little, sink):
    org = little.Org(("Contact", "ContactHistory"))
    poller = poller_of(org, sink, little, WatchedObject("Contact"), *quiet("ContactHistory"))
    poller.cycle()
    org.save(1, name="ContactHistory")
    poller.cycle()
    assert sink.names == []
    poller.cycle(histories=True)
    assert sink.names == ["version 1"]


def test_the_history_of_a_commit_minutes_late_comes_in_the_cycle_of_the_commit(little, sink):
    org = little.Org(("Contact", "ContactHistory"))
    poller = poller_of(org, sink, little, WatchedObject("Contact"), *quiet("ContactHistory"))
    poller.cycle()
    org.save(1, open_for=500)
    org.save(1, name="ContactHistory", open_for=500)
    org.wait(400)
    for number in range(10, 400):
        # few contacts, and so much history that it is not all read again in every cycle
        org.save(number, name="ContactHistory")
    for _ in range(20):
        org.wait(10)
        org.save(2)
        org.look()
        poller.cycle()
        assert ("version 1" in sink.names) == ("version 2" in sink.names)
    assert "version 2" in sink.names


# --- which of them ---


def test_a_missing_history_is_not_worth_a_word(org, client, sink, little):
    poller = poller_of(client, sink, little, WatchedObject("User"), *quiet("UserHistory"))
    assert [s.object for s in poller.describe()] == ["User"]
    assert dict(poller.skipped) == {}


def test_a_history_without_its_object_is_not_read(org, client, sink, little):
    poller = poller_of(client, sink, little, WatchedObject("ContactHistory"))
    poller.describe()
    assert "objects.Contact.enabled = true" in poller.skipped["ContactHistory"]
    with pytest.raises(UsageError, match=r"objects\.Contact\.enabled"):
        poller_of(client, sink, little, WatchedObject("ContactHistory", required=True)).describe()


def test_the_order_in_which_objects_are_named_does_not_matter(org, client, sink, little):
    poller = poller_of(client, sink, little, *quiet("ContactHistory"), WatchedObject("Contact"))
    assert [s.object for s in poller.describe()] == ["ContactHistory", "Contact"]


def test_the_settings_decide_which_histories_are_read(client, tmp_path):
    settings = Settings(
        objects={
            "Lead": ObjectSettings(enabled=False),
            "AccountHistory": ObjectSettings(enabled=False),
            "ContactHistory": ObjectSettings(exclude=["DataType"]),
        }
    )
    with embedded(tmp_path) as url, connect(url) as redis:
        poller, schemas = parts.poller(settings, client, redis)
    names = [s.object for s in schemas]
    assert names[-3:] == ["ContactHistory", "OpportunityFieldHistory", "OpportunityHistory"]
    assert not {"Lead", "LeadHistory", "AccountHistory"} & set(names)
    assert poller.schemas["ContactHistory"].field("DataType") is None
    assert dict(poller.skipped) == {}


def test_a_history_that_a_setting_switches_on_must_be_there(client, tmp_path):
    settings = Settings(objects={"UserHistory": ObjectSettings(enabled=True)})
    with embedded(tmp_path) as url, connect(url) as redis, pytest.raises(UsageError, match="UserHistory"):
        parts.poller(settings, client, redis)


# --- what the settings keep out ---


def test_the_history_of_a_field_that_is_not_selected_is_left_out(org, client, sink, little):
    accounts = [org.insert("Account", {"Name": name}) for name in ("Acme", "Globex")]
    key = org.insert("Contact", {"LastName": "One", "AccountId": accounts[0], "Title": "CEO", "Email": "a@example.com"})
    org.update("Contact", key, {"Title": "CTO", "Email": "b@example.com", "AccountId": accounts[1]})
    contact = WatchedObject("Contact", exclude=("Title", "AccountId"))
    report = poller_of(client, sink, little, contact, *quiet("ContactHistory")).cycle()
    fields = {row["Field"] for row in told(sink, "ContactHistory")}
    assert fields == {"Email"}
    count = report.objects["ContactHistory"]
    # created, Title, and two rows for the account
    assert (count.rows_read, count.published, count.left_out) == (5, 1, 4)


def test_a_lookup_is_told_by_the_name_of_its_relationship(org, client, sink, little):
    accounts = [org.insert("Account", {"Name": name}) for name in ("Acme", "Globex")]
    key = org.insert("Contact", {"LastName": "One", "AccountId": accounts[0]})
    org.update("Contact", key, {"AccountId": accounts[1]})
    poller_of(client, sink, little, WatchedObject("Contact"), *quiet("ContactHistory")).cycle()
    rows = {(row["Field"], row["OldValue"], row["NewValue"]) for row in told(sink, "ContactHistory")}
    assert rows == {("Account", "Acme", "Globex"), ("Account", *accounts)}


def test_special_rows_are_left_out(org, client):
    parent = schema_from_describe(client.describe("Lead"))
    words = fields_told(parent)
    for word in ("created", "leadConverted", "locked", "unlocked", "ownerAssignment", None):
        assert not is_of_selected({"Field": word}, words)
    for word in ("Owner", "OwnerId", "Status", "status"):
        assert is_of_selected({"Field": word}, words)


def test_snapshots_show_no_column_of_a_field_that_is_not_selected():
    def described(name, *fields):
        return schema_from_describe({"name": name, "fields": [{"name": f, "type": "string"} for f in fields]})

    frame = ("Id", "IsDeleted", "OpportunityId", "CreatedById", "CreatedDate", "SystemModstamp")
    parent = described("Opportunity", "Id", "SystemModstamp", "StageName", "CloseDate")
    history = described("OpportunityHistory", *frame, "StageName", "Amount", "PrevAmount", "CloseDate", "PrevCloseDate")
    left = narrowed(history, parent)
    assert [f.name for f in left.fields] == [*frame, "StageName", "CloseDate", "PrevCloseDate"]
    assert left.schema_id != history.schema_id
    whole = described("Opportunity", "Id", "SystemModstamp", "StageName", "CloseDate", "Amount")
    assert narrowed(history, whole) == history


def test_in_the_sandbox_snapshots_show_no_excluded_amount(org, client, sink, little):
    account = org.insert("Account", {"Name": "Acme"})
    deal = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2024-03-01", "Amount": 77.0, "AccountId": account}
    key = org.insert("Opportunity", deal)
    org.update("Opportunity", key, {"Amount": 88.0, "StageName": "Qualification"})
    watched = (WatchedObject("Opportunity", exclude=("*Amount*", "ExpectedRevenue")), *quiet("OpportunityHistory"))
    poller_of(client, sink, little, *watched).cycle()
    rows = told(sink, "OpportunityHistory")
    assert {row["StageName"] for row in rows} == {"Prospecting", "Qualification"}
    assert not any({"Amount", "ExpectedRevenue"} & set(row) for row in rows)
