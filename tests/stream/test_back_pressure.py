"""Publishing waits while too much lies unread, while memory runs out, and while Redis is full; then it goes on."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import fakeredis
import pytest

from integration.core import catalog
from integration.core.page import Page
from integration.errors import UnreachableError
from integration.stream.connection import Client, FullError, connect
from integration.stream.groups import ack, ensure_group
from integration.stream.names import GROUP
from integration.stream.pressure import Gate, Load, memory_used
from integration.stream.publish import Publisher
from schemas import Cursor

CaptureMaker = Callable[..., dict[str, Any]]

CONTACTS, LEADS = "crm.contact", "crm.lead"
SCHEMA = catalog.with_id(
    catalog.ObjectSchema("Contact", "Contact", "003", False, "SystemModstamp", (catalog.Field("Id", "id"),))
)


class Watched:
    """A gate whose sleeps do work instead: each takes the next of `steps`; after the last it is told to stop."""

    def __init__(self, client: Client, *steps: Callable[[], object], high: int = 10, percent: int = 70) -> None:
        self.steps = list(steps)
        self.told: list[str | None] = []
        self.slept = 0
        self.now = 0.0
        self.stopped = False
        self.gate = Gate(
            client,
            high=high,
            memory_percent=percent,
            should_stop=lambda: self.stopped,
            on_change=self.told.append,
            sleep=self.sleep,
            clock=lambda: self.now,
        )

    def sleep(self, _: float) -> None:
        self.slept += 1
        if self.steps:
            self.steps.pop(0)()
        else:
            self.stopped = True

    def wait(self) -> list[str | None]:
        """Wait a while later; return what was told meanwhile."""
        self.now += 3
        self.told.clear()
        self.gate.wait()
        return list(self.told)


@pytest.fixture
def limit_memory(redis_client: Client) -> Iterator[Callable[..., None]]:
    """Let the server have so much more memory than it uses now, or make that so much percent of its limit."""

    def limit(*, room: int | None = None, percent: float | None = None) -> None:
        used = int(redis_client.info("memory")["used_memory"])
        redis_client.config_set("maxmemory", used + room if room is not None else int(used * 100 / (percent or 100)))

    yield limit
    redis_client.config_set("maxmemory", 0)


def add(client: Client, count: int, stream: str = CONTACTS, text: str = "x") -> list[str]:
    pipe = client.pipeline()
    for _ in range(count):
        pipe.xadd(stream, {"n": text})
    return [offset.decode() for offset in pipe.execute()]


def read(client: Client, count: int | None = None, stream: str = CONTACTS) -> list[str]:
    reply: Any = client.xreadgroup(GROUP, "worker", {stream: ">"}, count=count)
    return [offset.decode() for _, entries in reply for offset, _ in entries]


def consume(client: Client, count: int, stream: str = CONTACTS) -> None:
    ack(client, stream, read(client, count, stream))


def test_below_high_water_nothing_waits(redis_client: Client) -> None:
    ensure_group(redis_client, CONTACTS, "")
    add(redis_client, 9)
    watched = Watched(redis_client)
    assert watched.wait() == []
    assert watched.slept == 0


def test_at_high_water_it_waits_until_a_fifth_is_left(redis_client: Client) -> None:
    ensure_group(redis_client, CONTACTS, "")
    add(redis_client, 10)
    watched = Watched(redis_client, lambda: consume(redis_client, 8), lambda: consume(redis_client, 1))
    told = watched.wait()
    assert told == [
        "10 entries wait in the streams (streams.high_water is 10): reading goes on when the consumers have brought "
        "them below 2.",
        None,
    ]
    assert watched.slept == 2, "after the first step two were left, which is not below two"
    assert watched.wait() == []


def test_entries_of_all_streams_add_up_and_pending_ones_count(redis_client: Client) -> None:
    for stream in (CONTACTS, LEADS):
        ensure_group(redis_client, stream, "")
        add(redis_client, 5, stream)
    read(redis_client, 3)
    watched = Watched(redis_client)
    assert watched.gate.load() == Load(waiting=10, memory=None)
    assert len(watched.wait()) == 2


def test_dead_letters_other_programs_and_product_events_do_not_count(redis_client: Client) -> None:
    for stream in (f"{CONTACTS}.dead", "orders", "product.events"):
        add(redis_client, 50, stream)
    redis_client.set("crm.not_a_stream", "text")
    watched = Watched(redis_client)
    assert watched.gate.load().waiting == 0
    assert watched.wait() == []


def test_a_stream_that_nobody_reads_yet_counts_fully(redis_client: Client) -> None:
    redis_client.xgroup_create(CONTACTS, "somebody_else", id="$", mkstream=True)
    add(redis_client, 7)
    add(redis_client, 5, LEADS)
    assert Watched(redis_client).gate.load().waiting == 12


def test_an_unknown_lag_counts_what_lies_behind(redis_client: Client) -> None:
    offsets = add(redis_client, 300)
    ensure_group(redis_client, CONTACTS, offsets[250])
    assert redis_client.xinfo_groups(CONTACTS)[0]["lag"] is None
    watched = Watched(redis_client)
    assert watched.gate.load().waiting == 49
    redis_client.xgroup_setid(CONTACTS, GROUP, offsets[50])
    assert watched.gate.load().waiting == 300, "too many to look at each: all of the stream"
    redis_client.xgroup_setid(CONTACTS, GROUP, offsets[-1])
    assert watched.gate.load().waiting == 0


def test_entries_that_redis_only_thinks_are_there_hold_nobody_up(redis_client: Client) -> None:
    ensure_group(redis_client, CONTACTS, "")
    offsets = add(redis_client, 3)
    read(redis_client, count=1)
    # As after a trim by hand that took unread entries, on Redis 7.0.
    redis_client.execute_command("XSETID", CONTACTS, offsets[-1], "ENTRIESADDED", 100, "MAXDELETEDID", "0-0")  # type: ignore[no-untyped-call]
    assert redis_client.xinfo_groups(CONTACTS)[0]["lag"] == 99
    assert Watched(redis_client).wait() == []


def test_a_stream_that_is_deleted_meanwhile_is_not_waited_for(redis_client: Client) -> None:
    ensure_group(redis_client, CONTACTS, "")
    add(redis_client, 20)
    watched = Watched(redis_client, lambda: redis_client.delete(CONTACTS))
    assert watched.wait()[-1] is None
    assert not watched.stopped


def test_a_lost_group_is_not_waited_for_in_vain(redis_client: Client) -> None:
    ensure_group(redis_client, CONTACTS, "")
    offsets = add(redis_client, 20)
    consume(redis_client, 20)
    redis_client.xgroup_destroy(CONTACTS, GROUP)
    watched = Watched(redis_client, lambda: ensure_group(redis_client, CONTACTS, offsets[-1]))
    assert watched.wait()[-1] is None
    assert not watched.stopped


def test_told_to_stop_it_does_not_wait(redis_client: Client) -> None:
    add(redis_client, 50)
    watched = Watched(redis_client)
    assert watched.wait()[-1] is None, "the pause is over, since it stops"
    assert watched.stopped
    assert watched.wait() == []


def test_redis_is_asked_after_a_tenth_or_two_seconds(redis_client: Client) -> None:
    watched = Watched(redis_client, high=100)
    looks = 0

    def look() -> bool:
        nonlocal looks
        before = redis_client.info("commandstats").get("cmdstat_info", {}).get("calls", 0)
        watched.gate.wait()
        after = redis_client.info("commandstats")["cmdstat_info"]["calls"]
        return bool(after - before > 1)  # one is the look of this test

    assert look(), "the first time"
    assert not look()
    watched.gate.note(9)
    assert not look()
    watched.gate.note(1)
    assert look(), "ten more"
    assert not look()
    watched.now += 2
    assert look(), "two seconds later"


def test_a_new_stream_is_known_from_what_was_published_to_it(redis_client: Client) -> None:
    watched = Watched(redis_client)
    assert watched.wait() == []
    add(redis_client, 20, LEADS)
    watched.gate.note(20, [LEADS])
    assert len(watched.wait()) == 2


def test_streams_that_others_fill_are_found_now_and_then(redis_client: Client) -> None:
    watched = Watched(redis_client)
    assert watched.wait() == []
    add(redis_client, 20, LEADS)
    watched.now += 60
    assert len(watched.wait()) == 2


def test_much_memory_closes_the_gate_until_it_is_ten_points_lower(
    redis_client: Client, limit_memory: Callable[..., None]
) -> None:
    ensure_group(redis_client, CONTACTS, "")
    add(redis_client, 5)
    limit_memory(percent=75)
    watched = Watched(redis_client, lambda: limit_memory(percent=65), lambda: limit_memory(percent=55))
    told = watched.wait()
    assert told[0] is not None
    assert told[0].startswith("Redis uses 7")
    assert told[0].endswith(
        "% of its maxmemory (streams.memory_percent is 70): reading goes on below 60 %, or when the consumers have "
        "caught up."
    )
    assert told[1:] == [None]
    assert watched.slept == 2
    assert 50 < (memory_used(redis_client) or 0) < 60


def test_memory_that_others_use_does_not_stop_us_for_good(
    redis_client: Client, limit_memory: Callable[..., None]
) -> None:
    ensure_group(redis_client, CONTACTS, "")
    add(redis_client, 5)
    limit_memory(percent=90)
    watched = Watched(redis_client, lambda: consume(redis_client, 5))
    assert watched.wait()[-1] is None
    assert not watched.stopped
    assert watched.wait() == [], "nothing of ours waits: to pause would make no room"


def test_one_cause_after_the_other_is_told(redis_client: Client, limit_memory: Callable[..., None]) -> None:
    ensure_group(redis_client, CONTACTS, "")
    add(redis_client, 50)
    limit_memory(percent=75)
    watched = Watched(redis_client, lambda: consume(redis_client, 49), lambda: None, lambda: limit_memory(percent=20))
    told = watched.wait()
    assert [sentence and sentence.split()[0] for sentence in told] == ["50", "Redis", None]


def test_without_info_only_what_waits_counts(redis_url: str, redis_client: Client) -> None:
    add(redis_client, 9)
    redis_client.execute_command("ACL", "SETUSER", "hosted", "on", ">pw", "~*", "+@all", "-info")  # type: ignore[no-untyped-call]
    try:
        with connect(f"redis://hosted:pw@127.0.0.1:{urlsplit(redis_url).port}/0") as hosted:
            watched = Watched(hosted)
            assert memory_used(hosted) is None
            assert watched.gate.load() == Load(waiting=9, memory=None)
            assert watched.wait() == []
            add(redis_client, 1)
            assert len(watched.wait()) == 2
    finally:
        redis_client.execute_command("ACL", "DELUSER", "hosted")  # type: ignore[no-untyped-call]
    with fakeredis.FakeRedis(server=fakeredis.FakeServer()) as fake:
        fake.xadd(CONTACTS, {"n": 1})
        assert Watched(fake).gate.load() == Load(waiting=1, memory=None)


def cursor(second: int) -> Cursor:
    return Cursor(object="Contact", system_modstamp=f"2026-11-22T05:00:{second:02d}Z", record_id=f"003{'0' * 15}")


def pages(make_capture: CaptureMaker, count: int, size: int = 100) -> list[Page]:
    text = {"Text": "Ms Miller " * 150}
    return [
        Page(cursor(n), [make_capture(n * size + i, fields=text) for i in range(size)], schema=SCHEMA)
        for n in range(count)
    ]


def test_a_publisher_waits_for_the_consumer(redis_client: Client, make_capture: CaptureMaker) -> None:
    ensure_group(redis_client, CONTACTS, "")
    waiting: list[int] = []

    def consumer() -> None:
        waiting.append(watched.gate.load().waiting)
        consume(redis_client, 1_000)

    watched = Watched(redis_client, *[consumer] * 9, high=200)
    publisher = Publisher(redis_client, watched.gate)
    for page in pages(make_capture, 6):
        assert len(publisher.publish(page)) == 100
    publisher.publish_more([make_capture(n) for n in range(2_100)], SCHEMA)
    assert redis_client.xlen(CONTACTS) == 2_700
    assert waiting == [200, 200, 200, 1_000, 1_000], "two pages at a time, then a thousand"
    assert len(watched.told) == 2 * len(waiting)


def test_a_full_redis_is_waited_out_and_the_page_lies_there_once(
    redis_client: Client, make_capture: CaptureMaker, limit_memory: Callable[..., None]
) -> None:
    ensure_group(redis_client, CONTACTS, "")
    refused: list[tuple[int, object]] = []

    def look() -> None:
        refused.append((redis_client.xlen(CONTACTS), Publisher(redis_client).cursor("Contact")))

    watched = Watched(
        redis_client, look, look, lambda: redis_client.config_set("maxmemory", 0), high=10_000, percent=100
    )
    publisher = Publisher(redis_client, watched.gate)
    first, second = pages(make_capture, 2, size=1_000)
    publisher.publish(first)
    limit_memory(room=500_000)

    assert len(publisher.publish(second)) == 1_000

    assert refused == [(1_000, first.cursor)] * 2, "a page that did not fit wrote nothing of itself"
    assert redis_client.xlen(CONTACTS) == 2_000
    assert publisher.cursor("Contact") == second.cursor
    assert [bool(sentence) for sentence in watched.told] == [True, False]
    assert watched.told[0] is not None
    assert "is full: what is read is kept back and tried again until the consumers have" in watched.told[0]
    assert "Miller" not in watched.told[0]


def test_a_full_redis_gives_way_when_it_is_time_to_stop(
    redis_client: Client, make_capture: CaptureMaker, limit_memory: Callable[..., None]
) -> None:
    watched = Watched(redis_client, lambda: None, high=10_000)
    (page,) = pages(make_capture, 1, size=1_000)
    limit_memory(room=200_000)
    with pytest.raises(FullError, match="is full and wrote nothing of it"):
        Publisher(redis_client, watched.gate).publish(page)
    with pytest.raises(FullError):
        Publisher(redis_client, watched.gate).publish_more(page.captures, SCHEMA)
    assert not redis_client.exists(CONTACTS)
    assert watched.told[-1] is None


def test_what_is_told_may_be_written_to_the_redis_that_is_full(
    redis_client: Client, make_capture: CaptureMaker, limit_memory: Callable[..., None]
) -> None:
    heard: list[bool] = []

    def on_change(sentence: str | None) -> None:
        heard.append(sentence is not None)
        raise FullError("no room for that either")

    gate = Gate(
        redis_client,
        high=10_000,
        memory_percent=100,
        should_stop=lambda: False,
        on_change=on_change,
        sleep=lambda _: redis_client.config_set("maxmemory", 0),
    )
    limit_memory(room=0)
    (page,) = pages(make_capture, 1)
    assert len(Publisher(redis_client, gate).publish(page)) == 100
    assert heard == [True, False]


def test_a_full_redis_can_be_emptied(redis_client: Client, limit_memory: Callable[..., None]) -> None:
    ensure_group(redis_client, CONTACTS, "")
    offsets = add(redis_client, 10)
    limit_memory(room=-1_000)
    ensure_group(redis_client, CONTACTS, "")
    assert read(redis_client) == offsets
    assert ack(redis_client, CONTACTS, offsets) == 10


def test_a_publisher_in_a_thread_goes_on_once_a_consumer_comes(
    redis_url: str, redis_client: Client, make_capture: CaptureMaker, wait_until: Callable[..., None]
) -> None:
    ensure_group(redis_client, CONTACTS, "")
    told: list[str | None] = []
    stop = threading.Event()
    with connect(redis_url) as own:
        gate = Gate(own, high=100, memory_percent=70, should_stop=stop.is_set, on_change=told.append, sleep=stop.wait)
        publisher = Publisher(own, gate)
        thread = threading.Thread(target=lambda: [publisher.publish(page) for page in pages(make_capture, 2)])
        thread.start()
        try:
            wait_until(lambda: told, "the second page waits")
            assert redis_client.xlen(CONTACTS) == 100
            consume(redis_client, 100)
            wait_until(lambda: redis_client.xlen(CONTACTS) == 200, "the second page is published")
        finally:
            stop.set()
            thread.join(10)
    assert told[1:] == [None]


def test_a_redis_that_is_gone_is_one_sentence() -> None:
    with pytest.raises(UnreachableError, match=r"^Redis at 127\.0\.0\.1:1 does not answer: .*\.$"):
        Watched(connect("redis://127.0.0.1:1")).wait()
