"""OpportunityHistory: a row for each stage, amount, close date, probability and forecast a deal has had."""

import itertools
from datetime import UTC, datetime
from typing import Any

from integration.sandbox.clock import VirtualClock, stamp
from integration.sandbox.org import Org
from integration.sandbox.world import build_world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DEAL = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2026-06-30", "Amount": 1000}
COLUMNS = ("StageName", "Amount", "ExpectedRevenue", "CloseDate", "Probability", "ForecastCategory")


def trail(org: Org, deal: str) -> list[tuple[Any, ...]]:
    rows = [row for row in org.records("OpportunityHistory") if row["OpportunityId"] == deal]
    return [tuple(row[name] for name in COLUMNS) for row in rows]


def test_a_row_is_written_at_insert_and_at_each_change_of_what_it_shows(org, clock):
    deal = org.insert("Opportunity", DEAL)
    clock.advance(5)
    org.update("Opportunity", deal, {"Amount": 1200.5})
    clock.advance(5)
    org.update("Opportunity", deal, {"StageName": "Negotiation/Review", "CloseDate": "2026-07-15"})
    org.update("Opportunity", deal, {"NextStep": "Call", "Amount": 1200.5})
    org.touch("Opportunity", deal)
    assert trail(org, deal) == [
        ("Prospecting", 1000.0, 100.0, "2026-06-30", 10.0, "Pipeline"),
        ("Prospecting", 1200.5, 120.05, "2026-06-30", 10.0, "Pipeline"),
        ("Negotiation/Review", 1200.5, 1080.45, "2026-07-15", 90.0, "Commit"),
    ]
    first, *_, last = org.records("OpportunityHistory")
    assert first["Id"].startswith("008")
    assert last["CreatedDate"] == last["SystemModstamp"] == stamp(clock.now())
    assert last["CreatedById"] == org.default_user
    assert last["IsDeleted"] is False


def test_it_needs_no_tracking_and_survives_its_deal_unchanged(clock):
    org = Org(clock=clock, history_tracking=False)
    deal = org.insert("Opportunity", DEAL)
    before = org.records("OpportunityHistory")
    clock.advance(60)
    org.delete("Opportunity", deal)
    org.undelete("Opportunity", deal)
    assert org.records("OpportunityHistory") == before
    assert org.records("OpportunityFieldHistory") == []


def test_a_probability_of_ones_own_is_a_row_too(org):
    deal = org.insert("Opportunity", DEAL)
    org.update("Opportunity", deal, {"Probability": 35})
    assert trail(org, deal)[-1] == ("Prospecting", 1000.0, 350.0, "2026-06-30", 35.0, "Pipeline")


def test_rows_of_a_transaction_appear_at_its_commit_with_the_stamps_of_saving(org, clock):
    deal = org.insert("Opportunity", DEAL)
    clock.advance(10)
    saved = stamp(clock.now())
    transaction = org.begin()
    transaction.update("Opportunity", deal, {"StageName": "Closed Won"})
    clock.advance(300)
    assert len(trail(org, deal)) == 1
    transaction.commit()
    assert org.records("OpportunityHistory")[-1]["CreatedDate"] == saved
    assert trail(org, deal)[-1][0] == "Closed Won"


def test_it_is_described_like_the_other_history_objects(salesforce):
    fields = {}
    for name in ("OpportunityHistory", "OpportunityFieldHistory"):
        about = salesforce.restful(f"sobjects/{name}/describe")
        assert (about["replicateable"], about["createable"], about["deletable"]) == (False, False, False)
        assert about["queryable"] is True
        fields[name] = {field["name"] for field in about["fields"]}
    assert fields["OpportunityHistory"] == {
        "Id",
        "IsDeleted",
        "OpportunityId",
        "CreatedById",
        "CreatedDate",
        "SystemModstamp",
        *COLUMNS,
    }
    assert "SystemModstamp" not in fields["OpportunityFieldHistory"]


def test_it_can_be_read_by_its_date_and_id(salesforce, org):
    deal = org.insert("Opportunity", DEAL)
    org.update("Opportunity", deal, {"Amount": 7})
    found = salesforce.query("SELECT Id, Amount FROM OpportunityHistory ORDER BY CreatedDate, Id")["records"]
    assert [row["Amount"] for row in found] == [1000.0, 7.0]


def test_in_the_invented_world_snapshots_and_field_history_tell_one_story():
    org = Org(clock=VirtualClock(NOW))
    build_world(org, accounts=30, seed=5, ends_at=NOW)
    stages: dict[str, list[tuple[str, str]]] = {}
    for row in org.records("OpportunityHistory"):
        stages.setdefault(row["OpportunityId"], []).append((row["CreatedDate"], row["StageName"]))
    changes: dict[str, list[tuple[str, str, str]]] = {}
    for row in org.records("OpportunityFieldHistory"):
        changes.setdefault(row["OpportunityId"], []).append((row["CreatedDate"], row["OldValue"], row["NewValue"]))
    last = {row["OpportunityId"]: row for row in org.records("OpportunityHistory")}
    deals = org.records("Opportunity", include_deleted=True)
    assert len(deals) > 50
    assert sum(len(found) for found in changes.values()) > 50
    for deal in deals:
        mine = stages[deal["Id"]]
        assert mine[0][0] == deal["CreatedDate"]
        told = [(at, before[1], now) for before, (at, now) in itertools.pairwise(mine)]
        assert told == changes.get(deal["Id"], [])
        assert all(last[deal["Id"]][name] == deal[name] for name in COLUMNS)
