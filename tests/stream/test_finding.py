"""Finding entries: peek, tail, dead letters; never more than a page at a time."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from integration.errors import UsageError
from integration.stream import dead, find, inspect
from integration.stream.conditions import Filter, parse_condition
from integration.stream.connection import Client
from integration.stream.entry import EntryView, to_entry
from integration.stream.names import GROUP, offset_time
from schemas import DeadLetter

CaptureMaker = Callable[..., dict[str, Any]]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def publish(client: Client, *captures: dict[str, Any], stream: str = "crm.contact") -> list[str]:
    entries: list[Any] = [to_entry(capture) for capture in captures]
    return [client.xadd(stream, entry).decode() for entry in entries]  # type: ignore[union-attr]


def wanting(*conditions: str, type_glob: str | None = None) -> Filter:
    return Filter([parse_condition(one, NOW) for one in conditions], type_glob)


def collect(
    client: Client, streams: list[str], count: int, *, start: str = "0", wanted: Filter | None = None
) -> list[EntryView]:
    views: list[EntryView] = []
    for view in find.tail(client, streams, start=start, wanted=wanted, stop=lambda: len(views) >= count):
        views.append(view)  # noqa: PERF402  `stop` looks at it meanwhile
    return views


def test_peek_shows_the_newest_or_what_lies_between_two_offsets(
    redis_client: Client, make_capture: CaptureMaker
) -> None:
    offsets = publish(redis_client, *(make_capture(n) for n in range(5)))

    def peeked(**how: Any) -> list[str]:
        return [view.offset for view in find.peek(redis_client, "crm.contact", **how)]

    assert peeked() == offsets[4:]
    assert peeked(count=3) == offsets[2:]
    assert peeked(count=3, last=offsets[3]) == offsets[1:4]
    assert peeked(first=offsets[1], count=2, newest=False) == offsets[1:3]
    assert peeked(first=offsets[1], last=offsets[2], count=9, newest=False) == offsets[1:3]
    assert peeked(first=offsets[1], last=find.offset_before(offsets[3]), count=9) == offsets[1:3]
    (view,) = find.peek(redis_client, "crm.contact", first=offsets[2], newest=False)
    assert view.data == make_capture(2)
    assert view.at == offset_time(offsets[2])


def test_peek_gives_only_what_is_wanted(redis_client: Client, make_capture: CaptureMaker) -> None:
    offsets = publish(redis_client, *(make_capture(n, is_deleted=n % 3 == 0) for n in range(9)))
    wanted = wanting("subject=Contact/*", type_glob="*.deleted")
    assert [v.offset for v in find.peek(redis_client, "crm.contact", count=2, wanted=wanted)] == offsets[3:7:3]
    assert wanted.looked_at == 6
    wanted = wanting("Title~=MILLER", "Title!=Miller 0")
    found = find.peek(redis_client, "crm.contact", count=2, newest=False, wanted=wanted)
    assert [v.offset for v in found] == offsets[1:3]
    assert find.peek(redis_client, "crm.contact", count=2, wanted=wanting("Title=Nobody")) == []


def test_peek_says_what_is_not_ours(redis_client: Client, make_capture: CaptureMaker) -> None:
    publish(redis_client, make_capture())
    redis_client.xadd("crm.contact", {"hello": b"\xff"})
    ours, foreign = find.peek(redis_client, "crm.contact", count=10)
    assert (ours.ours, ours.note) == (True, "")
    assert (foreign.ours, foreign.raw) == (False, {"hello": "\\xff"})
    assert foreign.note.startswith("not ours")


def test_peek_into_nowhere_is_a_usage_error(redis_client: Client) -> None:
    with pytest.raises(
        UsageError, match=r"There is no stream crm\.contakt: `headrace streams ls` lists those there are"
    ):
        find.peek(redis_client, "crm.contakt")
    redis_client.xadd("crm.contact", {"x": 1})
    with pytest.raises(UsageError, match=r"There is no stream crm\.contakt; did you mean crm\.contact\?"):
        find.peek(redis_client, "crm.contakt")
    with pytest.raises(UsageError, match=r"There is no stream Contact; did you mean crm\.contact\?"):
        find.peek(redis_client, "Contact")
    redis_client.set("crm.lead", "a string")
    with pytest.raises(UsageError, match=r"crm\.lead is a string in Redis, not a stream"):
        find.peek(redis_client, "crm.lead")


def test_tail_follows_several_streams_from_an_offset(redis_client: Client, make_capture: CaptureMaker) -> None:
    contacts = publish(redis_client, *(make_capture(n) for n in range(250)))
    leads = publish(redis_client, make_capture(object="Lead"), stream="crm.lead")
    views = collect(redis_client, ["crm.contact", "crm.lead"], 200, start=contacts[50])
    assert len(views) == 200
    assert [v.offset for v in views if v.stream == "crm.contact"] == contacts[51:250]
    assert [v.offset for v in views if v.stream == "crm.lead"] == leads


def reads(client: Client) -> int:
    """Return how often the server was asked to XREAD."""
    return int(client.info("commandstats").get("cmdstat_xread", {"calls": 0})["calls"])


def test_tail_shows_only_what_comes_from_now_on(
    redis_client: Client, make_capture: CaptureMaker, wait_until: Callable[..., None]
) -> None:
    publish(redis_client, make_capture(1))
    views: list[EntryView] = []
    stop = threading.Event()

    def follow() -> None:
        for view in find.tail(redis_client, ["crm.contact", "crm.lead"], stop=stop.is_set):
            views.append(view)  # noqa: PERF402  the test looks at it meanwhile

    follower = threading.Thread(target=follow)
    looks = reads(redis_client)
    follower.start()
    wait_until(lambda: reads(redis_client) >= looks + 2, "tail is looking")
    new = publish(redis_client, make_capture(2))
    wait_until(lambda: views, "the new entry")
    new += publish(redis_client, make_capture(object="Lead"), stream="crm.lead")
    wait_until(lambda: len(views) == 2, "an entry of a stream that is new itself")
    stop.set()
    follower.join(10)
    assert not follower.is_alive()
    assert [v.offset for v in views] == new


def test_tail_of_one_stream_waits_at_the_server(
    redis_client: Client, make_capture: CaptureMaker, wait_until: Callable[..., None]
) -> None:
    views: list[EntryView] = []
    follower = threading.Thread(target=lambda: views.extend(collect(redis_client, ["crm.contact"], 1, start="$")))
    follower.start()
    wait_until(lambda: redis_client.info("clients")["blocked_clients"] == 1, "tail is listening")
    new = publish(redis_client, make_capture(2))
    follower.join(10)
    assert [v.offset for v in views] == new


def test_tail_misses_nothing_that_comes_between_two_looks(redis_client: Client, make_capture: CaptureMaker) -> None:
    offsets: list[str] = []
    views: list[EntryView] = []
    looks = iter(range(5))

    def stop() -> bool:  # asked before every look
        if not offsets:
            offsets.extend(publish(redis_client, make_capture(1)))
        return bool(views) or next(looks, None) is None

    for view in find.tail(redis_client, ["crm.contact"], stop=stop):
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
    views = collect(redis_client, ["crm.contact"], len(expected), wanted=wanting(type_glob=glob))
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
    wanted = wanting("StageName=Closed Won", "Amount=1200.5", "IsClosed=true", "LeadSource=null")
    assert [v.offset for v in collect(redis_client, ["crm.contact"], 1, wanted=wanted)] == offsets[3:]
    views = collect(redis_client, ["crm.contact"], 3, wanted=wanting("IsClosed=true"))
    assert [v.offset for v in views] == [offsets[0], offsets[1], offsets[3]]


def test_tail_refuses_a_start_that_is_no_offset(redis_client: Client) -> None:
    for start in ("soon", "99999999999999999999-0"):
        with pytest.raises(UsageError, match="is not an entry id"):
            collect(redis_client, ["crm.contact"], 1, start=start)
    assert collect(redis_client, [], 1) == []


def test_times_are_offsets_too(redis_client: Client, make_capture: CaptureMaker) -> None:
    (offset,) = publish(redis_client, make_capture())
    taken = datetime.fromisoformat(str(offset_time(offset)))
    assert find.offset_at(taken) == offset.partition("-")[0] + "-0"
    assert find.offset_before(find.offset_at(taken)) == f"{int(offset.partition('-')[0]) - 1}-{2**64 - 1}"
    assert (find.offset_before("17-3"), find.offset_before("0-0")) == ("17-2", "0-0")
    assert find.offset_at(datetime(1900, 1, 1, tzinfo=UTC)) == "0-0"
    second = timedelta(seconds=1)
    for moment, found in ((taken, [offset]), (taken - second, [offset]), (taken + second, [])):
        views = find.peek(redis_client, "crm.contact", first=find.offset_at(moment))
        assert [view.offset for view in views] == found
        views = find.peek(redis_client, "crm.contact", last=find.offset_before(find.offset_at(moment)))
        assert [view.offset for view in views] == ([] if found else [offset])


def test_entries_of_a_record_are_found_behind_a_position(redis_client: Client, make_capture: CaptureMaker) -> None:
    offsets = publish(redis_client, *(make_capture(n % 700) for n in range(1200)))
    subject = f"Contact/{make_capture(600)['record_id']}"
    assert find.find_waiting(redis_client, "crm.contact", subject, "0-0") == find.Waiting(
        offsets[600], 601, is_all=True
    )
    assert find.find_waiting(redis_client, "crm.contact", subject, offsets[600]).offset is None
    assert find.find_waiting(redis_client, "crm.contact", subject, "0-0", most=550) == find.Waiting(
        None, 550, is_all=False
    )
    assert find.find_waiting(redis_client, "crm.contact", subject, offsets[-1]) == find.Waiting(None, 0, is_all=True)
    assert find.find_waiting(redis_client, "crm.nothing", subject, "0-0") == find.Waiting(None, 0, is_all=True)


def give_up(client: Client, captures: Sequence[dict[str, Any]], stream: str = "crm.contact") -> list[str]:
    offsets = publish(client, *captures, stream=stream)
    letters = [
        DeadLetter(
            stream=stream,
            offset=offset,
            reason=f"Reason {number}.",
            first_tried_at="2026-11-22T05:00:00Z",
            last_tried_at="2026-11-22T05:00:00Z",
            fields={k: v if isinstance(v, str) else v.decode() for k, v in to_entry(capture).items()},
        )
        for number, (offset, capture) in enumerate(zip(offsets, captures, strict=True))
    ]
    dead.bury(client, letters)
    return offsets


def test_dead_letters_are_found_by_either_offset(redis_client: Client, make_capture: CaptureMaker) -> None:
    offsets = give_up(redis_client, [make_capture(n) for n in range(1200)])
    (one,) = find.find_letters(redis_client, "crm.contact", [offsets[1100]])
    assert (one.letter.offset, one.letter.reason) == (offsets[1100], "Reason 1100.")
    assert find.find_letters(redis_client, "crm.contact", [one.dead_offset]) == [one]
    assert find.find_letters(redis_client, "crm.contact", [one.dead_offset, offsets[1100]]) == [one]
    found = find.find_letters(redis_client, "crm.contact", [offsets[7], offsets[3], offsets[7]])
    assert [each.letter.offset for each in found] == [offsets[7], offsets[3]]
    assert find.find_dead_of(redis_client, "crm.contact", f"Contact/{make_capture(9)['record_id']}") == (
        find.find_letters(redis_client, "crm.contact", [offsets[9]])
    )


def test_the_offset_an_entry_had_goes_before_the_one_a_letter_has(redis_client: Client) -> None:
    for offset, own in (("5-0", "100-0"), ("100-0", "200-0")):
        fields: Any = {
            "stream": "crm.contact",
            "offset": offset,
            "reason": "-",
            "deliveries": "1",
            "entry": '{"a":"b"}',
        }
        fields |= {"first": "2026-11-22T05:00:00Z", "last": "2026-11-22T05:00:00Z"}
        redis_client.xadd("crm.contact.dead", fields, id=own)
    (one,) = find.find_letters(redis_client, "crm.contact", ["100-0"])
    assert one.dead_offset == "200-0"
    assert find.find_letters(redis_client, "crm.contact", ["200", "5"])[0] == one  # a number alone means sequence 0


def test_letters_that_are_not_there_are_named(redis_client: Client, make_capture: CaptureMaker) -> None:
    (offset,) = give_up(redis_client, [make_capture()])
    with pytest.raises(UsageError, match=r"crm\.contact has no dead letter 1-0, 2-0: `headrace dlq ls crm\.contact`"):
        find.find_letters(redis_client, "crm.contact", ["1-0", offset, "2-0"])
    with pytest.raises(UsageError, match="'soon' is not an entry id"):
        find.find_letters(redis_client, "crm.contact", ["soon"])


def test_streams_with_dead_letters_are_listed_and_only_ours(redis_client: Client, make_capture: CaptureMaker) -> None:
    assert find.dead_streams(redis_client) == []
    assert find.newest_dead(redis_client, "crm.lead") is None
    give_up(redis_client, [make_capture()])
    give_up(redis_client, [make_capture(object="Lead")], stream="crm.lead")
    redis_client.xadd("celery.dead", {"x": 1})
    assert find.dead_streams(redis_client) == ["crm.contact", "crm.lead"]
    assert find.newest_dead(redis_client, "crm.lead") == dead.list_dead(redis_client, "crm.lead")[0].dead_offset


def test_no_call_asks_redis_for_more_than_a_page(redis_client: Client, make_capture: CaptureMaker) -> None:
    give_up(redis_client, [make_capture(n) for n in range(1200)])
    publish(redis_client, *(make_capture(n) for n in range(3800)))
    redis_client.xgroup_create("crm.contact", GROUP, id="0")
    redis_client.xreadgroup(GROUP, "flattener", {"crm.contact": ">"}, count=1500)
    redis_client.config_set("slowlog-max-len", 100_000)
    redis_client.config_set("slowlog-log-slower-than", 0)
    redis_client.slowlog_reset()
    try:
        assert len(find.peek(redis_client, "crm.contact", count=20, wanted=wanting("Title=Miller 17"))) == 2
        assert len(find.peek(redis_client, "crm.contact", count=10_000, newest=False)) == 5000
        assert len(collect(redis_client, ["crm.contact"], 1, wanted=wanting("Title=Miller 3799"))) == 1
        assert inspect.sample(redis_client, "crm.contact").looked_at == 1000
        assert inspect.stream(redis_client, "crm.contact").length == 5000
        assert len(inspect.pending_entries(redis_client, "crm.contact", count=10_000)) == 1500
        assert sum(map(len, find.dead_letters(redis_client, "crm.contact"))) == 1200
        assert find.find_waiting(redis_client, "crm.contact", "Contact/none", "0-0").looked_at == 5000
        letters = find.find_letters(redis_client, "crm.contact", [str(find.newest_dead(redis_client, "crm.contact"))])
        assert len(dead.retry_dead(redis_client, letters)) == 1
        calls: list[Any] = redis_client.slowlog_get(100_000)
    finally:
        redis_client.config_set("slowlog-log-slower-than", 10_000)
    asked = [words for call in calls if (words := call["command"].decode().split())[0] in READERS]
    assert len(asked) > 40
    assert {words[0] for words in asked} == set(READERS)
    assert [words for words in asked if asked_for(words) > find.PAGE] == []


READERS = ("XRANGE", "XREVRANGE", "XREAD", "XPENDING")


def asked_for(words: list[str]) -> float:
    """How many entries a command may bring."""
    if words[0] == "XPENDING":
        return int(words[-1]) if len(words) > 3 else 1  # the short form is a summary
    if "COUNT" in words:
        return int(words[words.index("COUNT") + 1])
    return 1 if words[-1] == words[-2] else float("inf")
