"""Person accounts: one person, an account and a contact, each following the other."""

import pytest

from integration.sandbox.clock import stamp
from integration.sandbox.errors import OrgError
from integration.sandbox.org import Org

ANA = {"FirstName": "Ana", "LastName": "Moreau", "PersonEmail": "ana@example.com", "PersonTitle": "CTO"}


@pytest.fixture
def people(org: Org) -> Org:
    org.enable_person_accounts()
    return org


def halves(org: Org, account: str) -> tuple[dict[str, object], dict[str, object]]:
    first = org.get("Account", account)
    assert first is not None
    second = org.get("Contact", str(first["PersonContactId"]))
    assert second is not None
    return first, second


def test_a_new_org_knows_none(org, salesforce):
    assert "IsPersonAccount" not in {f["name"] for f in salesforce.restful("sobjects/Account/describe")["fields"]}
    with pytest.raises(OrgError, match="not enabled"):
        org.insert_person_account(ANA)


def test_a_person_is_an_account_and_its_contact(people):
    account, contact = halves(people, people.insert_person_account(ANA))
    assert (account["Name"], account["IsPersonAccount"]) == ("Ana Moreau", True)
    assert (contact["Name"], contact["Email"], contact["Title"]) == ("Ana Moreau", "ana@example.com", "CTO")
    assert (contact["AccountId"], contact["IsPersonAccount"]) == (account["Id"], True)
    assert contact["SystemModstamp"] == account["SystemModstamp"]
    assert len({commit.together for commit in people.commits[-2:]}) == 1


def test_enabling_twice_changes_nothing_and_companies_stay_companies(people):
    before = people.schema_version
    people.enable_person_accounts()
    assert people.schema_version == before
    company = people.insert("Account", {"Name": "Acme"})
    people.update("Account", company, {"Phone": "1"})
    account = people.get("Account", company)
    assert account is not None
    assert (account["Name"], account["IsPersonAccount"], account["PersonContactId"]) == ("Acme", False, None)


def test_a_person_needs_a_last_name(people):
    with pytest.raises(OrgError, match="LastName"):
        people.insert_person_account({"FirstName": "Ana"})


def test_an_edit_of_the_account_is_seen_on_the_contact(people, clock):
    key = people.insert_person_account(ANA)
    clock.advance(60)
    people.update("Account", key, {"LastName": "Diaz", "PersonEmail": "diaz@example.com"})
    account, contact = halves(people, key)
    assert (account["Name"], contact["Name"], contact["Email"]) == ("Ana Diaz", "Ana Diaz", "diaz@example.com")
    assert account["SystemModstamp"] == contact["SystemModstamp"] == stamp(clock.now())


def test_an_edit_of_the_contact_is_seen_on_the_account(people, clock):
    key = people.insert_person_account(ANA)
    clock.advance(60)
    people.update("Contact", halves(people, key)[1]["Id"], {"Title": "CEO", "FirstName": "Anna"})
    account, contact = halves(people, key)
    assert (account["Name"], account["PersonTitle"]) == ("Anna Moreau", "CEO")
    assert account["SystemModstamp"] == contact["SystemModstamp"] == stamp(clock.now())


def test_the_name_of_a_person_is_made_of_its_parts_alone(people):
    key = people.insert_person_account(ANA)
    people.update("Account", key, {"Name": "Somebody Else"})
    assert [half["Name"] for half in halves(people, key)] == ["Ana Moreau", "Ana Moreau"]


def test_both_stamps_move_when_only_one_half_has_the_field(people, clock):
    key = people.insert_person_account(ANA)
    clock.advance(60)
    people.update("Account", key, {"MRR__c": 5})
    assert {half["SystemModstamp"] for half in halves(people, key)} == {stamp(clock.now())}


def test_an_open_transaction_locks_both_halves(people):
    key = people.insert_person_account(ANA)
    with people.begin() as transaction:
        transaction.update("Account", key, {"PersonTitle": "CEO"})
        with pytest.raises(OrgError, match="UNABLE_TO_LOCK_ROW"):
            people.update("Contact", halves(people, key)[1]["Id"], {"Phone": "1"})
    assert halves(people, key)[1]["Title"] == "CEO"


def test_the_contact_goes_and_comes_back_with_its_account(people):
    key = people.insert_person_account(ANA)
    contact = halves(people, key)[1]["Id"]
    people.delete("Account", key)
    assert people.records("Contact") == []
    people.undelete("Account", key)
    assert [record["Id"] for record in people.records("Contact")] == [contact]
    people.delete("Account", key)
    people.purge("Account", key)
    assert people.get("Contact", contact) is None


def test_merged_persons_are_merged_as_contacts_too(people, clock):
    winner, loser = people.insert_person_account(ANA), people.insert_person_account({**ANA, "FirstName": "A."})
    first, second = halves(people, winner)[1]["Id"], halves(people, loser)[1]["Id"]
    task = people.insert("Task", {"Subject": "Call", "WhoId": second})
    clock.advance(60)
    people.merge("Account", winner, [loser])
    gone, gone_contact = people.get("Account", loser), people.get("Contact", second)
    assert gone is not None
    assert gone_contact is not None
    assert (gone["IsDeleted"], gone["MasterRecordId"]) == (True, winner)
    assert (gone_contact["IsDeleted"], gone_contact["MasterRecordId"]) == (True, first)
    assert gone["PersonContactId"] == second
    assert people.value("Task", task, "WhoId") == first
    account, contact = halves(people, winner)
    assert account["SystemModstamp"] == contact["SystemModstamp"] == stamp(clock.now())
    assert contact["AccountId"] == winner
    assert len({c.together for c in people.commits if c.kind == "merged"}) == 1


def test_the_contact_of_a_person_does_nothing_without_its_account(people):
    key, company = people.insert_person_account(ANA), people.insert("Account", {"Name": "Acme"})
    contact, other = halves(people, key)[1]["Id"], people.insert("Contact", {"LastName": "Okafor"})
    for act in (
        lambda: people.update("Contact", contact, {"AccountId": company}),
        lambda: people.delete("Contact", contact),
        lambda: people.merge("Contact", other, [contact]),
        lambda: people.merge("Account", company, [key]),
    ):
        with pytest.raises(OrgError, match="INVALID_PERSON_ACCOUNT_OPERATION"):
            act()
    with people.begin() as transaction, pytest.raises(OrgError, match="INVALID_PERSON_ACCOUNT_OPERATION"):
        transaction.delete("Contact", contact)


def test_an_edit_of_a_person_is_in_the_history_of_both(people):
    key = people.insert_person_account(ANA)
    people.update("Account", key, {"PersonEmail": "new@example.com", "LastName": "Diaz"})
    contact = [(row["Field"], row["NewValue"]) for row in people.records("ContactHistory")]
    assert ("Email", "new@example.com") in contact
    assert ("Name", "Ana Diaz") in [(row["Field"], row["NewValue"]) for row in people.records("AccountHistory")]
