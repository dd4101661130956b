"""Descriptions and delete logs of many objects in one call, and one by one where the server does not let them."""

import json
from datetime import UTC, datetime

import pytest

from integration.errors import ConfigError, HeadraceError, UnreachableError
from integration.sandbox import faults as trouble
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.source import faults
from integration.source.client import DeletedWindow, SalesforceClient
from integration.source.credentials import Connection
from integration.source.session import patient_retry, session_for

NOON = datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)
WATCHED = (
    "Account", "Contact", "Lead", "Opportunity", "OpportunityContactRole", "Task", "Event", "Campaign",
    "CampaignMember", "User",
)  # fmt: skip
NOT_FOUND = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]
START, END = "2024-01-22T11:00:00Z", "2024-01-22T12:01:00Z"


@pytest.fixture
def org():
    return Org(clock=VirtualClock(NOON))


@pytest.fixture
def server(org):
    with SandboxServer(org) as running:
        yield running


@pytest.fixture
def client(server, little):
    return client_at(server.url, little.Log())


def client_at(url, log=None, **more) -> SalesforceClient:
    connection = Connection(
        base_url=url, **({"consumer_key": "sandbox-key", "consumer_secret": "sandbox-secret"} | more)
    )
    session = session_for(connection, retry=patient_retry(0))
    return SalesforceClient(connection, session=session, log=log, sleep=lambda _seconds: None)


@pytest.fixture
def told_client(told, little):
    return client_at(
        told.url, little.Log(), session_id="00Dxx0000001gPL!token", consumer_key=None, consumer_secret=None
    )


def composite(*parts) -> dict:
    return {"compositeResponse": [{"httpStatusCode": status, "body": body} for status, body in parts]}


def described(name) -> dict:
    return {"name": name, "fields": []}


# --- against the sandbox org ---


def test_all_watched_objects_are_described_in_one_call(client, server):
    found = client.describes(WATCHED)
    assert client.calls == server.api_used == 1
    assert list(found) == list(WATCHED)
    assert {name: one["name"] for name, one in found.items()} == {name: name for name in WATCHED}
    assert found["Contact"] == client.describe("Contact")


def test_an_unknown_object_leaves_the_others_their_descriptions(client):
    found = client.describes(["Account", "Foo__c", "Account", "User"])
    assert client.calls == 1
    assert list(found) == ["Account", "Foo__c", "User"]
    assert isinstance(found["Foo__c"], faults.UnknownObjectError)
    assert "'Foo__c'" in str(found["Foo__c"])
    assert found["User"]["name"] == "User"


def test_objects_that_are_all_unknown_are_told_as_such_and_the_next_call_is_a_packet_again(client):
    found = client.describes(["Foo__c", "Bar__c"])
    assert [type(one) for one in found.values()] == [faults.UnknownObjectError] * 2
    before = client.calls
    assert [one["name"] for one in client.describes(WATCHED).values()] == list(WATCHED)
    assert client.calls == before + 1
    client.describes(["Foo__c", "Bar__c"])
    assert client.calls == before + 2  # by now it is known that packets are answered


def test_the_delete_logs_of_all_objects_are_read_in_one_call(client, server, org):
    ids = {name: org.insert(name, {"Name": "gone"} if name == "Account" else {"LastName": "gone"}) for name in ("Account", "Contact")}  # fmt: skip
    for name, key in ids.items():
        org.delete(name, key)
        org.purge(name, key)
    windows = client.deleted_windows([(name, START, END) for name in WATCHED])
    assert client.calls == server.api_used == 1
    by_name = dict(zip(WATCHED, windows, strict=True))
    assert [key for key, _at in by_name["Account"].records] == [ids["Account"]]
    assert [key for key, _at in by_name["Contact"].records] == [ids["Contact"]]
    assert by_name["Lead"].records == []
    assert by_name["Account"] == client.deleted("Account", START, END)


def test_a_window_too_far_back_leaves_the_others_theirs(client):
    windows = client.deleted_windows(
        [
            ("Account", START, END),
            ("Contact", "2020-01-01T00:00:00Z", END),
            ("Foo__c", START, END),
            ("User", START, END),
        ]
    )
    assert [type(one) for one in windows] == [
        DeletedWindow, faults.ReplicationWindowError, faults.UnknownObjectError, DeletedWindow,
    ]  # fmt: skip
    assert client.calls == 1


def test_windows_that_are_all_too_far_back_are_not_asked_for_twice(client):
    windows = client.deleted_windows([(name, "2020-01-01T00:00:00Z", END) for name in ("Account", "Contact")])
    assert [type(one) for one in windows] == [faults.ReplicationWindowError] * 2
    assert client.calls == 1


def test_a_server_that_takes_queries_only_in_packets_is_asked_one_by_one_from_then_on(client, server):
    server.rest.composite_takes_queries_only = True
    assert [one["name"] for one in client.describes(WATCHED).values()] == list(WATCHED)
    assert client.calls == 1 + len(WATCHED)
    client.describes(WATCHED)
    assert client.calls == 1 + 2 * len(WATCHED)
    assert server.requests["composite"] == 1

    # Delete logs are another matter, and learned on their own; queries go on together.
    assert all(isinstance(one, DeletedWindow) for one in client.deleted_windows([("Account", START, END), ("User", START, END)]))  # fmt: skip
    client.deleted_windows([("Account", START, END), ("User", START, END)])
    assert server.requests["composite"] == 2
    client.query_pages(["SELECT Id FROM User", "SELECT Id FROM Account"])
    assert server.requests["composite"] == 3


def test_trouble_of_one_part_costs_one_more_call_for_it_alone(client, server):
    client.objects()
    server.faults.push(trouble.TRUNCATED, where="composite")
    server.faults.push(trouble.MAINTENANCE_PAGE, where="composite")
    assert len(client.describes(WATCHED)) == len(WATCHED)
    assert server.requests["composite"] == 2  # the page was given by nobody


def test_used_up_calls_are_told_for_all(client, server):
    server.faults.push(trouble.LIMIT_EXCEEDED, times=5, where="composite")
    with pytest.raises(faults.DailyLimitError):
        client.describes(WATCHED)
    with pytest.raises(faults.DailyLimitError):
        client.deleted_windows([(name, START, END) for name in WATCHED])
    assert client.calls == 2


# --- against a server that answers what it is told ---


def test_twenty_five_travel_together(told, told_client):
    names = [f"Object{n}__c" for n in range(27)]
    told.say(composite(*[(200, described(name)) for name in names[:25]]))
    told.say(composite(*[(200, described(name)) for name in names[25:]]))
    found = told_client.describes(names)
    assert [one["name"] for one in found.values()] == names
    first, second = [json.loads(body)["compositeRequest"] for _method, _path, _headers, body in told.asked]
    assert (len(first), len(second)) == (25, 2)
    assert first[0] == {
        "method": "GET",
        "url": "/services/data/v66.0/sobjects/Object0__c/describe",
        "referenceId": "q0",
    }
    assert len({one["referenceId"] for one in first}) == 25


def test_a_window_is_written_so_that_its_offset_survives(told, told_client):
    window = {"deletedRecords": [], "earliestDateAvailable": None, "latestDateCovered": None}
    told.say(composite((200, window), (200, window)))
    told_client.deleted_windows([("Account", START, END), ("Contact", START, END)])
    (asked, _other) = json.loads(told.asked[0][3])["compositeRequest"]
    assert asked["url"] == (
        "/services/data/v66.0/sobjects/Account/deleted/"
        "?start=2024-01-22T11%3A00%3A00%2B00%3A00&end=2024-01-22T12%3A01%3A00%2B00%3A00"
    )


@pytest.mark.parametrize(
    "refusal",
    [
        (404, NOT_FOUND),
        (405, b"<html>Method Not Allowed</html>"),
        (400, [{"errorCode": "INVALID_INPUT", "message": "bad url"}]),
        (200, composite((400, [{"errorCode": "LIMIT_EXCEEDED", "message": "too many"}]))),
        (200, composite((404, NOT_FOUND), (404, NOT_FOUND))),
        (200, composite((405, [{"errorCode": "METHOD_NOT_ALLOWED", "message": "no"}]), (404, None))),
        (200, composite((400, [{"errorCode": "INVALID_INPUT", "message": "url"}]), (501, None))),
    ],
    ids=["no composite", "a proxy", "refused", "refused inside", "not found", "not allowed", "odd"],
)
def test_whatever_way_a_packet_is_refused_each_is_asked_alone_and_that_is_remembered(told, told_client, refusal):
    status, body = refusal
    told.say(body, status)
    for name in ("A", "B", "A", "B"):
        told.say(described(name))
    for _ in range(2):
        assert [one["name"] for one in told_client.describes(["A", "B"]).values()] == ["A", "B"]
    assert [path.rsplit("v66.0/", 1)[1] for _method, path, _headers, _body in told.asked] == [
        "composite", *["sobjects/A/describe", "sobjects/B/describe"] * 2,
    ]  # fmt: skip


def test_a_proxys_bad_moment_does_not_end_the_packets(told, told_client):
    told.say(composite((200, described("A")), (200, described("B"))))
    told_client.describes(["A", "B"])
    told.say(b"<html>Not Found</html>", 404)
    with pytest.raises(UnreachableError):
        told_client.describes(["A", "B"])
    told.say(composite((200, described("A")), (200, described("B"))))
    assert len(told_client.describes(["A", "B"])) == 2
    assert all(path.endswith("composite") for _method, path, _headers, _body in told.asked)


def test_a_single_object_travels_alone(told, told_client):
    told.say(described("A"))
    told.say(NOT_FOUND, 404)
    assert told_client.describes(["A"]) == {"A": described("A")}
    assert isinstance(told_client.describes(["B"])["B"], faults.UnknownObjectError)
    assert len(told.asked) == 2


def test_nothing_asked_is_nothing_called(told, told_client):
    assert told_client.describes([]) == {}
    assert told_client.deleted_windows([]) == []
    assert told.asked == []


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ((403, [{"errorCode": "API_DISABLED_FOR_ORG", "message": "no"}]), ConfigError),
        ((403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]), faults.DailyLimitError),
        ((200, "a description that is none"), UnreachableError),
    ],
    ids=["no API", "no calls left", "another shape"],
)  # fmt: skip
def test_what_concerns_all_is_raised(told, told_client, part, kind):
    told.say(composite((200, described("A")), part))
    with pytest.raises(HeadraceError) as refused:
        told_client.describes(["A", "B"])
    assert isinstance(refused.value, kind)
    assert len(told.asked) == 1
