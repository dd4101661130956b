"""In containers every worker may be process 1: who works with a store is known by its machine too."""

import os
from collections.abc import Iterator

import psycopg
import pytest

from integration.errors import UnreachableError
from integration.settings import Settings, load
from integration.store import ownership
from integration.store.ownership import StoreOwnedError
from integration.store.postgres import ownership as sessions
from integration.store.postgres.store import PostgresStore
from integration.wiring import reading, storing


@pytest.fixture
def settings(url: str) -> Settings:
    PostgresStore(url).close()  # its tables are made
    return load(None, {"HEADRACE_STORE__URL": url, "HEADRACE_SECRETS_DIR": "", "HEADRACE_WEB__PORT": "0"})


@pytest.fixture
def elsewhere(settings: Settings, url: str) -> Iterator[psycopg.Connection]:
    """A worker of the same number on another machine has the store."""
    with psycopg.connect(url, autocommit=True) as con:
        con.execute(sessions._TAKE.encode())
        con.execute("SELECT set_config('application_name', %s, false)", [f"headrace {os.getpid()} another-host"])
        yield con


def test_a_worker_of_the_same_number_on_another_machine_is_not_taken_for_oneself(
    elsewhere: psycopg.Connection, settings: Settings, url: str
) -> None:
    found = reading.find_owner(settings)
    assert found is not None
    assert (found.pid, found.host, found.is_me) == (os.getpid(), "another-host", False)
    with pytest.raises(StoreOwnedError, match=rf"process {os.getpid()} on another-host") as caught:
        PostgresStore(url, as_owner=True)
    assert not caught.value.is_mine
    assert storing.worker(settings) == f"process {os.getpid()} on another-host"
    with storing.store_or_none(settings) as store:
        assert store is None
    elsewhere.close()
    with storing.store_or_none(settings) as store:
        assert store is not None
        assert storing.worker(settings) is None, "this process is nobody else"
        with pytest.raises(UnreachableError) as again, storing.store_or_none(settings):
            pass
        assert isinstance(again.value, StoreOwnedError)
        assert again.value.is_mine


def test_pods_of_one_long_name_are_told_apart(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(name: str) -> None:
        monkeypatch.setattr(ownership.socket, "gethostname", lambda: name)

    long = "a-release-with-a-very-long-name-headrace-consumer-7c9d8f6b5d-"
    called(f"{long}x2x4k")
    first = PostgresStore(url, as_owner=True)
    called(f"{long}q8w7z")
    with pytest.raises(StoreOwnedError, match="x2x4k: wait") as caught:
        PostgresStore(url, as_owner=True)
    assert not caught.value.is_mine
    first.close()
