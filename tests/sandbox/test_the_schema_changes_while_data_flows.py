"""Objects and fields that hide, come back, change type, label or values; no stamp tells of any of it."""

from typing import Any

import pytest
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

from integration.sandbox.errors import OrgError
from integration.sandbox.fields import text
from integration.sandbox.org import Org


def described(salesforce: Any, name: str) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in salesforce.restful(f"sobjects/{name}/describe")["fields"]}


def names(salesforce: Any) -> set[str]:
    return {about["name"] for about in salesforce.restful("sobjects")["sobjects"]}


def test_a_hidden_object_is_unknown_to_the_api_and_keeps_its_records(salesforce, org):
    key = org.insert("Campaign", {"Name": "Spring"})
    org.hide_object("Campaign")
    assert "Campaign" not in names(salesforce)
    for path in ("sobjects/Campaign/describe", f"sobjects/Campaign/{key}", "sobjects/Campaign/deleted"):
        with pytest.raises(SalesforceResourceNotFound) as gone:
            salesforce.restful(path)
        assert gone.value.content[0]["errorCode"] == "NOT_FOUND"
    with pytest.raises(SalesforceMalformedRequest) as refused:
        salesforce.query("SELECT Id FROM Campaign")
    assert refused.value.content[0]["errorCode"] == "INVALID_TYPE"
    with pytest.raises(SalesforceMalformedRequest) as refused:
        salesforce.query("SELECT Campaign.Name FROM CampaignMember")
    assert refused.value.content[0]["errorCode"] == "INVALID_FIELD"
    org.update("Campaign", key, {"Name": "Summer"})
    org.show_object("Campaign")
    assert "Campaign" in names(salesforce)
    assert [r["Name"] for r in salesforce.query("SELECT Name FROM Campaign")["records"]] == ["Summer"]


def test_a_hidden_object_does_not_stop_the_org_s_own_rules(org):
    contact = org.insert("Contact", {"LastName": "Okafor"})
    org.hide_object("Task")
    org.insert("Task", {"Subject": "Call", "WhoId": contact, "Status": "Completed", "ActivityDate": "2026-02-28"})
    assert org.value("Contact", contact, "LastActivityDate") == "2026-02-28"
    org.delete("Contact", contact)
    assert org.records("Task") == []


def test_objects_come_back_where_they_were(org):
    before = list(org.objects)
    for name in ("Lead", "Task"):
        org.hide_object(name)
    for name in ("Task", "Lead"):
        org.show_object(name)
    assert list(org.objects) == before
    with pytest.raises(OrgError, match="INVALID_TYPE"):
        org.hide_object("Invoice")


@pytest.mark.parametrize(
    ("field", "value", "kind", "expected"),
    [
        ("Score__c", 12.5, "string", "12.5"),
        ("Score__c", 12.0, "string", "12"),
        ("Score__c", 12.0, "int", 12),
        ("Score__c", 12.5, "int", None),
        ("Engagement__c", 40, "currency", 40.0),
        ("LinkedIn__c", "https://example.com/x", "double", None),
        ("Role__c", "17.25", "double", 17.25),
        ("Role__c", "nan", "double", None),
        ("Role__c", "Champion", "textarea", "Champion"),
        ("Role__c", "2026-03-02", "date", "2026-03-02"),
        ("Role__c", "soon", "date", None),
        ("Role__c", "TRUE", "boolean", True),
        ("Role__c", "Champion", "boolean", False),
        ("Last_Seen__c", "2026-03-02T09:00:00Z", "date", "2026-03-02"),
        ("Last_Seen__c", "2026-03-02T09:00:00Z", "string", "2026-03-02T09:00:00.000+0000"),
        ("Interests__c", "Pricing;Security", "picklist", "Pricing;Security"),
        ("Interests__c", None, "string", None),
    ],
)
def test_a_retyped_field_converts_what_fits_and_empties_the_rest(salesforce, org, field, value, kind, expected):
    key = org.insert("Contact", {"LastName": "Okafor", field: value})
    stamp, commits = org.value("Contact", key, "SystemModstamp"), len(org.commits)
    org.retype_field("Contact", field, kind)
    about = described(salesforce, "Contact")[field]
    assert (about["type"], about["custom"]) == (kind, True)
    [record] = salesforce.query(f"SELECT {field}, SystemModstamp FROM Contact")["records"]
    assert record[field] == expected
    assert (record["SystemModstamp"], len(org.commits)) == (stamp, commits)
    org.update("Contact", key, {field: expected})


def test_a_retyped_field_keeps_its_label_and_takes_what_is_given(org):
    org.relabel_field("Contact", "Role__c", "Part played")
    org.retype_field("Contact", "Role__c", "currency", scale=4)
    field = org.visible_field("Contact", "role__c")
    assert field is not None
    assert (field.label, field.type, field.precision, field.scale, field.picklist) == (
        "Part played",
        "currency",
        18,
        4,
        (),
    )


@pytest.mark.parametrize("field", ["Title", "Account_ARR__c", "Home_Office__c", "Home_Office__Latitude__s"])
def test_only_plain_custom_fields_can_be_retyped(org, field):
    with pytest.raises(ValueError, match="only"):
        org.retype_field("Contact", field, "string")


def test_a_formula_over_a_field_that_was_retyped_is_null(org):
    key = org.insert("Account", {"Name": "Acme", "MRR__c": 10})
    assert org.value("Account", key, "ARR__c") == 120.0
    org.retype_field("Account", "MRR__c", "string")
    assert org.value("Account", key, "ARR__c") is None


def test_a_label_changes_and_nothing_else(salesforce, org):
    before = described(salesforce, "Contact")
    org.relabel_field("Contact", "Title", "Job")
    after = described(salesforce, "Contact")
    assert after["Title"] == {**before["Title"], "label": "Job"}
    assert {**after, "Title": None} == {**before, "Title": None}


def test_a_picklist_gets_other_values_and_records_keep_theirs(salesforce, org):
    key = org.insert("Contact", {"LastName": "Okafor", "Role__c": "Champion"})
    org.set_picklist("Contact", "Role__c", ["Sponsor", "User"])
    assert [v["value"] for v in described(salesforce, "Contact")["Role__c"]["picklistValues"]] == ["Sponsor", "User"]
    assert org.value("Contact", key, "Role__c") == "Champion"
    with pytest.raises(ValueError, match="no picklist"):
        org.set_picklist("Contact", "Title", ["a"])


def test_a_transaction_that_outlives_its_fields_saves_what_still_fits(org):
    key = org.insert("Contact", {"LastName": "Okafor"})
    transaction = org.begin()
    transaction.update(
        "Contact", key, {"Title": "CEO", "Role__c": "Champion", "Score__c": 5, "LinkedIn__c": "https://example.com"}
    )
    new = transaction.insert("Contact", {"LastName": "Park", "Role__c": "User"})
    org.remove_field("Contact", "Role__c")
    org.retype_field("Contact", "Score__c", "string")
    org.retype_field("Contact", "LinkedIn__c", "double")
    transaction.commit()
    after = org.get("Contact", key)
    assert after is not None
    assert (after["Title"], after["Score__c"], after["LinkedIn__c"]) == ("CEO", "5", None)
    assert "Role__c" not in after
    assert org.get("Contact", new) is not None


def test_a_field_that_was_removed_can_come_back_empty_and_of_another_type(org):
    key = org.insert("Contact", {"LastName": "Okafor", "Score__c": 5})
    org.remove_field("Contact", "Score__c")
    org.add_field("Contact", text("Score__c"))
    assert org.value("Contact", key, "Score__c") is None


def test_hiding_is_no_matter_of_the_records(org):
    small = Org(clock=org.clock)
    before = small.schema_version
    small.hide_object("Lead")
    assert small.schema_version > before
    assert small.insert("Lead", {"LastName": "Okafor", "Company": "Acme"})
    assert len(small.records("Lead")) == 1
