"""What Salesforce's own diary adds: the values between two polls, and the past before day one."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from compare import text

Found = Callable[..., Any]
DIARIES = {
    "AccountHistory": "Account",
    "ContactHistory": "Contact",
    "LeadHistory": "Lead",
    "OpportunityFieldHistory": "Opportunity",
}
CHANGES = (
    "SELECT c.event_id, c.time, c.record_id, c.field, c.old_value, c.new_value, c.actor_id, c.origin, e.name "
    "FROM changes AS c JOIN events AS e USING (event_id) WHERE {} ORDER BY c.time, c.old_value"
)


def diary(company: Any, name: str) -> Counter[tuple[Any, ...]]:
    """What a diary tells read naively: (record, time, field, old, new, who)."""
    parent = DIARIES[name]
    fields = {f.name: f.type for f in company.org.objects[parent].fields}
    lookups = {f.relationship: f.name for f in company.org.objects[parent].fields if f.relationship and not f.custom}
    told: Counter[tuple[Any, ...]] = Counter()
    for row in company.org.records(name, include_deleted=True):
        field = lookups.get(row["Field"], row["Field"])
        old, new = row["OldValue"], row["NewValue"]
        if field not in fields or old == new or (fields[field] == "reference" and row["DataType"] != "EntityId"):
            continue
        at = row["CreatedDate"].replace(".000+0000", "Z")
        values = (text(value, fields[field]) for value in (old, new))
        told[row[f"{parent}Id"], at, field, *values, row["CreatedById"]] += 1
    return told


def stages(company: Any, deal: str, origin: str) -> list[tuple[Any, ...]]:
    """The stage changes of a deal as (name, old, new, who)."""
    rows = company.query(CHANGES.format(f"c.record_id = '{deal}' AND c.field = 'StageName' AND c.origin = '{origin}'"))
    return [(r["name"], r["old_value"], r["new_value"], r["actor_id"]) for r in rows]


def test_a_first_sync_seeds_the_changes_from_before_day_one(found: Found) -> None:
    company = found(accounts=12)

    report = company.sync()

    assert report.dead_letters == 0
    for name, parent in DIARIES.items():
        expected = diary(company, name)
        assert expected or parent == "Lead"
        rows = company.query(CHANGES.format(f"c.object = '{parent}' AND c.origin = 'history'"))
        told = Counter(
            (r["record_id"], r["time"], r["field"], r["old_value"], r["new_value"], r["actor_id"]) for r in rows
        )
        # Of opportunities their own history tells more: amounts, probabilities, forecasts.
        assert expected <= told if parent == "Opportunity" else expected == told
        assert Counter({k: n for k, n in told.items() if k[2] == "StageName"}) == Counter(
            {k: n for k, n in expected.items() if k[2] == "StageName"}
        )
    assert company.query("SELECT count(*) AS n FROM opportunity_stage_changed")[0]["n"] > 10
    assert not company.query("SELECT name FROM events WHERE object LIKE '%History'")


def test_of_three_stages_between_two_syncs_history_tells_two_and_polling_the_last(found: Found) -> None:
    company = found(build=False)
    account = company.org.insert("Account", {"Name": "Acme"})
    fields = {"Name": "Big", "AccountId": account, "StageName": "Prospecting", "CloseDate": "2026-06-01", "Amount": 100}
    deal = company.org.insert("Opportunity", fields)
    company.sync()
    for stage in ("Qualification", "Proposal/Price Quote", "Negotiation/Review"):
        company.clock.advance(60)
        company.org.update("Opportunity", deal, {"StageName": stage})
    last = company.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    company.clock.advance(60)

    company.sync()

    me = company.org.default_user
    name = "Opportunity Stage Changed"
    history = [
        (name, "Prospecting", "Qualification", me),
        (name, "Qualification", "Proposal/Price Quote", me),
    ]
    assert stages(company, deal, "history") == history
    assert stages(company, deal, "poll") == [(name, "Prospecting", "Negotiation/Review", me)]
    events = company.query("SELECT * FROM opportunity_stage_changed ORDER BY time")
    assert [e["origin"] for e in events] == ["history", "history", "poll"]
    assert events[2]["time"] == last
    assert {e["account_id"] for e in events} == {account}
    # Each stage has its probability; nothing of one moment is told twice.
    every = company.query(CHANGES.format(f"c.record_id = '{deal}'"))
    assert max(Counter((r["time"], r["field"]) for r in every).values()) == 1

    company.clock.advance(60)
    assert company.sync().events_written == 0
    assert stages(company, deal, "history") == history


def test_an_address_given_and_taken_back_between_two_syncs_is_in_the_persons_timeline(found: Found) -> None:
    company = found(build=False)
    contact = company.org.insert("Contact", {"LastName": "Moreau", "Email": "ana@example.com"})
    company.sync()
    company.clock.advance(60)
    company.org.update("Contact", contact, {"Email": "oops@example.com"})
    company.clock.advance(60)
    company.org.update("Contact", contact, {"Email": "ana@example.com"})
    company.clock.advance(60)

    company.sync()

    told = company.query("SELECT name, origin, user_id, via FROM user_events ORDER BY time")
    assert [tuple(r.values()) for r in told] == [
        ("Contact Created", "poll", contact, "self"),
        ("Email Changed", "history", contact, "self"),
        ("Email Changed", "history", contact, "self"),
    ]


@pytest.mark.slow
def test_whatever_happens_between_syncs_every_row_of_the_diary_is_told_once(found: Found) -> None:
    company = found(accounts=8)
    company.sync()
    began = company.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    company.clock.advance(5)
    for _ in range(4):
        company.live(40, every_seconds=3)
        company.sync()
    company.traffic.finish()
    company.clock.advance(30)
    company.sync()

    for name, parent in DIARIES.items():
        steps = diary(company, name).elements()
        expected = Counter((record, field, new) for record, at, field, _, new, _ in steps if at > began)
        rows = company.query(CHANGES.format(f"c.object = '{parent}' AND c.time > '{began}'"))
        told = Counter((r["record_id"], r["field"], r["new_value"]) for r in rows)
        tracked = {(record, field) for record, field, _ in expected}
        assert Counter({key: n for key, n in told.items() if key[:2] in tracked}) == expected
        assert expected or parent == "Lead"
