import csv
import io

import pytest
from simple_salesforce import SalesforceGeneralError, SalesforceMalformedRequest, SalesforceResourceNotFound


def start(salesforce, soql, **more):
    body = {"operation": "queryAll", "query": soql} | more
    return salesforce.restful("jobs/query", method="POST", json=body)["id"]


def look(salesforce, key):
    return salesforce.restful(f"jobs/query/{key}")


def finish(salesforce, key):
    while (job := look(salesforce, key))["state"] not in ("JobComplete", "Failed", "Aborted"):
        pass
    return job


def results(salesforce, key, **params):
    """One page: (text, rows announced, locator of the next one)."""
    url = f"{salesforce.base_url}jobs/query/{key}/results"
    reply = salesforce.session.get(url, headers=salesforce.headers, params=params)
    assert reply.status_code == 200, reply.text
    assert reply.headers["Content-Type"] == "text/csv"
    text = reply.content.decode()
    return text, int(reply.headers["Sforce-NumberOfRecords"]), reply.headers["Sforce-Locator"]


def rows_of(text, delimiter=","):
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def refusal(call, kind=SalesforceMalformedRequest):
    with pytest.raises(kind) as caught:
        call()
    return caught.value.status, caught.value.content[0]["errorCode"], caught.value.content[0]["message"]


def test_a_job_goes_through_its_states_one_look_at_a_time(salesforce, org, server):
    org.insert("Account", {"Name": "Acme"})
    made = salesforce.restful(
        "jobs/query", method="POST", json={"operation": "query", "query": "SELECT Id, Name FROM Account"}
    )
    key = made["id"]
    assert (key[:3], len(key), made["state"], made["object"]) == ("750", 18, "UploadComplete", "Account")
    assert (made["apiVersion"], made["lineEnding"], made["columnDelimiter"]) == (66.0, "LF", "COMMA")
    assert look(salesforce, key)["state"] == "InProgress"
    done = look(salesforce, key)
    assert (done["state"], done["jobType"], done["numberRecordsProcessed"]) == ("JobComplete", "V2Query", 1)
    assert look(salesforce, key)["state"] == "JobComplete"
    server.rest.bulk.polls = 5
    slow = start(salesforce, "SELECT Id FROM Account")
    states = [look(salesforce, slow)["state"] for _ in range(5)]
    assert states == ["InProgress"] * 4 + ["JobComplete"]


def test_every_call_of_a_job_counts_as_an_api_call(salesforce, server):
    before = server.api_used
    key = start(salesforce, "SELECT Id FROM Account")
    finish(salesforce, key)
    results(salesforce, key)
    assert server.api_used == before + 4
    assert {k: n for k, n in server.requests.items() if k.startswith("bulk")} == {
        "bulk_create": 1,
        "bulk_look": 2,
        "bulk_results": 1,
    }
    assert salesforce.limits()["DailyBulkV2QueryJobs"] == {"Max": 10_000, "Remaining": 9_999}


@pytest.mark.parametrize("delimiter", ["BACKQUOTE", "CARET", "COMMA", "PIPE", "SEMICOLON", "TAB"])
@pytest.mark.parametrize("ending", ["LF", "CRLF"])
def test_the_csv_speaks_the_dialect_that_was_asked_for(salesforce, org, delimiter, ending):
    names = ['say "hi"', "one\ntwo\r\nthree", "a,b;c|d\te`f^g", "  blank", "Grüße 🎉", "null"]
    for name in names:
        org.insert("Account", {"Name": name})
    key = start(salesforce, "SELECT Name, Site FROM Account ORDER BY Id", columnDelimiter=delimiter, lineEnding=ending)
    finish(salesforce, key)
    text, count, locator = results(salesforce, key)
    sign = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}[delimiter]
    assert text.startswith(f'"Name"{sign}"Site"' + ("\r\n" if ending == "CRLF" else "\n"))
    assert text.endswith("\r\n") == (ending == "CRLF")
    assert '"say ""hi"""' in text
    assert rows_of(text, sign) == [{"Name": name, "Site": ""} for name in names]
    assert (count, locator) == (6, "null")


def test_values_are_written_as_bulk_writes_them(salesforce, org):
    owner = org.default_user
    org.insert(
        "Opportunity",
        {"Name": "A", "StageName": "New", "CloseDate": "2026-05-01", "Amount": 139_500_000.0, "Probability": 12.5},
    )
    org.insert("Opportunity", {"Name": "B", "StageName": "New", "CloseDate": "2026-05-01", "Amount": 0.0001})
    soql = "select name, amount, probability, closedate, createddate, isclosed, Owner.Name, ownerid from opportunity"
    key = start(salesforce, f"{soql} ORDER BY Name")
    finish(salesforce, key)
    first, second = rows_of(results(salesforce, key)[0])
    assert first == {
        "Name": "A",
        "Amount": "1.395E8",
        "Probability": "12.5",
        "CloseDate": "2026-05-01",
        "CreatedDate": "2026-03-02T09:00:00.000Z",
        "IsClosed": "false",
        "Owner.Name": "Integration User",
        "OwnerId": owner,
    }
    assert second["Amount"] == "1.0E-4"


def test_pages_are_read_by_locator_and_can_be_read_again(salesforce, org):
    for number in range(7):
        org.insert("Account", {"Name": f"A{number}"})
    key = start(salesforce, "SELECT Name FROM Account ORDER BY Id")
    finish(salesforce, key)
    seen, locators, locator = [], [], ""
    while locator != "null":
        text, count, locator = results(salesforce, key, maxRecords=3, **({"locator": locator} if locator else {}))
        assert text.startswith('"Name"\n')
        rows = [row["Name"] for row in rows_of(text)]
        assert len(rows) == count
        seen.append(rows)
        locators.append(locator)
    assert seen == [["A0", "A1", "A2"], ["A3", "A4", "A5"], ["A6"]]
    again = results(salesforce, key, maxRecords=3, locator=locators[0])
    assert [row["Name"] for row in rows_of(again[0])] == seen[1]
    assert again[2] == locators[1]
    assert refusal(lambda: salesforce.restful(f"jobs/query/{key}/results", params={"locator": "nonsense"}))[0] == 400


def test_a_result_without_rows_is_a_header(salesforce):
    key = start(salesforce, "SELECT Id, Name FROM Account")
    finish(salesforce, key)
    assert results(salesforce, key) == ('"Id","Name"\n', 0, "null")


def test_the_result_is_what_could_be_seen_when_the_job_ran(salesforce, org):
    kept = org.insert("Account", {"Name": "before", "MRR__c": 10})
    gone = org.insert("Account", {"Name": "gone"})
    with org.begin() as pending:
        pending.insert("Account", {"Name": "not committed yet"})
        key = start(salesforce, "SELECT Name, ARR__c FROM Account ORDER BY Id")
        org.update("Account", kept, {"Name": "after it was asked for"})
        assert look(salesforce, key)["state"] == "InProgress"
    org.update("Account", kept, {"Name": "too late", "MRR__c": 20})
    org.insert("Account", {"Name": "too late"})
    org.delete("Account", gone)
    finish(salesforce, key)
    rows = rows_of(results(salesforce, key)[0])
    assert rows == [{"Name": "after it was asked for", "ARR__c": "120.0"}, {"Name": "gone", "ARR__c": ""}]


def test_query_all_shows_deleted_rows_and_query_does_not(salesforce, org):
    org.insert("Account", {"Name": "kept"})
    org.delete("Account", org.insert("Account", {"Name": "deleted"}))
    shown = {}
    for operation in ("query", "queryAll"):
        key = start(salesforce, "SELECT Name, IsDeleted FROM Account ORDER BY Id", operation=operation)
        finish(salesforce, key)
        shown[operation] = [(row["Name"], row["IsDeleted"]) for row in rows_of(results(salesforce, key)[0])]
    assert shown == {"query": [("kept", "false")], "queryAll": [("kept", "false"), ("deleted", "true")]}


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Id, Colour FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Acount", "INVALID_TYPE"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
        ("SELECT Account.BillingAddress FROM Contact", "API_ERROR"),
    ],
)
def test_a_wrong_query_makes_a_job_that_fails(salesforce, soql, code):
    key = start(salesforce, soql)
    job = finish(salesforce, key)
    assert job["state"] == "Failed"
    assert code in job["errorMessage"]
    status, _, _ = refusal(lambda: salesforce.restful(f"jobs/query/{key}/results"), SalesforceGeneralError)
    assert status == 412


@pytest.mark.parametrize(
    ("soql", "word"),
    [
        ("SELECT Id, BillingAddress FROM Account", "compound"),
        ("SELECT HQ__c FROM Account", "compound"),
        ("SELECT COUNT() FROM Account", "Aggregate"),
        ("SELECT MAX(Name) FROM Account", "Aggregate"),
        ("SELECT Name FROM Account GROUP BY Name", "GROUP BY"),
        ("SELECT Id FROM Account LIMIT 5 OFFSET 5", "OFFSET"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "Aggregate Relationships"),
        ("SELECT TYPEOF Who WHEN Contact THEN Id END FROM Task", "TYPEOF"),
        ("SELECT FIELDS(STANDARD) FROM Account", "FIELDS"),
    ],
)
def test_what_bulk_does_not_do_is_refused_at_once(salesforce, server, org, soql, word):
    if "HQ__c" in soql:
        from integration.sandbox.fields import location

        for field in location("HQ__c"):
            org.add_field("Account", field)
    status, code, message = refusal(lambda: start(salesforce, soql))
    assert (status, code) == (400, "API_ERROR")
    assert word in message
    assert server.rest.bulk.created == 0


def test_an_object_can_be_one_that_bulk_does_not_know(salesforce, server):
    server.rest.bulk.refused.add("Account")
    assert refusal(lambda: start(salesforce, "SELECT Id FROM account")) == (
        400,
        "INVALIDENTITY",
        "Entity 'Account' is not supported by the Bulk API.",
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"operation": "insert", "query": "SELECT Id FROM Account"},
        {"operation": "query", "query": " "},
        {"operation": "query", "query": "SELECT Id FROM Account", "contentType": "JSON"},
        {"operation": "query", "query": "SELECT Id FROM Account", "columnDelimiter": "SPACE"},
        {"operation": "query", "query": "SELECT Id FROM Account", "lineEnding": "CR"},
    ],
)
def test_a_job_that_is_asked_for_wrongly_is_refused(salesforce, body):
    assert refusal(lambda: salesforce.restful("jobs/query", method="POST", json=body))[0] == 400


def test_results_are_given_to_the_jobs_own_api_version_only(salesforce):
    key = start(salesforce, "SELECT Id FROM Account")
    finish(salesforce, key)
    other = salesforce.base_url.replace("v66.0", "v65.0")
    reply = salesforce.session.get(f"{other}jobs/query/{key}/results", headers=salesforce.headers)
    assert (reply.status_code, reply.json()[0]["errorCode"]) == (409, "INVALIDVERSION")


def test_a_running_job_has_no_results_and_can_be_aborted_but_not_deleted(salesforce):
    key = start(salesforce, "SELECT Id FROM Account")
    path = f"jobs/query/{key}"
    assert refusal(lambda: salesforce.restful(f"{path}/results"), SalesforceGeneralError)[:2] == (
        412,
        "JOB_NOT_COMPLETE",
    )
    assert refusal(lambda: salesforce.restful(path, method="DELETE"))[:2] == (400, "API_ERROR")
    assert refusal(lambda: salesforce.restful(path, method="PATCH", json={"state": "JobComplete"}))[0] == 400
    assert salesforce.restful(path, method="PATCH", json={"state": "Aborted"})["state"] == "Aborted"
    assert look(salesforce, key)["state"] == "Aborted"
    assert refusal(lambda: salesforce.restful(path, method="PATCH", json={"state": "Aborted"}))[0] == 400
    assert salesforce.restful(path, method="DELETE") is None
    assert refusal(lambda: look(salesforce, key), SalesforceResourceNotFound)[:2] == (404, "NOT_FOUND")


def test_jobs_are_listed_until_they_are_deleted_or_a_week_old(salesforce, clock):
    old = start(salesforce, "SELECT Id FROM Account")
    clock.advance(3 * 86_400)
    young = start(salesforce, "SELECT Id FROM Contact")
    listed = salesforce.restful("jobs/query")
    assert ([job["id"] for job in listed["records"]], listed["done"]) == ([young, old], True)
    assert {job["state"] for job in listed["records"]} == {"UploadComplete"}
    clock.advance(4 * 86_400 + 1)
    assert [job["id"] for job in salesforce.restful("jobs/query")["records"]] == [young]


def test_simple_salesforce_reads_a_job_by_its_own_way(salesforce, org):
    for number in range(5):
        org.insert("Account", {"Name": f"A{number}"})
    handler = salesforce.bulk2.Account
    pages = list(handler.query("SELECT Name FROM Account ORDER BY Id", max_records=2, wait=0))
    assert [row["Name"] for page in pages for row in rows_of(page)] == ["A0", "A1", "A2", "A3", "A4"]
    assert len(pages) == 3
