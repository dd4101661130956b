from urllib.parse import quote

import pytest
from simple_salesforce import SalesforceMalformedRequest, SalesforceResourceNotFound

API = "/services/data/v66.0"


def composite(salesforce, *subrequests, **more):
    numbered = [{"referenceId": f"r{n}"} | sub for n, sub in enumerate(subrequests)]
    reply = salesforce.restful("composite", method="POST", json={"compositeRequest": numbered} | more)
    return reply["compositeResponse"]


def query(soql, resource="queryAll", **more):
    return {"method": "GET", "url": f"{API}/{resource}?q={quote(soql)}"} | more


def test_records_are_created_read_changed_and_deleted(salesforce, org):
    made = salesforce.Account.create({"Name": "Acme", "billingcity": "Cork", "MRR__c": 10})
    assert (made["success"], made["errors"]) == (True, [])
    record = salesforce.Account.get(made["id"])
    assert record["attributes"]["type"] == "Account"
    assert (record["Name"], record["ARR__c"], record["BillingAddress"]["city"]) == ("Acme", 120.0, "Cork")
    assert salesforce.Account.update(made["id"], {"Type": "Customer"}) == 204
    some = salesforce.restful(f"sobjects/Account/{made['id']}", params={"fields": "Type,Owner.Name"})
    assert (some["Type"], some["Owner"]["Name"]) == ("Customer", "Integration User")
    assert set(some) == {"attributes", "Type", "Owner"}
    assert salesforce.Account.delete(made["id"]) == 204
    assert org.get("Account", made["id"])["IsDeleted"] is True
    with pytest.raises(SalesforceResourceNotFound) as caught:
        salesforce.Account.get(made["id"])
    assert caught.value.content[0]["errorCode"] == "ENTITY_IS_DELETED"


def test_wrong_writes_are_refused_with_the_field_to_blame(salesforce, org):
    for fields, code, blamed in (
        ({"Type": "Customer"}, "REQUIRED_FIELD_MISSING", ["Name"]),
        ({"Name": "Acme", "ARR__c": 1}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["ARR__c"]),
        ({"Name": "Acme", "CreatedDate": "2026-01-01"}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["CreatedDate"]),
        ({"Name": "Acme", "Colour": "red"}, "INVALID_FIELD", None),
        ({"Name": "Acme", "NumberOfEmployees": "many"}, "JSON_PARSER_ERROR", ["NumberOfEmployees"]),
    ):
        with pytest.raises(SalesforceMalformedRequest) as caught:
            salesforce.Account.create(fields)
        assert caught.value.content[0]["errorCode"] == code
        assert caught.value.content[0].get("fields") == blamed
    assert org.records("Account") == []


def test_a_body_that_is_no_json_is_refused(salesforce):
    with pytest.raises(SalesforceMalformedRequest) as caught:
        salesforce.restful("sobjects/Account", method="POST", data="{")
    assert caught.value.content[0]["errorCode"] == "JSON_PARSER_ERROR"


def test_five_queries_cost_one_call(salesforce, server, org):
    key = org.insert("Account", {"Name": "Acme"})
    org.delete("Account", key)
    before = server.api_used
    replies = composite(
        salesforce,
        query("SELECT Id FROM Account"),
        query("SELECT Id FROM Account", "queryAll/"),
        query("SELECT Id FROM Account", "query"),
        query("SELECT Id FROM Foo"),
        query("SELECT Id, Name FROM Contact", "query/"),
        {"method": "GET", "url": f"{API}/sobjects/Account/describe"},
        {"method": "GET", "url": f"{API}/sobjects/Account/{key}"},
        {
            "method": "GET",
            "url": f"{API}/sobjects/Account/updated/?start=2026-03-02T08:00:00Z&end=2026-03-02T09:00:00Z",
        },
        {
            "method": "GET",
            "url": f"{API}/sobjects/Account/deleted?start=2026-03-02T08:00:00%2B00:00&end=2026-03-02T09:00:00Z",
        },
    )
    assert server.api_used == before + 1
    assert server.requests["composite"] == 1
    assert server.rest.served["queryAll"] == 3
    assert [r["referenceId"] for r in replies] == [f"r{n}" for n in range(9)]
    assert [r["httpStatusCode"] for r in replies] == [200, 200, 200, 400, 200, 200, 404, 200, 200]
    assert [r["body"]["totalSize"] for r in replies[:3]] == [1, 1, 0]
    assert replies[3]["body"][0]["errorCode"] == "INVALID_TYPE"
    assert replies[5]["body"]["name"] == "Account"
    assert replies[8]["body"]["deletedRecords"][0]["id"] == key
    assert set(replies[0]) == {"body", "httpHeaders", "httpStatusCode", "referenceId"}


def test_a_query_that_is_too_long_for_a_uri_fits_into_a_composite(salesforce):
    soql = "SELECT Id FROM Account WHERE Name IN (" + ",".join(f"'{'x' * 90}{n}'" for n in range(400)) + ")"
    assert len(soql) > 30_000
    (reply,) = composite(salesforce, query(soql))
    assert reply["body"]["totalSize"] == 0


def test_each_query_of_a_composite_can_have_its_own_page_size(salesforce, org):
    for n in range(250):
        org.insert("Account", {"Name": f"A{n}"})
    small = {"httpHeaders": {"Sforce-Query-Options": "batchSize=200"}}
    first, second = composite(salesforce, query("SELECT Id FROM Account", **small), query("SELECT Id FROM Account"))
    assert (len(first["body"]["records"]), first["body"]["done"]) == (200, False)
    assert (len(second["body"]["records"]), second["body"]["done"]) == (250, True)
    rest = salesforce.query_more(first["body"]["nextRecordsUrl"], identifier_is_url=True)
    assert len(rest["records"]) == 50


@pytest.mark.parametrize(
    "subrequests",
    [
        [],
        [{"method": "GET", "url": f"{API}/limits", "referenceId": "same"}] * 2,
        [{"method": "GET", "url": f"{API}/limits", "referenceId": "no-hyphens"}],
        [{"method": "POST", "url": f"{API}/composite"}],
        [{"method": "GET"}],
    ],
)
def test_a_composite_that_is_wrong_as_a_whole_is_refused_as_a_whole(salesforce, server, subrequests):
    with pytest.raises(SalesforceMalformedRequest):
        composite(salesforce, *subrequests)
    assert server.rest.served["query"] == server.rest.served["queryAll"] == 0


def test_all_or_none_writes_all_or_none(salesforce, org):
    good = {"method": "POST", "url": f"{API}/sobjects/Account", "body": {"Name": "Acme"}}
    bad = {"method": "POST", "url": f"{API}/sobjects/Account", "body": {}}
    replies = composite(salesforce, good, bad, good, allOrNone=True)
    assert [r["body"][0]["errorCode"] for r in replies] == [
        "PROCESSING_HALTED",
        "REQUIRED_FIELD_MISSING",
        "PROCESSING_HALTED",
    ]
    assert org.records("Account") == []
    assert [r["httpStatusCode"] for r in composite(salesforce, good, bad, good)] == [201, 400, 201]
    assert len(org.records("Account")) == 2
    assert [r["httpStatusCode"] for r in composite(salesforce, good, good, allOrNone=True)] == [201, 201]
    assert len(org.records("Account")) == 4
