"""What a sweep publishes: into the same streams, without moving any cursor."""

from collections.abc import Callable
from typing import Any

import pytest

from integration.core import catalog, exactjson
from integration.core.page import Page
from integration.errors import RunError
from integration.stream.connection import Client
from integration.stream.names import SCHEMAS_KEY
from integration.stream.publish import Publisher
from schemas import Cursor

CaptureMaker = Callable[..., dict[str, Any]]

SCHEMA = catalog.with_id(
    catalog.ObjectSchema("Contact", "Contact", "003", False, "SystemModstamp", (catalog.Field("Id", "id"),))
)


def test_captures_of_a_sweep_follow_those_of_the_poll_and_no_cursor_or_mark_moves(
    redis_client: Client, make_capture: CaptureMaker
) -> None:
    publisher = Publisher(redis_client)
    cursor = Cursor(object="Contact", system_modstamp="2026-11-22T05:00:00Z", record_id=f"003{'0' * 15}")
    publisher.publish(Page(cursor, [make_capture(1)], seen={"003a": "m1"}))
    more = [make_capture(n, origin="sweep") for n in range(2, 2_503)]

    offsets = publisher.publish_more(more, SCHEMA)

    entries: list[Any] = redis_client.xrange("crm.contact") or []
    assert [offset.decode() for offset, _ in entries[1:]] == offsets
    assert [exactjson.loads(fields[b"data"]) for _, fields in entries[1:]] == more
    assert {fields[b"origin"] for _, fields in entries[1:]} == {b"sweep"}
    assert publisher.cursor("Contact") == cursor
    assert publisher.seen("Contact") == {"003a": "m1"}
    assert catalog.from_json(redis_client.hget(SCHEMAS_KEY, SCHEMA.schema_id) or b"") == SCHEMA


def test_nothing_to_publish_leaves_nothing_behind(redis_client: Client) -> None:
    assert Publisher(redis_client).publish_more([], SCHEMA) == []
    assert redis_client.keys() == []


def test_a_key_of_another_program_is_named(redis_client: Client, make_capture: CaptureMaker) -> None:
    redis_client.set("crm.contact", "a string")
    with pytest.raises(RunError, match=r"The key crm\.contact holds a string"):
        Publisher(redis_client).publish_more([make_capture(1)], SCHEMA)
    assert redis_client.keys() == [b"crm.contact"]
