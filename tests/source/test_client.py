"""The client against a server that answers what it is told: every refusal and silence becomes one sentence."""

import json
import socket
import ssl
import threading
from decimal import Decimal
from urllib.parse import unquote

import pytest
import requests
import urllib3

from integration.core.ids import long_id
from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.source import faults
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.session import PatientRetry, patient_retry, session_for

TOKEN = "00Dxx0000001gPL!AQ.secret.token"
DATE = "Mon, 22 Jan 2024 16:26:15 GMT"
EXPIRED = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]


def connection_to(told, **more) -> Connection:
    given = {"base_url": told.url, "domain": "acme.my", "consumer_key": "key", "consumer_secret": "hush-hush"}
    return Connection(**(given | more))


def client_of(told, log=None, **more) -> SalesforceClient:
    connection = connection_to(told, **more)
    session = session_for(connection, retry=patient_retry(0))
    return SalesforceClient(connection, session=session, log=log, sleep=lambda _seconds: None)


def say_token(told, token: str = TOKEN) -> None:
    told.say({"access_token": token, "instance_url": "https://acme.my.salesforce.com"}, Date=DATE)


def composite(*parts) -> dict:
    return {
        "compositeResponse": [
            {"httpStatusCode": status, "body": body, "httpHeaders": {}, "referenceId": f"q{n}"}
            for n, (status, body) in enumerate(parts)
        ]
    }


def rows(*ids: str, done: bool = True) -> dict:
    return {"totalSize": len(ids), "done": done, "records": [{"Id": i} for i in ids]}


@pytest.fixture
def client(told):
    say_token(told)
    return client_of(told)


def error_of(call) -> HeadraceError:
    with pytest.raises(HeadraceError) as refused:
        call()
    told = str(refused.value)
    assert "\n" not in told
    assert "hush-hush" not in told
    assert TOKEN not in told
    return refused.value


# --- logging in ---


def test_the_login_waits_for_the_first_call_and_is_done_once(told, client):
    assert told.asked == []
    told.say({"sobjects": []}, Date=DATE)
    told.say({"DailyApiRequests": {"Max": 15000, "Remaining": 14998}}, Date=DATE)
    assert client.objects() == []
    assert client.limits()["DailyApiRequests"]["Remaining"] == 14998
    assert [path for _method, path, _headers, _body in told.asked] == [
        "/services/oauth2/token",
        "/services/data/v66.0/sobjects",
        "/services/data/v66.0/limits",
    ]
    assert told.asked[1][2]["Authorization"] == f"Bearer {TOKEN}"
    assert client.calls == 2


@pytest.mark.parametrize(
    ("status", "body", "remedy"),
    [
        (400, {"error": "invalid_client", "error_description": "invalid client credentials"}, "consumer_secret"),
        (400, {"error": "invalid_client_id", "error_description": "client identifier invalid"}, "consumer_key"),
        (400, {"error": "invalid_grant", "error_description": "no client credentials user enabled"}, "run-as"),
        (400, {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"}, "pre-authorise"),
        (400, {"error": "invalid_grant", "error_description": "invalid assertion"}, "private_key_file"),
        (400, {"error": "invalid_grant", "error_description": "audience is invalid"}, "salesforce.domain"),
        (400, {"error": "invalid_grant"}, "Login History"),
    ],
)
def test_a_refused_login_tells_what_to_change(told, status, body, remedy):
    told.say(body, status)
    error = error_of(client_of(told).objects)
    assert isinstance(error, ConfigError)
    assert remedy in str(error)
    assert body["error"] in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>maintenance</html>"),
        (200, {"no": "token"}),
        (200, []),
        (400, [{"errorCode": "X", "message": "an array where OAuth has an object"}]),
        (404, b"<html>not found</html>"),
    ],
)
def test_a_login_answered_with_something_else_is_told_as_unreachable(told, status, body):
    told.say(body, status)
    error = error_of(client_of(told).objects)
    assert isinstance(error, UnreachableError)


def test_a_secret_that_the_server_quotes_is_blotted_out(told):
    told.say({"error": "invalid_client", "error_description": "bad secret hush-hush"}, 400)
    assert "bad secret ***" in str(error_of(client_of(told).objects))
    say_token(told)
    told.say([{"errorCode": "ODD", "message": f"token {TOKEN} is odd"}], 400)
    assert "token *** is odd" in str(error_of(client_of(told).objects))


def test_a_password_login_works_and_says_that_it_will_end(told, little):
    envelope = "<e xmlns:x='y'><sessionId>{}</sessionId><serverUrl>https://acme.my.salesforce.com/x</serverUrl></e>"
    told.say(envelope.format(TOKEN).encode())
    told.say({"sobjects": []})
    log = little.Log()
    given = {"consumer_key": None, "consumer_secret": None, "username": "ops@example.com", "password": "hush-hush"}
    client_of(told, log, **given).objects()
    # the last version with SOAP logins, whatever version is used afterwards
    assert [path for _m, path, _h, _b in told.asked] == ["/services/Soap/u/64.0", "/services/data/v66.0/sobjects"]
    (warning,) = log.told
    assert "Summer '27" in warning


def test_a_password_login_with_an_app_goes_through_oauth(told, little):
    say_token(told)
    told.say({"sobjects": []})
    client_of(told, little.Log(), username="ops@example.com", password="pass&word").objects()
    assert b"grant_type=password" in told.asked[0][3]
    assert b"pass%26word" in told.asked[0][3]


@pytest.mark.parametrize("content", [None, "not a key"])
def test_a_private_key_that_is_none_names_its_setting(told, tmp_path, content):
    path = tmp_path / "key.pem"
    if content:
        path.write_text(content)
    given = {"consumer_secret": None, "username": "ops@example.com", "private_key_file": path}
    error = error_of(client_of(told, **given).objects)
    assert isinstance(error, ConfigError)
    assert "salesforce.private_key_file" in str(error)
    assert told.asked == []


def test_client_credentials_need_the_org_s_own_address(told):
    error = error_of(client_of(told, domain="login").objects)
    assert isinstance(error, ConfigError)
    assert "My Domain" in str(error)


# --- sessions ---


def test_an_expired_session_is_renewed_once_and_the_call_repeated(told, client):
    told.say(EXPIRED, 401)
    say_token(told, "00Dxx0000001gPL!second")
    told.say({"sobjects": [{"name": "Account"}]})
    assert client.objects() == [{"name": "Account"}]
    assert told.asked[-1][2]["Authorization"] == "Bearer 00Dxx0000001gPL!second"


def logins(told) -> int:
    return [path for _method, path, _headers, _body in told.asked].count("/services/oauth2/token")


def test_a_session_that_is_never_accepted_costs_three_logins_and_no_more(told, client):
    for _ in range(10):
        told.say(EXPIRED, 401)
        say_token(told)
    error = error_of(client.objects)
    assert isinstance(error, ConfigError)
    assert "does not accept the session it has just given" in str(error)
    assert (len(told.asked), client.logins, logins(told)) == (6, 3, 3)

    told.answers.clear()
    for _ in range(10):
        told.say(EXPIRED, 401)
    error_of(client.objects)
    assert client.logins == 3  # asking again does not log in again

    told.answers.clear()
    told.say({"sobjects": []})
    assert client.objects() == []  # but a session that is accepted after all is used
    told.answers.clear()
    told.say(EXPIRED, 401)
    say_token(told)
    told.say({"sobjects": []})
    assert client.objects() == []
    assert client.logins == 4


def test_sessions_that_end_again_and_again_cost_one_login_each(told, client):
    told.say({"sobjects": []})
    client.objects()
    for number in range(1, 8):
        told.say(EXPIRED, 401)
        say_token(told, f"00Dxx0000001gPL!{number}")
        told.say({"sobjects": []})
        client.objects()
        assert client.logins == logins(told) == 1 + number


def test_a_session_not_valid_for_the_rest_api_is_not_renewed(told, client):
    told.say(
        [{"errorCode": "INVALID_SESSION_ID", "message": "This session is not valid for use with the REST API"}], 401
    )
    error = error_of(client.objects)
    assert isinstance(error, ConfigError)
    assert "API Enabled" in str(error)
    assert len(told.asked) == 2
    assert client.logins == 1


def test_a_given_token_that_has_expired_names_its_setting(told):
    client = client_of(told, session_id=TOKEN)
    told.say(EXPIRED, 401)
    error = error_of(client.objects)
    assert isinstance(error, ConfigError)
    assert "salesforce.session_id" in str(error)


@pytest.mark.parametrize("body", [b"<html>who are you?</html>", {"error": "an object"}, []])
def test_a_401_of_another_form_is_no_riddle(told, client, body):
    told.say(body, 401)
    assert isinstance(error_of(client.objects), (ConfigError, UnreachableError))


# --- refusals ---


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "word"),
    [
        (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", faults.DailyLimitError, "24 hours"),
        (403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded", faults.BusyError, "at once"),
        (429, "TOO_MANY", "slow down", faults.BusyError, "too many calls"),
        (403, "API_DISABLED_FOR_ORG", "API is not enabled", ConfigError, "permission"),
        (403, "INSUFFICIENT_ACCESS", "no rights", ConfigError, "permission"),
        (400, "INVALID_FIELD", "No such column 'X'", faults.InvalidFieldError, "No such column"),
        (400, "INVALID_TYPE", "sObject type 'Foo'", faults.UnknownObjectError, "no object 'Foo'"),
        (404, "NOT_FOUND", "The requested resource does not exist", faults.UnknownObjectError, "no object 'Foo'"),
        (400, "QUERY_TIMEOUT", "running for too long", faults.QueryTimeoutError, "too long"),
        (414, "", "", ConfigError, "exclude"),
        (500, "UNSUPPORTED_API_VERSION", "gone", ConfigError, "api_version"),
        (400, "MALFORMED_QUERY", "unexpected token", RunError, "unexpected token"),
    ],
)
def test_a_refusal_becomes_the_error_that_says_what_to_do(told, client, status, code, message, kind, word):
    for _ in range(6):  # a passing server error is asked again
        told.say([{"errorCode": code, "message": message}] if code else b"too long", status)
    error = error_of(lambda: client.describe("Foo"))
    assert isinstance(error, kind)
    assert word in str(error)


# --- silences ---


def test_a_passing_503_is_asked_again(told, client):
    told.say({"sobjects": []})
    client.objects()
    for _ in range(3):
        told.say(b"<html>busy</html>", 503)
    told.say({"sobjects": [{"name": "Account"}]})
    assert client.objects() == [{"name": "Account"}]


def test_a_503_that_stays_is_told_as_unreachable_after_five_repeats(told, client):
    for _ in range(20):
        told.say([{"errorCode": "SERVER_UNAVAILABLE", "message": "busy"}], 503)
    told.answers.insert(0, told.answers.pop(0))
    error = error_of(client.objects)
    assert isinstance(error, UnreachableError)
    assert len(told.asked) == 1 + 6


def test_a_post_is_repeated_too(told, client):
    for status in (502, 504):
        told.say(b"bad gateway", status)
    told.say(composite((200, rows("a"))))
    assert client.query_pages(["SELECT Id FROM Account"])[0].records == [{"Id": "a"}]


def answer_with(**headers):
    return urllib3.HTTPResponse(status=503, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_a_retry_after_is_kept_unless_it_asks_for_long():
    retry = PatientRetry(total=5)
    assert retry.increment("GET", "/", answer_with()).total == 4
    assert retry.increment("GET", "/", answer_with(Retry_After="7")).total == 4
    assert retry.get_retry_after(answer_with(Retry_After="7")) == 7
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        retry.increment("GET", "/", answer_with(Retry_After="21"))


def test_an_answer_that_does_not_come_in_time_is_asked_for_once_more():
    slow = urllib3.exceptions.ReadTimeoutError(None, "/", "slow")
    reset = urllib3.exceptions.ProtocolError("reset")
    retry = PatientRetry(total=5).increment("GET", "/", error=reset).increment("GET", "/", error=slow)
    assert retry.increment("GET", "/", error=reset).total == 2
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        retry.increment("GET", "/", error=slow)


def test_a_maintenance_page_is_told_as_such(told, client):
    for _ in range(4):
        told.say(b"<html>We are down for maintenance</html>")
    error = error_of(client.objects)
    assert isinstance(error, UnreachableError)
    assert "web page" in str(error)


def test_an_answer_cut_short_is_told_as_such(told, client):
    for _ in range(4):
        told.say(b'{"sobjects": [{"na', Content_Type="application/json;charset=UTF-8")
    assert "cut short" in str(error_of(client.objects))


def test_a_connection_that_breaks_in_the_middle_is_told_as_such(told, client):
    for _ in range(4):
        told.say(b'{"sobjects": [{"na', Content_Type="application/json", Content_Length="5000")
    error = error_of(client.objects)
    assert isinstance(error, UnreachableError)
    assert "in the middle of an answer" in str(error)


@pytest.mark.parametrize("body", [{"other": 1}, [1, 2], 7])
def test_json_of_another_shape_is_told_as_another_server(told, client, body):
    told.say(body)
    error = error_of(client.objects)
    assert isinstance(error, UnreachableError)
    assert "not one that Salesforce gives" in str(error)


def test_a_port_where_nothing_listens_is_told_with_its_address(told):
    told.close()
    error = error_of(client_of(told).objects)
    assert isinstance(error, UnreachableError)
    assert "nothing listens" in str(error)
    assert told.url.removeprefix("http://") in str(error)


def test_a_host_that_does_not_exist_is_told_as_such():
    connection = Connection(base_url="https://nowhere.invalid", session_id="t")
    client = SalesforceClient(connection, session=session_for(connection, retry=patient_retry(0)))
    error = error_of(client.objects)
    assert isinstance(error, UnreachableError)
    assert "nowhere.invalid" in str(error)


def test_a_server_without_tls_is_told_as_such(told):
    error = error_of(client_of(told, base_url=told.url.replace("http:", "https:")).objects)
    assert isinstance(error, UnreachableError)
    assert "TLS" in str(error)


def test_a_server_that_never_answers_is_given_up(told):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        connection = Connection(base_url=url, session_id="t")
        session = session_for(connection, retry=PatientRetry(total=0))
        with pytest.raises(requests.RequestException) as timeout:
            session.get("https://acme.my.salesforce.com/", timeout=(1, 0.05))
    assert "did not answer in time" in str(faults.silence(timeout.value))


# --- what answers tell beside their body ---


def test_the_clock_and_the_usage_are_those_of_the_last_answer(told, client):
    assert client.api_usage is None
    told.say([{"errorCode": "X"}], 403, Sforce_Limit_Info="api-usage=18/15000", Date=DATE)
    error_of(client.objects)
    assert client.api_usage == (18, 15000)
    told.say(
        {"sobjects": []},
        Sforce_Limit_Info="API-Usage=25/15000; per-app-api-usage=17/250(appName=x)",
        Date="Mon, 22 Jan 2024 16:26:20 GMT",
    )
    client.objects()
    assert client.api_usage == (25, 15000)
    assert client.server_time == "2024-01-22T16:26:20Z"


def test_the_clock_can_be_read_before_anything_was_asked(told, client):
    told.answers.clear()
    told.say({"access_token": TOKEN, "instance_url": "https://acme.my.salesforce.com"})
    # the server's own Date, today's
    assert client.server_time.startswith("20")


@pytest.mark.parametrize(
    ("token", "answer", "org_id"),
    [
        (TOKEN, None, long_id("00Dxx0000001gPL")),
        ("00Dxx0000001gPLEAY!AQ", None, "00Dxx0000001gPLEAY"),
        ("opaque", {"done": True, "records": [{"Id": "00Dxx0000001gPLEAY"}]}, "00Dxx0000001gPLEAY"),
        ("opaque", {"done": True, "records": []}, "acme.my.salesforce.com"),
    ],
)
def test_the_org_is_known_by_its_id_or_by_its_host(told, token, answer, org_id):
    say_token(told, token)
    client = client_of(told)
    if answer:
        told.say(answer)
    assert client.org_id == org_id
    assert client.org_id == org_id


def test_an_org_that_can_not_be_asked_just_now_is_not_given_another_name(told):
    say_token(told, "opaque")
    client = client_of(told)
    for _ in range(4):
        told.say(b"<html>maintenance</html>")
    assert isinstance(error_of(lambda: client.org_id), UnreachableError)
    told.say({"done": True, "records": [{"Id": "00Dxx0000001gPLEAY"}]})
    assert client.org_id == "00Dxx0000001gPLEAY"


@pytest.mark.parametrize(
    ("short", "long"),
    [("001d000000Ir2ye", "001d000000Ir2yeAAB"), ("00Dxx0000001gPL", "00Dxx0000001gPLEAY"), ("host.name", "host.name")],
)
def test_a_short_id_gets_the_three_characters_that_keep_its_case(short, long):
    assert long_id(short) == long


# --- queries ---


def test_five_queries_travel_in_one_call_and_a_sixth_in_another(told, client):
    told.say(composite(*[(200, rows(f"id{n}")) for n in range(5)]))
    told.say(composite((200, rows("id5"))))
    queries = [f"SELECT Id FROM Account WHERE Name = 'a&b=c+{n} é'" for n in range(6)]
    answers = client.query_pages(queries)
    assert [a.records[0]["Id"] for a in answers] == [f"id{n}" for n in range(6)]
    assert client.calls == 2
    sent = json.loads(told.asked[1][3])
    assert not sent["allOrNone"]
    start = "/services/data/v66.0/queryAll?q="
    assert [r["url"][: len(start)] for r in sent["compositeRequest"]] == [start] * 5
    assert [unquote(r["url"][len(start) :]) for r in sent["compositeRequest"]] == queries[:5]
    assert not any(set("&+= '") & set(r["url"][len(start) :]) for r in sent["compositeRequest"])
    assert len({r["referenceId"] for r in sent["compositeRequest"]}) == 5


def test_a_query_that_fails_leaves_the_others_their_answers(told, client):
    bad = [{"errorCode": "INVALID_FIELD", "message": "No such column 'X' on entity 'Lead'"}]
    told.say(composite((200, rows("a", done=False)), (400, bad)))
    good, failed = client.query_pages(["SELECT Id FROM Account", "SELECT X FROM Lead"])
    assert (good.records, good.done, good.problem) == ([{"Id": "a"}], False, None)
    assert isinstance(failed.problem, faults.InvalidFieldError)
    assert "Lead" in str(failed.problem)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]),
        (400, [{"errorCode": "INVALID_INPUT", "message": "no"}]),
        (405, b"<html>Method Not Allowed</html>"),
    ],
)
def test_a_server_without_composite_is_asked_query_by_query_from_then_on(told, little, status, body):
    say_token(told)
    log = little.Log()
    client = client_of(told, log)
    told.say(body, status)
    for name in "abc":
        told.say(rows(name))
    told.say([{"errorCode": "INVALID_FIELD", "message": "gone"}], 400)
    two = client.query_pages(["SELECT Id FROM A", "SELECT Id FROM B"])
    assert [a.records for a in two] == [[{"Id": "a"}], [{"Id": "b"}]]
    (again, failed) = client.query_pages(["SELECT Id FROM C", "SELECT X FROM D"])
    assert again.records == [{"Id": "c"}]
    assert isinstance(failed.problem, faults.InvalidFieldError)
    assert [path.split("?")[0].rsplit("/", 1)[1] for _m, path, _h, _b in told.asked[1:]] == [
        "composite",
        *["queryAll"] * 4,
    ]
    assert len(log.told) == 1


def test_numbers_come_without_rounding(told, client):
    told.say(b'{"sobjects": [{"a": 12345678901234567.89, "b": 0.1, "c": 1.395E8}]}', Content_Type="application/json")
    (numbers,) = client.objects()
    assert numbers == {"a": Decimal("12345678901234567.89"), "b": Decimal("0.1"), "c": Decimal("1.395E8")}


def test_the_delete_log_is_asked_with_offsets(told, client):
    told.say(
        {
            "deletedRecords": [{"id": "003000000000001AAA", "deletedDate": "2024-01-22T16:26:15.000+0000"}],
            "earliestDateAvailable": "2024-01-08T00:00:00.000+0000",
            "latestDateCovered": "2024-01-22T16:27:00.000+0000",
        }
    )
    window = client.deleted("Contact", "2024-01-22T16:00:00Z", "2024-01-22T16:27:00Z")
    assert window.records == [("003000000000001AAA", "2024-01-22T16:26:15.000+0000")]
    assert window.latest_covered == "2024-01-22T16:27:00.000+0000"
    assert told.asked[-1][1] == (
        "/services/data/v66.0/sobjects/Contact/deleted/"
        "?start=2024-01-22T16%3A00%3A00%2B00%3A00&end=2024-01-22T16%3A27%3A00%2B00%3A00"
    )
    told.say([{"errorCode": "INVALID_REPLICATION_DATE", "message": "startDate before org replication"}], 400)
    with pytest.raises(faults.ReplicationWindowError):
        client.deleted("Contact", "2020-01-22T16:00:00Z", "2024-01-22T16:27:00Z")


def test_calls_from_several_threads_wait_for_each_other(told, client):
    for _ in range(8):
        told.say({"sobjects": []})
    threads = [threading.Thread(target=client.objects) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [path for _m, path, _h, _b in told.asked].count("/services/oauth2/token") == 1
    assert client.calls == 8


# --- where requests go ---


@pytest.mark.parametrize(
    "url",
    [
        "http://proxy.example.com",
        "http://10.0.0.1:8080",
        "proxy.example.com",
        "ftp://127.0.0.1",
        "https://user:pass@proxy.example.com",
        "http://[::1",
    ],
)
def test_an_address_that_would_leak_or_makes_no_sense_is_refused(url):
    with pytest.raises(ConfigError, match=r"salesforce\.base_url") as refused:
        session_for(Connection(base_url=url))
    assert "pass@" not in str(refused.value)


def test_proxies_of_the_environment_do_not_catch_what_is_meant_for_the_base(told, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    say_token(told)
    told.say({"sobjects": []})
    assert client_of(told).objects() == []


def test_a_path_in_the_base_is_kept(told):
    say_token(told)
    told.say({"sobjects": []})
    client_of(told, base_url=told.url + "/salesforce/").objects()
    assert [path for _m, path, _h, _b in told.asked] == [
        "/salesforce/services/oauth2/token",
        "/salesforce/services/data/v66.0/sobjects",
    ]


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for 127.0.0.1: (certificate file, key file)."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "headrace test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_an_extra_certificate_authority_is_trusted_and_without_it_the_server_is_not(told, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    told.server.socket = context.wrap_socket(told.server.socket, server_side=True)
    url = told.url.replace("http:", "https:")
    error = error_of(client_of(told, base_url=url).objects)
    assert isinstance(error, UnreachableError)
    assert "salesforce.ca_file" in str(error)
    say_token(told)
    told.say({"sobjects": []})
    assert client_of(told, base_url=url, ca_file=certificate[0]).objects() == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_authority_that_is_none_names_its_setting(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"salesforce\.ca_file"):
        session_for(Connection(ca_file=path))
