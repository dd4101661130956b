"""Killed at random, cut off, filled up and emptied, under living traffic: in the end the store equals the org."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaos import Night, Redis, Service
from compare import assert_records_equal
from following import polled_and_stored
from shell import Shell

from integration.stream import groups, inspect
from integration.stream.connection import connect

Found = Callable[..., Any]

QUICK = {
    "HEADRACE_POLL__INTERVAL_SECONDS": "0.2",
    "HEADRACE_WEB__PORT": "0",
    "HEADRACE_SWEEP__EVERY_HOURS": "0",
}
INTERRUPTED = 130
WORKED_OUT = ("users", "accounts", "identities", "events", "changes")
TWO = {"poller": ("run", "poller"), "consumer": ("run", "consumer")}
WITH_STANDBY = {"worker": ("run", "--standby"), "standby": ("run", "--standby")}


@pytest.fixture
def strikes(pytestconfig: pytest.Config) -> int:
    """How many things go wrong."""
    return int(pytestconfig.getoption("--chaos-strikes"))


@pytest.mark.parametrize(
    "layout",
    [WITH_STANDBY, pytest.param(TWO, marks=pytest.mark.slow)],
    ids=["two that stand by", "poller and consumer"],
)
def test_a_night_of_kills_and_faults_loses_and_doubles_nothing(
    layout: dict[str, tuple[str, ...]],
    chaos_seed: int,
    strikes: int,
    found: Found,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    redis = Redis(tmp_path / "valkey")
    company = found(accounts=4, seed=chaos_seed, HEADRACE_REDIS__URL=redis.url, **QUICK)
    company.watcher.observe(company.org)
    services = {name: Service(Shell(company.folder / name, company.env), *words) for name, words in layout.items()}
    night = Night(company, redis, services, chaos_seed)
    with night.begun():
        wait_for(night, lambda: bool(stored(company, services)), "the first sync")
        for _ in range(strikes):
            night.strike()
            night.pause()
        night.calm_traffic()
        record_property("happened", dict(night.happened))
        company.traffic.finish()
        company.watcher.observe(company.org)
        wait_for(night, polled_and_stored(company), "everything to be polled and stored")
        night.calm()
        codes = [service.end() for service in services.values()]
        # One that had just been started again may be told to end before it works.
        assert set(codes) <= {0, INTERRUPTED}, [service.notes[-2000:] for service in services.values()]
    with redis.up():
        done = company.shell.run("sync")  # reads the delete log, which a worker reads every five minutes
        assert done.returncode == 0, done.stderr
        assert_nothing_lost_doubled_or_left(company)
    for service in services.values():
        assert "Traceback" not in service.notes


def assert_nothing_lost_doubled_or_left(company: Any) -> None:
    """See that the store equals the org, that nothing stands twice, and that nothing waits or was given up.

    A formula that moves to and fro under one stamp gives captures of one id, each seen at a time of its own.
    """
    assert_records_equal(company)
    for table, key in (("captures", "capture_id || seen_at::text"), ("events", "event_id"), ("users", "user_id")):
        twice = company.query(
            f"SELECT * FROM {table} WHERE {key} IN (SELECT {key} FROM {table} GROUP BY 1 HAVING count(*) > 1)"
        )
        assert twice == [], table
    assert company.query("SELECT count(*) AS n FROM dead_letters")[0]["n"] == 0
    with connect(company.settings.redis.url) as client:
        streams = [stream.name for stream in inspect.streams(client)]
        assert groups.caught_up(client, streams)
        assert all(groups.lag(client, stream).pending == 0 for stream in streams)
    # People and events too are what the captures make of them: working them out again changes nothing.
    before = {table: company.query(f"SELECT * FROM {table} ORDER BY ALL") for table in WORKED_OUT}
    replayed = company.shell.run("replay")
    assert replayed.returncode == 0, replayed.stderr
    assert {table: company.query(f"SELECT * FROM {table} ORDER BY ALL") for table in WORKED_OUT} == before


def stored(company: Any, services: dict[str, Service]) -> bool:
    """Tell whether a worker answers, and has stored people."""
    done = company.shell.run("sql", "--json", "SELECT count(*) AS n FROM users")
    return done.returncode == 0 and '"n":0' not in done.stdout


def wait_for(night: Night, condition: Callable[[], bool], what: str, *, seconds: float = 120) -> None:
    """Wait until something is so; fail with what the services said."""
    deadline = time.monotonic() + seconds
    while not condition():
        said = {name: service.notes[-1500:] for name, service in night.services.items()}
        assert time.monotonic() < deadline, f"waited {seconds} s for {what} after {night.happened}: {said}"
        time.sleep(0.1)
