"""What people see of the streams: ls, peek, tail."""

import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from integration.errors import RunError, UsageError
from integration.stream import inspect
from integration.stream.connection import Client
from integration.stream.entry import EntryView, to_entry
from integration.stream.groups import ensure_group
from integration.stream.names import GROUP, offset_time

CaptureMaker = Callable[..., dict[str, Any]]


def publish(client: Client, *captures: dict[str, Any], stream: str = "crm.contact") -> list[str]:
    entries: list[Any] = [to_entry(capture) for capture in captures]
    return [client.xadd(stream, entry).decode() for entry in entries]  # type: ignore[union-attr]


def collect(
    client: Client,
    streams: list[str],
    count: int,
    *,
    start: str = "0",
    type_glob: str | None = None,
    where: Mapping[str, str] | None = None,
) -> list[EntryView]:
    views: list[EntryView] = []
    for view in inspect.tail(
        client, streams, start=start, type_glob=type_glob, where=where, stop=lambda: len(views) >= count
    ):
        views.append(view)  # noqa: PERF402  `stop` looks at it meanwhile
    return views


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


def test_peek_shows_the_newest_or_what_lies_at_an_offset(redis_client: Client, make_capture: CaptureMaker) -> None:
    offsets = publish(redis_client, *(make_capture(n) for n in range(5)))
    assert [v.offset for v in inspect.peek(redis_client, "crm.contact")] == offsets[4:]
    assert [v.offset for v in inspect.peek(redis_client, "crm.contact", None, 3)] == offsets[2:]
    assert [v.offset for v in inspect.peek(redis_client, "crm.contact", offsets[1], 2)] == offsets[1:3]
    (view,) = inspect.peek(redis_client, "crm.contact", offsets[2])
    assert view.data == make_capture(2)
    assert view.at == offset_time(offsets[2])


def test_peek_says_what_is_not_ours(redis_client: Client, make_capture: CaptureMaker) -> None:
    publish(redis_client, make_capture())
    redis_client.xadd("crm.contact", {"hello": b"\xff"})
    ours, foreign = inspect.peek(redis_client, "crm.contact", "0", 10)
    assert (ours.ours, ours.note) == (True, "")
    assert (foreign.ours, foreign.raw) == (False, {"hello": "\\xff"})
    assert foreign.note.startswith("not ours")


def test_peek_into_nowhere_is_a_usage_error(redis_client: Client) -> None:
    with pytest.raises(UsageError, match=r"There is no stream crm\.contakt"):
        inspect.peek(redis_client, "crm.contakt")
    redis_client.xadd("crm.contact", {"x": 1})
    with pytest.raises(UsageError, match="'soon' is not an entry id"):
        inspect.peek(redis_client, "crm.contact", "soon")
    redis_client.set("crm.lead", "a string")
    with pytest.raises(RunError, match="WRONGTYPE"):
        inspect.peek(redis_client, "crm.lead")


def test_tail_follows_several_streams_from_an_offset(redis_client: Client, make_capture: CaptureMaker) -> None:
    contacts = publish(redis_client, *(make_capture(n) for n in range(250)))
    leads = publish(redis_client, make_capture(object="Lead"), stream="crm.lead")
    views = collect(redis_client, ["crm.contact", "crm.lead"], 200, start=contacts[50])
    assert len(views) == 200
    assert [v.offset for v in views if v.stream == "crm.contact"] == contacts[51:250]
    assert [v.offset for v in views if v.stream == "crm.lead"] == leads


def test_tail_shows_only_what_comes_from_now_on(
    redis_client: Client, make_capture: CaptureMaker, wait_until: Callable[..., None]
) -> None:
    publish(redis_client, make_capture(1))
    views: list[EntryView] = []
    stop = threading.Event()

    def follow() -> None:
        for view in inspect.tail(redis_client, ["crm.contact", "crm.lead"], stop=stop.is_set):
            views.append(view)  # noqa: PERF402  the test looks at it meanwhile

    follower = threading.Thread(target=follow)
    follower.start()
    wait_until(lambda: redis_client.info("clients")["blocked_clients"] == 1, "tail is listening")
    new = publish(redis_client, make_capture(2))
    wait_until(lambda: views, "the new entry")
    wait_until(lambda: redis_client.info("clients")["blocked_clients"] == 1, "tail is listening again")
    new += publish(redis_client, make_capture(object="Lead"), stream="crm.lead")
    wait_until(lambda: len(views) == 2, "an entry of a stream that is new itself")
    stop.set()
    follower.join(10)
    assert not follower.is_alive()
    assert [v.offset for v in views] == new


def test_tail_misses_nothing_that_comes_between_two_looks(redis_client: Client, make_capture: CaptureMaker) -> None:
    offsets: list[str] = []
    views: list[EntryView] = []
    looks = iter(range(5))

    def stop() -> bool:  # asked before every look
        if not offsets:
            offsets.extend(publish(redis_client, make_capture(1)))
        return bool(views) or next(looks, None) is None

    for view in inspect.tail(redis_client, ["crm.contact"], stop=stop):
        views.append(view)  # noqa: PERF402  `stop` looks at it meanwhile
    assert [v.offset for v in views] == offsets


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("opportunity.*", ["opportunity.created", "opportunity.updated"]),
        ("*.updated", ["opportunity.updated", "contact.updated"]),
        ("Opportunity.created", ["opportunity.created"]),
        ("*.updated.v1", ["opportunity.updated", "contact.updated"]),
    ],
)
def test_tail_filters_by_type(redis_client: Client, make_capture: CaptureMaker, glob: str, expected: list[str]) -> None:
    born = {"CreatedDate": "2026-11-22T05:00:01.000+0000"}
    publish(
        redis_client,
        make_capture(1, object="Opportunity", fields=born),
        make_capture(2, object="Opportunity"),
        make_capture(3),
        make_capture(4, is_deleted=True),
    )
    redis_client.xadd("crm.contact", {"foreign": 1})
    views = collect(redis_client, ["crm.contact"], len(expected), type_glob=glob)
    assert [str(v.type).removeprefix("com.salesforce.").removesuffix(".v1") for v in views] == expected


def test_tail_filters_by_the_fields_of_the_record(redis_client: Client, make_capture: CaptureMaker) -> None:
    won = {"StageName": "Closed Won", "Amount": Decimal("1200.50"), "IsClosed": True, "LeadSource": None}
    redis_client.xadd("crm.contact", {"foreign": 1})
    offsets = publish(
        redis_client,
        make_capture(1, fields=won | {"StageName": "Negotiation"}),
        make_capture(2, fields=won | {"Amount": 7}),
        make_capture(3, fields=None, is_deleted=True),
        make_capture(4, fields=won),
    )
    where = {"StageName": "Closed Won", "Amount": "1200.5", "IsClosed": "true", "LeadSource": "null"}
    assert [v.offset for v in collect(redis_client, ["crm.contact"], 1, where=where)] == offsets[3:]
    views = collect(redis_client, ["crm.contact"], 3, where={"IsClosed": "true"})
    assert [v.offset for v in views] == [offsets[0], offsets[1], offsets[3]]


def test_tail_refuses_a_start_that_is_no_offset(redis_client: Client) -> None:
    with pytest.raises(UsageError, match="'soon' is not an entry id"):
        collect(redis_client, ["crm.contact"], 1, start="soon")
    assert collect(redis_client, [], 1) == []
