from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
from simple_salesforce import SalesforceGeneralError, SalesforceMalformedRequest, SalesforceResourceNotFound

from integration.sandbox.clock import stamp
from integration.sandbox.objects import FieldDef

BIG = {"headers": {"Sforce-Query-Options": "batchSize=200"}}

# Every property that the reference lists for a field of a describe answer.
DESCRIBE_KEYS = frozenset(
    {
        *("name", "label", "type", "soapType", "length", "byteLength", "digits", "precision", "scale", "nillable"),
        *("defaultedOnCreate", "calculated", "calculatedFormula", "autoNumber", "unique", "externalId", "idLookup"),
        *("nameField", "namePointing", "referenceTo", "relationshipName", "polymorphicForeignKey"),
        *("compoundFieldName", "extraTypeInfo", "picklistValues", "restrictedPicklist", "dependentPicklist"),
        *("controllerName", "createable", "updateable", "filterable", "sortable", "groupable", "aggregatable"),
        *("permissionable", "encrypted", "htmlFormatted", "caseSensitive", "custom", "deprecatedAndHidden"),
        "inlineHelpText",
    }
)


@pytest.fixture
def contacts(org, clock):
    keys = []
    for n in range(450):
        clock.advance(n % 3 == 0)
        keys.append(org.insert("Contact", {"FirstName": "F", "LastName": f"L{n}", "Email": f"l{n}@example.com"}))
    return keys


def test_versions_are_listed_without_login_and_cost_nothing(session, server):
    listed = session.get(f"{server.url}/services/data/").json()
    assert {"label": "Spring '26", "url": "/services/data/v66.0", "version": "66.0"} in listed
    assert {"label": "Winter '24", "url": "/services/data/v59.0", "version": "59.0"} in listed
    reply = session.get(f"{server.url}/services/data")
    assert "Sforce-Limit-Info" not in reply.headers
    assert server.api_used == 0


def test_resources_of_a_version_are_listed(salesforce):
    assert salesforce.restful("")["queryAll"] == "/services/data/v66.0/queryAll"


def test_global_describe_lists_every_object(salesforce, org):
    listed = {entry["name"]: entry for entry in salesforce.describe()["sobjects"]}
    assert set(listed) == set(org.objects)
    assert listed["Contact"]["keyPrefix"] == "003"
    assert listed["cbit__Clearbit__c"]["custom"] is True


def test_describe_shows_each_field_with_all_its_properties(salesforce, org):
    described = salesforce.Account.describe()
    fields = {f["name"]: f for f in described["fields"]}
    assert described["mergeable"] is described["queryable"] is described["replicateable"] is True
    assert set(fields) == {f.name for f in org.visible_fields("Account")}
    for field in described["fields"]:
        assert set(field) >= DESCRIBE_KEYS
    assert (fields["ARR__c"]["type"], fields["ARR__c"]["calculated"]) == ("currency", True)
    assert fields["OwnerId"]["referenceTo"] == ["User"]
    assert fields["BillingCity"]["compoundFieldName"] == "BillingAddress"
    assert fields["Office__Latitude__s"]["compoundFieldName"] == "Office__c"
    assert [v["value"] for v in fields["Segment__c"]["picklistValues"]] == ["SMB", "Mid-Market", "Enterprise"]
    assert {"childSObject": "Contact", "field": "AccountId"}.items() <= {
        k: v
        for c in described["childRelationships"]
        if c["field"] == "AccountId" and c["childSObject"] == "Contact"
        for k, v in c.items()
    }.items()
    who = next(f for f in salesforce.Task.describe()["fields"] if f["name"] == "WhoId")
    assert (who["polymorphicForeignKey"], who["referenceTo"]) == (True, ["Contact", "Lead"])


def test_describe_follows_the_schema(salesforce, org):
    org.add_field("Account", FieldDef("Tier__c", "picklist"))
    org.hide_field("Account", "Industry")
    names = {f["name"] for f in salesforce.restful("sobjects/Account/describe/")["fields"]}
    assert "Tier__c" in names
    assert "Industry" not in names


def test_history_objects_show_no_system_modstamp(salesforce):
    fields = {f["name"]: f for f in salesforce.restful("sobjects/AccountHistory/describe")["fields"]}
    assert "SystemModstamp" not in fields
    assert fields["NewValue"]["filterable"] is False


def test_a_long_answer_comes_in_pages_and_a_page_can_be_asked_for_again(salesforce, contacts):
    first = salesforce.query("SELECT Id FROM Contact ORDER BY Id", **BIG)
    assert (first["totalSize"], first["done"], len(first["records"])) == (450, False, 200)
    assert first["records"][0]["attributes"] == {
        "type": "Contact",
        "url": f"/services/data/v66.0/sobjects/Contact/{contacts[0]}",
    }
    url = first["nextRecordsUrl"]
    assert url.startswith("/services/data/v66.0/query/0r8")
    assert url.endswith("-200")
    second = salesforce.query_more(url, identifier_is_url=True, **BIG)
    assert salesforce.query_more(url, identifier_is_url=True, **BIG)["records"] == second["records"]
    last = salesforce.query_more(second["nextRecordsUrl"].split("/")[-1], **BIG)
    assert (last["done"], len(last["records"])) == (True, 50)
    seen = [r["Id"] for page in (first, second, last) for r in page["records"]]
    assert seen == contacts


def test_all_pages_at_once_with_deleted_rows(salesforce, org, contacts):
    org.delete("Contact", contacts[7])
    soql = "SELECT Id, IsDeleted FROM Contact"
    assert salesforce.query_all(soql, **BIG)["totalSize"] == 449
    rows = list(salesforce.query_all_iter(soql, include_deleted=True, **BIG))
    assert len(rows) == 450
    assert [r["Id"] for r in rows if r["IsDeleted"]] == [contacts[7]]


def test_a_cursor_keeps_its_rows_while_the_org_goes_on(salesforce, org, contacts):
    first = salesforce.query("SELECT Id FROM Contact ORDER BY Id", **BIG)
    for key in contacts[200:]:
        org.delete("Contact", key)
    rest = salesforce.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    assert [r["Id"] for r in rest["records"]] == contacts[200:]


@pytest.mark.parametrize("spoil", ["unknown", "expired", "schema"])
def test_a_cursor_that_is_no_longer_good_is_refused(salesforce, org, clock, contacts, spoil):
    url = salesforce.query("SELECT Id FROM Contact", **BIG)["nextRecordsUrl"]
    if spoil == "unknown":
        url = "/services/data/v66.0/query/0r8000000000000AAA-200"
    elif spoil == "expired":
        clock.advance(timedelta(days=2, seconds=1).total_seconds())
    else:
        org.add_field("Contact", FieldDef("New__c", "string"))
    with pytest.raises(SalesforceMalformedRequest) as caught:
        salesforce.query_more(url, identifier_is_url=True)
    assert caught.value.content[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_soql_mistakes_are_lists_with_an_error_code(salesforce):
    for soql, code in (
        ("SELECT Foo FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Foo", "INVALID_TYPE"),
        ("SELECT", "MALFORMED_QUERY"),
        ("", "MALFORMED_QUERY"),
    ):
        with pytest.raises(SalesforceMalformedRequest) as caught:
            salesforce.query(soql)
        assert caught.value.content[0]["errorCode"] == code


def test_what_is_not_there_is_a_404_list(salesforce):
    for path in ("sobjects/Foo/describe", "sobjects/Account/001000000000000AAA", "nonsense", "query/abc"):
        with pytest.raises(SalesforceResourceNotFound) as caught:
            salesforce.restful(path)
        assert caught.value.content == [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]


def test_an_unknown_version_or_method_is_refused(salesforce, session, server):
    headers = {"Authorization": f"Bearer {salesforce.session_id}"}
    assert session.get(f"{server.url}/services/data/v20.0/limits", headers=headers).status_code == 404
    assert session.get(f"{server.url}/services/data/vv66.0/limits", headers=headers).status_code == 404
    assert session.post(f"{server.url}/services/data/v66.0/limits", headers=headers).status_code == 405


def test_deleted_lists_ids_with_their_dates_hard_deletes_included(salesforce, org, clock):
    contact = org.insert("Contact", {"LastName": "Okafor"})
    campaign = org.insert("Campaign", {"Name": "Spring"})
    member = org.insert("CampaignMember", {"CampaignId": campaign, "ContactId": contact})
    clock.advance(100)
    org.delete("Contact", contact)
    at = stamp(clock.now())
    clock.advance(100)
    window = (clock.now() - timedelta(minutes=10), clock.now())
    reply = salesforce.Contact.deleted(*window)
    assert reply["deletedRecords"] == [{"deletedDate": at, "id": contact}]
    assert reply["latestDateCovered"] == "2026-03-02T09:03:00.000+0000"
    assert reply["earliestDateAvailable"] == "2026-02-15T09:03:20.000+0000"
    assert salesforce.CampaignMember.deleted(*window)["deletedRecords"] == [{"deletedDate": at, "id": member}]


def test_updated_lists_ids_by_system_modstamp(salesforce, org, clock):
    old = org.insert("Account", {"Name": "Old"})
    clock.advance(3600)
    new, gone = org.insert("Account", {"Name": "New"}), org.insert("Account", {"Name": "Gone"})
    org.touch("Account", old)
    org.delete("Account", gone)
    clock.advance(60)
    reply = salesforce.Account.updated(clock.now() - timedelta(minutes=5), clock.now())
    assert set(reply["ids"]) == {old, new}
    assert reply["latestDateCovered"] == stamp(clock.now())


def test_latest_date_covered_stops_at_the_oldest_open_transaction(salesforce, org, clock):
    clock.advance(30)
    transaction = org.begin()
    clock.advance(600)
    params = {"start": (clock.now() - timedelta(minutes=20)).isoformat(), "end": clock.now().isoformat()}
    for kind in ("updated", "deleted"):
        reply = salesforce.restful(f"sobjects/Account/{kind}/", params=params)
        assert reply["latestDateCovered"] == stamp(transaction.started)
    transaction.commit()
    assert salesforce.restful("sobjects/Account/updated/", params=params)["latestDateCovered"] > stamp(
        transaction.started
    )


def test_seconds_of_a_window_are_ignored(salesforce, org, clock):
    clock.advance(15)
    key = org.insert("Account", {"Name": "Acme"})  # 09:00:15
    clock.advance(200)

    def ids(end_minute: int, end_second: int) -> list[str]:
        end = clock.now().replace(minute=end_minute, second=end_second)
        params = {"start": "2026-03-02T08:50:59Z", "end": end.isoformat()}
        return salesforce.restful("sobjects/Account/updated", params=params)["ids"]

    assert ids(0, 59) == []
    assert ids(1, 0) == [key]


@pytest.mark.parametrize(
    ("kind", "back", "length", "message"),
    [
        ("deleted", timedelta(days=15, minutes=2), timedelta(days=1), "15 days"),
        ("updated", timedelta(days=30, minutes=2), timedelta(days=1), "30 days"),
        ("updated", timedelta(minutes=5), timedelta(seconds=60), "one minute"),
        ("updated", timedelta(minutes=5), timedelta(minutes=-4), "one minute"),
    ],
)
def test_a_wrong_window_is_refused(salesforce, clock, kind, back, length, message):
    start = clock.now() - back
    with pytest.raises(SalesforceMalformedRequest, match=message) as caught:
        salesforce.restful(
            f"sobjects/Account/{kind}/", params={"start": start.isoformat(), "end": (start + length).isoformat()}
        )
    assert caught.value.content[0]["errorCode"] == "INVALID_REPLICATION_DATE"


def test_a_purged_delete_log_refuses_older_windows(salesforce, org, clock):
    org.forget_deletes(clock.now() - timedelta(hours=2))
    with pytest.raises(SalesforceMalformedRequest, match="earliest date"):
        salesforce.Account.deleted(clock.now() - timedelta(hours=3), clock.now())
    reply = salesforce.Account.deleted(clock.now() - timedelta(hours=1), clock.now())
    assert reply["earliestDateAvailable"] == stamp(clock.now() - timedelta(hours=2))


def test_every_reply_shows_the_limit_and_the_orgs_time(salesforce, session, server, clock):
    clock.advance(86_400)
    headers = {"Authorization": f"Bearer {salesforce.session_id}"}
    server.tokens._ends[salesforce.session_id] = clock.now() + timedelta(hours=1)
    reply = session.get(f"{server.url}/services/data/v66.0/limits", headers=headers)
    assert parsedate_to_datetime(reply.headers["Date"]) == clock.now()
    assert reply.headers["Sforce-Limit-Info"] == "api-usage=1/100000"
    salesforce.limits()
    assert salesforce.api_usage["api-usage"].used == 2


def test_long_answers_are_zipped_when_the_client_takes_it(salesforce, session, server, contacts):
    url = f"{server.url}/services/data/v66.0/query?q=SELECT+Id,Name+FROM+Contact"
    headers = {"Authorization": f"Bearer {salesforce.session_id}"}
    zipped = session.get(url, headers=headers)
    plain = session.get(url, headers=headers | {"Accept-Encoding": "identity"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert int(zipped.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 4
    assert "Content-Encoding" not in plain.headers
    assert zipped.json() == plain.json()


def test_a_uri_beyond_16_384_bytes_is_too_long(salesforce, session, server):
    name = "x" * 16_384
    with pytest.raises(SalesforceGeneralError) as caught:
        salesforce.query(f"SELECT Id FROM Account WHERE Name = '{name}'")
    assert caught.value.status == 414
    headers = {"Authorization": f"Bearer {salesforce.session_id}", "X-Long": "y" * 16_384}
    assert session.get(f"{server.url}/services/data/v66.0/limits", headers=headers).status_code == 431
    assert salesforce.query("SELECT Id FROM Account WHERE Name = '" + "x" * 3900 + "'")["totalSize"] == 0
