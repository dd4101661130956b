import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from chdb_engine import Engine

sys.path.insert(0, str(Path(__file__).parent))
from chdb_http import serving

from integration.errors import ConfigError, UnreachableError, UsageError
from integration.store import answers, opening, tables
from integration.store.clickhouse.connecting import HttpDoor, door_of

SECRET = "s3cret-pass"


def test_a_store_is_written_and_read_over_http(engine: Engine) -> None:
    with serving(engine, SECRET) as server:
        store = opening.open_store(server.url, password=SECRET)
        events = [{"event_id": f"{n}", "name": "Sign Up", "alias": "a"} for n in range(1_500)]
        with store.transaction() as tx:
            tx.append("events", tables.EVENTS, events)
            # More than is listed in a statement: a temporary table, which lives as long as the session.
            found = tx.rows(
                "SELECT count(*) AS n FROM events WHERE event_id = any(?)", [[e["event_id"] for e in events]]
            )
            assert found == [{"n": 1_500}]
            assert answers.ask(store, "SELECT count(*) AS n FROM events") == [{"n": 0}]
        with store.reading() as reading:
            assert reading.rows("SELECT count(*) AS n FROM events WHERE alias = ?", ["a"]) == [{"n": 1_500}]
        store.close()
        with opening.open_reader(server.url, password=SECRET) as reader:
            assert answers.ask(reader, "SELECT count(*) AS n FROM events") == [{"n": 1_500}]
            assert answers.rows(reader.query("SELECT event_id FROM events ORDER BY 1 LIMIT 9", limit=1)) == [
                {"event_id": "0"}
            ]
            with pytest.raises(
                UsageError, match=r"^The SQL does not fit the tables: Unknown expression identifier `x`\.$"
            ):
                reader.query("SELECT x FROM events")
            with pytest.raises(UsageError, match=r"^There is no table or view userz\. Did you mean users\?$"):
                reader.query("SELECT * FROM userz")


@pytest.mark.parametrize("open_it", [opening.open_store, opening.open_reader])
def test_a_wrong_password_is_a_matter_of_configuration(open_it: Any, engine: Engine) -> None:
    with serving(engine, SECRET) as server, pytest.raises(ConfigError, match="refuses the login") as caught:
        open_it(server.url, password="wr0ng")
    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("open_it", [opening.open_store, opening.open_reader])
def test_a_server_that_is_not_there_is_told_in_a_sentence(open_it: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"clickhouse://u:{SECRET}@127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=r"does not answer at 127.0.0.1:\d+: start it") as caught:
            open_it(url)
    assert SECRET not in str(caught.value)


def test_a_server_that_goes_away_breaks_a_batch_off_and_loses_nothing(engine: Engine) -> None:
    def put(store: Any, then: Any = lambda: None) -> None:
        with store.transaction() as tx:
            tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "a", "value": "b"}])
            then()

    with serving(engine, SECRET) as server:
        store = opening.open_store(server.url, password=SECRET)
    with pytest.raises(UnreachableError, match="does not answer"):
        put(store)
    with pytest.raises(UnreachableError), store.reading() as reading:
        reading.rows("SELECT * FROM headrace.meta")
    with pytest.raises(UnreachableError):
        store.query("SELECT 1")
    with serving(engine, SECRET) as server:
        again = opening.open_store(server.url, password=SECRET)
        assert answers.ask(again, "SELECT count(*) AS n FROM headrace.meta WHERE key = 'a'") == [{"n": 0}]
        again.close()


ADDRESSES = {
    "clickhouse://db.example.com": (HttpDoor("db.example.com", 8123, "default", ""), "default"),
    "clickhouses://me:p%40ss@db.example.com/crm": (HttpDoor("db.example.com", 8443, "me", "p@ss", secure=True), "crm"),
    "clickhouse://[::1]:18123/": (HttpDoor("::1", 18123, "default", ""), "default"),
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_names_server_user_and_database(url: str) -> None:
    assert door_of(url) == ADDRESSES[url]
    assert "p@ss" not in repr(door_of(url))


@pytest.mark.parametrize(
    "url",
    ["clickhouse://", "clickhouse://h:x/", "clickhouse://h/headrace", "clickhouse://h/a/b", "clickhouse://h/?secure=1"],
)
def test_an_address_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        door_of(url)
