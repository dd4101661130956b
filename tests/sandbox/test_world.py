"""The invented company: the same for a seed, sound in itself, and full of awkward values."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox import names
from integration.sandbox.clock import VirtualClock, from_stamp, stamp
from integration.sandbox.ids import is_id, to18
from integration.sandbox.org import Org
from integration.sandbox.world import World, build_world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FINGERPRINT = """
import hashlib, json
from datetime import UTC, datetime
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.world import build_world
now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
org = Org(clock=VirtualClock(now))
build_world(org, accounts=12, seed=3, ends_at=now)
rows = {name: org.records(name, include_deleted=True) for name in org.objects}
print(hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest())
"""


def make(**counts: Any) -> tuple[Org, World]:
    org = Org(clock=VirtualClock(NOW))
    return org, build_world(org, ends_at=NOW, **counts)


@pytest.fixture(scope="module")
def org() -> Org:
    return make(accounts=80, seed=7)[0]


def everything(org: Org) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in org.objects:
        for record in org.records(name, include_deleted=True):
            yield name, record


def by_id(org: Org, name: str, *, include_deleted: bool = True) -> dict[str, dict[str, Any]]:
    return {row["Id"]: row for row in org.records(name, include_deleted=include_deleted)}


def test_two_builds_with_one_seed_are_equal() -> None:
    first, second = make(accounts=20, seed=3)[0], make(accounts=20, seed=3)[0]
    assert list(everything(first)) == list(everything(second))


def test_another_seed_tells_another_story() -> None:
    first, second = make(accounts=20, seed=3)[0], make(accounts=20, seed=4)[0]
    assert [row["Name"] for row in first.records("Account")] != [row["Name"] for row in second.records("Account")]


def test_every_process_builds_the_same_world_whatever_its_hash_order() -> None:
    prints = set()
    for hash_seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env={"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            check=True,
        )
        prints.add(ran.stdout)
    assert len(prints) == 1
    assert prints != {b""}


def test_the_counts_are_those_asked_for() -> None:
    org, world = make(accounts=9, contacts=31, opportunities=14, leads=25)
    assert len(org.records("Account")) == 9
    assert len(org.records("Contact")) == 31
    assert len(org.records("Opportunity")) == 14
    assert len(org.records("Lead")) == 25
    assert world.counts["Contact"] == len(org.records("Contact", include_deleted=True)) > 31


def test_an_org_without_accounts_still_has_its_team_and_leads() -> None:
    org, _ = make(accounts=0, leads=5)
    assert org.records("Contact") == org.records("Opportunity") == []
    assert len(org.records("Lead")) == 5
    assert any(user["Title"] == "VP Sales" for user in org.records("User"))


@pytest.mark.parametrize("name", ["accounts", "contacts", "opportunities", "leads"])
def test_a_negative_count_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1"):
        make(**{name: -1})


def test_a_naive_end_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        build_world(Org(clock=VirtualClock(NOW)), ends_at=NOW.replace(tzinfo=None))


def test_every_id_is_sound_and_given_once(org: Org) -> None:
    seen = [record["Id"] for _, record in everything(org)]
    assert all(is_id(key) and to18(key[:15]) == key for key in seen)
    assert len(seen) == len(set(seen))


def test_every_reference_points_to_a_record_that_is_there(org: Org) -> None:
    known = {record["Id"]: name for name, record in everything(org)}
    checked = 0
    for name, record in everything(org):
        for field in org.objects[name].fields:
            key = record.get(field.name)
            if field.type == "reference" and key is not None:
                assert known.get(key) in field.reference_to, (name, field.name, key)
                checked += 1
    assert checked > 3000


def test_contact_roles_join_people_and_deals_of_one_account(org: Org) -> None:
    people, deals = by_id(org, "Contact", include_deleted=False), by_id(org, "Opportunity", include_deleted=False)
    roles = org.records("OpportunityContactRole")
    for role in roles:
        assert people[role["ContactId"]]["AccountId"] == deals[role["OpportunityId"]]["AccountId"]
    primaries = Counter(role["OpportunityId"] for role in roles if role["IsPrimary"])
    assert set(primaries.values()) == {1}
    assert len(primaries) < len({role["OpportunityId"] for role in roles})


def test_no_address_leads_out_of_the_sample_domains(org: Org) -> None:
    addresses = 0
    for name, record in everything(org):
        for field in org.objects[name].fields:
            value = record.get(field.name)
            if field.type == "email" and value:
                domain = value.strip().lower().rpartition("@")[2]
                assert domain.endswith(("example.com", "example.org")), value
                addresses += 1
            if field.type == "url" and value and not value.startswith("/"):
                assert value.split("/")[2].endswith(("example.com", "example.org")), value
    assert addresses > 500


def test_stamps_are_ordered_whole_seconds_and_nearly_none_lies_in_the_last_hour(org: Org) -> None:
    late = 0
    for name, record in everything(org):
        if name in ("User", "Organization") and record["CreatedDate"] < "2020":
            continue  # the org's own first records
        created = record["CreatedDate"]
        assert stamp(NOW - timedelta(days=730)) <= created <= stamp(NOW - timedelta(hours=1))
        if "LastModifiedDate" in record:
            assert created <= record["LastModifiedDate"] <= record["SystemModstamp"] < stamp(NOW)
            assert stamp(from_stamp(record["SystemModstamp"])) == record["SystemModstamp"]
            late += record["SystemModstamp"] > stamp(NOW - timedelta(hours=1))
    assert 1 <= late <= 10


def test_children_are_never_older_than_what_they_belong_to(org: Org) -> None:
    born = {record["Id"]: record["CreatedDate"] for _, record in everything(org)}
    parents = {
        "Contact": ("AccountId",),
        "Opportunity": ("AccountId",),
        "OpportunityContactRole": ("OpportunityId", "ContactId"),
        "CampaignMember": ("CampaignId", "ContactId", "LeadId"),
        "Task": ("WhoId",),
        "AccountHistory": ("AccountId",),
        "OpportunityFieldHistory": ("OpportunityId",),
        "OpportunityHistory": ("OpportunityId",),
    }
    for name, pointers in parents.items():
        for record in org.records(name, include_deleted=True):
            for pointer in pointers:
                if record[pointer]:
                    assert born[record[pointer]] <= record["CreatedDate"], (name, record["Id"], pointer)


def test_money_fits_the_type_of_the_account_and_has_cents(org: Org) -> None:
    kinds: dict[str, list[Any]] = {}
    for account in org.records("Account"):
        kinds.setdefault(account["Type"], []).append(account["MRR__c"])
    assert set(kinds) == {"Paying Customer", "Prospect", "Churned Customer", "Partner"}
    assert all(mrr > 0 for mrr in kinds["Paying Customer"])
    assert any(round(mrr * 100) % 100 for mrr in kinds["Paying Customer"])
    assert not any(kinds["Prospect"] + kinds["Partner"] + kinds["Churned Customer"])
    assert {0.0, None} == set(kinds["Churned Customer"])


def test_enrichment_agrees_with_the_person_and_the_company(org: Org) -> None:
    clearbit, accounts = by_id(org, "cbit__Clearbit__c"), by_id(org, "Account")
    roles, industries = set(), set()
    for contact in org.records("Contact"):
        row = clearbit.get(contact["cbit__Clearbit__c"])
        if row is None:
            continue
        roles.add(row["cbit__Role__c"])
        filed = (row["cbit__Employment_Role__c"], row["cbit__Employment_Seniority__c"])
        assert filed == names.role_of(row["cbit__Employment_Title__c"])
        assert contact["Title"] in (row["cbit__Employment_Title__c"], None, "null")
        if contact["AccountId"]:
            account = accounts[contact["AccountId"]]
            assert row["cbit__Company_Industry__c"] == account["Industry"]
            assert row["cbit__Company_Size__c"] == account["NumberOfEmployees"]
    for account in accounts.values():
        row = clearbit.get(account["cbit__Clearbit__c"])
        if row is not None:
            industries.add(row["cbit__Company_Category_Industry__c"])
            assert row["cbit__Email__c"] is None
    assert {"Product", "Engineering", "Marketing", "Sales"} <= roles
    assert {"Software", "E-commerce", "SaaS"} <= industries


def test_opportunities_follow_their_stage(org: Org) -> None:
    today = NOW.date().isoformat()
    kinds: Counter[tuple[bool, bool]] = Counter()
    for deal in org.records("Opportunity"):
        kinds[deal["IsClosed"], deal["IsWon"]] += 1
        assert deal["IsWon"] == (deal["StageName"] == "Closed Won")
        if deal["IsClosed"]:
            assert deal["CloseDate"] <= today
            assert deal["Probability"] == (100 if deal["IsWon"] else 0)
    assert set(kinds) == {(True, True), (True, False), (False, False)}


def test_converted_leads_lead_to_a_contact_of_that_account(org: Org) -> None:
    people, deals = by_id(org, "Contact"), by_id(org, "Opportunity")
    converted = [lead for lead in org.records("Lead") if lead["IsConverted"]]
    with_deal = [lead for lead in converted if lead["ConvertedOpportunityId"]]
    assert with_deal
    assert len(with_deal) < len(converted) < len(org.records("Lead"))
    for lead in converted:
        contact = people[lead["ConvertedContactId"]]
        assert (contact["AccountId"], contact["Email"]) == (lead["ConvertedAccountId"], lead["Email"])
        assert lead["ConvertedDate"] >= lead["CreatedDate"][:10]
    for lead in with_deal:
        assert deals[lead["ConvertedOpportunityId"]]["AccountId"] == lead["ConvertedAccountId"]


def test_some_open_leads_are_contacts_in_another_spelling(org: Org) -> None:
    exact = {row["Email"] for row in org.records("Contact") if row["Email"]}
    plain = {email.strip().lower() for email in exact}
    open_leads = [row["Email"] for row in org.records("Lead") if row["Email"] and not row["IsConverted"]]
    respelled = [email for email in open_leads if email.strip().lower() in plain and email not in exact]
    assert any(email != email.strip() for email in respelled)
    assert any(email != email.lower() for email in respelled)


def test_some_leads_were_entered_twice_and_some_contacts_share_an_address(org: Org) -> None:
    for name in ("Lead", "Contact"):
        emails = Counter(row["Email"] for row in org.records(name) if row["Email"])
        assert emails.most_common(1)[0][1] > 1, name


def test_a_purchased_list_shares_one_stamp(org: Org) -> None:
    ties = Counter(row["SystemModstamp"] for row in org.records("Lead"))
    assert ties.most_common(1)[0][1] >= 5


def test_deleted_records_include_a_merged_contact_and_a_dropped_deal(org: Org) -> None:
    gone = [row for row in org.records("Contact", include_deleted=True) if row["IsDeleted"]]
    live = by_id(org, "Contact", include_deleted=False)
    assert gone
    assert all(row["MasterRecordId"] in live for row in gone)
    assert any(row["IsDeleted"] for row in org.records("Opportunity", include_deleted=True))


def test_campaigns_count_their_members(org: Org) -> None:
    members = org.records("CampaignMember")
    assert 0 < sum(row["HasResponded"] for row in members) < len(members)
    for campaign in org.records("Campaign"):
        mine = [row for row in members if row["CampaignId"] == campaign["Id"]]
        assert campaign["NumberOfContacts"] == sum(bool(row["ContactId"]) for row in mine)
        assert campaign["NumberOfLeads"] == sum(bool(row["LeadId"]) for row in mine)
        assert campaign["NumberOfResponses"] == sum(row["HasResponded"] for row in mine)


def test_history_ends_with_what_the_record_says_now(org: Org) -> None:
    for name, parent, field in (
        ("AccountHistory", "Account", "Type"),
        ("ContactHistory", "Contact", "Title"),
        ("OpportunityFieldHistory", "Opportunity", "StageName"),
    ):
        last: dict[str, dict[str, Any]] = {}
        for row in org.records(name):
            key = row[f"{parent}Id"]
            if key not in last or (last[key]["CreatedDate"], last[key]["Id"]) < (row["CreatedDate"], row["Id"]):
                last[key] = row
        assert last
        parents = by_id(org, parent)
        for key, row in last.items():
            assert row["Field"] == field
            assert row["NewValue"] == parents[key][field]


def test_awkward_values_are_there(org: Org) -> None:
    text = json.dumps([record for _, record in everything(org)], ensure_ascii=False)
    for awkward in ('"null"', "🚀", "é", "O'", "\\n", ", "):
        assert awkward in text, awkward
    accounts = org.records("Account")
    assert 1234.1 in {row["MRR__c"] for row in accounts}
    assert 0.1 + 0.2 in {row["Office__Latitude__s"] for row in accounts}
    assert any(row["Products__c"] and ";" in row["Products__c"] for row in accounts)
    assert any(row["Support_Hours_Start__c"].endswith(":00.000Z") for row in accounts)
    assert any(row["Email"] is None for row in org.records("Contact"))
    assert any(row["AccountId"] is None for row in org.records("Contact"))
    assert "Null" in {row["LastName"] for row in org.records("Contact")}


def test_new_records_get_ids_of_their_own(org: Org) -> None:
    fresh, _ = make(accounts=5)
    before = {record["Id"] for _, record in everything(fresh)}
    new = [fresh.insert("Contact", {"LastName": "Park"}), fresh.insert("Account", {"Name": "Park & Ride"})]
    assert before.isdisjoint(new)


def test_companies_stay_different_when_the_pool_runs_out() -> None:
    companies = names.companies(random.Random(1), 9000)
    assert len({company.name for company in companies}) == len({company.domain for company in companies}) == 9000


@pytest.mark.parametrize(
    ("text", "plain"),
    [("Søren", "soren"), ("O'Brien", "obrien"), ("Ana 🌻", "ana"), ("Łukasz Wójcik", "lukasz-wojcik"), ("🚀", "x")],
)
def test_slugs_are_plain_ascii(text: str, plain: str) -> None:
    assert names.slug(text) == plain


@pytest.mark.parametrize(
    ("title", "role"),
    [("VP Product", "Product"), ("Senior CTO", "Engineering"), ("CFO, acting", "Finance"), ("CMO (2)", "Marketing")],
)
def test_a_title_with_additions_keeps_its_role(title: str, role: str) -> None:
    assert (names.role_of(title) or ("", ""))[0] == role


def test_an_unknown_title_has_no_role() -> None:
    assert names.role_of("Firefighter") is None
