"""From the body of a Segment call to product events: everything clients send, and everything else."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from integration.core import exactjson
from integration.core.segment import MOST_EVENTS, TYPES, Call, corrected, read_call, read_past
from schemas import ProductEvent

NOW = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
TRACK = {"type": "track", "event": "Sign Up", "userId": "u1", "messageId": "m1"}


def numbered() -> Callable[[], str]:
    numbers: Iterator[int] = iter(range(1, 1_000))
    return lambda: f"made-{next(numbers)}"


def read(body: Any, kind: str | None = None) -> Call:
    return read_call(kind, body, NOW, numbered())


def event(body: Any, kind: str | None = None) -> dict[str, Any]:
    call = read(body, kind)
    assert call.refused == []
    [found] = call.events
    ProductEvent.model_validate_json(exactjson.dumps(found))
    return found


def reason(body: Any, kind: str | None = None) -> str:
    call = read(body, kind)
    assert call.events == []
    [refused] = call.refused
    return refused.reason


def test_a_call_becomes_an_event_with_everything_in_it() -> None:
    assert event(
        {
            "type": "track", "event": " Sign Up ", "messageId": "m1", "userId": 42, "anonymousId": " a1 ",
            "timestamp": "2026-11-22T04:00:00.000Z", "sentAt": "2026-11-22T04:30:00+00:00",
            "properties": {"plan": "pro", "price": 9.5}, "context": {"page": {"url": "https://example.com/"}},
            "integrations": {"All": True}, "channel": "web",
        }
    ) == {
        "id": "product:m1", "message_id": "m1", "type": "track", "name": "Sign Up", "user_id": "42",
        "anonymous_id": "a1", "previous_id": None, "group_id": None, "time": "2026-11-22T04:30:00.000Z",
        "received_at": "2026-11-22T05:00:00.000Z", "sent_at": "2026-11-22T04:30:00.000Z",
        "original_time": "2026-11-22T04:00:00.000Z", "properties": {"plan": "pro", "price": 9.5}, "traits": {},
        "context": {"page": {"url": "https://example.com/"}},
    }  # fmt: skip


def test_an_event_has_the_fields_of_its_schema_in_their_order() -> None:
    assert list(event(TRACK)) == list(ProductEvent.model_fields)


def test_the_address_tells_the_type_where_it_names_one() -> None:
    assert event({"userId": "u", "type": "track"}, "identify")["type"] == "identify"
    assert event({"userId": "u"}, "identify")["name"] is None


def test_what_stands_around_a_batch_holds_for_its_events() -> None:
    call = read(
        {
            "sentAt": "2026-11-22T04:59:00Z",
            "context": {"ip": "10.0.0.1", "app": {"name": "x"}},
            "batch": [
                {**TRACK, "timestamp": "2026-11-22T04:58:00Z", "context": {"app": {"name": "y"}}},
                {**TRACK, "messageId": "m2", "timestamp": "2026-11-22T04:58:00Z", "sentAt": "2026-11-22T04:58:30Z"},
            ],
        }
    )
    assert [one["time"] for one in call.events] == ["2026-11-22T04:59:00.000Z", "2026-11-22T04:59:30.000Z"]
    assert [one["context"] for one in call.events] == [
        {"ip": "10.0.0.1", "app": {"name": "y"}}, {"ip": "10.0.0.1", "app": {"name": "x"}},
    ]  # fmt: skip
    assert read({"batch": []}) == Call()


def test_one_bad_event_does_not_lose_the_others() -> None:
    call = read({"batch": [TRACK, {"type": "track"}, 7, {**TRACK, "messageId": "m2"}]})
    assert [one["message_id"] for one in call.events] == ["m1", "m2"]
    assert [(one.place, one.reason) for one in call.refused] == [
        (1, "The event has neither userId nor anonymousId."),
        (2, "The event is not a JSON object."),
    ]


@pytest.mark.parametrize(
    ("message", "traits", "context"),
    [
        ({"traits": {"plan": "pro"}}, {"plan": "pro"}, {}),
        ({"context": {"traits": {"plan": "pro"}, "locale": "de"}}, {"plan": "pro"}, {"locale": "de"}),
        (
            {"traits": {"plan": "pro"}, "context": {"traits": {"plan": "old", "name": "Bea"}}},
            {"plan": "pro", "name": "Bea"},
            {},
        ),
        ({"context": {"traits": "none"}}, {}, {"traits": "none"}),
        ({"traits": None, "context": None}, {}, {}),
    ],
)
def test_traits_are_found_wherever_clients_put_them(
    message: dict[str, Any], traits: dict[str, Any], context: dict[str, Any]
) -> None:
    found = event({"type": "identify", "userId": "u", **message})
    assert (found["traits"], found["context"]) == (traits, context)


def test_the_traits_around_a_group_call_are_not_the_groups() -> None:
    found = event(
        {
            "type": "group", "userId": "u", "groupId": 7, "traits": {"name": "Acme"},
            "context": {"traits": {"email": "bea@example.com"}},
        }
    )  # fmt: skip
    assert (found["group_id"], found["traits"]) == ("7", {"name": "Acme"})
    assert found["context"] == {"traits": {"email": "bea@example.com"}}


def test_the_category_of_a_page_is_one_of_its_properties() -> None:
    page = {"type": "page", "anonymousId": "a", "name": " Pricing ", "category": "Docs"}
    assert event(page)["properties"] == {"category": "Docs"}
    assert event(page)["name"] == "Pricing"
    assert event({**page, "properties": {"category": "Own"}})["properties"] == {"category": "Own"}
    assert event({"type": "screen", "anonymousId": "a"})["name"] is None


@pytest.mark.parametrize(
    ("given", "text"),
    [("x", "x"), (" x\n", "x"), (7, "7"), (7.0, "7"), (0.5, "0.5"), (-0.0, "0"), (2**70, str(2**70)), (Decimal("1.50"), "1.5")],
)  # fmt: skip
def test_ids_may_be_numbers_and_are_trimmed(given: Any, text: str) -> None:
    found = event({"type": "alias", "userId": given, "previousId": given, "messageId": given})
    assert {found["user_id"], found["previous_id"], found["message_id"]} == {text}


@pytest.mark.parametrize("missing", [None, "", "  ", "\t\n"])
def test_an_empty_id_is_no_id(missing: str | None) -> None:
    assert event({**TRACK, "anonymousId": missing})["anonymous_id"] is None
    assert "neither userId nor anonymousId" in reason({**TRACK, "userId": missing})
    assert event({**TRACK, "messageId": missing})["message_id"] == "made-1"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "track", "userId": "u"}, "needs the name"),
        ({"type": "track", "userId": "u", "event": ""}, "needs the name"),
        ({"type": "track", "userId": "u", "event": {}}, "event is neither text nor a number"),
        ({"type": "track", "userId": "u", "event": "e" * 501}, "event is longer than 500"),
        ({"type": "page", "userId": "u", "name": "e" * 501}, "name is longer than 500"),
        ({"type": "alias", "userId": "u"}, "both previousId and userId"),
        ({"type": "alias", "previousId": "u", "anonymousId": "a"}, "both previousId and userId"),
        ({"type": "jump", "userId": "u"}, "type is none of track, identify"),
        ({"type": ["track"], "userId": "u"}, "type is none of"),
        ({"type": None}, "type is none of"),
        ({"type": "identify", "userId": True}, "userId is neither text nor a number"),
        ({"type": "identify", "userId": ["u"]}, "userId is neither"),
        ({"type": "identify", "userId": "u" * 1001}, "userId is longer than 1,000"),
        ({"type": "identify", "userId": "u\x00"}, "userId holds a NUL"),
        ({"type": "identify", "userId": "u", "messageId": "m" * 1001}, "messageId is longer"),
        ({"type": "identify", "userId": "u", "traits": "none"}, "traits is not a JSON object"),
        ({"type": "identify", "userId": "u", "properties": []}, "properties is not a JSON object"),
        ({"type": "identify", "userId": "u", "context": 7}, "context is not a JSON object"),
        ({"type": "identify", "userId": "u", "traits": {"a": "x" * 33_000}}, "larger than 32 KB"),
        ({"type": "identify", "userId": "u", "traits": {"a": "\ud800"}}, "can't be kept"),
        ({"type": "identify", "userId": "u", "traits": {"a": Decimal("1E+999999999")}}, "can't be kept"),
        ({"type": "identify", "userId": Decimal("1E-999999999")}, "can't be kept"),
        ({"userId": "u"}, "neither a batch nor an event with its type"),
        ({"batch": {"type": "track"}}, "batch is not a list"),
        ({"batch": [TRACK] * (MOST_EVENTS + 1)}, "more than 5,000 events"),
        ([TRACK], "not a JSON object"),
        ("track", "not a JSON object"),
        (None, "not a JSON object"),
    ],
)
def test_what_can_not_be_used_is_refused_with_the_reason(message: Any, words: str) -> None:
    assert words in reason(message)


def test_no_reason_repeats_a_value() -> None:
    for message in ({"type": "Reyes"}, {"type": "track", "userId": "Reyes", "event": {"Reyes": 1}}):
        assert "Reyes" not in reason(message)


def test_lists_in_lists_beyond_measure_are_refused() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    assert "nested too deeply" in reason({**TRACK, "properties": {"a": deep}})


def test_a_context_around_a_batch_counts_for_the_size_of_each_event() -> None:
    call = read({"context": {"a": "x" * 33_000}, "batch": [TRACK, TRACK]})
    assert (call.events, len(call.refused)) == ([], 2)


AT, LATER = datetime(2026, 11, 22, 4, 0, tzinfo=UTC), datetime(2026, 11, 22, 4, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("original", "sent_at", "time"),
    [
        (AT, LATER, NOW - timedelta(seconds=30)),  # a clock that is an hour behind
        (AT + 5 * HOUR, LATER + 5 * HOUR, NOW - timedelta(seconds=30)),  # and one that is ahead
        (LATER, AT, NOW + timedelta(seconds=30)),  # sent before it happened: as the client says
        (AT - 10_000 * HOUR, AT, NOW - 10_000 * HOUR),  # an import of what was long ago
        (AT, None, AT),
        (None, LATER, NOW),
        (None, None, NOW),
        (NOW + timedelta(days=1), None, NOW + timedelta(days=1)),
        (NOW + timedelta(days=1, seconds=1), None, NOW),
        (AT, datetime(1970, 1, 1, tzinfo=UTC), NOW),  # a clock that was set in between
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), NOW),
        (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), NOW),
    ],
)
def test_time_is_corrected_by_what_the_clients_clock_was_off(
    original: datetime | None, sent_at: datetime | None, time: datetime
) -> None:
    assert corrected(original, sent_at, NOW) == time


@pytest.mark.parametrize(
    ("told", "time"),
    [
        ("2026-11-22T04:00:00.123456+00:00", "2026-11-22T04:00:00.123Z"),
        ("2026-11-22t05:00:00+01:00", "2026-11-22T04:00:00.000Z"),
        ("2026-11-22T04:00:00", "2026-11-22T04:00:00.000Z"),
        (" 2026-11-22 ", "2026-11-22T00:00:00.000Z"),
        ("0001-01-01T00:00:00+14:00", "2026-11-22T05:00:00.000Z"),
        ("yesterday", "2026-11-22T05:00:00.000Z"),
        (1_795_000_000_000, "2026-11-22T05:00:00.000Z"),
        ("2" * 100_000, "2026-11-22T05:00:00.000Z"),
    ],
)
def test_times_are_read_as_iso_8601_or_not_at_all(told: Any, time: str) -> None:
    message = {"type": "page", "anonymousId": "a", "timestamp": told}
    assert read(message).refused or event(message)["time"] == time


def test_the_original_time_goes_before_the_timestamp() -> None:
    found = event({**TRACK, "originalTimestamp": "2026-11-22T03:00:00Z", "timestamp": "2026-11-22T04:00:00Z"})
    assert found["time"] == found["original_time"] == "2026-11-22T03:00:00.000Z"


def test_an_event_without_an_id_that_is_sent_again_is_the_same_if_it_has_a_time() -> None:
    message = {"type": "track", "event": "e", "userId": "u", "timestamp": "2026-11-22T04:00:00Z"}
    first = event({**message, "sentAt": "2026-11-22T04:00:01Z"})
    again = event({"sentAt": "2026-11-22T04:00:09Z", "writeKey": "k", "batch": [message]})
    assert first["id"] == again["id"] == event({**message, "sentAt": "x"}, "track")["id"]
    others = [{**message, "event": "f"}, {**message, "timestamp": "2026-11-22T04:00:01Z"}]
    assert len({first["id"], *(event(other)["id"] for other in others)}) == 3
    bare = {name: value for name, value in message.items() if name != "timestamp"}
    ids = [one["message_id"] for one in read({"batch": [bare, bare, {**bare, "timestamp": "soon"}]}).events]
    assert ids == ["made-1", "made-2", "made-3"]


def test_an_event_without_an_id_has_the_same_one_in_whatever_words_it_is_told() -> None:
    message = {"type": "page", "userId": 7, "name": "Docs", "timestamp": "2026-11-22T04:00:00.5Z"}
    message |= {"properties": {"a": 1, "b": {"c": 2, "d": 3}}, "context": {"ip": "x", "locale": "de"}}
    other = {
        "context": {"locale": "de"},
        "properties": {"b": {"d": 3, "c": 2}, "a": 1},
        "name": " Docs ",
        "channel": "web",
    }
    other |= {"originalTimestamp": "2026-11-22 05:00:00.500+01:00", "userId": "7", "type": "page"}
    again = read({"batch": [other], "context": {"ip": "x"}}).events[0]
    assert again["id"] == event(message)["id"] == read_past(message, NOW).events[0]["id"]
    changed = [{"userId": 8}, {"name": "docs"}, {"timestamp": "2026-11-22T04:00:00.500001Z"}, {"properties": {"a": 2}}]
    changed += [{"type": "screen"}, {"groupId": 7}, {"context": {}}, {"traits": {"a": 1}}, {"anonymousId": "7"}]
    ids = [event({**message, **one})["id"] for one in changed]
    assert len({again["id"], *ids}) == len(changed) + 1


PAST = {"type": "track", "event": "Sign Up", "userId": "u1", "timestamp": "2024-05-01T10:00:00Z"}


def past(message: dict[str, Any]) -> dict[str, Any]:
    call = read_past(message, NOW)
    assert call.refused == []
    ProductEvent.model_validate_json(exactjson.dumps(call.events[0]))
    return call.events[0]


@pytest.mark.parametrize(
    ("told", "time"),
    [
        ({}, "2024-05-01T10:00:00.000Z"),
        # When it was sent tells nothing, unless it is known when that came in.
        ({"sentAt": "2024-05-01T10:00:30Z"}, "2024-05-01T10:00:00.000Z"),
        ({"sentAt": "2024-05-01T10:00:30Z", "receivedAt": "2024-05-01T11:00:00Z"}, "2024-05-01T10:59:30.000Z"),
        ({"receivedAt": "2024-05-01T11:00:00Z"}, "2024-05-01T10:00:00.000Z"),
        ({"timestamp": "2099-01-01", "sentAt": "2099-01-02", "receivedAt": "2024-05-03"}, "2024-05-02T00:00:00.000Z"),
        ({"timestamp": "2024-05-01 10:00:00.123456 UTC"}, "2024-05-01T10:00:00.123Z"),
        ({"timestamp": "2026-11-23T05:00:00Z"}, "2026-11-23T05:00:00.000Z"),
    ],
)
def test_an_event_of_the_past_is_when_it_says(told: dict[str, Any], time: str) -> None:
    assert past({**PAST, **told})["time"] == time
    assert past({**PAST, **told})["received_at"] == "2026-11-22T05:00:00.000Z"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({**PAST, "timestamp": None}, "needs a timestamp"),
        ({**PAST, "timestamp": "31.01.2024"}, "needs a timestamp"),
        ({**PAST, "timestamp": 1_700_000_000}, "needs a timestamp"),
        ({**PAST, "timestamp": "2026-11-23T05:00:01Z"}, "still to come"),
        ({**PAST, "userId": ""}, "neither userId nor anonymousId"),
        ({"userId": "u"}, "neither a batch nor an event with its type"),
        ([PAST], "not a JSON object"),
    ],
)
def test_no_time_is_made_up_for_an_event_of_the_past(message: Any, words: str) -> None:
    call = read_past(message, NOW)
    assert call.events == []
    assert words in call.refused[0].reason


def test_a_batch_of_the_past_tells_of_its_events_what_it_would_at_the_door() -> None:
    body = {
        "sentAt": "2024-05-01T10:01:00Z",
        "receivedAt": "2024-05-01T10:02:00Z",
        "batch": [PAST, {**PAST, "userId": None}],
    }
    call = read_past(body, NOW)
    assert [one["time"] for one in call.events] == ["2024-05-01T10:01:00.000Z"]
    assert [one.place for one in call.refused] == [1]


KEYS = st.sampled_from(
    ["batch", "type", "userId", "anonymousId", "previousId", "groupId", "messageId", "event", "name", "category",
     "properties", "traits", "context", "timestamp", "originalTimestamp", "sentAt", "x"]
)  # fmt: skip
TIMES = st.datetimes().map(lambda at: at.isoformat()) | st.sampled_from(
    ["2026-11-22T04:00:00Z", "0001-01-01T00:00+14:00"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.sampled_from(TYPES) | TIMES
)  # fmt: skip
BODIES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=8), max_leaves=30
)


@given(BODIES, st.none() | st.sampled_from(TYPES))
@example({"batch": [{"type": "track", "userId": 10**5000, "event": "e"}]}, None)
@example({"type": "track", "userId": float("nan"), "event": "e"}, None)
def test_no_body_however_odd_raises_and_every_event_fits_its_schema(body: Any, kind: str | None) -> None:
    call = read_call(kind, body, NOW, numbered())
    count = len(body["batch"]) if kind is None and isinstance(body, dict) and isinstance(body.get("batch"), list) else 1
    assert len(call.events) + len(call.refused) == count
    if kind is None:
        assert {one["message_id"] for one in read_past(body, NOW).events} <= {one["message_id"] for one in call.events}
    for one in call.events:
        ProductEvent.model_validate_json(exactjson.dumps(one))
        assert one["user_id"] or one["anonymous_id"]
        assert one["time"] <= "2026-11-23T05:00:00.000Z"
    json.dumps([(refused.place, refused.reason) for refused in call.refused])
