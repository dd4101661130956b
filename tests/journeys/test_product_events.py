"""Product events of real clients: into the stream, each once, whatever happens to the worker meanwhile."""

import json
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient
from shell import Running

from integration.stream.connection import connect
from integration.stream.names import PRODUCT_STREAM
from schemas import ProductEvent

Found = Callable[..., Any]

KEY = "key-of-the-server"
TRACK = {"type": "track", "event": "Sign Up", "userId": "u1", "messageId": "m1"}


def quick(**env: str) -> dict[str, str]:
    """Settings of a worker whose address is known before it says so."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"HEADRACE_POLL__INTERVAL_SECONDS": "0.2", "HEADRACE_WEB__PORT": str(port), **env}


def url_of(company: Any) -> str:
    return f"http://127.0.0.1:{company.settings.web.port}"


def stored(company: Any) -> list[dict[str, Any]]:
    with connect(company.settings.redis.url) as client:
        entries: Any = client.xrange(PRODUCT_STREAM)
    return [json.loads(fields[b"data"]) for _, fields in entries]


def answers(url: str) -> Callable[[], bool]:
    def is_so() -> bool:
        try:
            return requests.get(f"{url}/livez", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    return is_so


@pytest.fixture
def clients() -> Iterator[Callable[..., list[Any]]]:
    """Make one client of each kind; at the end they stop, and whatever they gave up is told."""
    made: list[Any] = []
    given_up: list[Any] = []

    def make(url: str) -> list[Any]:
        common = {
            "host": url, "upload_size": 7, "upload_interval": 0.05, "timeout": 5,
            "on_error": lambda error, batch: given_up.append((error, len(batch))),
        }  # fmt: skip
        made.extend((SegmentClient(KEY, gzip=True, **common), RudderClient(KEY, **common)))
        return made

    yield make
    for client in made:
        client.join()
    assert given_up == []


def send(client: Any, prefix: str, numbers: range) -> set[str]:
    """Have a client send one call of each kind in turn; return their message ids."""
    for n in numbers:
        message_id = f"{prefix}-{n}"
        calls: list[Callable[[], Any]] = [
            lambda i=message_id: client.track("u1", "Sign Up", {"plan": "pro", "n": 9.25}, message_id=i),
            lambda i=message_id: client.identify("u1", {"email": "bea@example.com"}, message_id=i),
            lambda i=message_id: client.page("u1", "Docs", "Pricing", {"url": "/"}, message_id=i),
            lambda i=message_id: client.screen(anonymous_id="a1", name="Home", message_id=i),
            lambda i=message_id: client.group("u1", 7, {"name": "Acme"}, message_id=i),
            lambda i=message_id: client.alias("a1", "u1", message_id=i),
        ]
        calls[n % len(calls)]()
    return {f"{prefix}-{n}" for n in numbers}


def test_real_clients_lose_nothing_and_repeat_nothing_while_the_worker_is_killed(
    found: Found, clients: Callable[..., list[Any]]
) -> None:
    company = found(accounts=2, **quick(HEADRACE_PRODUCT__WRITE_KEYS=f"another-key, {KEY}"))
    segment, rudder = clients(url_of(company))
    sent: set[str] = set()
    for life in range(3):
        with company.shell.start("run") as running:
            running.until(answers(url_of(company)))
            before = len(stored(company))
            sent |= send(segment, f"segment-{life}", range(60)) | send(rudder, f"rudder-{life}", range(60))
            running.until(lambda before=before: len(stored(company)) > before + 10)
            if life == 2:
                segment.flush()
                rudder.flush()
                assert running.end(signal.SIGTERM) == 0, running.notes
            else:
                running.process.kill()
                running.process.wait(timeout=20)
    events = stored(company)
    assert Counter(one["message_id"] for one in events) == Counter(sent)
    for one in events:
        ProductEvent.model_validate(one)
    kinds = {(one["message_id"].split("-")[0], one["type"]): one for one in events}
    assert len(kinds) == 12
    for sender in ("segment", "rudder"):
        track, page = kinds[sender, "track"], kinds[sender, "page"]
        assert (track["name"], track["user_id"], track["properties"]) == ("Sign Up", "u1", {"plan": "pro", "n": 9.25})
        assert kinds[sender, "identify"]["traits"] == {"email": "bea@example.com"}
        assert (page["name"], page["properties"]) == ("Pricing", {"url": "/", "category": "Docs"})
        assert kinds[sender, "screen"]["anonymous_id"] == "a1"
        assert (kinds[sender, "group"]["group_id"], kinds[sender, "group"]["traits"]) == ("7", {"name": "Acme"})
        assert (kinds[sender, "alias"]["previous_id"], kinds[sender, "alias"]["user_id"]) == ("a1", "u1")
        at = datetime.fromisoformat(track["time"])
        assert timedelta(0) <= datetime.fromisoformat(track["received_at"]) - at < timedelta(seconds=60)
        assert datetime.now(UTC) - at < timedelta(seconds=120)


def test_an_intake_runs_beside_a_worker_and_everything_that_looks_shows_its_stream(found: Found) -> None:
    company = found(accounts=2, **quick(HEADRACE_PRODUCT__WRITE_KEYS=KEY))
    shell = company.shell
    other = company.shell
    other.folder = company.folder / "other"
    other.folder.mkdir()
    beside = quick()
    url = f"http://127.0.0.1:{beside['HEADRACE_WEB__PORT']}"
    with shell.start("run") as running:
        running.ready()
        with other.start("run", "web", **beside) as web:
            web.ready()
            assert requests.post(f"{url}/v1/track", json=TRACK, auth=(KEY, ""), timeout=30).json() == {"success": True}
            assert requests.post(f"{url}/v1/track", json=TRACK, auth=("wrong", ""), timeout=30).status_code == 401
            asked = requests.post(f"{url}/api/sql", json={"sql": "SELECT 1"}, timeout=30)
            assert (asked.status_code, "Another process has the store" in asked.text) == (503, True)
            ready = requests.get(f"{url}/readyz", timeout=30)
            assert (ready.status_code, "Another process" in ready.json()["components"]["store"]) == (200, True)
            assert 'headrace_product_events_total{outcome="accepted"} 1.0' in numbers(url)
            assert web.end(signal.SIGTERM) == 0, web.notes
        assert [one["message_id"] for one in stored(company)] == ["m1"]
        assert PRODUCT_STREAM in {s["stream"] for s in json.loads(shell.run("status", "--json").stdout)["streams"]}
        assert PRODUCT_STREAM in {s["name"] for s in json.loads(shell.run("streams", "ls", "--json").stdout)}
        peeked = shell.run("streams", "peek", PRODUCT_STREAM)
        assert "product.track.v1  user/u1  product  [product.events " in peeked.stdout
        assert f'headrace_stream_entries{{stream="{PRODUCT_STREAM}"}} 1.0' in numbers(url_of(company))
        assert_quiet(running, web)


def test_events_are_taken_before_salesforce_has_let_us_in(found: Found) -> None:
    company = found(accounts=1, build=False, **quick())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with company.shell.start("run", HEADRACE_SALESFORCE__BASE_URL=nowhere) as running:
            running.until(answers(url_of(company)))
            answer = requests.post(f"{url_of(company)}/v1/track", json=TRACK, timeout=30)
            assert answer.json() == {"success": True}
            running.process.kill()
    assert [one["message_id"] for one in stored(company)] == ["m1"]


def test_a_key_is_asked_for_where_other_machines_can_call(found: Found) -> None:
    open_to_all = quick(HEADRACE_WEB__HOST="0.0.0.0", HEADRACE_WEB__TOKEN="correct-horse-battery")
    company = found(accounts=1, build=False, **open_to_all)
    with company.shell.start("run", "web") as running:
        running.ready()
        answer = requests.post(f"{url_of(company)}/v1/track", json=TRACK, timeout=30)
        assert (answer.status_code, "product.write_keys" in answer.json()["error"]) == (403, True)
        assert_quiet(running)


def numbers(url: str) -> str:
    return requests.get(f"{url}/metrics", timeout=30).text


def assert_quiet(*workers: Running) -> None:
    for worker in workers:
        assert "Traceback" not in worker.notes
        assert KEY not in worker.notes
