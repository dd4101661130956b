"""Answers that are no good: asked again a few times, with growing waits; everything else not once more."""

import json
import threading
from datetime import UTC, datetime

import pytest

from integration.errors import ConfigError, RunError, UnreachableError, UsageError
from integration.sandbox import faults as trouble
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.source import faults
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.patience import ATTEMPTS, LONGEST_SECONDS, Patience
from integration.source.session import TIMEOUT, patient_retry, session_for

JSON = "application/json;charset=UTF-8"
BUSY = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "ConcurrentPerOrgLongTxn Limit exceeded."}]
LOCKED = [{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access to this record"}]
ROWS = {"done": True, "records": [{"Id": "a"}]}
QUERIES = ["SELECT Id FROM Account", "SELECT Id FROM Contact", "SELECT Id FROM Lead"]


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(told, waits):
    connection = Connection(base_url=told.url, session_id="00Dxx0000001gPL!token")
    session = session_for(connection, retry=patient_retry(0))
    return SalesforceClient(connection, session=session, sleep=waits.append)


def composite(*parts) -> dict:
    return {"compositeResponse": [{"httpStatusCode": status, "body": body} for status, body in parts]}


def sent(told) -> list[list[str]]:
    """The objects asked for, call by call."""
    bodies = [json.loads(body) for _method, path, _headers, body in told.asked if path.endswith("composite")]
    return [[r["url"].rsplit("20", 1)[1] for r in body["compositeRequest"]] for body in bodies]


# --- whole calls ---


@pytest.mark.parametrize(
    ("status", "content", "headers"),
    [
        (200, b'{"sobjects": [{"na', {"Content_Type": JSON}),
        (200, b"", {"Content_Type": JSON}),
        (200, b'{"sobjects": [{"na', {"Content_Type": JSON, "Content_Length": "5000"}),
        (200, b"not gzip", {"Content_Type": JSON, "Content_Encoding": "gzip"}),
        (200, b"<html>maintenance</html>", {}),
        (200, b"<html>a proxy that calls it JSON</html>", {"Content_Type": JSON}),
        (403, BUSY, {}),
        (401, b'[{"errorCode": "INVALID_SES', {"Content_Type": JSON}),
        (404, b'[{"errorCo', {"Content_Type": JSON}),
        (429, b"slow down", {}),
    ],
    ids=[
        "half",
        "empty",
        "broken off",
        "garbled",
        "maintenance",
        "page as json",
        "long calls",
        "half a 401",
        "half a 404",
        "429",
    ],
)
def test_an_answer_that_is_no_good_is_asked_for_again(told, client, waits, status, content, headers):
    for _ in range(3):
        told.say(content, status, **headers)
    told.say({"sobjects": [{"name": "Account"}]})
    assert client.objects() == [{"name": "Account"}]
    assert len(told.asked) == client.calls == 4
    assert waits == sorted(waits)  # growing
    assert waits[0] > 0
    assert sum(waits) < LONGEST_SECONDS


@pytest.mark.parametrize("content", [b"<html>maintenance</html>", b'{"half'])
def test_it_is_given_up_after_four_times(told, client, waits, content):
    for _ in range(20):
        told.say(content, Content_Type=JSON)
    with pytest.raises(UnreachableError):
        client.objects()
    assert len(told.asked) == ATTEMPTS == 4
    assert len(waits) == 3


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}], faults.DailyLimitError),
        (403, [{"errorCode": "API_DISABLED_FOR_ORG", "message": "no"}], ConfigError),
        (404, [{"errorCode": "NOT_FOUND", "message": "no"}], UsageError),
        (400, [{"errorCode": "INVALID_FIELD", "message": "no"}], RunError),
        (400, [{"errorCode": "QUERY_TIMEOUT", "message": "no"}], RunError),
        (401, [{"errorCode": "INVALID_SESSION_ID", "message": "gone"}], ConfigError),
        (200, [1, 2], UnreachableError),
    ],
    ids=str,
)  # fmt: skip
def test_what_will_not_pass_is_asked_once(told, client, waits, status, content, kind):
    for _ in range(9):
        told.say(content, status)
    with pytest.raises(kind):
        client.describe("Foo")
    assert (len(told.asked), waits) == (1, [])


def test_a_server_that_is_not_there_is_left_to_urllib3(told, client, waits):
    told.close()
    with pytest.raises(UnreachableError, match="nothing listens"):
        client.objects()
    assert waits == []


def test_a_server_that_swallows_connections_is_given_up_within_twenty_seconds():
    rule = patient_retry()
    attempts = 1 + rule.connect
    assert attempts * TIMEOUT[0] + (attempts - 1) * (rule.backoff_factor * 2 + rule.backoff_jitter) <= 20


def test_no_attempt_begins_after_45_seconds(monkeypatch):
    """An answer can take a minute to come; then asking three times more would take another three."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    begun = []

    def work():
        begun.append(now[0])
        now[0] += 40
        raise faults.PassingError("no good")

    def sleep(seconds):
        now[0] += seconds

    with pytest.raises(faults.PassingError):
        Patience(sleep)(work)
    assert 1 <= len(begun) <= 2
    assert begun[-1] < LONGEST_SECONDS


def test_waits_differ_from_call_to_call_so_that_workers_do_not_come_back_together():
    firsts = set()
    for _ in range(20):
        waits = []
        with pytest.raises(faults.BusyError):
            Patience(waits.append)(refuse)
        assert sum(waits) < LONGEST_SECONDS
        firsts.add(waits[0])
    assert len(firsts) > 10


def refuse():
    raise faults.BusyError("busy")


# --- parts of a packet ---


def test_a_part_that_was_refused_for_a_moment_is_asked_for_again_alone(told, client, waits):
    told.say(composite((200, ROWS), (403, BUSY), (500, LOCKED)))
    told.say(composite((503, [{"errorCode": "SERVER_UNAVAILABLE"}]), (200, ROWS)))
    told.say(composite((200, ROWS)))
    answers = client.query_pages(QUERIES)
    assert [a.records for a in answers] == [[{"Id": "a"}]] * 3
    assert sent(told) == [["Account", "Contact", "Lead"], ["Contact", "Lead"], ["Contact"]]
    assert len(waits) == 2


def test_a_part_that_stays_refused_leaves_the_others_their_rows(told, client):
    told.say(composite((200, ROWS), (403, BUSY), (200, ROWS)))
    for _ in range(3):
        told.say(composite((403, BUSY)))
    good, busy, also_good = client.query_pages(QUERIES)
    assert good.records == also_good.records == [{"Id": "a"}]
    assert isinstance(busy.problem, faults.BusyError)
    assert len(told.asked) == 4


def test_trouble_of_the_whole_call_while_a_part_is_repeated_leaves_the_others_their_rows(told, client):
    told.say(composite((200, ROWS), (403, BUSY), (200, ROWS)))
    told.say([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}], 403)
    good, busy, also_good = client.query_pages(QUERIES)
    assert good.records == also_good.records == [{"Id": "a"}]
    assert isinstance(busy.problem, faults.BusyError)


def test_a_part_with_a_fault_of_its_own_is_not_repeated(told, client, waits):
    timeout = [{"errorCode": "QUERY_TIMEOUT", "message": "Your query request was running for too long."}]
    gone = [{"errorCode": "INVALID_FIELD", "message": "No such column"}]
    used_up = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
    told.say(composite((400, timeout), (400, gone), (403, used_up)))
    slow, no_field, limit = client.query_pages(QUERIES)
    assert isinstance(slow.problem, faults.QueryTimeoutError)
    assert isinstance(no_field.problem, faults.InvalidFieldError)
    assert isinstance(limit.problem, faults.DailyLimitError)
    assert (len(told.asked), waits) == (1, [])


def test_a_packet_that_is_refused_as_a_whole_inside_its_answer_is_refused_for_each(told, client):
    told.say(composite((400, [{"errorCode": "LIMIT_EXCEEDED", "message": "too many operations"}])))
    answers = client.query_pages(QUERIES)
    assert [type(a.problem) for a in answers] == [RunError] * 3


def test_answers_that_are_missing_are_not_taken_for_anothers(told, client):
    told.say(composite((200, ROWS), (200, ROWS)))
    with pytest.raises(UnreachableError):
        client.query_pages(QUERIES)


# --- against the sandbox org ---


@pytest.fixture
def server():
    with SandboxServer(Org(clock=VirtualClock(datetime(2001, 5, 17, 3, 4, 5, tzinfo=UTC)))) as running:
        yield running


def client_of(server, waits) -> SalesforceClient:
    connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
    return SalesforceClient(connection, session=session_for(connection, retry=patient_retry(0)), sleep=waits.append)


@pytest.mark.parametrize(
    "fault",
    [
        trouble.MAINTENANCE_PAGE,
        trouble.TRUNCATED,
        trouble.TOO_MANY_LONG_REQUESTS,
        trouble.SERVER_ERROR,
        trouble.refuse(500, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access"),
        trouble.UNAVAILABLE_JSON,
        trouble.UNAVAILABLE_HTML,
        trouble.RESET,
        trouble.slow(0.3),
    ],
    ids=["page", "half", "busy", "500", "locked", "503", "503 page", "reset", "slow"],
)
def test_every_passing_trouble_of_an_org_is_outwaited(server, waits, fault):
    client = client_of(server, waits)
    server.faults.push(fault, times=3, where="/services/data")
    assert "Contact" in {o["name"] for o in client.objects()}
    server.faults.push(fault, times=2, where="composite")
    assert client.query_pages(["SELECT Id FROM User", "SELECT Id FROM Account"])[0].records
    if fault.seconds == 0:
        assert len(server.faults) == 0  # all of them were met
    assert client.logins == server.requests["login"] == 1


def test_trouble_at_the_login_is_outwaited_too(server, waits):
    client = client_of(server, waits)
    server.faults.push(trouble.MAINTENANCE_PAGE, times=2, where="token")
    server.faults.push(trouble.RESET, times=1, where="token")
    assert client.objects()


def test_sessions_revoked_between_any_two_calls_cost_one_login_each(server, waits):
    client = client_of(server, waits)
    for _ in range(6):
        assert client.query_pages(["SELECT Id FROM User"])[0].records
        server.expire_tokens()
    assert client.logins == server.requests["login"] == 6
    assert waits == []


def test_a_session_that_ends_while_many_threads_ask_is_renewed_once(server, waits):
    client = client_of(server, waits)
    client.objects()
    server.expire_tokens()
    threads = [threading.Thread(target=client.objects) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert client.logins == server.requests["login"] == 2


def test_an_org_that_takes_no_session_is_left_after_three_logins(server, waits):
    def revoke_all(path):
        if "/services/data" in path:
            server.expire_tokens()

    client = client_of(server, waits)
    server.faults.hook = revoke_all
    for _ in range(3):
        with pytest.raises(ConfigError, match="INVALID_SESSION_ID"):
            client.objects()
    assert client.logins == server.requests["login"] == 3


def test_a_session_without_the_right_to_the_api_is_never_renewed(server, waits):
    client = client_of(server, waits)
    no_api = trouble.refuse(401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API")
    server.faults.push(no_api, times=50, where="/services/data")
    for _ in range(3):
        with pytest.raises(ConfigError, match="API Enabled"):
            client.objects()
    assert client.logins == 1


def test_time_is_the_orgs_own_however_far_from_this_machine(server, waits):
    client = client_of(server, waits)
    assert client.server_time == "2001-05-17T03:04:05Z"
    server.org.clock.advance(86_400 * 365)
    client.limits()
    assert client.server_time == "2002-05-17T03:04:05Z"
    server.org.clock.set(datetime(2101, 1, 1, tzinfo=UTC))
    server.faults.push(trouble.TRUNCATED)
    client.limits()
    assert client.server_time == "2101-01-01T00:00:00Z"
