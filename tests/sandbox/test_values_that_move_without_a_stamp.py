"""Drift, roll-up summaries, formulas over other records and over today: what no stamp tells."""

import pytest

from integration.sandbox.clock import stamp
from integration.sandbox.errors import OrgError
from integration.sandbox.org import Org

DEAL = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2026-03-10", "Amount": 100.1}


@pytest.fixture
def acme(org: Org) -> str:
    return org.insert("Account", {"Name": "Acme"})


def deal_of(org: Org, account: str, **fields: object) -> str:
    return org.insert("Opportunity", {**DEAL, "AccountId": account, **fields})


def pipeline(org: Org, account: str) -> tuple[object, object]:
    record = org.get("Account", account)
    assert record is not None
    return record["Open_Pipeline__c"], record["Won_Deals__c"]


def test_drift_leaves_no_trace_but_the_value(org, clock, salesforce):
    contact = org.insert("Contact", {"LastName": "Okafor", "Email": "o@example.com"})
    before, commits, log = org.get("Contact", contact), len(org.commits), org.records("ContactHistory")
    clock.advance(60)
    org.drift("Contact", contact, {"Email": "drifted@example.com", "Score__c": 7})
    assert org.get("Contact", contact) == {**before, "Email": "drifted@example.com", "Score__c": 7.0}
    assert (len(org.commits), org.records("ContactHistory")) == (commits, log)
    since = before["SystemModstamp"].replace("+0000", "Z")
    assert salesforce.query(f"SELECT Id FROM Contact WHERE SystemModstamp > {since}")["totalSize"] == 0
    assert salesforce.query("SELECT Id FROM Contact WHERE Score__c = 7")["totalSize"] == 1


@pytest.mark.parametrize("field", ["Id", "SystemModstamp", "IsDeleted", "Account_ARR__c"])
def test_drift_refuses_what_is_not_a_value_of_the_record(org, field):
    contact = org.insert("Contact", {"LastName": "Okafor"})
    with pytest.raises(OrgError):
        org.drift("Contact", contact, {field: None})


def test_a_drifted_value_is_where_the_next_edit_starts(org):
    contact = org.insert("Contact", {"LastName": "Okafor", "Score__c": 1})
    org.drift("Contact", contact, {"Score__c": 2})
    org.update("Contact", contact, {"Title": "CEO"})
    assert (org.commits[-1].before or {})["Score__c"] == (org.commits[-1].after or {})["Score__c"] == 2.0


def test_roll_ups_follow_the_deals_and_the_account_keeps_its_stamp(org, clock, acme):
    before = org.get("Account", acme)
    assert pipeline(org, acme) == (0.0, 0.0)
    clock.advance(60)
    first, second = deal_of(org, acme), deal_of(org, acme, Amount=200.2)
    assert pipeline(org, acme) == (300.3, 0.0)
    org.update("Opportunity", first, {"StageName": "Closed Won"})
    assert pipeline(org, acme) == (200.2, 1.0)
    org.delete("Opportunity", second)
    assert pipeline(org, acme) == (0.0, 1.0)
    org.undelete("Opportunity", second)
    org.drift("Opportunity", second, {"Amount": None})
    assert pipeline(org, acme) == (0.0, 1.0)
    org.purge("Opportunity", org.delete("Opportunity", first) or first)
    assert pipeline(org, acme) == (0.0, 0.0)
    assert org.get("Account", acme) == before


def test_a_deal_that_changes_its_account_counts_at_the_new_one(org, acme):
    other = org.insert("Account", {"Name": "Globex"})
    deal = deal_of(org, acme)
    assert (pipeline(org, acme)[0], pipeline(org, other)[0]) == (100.1, 0.0)
    org.update("Opportunity", deal, {"AccountId": other})
    assert (pipeline(org, acme)[0], pipeline(org, other)[0]) == (0.0, 100.1)


def test_if_told_so_the_change_of_a_deal_moves_the_stamps_of_both_its_accounts(org, clock, acme):
    other = org.insert("Account", {"Name": "Globex"})
    org.roll_ups_move_stamp = True

    def deal() -> str:
        return org.records("Opportunity", include_deleted=True)[0]["Id"]

    for act in (
        lambda: deal_of(org, acme),
        lambda: org.update("Opportunity", deal(), {"Amount": 5}),
        lambda: org.delete("Opportunity", deal()),
        lambda: org.undelete("Opportunity", deal()),
    ):
        clock.advance(60)
        act()
        assert org.value("Account", acme, "SystemModstamp") == stamp(clock.now())
        assert org.value("Account", acme, "LastModifiedDate") < stamp(clock.now())
        assert org.commits[-1].kind == "touched"
    clock.advance(60)
    org.update("Opportunity", deal(), {"AccountId": other})
    assert {org.value("Account", key, "SystemModstamp") for key in (acme, other)} == {stamp(clock.now())}


def test_days_to_close_follow_the_clock_of_the_org(org, clock, acme, salesforce):
    deal = deal_of(org, acme)
    text = "SELECT Days_To_Close__c, SystemModstamp FROM Opportunity"
    [today] = salesforce.query(text)["records"]
    clock.advance(3 * 86400)
    [later] = salesforce.query(text)["records"]
    assert (today["Days_To_Close__c"], later["Days_To_Close__c"]) == (8.0, 5.0)
    assert today["SystemModstamp"] == later["SystemModstamp"]
    org.update("Opportunity", deal, {"StageName": "Closed Lost"})
    assert org.value("Opportunity", deal, "Days_To_Close__c") is None


def test_describe_calls_them_all_calculated(salesforce, org):
    moving = {(name, field.name) for name, obj in org.objects.items() for field in obj.fields if field.moves_alone}
    assert moving == {
        ("Account", "Open_Pipeline__c"),
        ("Account", "Won_Deals__c"),
        ("Contact", "Account_ARR__c"),
        ("Contact", "Account_Type__c"),
        ("Opportunity", "Account_Segment__c"),
        ("Opportunity", "Days_To_Close__c"),
    }
    for name in ("Account", "Contact", "Opportunity"):
        fields = {f["name"]: f for f in salesforce.restful(f"sobjects/{name}/describe")["fields"]}
        mine = [fields[field] for parent, field in moving if parent == name]
        assert all(f["calculated"] and not f["createable"] and not f["updateable"] for f in mine)
    account = {f["name"]: f for f in salesforce.restful("sobjects/Account/describe")["fields"]}
    assert account["Open_Pipeline__c"]["type"] == "currency"
    assert account["Open_Pipeline__c"]["calculatedFormula"] is None
    assert account["ARR__c"]["calculatedFormula"] is not None
