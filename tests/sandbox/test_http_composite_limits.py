from email.utils import format_datetime
from urllib.parse import quote

import pytest
from simple_salesforce import SalesforceGeneralError

from integration.sandbox.fields import text

API = "/services/data/v66.0"
WINDOW = "start=2026-03-02T08:00:00Z&end=2026-03-02T09:00:00Z"


def composite(salesforce, *subrequests, **more):
    numbered = [{"referenceId": f"r{n}"} | sub for n, sub in enumerate(subrequests)]
    return salesforce.restful("composite", method="POST", json={"compositeRequest": numbered} | more)[
        "compositeResponse"
    ]


def get(path, **more):
    return {"method": "GET", "url": f"{API}/{path}"} | more


def query(soql="SELECT Id FROM Account"):
    return get(f"queryAll?q={quote(soql)}")


def test_twenty_five_descriptions_and_delete_logs_cost_one_call(salesforce, server, org):
    key = org.insert("Account", {"Name": "Acme"})
    org.delete("Account", key)
    names = list(org.objects)[:14]
    logged = [name for name in names if org.objects[name].replicateable][:10]
    asked = [get(f"sobjects/{name}/describe") for name in names]
    asked += [get(f"sobjects/{name}/deleted/?{WINDOW}") for name in logged]
    before = server.api_used
    replies = composite(salesforce, *asked, query())
    assert [r["httpStatusCode"] for r in replies] == [200] * 25
    assert [r["body"]["name"] for r in replies[:14]] == names
    deleted = dict(zip(logged, (r["body"]["deletedRecords"] for r in replies[14:24]), strict=True))
    assert [d["id"] for d in deleted["Account"]] == [key]
    assert server.api_used == before + 1
    assert server.limit_info() == f"api-usage={before + 1}/100000"
    assert salesforce.api_usage["api-usage"].used == before + 1


@pytest.mark.parametrize(
    "subrequests", [[query()] * 6, [get("limits")] * 26, [get("sobjects/Account/describe")] * 20 + [query()] * 6]
)
def test_too_many_subrequests_are_refused_inside_the_envelope(salesforce, server, subrequests):
    before = server.api_used
    (only,) = composite(salesforce, *subrequests)
    assert (only["httpStatusCode"], only["referenceId"]) == (400, None)
    assert only["body"][0]["errorCode"] == "LIMIT_EXCEEDED"
    assert server.api_used == before + 1
    assert server.rest.served["queryAll"] == server.rest.served["limits"] == server.rest.served["describe"] == 0


def test_a_server_can_refuse_everything_but_queries_one_by_one(salesforce, server):
    server.rest.composite_takes_queries_only = True
    replies = composite(salesforce, query(), get("sobjects/Account/describe"), get(f"sobjects/Lead/deleted/?{WINDOW}"))
    assert [r["httpStatusCode"] for r in replies] == [200, 400, 400]
    assert [r["body"][0]["errorCode"] for r in replies[1:]] == ["INVALID_INPUT"] * 2
    assert salesforce.restful("sobjects/Account/describe")["name"] == "Account"


def test_bulk_jobs_can_not_be_started_inside_a_composite(salesforce, server):
    job = {"method": "POST", "url": f"{API}/jobs/query", "body": {"operation": "query", "query": "SELECT Id FROM Lead"}}
    (reply,) = composite(salesforce, job)
    assert (reply["httpStatusCode"], server.rest.bulk.created) == (400, 0)


def describe_since(salesforce, since):
    """The answer's status, and its Last-Modified."""
    headers = salesforce.headers | ({"If-Modified-Since": since} if since else {})
    reply = salesforce.session.get(f"{salesforce.base_url}sobjects/Account/describe", headers=headers)
    return reply.status_code, reply.headers["Last-Modified"], reply.content


def test_an_object_that_has_not_changed_is_not_described_again(salesforce, org, clock):
    status, modified, content = describe_since(salesforce, None)
    assert (status, b'"Account"' in content) == (200, True)
    assert describe_since(salesforce, modified) == (304, modified, b"")
    clock.advance(600)
    assert describe_since(salesforce, modified) == (304, modified, b"")
    with pytest.raises(SalesforceGeneralError) as caught:
        salesforce.restful("sobjects/Account/describe", headers={"If-Modified-Since": modified})
    assert caught.value.status == 304


def test_a_change_of_the_schema_within_the_same_second_is_told(salesforce, org, clock):
    now = format_datetime(clock.now().replace(microsecond=0), usegmt=True)
    assert describe_since(salesforce, now)[0] == 304
    org.add_field("Account", text("Colour__c"))
    status, modified, content = describe_since(salesforce, now)
    assert (status, b"Colour__c" in content) == (200, True)
    assert describe_since(salesforce, modified)[0] == 304
    org.hide_field("Account", "Colour__c")
    clock.advance(2)
    assert describe_since(salesforce, modified)[0] == 200


def test_an_if_modified_since_that_is_no_time_is_ignored(salesforce):
    assert describe_since(salesforce, "yesterday")[0] == 200


def test_subrequests_too_can_ask_for_what_has_changed(salesforce):
    plain = get("sobjects/Account/describe")
    (first,) = composite(salesforce, plain)
    modified = first["httpHeaders"]["Last-Modified"]
    second, third = composite(salesforce, plain | {"httpHeaders": {"If-Modified-Since": modified}}, plain)
    assert [second["httpStatusCode"], third["httpStatusCode"]] == [304, 200]
    assert second["body"] is None
