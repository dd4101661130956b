"""A real Valkey for the tests: one server per run, emptied before each test; some tests run on one in cluster mode
too."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cluster import in_cluster_mode

from integration.stream.connection import Client, connect
from integration.stream.embedded import embedded

CaptureMaker = Callable[..., dict[str, Any]]
Waiter = Callable[..., None]

_ALSO_ON_A_CLUSTER = ("publishing", "dead_letters", "groups", "finding", "inspecting", "trimming", "product_events")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of what keys do together on both kinds of server."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "redis_url" in metafunc.fixturenames and "redis_url" not in [mark.args[0] for mark in marks]:
        about = metafunc.module.__name__.rpartition("test_")[2]
        kinds = ["cluster"] if about == "cluster_mode" else ["plain"]
        kinds += ["cluster"] if about in _ALSO_ON_A_CLUSTER else []
        metafunc.parametrize("redis_url", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that lives as long as the run."""
    server = in_cluster_mode if getattr(request, "param", "") == "cluster" else embedded
    with server(tmp_path_factory.mktemp("valkey")) as url:
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
