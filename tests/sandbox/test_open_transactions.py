import threading

import pytest

from integration.sandbox.clock import stamp
from integration.sandbox.org import OrgError
from integration.sandbox.query import run


def newest(org, since: str) -> list[str]:
    text = f"SELECT Id FROM Account WHERE SystemModstamp >= {since} ORDER BY SystemModstamp, Id"
    with org.lock:
        return [row["Id"] for row in run(org, text, include_deleted=True).page(0, 2000)]


def test_a_late_commit_appears_with_the_stamp_of_its_saving(org, clock):
    transaction = org.begin()
    saved_at = stamp(clock.now())
    late = transaction.insert("Account", {"Name": "Late"})
    clock.advance(300)
    prompt = org.insert("Account", {"Name": "Prompt"})
    assert newest(org, saved_at.replace("+0000", "Z")) == [prompt]
    assert org.get("Account", late) is None
    assert org.oldest_open() == transaction.started
    transaction.commit()
    assert newest(org, saved_at.replace("+0000", "Z")) == [late, prompt]
    record = org.get("Account", late)
    assert record["SystemModstamp"] == record["CreatedDate"] == saved_at
    assert org.oldest_open() is None
    assert (org.commits[-1].at, org.commits[-1].visible_at) == (saved_at, stamp(clock.now()))


def test_updates_deletes_and_touches_wait_for_the_commit_and_so_does_history(org, clock):
    first, second, third = (org.insert("Account", {"Name": name, "Type": "Prospect"}) for name in "ABC")
    history = len(org.records("AccountHistory"))
    clock.advance(10)
    saved_at = stamp(clock.now())
    transaction = org.begin()
    transaction.update("Account", first, {"Type": "Customer"})
    transaction.delete("Account", second)
    transaction.touch("Account", third)
    clock.advance(100)
    assert [record["Type"] for record in org.records("Account")] == ["Prospect"] * 3
    assert len(org.records("AccountHistory")) == history
    transaction.commit()
    assert org.get("Account", first)["Type"] == "Customer"
    assert org.get("Account", second)["IsDeleted"] is True
    assert {org.get("Account", key)["SystemModstamp"] for key in (first, second, third)} == {saved_at}
    (row,) = org.records("AccountHistory")[history:]
    assert (row["Field"], row["CreatedDate"]) == ("Type", saved_at)


def test_a_rollback_leaves_nothing_behind(org):
    key = org.insert("Account", {"Name": "Acme"})
    before, commits = org.get("Account", key), len(org.commits)

    def fail_halfway() -> None:
        with org.begin() as transaction:
            transaction.update("Account", key, {"Name": "Other"})
            transaction.insert("Account", {"Name": "New"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert org.get("Account", key) == before
    assert len(org.records("Account")) == 1
    assert len(org.commits) == commits
    org.update("Account", key, {"Name": "Unlocked again"})


def test_rows_of_an_open_transaction_are_locked_for_others(org):
    account = org.insert("Account", {"Name": "Acme"})
    contact = org.insert("Contact", {"LastName": "Okafor", "AccountId": account})
    transaction = org.begin()
    transaction.update("Contact", contact, {"Title": "CTO"})
    for act in (
        lambda: org.update("Contact", contact, {"Title": "CEO"}),
        lambda: org.delete("Account", account),
        lambda: org.touch("Contact", contact),
        lambda: org.begin().update("Contact", contact, {"Title": "CEO"}),
    ):
        with pytest.raises(OrgError, match=r"^UNABLE_TO_LOCK_ROW"):
            act()
    transaction.commit()
    org.update("Contact", contact, {"Title": "CEO"})
    assert org.get("Contact", contact)["Title"] == "CEO"


def test_what_an_open_transaction_will_touch_is_locked_too(org):
    contact = org.insert("Contact", {"LastName": "Okafor"})
    campaign = org.insert("Campaign", {"Name": "Spring"})
    transaction = org.begin()
    transaction.insert("Event", {"WhoId": contact, "Subject": "Meeting", "ActivityDate": "2026-03-01"})
    transaction.insert("CampaignMember", {"CampaignId": campaign, "ContactId": contact})
    for name, key in (("Contact", contact), ("Campaign", campaign)):
        with pytest.raises(OrgError, match=r"^UNABLE_TO_LOCK_ROW"):
            org.touch(name, key)
    transaction.commit()
    assert org.get("Contact", contact)["LastActivityDate"] == "2026-03-01"
    assert org.get("Campaign", campaign)["NumberOfContacts"] == 1


def test_others_may_not_touch_a_locked_row_in_passing(org):
    account = org.insert("Account", {"Name": "Acme"})
    contact = org.insert("Contact", {"LastName": "Okafor", "AccountId": account})
    lead = org.insert("Lead", {"LastName": "Zimmer", "Company": "Acme"})
    campaign = org.insert("Campaign", {"Name": "Spring"})
    member = org.insert("CampaignMember", {"CampaignId": campaign, "LeadId": lead})
    task = org.insert("Task", {"WhoId": contact, "Subject": "Call", "ActivityDate": "2026-03-01"})
    other = org.insert("Contact", {"LastName": "Okafor-Twin"})
    transaction = org.begin()
    transaction.update("Account", account, {"Type": "Customer"})
    transaction.update("Campaign", campaign, {"Status": "Completed"})
    commits = len(org.commits)
    for act in (
        lambda: org.insert("Task", {"WhoId": contact, "Subject": "Call"}),
        lambda: org.update("Task", task, {"Status": "Completed"}),
        lambda: org.delete("CampaignMember", member),
        lambda: org.merge("Contact", other, [contact]),
        lambda: org.convert_lead(lead),
    ):
        with pytest.raises(OrgError, match=r"^UNABLE_TO_LOCK_ROW"):
            act()
    assert len(org.commits) == commits
    transaction.commit()
    org.convert_lead(lead)


def test_a_transaction_may_refer_to_its_own_new_records(org):
    with org.begin() as transaction:
        account = transaction.insert("Account", {"Name": "Acme"})
        contact = transaction.insert("Contact", {"LastName": "Okafor", "AccountId": account})
        transaction.update("Contact", contact, {"Title": "CTO"})
        gone = transaction.insert("Contact", {"LastName": "Gone"})
        transaction.delete("Contact", gone)
    assert org.get("Contact", contact)["AccountId"] == account
    assert org.get("Contact", contact)["Title"] == "CTO"
    assert org.get("Contact", gone)["IsDeleted"] is True


def test_a_finished_transaction_takes_nothing_more(org):
    transaction = org.begin()
    transaction.commit()
    with pytest.raises(OrgError, match=r"^INVALID_OPERATION"):
        transaction.insert("Account", {"Name": "Acme"})


def test_many_threads_may_write_at_once(org):
    def write(name: str) -> None:
        for number in range(50):
            key = org.insert("Account", {"Name": f"{name}{number}"})
            org.update("Account", key, {"Type": "Customer"})

    threads = [threading.Thread(target=write, args=(name,)) for name in "ABCD"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(org.records("Account")) == 200
    assert len({record["Id"] for record in org.records("Account")}) == 200
    assert len(newest(org, "2000-01-01T00:00:00Z")) == 200
