"""A real Valkey for the tests: one server per run, emptied before each test."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integration.stream.connection import Client, connect
from integration.stream.embedded import embedded

CaptureMaker = Callable[..., dict[str, Any]]
Waiter = Callable[..., None]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that lives as long as the run."""
    with embedded(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Client]:
    """A client of that server, which is empty now."""
    with connect(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def make_capture() -> CaptureMaker:
    """Make captures: `make_capture(3, object="Lead", fields={...})`; the number makes record and stamp."""

    def make(number: int = 1, **changes: Any) -> dict[str, Any]:
        record_id = f"003{number:012d}AAA"
        stamp = f"2026-11-22T05:{number // 60 % 60:02d}:{number % 60:02d}Z"
        name = changes.get("object", "Contact")
        made = {
            "id": f"00D000000000001AAA:{name}:{record_id}:{stamp}",
            "org": "00D000000000001AAA",
            "object": name,
            "record_id": record_id,
            "system_modstamp": stamp,
            "is_deleted": False,
            "fields": {"Id": record_id, "CreatedDate": "2026-01-02T03:04:05.000+0000", "Title": f"Miller {number}"},
            "schema_id": "5eed",
            "origin": "poll",
            "seen_at": "2026-11-22T06:00:00Z",
        }
        return made | changes

    return make


@pytest.fixture
def wait_until() -> Waiter:
    """Wait for a condition: `wait_until(lambda: ..., "what it is")`, ten seconds at most."""

    def wait(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
            time.sleep(0.01)

    return wait
