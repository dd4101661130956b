"""A page and its cursor: both or neither."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from integration.core import catalog, exactjson
from integration.core.page import Page
from integration.errors import RunError, UnreachableError
from integration.stream.connection import Client, connect
from integration.stream.names import SCHEMAS_KEY, cursor_key, seen_key
from integration.stream.publish import Publisher
from schemas import Cursor

CaptureMaker = Callable[..., dict[str, Any]]

SCHEMA = catalog.with_id(
    catalog.ObjectSchema("Contact", "Contact", "003", False, "SystemModstamp", (catalog.Field("Id", "id"),))
)


def cursor(second: int = 0) -> Cursor:
    return Cursor(object="Contact", system_modstamp=f"2026-11-22T05:00:{second:02d}Z", record_id=f"003{'0' * 15}")


@contextmanager
def cutting_proxy(url: str, *, after_bytes: int, times: int) -> Iterator[str]:
    """A line to Redis that breaks after so many bytes from the client, on each of the first `times` connections."""
    place = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))
    cuts = iter(range(times))

    def pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
        sent = 0
        try:
            while chunk := source.recv(4096):
                chunk = chunk if limit is None else chunk[: limit - sent]
                target.sendall(chunk)
                sent += len(chunk)
                if sent == limit:
                    break
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", place.port or 0))
            limit = after_bytes if next(cuts, None) is not None else None
            pumps = [
                threading.Thread(target=pump, args=(near, far, limit)),
                threading.Thread(target=pump, args=(far, near, None)),
            ]
            for thread in pumps:
                thread.start()
            for thread in pumps:
                thread.join()
            near.close()
            far.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield f"redis://:{place.password}@127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join(10)


def test_a_page_and_its_cursor_are_published_together(redis_client: Client, make_capture: CaptureMaker) -> None:
    captures = [make_capture(1), make_capture(2)]
    page = Page(cursor(3), captures, seen={"003a": "m1"}, schema=SCHEMA)

    offsets = Publisher(redis_client).publish(page)

    contacts: list[Any] = redis_client.xrange("crm.contact") or []
    assert [offset.decode() for offset, _ in contacts] == offsets
    assert [exactjson.loads(fields[b"data"]) for _, fields in contacts] == captures
    assert Publisher(redis_client).cursor("Contact") == page.cursor
    assert Publisher(redis_client).seen("Contact") == {"003a": "m1"}


def test_the_schema_is_kept_by_its_id_and_written_once(redis_client: Client, make_capture: CaptureMaker) -> None:
    Publisher(redis_client).publish(Page(cursor(), [make_capture()], schema=SCHEMA))
    Publisher(redis_client).publish(Page(cursor(), [make_capture()], schema=SCHEMA))
    kept = redis_client.hgetall(SCHEMAS_KEY)
    assert [key.decode() for key in kept] == [SCHEMA.schema_id]  # type: ignore[union-attr]
    assert catalog.from_json(next(iter(kept.values()))) == SCHEMA


def test_an_empty_page_still_saves_its_cursor(redis_client: Client) -> None:
    publisher = Publisher(redis_client)
    assert publisher.cursor("Contact") is None
    assert publisher.publish(Page(cursor(7))) == []
    assert publisher.cursor("contact") == cursor(7)
    assert not redis_client.exists("crm.contact")


def test_marks_are_added_and_forgotten(redis_client: Client) -> None:
    publisher = Publisher(redis_client)
    publisher.publish(Page(cursor(), seen={"a": "1", "b": "1"}))
    publisher.publish(Page(cursor(), seen={"c": "1", "b": "2"}, forget=["a", "b", "z"]))
    assert publisher.seen("Contact") == {"b": "2", "c": "1"}
    assert publisher.seen("Lead") == {}


def test_reset_forgets_cursor_and_marks_but_no_entry(redis_client: Client, make_capture: CaptureMaker) -> None:
    publisher = Publisher(redis_client)
    publisher.publish(Page(cursor(), [make_capture()], seen={"a": "1"}))
    publisher.reset("Contact")
    assert publisher.cursor("Contact") is None
    assert publisher.seen("Contact") == {}
    assert redis_client.xlen("crm.contact") == 1


def test_a_page_cut_off_on_its_way_is_sent_again_as_a_whole(
    redis_url: str, redis_client: Client, make_capture: CaptureMaker
) -> None:
    page = Page(cursor(9), [make_capture(n, fields={"Text": "x" * 1500}) for n in range(200)])
    with cutting_proxy(redis_url, after_bytes=100_000, times=1) as url, connect(url) as client:
        offsets = Publisher(client).publish(page)
    assert len(offsets) == 200 == redis_client.xlen("crm.contact")
    assert Publisher(redis_client).cursor("Contact") == page.cursor


def test_a_page_that_never_arrives_whole_leaves_nothing(
    redis_url: str, redis_client: Client, make_capture: CaptureMaker
) -> None:
    Publisher(redis_client).publish(Page(cursor(1)))
    page = Page(cursor(9), [make_capture(n, fields={"Text": "x" * 1500}) for n in range(200)], seen={"a": "1"})
    with (
        cutting_proxy(redis_url, after_bytes=100_000, times=99) as url,
        connect(url) as client,
        pytest.raises(UnreachableError, match=r"^Redis at 127\.0\.0\.1:\d+ does not answer: start it, or set"),
    ):
        Publisher(client).publish(page)
    assert not redis_client.exists("crm.contact")
    assert Publisher(redis_client).cursor("Contact") == cursor(1)
    assert Publisher(redis_client).seen("Contact") == {}


@pytest.mark.parametrize("room", [0, 300_000, 1_500_000])
def test_a_full_redis_takes_nothing_of_a_page_and_says_so(
    redis_client: Client, make_capture: CaptureMaker, room: int
) -> None:
    Publisher(redis_client).publish(Page(cursor(1)))
    page = Page(cursor(9), [make_capture(n, fields={"Text": "Ms Miller " * 150}) for n in range(1200)], seen={"a": "1"})
    used = int(redis_client.info("memory")["used_memory"])
    redis_client.config_set("maxmemory", used + room)
    try:
        with pytest.raises(UnreachableError, match="is full") as caught:
            Publisher(redis_client).publish(page)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert "Miller" not in str(caught.value)
    assert not redis_client.exists("crm.contact")
    assert Publisher(redis_client).cursor("Contact") == cursor(1)
    assert Publisher(redis_client).seen("Contact") == {}


def test_a_broken_cursor_is_named_with_its_remedy(redis_client: Client) -> None:
    redis_client.set(cursor_key("Contact"), "{}")
    with pytest.raises(RunError, match=rf"{re.escape(cursor_key('Contact'))}\) can't be read: delete the key"):
        Publisher(redis_client).cursor("Contact")


@pytest.mark.parametrize("key", ["crm.contact", SCHEMAS_KEY, seen_key("Contact")])
def test_a_key_that_another_program_uses_is_named_and_the_cursor_stays(
    redis_client: Client, make_capture: CaptureMaker, key: str
) -> None:
    redis_client.set(key, "a string")
    page = Page(cursor(9), [make_capture()], seen={"a": "1"}, schema=SCHEMA)
    with pytest.raises(RunError, match=f"The key {re.escape(key)} holds a string"):
        Publisher(redis_client).publish(page)
    assert Publisher(redis_client).cursor("Contact") is None
    assert redis_client.keys() == [key.encode()]
