"""What is given up is kept, once, with its reason, and can come back."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from integration.errors import RunError, UnreachableError
from integration.stream import dead
from integration.stream.connection import Client
from integration.stream.entry import describe_entry, readable
from integration.stream.groups import ensure_group, pending
from integration.stream.names import GROUP, buried_key, dead_of, retried_key, settled_key
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


def test_dropped_letters_are_gone_and_noted(redis_client: Client) -> None:
    dead.bury(redis_client, [letter("17-0"), letter("18-0")])
    first, second = dead.list_dead(redis_client, STREAM)
    assert dead.drop_dead(redis_client, [first]) == [first]
    assert dead.drop_dead(redis_client, [first]) == []
    assert dead.list_dead(redis_client, STREAM) == [second]
    assert redis_client.smembers(buried_key(STREAM)) == {b"18-0"}
    assert dead.settled(redis_client, STREAM) == {"17-0": "dropped"}


def test_a_letter_that_is_tried_again_comes_as_a_new_entry_and_is_noted(redis_client: Client) -> None:
    (offset,) = deliver(redis_client)
    dead.bury(redis_client, [letter(offset)])
    (one,) = dead.list_dead(redis_client, STREAM)
    new = dead.retry_dead(redis_client, [one])
    reply: Any = redis_client.xreadgroup(GROUP, "worker", {STREAM: ">"})
    ((again, fields),) = reply[0][1]
    assert new == [(one, again.decode())]
    assert fields[b"Name"].decode() == "Åsa"
    assert dead.dead_count(redis_client, STREAM) == 0
    assert dead.settled(redis_client, STREAM) == {offset: "retried"}
    assert dead.bury(redis_client, [letter(again.decode())]) == 1


def test_a_letter_is_put_back_once_however_many_do_it(redis_client: Client) -> None:
    offsets = deliver(redis_client, 20)
    dead.bury(redis_client, [letter(offset) for offset in offsets])
    letters = dead.list_dead(redis_client, STREAM)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: dead.retry_dead(redis_client, letters), range(4)))
    assert sorted(len(new) for new in told) == [0, 0, 0, 20]
    assert redis_client.xlen(STREAM) == 40
    assert dead.retry_dead(redis_client, letters) == []


def test_a_letter_whose_retry_ended_half_way_is_not_put_back_again(redis_client: Client) -> None:
    dead.bury(redis_client, [letter("17-0"), letter("18-0")])
    first, second = dead.list_dead(redis_client, STREAM)
    dead._put_back(redis_client, STREAM, [first])  # and then the process was killed
    (put, again) = dead.retry_dead(redis_client, [first, second])
    entries: Any = redis_client.xrange(STREAM)
    assert [(first, entries[0][0].decode()), (second, entries[1][0].decode())] == [put, again]
    assert len(entries) == 2
    assert dead.dead_count(redis_client, STREAM) == 0
    assert 0 < redis_client.ttl(retried_key(STREAM)) <= 3_600


def test_letters_of_several_streams_are_settled_each_with_its_own(redis_client: Client) -> None:
    dead.bury(redis_client, [letter("17-0"), letter("18-0", "crm.lead")])
    letters = [*dead.list_dead(redis_client, STREAM), *dead.list_dead(redis_client, "crm.lead")]
    assert [one for one, _ in dead.retry_dead(redis_client, letters)] == letters
    assert (redis_client.xlen(STREAM), redis_client.xlen("crm.lead")) == (1, 1)
    assert dead.settled(redis_client, STREAM) == {"17-0": "retried"}
    assert dead.settled(redis_client, "crm.lead") == {"18-0": "retried"}
    assert dead.retry_dead(redis_client, []) == []


def test_a_full_redis_puts_nothing_back_and_loses_nothing(redis_client: Client) -> None:
    dead.bury(redis_client, [letter("17-0")])
    letters = dead.list_dead(redis_client, STREAM)
    redis_client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(UnreachableError, match="is full"):
            dead.retry_dead(redis_client, letters)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert dead.list_dead(redis_client, STREAM) == letters
    assert dead.settled(redis_client, STREAM) == {}


@pytest.mark.parametrize("key", [STREAM, buried_key(STREAM), settled_key(STREAM), retried_key(STREAM)])
def test_a_key_that_is_something_else_costs_no_letter(redis_client: Client, key: str) -> None:
    dead.bury(redis_client, [letter("17-0")])
    letters = dead.list_dead(redis_client, STREAM)
    redis_client.delete(key)
    redis_client.set(key, "something else")
    with pytest.raises(RunError, match=f"The key {re.escape(key)} holds a string"):
        dead.retry_dead(redis_client, letters)
    assert dead.list_dead(redis_client, STREAM) == letters


def test_what_was_settled_is_told_until_it_is_forgotten(redis_client: Client) -> None:
    offsets = [f"{number}-0" for number in range(1, 2502)]
    dead.bury(redis_client, [letter(offset) for offset in offsets])
    while letters := dead.list_dead(redis_client, STREAM, count=1000):
        dead.drop_dead(redis_client, letters)
    assert dead.settled(redis_client, STREAM) == dict.fromkeys(offsets, "dropped")
    dead.forget_settled(redis_client, STREAM, offsets[1:])
    assert dead.settled(redis_client, STREAM) == {"1-0": "dropped"}
    dead.forget_settled(redis_client, STREAM, [])
    assert dead.settled(redis_client, "crm.nothing") == {}


def test_what_is_neither_buried_nor_settled_is_missing(redis_client: Client) -> None:
    dead.bury(redis_client, [letter("1-0"), letter("2-0"), letter("3-0")])
    first, second, _ = dead.list_dead(redis_client, STREAM)
    dead.retry_dead(redis_client, [first])
    dead.drop_dead(redis_client, [second])
    offsets = [f"{number}-0" for number in range(1, 2502)]
    assert dead.missing(redis_client, STREAM, offsets) == offsets[3:]
    redis_client.delete(dead_of(STREAM))  # by hand: the set of the buried alone is no proof
    assert dead.missing(redis_client, STREAM, offsets) == offsets[2:]
    redis_client.flushall()
    assert dead.missing(redis_client, STREAM, offsets) == offsets
    assert dead.missing(redis_client, STREAM, []) == []


FORGED: Any = {"stream": STREAM, "offset": "7-0", "reason": "?", "first": "2026-11-22T05:00:00Z"}
FORGED |= {"last": "2026-11-22T05:00:00Z", "deliveries": "1", "entry": '{"a": "b"}'}


@pytest.mark.parametrize(
    "fields",
    [
        {"hello": "world"},
        FORGED | {"stream": "crm.lead"},
        FORGED | {"offset": "soon"},
        FORGED | {"deliveries": "many"},
        FORGED | {"first": "once"},
        FORGED | {"entry": "["},
        FORGED | {"entry": "[" * 10_000},
        FORGED | {"entry": '{"a": 1}'},
        FORGED | {"entry": b"\xff"},
    ],
)
def test_a_strangers_entry_among_the_dead_is_listed_dropped_and_never_put_back(
    redis_client: Client, fields: Any
) -> None:
    redis_client.xadd(dead_of(STREAM), fields)
    (one,) = dead.list_dead(redis_client, STREAM)
    assert not one.ours
    assert one.letter.reason == "This entry was not written by headrace."
    assert one.letter.fields == readable(
        {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in fields.items()}
    )
    assert one.letter.stream == STREAM
    assert dead.retry_dead(redis_client, [one]) == []
    assert redis_client.keys() == [dead_of(STREAM).encode()]
    assert dead.drop_dead(redis_client, [one]) == [one]
    assert dead.dead_count(redis_client, STREAM) == 0
    assert dead.settled(redis_client, STREAM) == {}


def test_an_entry_that_says_what_it_is_about_only_in_its_data_has_a_subject_too(redis_client: Client) -> None:
    assert dead.read_letter(STREAM, "1-0", {b"subject": b"Contact/003"}).subject == "Contact/003"
    capture = b'{"object": "Contact", "record_id": "003"}'
    assert dead.read_letter(STREAM, "1-0", {b"data": capture}).subject == "Contact/003"
    assert dead.read_letter(STREAM, "1-0", {b"data": b"[1]"}).subject is None
    assert dead.read_letter(STREAM, "1-0", {}).subject is None
