"""In a cluster every key lies in a slot, and what is changed together has to lie in one."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError

from integration.errors import ConfigError, UnreachableError
from integration.stream import metrics, names
from integration.stream.connection import Client, reach, translated
from integration.stream.figures import StreamWatch
from integration.stream.groups import caught_up, ensure_group
from integration.stream.lease import Lease, holder_of
from integration.stream.pressure import Gate, Load, our_streams

api_names = st.from_regex(r"([A-Za-z]\w{0,14}__)?[A-Za-z]\w{0,39}(__c)?", fullmatch=True).filter(str.isascii)


def slots(*keys: str) -> set[int]:
    return {key_slot(key.encode()) for key in keys}


@settings(max_examples=40)
@given(api_names)
def test_what_is_changed_with_a_stream_lies_in_its_slot_and_what_is_changed_with_its_dead_in_theirs(name: str) -> None:
    stream = names.stream_of(name)
    assert len(slots(stream, names.cursor_key(name), names.seen_key(name), names.retried_key(stream))) == 1
    assert len(slots(names.dead_of(stream), names.buried_key(stream), names.settled_key(stream))) == 1
    keys = [names.cursor_key(name), names.seen_key(name), names.retried_key(stream), names.buried_key(stream)]
    assert len({*keys, names.settled_key(stream)}) == 5


def test_a_stream_and_its_dead_letters_are_two_slots() -> None:
    # So no transaction may have both. Were they one, the test of that on a server in cluster mode would prove nothing.
    assert len(slots("crm.contact", "crm.contact.dead")) == 2


@pytest.fixture
def clustered(redis_url: str) -> Iterator[Client]:
    """A client of an empty server in cluster mode (see conftest)."""
    with reach(redis_url) as client:
        client.flushall()
        yield client


def test_workers_and_those_who_watch_them_do_well_with_it(clustered: Client, redis_url: str) -> None:
    streams = ["crm.contact", "crm.account", "crm.lead"]
    for stream in streams:
        ensure_group(clustered, stream, "")
        clustered.xadd(stream, {"n": "1"})
    first, second = (Lease(clustered, "poller", holder=f"here:{n}:a") for n in (1, 2))
    assert first.take()
    assert first.take()
    assert not second.take()
    assert holder_of(clustered, "poller") == "here:1:a"
    assert first.release()
    told = metrics.PollerMetrics(by="run", state="polling", started_at="t", at="t", asked_seconds=1, interval_seconds=1)
    metrics.write(clustered, told)
    assert metrics.read(clustered) == told
    gate = Gate(clustered, high=10, memory_percent=70, should_stop=lambda: False, on_change=lambda _: None)
    assert our_streams(clustered) == set(streams)
    assert gate.load() == Load(3, None)
    assert not caught_up(clustered, streams)
    watch = StreamWatch()
    watch.follow(redis_url)
    assert {name: one.lag for name, one in watch.look().streams.items()} == dict.fromkeys(streams, 1)
    watch.follow(None)


def test_there_is_one_database(redis_url: str) -> None:
    with pytest.raises(ConfigError, match="has no database of that number"):
        reach(redis_url.removesuffix("/0") + "/1")


def test_a_server_that_has_a_part_of_the_keys_is_refused_in_a_sentence() -> None:
    for error in (MovedError("12706 127.0.0.1:7001"), AskError("12706 127.0.0.1:7001")):
        refused = translated(error, "localhost:7000")
        assert isinstance(refused, ConfigError)
        assert str(refused) == (
            "Redis at localhost:7000 is one of several shards of a cluster, and headrace talks to one server: set "
            "redis.url (HEADRACE_REDIS__URL) to a Redis that is not sharded."
        )


def test_a_cluster_that_is_down_is_waited_for() -> None:
    assert isinstance(translated(ClusterDownError("The cluster is down"), "localhost:7000"), UnreachableError)
