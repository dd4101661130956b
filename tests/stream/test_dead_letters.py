"""What is given up is kept, once, with its reason, and can come back."""

from typing import Any

import pytest

from integration.errors import UnreachableError
from integration.stream import dead
from integration.stream.connection import Client
from integration.stream.entry import describe_entry, readable
from integration.stream.groups import ensure_group, pending
from integration.stream.names import GROUP, buried_key
from schemas import DeadLetter

STREAM = "crm.contact"
FIELDS: Any = {b"Id": b"003", b"Name": "Åsa".encode(), b"Blob": b"\xff\x00"}


def deliver(client: Client, count: int = 1, stream: str = STREAM) -> list[str]:
    ensure_group(client, stream, "")
    for _ in range(count):
        client.xadd(stream, FIELDS)
    reply: Any = client.xreadgroup(GROUP, "worker", {stream: ">"})
    return [offset.decode() for offset, _ in reply[0][1]]


def letter(offset: str, stream: str = STREAM, reason: str = "Amount is no number.") -> DeadLetter:
    return DeadLetter(
        stream=stream,
        offset=offset,
        reason=reason,
        first_tried_at="2026-11-22T05:00:00Z",
        last_tried_at="2026-11-22T05:00:09Z",
        deliveries=3,
        fields=readable(FIELDS),
    )


def test_a_dead_letter_is_kept_whole_and_its_entry_acknowledged(redis_client: Client) -> None:
    first, second = deliver(redis_client, 2)
    assert dead.bury(redis_client, [letter(first)]) == 1
    assert dead.dead_count(redis_client, STREAM) == 1
    assert [p.offset for p in pending(redis_client, STREAM)] == [second]
    assert [one.letter for one in dead.list_dead(redis_client, STREAM)] == [letter(first)]
    assert dead.list_dead(redis_client, STREAM)[0].letter.fields["Blob"] == "\\xff\x00"


def test_a_dead_letter_is_readable_in_the_stream(redis_client: Client) -> None:
    dead.bury(redis_client, [letter("17-0")])
    (_, fields), *_ = redis_client.xrange("crm.contact.dead") or []
    assert list(fields) == [b"stream", b"offset", b"reason", b"first", b"last", b"deliveries", b"entry"]  # type: ignore[arg-type]
    view = describe_entry(fields, stream="crm.contact.dead", offset="18-0")  # type: ignore[arg-type]
    assert view.note == "dead letter of crm.contact 17-0: Amount is no number."
    assert view.data == readable(FIELDS)


def test_an_offset_is_buried_once_however_often_it_comes(redis_client: Client) -> None:
    first, second = deliver(redis_client, 2)
    assert dead.bury(redis_client, [letter(first)]) == 1
    assert dead.bury(redis_client, [letter(first), letter(second), letter(second)]) == 1
    assert [one.letter.offset for one in dead.list_dead(redis_client, STREAM)] == [first, second]
    assert pending(redis_client, STREAM) == []


def test_letters_of_several_streams_are_buried_at_once(redis_client: Client) -> None:
    contact, lead = deliver(redis_client)[0], deliver(redis_client, stream="crm.lead")[0]
    assert dead.bury(redis_client, [letter(contact), letter(lead, "crm.lead")]) == 2
    assert dead.dead_count(redis_client, "crm.lead") == 1
    assert pending(redis_client, "crm.lead") == pending(redis_client, STREAM) == []
    assert dead.bury(redis_client, []) == 0


def test_a_caller_may_acknowledge_later(redis_client: Client) -> None:
    (offset,) = deliver(redis_client)
    dead.bury(redis_client, [letter(offset)], ack=False)
    assert [p.offset for p in pending(redis_client, STREAM)] == [offset]
    assert dead.bury(redis_client, [letter(offset)]) == 0
    assert pending(redis_client, STREAM) == []


def test_a_full_redis_buries_nothing_and_acknowledges_nothing(redis_client: Client) -> None:
    (offset,) = deliver(redis_client)
    redis_client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(UnreachableError, match="is full"):
            dead.bury(redis_client, [letter(offset)])
    finally:
        redis_client.config_set("maxmemory", 0)
    assert dead.dead_count(redis_client, STREAM) == 0
    assert len(pending(redis_client, STREAM)) == 1


def test_two_workers_that_bury_the_same_entry_make_one_letter(redis_client: Client, redis_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    offsets = deliver(redis_client, 30)
    with ThreadPoolExecutor(4) as pool:
        fresh = list(pool.map(lambda offset: dead.bury(redis_client, [letter(offset)]), offsets * 4))
    assert sum(fresh) == 30 == dead.dead_count(redis_client, STREAM)


def test_dead_letters_deleted_by_hand_can_be_buried_again(redis_client: Client) -> None:
    (offset,) = deliver(redis_client)
    dead.bury(redis_client, [letter(offset)])
    redis_client.delete("crm.contact.dead")
    assert dead.bury(redis_client, [letter(offset)]) == 1
    assert dead.dead_count(redis_client, STREAM) == 1


def test_a_dead_letter_is_found_by_either_offset(redis_client: Client) -> None:
    offsets = deliver(redis_client, 120)
    dead.bury(redis_client, [letter(offset) for offset in offsets])
    found = dead.find_dead(redis_client, STREAM, offsets[110])
    assert found is not None
    assert found.letter.offset == offsets[110]
    assert dead.find_dead(redis_client, STREAM, found.dead_offset) == found
    assert dead.find_dead(redis_client, STREAM, "1-0") is None


def test_dropped_letters_are_gone(redis_client: Client) -> None:
    dead.bury(redis_client, [letter("17-0"), letter("18-0")])
    first, second = dead.list_dead(redis_client, STREAM)
    assert dead.drop_dead(redis_client, [first]) == 1
    assert dead.drop_dead(redis_client, [first]) == 0
    assert dead.list_dead(redis_client, STREAM) == [second]
    assert redis_client.smembers(buried_key(STREAM)) == {b"18-0"}


def test_a_letter_that_is_tried_again_comes_as_a_new_entry(redis_client: Client) -> None:
    (offset,) = deliver(redis_client)
    dead.bury(redis_client, [letter(offset)])
    (new,) = dead.retry_dead(redis_client, dead.list_dead(redis_client, STREAM))
    reply: Any = redis_client.xreadgroup(GROUP, "worker", {STREAM: ">"})
    ((again, fields),) = reply[0][1]
    assert again.decode() == new
    assert fields[b"Name"].decode() == "Åsa"
    assert dead.dead_count(redis_client, STREAM) == 0
    assert dead.bury(redis_client, [letter(new)]) == 1


def test_a_strangers_entry_among_the_dead_is_listed_as_such(redis_client: Client) -> None:
    redis_client.xadd("crm.contact.dead", {"hello": "world"})
    (one,) = dead.list_dead(redis_client, STREAM)
    assert one.letter.reason == "This entry was not written by headrace."
    assert one.letter.fields == {"hello": "world"}
