"""The group: created before anything is missed, set back after a lost store, drained after a dead consumer."""

from collections.abc import Callable
from typing import Any

import pytest

from integration.errors import UnreachableError
from integration.stream.connection import Client, connect
from integration.stream.dead import bury
from integration.stream.groups import (
    GroupState,
    ack,
    between,
    caught_up,
    deliveries,
    drain,
    ensure_group,
    lag,
    pending,
)
from integration.stream.names import GROUP
from schemas import DeadLetter

STREAM = "crm.contact"


def add(client: Client, count: int) -> list[str]:
    return [_text(client.xadd(STREAM, {"n": n})) for n in range(count)]


def read(client: Client, consumer: str = "worker", count: int | None = None) -> list[str]:
    reply: Any = client.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count)
    return [_text(offset) for _, entries in reply for offset, _ in entries]


def drained(client: Client, consumer: str = "heir", count: int = 500) -> list[list[str]]:
    return [[offset for offset, _ in entries] for entries in drain(client, STREAM, consumer, count)]


def letter(offset: str) -> DeadLetter:
    at = "2026-11-22T05:00:00Z"
    return DeadLetter(stream=STREAM, offset=offset, reason="no", first_tried_at=at, last_tried_at=at, fields={"n": "0"})


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_a_new_group_gets_what_was_published_before_it(redis_client: Client) -> None:
    offsets = add(redis_client, 3)
    assert ensure_group(redis_client, STREAM, "") is GroupState.CREATED
    assert read(redis_client) == offsets


def test_a_group_can_wait_for_a_stream_that_is_not_there_yet(redis_client: Client) -> None:
    assert ensure_group(redis_client, STREAM, "0-0") is GroupState.CREATED
    assert ensure_group(redis_client, STREAM, "0-0") is GroupState.KEPT
    assert read(redis_client) == []
    assert read(redis_client) == [] != add(redis_client, 1)


def test_a_lost_group_goes_on_at_the_stores_position(redis_client: Client) -> None:
    offsets = add(redis_client, 5)
    assert ensure_group(redis_client, STREAM, offsets[2]) is GroupState.CREATED
    assert read(redis_client) == offsets[3:]


def test_a_position_from_another_life_of_redis_hides_nothing(redis_client: Client) -> None:
    offsets = add(redis_client, 2)
    assert ensure_group(redis_client, STREAM, "99999999999999-0") is GroupState.CREATED
    assert read(redis_client) == offsets


def test_a_position_that_is_no_offset_is_refused(redis_client: Client) -> None:
    with pytest.raises(ValueError, match="is not an entry id"):
        ensure_group(redis_client, STREAM, "$")


def test_after_a_lost_store_the_stream_comes_again_in_order(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 9)
    ack(redis_client, STREAM, read(redis_client, count=6))
    read(redis_client, count=2)  # delivered to a worker that died with the store

    assert ensure_group(redis_client, STREAM, "") is GroupState.SET_BACK

    assert drained(redis_client) == [], "old pending entries would come before the older ones"
    assert read(redis_client) == offsets


def test_after_a_restored_store_the_stream_comes_again_from_there(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 9)
    ack(redis_client, STREAM, read(redis_client))
    assert ensure_group(redis_client, STREAM, offsets[3]) is GroupState.SET_BACK
    assert read(redis_client) == offsets[4:]


def test_pending_entries_cover_the_gap_to_the_store(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 9)
    ack(redis_client, STREAM, read(redis_client, count=4))
    read(redis_client)
    assert ensure_group(redis_client, STREAM, offsets[3]) is GroupState.KEPT
    assert drained(redis_client) == [offsets[4:]]


def test_dead_letters_cover_the_gap_too(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 5)
    read(redis_client)
    bury(redis_client, [letter(offsets[1]), letter(offsets[3])])
    assert ensure_group(redis_client, STREAM, "") is GroupState.KEPT
    ack(redis_client, STREAM, [offsets[2]])
    assert ensure_group(redis_client, STREAM, "") is GroupState.SET_BACK


def test_one_entry_missing_in_a_long_gap_is_found(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    pipe = redis_client.pipeline()
    for n in range(2300):
        pipe.xadd(STREAM, {"n": n})
    offsets = [_text(offset) for offset in pipe.execute()]
    read(redis_client)
    assert ensure_group(redis_client, STREAM, "") is GroupState.KEPT
    ack(redis_client, STREAM, [offsets[2200]])
    assert ensure_group(redis_client, STREAM, "") is GroupState.SET_BACK
    assert pending(redis_client, STREAM) == []
    assert read(redis_client) == offsets


def test_a_group_behind_the_store_is_left_alone(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 3)
    assert ensure_group(redis_client, STREAM, offsets[1]) is GroupState.KEPT
    assert read(redis_client) == offsets


def test_what_a_dead_consumer_held_is_drained_oldest_first(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 7)
    read(redis_client, "dead-1", count=3)
    read(redis_client, "dead-2")

    assert drained(redis_client, count=3) == [offsets[:3], offsets[3:6], offsets[6:]]
    held = pending(redis_client, STREAM)
    assert {p.consumer for p in held} == {"heir"}
    assert [(p.offset, p.deliveries) for p in held] == [(offset, 2) for offset in offsets]

    for entries in drain(redis_client, STREAM, "heir"):
        assert entries[0][1] == {b"n": b"0"}
        assert ack(redis_client, STREAM, [offset for offset, _ in entries]) == 7
    assert drained(redis_client) == []


def test_entries_that_are_gone_are_not_drained_and_not_pending_any_more(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 4)
    read(redis_client)
    redis_client.xtrim(STREAM, minid=offsets[2], approximate=False)
    assert drained(redis_client) == [offsets[2:]]
    assert [p.offset for p in pending(redis_client, STREAM)] == offsets[2:]


def test_without_a_stream_or_a_group_there_is_nothing_to_drain(redis_client: Client) -> None:
    assert drained(redis_client) == []
    add(redis_client, 1)
    assert drained(redis_client) == []
    assert pending(redis_client, STREAM) == []
    assert ack(redis_client, STREAM, ["1-0"]) == 0
    assert ack(redis_client, STREAM, []) == 0


def crash(client: Client, offsets: list[str], times: int) -> None:
    """Deliver entries again to a reader that never finishes them."""
    for _ in range(times):
        client.xclaim(STREAM, GROUP, "crashed", 0, offsets)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "sizes"),
    [
        (1, [64, 36]),
        (2, [64, 36]),
        (3, [8] * 12 + [4]),
        (4, [1] * 100),
        (40, [1] * 100),
    ],
)
def test_what_has_crashed_its_readers_is_drained_in_smaller_lists(
    redis_client: Client, times: int, sizes: list[int]
) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 100)
    read(redis_client)
    crash(redis_client, offsets, times - 1)
    lists = drained(redis_client, count=64)
    assert [len(one) for one in lists] == sizes
    assert [offset for one in lists for offset in one] == offsets


def test_each_crash_makes_the_list_smaller_until_the_culprit_is_alone(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 900)
    culprit = offsets[700]
    read(redis_client)
    fatal = []
    for _ in range(7):
        for entries in drain(redis_client, STREAM, "heir"):
            found = [offset for offset, _ in entries]
            if culprit in found:
                fatal.append(len(found))
                break  # as a process that ends here
            ack(redis_client, STREAM, found)
    assert fatal == [400, 400, 62, 7, 1, 1, 1]
    assert deliveries(redis_client, STREAM, [culprit]) == {culprit: 8}
    assert pending(redis_client, STREAM)[0].offset == culprit, "all before it are done"


def test_a_suspect_among_others_comes_alone(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 30)
    read(redis_client)
    crash(redis_client, [offsets[20]], 9)
    assert drained(redis_client) == [offsets[:20], [offsets[20]], offsets[21:]]


def test_how_often_entries_were_delivered(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 2_300)
    assert deliveries(redis_client, STREAM, offsets) == {}
    read(redis_client, count=2_200)
    crash(redis_client, offsets[1_500:1_502], 4)
    ack(redis_client, STREAM, offsets[:2])
    told = deliveries(redis_client, STREAM, reversed(offsets))
    assert told == dict.fromkeys(offsets[2:2_200], 1) | dict.fromkeys(offsets[1_500:1_502], 5)
    assert deliveries(redis_client, STREAM, [offsets[1_501], offsets[1], offsets[9]]) == {
        offsets[9]: 1,
        offsets[1_501]: 5,
    }
    assert deliveries(redis_client, STREAM, []) == {}


def test_between_two_offsets_lies_what_lies_there_whoever_has_read_it(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 1_203)
    ack(redis_client, STREAM, read(redis_client, count=600))
    read(redis_client, count=200)

    def found(after: str, before: str) -> list[str]:
        return [offset for offset, _ in between(redis_client, STREAM, after, before)]

    assert found(offsets[0], offsets[-1]) == offsets[1:-1]
    assert found("0-0", offsets[2]) == offsets[:2] == found("", offsets[2])
    assert found(offsets[4], offsets[6]) == [offsets[5]]
    assert found(offsets[4], offsets[5]) == []
    assert found(offsets[5], offsets[5]) == [] == found(offsets[6], offsets[4])
    assert found("0-0", "0-0") == []
    assert found(offsets[600], offsets[1_101]) == offsets[601:1_101], "exactly one page"
    assert next(between(redis_client, STREAM, offsets[0], offsets[2])) == (offsets[1], {b"n": b"1"})
    redis_client.xdel(STREAM, offsets[5])
    assert found(offsets[4], offsets[6]) == []
    redis_client.delete(STREAM)
    assert found(offsets[4], offsets[6]) == []


def test_what_is_no_offset_has_nothing_between(redis_client: Client) -> None:
    with pytest.raises(ValueError, match="is not an entry id"):
        list(between(redis_client, STREAM, "$", "5-0"))


def _destroy(client: Client) -> object:
    return client.xgroup_destroy(STREAM, GROUP)


def _delete(client: Client) -> object:
    return client.delete(STREAM)


@pytest.mark.parametrize("lose", [_destroy, _delete])
def test_a_group_or_stream_lost_meanwhile_is_no_trouble(redis_client: Client, lose: Callable[[Client], object]) -> None:
    def prepare() -> list[str]:
        redis_client.delete(STREAM)
        ensure_group(redis_client, STREAM, "")
        add(redis_client, 9)
        return read(redis_client, count=6)

    offsets = prepare()
    lists = drain(redis_client, STREAM, "heir", count=2)
    assert len(next(lists)) == 2
    lose(redis_client)
    assert list(lists) == []

    assert deliveries(redis_client, STREAM, offsets) == {}
    assert ack(redis_client, STREAM, offsets) == 0
    assert pending(redis_client, STREAM) == []
    behind = lag(redis_client, STREAM)
    assert (behind.pending, behind.oldest_pending, behind.last_delivered) == (0, None, None)
    assert caught_up(redis_client, [STREAM]) is (behind.length == 0)
    assert ensure_group(redis_client, STREAM, offsets[0]) is GroupState.CREATED


@pytest.mark.parametrize("lose", [_destroy, _delete])
@pytest.mark.parametrize("at", ["XINFO GROUPS", "XPENDING", "XRANGE", "XGROUP SETID"])
def test_a_group_lost_while_it_is_looked_at_is_made_anew(
    redis_url: str, redis_client: Client, lose: Callable[[Client], object], at: str
) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 9)
    ack(redis_client, STREAM, read(redis_client, count=4))
    read(redis_client, count=2)

    with connect(redis_url) as client:
        _before(client, at, lambda: lose(redis_client))
        assert ensure_group(client, STREAM, offsets[1]) is GroupState.CREATED
    expected = [] if lose is _delete else offsets[2:]
    assert read(redis_client) == expected


@pytest.mark.parametrize("lose", [_destroy, _delete])
@pytest.mark.parametrize("at", ["XINFO GROUPS", "XPENDING"])
def test_a_group_lost_while_its_lag_is_asked_for_has_none(
    redis_url: str, redis_client: Client, lose: Callable[[Client], object], at: str
) -> None:
    ensure_group(redis_client, STREAM, "")
    add(redis_client, 9)
    read(redis_client, count=2)
    with connect(redis_url) as client:
        _before(client, at, lambda: lose(redis_client))
        assert lag(client, STREAM).oldest_pending is None
        assert caught_up(client, [STREAM]) is (lose is _delete)


def _before(client: Client, command: str, happens: Callable[[], object]) -> None:
    """Let something happen just before the client sends a command for the first time."""
    pool: Any = client.connection_pool
    plan = [happens]
    connection = pool.get_connection()
    send = connection.send_packed_command

    def sending(packed: Any, *args: Any, **kwargs: Any) -> Any:
        words = b"".join(packed) if isinstance(packed, list) else packed
        if plan and all(word.encode() in words for word in command.split()):
            plan.pop()()
        return send(packed, *args, **kwargs)

    setattr(connection, "send_packed_command", sending)  # noqa: B010
    pool.release(connection)


def test_lag_counts_what_waits_and_what_is_pending(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 5)
    read(redis_client, count=2)
    behind = lag(redis_client, STREAM)
    assert (behind.length, behind.lag, behind.pending) == (5, 3, 2)
    assert (behind.oldest_pending, behind.last_delivered) == (offsets[0], offsets[1])
    assert not caught_up(redis_client, [STREAM])

    read(redis_client)
    assert lag(redis_client, STREAM).lag == 0
    assert not caught_up(redis_client, [STREAM]), "delivered is not yet done"

    ack(redis_client, STREAM, offsets)
    assert caught_up(redis_client, [STREAM, "crm.not_there"])
    assert lag(redis_client, STREAM).oldest_pending is None


def test_lag_is_unknown_where_redis_does_not_know(redis_client: Client) -> None:
    offsets = add(redis_client, 6)
    assert lag(redis_client, STREAM).lag is None, "there is no group to be behind"
    assert not caught_up(redis_client, [STREAM])

    ensure_group(redis_client, STREAM, offsets[1])
    redis_client.xdel(STREAM, offsets[3])
    assert lag(redis_client, STREAM).lag is None
    assert not caught_up(redis_client, [STREAM])

    ack(redis_client, STREAM, read(redis_client))
    assert lag(redis_client, STREAM).lag == 0, "nothing lies behind what was delivered last"
    assert caught_up(redis_client, [STREAM])


def test_a_lag_that_can_not_be_is_not_passed_on(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 3)
    read(redis_client, count=1)
    # As after a trim that took unread entries on Redis 7.0: entries are counted that are not there.
    redis_client.execute_command("XSETID", STREAM, offsets[-1], "ENTRIESADDED", 100, "MAXDELETEDID", "0-0")  # type: ignore[no-untyped-call]
    (group,) = redis_client.xinfo_groups(STREAM)
    assert group["lag"] == 99
    assert lag(redis_client, STREAM).lag is None


def test_an_empty_stream_is_caught_up_with(redis_client: Client) -> None:
    assert lag(redis_client, STREAM).length == 0
    ensure_group(redis_client, STREAM, "")
    assert lag(redis_client, STREAM).lag == 0
    offsets = add(redis_client, 2)
    redis_client.xdel(STREAM, *offsets)
    assert caught_up(redis_client, [STREAM])


def test_a_redis_that_is_gone_is_one_sentence() -> None:
    client = connect("redis://127.0.0.1:1")
    with pytest.raises(UnreachableError, match=r"^Redis at 127\.0\.0\.1:1 does not answer: .*\.$"):
        lag(client, STREAM)
