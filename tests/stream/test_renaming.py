"""Keys that an older headrace left under other names are found again, each once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from integration.errors import ConfigError
from integration.stream import dead
from integration.stream.connection import Client, connect, reach
from integration.stream.names import LAYOUT_KEY, buried_key, cursor_key
from integration.stream.publish import Publisher
from integration.stream.renaming import rename_old_keys
from schemas import Cursor

CURSOR = Cursor(object="Contact", system_modstamp="2026-11-22T05:00:00Z", record_id=f"003{'0' * 15}")
NEW = {
    b"headrace:cursor:{crm.contact}", b"headrace:cursor:{crm.cbit__clearbit__c}", b"headrace:seen:{crm.contact}",
    b"headrace:buried:{crm.contact.dead}", b"headrace:settled:{crm.contact.dead}",
}  # fmt: skip
STRANGERS = {
    b"headrace:schemas", b"headrace:sweep:sweep-1", b"headrace:lease:poller", b"headrace:cursor:{crm.lead}",
    b"other:cursor:contact", b"headrace:cursors:contact",
}  # fmt: skip


@pytest.fixture
def old(redis_client: Client) -> Client:
    """A server as an older headrace left it."""
    redis_client.set("headrace:cursor:contact", CURSOR.model_dump_json())
    redis_client.set("headrace:cursor:cbit__clearbit__c", CURSOR.model_dump_json())
    redis_client.hset("headrace:seen:contact", "003a", "m1")
    redis_client.sadd("headrace:buried:crm.contact", "17-0")
    redis_client.hset("headrace:settled:crm.contact", "18-0", "retried")
    for key in STRANGERS:
        redis_client.set(key, "not to be touched")
    return redis_client


def test_whoever_reaches_the_server_finds_everything_under_its_present_name(old: Client, redis_url: str) -> None:
    with reach(redis_url) as client:
        assert set(client.keys()) == NEW | STRANGERS | {LAYOUT_KEY.encode()}
        publisher = Publisher(client)
        assert publisher.cursor("Contact") == publisher.cursor("cbit__Clearbit__c") == CURSOR
        assert publisher.seen("Contact") == {"003a": "m1"}
        assert dead.settled(client, "crm.contact") == {"18-0": "retried"}
        assert client.smembers(buried_key("crm.contact")) == {b"17-0"}
        assert {client.get(key) for key in STRANGERS} == {b"not to be touched"}


def test_it_is_done_once(old: Client) -> None:
    assert rename_old_keys(old) == 5
    old.set("headrace:cursor:contact", "left by an older headrace that still runs")
    assert rename_old_keys(old) == 0
    assert set(old.keys()) == NEW | STRANGERS | {LAYOUT_KEY.encode(), b"headrace:cursor:contact"}


def test_what_is_there_under_its_present_name_stays(old: Client) -> None:
    old.set(cursor_key("Contact"), "newer")
    assert rename_old_keys(old) == 4
    assert old.get(cursor_key("Contact")) == b"newer"


def test_many_may_do_it_at_once_and_none_goes_on_before_it_is_done(redis_client: Client, redis_url: str) -> None:
    for n in range(300):
        redis_client.set(f"headrace:cursor:object{n}__c", n)

    def start(_: int) -> int:
        with connect(redis_url) as client:
            moved = rename_old_keys(client)
            assert all(client.exists(cursor_key(f"Object{n}__c")) for n in range(300))
            return moved

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(start, range(6))) == 300
    assert redis_client.dbsize() == 301


@pytest.fixture
def onlooker(redis_client: Client, redis_url: str) -> Iterator[str]:
    """The URL of a user who may only read."""
    redis_client.execute_command("ACL", "SETUSER", "onlooker", "on", ">pw", "~*", "+@read", "+ping", "+client")  # type: ignore[no-untyped-call]
    yield f"redis://onlooker:pw@127.0.0.1:{urlsplit(redis_url).port}/0"
    redis_client.execute_command("ACL", "DELUSER", "onlooker")  # type: ignore[no-untyped-call]


def test_who_may_only_look_leaves_it_to_others(old: Client, onlooker: str) -> None:
    before = set(old.keys())
    with reach(onlooker) as client:
        assert client.get("headrace:cursor:contact") == CURSOR.model_dump_json().encode()
    assert set(old.keys()) == before


def test_a_full_server_is_moved_too_and_looked_through_again(old: Client) -> None:
    old.config_set("maxmemory", "1mb")
    try:
        assert rename_old_keys(old) == 5
        assert not old.exists(LAYOUT_KEY)
    finally:
        old.config_set("maxmemory", 0)
    assert rename_old_keys(old) == 0
    assert old.exists(LAYOUT_KEY)


@pytest.mark.parametrize("redis_url", ["cluster"], indirect=True)
def test_a_server_in_cluster_mode_that_has_such_keys_is_refused_and_keeps_them(old: Client, redis_url: str) -> None:
    with pytest.raises(ConfigError, match=r"^The key headrace:\S+ comes from an older headrace, and a Redis in clus"):
        reach(redis_url)
    assert old.get("headrace:cursor:contact") == CURSOR.model_dump_json().encode()
