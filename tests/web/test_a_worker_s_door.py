"""The HTTP server of a worker: up before the store is open, and while it is closed and opened again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
import requests
from pydantic import SecretStr

from integration.errors import UnreachableError
from integration.settings import Settings
from integration.store.duckdb.owner import find_owner
from integration.store.duckdb.store import DuckDBStore
from integration.store.opening import OwnerReader
from integration.wiring.health import SILENCE_SECONDS, Health
from integration.wiring.measures import Measures
from integration.wiring.owner import WorkerDoor, answering_queries


def get(url: str, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{url}{path}", headers=headers, timeout=30)


def ask(url: str, sql: str = "SELECT 1 AS a", **headers: str) -> requests.Response:
    return requests.post(f"{url}/api/sql", json={"sql": sql}, headers=headers, timeout=30)


def with_token(settings: Settings, token: str, host: str = "127.0.0.1") -> Settings:
    return settings.model_copy(
        update={"web": settings.web.model_copy(update={"token": SecretStr(token), "host": host})}
    )


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_worker_is_ready_once_every_component_has_said_so() -> None:
    health = Health("redis", "store")
    assert not health.ready().is_good
    health.ok("redis")
    assert health.ready().components["redis"] == "ok"
    assert not health.ready().is_good
    health.ok("store", "A note.")
    assert health.ready().is_good
    assert health.ready().components == {"redis": "ok", "store": "A note."}
    health.broken("redis", "It is away.")
    assert not health.ready().is_good
    assert health.ready().components["redis"] == "It is away."
    health.ok("redis")
    assert health.working() == {"redis": True, "store": True}


def test_a_component_that_is_asked_has_the_last_word_and_a_question_that_breaks_is_an_answer() -> None:
    health = Health("consumer")
    said: list[str | None] = ["Nothing is read."]
    health.check("consumer", lambda: said[-1])
    health.ok("consumer")
    assert health.ready().components == {"consumer": "Nothing is read."}
    said.append(None)
    assert health.ready().is_good

    def broken() -> str | None:
        raise ZeroDivisionError("private")

    health.check("consumer", broken)
    assert health.ready().components == {"consumer": "It can't be asked (ZeroDivisionError): look at the log."}
    health.check("consumer", None)
    assert not health.ready().is_good


def test_a_worker_lives_while_its_event_loop_beats() -> None:
    clock = Clock()
    health = Health(clock=clock)
    clock.seconds += SILENCE_SECONDS
    assert health.live().is_good
    clock.seconds += 1
    assert not health.live().is_good
    assert "11 s" in health.live().components["event loop"]
    health.beat()
    assert health.live().is_good


def test_the_probes_answer_before_the_store_is_open_and_sql_says_to_ask_again(
    settings: Settings, store: DuckDBStore
) -> None:
    health = Health("store")
    with WorkerDoor(settings, health=health, measures=Measures(settings)) as door:
        assert get(door.url, "/livez").status_code == 200
        closed = get(door.url, "/readyz")
        assert (closed.status_code, closed.json()["status"]) == (503, "not ready")
        refused = ask(door.url)
        assert (refused.status_code, refused.json()["kind"]) == (503, "unreachable")
        assert find_owner(settings.store_path) is None
        for _ in range(2):
            with door.open(store):
                assert get(door.url, "/readyz").json() == {"status": "ok", "components": {"store": "ok"}}
                assert ask(door.url).json()["rows"] == [{"a": 1}]
                owner = find_owner(settings.store_path)
                assert owner is not None
                assert owner.url == door.url
            assert find_owner(settings.store_path) is None
            assert ask(door.url).status_code == 503
            assert "not have the store open" in get(door.url, "/readyz").json()["components"]["store"]
            assert get(door.url, "/livez").status_code == 200
        with pytest.raises(UnreachableError, match="ask again"), OwnerReader(door.url, token=None) as reader:
            reader.query("SELECT 1")
        url = door.url
    with pytest.raises(requests.ConnectionError):
        get(url, "/livez")


def test_a_store_is_closed_after_the_queries_under_way(settings: Settings) -> None:
    began, may_end, order = threading.Event(), threading.Event(), list[str]()

    class Slow:
        """A store whose query takes until it is told to end."""

        def query(self, *_: Any, **__: Any) -> pa.Table:
            began.set()
            assert may_end.wait(10)
            order.append("answered")
            return pa.table({"a": [1]})

    with WorkerDoor(settings) as door, ThreadPoolExecutor(1) as pool:
        with door.open(Slow()):  # type: ignore[arg-type]
            answer = pool.submit(ask, door.url)
            assert began.wait(10)
            threading.Timer(0.05, may_end.set).start()
        order.append("closed")
        assert answer.result(10).status_code == 200
    assert order == ["answered", "closed"]


def test_numbers_take_the_token_and_probes_take_none(settings: Settings) -> None:
    guarded = with_token(settings, "correct horse")
    with WorkerDoor(guarded, health=Health(), measures=Measures(guarded)) as door:
        assert get(door.url, "/livez").status_code == 200
        assert get(door.url, "/readyz").status_code == 200
        for header in ({}, {"Authorization": "Bearer wrong"}):
            assert get(door.url, "/metrics", **header).status_code == 401
        assert "headrace_build_info" in get(door.url, "/metrics", Authorization="Bearer correct horse").text


def test_a_door_with_a_token_is_found_by_any_name_and_one_without_by_this_machine_s_alone(settings: Settings) -> None:
    guarded = with_token(settings, "correct horse", host="0.0.0.0")
    with WorkerDoor(guarded, health=Health()) as door:
        url = door.url.replace("0.0.0.0", "127.0.0.1")
        assert get(url, "/readyz", Host="headrace.example.com:8080").status_code == 200
        assert ask(url, Host="headrace.example.com:8080").status_code == 401
    with WorkerDoor(settings, health=Health()) as door:
        assert get(door.url, "/readyz", Host="headrace.example.com:8080").status_code == 400


def test_a_worker_without_a_store_says_whom_to_ask(settings: Settings) -> None:
    with WorkerDoor(settings, has_store=False) as door:
        refused = ask(door.url)
        assert refused.status_code == 503
        assert "the one that consumes" in refused.json()["error"]


def test_a_command_that_owns_the_store_for_a_while_shows_no_more_than_that_it_lives(
    settings: Settings, store: DuckDBStore
) -> None:
    with answering_queries(settings, store, port=0) as url:
        assert get(url, "/livez").json() == {"status": "ok"}
        assert ask(url).status_code == 200
        assert get(url, "/readyz").status_code == get(url, "/metrics").status_code == 404
