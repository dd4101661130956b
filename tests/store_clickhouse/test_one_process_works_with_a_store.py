"""ClickHouse has no locks: a row says who works with the store."""

import os

import pytest
from chdb_engine import Engine

from integration.store.clickhouse import ownership
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.store import ClickHouseStore
from integration.store.ownership import StoreOwnedError


@pytest.fixture
def engine(clickhouse: Engine) -> Engine:
    engine = clickhouse.emptied()
    session = Session(engine)
    session.run("CREATE DATABASE IF NOT EXISTS headrace_rows")
    session.run(ownership.MAKE)
    session.run("TRUNCATE TABLE headrace_rows._owner")
    session.close()
    return engine


def say(engine: Engine, holder: str, *, seconds_ago: int = 0) -> None:
    session = Session(engine)
    session.run(
        "INSERT INTO headrace_rows._owner (holder, since, seen) "
        f"VALUES ('{holder}', '2026-01-01T00:00:00Z', now64(6) - INTERVAL {seconds_ago} SECOND)"
    )
    session.close()


def test_who_works_with_the_store_is_known_until_it_closes(engine: Engine) -> None:
    first = ClickHouseStore(engine, as_owner=True)
    found = ownership.find(engine)
    assert found is not None
    assert found.pid == os.getpid()
    first.close()
    assert ownership.find(engine) is None


def test_a_second_process_is_told_of_the_first(engine: Engine) -> None:
    say(engine, f"{os.getppid()} {os.uname().nodename}")
    with pytest.raises(StoreOwnedError, match=rf"in use by process {os.getppid()} on \S+: wait until it ends"):
        ClickHouseStore(engine, as_owner=True)


def test_a_process_that_lost_its_server_finds_its_own_hold_again(engine: Engine) -> None:
    lost = ClickHouseStore(engine, as_owner=True)
    again = ClickHouseStore(engine, as_owner=True)
    lost.close()
    again.close()


def test_who_only_reads_or_tests_needs_no_hold(engine: Engine) -> None:
    owner = ClickHouseStore(engine, as_owner=True)
    beside = ClickHouseStore(engine)
    assert beside.query("SELECT count(*) AS n FROM users").to_pylist() == [{"n": 0}]
    beside.close()
    owner.close()


def test_an_owner_elsewhere_counts_while_it_is_heard_of(engine: Engine) -> None:
    say(engine, "41 another-host")
    with pytest.raises(StoreOwnedError, match="process 41 on another-host"):
        ClickHouseStore(engine, as_owner=True)


def test_an_owner_elsewhere_of_the_same_number_is_another_one(engine: Engine) -> None:
    say(engine, f"{os.getpid()} another-host")
    found = ownership.find(engine)
    assert found is not None
    assert (found.shown, found.is_me) == (f"process {os.getpid()} on another-host", False)
    with pytest.raises(StoreOwnedError) as caught:
        ClickHouseStore(engine, as_owner=True)
    assert not caught.value.is_mine


def test_an_owner_elsewhere_that_has_fallen_silent_is_followed(engine: Engine) -> None:
    say(engine, "41 another-host", seconds_ago=20)
    assert ownership.find(engine) is None
    ClickHouseStore(engine, as_owner=True).close()


def test_an_owner_on_this_machine_that_has_died_is_followed_at_once(engine: Engine) -> None:
    say(engine, f"{2**22 + 1} {os.uname().nodename}")
    assert ownership.find(engine) is None
    ClickHouseStore(engine, as_owner=True).close()
