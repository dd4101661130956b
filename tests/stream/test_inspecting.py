"""What people see of the streams: ls, inspect, pending."""

from collections.abc import Callable
from typing import Any

import pytest

from integration.errors import UsageError
from integration.stream import inspect
from integration.stream.connection import Client
from integration.stream.entry import to_entry
from integration.stream.groups import ensure_group
from integration.stream.names import GROUP, offset_time

CaptureMaker = Callable[..., dict[str, Any]]


def publish(client: Client, *captures: dict[str, Any], stream: str = "crm.contact") -> list[str]:
    entries: list[Any] = [to_entry(capture) for capture in captures]
    return [client.xadd(stream, entry).decode() for entry in entries]  # type: ignore[union-attr]


def test_streams_are_listed_with_groups_lag_memory_and_dead_letters(
    redis_client: Client, make_capture: CaptureMaker
) -> None:
    offsets = publish(redis_client, make_capture(1), make_capture(2), make_capture(3))
    ensure_group(redis_client, "crm.contact", "")
    redis_client.xreadgroup(GROUP, "worker", {"crm.contact": ">"}, count=2)
    redis_client.xadd("crm.contact.dead", {"x": 1})
    redis_client.xadd("crm.lead.dead", {"x": 1})
    redis_client.xadd("product.events", {"x": 1})
    redis_client.xadd("celery", {"x": 1})
    redis_client.set("crm.not_a_stream", "1")

    contact, lead, product = inspect.streams(redis_client)

    assert [contact.name, lead.name, product.name] == ["crm.contact", "crm.lead", "product.events"]
    assert (contact.length, contact.first, contact.last, contact.dead) == (3, offsets[0], offsets[2], 1)
    assert contact.last_at == offset_time(offsets[2])
    assert contact.bytes is not None
    assert contact.bytes > 1000
    (group,) = contact.groups
    assert (group.name, group.lag.lag, group.lag.pending, group.lag.oldest_pending) == (GROUP, 1, 2, offsets[0])
    assert [(c.name, c.pending) for c in group.consumers] == [("worker", 2)]
    assert (lead.length, lead.first, lead.bytes, lead.dead) == (0, None, None, 1)
    assert (product.groups, product.dead) == ((), 0)


def test_an_empty_redis_has_no_streams(redis_client: Client) -> None:
    assert inspect.streams(redis_client) == []


def test_a_stream_of_another_program_can_be_looked_at(redis_client: Client) -> None:
    redis_client.xadd("celery", {"x": 1}, id="5-0")
    redis_client.set("celery.dead", "no stream")
    info = inspect.stream(redis_client, "celery")
    assert (info.length, info.first, info.first_at, info.groups, info.dead) == (
        1,
        "5-0",
        "1970-01-01T00:00:00.005Z",
        (),
        0,
    )
    assert inspect.sample(redis_client, "celery") == inspect.Sample(1, 0, ((None, 1),))


def test_a_sample_counts_types_and_what_is_ours_among_the_newest(
    redis_client: Client, make_capture: CaptureMaker
) -> None:
    publish(redis_client, *(make_capture(n, is_deleted=True) for n in range(300)))
    publish(redis_client, *(make_capture(n) for n in range(799)))
    redis_client.xadd("crm.contact", {"hello": "world"})
    assert inspect.sample(redis_client, "crm.contact") == inspect.Sample(
        looked_at=1000,
        ours=999,
        types=(("com.salesforce.contact.updated.v1", 799), ("com.salesforce.contact.deleted.v1", 200), (None, 1)),
    )


def test_where_redis_refuses_to_tell_the_memory_it_is_unknown(redis_client: Client, redis_url: str) -> None:
    from integration.stream.connection import connect

    redis_client.xadd("crm.contact", {"x": 1})
    redis_client.acl_setuser("meek", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-memory"])
    host = redis_url.rpartition("@")[2]
    try:
        with connect(f"redis://meek:x@{host}") as meek:
            assert inspect.stream(meek, "crm.contact").bytes is None
    finally:
        redis_client.acl_deluser("meek")


def test_pending_entries_tell_who_has_them_and_what_they_are(redis_client: Client, make_capture: CaptureMaker) -> None:
    offsets = publish(redis_client, *(make_capture(n) for n in range(4)))
    ensure_group(redis_client, "crm.contact", "")
    redis_client.xreadgroup(GROUP, "one", {"crm.contact": ">"}, count=1)
    redis_client.xreadgroup(GROUP, "two", {"crm.contact": ">"}, count=2)
    redis_client.xclaim("crm.contact", GROUP, "two", 0, [offsets[1]], idle=90_000)
    redis_client.xdel("crm.contact", offsets[2])

    first, second, third = inspect.pending_entries(redis_client, "crm.contact")

    assert [(one.offset, one.consumer, one.deliveries) for one in (first, second, third)] == [
        (offsets[0], "one", 1),
        (offsets[1], "two", 2),
        (offsets[2], "two", 1),
    ]
    assert (first.type, first.subject) == ("com.salesforce.contact.updated.v1", "Contact/003000000000000AAA")
    assert (third.type, third.subject, third.is_gone) == (None, None, True)
    assert not first.is_gone
    idle = inspect.pending_entries(redis_client, "crm.contact", idle_ms=60_000)
    assert [(one.offset, one.idle_ms >= 90_000) for one in idle] == [(offsets[1], True)]
    assert [one.offset for one in inspect.pending_entries(redis_client, "crm.contact", count=2)] == offsets[:2]


def test_pending_entries_of_another_group(redis_client: Client, make_capture: CaptureMaker) -> None:
    publish(redis_client, make_capture())
    with pytest.raises(UsageError, match=r"crm\.contact has no group: nobody has read it yet"):
        inspect.pending_entries(redis_client, "crm.contact")
    redis_client.xgroup_create("crm.contact", "audit", id="0")
    assert inspect.pending_entries(redis_client, "crm.contact", "audit") == []
    redis_client.xreadgroup("audit", "me", {"crm.contact": ">"})
    assert len(inspect.pending_entries(redis_client, "crm.contact", "audit")) == 1
    with pytest.raises(UsageError, match=r"has no group audits; did you mean audit\? It has audit\."):
        inspect.pending_entries(redis_client, "crm.contact", "audits")
    with pytest.raises(UsageError, match=r"has no group store\. It has audit\."):
        inspect.pending_entries(redis_client, "crm.contact")
