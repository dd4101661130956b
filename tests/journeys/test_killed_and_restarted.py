"""Killed at any moment, whoever it is, and started again: the store equals the org, and every event is there once."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from compare import assert_equal, assert_state_equal
from following import polled_and_stored

from integration.sandbox.faults import slow
from integration.stream import groups, inspect, names
from integration.stream.connection import Client, connect
from integration.stream.embedded import embedded, running_url

Found = Callable[..., Any]

SERVER = ["external", "embedded"]


@contextmanager
def streams_of(company: Any) -> Iterator[Client]:
    """Reach the company's Redis, the embedded one too."""
    url = company.settings.redis.url
    if url != "embedded":
        with connect(url) as client:
            yield client
        return
    with embedded(company.settings.redis_directory) as url, connect(url) as client:
        yield client


def assert_nothing_lost_or_left(company: Any) -> None:
    """See that the store equals the org, with every event and capture once, and that no entry waits."""
    assert_equal(company)
    counted = company.query("SELECT count(*) AS n, count(DISTINCT capture_id) AS m FROM captures")[0]
    assert counted["n"] == counted["m"]
    assert company.query("SELECT count(*) AS n FROM dead_letters")[0]["n"] == 0
    with streams_of(company) as client:
        assert groups.caught_up(client, [stream.name for stream in inspect.streams(client)])
    if company.settings.redis.url == "embedded":
        assert running_url(company.settings.redis_directory) is None


@contextmanager
def asked(company: Any) -> Iterator[list[str]]:
    """Note every request that reaches the org."""
    paths: list[str] = []
    company.server.faults.hook = paths.append
    try:
        yield paths
    finally:
        company.server.faults.hook = None


def killed_sync(company: Any, luck: Random, *, requests: int) -> bool:
    """Start a sync and kill it at a moment that luck chooses; say whether it was still at work then.

    It is counted in requests to the org, so that a slow machine is killed in the same places as a fast one.
    """
    wanted, later = luck.randint(1, requests), luck.choice((0.0, luck.uniform(0, 0.3)))
    with asked(company) as paths, company.shell.start("sync") as running:
        while len(paths) < wanted and running.process.poll() is None:
            time.sleep(0.001)
        time.sleep(later)
        running.process.kill()
        return bool(running.process.wait(timeout=30))


def finished_sync(company: Any) -> None:
    done = company.shell.run("sync")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def survives_kills(found: Found, server: str, seed: int, rounds: int) -> None:
    luck = Random(seed)
    company = found(accounts=8, seed=seed, **({"HEADRACE_REDIS__URL": ""} if server == "embedded" else {}))
    company.watcher.observe(company.org)
    killed = [killed_sync(company, luck, requests=28), killed_sync(company, luck, requests=28)]
    finished_sync(company)
    assert_nothing_lost_or_left(company)
    for _ in range(rounds):
        company.live(25)
        company.watcher.observe(company.org)
        killed.append(killed_sync(company, luck, requests=28))
        finished_sync(company)
        assert_nothing_lost_or_left(company)
    assert any(killed)


@pytest.mark.parametrize(("server", "seed"), [pytest.param("external", 1, marks=pytest.mark.slow), ("embedded", 2)])
def test_a_sync_killed_at_any_moment_loses_and_doubles_nothing(server: str, seed: int, found: Found) -> None:
    survives_kills(found, server, seed, rounds=1)


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVER)
@pytest.mark.parametrize("seed", range(10, 18))
def test_a_sync_killed_many_times_loses_and_doubles_nothing(server: str, seed: int, found: Found) -> None:
    survives_kills(found, server, seed, rounds=4)


@pytest.mark.parametrize("pages", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_valkey_killed_in_the_middle_ends_the_sync_and_the_next_one_goes_on(pages: int, found: Found) -> None:
    company = found(accounts=8, HEADRACE_REDIS__URL="")
    company.watcher.observe(company.org)

    with asked(company) as paths, company.shell.start("sync") as running:
        running.until(lambda: sum("composite" in path for path in paths) >= pages)
        os.kill(server_pid(company.settings.redis_directory), signal.SIGKILL)
        code = running.process.wait(timeout=60)
        said = running.notes

    assert (code, said.count("headrace: "), "Traceback" in said) == (3, 1, False), said
    assert " does not answer: " in said
    finished_sync(company)
    assert_nothing_lost_or_left(company)


def test_a_worker_outlives_its_redis(found: Found, tmp_path: Path) -> None:
    company = None
    with embedded(tmp_path / "valkey") as url:
        company = found(
            accounts=3, HEADRACE_REDIS__URL=url, HEADRACE_POLL__INTERVAL_SECONDS="0.2", HEADRACE_WEB__PORT="0"
        )
        company.sync()
        with company.shell.start("run") as running:
            running.ready()
            os.kill(server_pid(tmp_path / "valkey"), signal.SIGKILL)
            with embedded(tmp_path / "valkey") as again:
                assert again == url
                company.live(15)
                company.watcher.observe(company.org)
                running.until(polled_and_stored(company), seconds=60)
                assert running.end(signal.SIGTERM) == 0, running.notes
            assert "Traceback" not in running.notes
    assert_state_equal(company)


def test_a_worker_told_to_end_in_the_middle_ends_well_and_loses_nothing(found: Found) -> None:
    company = found(accounts=60, HEADRACE_WEB__PORT="0")
    company.watcher.observe(company.org)
    with company.shell.start("run") as running:
        with connect(company.settings.redis.url) as client:
            running.until(lambda: client.exists("crm.account") == 1)
        began = time.monotonic()
        assert running.end(signal.SIGTERM) == 0, running.notes
        assert time.monotonic() - began < 20
        assert "Traceback" not in running.notes
    finished_sync(company)
    assert_nothing_lost_or_left(company)


@pytest.mark.slow
def test_a_worker_whose_org_does_not_answer_ends_in_time_all_the_same(found: Found) -> None:
    company = found(accounts=1, HEADRACE_WEB__PORT="0", HEADRACE_POLL__INTERVAL_SECONDS="0.1")
    company.sync()
    with asked(company) as paths, company.shell.start("run") as running:
        running.ready()
        company.server.faults.push(slow(100), times=50, where="composite")
        before = len(paths)
        running.until(lambda: len(paths) > before)
        began = time.monotonic()
        assert running.end(signal.SIGTERM) == 0, running.notes
        assert time.monotonic() - began < 20
        company.server.faults.clear()


@pytest.mark.parametrize("command", ["sync", "run"])
def test_an_interrupted_command_ends_with_130_and_the_next_one_goes_on(command: str, found: Found) -> None:
    company = found(accounts=30, HEADRACE_WEB__PORT="0")
    company.watcher.observe(company.org)
    with company.shell.start(command) as running:
        with connect(company.settings.redis.url) as client:
            running.until(lambda: client.exists("crm.account") == 1)
        assert running.end(signal.SIGINT) == 130, running.notes
        assert "Traceback" not in running.notes
        assert "Interrupted. What was finished is saved; the same command goes on from there." in running.notes
    finished_sync(company)
    assert_nothing_lost_or_left(company)


@pytest.mark.slow
def test_a_sync_ended_by_a_supervisor_leaves_no_server_behind(found: Found) -> None:
    company = found(accounts=30, HEADRACE_REDIS__URL="")
    company.watcher.observe(company.org)
    with asked(company) as paths, company.shell.start("sync") as running:
        running.until(lambda: any("composite" in path for path in paths))
        assert running.end(signal.SIGTERM) == 130, running.notes
    assert running_url(company.settings.redis_directory) is None
    finished_sync(company)
    assert_nothing_lost_or_left(company)


def test_what_a_dead_consumer_left_pending_is_taken(found: Found) -> None:
    company = found(accounts=6, HEADRACE_POLL__INTERVAL_SECONDS="0.2")
    company.watcher.observe(company.org)
    with connect(company.settings.redis.url) as client:
        with company.shell.start("run", "poller") as running:
            running.until(lambda: all(client.exists(names.cursor_key(n)) for n in ("Contact", "Task", "Lead")))
            assert running.end(signal.SIGTERM) == 0, running.notes
        for stream in ("crm.contact", "crm.account", "crm.task"):
            client.xgroup_create(stream, names.GROUP, id="0")
            client.xreadgroup(names.GROUP, "somebody-long-dead", {stream: ">"}, count=5)
            assert client.xpending(stream, names.GROUP)["pending"] == 5
    finished_sync(company)
    assert_nothing_lost_or_left(company)


def test_a_lost_store_is_built_again_from_the_streams(found: Found) -> None:
    company = found(accounts=6)
    company.sync()
    company.live(20)
    company.sync()
    for file in company.folder.glob("headrace.duckdb*"):
        file.unlink()

    finished_sync(company)

    assert_nothing_lost_or_left(company)
    # Only the overlap was read again: the rest came from the streams.
    [run] = company.query("SELECT records_read FROM sync_runs")
    [stored] = company.query("SELECT count(*) AS n FROM captures")
    assert run["records_read"] < stored["n"]


@pytest.mark.slow
def test_lost_streams_are_filled_again_and_change_nothing_twice(found: Found) -> None:
    company = found(accounts=6)
    company.sync()
    company.live(20)
    company.sync()
    tables = ("users", "accounts", "events", "changes", "identities", "captures", "salesforce.contact")
    before = {t: company.query(f"SELECT * FROM {t} ORDER BY ALL") for t in tables}
    with connect(company.settings.redis.url) as client:
        client.flushall()

    finished_sync(company)

    assert {t: company.query(f"SELECT * FROM {t} ORDER BY ALL") for t in tables} == before
    company.live(10)
    company.sync()
    assert_nothing_lost_or_left(company)


def server_pid(directory: Path) -> int:
    url = running_url(directory)
    assert url is not None
    with connect(url) as client:
        return int(client.info("server")["process_id"])


def test_a_new_redis_with_a_clock_behind_the_old_one_loses_nothing(found: Found) -> None:
    company = found(accounts=3)
    with connect(company.settings.redis.url) as client:
        for name in ("contact", "account", "lead"):
            # Redis never gives an id below the greatest it has given: from here on they lie a century ahead.
            client.xadd(f"crm.{name}", {"x": "y"}, id="4000000000000-0")
            client.xdel(f"crm.{name}", "4000000000000-0")
        company.sync()
        client.flushall()
    company.live(30)

    company.sync()

    assert_equal(company)
