"""Reading through Bulk API 2.0: from the sandbox org over HTTP, and from a server that answers what it is told."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.core import exactjson
from integration.core.catalog import Field, ObjectSchema, schema_from_describe, with_id
from integration.errors import ConfigError, RunError, UnreachableError
from integration.sandbox import faults
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.world import build_world
from integration.source.bulk import BulkLostError, BulkQuery, BulkRefusedError, bulk_query, read_csv
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.faults import InvalidFieldError, UnknownObjectError
from integration.source.session import patient_retry, session_for

NOON = datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)
DEFAULT = (
    "Account",
    "Contact",
    "Lead",
    "Opportunity",
    "OpportunityContactRole",
    "Task",
    "Event",
    "Campaign",
    "CampaignMember",
    "User",
)


@pytest.fixture
def org():
    return Org(clock=VirtualClock(NOON))


@pytest.fixture
def server(org):
    with SandboxServer(org) as running:
        yield running


@pytest.fixture
def client(server):
    made = client_of(server.url)
    yield made
    made.close()


def client_of(url) -> SalesforceClient:
    connection = Connection(base_url=url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
    session = session_for(connection, retry=patient_retry(0))
    return SalesforceClient(connection, session=session, sleep=lambda _seconds: None)


def schema_of(client, name, **chosen) -> ObjectSchema:
    return schema_from_describe(client.describe(name), **chosen)


class Waits:
    """Keeps how long was waited, and does not wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def by_rest(client, schema, soql) -> dict[str, dict]:
    answer = client.rest("queryAll", params={"q": soql}, about=schema.object)
    rows = list(answer["records"])
    while not answer["done"]:
        answer = client.rest(answer["nextRecordsUrl"].split("/", 4)[4], about=schema.object)
        rows += answer["records"]
    for row in rows:
        del row["attributes"]
    return {row["Id"]: row for row in rows}


def by_bulk(client, schema, soql, **more) -> dict[str, dict]:
    query = BulkQuery(client, schema, soql, wait=Waits(), **more)
    rows = [row for page in query.pages() for row in page.rows]
    query.drop()
    found = {row["Id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def assert_same(rest: dict[str, dict], bulk: dict[str, dict]) -> None:
    """Equal, in equal order and with equal JSON, numbers by their digits: REST tells some as floats, some as decimals."""
    assert rest.keys() == bulk.keys()
    for key, row in rest.items():
        assert [*row] == [*bulk[key]]
        assert exactjson.dumps(digits(row)) == exactjson.dumps(digits(bulk[key]))


def digits(row: dict) -> dict:
    return {
        name: exactjson.plain(value) if isinstance(value, float | Decimal) else value for name, value in row.items()
    }


# --- the same rows ---


def test_every_object_of_a_lively_org_reads_the_same_by_bulk_and_by_rest(client, org):
    build_world(org, accounts=30, ends_at=NOON)
    org.delete("Contact", org.records("Contact")[0]["Id"])
    for name in DEFAULT:
        schema = schema_of(client, name)
        soql = bulk_query(schema)
        rest = by_rest(client, schema, soql)
        assert rest
        assert_same(rest, by_bulk(client, schema, soql, rows_per_page=37))


TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.sampled_from(["null", "NULL", "true", "1e5", '"', '""', ",", "'", ";", "=1+1", "#N/A", "\\N", "\\"]),
    st.sampled_from(
        [
            "  leading",
            "trailing  ",
            "\n",
            "\r\n",
            "\r",
            "a\n\nb",
            "\t",
            "\x00",
            "\u2028",
            "\ufeffmark",
            'say "hi",\nleave',
        ]
    ),
)
NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.floats(-1e12, 1e12).map(lambda x: round(x, 2)),
    st.integers(-(10**12), 10**12).map(float),
    st.sampled_from([0.0, 1e7, 1.395e8, 9_999_999.99, 1e-3, 1e-4, 2.5e-300, 1.7976931348623157e308, 0.1, 1 / 3]),
)
ACCOUNT = st.fixed_dictionaries(
    {"Name": TEXT},
    optional={
        "Description": TEXT,
        "BillingStreet": TEXT,
        "AnnualRevenue": NUMBER,
        "BillingLatitude": NUMBER,
        "NumberOfEmployees": st.integers(-(2**40), 2**40),
        "Type": TEXT,
        "MRR__c": st.floats(-1e6, 1e6).map(lambda x: round(x, 2)),
    },
)
LEAD = st.fixed_dictionaries(
    {"LastName": TEXT, "Company": TEXT},
    optional={
        "Interests__c": st.lists(st.sampled_from(["Data", "Maps, charts", "Ads"]), unique=True, min_size=1).map(
            ";".join
        ),
        "HasOptedOutOfEmail": st.booleans(),
        "Email": st.sampled_from(["a@example.com", "B@Example.org"]),
    },
)


def storable(org, name, record):
    """The record less what this org's object does not have: the fields differ between versions of the sandbox."""
    return {field: value for field, value in record.items() if field in org.tables[name].at}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    accounts=st.lists(ACCOUNT, min_size=1, max_size=12), leads=st.lists(LEAD, max_size=6), per_page=st.integers(1, 9)
)
def test_any_record_reads_the_same_by_bulk_and_by_rest(accounts, leads, per_page):
    org = Org(clock=VirtualClock(NOON))
    with SandboxServer(org) as server:
        client = client_of(server.url)
        for name, records in (("Account", accounts), ("Lead", leads)):
            for record in records:
                org.insert(name, storable(org, name, record))
            schema = schema_of(client, name)
            soql = bulk_query(schema)
            rest = by_rest(client, schema, soql)
            assert len(rest) == len(records)
            assert_same(rest, by_bulk(client, schema, soql, rows_per_page=per_page))
        client.close()


def little_schema(**types) -> ObjectSchema:
    fields = (Field("Id", "id"), *(Field(name, kind) for name, kind in types.items()))
    return with_id(ObjectSchema("Thing", "Thing", None, False, "SystemModstamp", fields))


DIGITS = st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(lambda d: abs(d.adjusted()) < 40)
WRITTEN = st.one_of(
    DIGITS.map(lambda d: format(d, "f")),
    st.decimals(min_value=-(10**16), max_value=10**16, places=2).map(str),
    st.from_regex(r"-?[1-9]\.[0-9]{1,20}E-?[0-9]{1,2}", fullmatch=True),
)


@given(numbers=st.lists(WRITTEN, min_size=1, max_size=20))
def test_any_number_keeps_every_digit_that_rest_keeps(numbers):
    schema = little_schema(Amount="currency")
    body = '{"records":[' + ",".join(f'{{"Amount":{text}}}' for text in numbers) + "]}"
    rest = [row["Amount"] for row in exactjson.loads(body)["records"]]
    lines = io.StringIO(newline="")
    csv.writer(lines, quoting=csv.QUOTE_ALL).writerows([["Id", "Amount"], *(["1", text] for text in numbers)])
    bulk = [row["Amount"] for row in read_csv(lines.getvalue().encode(), schema)]
    assert [exactjson.number(value) for value in bulk] == [exactjson.number(value) for value in rest]
    assert [exactjson.number(value) for value in bulk] == [Decimal(text) for text in numbers]


def test_times_are_written_as_rest_writes_them():
    schema = little_schema(At="datetime", Day="date", Hour="time")
    for given_at in (
        "2024-01-22T16:26:15.000Z",
        "2024-01-22T16:26:15.000+0000",
        "2024-01-22T16:26:15Z",
        "2024-01-22T18:26:15+02:00",
    ):
        text = f'"Id","At","Day","Hour"\n"1","{given_at}","2024-01-22","07:00:00.000Z"\n'
        (row,) = read_csv(text.encode(), schema)
        assert row == {"Id": "1", "At": "2024-01-22T16:26:15.000+0000", "Day": "2024-01-22", "Hour": "07:00:00.000Z"}


def test_a_long_text_area_full_of_quotes_is_read():
    schema = little_schema(Body="textarea")
    long = 'é"\r\n' * 60_000
    text = '"Id","Body"\n"1","' + long.replace('"', '""') + '"\n'
    assert read_csv(text.encode(), schema) == [{"Id": "1", "Body": long}]


def test_empty_values_and_text_that_only_looks_empty_are_told_apart():
    schema = little_schema(Name="string", Amount="double", Count="int", Is="boolean", At="datetime")
    text = '\ufeff"id","name","amount","count","is","at"\n"1","","","","",""\n2,null,-0.50,-7,false,\n'
    assert read_csv(text.encode(), schema) == [
        {"Id": "1", "Name": None, "Amount": None, "Count": None, "Is": None, "At": None},
        {"Id": "2", "Name": "null", "Amount": -0.5, "Count": -7, "Is": False, "At": None},
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", "1"),
        ("int", "1.5"),
        ("int", "many"),
        ("double", "1,5"),
        ("double", "NaN"),
        ("double", "1_0"),
        ("currency", "USD 5.00"),
        ("datetime", "22/01/2024"),
        ("datetime", "2024-01-22T16:26:15"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_left_to_rest_and_not_quoted(kind, value):
    text = f'"Id","Secret"\n"1","{value}"\n'
    with pytest.raises(BulkRefusedError) as refused:
        read_csv(text.encode(), little_schema(Secret=kind))
    assert "Secret" in str(refused.value)
    assert value not in str(refused.value)


# --- jobs ---


def some_accounts(org, count):
    return [org.insert("Account", {"Name": f"A{number}"}) for number in range(count)]


def test_a_job_is_looked_at_with_growing_pauses(client, org, server):
    some_accounts(org, 3)
    server.rest.bulk.polls = 9
    waits = Waits()
    schema = schema_of(client, "Account")
    (page,) = BulkQuery(client, schema, bulk_query(schema), wait=waits).pages()
    assert (len(page.rows), page.locator, page.number) == (3, None, 1)
    assert waits.seconds == [1, 2, 4, 8, 16, 30, 30, 30]
    assert server.requests["bulk_look"] == 9


def test_a_reading_that_was_broken_off_goes_on_after_its_last_page(server, org):
    keys = some_accounts(org, 10)
    first = client_of(server.url)
    schema = schema_of(first, "Account")
    query = BulkQuery(first, schema, bulk_query(schema), wait=Waits(), rows_per_page=4)
    page = next(query.pages())
    saved_job, saved_locator = query.job_id, page.locator
    first.close()
    some_accounts(org, 2)  # too late: the job has run
    second = client_of(server.url)
    resumed = BulkQuery(second, schema, bulk_query(schema), job_id=saved_job, wait=Waits(), rows_per_page=4)
    rest = list(resumed.pages(saved_locator))
    assert sorted(row["Id"] for p in (page, *rest) for row in p.rows) == sorted(keys)
    assert [p.number for p in rest] == [1, 2]
    again = list(resumed.pages(saved_locator))
    assert again == rest
    assert server.rest.bulk.created == 1
    second.close()


def test_a_dropped_job_is_gone_and_dropping_it_again_does_no_harm(client, org, server):
    some_accounts(org, 1)
    schema = schema_of(client, "Account")
    query = BulkQuery(client, schema, bulk_query(schema), wait=Waits())
    query.drop()
    key = query.start()
    assert query.start() == key
    query.drop()  # not even running
    assert client.rest("jobs/query", about="jobs")["records"] == []
    BulkQuery(client, schema, "", job_id=key).drop()
    lost = BulkQuery(client, schema, bulk_query(schema), job_id=key, wait=Waits())
    with pytest.raises(BulkLostError, match="not there any more"):
        next(lost.pages())


def test_a_job_of_another_api_version_has_to_be_started_again(server, org, client):
    schema = schema_of(client, "Account")
    old = BulkQuery(client, schema, bulk_query(schema), wait=Waits())
    assert [page.rows for page in old.pages()] == [[]]
    connection = Connection(
        base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret", api_version="60.0"
    )
    other = SalesforceClient(connection)
    moved = BulkQuery(other, schema, bulk_query(schema), job_id=old.job_id, wait=Waits())
    with pytest.raises(BulkLostError, match="started again"):
        next(moved.pages())
    other.close()


def test_an_aborted_job_says_so(client, org, server):
    schema = schema_of(client, "Account")
    query = BulkQuery(client, schema, bulk_query(schema), wait=Waits())
    client.rest(f"jobs/query/{query.start()}", method="PATCH", json={"state": "Aborted"}, about="the job")
    with pytest.raises(RunError, match="aborted the bulk job for Account"):
        next(query.pages())


def test_a_field_that_went_away_asks_for_a_new_description(client, org):
    schema = schema_of(client, "Account")
    org.hide_field("Account", "Site")
    with pytest.raises(InvalidFieldError):
        next(BulkQuery(client, schema, bulk_query(schema), wait=Waits()).pages())


def test_an_object_that_went_away_is_unknown(client, org):
    schema = with_id(ObjectSchema("Gone__c", "Gone", None, True, "SystemModstamp", (Field("Id", "id"),)))
    with pytest.raises(UnknownObjectError, match="Gone__c"):
        next(BulkQuery(client, schema, bulk_query(schema), wait=Waits()).pages())


def test_what_bulk_refuses_is_left_to_rest(client, org, server):
    schema = schema_of(client, "Account")
    with pytest.raises(BulkRefusedError, match="compound"):
        BulkQuery(client, schema, "SELECT BillingAddress FROM Account").start()
    server.rest.bulk.refused.add("Account")
    with pytest.raises(BulkRefusedError, match="not supported by the Bulk API"):
        BulkQuery(client, schema, bulk_query(schema)).start()


def test_values_without_a_type_are_left_to_rest_without_asking(client, server, org):
    schema = schema_of(client, "ContactHistory")
    assert {"anytype"} & {field.type for field in schema.fields}
    before = client.calls
    with pytest.raises(BulkRefusedError, match="ContactHistory"):
        BulkQuery(client, schema, bulk_query(schema)).start()
    assert (client.calls, server.rest.bulk.created) == (before, 0)


def test_a_page_that_is_cut_short_is_asked_for_again(client, org, server):
    some_accounts(org, 40)
    schema = schema_of(client, "Account")
    soql = bulk_query(schema)
    server.faults.push(faults.TRUNCATED, where="/results", times=2)
    assert len(by_bulk(client, schema, soql)) == 40
    server.faults.push(faults.RESET, where="/results")
    assert len(by_bulk(client, schema, soql)) == 40
    server.faults.push(faults.MAINTENANCE_PAGE, where="/results", times=99)
    with pytest.raises(UnreachableError, match="web page"):
        by_bulk(client, schema, soql)


def test_a_session_that_ends_between_two_pages_is_renewed(client, org, server):
    some_accounts(org, 9)
    schema = schema_of(client, "Account")
    pages = BulkQuery(client, schema, bulk_query(schema), wait=Waits(), rows_per_page=5).pages()
    first = next(pages)
    server.expire_tokens()
    second = next(pages)
    assert len(first.rows) + len(second.rows) == 9
    assert client.api_usage == (server.api_used, server.daily_limit)


def test_the_rows_of_a_window_and_no_others_are_read(client, org):
    clock = org.clock
    keys = []
    for second in range(5):
        clock.set(NOON.replace(second=second))
        keys.append(org.insert("Account", {"Name": f"at second {second}"}))
    schema = schema_of(client, "Account", only=["Name"])
    soql = bulk_query(schema, since="2024-01-22T12:00:01Z", until="2024-01-22T12:00:04.000+0000")
    assert soql.endswith(
        "FROM Account WHERE SystemModstamp >= 2024-01-22T12:00:01Z AND SystemModstamp < 2024-01-22T12:00:04Z"
    )
    assert by_bulk(client, schema, soql).keys() == set(keys[1:4])
    assert by_bulk(client, schema, bulk_query(schema, since="2024-01-22T12:00:04Z")).keys() == {keys[4]}
    assert by_bulk(client, schema, bulk_query(schema, until="2024-01-22T12:00:01Z")).keys() == {keys[0]}
    with pytest.raises(ValueError, match="Invalid isoformat"):
        bulk_query(schema, since="' OR Name != '")


def test_a_query_with_too_many_fields_names_the_setting():
    schema = little_schema(**{f"Field_with_a_long_name_{number}__c": "string" for number in range(3_500)})
    with pytest.raises(ConfigError, match=r"objects\.Thing\.exclude"):
        bulk_query(schema)


# --- a server that answers otherwise ---


def say_login(told):
    told.say({"access_token": "00D000000000001!x", "instance_url": "https://acme.my.salesforce.com"})


def say_page(told, text, **headers):
    told.say(text.encode(), Content_Type="text/csv", **headers)


def test_a_result_without_its_locator_is_not_taken_for_complete(told):
    say_login(told)
    told.say({"id": "7", "state": "JobComplete"})
    say_page(told, '"Id"\n"1"\n', Sforce_NumberOfRecords="1")
    client = client_of(told.url)
    with pytest.raises(UnreachableError, match="not one that Salesforce gives"):
        list(BulkQuery(client, little_schema(), "", job_id="7").pages())
    client.close()


def test_a_page_with_fewer_rows_than_it_announces_is_asked_for_again(told):
    say_login(told)
    told.say({"id": "7", "state": "JobComplete"})
    announced = {"Sforce_NumberOfRecords": "2", "Sforce_Locator": "null"}
    for text in ('"Id"\n"1"\n', '"Id"\n', "", '"Id"\n"1"\n"2"\n'):
        say_page(told, text, **announced)
    client = client_of(told.url)
    (page,) = BulkQuery(client, little_schema(), "", job_id="7").pages()
    assert [row["Id"] for row in page.rows] == ["1", "2"]
    client.close()


def test_a_result_of_another_description_has_to_be_asked_for_again(told):
    say_login(told)
    told.say({"id": "7", "state": "JobComplete"})
    say_page(told, '"Id","Colour__c"\n"1","red"\n', Sforce_NumberOfRecords="1", Sforce_Locator="null")
    client = client_of(told.url)
    with pytest.raises(BulkLostError, match="Colour__c"):
        list(BulkQuery(client, little_schema(), "", job_id="7").pages())
    client.close()


def test_a_job_is_not_waited_for_for_ever(client, server):
    server.rest.bulk.polls = 1_000_000
    schema, waits = schema_of(client, "Account"), Waits()
    query = BulkQuery(client, schema, bulk_query(schema), wait=waits)
    with pytest.raises(UnreachableError, match="in 2 hours"):
        next(query.pages())
    assert 7_200 <= sum(waits.seconds) < 7_300
    server.rest.bulk.polls = 1  # somebody comes back later
    assert [page.rows for page in query.pages()] == [[]]


@pytest.mark.parametrize(("status", "code"), [(404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED"), (403, "API_DISABLED")])
def test_a_server_without_bulk_is_left_to_rest(told, status, code):
    say_login(told)
    told.say([{"errorCode": code, "message": "no such thing"}], status=status)
    client = client_of(told.url)
    with pytest.raises(BulkRefusedError, match="REST has to"):
        BulkQuery(client, little_schema(), "SELECT Id FROM Thing").start()
    method, path, _headers, body = told.asked[-1]
    assert (method, path.rsplit("/", 2)[1:]) == ("POST", ["jobs", "query"])
    assert json.loads(body) == {
        "operation": "queryAll",
        "query": "SELECT Id FROM Thing",
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    }
    client.close()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("InvalidBatch : Failed to process query: FUNCTIONALITY_NOT_ENABLED: no compound data", BulkRefusedError),
        ("TXN_SECURITY_METERING_ERROR: too much", RunError),
        ("", RunError),
    ],
)
def test_a_job_that_failed_tells_why(told, message, kind):
    say_login(told)
    told.say({"id": "7", "state": "Failed", "errorMessage": message})
    client = client_of(told.url)
    with pytest.raises(kind) as failed:
        next(BulkQuery(client, little_schema(), "", job_id="7").pages())
    assert type(failed.value) is kind
    assert message.rsplit(": ", 1)[-1] in str(failed.value)
    client.close()
