"""Product events in their stream: each once, readable, and none when there is no room."""

import json
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from integration.core import exactjson
from integration.errors import RunError, UnreachableError
from integration.stream import find, inspect, product
from integration.stream.conditions import Filter
from integration.stream.connection import Client, FullError, connect_briefly
from integration.stream.entry import about, describe_entry, readable, short_type, to_entry, to_product_entry
from integration.stream.groups import ensure_group
from integration.stream.names import GROUP, PRODUCT_STREAM, TAKEN_KEY
from integration.stream.product import Room, publish
from integration.stream.veil import VEIL, veiled, veiled_subject
from schemas import ProductEvent

EventMaker = Callable[..., dict[str, Any]]


def made(number: int = 1, **changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "id": f"product:m{number}", "message_id": f"m{number}", "type": "track", "name": "Sign Up",
        "user_id": "bea.reyes@example.com", "anonymous_id": None, "previous_id": None, "group_id": None,
        "time": "2026-11-22T04:59:59.250Z", "received_at": "2026-11-22T05:00:00.000Z", "sent_at": None,
        "original_time": None, "properties": {"plan": "pro", "object": "Reyes"}, "traits": {}, "context": {},
    }  # fmt: skip
    return event | changes


def stored(client: Client) -> list[str]:
    entries: Any = client.xrange(PRODUCT_STREAM)
    return [fields[b"id"].decode() for _, fields in entries]


def as_bytes(entry: dict[str, bytes | str]) -> dict[bytes, bytes]:
    return {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in entry.items()}


def test_an_entry_is_a_cloud_event_with_the_fields_of_a_capture(make_capture: EventMaker) -> None:
    entry = to_product_entry(made(), traceparent="00-1-2-01")
    assert list(entry) == list(to_entry(make_capture(), traceparent="00-1-2-01"))
    document = {k: v for k, v in entry.items() if k != "data"} | {"data": json.loads(entry["data"])}
    event = JSONFormat().read(CloudEvent, json.dumps(document))
    assert isinstance(event, CloudEvent)
    assert (event.get_type(), event.get_source()) == ("com.headrace.product.track.v1", "/product")
    assert event.get_subject() == "user/bea.reyes@example.com"
    assert entry["time"] == "2026-11-22T04:59:59.250Z"
    assert (entry["origin"], entry["seenat"]) == ("product", "2026-11-22T05:00:00.000Z")
    assert to_product_entry(made(user_id=None, anonymous_id="a1"))["subject"] == "anonymous/a1"


def test_the_data_is_the_event_digit_for_digit() -> None:
    event = made(properties={"price": Decimal("12345678901234567.89"), "name": "Åsa \U0001f33e"})
    data = to_product_entry(event)["data"]
    assert exactjson.loads(data) == event
    ProductEvent.model_validate_json(data)


def test_people_see_an_entry_as_one_of_ours(redis_client: Client) -> None:
    publish(redis_client, [made(), made(2, type="identify", name=None)])
    [view] = find.peek(redis_client, PRODUCT_STREAM)
    assert (view.ours, view.note, view.origin) == (True, "", "product")
    assert view.data == made(2, type="identify", name=None)
    assert short_type(str(view.type)) == "product.identify.v1"
    [found] = find.peek(redis_client, PRODUCT_STREAM, wanted=Filter((), "product.track"))
    assert found.data["message_id"] == "m1"
    assert inspect.sample(redis_client, PRODUCT_STREAM).ours == 2
    [stream] = inspect.streams(redis_client)
    assert (stream.name, stream.length) == (PRODUCT_STREAM, 2)


def test_nothing_personal_shows_where_entries_are_masked() -> None:
    entry = to_product_entry(made(user_id="Reyes0000000000001", traits={"type": "com.headrace.product.track.v1"}))
    fields = as_bytes(entry)
    assert about(readable(fields)) == {}
    assert veiled_subject("user/bea.reyes@example.com") == VEIL
    shown = veiled({**describe_entry(fields).raw, "data": json.loads(entry["data"])})
    assert (shown["type"], shown["source"], shown["origin"]) == (entry["type"], "/product", "product")
    assert shown["data"]["properties"] == {"plan": VEIL, "object": VEIL}
    assert shown["data"]["traits"] == {"type": VEIL}
    assert "Reyes" not in json.dumps(shown)


def test_what_comes_again_is_not_added_again(redis_client: Client) -> None:
    first = publish(redis_client, [made(1), made(2), made(1)])
    assert len(first) == 2
    assert len(publish(redis_client, [made(2), made(3)])) == 1
    assert publish(redis_client, [made(3), made(1)]) == []
    assert publish(redis_client, []) == []
    assert stored(redis_client) == ["product:m1", "product:m2", "product:m3"]
    entries: Any = redis_client.xrange(PRODUCT_STREAM)
    assert [offset.decode() for offset, _ in entries[:2]] == first


def test_who_knows_another_way_adds_what_was_taken_too_and_leaves_no_memory_of_it(redis_client: Client) -> None:
    publish(redis_client, [made(1)])
    assert len(publish(redis_client, [made(1), made(2), made(2)], even_again=True)) == 2
    assert stored(redis_client) == ["product:m1", "product:m1", "product:m2"]
    assert redis_client.zcard(TAKEN_KEY) == 1
    assert publish(redis_client, [made(1)]) == []
    assert len(publish(redis_client, [made(2)])) == 1
    assert publish(redis_client, [], even_again=True) == []


def test_what_is_remembered_does_not_grow_without_end(redis_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(redis_client, [made(n) for n in range(5)])
    redis_client.zadd(TAKEN_KEY, {b"long ago": 1_000})
    monkeypatch.setattr(product, "REMEMBERED_EVENTS", 3)
    publish(redis_client, [made(7)])
    assert redis_client.zscore(TAKEN_KEY, b"long ago") is None
    assert redis_client.zcard(TAKEN_KEY) == 3
    assert publish(redis_client, [made(7)]) == []


def test_many_threads_lose_nothing(redis_client: Client) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 200, 10):
            publish(redis_client, [made(n) for n in range(number, number + 10)])

    threads = [threading.Thread(target=work, args=(1_000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored(redis_client)) == sorted(f"product:m{1_000 * n + i}" for n in range(4) for i in range(200))


def test_a_full_redis_takes_nothing_and_forgets_that_it_was_asked(redis_client: Client) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(FullError, match="raise its maxmemory"):
            publish(redis_client, [made(1)])
    finally:
        redis_client.config_set("maxmemory", 0)
    assert not redis_client.exists(PRODUCT_STREAM, TAKEN_KEY)
    assert len(publish(redis_client, [made(1)])) == 1


@pytest.mark.parametrize("key", [PRODUCT_STREAM, TAKEN_KEY])
def test_a_key_of_another_program_is_left_alone(redis_client: Client, key: str) -> None:
    redis_client.set(key, "theirs")
    with pytest.raises(RunError, match=r"holds a string, not a (stream|zset) of headrace"):
        publish(redis_client, [made()])
    assert redis_client.get(key) == b"theirs"
    assert redis_client.exists(PRODUCT_STREAM, TAKEN_KEY) == 1


def test_a_redis_that_is_away_is_found_out_soon() -> None:
    with connect_briefly("redis://127.0.0.1:1/0", 1.0) as client, pytest.raises(UnreachableError):
        publish(client, [made()])


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_there_is_room_until_too_many_wait_and_again_when_they_are_stored(redis_client: Client) -> None:
    clock = Clock()
    room = Room(redis_client, high=10, memory_percent=70, clock=clock)
    room.check()
    publish(redis_client, [made(n) for n in range(10)])
    room.check()  # Redis is asked every two seconds
    clock.seconds = 2.0
    for _ in range(2):
        with pytest.raises(FullError, match=r"10 product events wait in Redis \(streams.high_water is 10\)"):
            room.check()
    ensure_group(redis_client, PRODUCT_STREAM, "")
    reply: Any = redis_client.xreadgroup(GROUP, "flattener", {PRODUCT_STREAM: ">"}, count=4)
    clock.seconds = 4.0
    with pytest.raises(FullError):  # delivered is not stored
        room.check()
    redis_client.xack(PRODUCT_STREAM, GROUP, *[offset for offset, _ in reply[0][1]])
    clock.seconds = 6.0
    room.check()


def test_a_redis_that_fills_up_has_room_until_product_events_are_a_part_of_it(redis_client: Client) -> None:
    clock = Clock()
    room = Room(redis_client, high=500, memory_percent=70, clock=clock)
    memory: Any = redis_client.info("memory")
    try:
        redis_client.config_set("maxmemory", int(memory["used_memory"] * 1.1))
        publish(redis_client, [made(n) for n in range(9)])
        room.check()
        publish(redis_client, [made(10)])
        clock.seconds = 2.0
        with pytest.raises(FullError, match="% of its maxmemory"):
            room.check()
    finally:
        redis_client.config_set("maxmemory", 0)
    clock.seconds = 4.0
    room.check()
