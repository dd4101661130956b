import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
import requests

from integration.errors import ConfigError
from integration.store.duckdb.store import DuckDBStore
from integration.web.query import QueryServer, query_app

ARROW = "application/vnd.apache.arrow.stream"


def serve(store: DuckDBStore, token: str | None) -> QueryServer:
    def run(sql: str, limit: int | None, seconds: float) -> pa.Table:
        if sql == "BREAK":
            raise ZeroDivisionError("private detail")
        return store.query(sql, limit=limit, timeout_seconds=seconds)

    server = QueryServer(query_app(run, token=token))
    server.start()
    return server


@pytest.fixture
def url(store: DuckDBStore) -> Iterator[str]:
    server = serve(store, None)
    yield server.url
    server.stop()


@pytest.fixture
def locked(store: DuckDBStore) -> Iterator[str]:
    server = serve(store, "correct horse")
    yield server.url
    server.stop()


def ask(url: str, headers: dict[str, str] | None = None, **body: Any) -> requests.Response:
    return requests.post(f"{url}/api/sql", json=body, headers=headers, timeout=30)


def test_sql_gives_columns_and_rows_as_json(url: str) -> None:
    answer = ask(url, sql="SELECT 1.10::DECIMAL(18, 2) AS a, 'é' AS b")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == (
        '{"columns":[{"name":"a","type":"DECIMAL(18,2)"},{"name":"b","type":"VARCHAR"}],'
        '"rows":[{"a":1.10,"b":"é"}],"truncated":false}'
    )


def test_sql_gives_an_arrow_stream_on_request(url: str) -> None:
    answer = ask(url, {"Accept": ARROW}, sql="SELECT * FROM range(50000) AS t(x)")
    assert answer.headers["content-type"] == ARROW
    with pa.ipc.open_stream(answer.content) as stream:
        assert stream.read_all().column("x").to_pylist() == list(range(50_000))


@pytest.mark.parametrize(
    ("limit", "shown", "truncated"), [(None, 10_000, True), (3, 3, True), (20_000, 20_000, False), (0, 0, True)]
)
def test_a_cut_answer_says_so(url: str, limit: int | None, shown: int, truncated: bool) -> None:
    answer = ask(url, sql="SELECT * FROM range(20000)", limit=limit).json()
    assert (len(answer["rows"]), answer["truncated"]) == (shown, truncated)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "holds no SQL"),
        (b'{"sql": 1}', "holds no SQL"),
        (b'{"sql": "SELECT 1", "limit": -1}', "limit"),
        (b'{"sql": "SELECT 1", "limit": true}', "limit"),
        (b'{"sql": "SELECT 1", "limit": "9"}', "limit"),
        (b'{"sql": "SELECT 1", "timeout_seconds": 0}', "timeout_seconds"),
        (b'{"sql": "SELECT 1", "timeout_seconds": "x"}', "timeout_seconds"),
        (b'{"sql": "SELEC 1"}', "does not parse"),
        (b'{"sql": "DROP TABLE users"}', "DROP is not possible"),
        (b'{"sql": "SELECT 1; SELECT 2"}', "2 statements"),
    ],
)
def test_a_bad_request_gets_one_sentence(url: str, body: bytes, sentence: str) -> None:
    answer = requests.post(f"{url}/api/sql", body, headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["kind"] == "usage"
    assert sentence in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_failing_query_and_a_bug_are_500_without_details(url: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(url, sql="SELECT 'a'::INTEGER")
    assert (answer.status_code, answer.json()["kind"]) == (500, "run")
    with caplog.at_level(logging.ERROR, "headrace.web"):
        answer = ask(url, sql="BREAK")
    assert (answer.status_code, answer.json()["kind"]) == (500, "run")
    assert "private" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_what_a_foreign_page_could_send_unasked_is_refused(url: str, kind: str) -> None:
    body = json.dumps({"sql": "SELECT 1"}).encode()
    answer = requests.post(f"{url}/api/sql", body, headers={"Content-Type": kind}, timeout=30)
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:80", "127.0.0.1.example.com", "", "[2001:db8::1]:80"]
)
def test_a_request_for_another_host_name_is_refused(url: str, host: str) -> None:
    for path in ("/api/sql", "/livez"):
        answer = requests.get(f"{url}{path}", headers={"Host": host}, timeout=30)
        assert answer.status_code == 400
        assert "host name" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:99", "[::1]:80"])
def test_a_request_for_this_machine_is_answered(url: str, host: str) -> None:
    answer = requests.get(f"{url}/livez", headers={"Host": host}, timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "correct", "Basic correct horse", "Bearer correct horse é"]
)
def test_without_the_token_nothing_is_answered(locked: str, header: str | None) -> None:
    answer = ask(locked, {} if header is None else {"Authorization": header.encode().decode("latin-1")}, sql="SELECT 1")
    assert answer.status_code == 401
    assert answer.json()["kind"] == "config"


def test_with_the_token_it_is_answered(locked: str) -> None:
    assert ask(locked, {"Authorization": "Bearer correct horse"}, sql="SELECT 1 AS a").json()["rows"] == [{"a": 1}]
    assert requests.get(f"{locked}/livez", timeout=30).status_code == 200


def test_a_request_that_is_too_large_is_cut_off(url: str) -> None:
    answer = ask(url, sql="SELECT 1 -- " + "x" * 1_000_000)
    assert answer.status_code == 413
    assert "1 MB" in answer.json()["error"]


def test_other_addresses_and_methods_say_where_sql_goes(url: str) -> None:
    for answer in (requests.get(f"{url}/api/sql", timeout=30), requests.get(f"{url}/", timeout=30)):
        assert answer.status_code == 404
        assert "/api/sql" in answer.json()["error"]


def test_a_taken_port_is_a_setting_to_change(url: str, store: DuckDBStore) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port} can't be listened on"):
        QueryServer(query_app(lambda *_: pa.table({}), token=None), port=port).start()


def test_a_stopped_server_lets_go_of_its_port(store: DuckDBStore) -> None:
    server = serve(store, None)
    port = int(server.url.rpartition(":")[2])
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
