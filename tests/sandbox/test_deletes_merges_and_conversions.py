from typing import Any

import pytest

from integration.sandbox.clock import stamp
from integration.sandbox.org import Org, OrgError


def deal(org: Org, account: str, **more: Any) -> str:
    fields = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2026-06-30", "AccountId": account}
    return org.insert("Opportunity", fields | more)


def family(org: Org) -> dict[str, str]:
    account = org.insert("Account", {"Name": "Acme"})
    contact = org.insert("Contact", {"LastName": "Okafor", "AccountId": account})
    opportunity = deal(org, account)
    role = org.insert("OpportunityContactRole", {"OpportunityId": opportunity, "ContactId": contact})
    return {"Account": account, "Contact": contact, "Opportunity": opportunity, "OpportunityContactRole": role}


def test_deleting_an_account_takes_its_contacts_and_deals_along_and_undeleting_brings_them_back(org, clock):
    keys = family(org)
    clock.advance(60)
    org.delete("Account", keys["Account"])
    for name in ("Account", "Contact", "Opportunity"):
        record = org.get(name, keys[name])
        assert record["IsDeleted"] is True
        assert record["SystemModstamp"] == stamp(clock.now())
        assert org.records(name) == []
        assert len(org.records(name, include_deleted=True)) == 1
    assert org.get("OpportunityContactRole", keys["OpportunityContactRole"]) is None
    assert org.deleted_log("OpportunityContactRole") == [(keys["OpportunityContactRole"], stamp(clock.now()))]
    clock.advance(60)
    org.undelete("Account", keys["Account"])
    for name in ("Account", "Contact", "Opportunity"):
        assert org.get(name, keys[name])["IsDeleted"] is False
        assert org.get(name, keys[name])["SystemModstamp"] == stamp(clock.now())
        assert org.deleted_log(name) == []


def test_what_was_deleted_before_does_not_come_back_with_its_parent(org, clock):
    keys = family(org)
    org.delete("Contact", keys["Contact"])
    clock.advance(1)
    org.delete("Account", keys["Account"])
    org.undelete("Account", keys["Account"])
    assert org.get("Contact", keys["Contact"])["IsDeleted"] is True
    assert org.get("Opportunity", keys["Opportunity"])["IsDeleted"] is False


def test_an_undelete_can_be_told_to_leave_the_stamp(org, clock):
    key = org.insert("Account", {"Name": "Acme"})
    org.undelete_moves_stamp = False
    org.delete("Account", key)
    deleted_at = stamp(clock.now())
    clock.advance(60)
    org.undelete("Account", key)
    assert org.get("Account", key)["SystemModstamp"] == deleted_at


def test_a_purged_record_is_gone_for_good_with_its_family_but_stays_in_the_delete_log(org):
    keys = family(org)
    org.delete("Account", keys["Account"])
    org.purge("Account", keys["Account"])
    for name in keys:
        assert org.records(name, include_deleted=True) == []
        assert [key for key, _ in org.deleted_log(name)] == [keys[name]]
    with pytest.raises(OrgError, match=r"^NOT_FOUND"):
        org.undelete("Account", keys["Account"])


def test_only_what_is_in_the_recycle_bin_can_be_purged_or_undeleted(org):
    key = org.insert("Account", {"Name": "Acme"})
    for act in (org.purge, org.undelete):
        with pytest.raises(OrgError, match=r"^UNDELETE_FAILED"):
            act("Account", key)
    org.delete("Account", key)
    with pytest.raises(OrgError, match=r"^ENTITY_IS_DELETED"):
        org.update("Account", key, {"Name": "x"})


def test_members_and_roles_are_gone_at_once(org):
    campaign = org.insert("Campaign", {"Name": "Spring"})
    contact = org.insert("Contact", {"LastName": "Okafor"})
    member = org.insert("CampaignMember", {"CampaignId": campaign, "ContactId": contact})
    org.delete("CampaignMember", member)
    assert org.records("CampaignMember", include_deleted=True) == []
    assert [key for key, _ in org.deleted_log("CampaignMember")] == [member]
    assert (org.commits[-2].kind, org.commits[-2].after) == ("deleted", None)


def test_a_merge_hands_the_losers_children_to_the_winner_and_moves_their_stamps(org, clock):
    winner, loser = org.insert("Account", {"Name": "Winner"}), org.insert("Account", {"Name": "Loser"})
    contact = org.insert("Contact", {"LastName": "Okafor", "AccountId": loser})
    opportunity = deal(org, loser)
    task = org.insert("Task", {"WhatId": loser, "Subject": "Call"})
    org.update("Account", winner, {"ParentId": loser})
    clock.advance(60)
    org.merge("Account", winner, [loser])
    now = stamp(clock.now())
    lost = org.get("Account", loser)
    assert (lost["IsDeleted"], lost["MasterRecordId"], lost["SystemModstamp"]) == (True, winner, now)
    assert org.get("Account", winner)["SystemModstamp"] == now
    assert org.get("Account", winner)["ParentId"] is None
    assert org.get("Contact", contact)["AccountId"] == winner
    assert org.get("Contact", contact)["SystemModstamp"] == now
    assert org.get("Opportunity", opportunity)["AccountId"] == winner
    assert (org.get("Task", task)["WhatId"], org.get("Task", task)["AccountId"]) == (winner, winner)
    assert [key for key, _ in org.deleted_log("Account")] == [loser]
    with pytest.raises(OrgError, match=r"^UNDELETE_FAILED"):
        org.undelete("Account", loser)


def test_merging_contacts_moves_roles_memberships_and_activities(org):
    keys = family(org)
    winner = org.insert("Contact", {"LastName": "Okafor-Winner", "AccountId": keys["Account"]})
    event = org.insert("Event", {"WhoId": keys["Contact"], "Subject": "Meeting"})
    org.merge("Contact", winner, [keys["Contact"]])
    assert org.get("OpportunityContactRole", keys["OpportunityContactRole"])["ContactId"] == winner
    assert org.get("Event", event)["WhoId"] == winner
    with pytest.raises(OrgError, match=r"^INVALID_OPERATION"):
        org.merge("Contact", winner, [winner])
    with pytest.raises(OrgError, match=r"^INVALID_TYPE_FOR_OPERATION"):
        org.merge("Opportunity", keys["Opportunity"], [keys["Opportunity"]])


def test_converting_a_lead_makes_account_contact_and_deal_and_moves_its_activities(org, clock):
    lead = org.insert("Lead", {"FirstName": "Ada", "LastName": "Okafor", "Company": "Acme", "Email": "ada@example.com"})
    task = org.insert("Task", {"WhoId": lead, "Subject": "Call"})
    campaign = org.insert("Campaign", {"Name": "Spring"})
    member = org.insert("CampaignMember", {"CampaignId": campaign, "LeadId": lead})
    clock.advance(60)
    made = org.convert_lead(lead)
    record = org.get("Lead", lead)
    assert record["IsConverted"] is True
    assert record["Status"] == "Qualified"
    assert record["ConvertedDate"] == "2026-03-02"
    assert record["ConvertedAccountId"] == made["account_id"]
    assert record["ConvertedContactId"] == made["contact_id"]
    assert record["ConvertedOpportunityId"] == made["opportunity_id"]
    assert org.get("Account", made["account_id"])["Name"] == "Acme"
    contact = org.get("Contact", made["contact_id"])
    assert (contact["Name"], contact["Email"], contact["AccountId"]) == (
        "Ada Okafor",
        "ada@example.com",
        made["account_id"],
    )
    (role,) = org.records("OpportunityContactRole")
    assert (role["ContactId"], role["OpportunityId"]) == (made["contact_id"], made["opportunity_id"])
    assert org.get("Task", task)["WhoId"] == made["contact_id"]
    assert org.get("CampaignMember", member)["ContactId"] == made["contact_id"]
    with pytest.raises(OrgError, match=r"^CANNOT_UPDATE_CONVERTED_LEAD"):
        org.convert_lead(lead)


def test_a_lead_can_be_converted_into_what_is_there_already(org):
    keys = family(org)
    lead = org.insert("Lead", {"LastName": "Okafor", "Company": "Acme"})
    made = org.convert_lead(lead, contact_id=keys["Contact"], with_opportunity=False)
    assert made == {"account_id": keys["Account"], "contact_id": keys["Contact"], "opportunity_id": None}
    assert len(org.records("Account")) == len(org.records("Contact")) == 1
    assert org.get("Lead", lead)["ConvertedOpportunityId"] is None
