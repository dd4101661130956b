"""Reading by ranges of ids against the sandbox org over HTTP: every row once, whatever happens to the answers."""

from datetime import UTC, datetime

import pytest

from integration.core.catalog import ObjectSchema, schema_from_describe
from integration.core.reconcile import Span, spans
from integration.errors import UnreachableError
from integration.sandbox import faults
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.faults import UnknownObjectError
from integration.source.session import patient_retry, session_for
from integration.source.sweep import RangeReader, fetch, reread_fields

NOON = datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def org():
    org = Org(clock=VirtualClock(NOON))
    for number in range(700):
        org.insert("Contact", {"LastName": f"Contact {number}"})
        if number % 7 == 0:
            org.insert("Lead", {"LastName": f"Lead {number}", "Company": "Acme"})
    for record in org.records("Contact")[::50]:
        org.delete("Contact", record["Id"])
    return org


@pytest.fixture
def server(org):
    with SandboxServer(org) as running:
        yield running


@pytest.fixture
def client(server):
    connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
    session = session_for(connection, retry=patient_retry(0))
    return SalesforceClient(connection, session=session, sleep=lambda _seconds: None)


def schema_of(client: SalesforceClient, name: str) -> ObjectSchema:
    schema = schema_from_describe(client.describe(name))
    assert schema is not None
    return schema


def ranges_of(org: Org, schema: ObjectSchema, size: int) -> list[tuple[ObjectSchema, Span]]:
    known = [(r["Id"], r["IsDeleted"]) for r in org.records(schema.object, include_deleted=True)]
    return [(schema, span) for span in spans(schema.object, iter(known), size)]


def ids_in(pages) -> list[str]:
    return sorted(row.record_id for page in pages for row in page.rows)


def everything(org: Org, name: str) -> list[str]:
    return sorted(r["Id"] for r in org.records(name, include_deleted=True))


@pytest.mark.parametrize("size", [60, 200, 5_000])
def test_ranges_bring_every_row_once_deleted_ones_too_five_in_a_call(org, client, size) -> None:
    schema = schema_of(client, "Contact")
    ranges = ranges_of(org, schema, size)
    before = client.calls

    pages = list(RangeReader(client).read(ranges))

    assert ids_in(pages) == everything(org, "Contact")
    assert sum(row.is_deleted for page in pages for row in page.rows) == 14
    assert client.calls - before == -(-len(ranges) // 5) == sum(page.calls for page in pages)
    assert [page.is_last for page in pages] == [True] * len(ranges)
    assert {name for page in pages for row in page.rows for name in row.fields} == {f.name for f in schema.fields}


def test_ranges_of_several_objects_travel_together(org, client) -> None:
    contact, lead = schema_of(client, "Contact"), schema_of(client, "Lead")
    ranges = [*ranges_of(org, contact, 350), *ranges_of(org, lead, 50)]
    before = client.calls

    pages = list(RangeReader(client).read(ranges))

    assert client.calls - before == 1
    assert ids_in(p for p in pages if p.span.object == "Lead") == everything(org, "Lead")
    assert ids_in(p for p in pages if p.span.object == "Contact") == everything(org, "Contact")


def test_a_range_that_has_more_rows_than_asked_for_goes_on_behind_the_last(org, client) -> None:
    schema = schema_of(client, "Contact")
    pages = list(RangeReader(client, limit=120).read(ranges_of(org, schema, 300)))
    assert ids_in(pages) == everything(org, "Contact")
    assert [page.is_last for page in pages].count(True) == 3
    assert all(len(page.rows) <= 120 for page in pages)


def test_an_answer_that_the_server_cuts_short_is_gone_on_with(org, client) -> None:
    client._session.headers["Sforce-Query-Options"] = "batchSize=200"
    schema = schema_of(client, "Contact")
    pages = list(RangeReader(client).read(ranges_of(org, schema, 5_000)))
    assert ids_in(pages) == everything(org, "Contact")
    assert [len(page.rows) for page in pages] == [200, 200, 200, 100]


def test_a_query_that_takes_too_long_is_asked_for_less(org, client) -> None:
    schema = schema_of(client, "Contact")
    org.query_to_time_out = 2
    pages = list(RangeReader(client, limit=800).read(ranges_of(org, schema, 350)))
    assert ids_in(pages) == everything(org, "Contact")
    assert not any(page.problem for page in pages)


def test_a_field_that_goes_away_in_the_middle_is_described_again(org, client) -> None:
    schema = schema_of(client, "Contact")
    ranges = ranges_of(org, schema, 100)
    asked = []

    def refresh(name: str) -> ObjectSchema:
        asked.append(name)
        return schema_of(client, name)

    reader = RangeReader(client, refresh=refresh).read(ranges)
    pages = [next(reader)]
    org.hide_field("Contact", "Title")
    pages += list(reader)

    assert asked == ["Contact"]
    assert ids_in(pages) == everything(org, "Contact")
    assert not any(page.problem for page in pages)


def test_an_object_that_can_not_be_read_keeps_no_other_waiting(org, client) -> None:
    contact = schema_of(client, "Contact")
    gone = ObjectSchema("Gone__c", "Gone", "a99", True, "SystemModstamp", contact.fields)
    nothing = [(gone, span) for span in spans("Gone__c", iter([("a99000000000001", False)] * 30), 2)]

    pages = list(RangeReader(client).read([*nothing, *ranges_of(org, contact, 100)]))

    assert ids_in(pages) == everything(org, "Contact")
    problems = [page.problem for page in pages if page.problem]
    assert [type(problem) for problem in problems] == [UnknownObjectError]


def test_what_concerns_all_objects_is_raised(org, server, client) -> None:
    ranges = ranges_of(org, schema_of(client, "Contact"), 100)
    server.faults.push(faults.UNAVAILABLE_JSON, times=20, where="composite")
    with pytest.raises(UnreachableError):
        list(RangeReader(client).read(ranges))


def test_records_are_fetched_by_id_and_what_can_not_be_seen_is_left_out(org, client) -> None:
    schema = schema_of(client, "Contact")
    wanted = everything(org, "Contact")
    org.purge("Contact", next(r["Id"] for r in org.records("Contact", include_deleted=True) if r["IsDeleted"]))
    client._session.headers["Sforce-Query-Options"] = "batchSize=200"
    packet = [(schema, wanted[start : start + 175]) for start in range(0, 700, 175)]
    before = client.calls

    found = {i: row for _, _, rows in fetch(client, packet) for i, row in rows.items()}

    assert client.calls - before == 1
    assert sorted(found) == everything(org, "Contact")
    assert len(found) == len(wanted) - 1


def test_the_re_read_asks_for_what_is_worked_out_and_no_more(org, client) -> None:
    schema = schema_of(client, "Contact")
    assert reread_fields(schema)[:3] == ["Id", "SystemModstamp", "IsDeleted"]
    assert {"Account_ARR__c", "Account_Type__c"} <= set(reread_fields(schema))
    pages = list(RangeReader(client, names=reread_fields).read(ranges_of(org, schema, 5_000)))
    assert {name for page in pages for row in page.rows for name in row.fields} == set(reread_fields(schema))
