"""A Redis that is smaller than what the streams would keep, and one in cluster mode: everything works all the same."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from compare import assert_equal
from night import consuming, night_shift, stored
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs

sys.path.insert(0, str(Path(__file__).parents[1] / "stream"))
from cluster import in_cluster_mode

from consumers import app
from integration.source.poll import Poller
from integration.stream import dead, groups
from integration.stream.connection import Client, connect

Found = Callable[..., Any]


@pytest.fixture(autouse=True)
def _wakeful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_WATCH_SECONDS", 0.05)


@pytest.fixture
def server(redis_url: str) -> Iterator[Client]:
    with connect(redis_url) as client:
        yield client
        client.config_set("maxmemory", 0)


def limit(client: Client, *, room: int = 0, percent: float = 100) -> None:
    """Let the server have so much more memory than it uses now, or make that so much percent of what it may have."""
    used = int(client.info("memory")["used_memory"])
    client.config_set("maxmemory", int((used + room) * 100 / percent))


def entries(client: Client) -> int:
    found = client.scan_iter(match="crm.*", _type="stream")
    return sum(client.xlen(key) for key in found if not key.endswith(b".dead"))


def test_a_redis_that_is_smaller_than_what_is_read_fills_up_and_is_emptied_again(
    found: Found, server: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A page has to fit in; ten thousand entries, which would be kept for people to look at, need not.
    monkeypatch.setitem(Poller.__init__.__kwdefaults__, "page_size", 200)
    company = found(accounts=1)
    company.sync()
    for number in range(1_000):
        company.org.insert("Contact", {"LastName": f"Miller {number}", "Description": "She likes long texts. " * 200})
    company.clock.advance(60)
    limit(server, room=4_500_000)
    with capture_logs() as said:
        syncing = Thread(target=company.sync, daemon=True)
        syncing.start()
        syncing.join(30)
        is_stuck = syncing.is_alive()
        server.config_set("maxmemory", 0)
        syncing.join(60)
    assert not is_stuck, said
    told = [(one["event"], one.get("detail", "").partition(" ")[0]) for one in said]
    assert ("polling waits", "Redis") in told
    assert ("finished entries trimmed", "Redis") in told
    assert server.xlen("crm.contact") < 1_000
    assert_equal(company)


def test_what_is_finished_is_kept_while_there_is_memory_and_goes_when_there_is_not(
    found: Found, server: Client
) -> None:
    company = found(accounts=3)
    with night_shift(company) as shift:
        came = shift.polled()
        contacts = came["crm.contact"][:1] * 500  # the same again: nothing new, but entries
        shift.publish(came | {"crm.contact": came["crm.contact"] + contacts})
        with consuming(shift, memory_percent=80) as worker:
            worker.until(stored(shift, worker), "all is stored")
            worker.do(worker.consumer.tidy())
            everything = entries(server)
            assert everything > 500
            groups.ensure_group(server, "crm.account", "")
            server.xgroup_create("crm.account", "analyst", id="0")  # has not read anything yet
            with capture_logs() as said:
                limit(server, percent=90)
                worker.until(lambda: server.xlen("crm.contact") < 100, "what is finished goes")
                limit(server, percent=90)
                worker.do(worker.consumer.tidy())
            assert [one["event"] for one in said] == ["finished entries trimmed"], "told once, not at every look"
            assert entries(server) < everything / 2
            assert server.xlen("crm.account") == len(came["crm.account"]), "somebody has still to read these"
    assert_equal(company)


def test_what_is_finished_goes_too_when_something_larger_than_what_is_left_is_refused(
    found: Found, server: Client
) -> None:
    company = found(accounts=1)
    with night_shift(company) as shift:
        came = shift.polled()
        shift.publish({"crm.contact": came["crm.contact"] * 200})
        with consuming(shift, memory_percent=100) as worker:
            worker.until(stored(shift, worker), "all is stored")
            limit(server, percent=50)
            for _ in range(2):
                worker.do(worker.consumer.tidy())
            assert server.xlen("crm.contact") == len(came["crm.contact"]) * 200
            with pytest.raises(OutOfMemoryError):
                server.set("large", "x" * 20_000_000)
            worker.until(lambda: server.xlen("crm.contact") < 100, "what is finished goes")


@pytest.mark.slow
def test_a_server_in_cluster_mode_will_do(found: Found, tmp_path_factory: pytest.TempPathFactory) -> None:
    with in_cluster_mode(tmp_path_factory.mktemp("cluster")) as url, connect(url) as client:
        company = found(accounts=1, HEADRACE_REDIS__URL=url)
        company.sync()
        company.live(15)
        client.xadd("crm.contact", {"foo": "bar"})
        assert company.sync().dead_letters == 1
        assert len(dead.retry_dead(client, dead.list_dead(client, "crm.contact"))) == 1
        client.delete("crm.account")  # so its object is read again
        company.live(10)
        assert company.sync().dead_letters == 1, "it is given up again"
        assert company.query("SELECT count(*) AS n FROM dead_letters WHERE settled = 'retried'") == [{"n": 1}]
        for words in (("sweep", "Contact"), ("backfill", "Lead")):
            done = company.shell.run(*words)
            assert done.returncode == 0, done.stderr
    assert_equal(company)
