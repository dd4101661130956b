"""Person accounts, archived activities, objects without a recycle bin: each ends in the tables as the org has it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from compare import assert_equal

Found = Callable[..., Any]


def user(company: Any, record_id: str) -> dict[str, Any]:
    rows = company.query(f"SELECT * FROM users WHERE contact_id = '{record_id}'")
    assert len(rows) == 1
    return dict(rows[0])


def contact_of(company: Any, account_id: str) -> str:
    return str(company.org.get("Account", account_id)["PersonContactId"])


def test_a_person_account_is_one_person_at_an_account_of_their_own(found: Found) -> None:
    company = found(accounts=3)
    company.org.enable_person_accounts()
    account = company.org.insert_person_account(
        {"FirstName": "Ines", "LastName": "Moreau", "PersonEmail": "Ines@Example.com", "Industry": "Education"}
    )
    company.sync()
    contact = contact_of(company, account)
    person = user(company, contact)
    assert (person["user_id"], person["account_id"], person["identity"]) == (contact, account, "ines@example.com")
    assert person["sfdc_account_industry"] == "Education"

    company.clock.advance(60)
    company.org.update("Account", account, {"PersonEmail": "ines.moreau@example.org", "PersonTitle": "Head Teacher"})
    company.sync()

    assert_equal(company)
    person = user(company, contact)
    assert (person["sfdc_contact_title"], person["identity"]) == ("Head Teacher", "ines.moreau@example.org")
    changed = "SELECT name FROM events WHERE record_id = '{}' AND name <> 'Contact Created'"
    assert [r["name"] for r in company.query(changed.format(contact))] == ["Email Changed"]


def test_two_person_accounts_merged_are_one_person_and_deleted_ones_are_gone(found: Found) -> None:
    company = found(accounts=3)
    company.org.enable_person_accounts()
    first, second, third = (
        company.org.insert_person_account({"LastName": name, "PersonEmail": f"{name}@example.com"})
        for name in ("alder", "birch", "cedar")
    )
    company.sync()
    winner, loser, leaver = (contact_of(company, account) for account in (first, second, third))
    company.clock.advance(60)

    company.org.merge("Account", first, [second])
    company.org.delete("Account", third)
    company.org.purge("Account", third)
    company.sync()

    assert_equal(company)
    merged = {r["alias"]: r["user_id"] for r in company.query("SELECT * FROM identities")}
    assert (merged[winner], merged[loser]) == (winner, winner)
    assert user(company, leaver)["is_deleted"]
    names = {r["name"] for r in company.query(f"SELECT name FROM events WHERE record_id IN ('{second}', '{loser}')")}
    assert {"Account Merged", "Contact Merged"} <= names


def test_archived_activities_stay_and_count(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    before = company.query("SELECT account_id, activity_count FROM accounts ORDER BY 1")
    company.clock.advance(60)

    archived = company.org.archive_activities(company.clock.now() - timedelta(days=30))
    company.sync()

    assert archived
    assert_equal(company)
    assert company.query("SELECT account_id, activity_count FROM accounts ORDER BY 1") == before
    assert company.query("SELECT count(*) AS n FROM salesforce.task WHERE isarchived")[0]["n"] > 0


def test_members_and_roles_that_know_no_recycle_bin_leave_at_once(found: Found) -> None:
    company = found(accounts=6)
    company.sync()
    company.clock.advance(300)
    role = company.org.records("OpportunityContactRole")[0]
    member = company.org.records("CampaignMember")[0]
    company.org.delete("OpportunityContactRole", role["Id"])
    company.org.delete("CampaignMember", member["Id"])

    company.sync()

    assert_equal(company)
    for record_id in (role["Id"], member["Id"]):
        names = [r["name"] for r in company.query(f"SELECT name FROM events WHERE record_id = '{record_id}'")]
        assert names[-1].endswith(" Deleted")
