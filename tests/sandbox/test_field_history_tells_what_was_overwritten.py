from integration.sandbox.clock import stamp
from integration.sandbox.org import Org


def rows(org: Org, name: str) -> list[tuple[str, str, object, object]]:
    return [(r["Field"], r["DataType"], r["OldValue"], r["NewValue"]) for r in org.records(name)]


def test_each_tracked_change_is_a_row_and_untracked_ones_are_none(org, clock):
    key = org.insert("Account", {"Name": "Acme", "Type": "Prospect"})
    clock.advance(1)
    org.update("Account", key, {"Type": "Customer", "MRR__c": 10, "Phone": "1"})
    org.update("Account", key, {"Type": "Partner"})
    assert rows(org, "AccountHistory") == [
        ("created", "Text", None, None),
        ("Type", "DynamicEnum", "Prospect", "Customer"),
        ("MRR__c", "Currency", None, 10.0),
        ("Type", "DynamicEnum", "Customer", "Partner"),
    ]
    last = org.records("AccountHistory")[-1]
    assert (last["AccountId"], last["CreatedById"]) == (key, org.default_user)
    assert last["CreatedDate"] == stamp(clock.now())
    assert last["Id"].startswith("017")
    assert "SystemModstamp" not in last


def test_a_changed_lookup_gives_two_rows_names_and_ids(org):
    first, second = org.insert("Account", {"Name": "First"}), org.insert("Account", {"Name": "Second"})
    contact = org.insert("Contact", {"LastName": "Okafor", "AccountId": first})
    org.update("Contact", contact, {"AccountId": second})
    assert rows(org, "ContactHistory")[1:] == [
        ("Account", "Text", "First", "Second"),
        ("Account", "EntityId", first, second),
    ]


def test_multipicklists_record_only_the_fact(org):
    key = org.insert("Account", {"Name": "Acme", "Products__c": "Core"})
    org.update("Account", key, {"Products__c": "Core;Mobile"})
    assert rows(org, "AccountHistory")[1:] == [("Products__c", "MultiEnum", None, None)]


def test_without_tracking_there_is_no_history(clock):
    org = Org(clock=clock, history_tracking=False)
    key = org.insert("Account", {"Name": "Acme"})
    org.update("Account", key, {"Type": "Customer"})
    assert rows(org, "AccountHistory") == []


def test_history_ids_stay_unique_across_objects_that_share_a_prefix(org):
    account = org.insert("Account", {"Name": "Acme"})
    org.insert("Contact", {"LastName": "Okafor", "AccountId": account})
    org.insert("Lead", {"LastName": "Okafor", "Company": "Acme"})
    names = ("AccountHistory", "ContactHistory", "LeadHistory")
    keys = [record["Id"] for name in names for record in org.records(name)]
    assert len(set(keys)) == len(keys) == 3
    assert [org.object_of(key) for key in keys] == list(names)
