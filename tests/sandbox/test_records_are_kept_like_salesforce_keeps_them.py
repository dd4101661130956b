from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from integration.sandbox.clock import stamp
from integration.sandbox.objects import STANDARD_OBJECTS, FieldDef, ObjectDef
from integration.sandbox.org import Org, OrgError


def refused(code):
    return pytest.raises(OrgError, match=f"^{code}:")


def test_a_new_record_has_its_stamps_owner_and_defaults(org, clock):
    key = org.insert("Account", {"Name": "Acme"})
    record = org.get("Account", key)
    assert record["CreatedDate"] == record["LastModifiedDate"] == record["SystemModstamp"] == stamp(clock.now())
    assert record["OwnerId"] == record["CreatedById"] == org.default_user
    assert record["IsDeleted"] is False
    assert record["Strategic__c"] is False
    assert record["Industry"] is None
    assert key.startswith("001")
    assert len(key) == 18


def test_an_update_moves_both_stamps_even_when_no_value_differs(org, clock):
    key = org.insert("Account", {"Name": "Acme"})
    clock.advance(61)
    org.update("Account", key, {"Name": "Acme"})
    record = org.get("Account", key)
    assert record["SystemModstamp"] == record["LastModifiedDate"] == stamp(clock.now()) > record["CreatedDate"]


def test_a_touch_moves_system_modstamp_alone(org, clock):
    key = org.insert("Account", {"Name": "Acme"})
    before = org.get("Account", key)
    clock.advance(5)
    org.touch("Account", key)
    after = org.get("Account", key)
    assert {name for name in after if after[name] != before[name]} == {"SystemModstamp"}
    assert org.commits[-1].kind == "touched"


def test_values_are_kept_as_the_rest_json_shows_them(org):
    key = org.insert(
        "Contact",
        {
            "LastName": "Okafor",
            "Birthdate": date(1990, 2, 3),
            "Last_Seen__c": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
            "Preferred_Call_Time__c": time(7, 30),
            "Score__c": Decimal("10.5"),
            "Engagement__c": 10,
            "Title": "",
        },
    )
    record = org.get("Contact", key)
    assert record["Birthdate"] == "1990-02-03"
    assert record["Last_Seen__c"] == "2026-01-02T03:04:05.000+0000"
    assert record["Preferred_Call_Time__c"] == "07:30:00.000Z"
    assert record["Score__c"] == 10.5
    assert isinstance(record["Engagement__c"], float)
    assert record["Title"] is None


def test_formulas_follow_their_inputs_without_moving_a_stamp(org, clock):
    account = org.insert("Account", {"Name": "Acme", "MRR__c": 100.1})
    contact = org.insert("Contact", {"LastName": "Okafor", "AccountId": account})
    before = org.get("Contact", contact)
    assert org.get("Account", account)["ARR__c"] == 1201.2
    assert before["Account_ARR__c"] == 1201.2
    clock.advance(60)
    org.update("Account", account, {"MRR__c": 200})
    after = org.get("Contact", contact)
    assert after["Account_ARR__c"] == 2400.0
    assert after["SystemModstamp"] == before["SystemModstamp"]


def test_a_persons_name_and_a_deals_flags_are_filled_in(org):
    contact = org.insert("Contact", {"FirstName": "Ada", "LastName": "Okafor"})
    assert org.get("Contact", contact)["Name"] == "Ada Okafor"
    deal = org.insert(
        "Opportunity", {"Name": "Big", "StageName": "Prospecting", "CloseDate": "2026-05-06", "Amount": 1000}
    )
    record = org.get("Opportunity", deal)
    assert (record["Probability"], record["ExpectedRevenue"], record["IsClosed"]) == (10.0, 100.0, False)
    assert (record["FiscalQuarter"], record["FiscalYear"]) == (2, 2026)
    org.update("Opportunity", deal, {"StageName": "Closed Won"})
    record = org.get("Opportunity", deal)
    assert (record["Probability"], record["IsClosed"], record["IsWon"]) == (100.0, True, True)


def test_back_dated_seeding_sets_all_stamps_and_writes_no_history(org):
    at = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    key = org.insert("Account", {"Name": "Old"}, at=at)
    record = org.get("Account", key)
    assert record["CreatedDate"] == record["LastModifiedDate"] == record["SystemModstamp"] == stamp(at)
    assert org.records("AccountHistory") == []


def test_a_loaded_record_is_kept_as_it_is_and_its_number_is_not_given_out_again(org):
    first = org.insert("Account", {"Name": "First"})
    record = org.get("Account", first) | {"Id": "0015g00000000A1AAI", "Name": "Loaded", "ARR__c": 999999.0}
    record |= {"CreatedDate": "2019-01-01T00:00:00.000+0000", "SystemModstamp": "2021-01-01T00:00:00.000+0000"}
    other = Org(clock=org.clock)
    assert other.load("Account", record | {"attributes": {}}) == "0015g00000000A1AAI"
    assert other.get("Account", record["Id"]) == record | {"ARR__c": None}
    assert other.insert("Account", {"Name": "Next"}) > record["Id"]
    assert org.records("Account") != other.records("Account")


def test_exported_records_load_into_an_equal_org(org, clock):
    account = org.insert("Account", {"Name": "Acme", "MRR__c": 5, "BillingCity": "Cork"})
    contact = org.insert("Contact", {"FirstName": "Ada", "LastName": "Okafor", "AccountId": account})
    clock.advance(3)
    org.update("Account", account, {"Type": "Customer"})
    org.delete("Contact", contact)
    copy = Org(clock=clock)
    for name in org.objects:
        for record in org.records(name, include_deleted=True):
            copy.load(name, record)
    for name in org.objects:
        assert copy.records(name, include_deleted=True) == org.records(name, include_deleted=True)
    assert copy.deleted_log("Contact") == org.deleted_log("Contact")


def test_what_salesforce_refuses_is_refused_with_its_code(org):
    account = org.insert("Account", {"Name": "Acme"})
    with refused("REQUIRED_FIELD_MISSING"):
        org.insert("Contact", {"FirstName": "Ada"})
    with refused("REQUIRED_FIELD_MISSING"):
        org.update("Account", account, {"Name": None})
    with refused("INVALID_FIELD"):
        org.insert("Account", {"Name": "Acme", "Colour": "red"})
    with refused("INVALID_FIELD_FOR_INSERT_UPDATE"):
        org.update("Account", account, {"SystemModstamp": "2026-01-01T00:00:00.000+0000"})
    with refused("INVALID_FIELD_FOR_INSERT_UPDATE"):
        org.update("Account", account, {"ARR__c": 1})
    with refused("INVALID_TYPE"):
        org.insert("Nothing", {})
    with refused("JSON_PARSER_ERROR"):
        org.update("Account", account, {"NumberOfEmployees": "many"})
    with refused("STRING_TOO_LONG"):
        org.update("Account", account, {"Name": "x" * 256})
    with refused("INVALID_CROSS_REFERENCE_KEY"):
        org.insert("Contact", {"LastName": "Okafor", "AccountId": "001000000000000AAA"})
    with refused("INVALID_CROSS_REFERENCE_KEY"):
        org.update("Account", account, {"ParentId": org.default_user})
    with refused("MALFORMED_ID"):
        org.update("Account", account, {"ParentId": "nonsense"})
    with refused("NOT_FOUND"):
        org.update("Account", "001000000000000AAA", {"Name": "x"})
    with refused("INVALID_TYPE_FOR_OPERATION"):
        org.delete("User", org.default_user)


def test_a_refused_save_leaves_no_trace(org):
    before = len(org.commits)
    with refused("INVALID_FIELD"):
        org.insert("Account", {"Name": "Acme", "Colour": "red"})
    assert len(org.commits) == before
    assert org.records("Account") == []


def test_saving_an_activity_dates_its_person_deal_and_account(org, clock):
    account = org.insert("Account", {"Name": "Acme"})
    contact = org.insert("Contact", {"LastName": "Okafor", "AccountId": account})
    modified = org.get("Contact", contact)["LastModifiedDate"]
    clock.advance(30)
    call = {"WhoId": contact, "Subject": "Call", "ActivityDate": "2026-03-01", "Status": "Not Started"}
    task = org.insert("Task", call)
    assert org.get("Task", task)["AccountId"] == account
    assert org.get("Contact", contact)["LastActivityDate"] is None
    org.update("Task", task, {"Status": "Completed"})
    for name, key in (("Contact", contact), ("Account", account)):
        record = org.get(name, key)
        assert record["LastActivityDate"] == "2026-03-01"
        assert record["SystemModstamp"] == stamp(clock.now())
        assert record["LastModifiedDate"] == modified
    assert org.get("Task", task)["CompletedDateTime"] == stamp(clock.now())


def test_an_activity_saved_in_the_past_never_moves_a_stamp_back(org, clock):
    contact = org.insert("Contact", {"LastName": "Okafor"})
    past = {"WhoId": contact, "ActivityDate": "2020-01-01", "Subject": "Meeting"}
    org.insert("Event", past, at=datetime(2020, 1, 2, tzinfo=UTC))
    record = org.get("Contact", contact)
    assert (record["LastActivityDate"], record["SystemModstamp"]) == ("2020-01-01", stamp(clock.now()))


def test_campaign_counts_follow_members_and_move_system_modstamp_only(org, clock):
    campaign = org.insert("Campaign", {"Name": "Spring"})
    contact = org.insert("Contact", {"LastName": "Okafor"})
    modified = org.get("Campaign", campaign)["LastModifiedDate"]
    clock.advance(30)
    member = org.insert("CampaignMember", {"CampaignId": campaign, "ContactId": contact, "Status": "Sent"})
    org.update("CampaignMember", member, {"Status": "Responded"})
    record = org.get("Campaign", campaign)
    assert (record["NumberOfContacts"], record["NumberOfResponses"]) == (1, 1)
    assert record["SystemModstamp"] == stamp(clock.now()) > record["LastModifiedDate"] == modified
    assert org.get("CampaignMember", member)["FirstRespondedDate"] == "2026-03-02"
    org.delete("CampaignMember", member)
    record = org.get("Campaign", campaign)
    assert (record["NumberOfContacts"], record["NumberOfResponses"]) == (0, 0)


def test_fields_come_and_go_and_rows_follow(org):
    key = org.insert("Account", {"Name": "Acme", "MRR__c": 10})
    org.add_field("Account", FieldDef("Tier__c", "picklist", picklist=("Gold", "Silver")))
    org.add_field("Account", FieldDef("Checked__c", "boolean"))
    record = org.get("Account", key)
    assert (record["Tier__c"], record["Checked__c"]) == (None, False)
    org.update("Account", key, {"Tier__c": "Gold"})
    org.remove_field("Account", "MRR__c")
    record = org.get("Account", key)
    assert "MRR__c" not in record
    assert (record["Tier__c"], record["ARR__c"]) == ("Gold", None)
    org.hide_field("Account", "Tier__c")
    assert "Tier__c" not in org.get("Account", key)
    org.show_field("Account", "Tier__c")
    assert org.get("Account", key)["Tier__c"] == "Gold"
    with pytest.raises(ValueError, match="standard field"):
        org.remove_field("Account", "Name")
    with pytest.raises(ValueError, match="already has a field"):
        org.add_field("Account", FieldDef("Tier__c", "string"))


def test_a_custom_object_of_ones_own_works_like_the_others(org):
    fields = (FieldDef("Id", "id"), FieldDef("Name", "string", length=80), FieldDef("Weight__c", "double"))
    stamps = tuple(FieldDef(name, "datetime") for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp"))
    people = (FieldDef("LastModifiedById", "reference", reference_to=("User",)),)
    org.define(ObjectDef("Parcel__c", "Parcel", "Parcels", "a0P", (*fields, *stamps, *people), custom=True))
    key = org.insert("Parcel__c", {"Name": "One", "Weight__c": 3})
    org.update("Parcel__c", key, {"Weight__c": 4})
    assert org.get("Parcel__c", key)["Weight__c"] == 4.0
    assert org.object_of(key) == "Parcel__c"


def test_the_standard_objects_have_realistic_field_lists():
    by_name = {obj.name: obj for obj in STANDARD_OBJECTS}
    for name in ("Account", "Contact", "Lead", "Opportunity"):
        kinds = {f.type for f in by_name[name].fields}
        assert 40 <= len(by_name[name].fields) <= 70
        assert {"currency", "picklist", "multipicklist", "reference", "boolean", "datetime", "date"} <= kinds
    kinds = {f.type for obj in STANDARD_OBJECTS for f in obj.fields}
    assert {"address", "location", "time", "encryptedstring", "email", "url", "percent", "int", "double"} <= kinds
    for history in ("AccountHistory", "ContactHistory", "LeadHistory", "OpportunityFieldHistory"):
        assert by_name[history].field("SystemModstamp") is None


def test_the_diary_shows_what_became_visible_with_both_images(org, clock):
    key = org.insert("Account", {"Name": "Acme"})
    clock.advance(1)
    org.update("Account", key, {"Type": "Customer"})
    created, updated = org.commits[-2:]
    assert (created.kind, created.before, created.after["Type"]) == ("created", None, None)
    assert (updated.kind, updated.before["Type"], updated.after["Type"]) == ("updated", None, "Customer")
    assert updated.at == updated.visible_at == stamp(clock.now())
    assert [c.seq for c in org.commits] == list(range(1, len(org.commits) + 1))
