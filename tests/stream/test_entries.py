"""What an entry looks like on the stream, and to a person."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from faststream.redis.parser.binary import BinaryMessageFormatV1
from hypothesis import given
from hypothesis import strategies as st

from integration.core import exactjson
from integration.stream.entry import EntryView, describe_entry, to_entry
from schemas import Capture

CaptureMaker = Callable[..., dict[str, Any]]


def as_bytes(entry: dict[str, bytes | str]) -> dict[bytes, bytes]:
    return {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in entry.items()}


def as_cloud_event(entry: dict[str, bytes | str]) -> CloudEvent:
    document = {k: v for k, v in entry.items() if k != "data"} | {"data": json.loads(entry["data"])}
    event = JSONFormat().read(CloudEvent, json.dumps(document))
    assert isinstance(event, CloudEvent)
    return event


def kind(capture: dict[str, Any]) -> str:
    return str(to_entry(capture)["type"])


def test_the_cloudevents_sdk_accepts_every_kind_of_entry(make_capture: CaptureMaker) -> None:
    for changes in (
        {},
        {"is_deleted": True, "fields": None},
        {"origin": "backfill"},
        {"object": "cbit__Clearbit__c"},
    ):
        capture = make_capture(**changes)
        event = as_cloud_event(to_entry(capture))
        assert event.get_id() == capture["id"]
        assert event.get_source() == "/salesforce/00D000000000001AAA"
        assert event.get_subject() == f"{capture['object']}/{capture['record_id']}"
        assert event.get_attributes()["origin"] == capture["origin"]
        assert event.get_attributes()["seenat"] == "2026-11-22T06:00:00Z"
        assert event.get_time().isoformat() == "2026-11-22T05:00:01+00:00"  # type: ignore[union-attr]


def test_the_judge_would_refuse_a_bad_attribute_name(make_capture: CaptureMaker) -> None:
    with pytest.raises(CloudEventValidationError):
        as_cloud_event(to_entry(make_capture()) | {"seen_at": "now"})


def test_the_type_tells_what_happened(make_capture: CaptureMaker) -> None:
    assert kind(make_capture()) == "com.salesforce.contact.updated.v1"
    assert kind(make_capture(is_deleted=True)) == "com.salesforce.contact.deleted.v1"
    assert kind(make_capture(fields=None, is_deleted=True)) == "com.salesforce.contact.deleted.v1"
    assert kind(make_capture(origin="backfill")) == "com.salesforce.contact.snapshot.v1"
    assert kind(make_capture(object="cbit__Clearbit__c")) == "com.salesforce.cbit__clearbit__c.updated.v1"


@pytest.mark.parametrize(
    ("created", "verb"),
    [
        ("2026-11-22T05:00:01.000+0000", "created"),
        ("2026-11-22T05:00:01.999+0000", "created"),
        ("2026-11-22T07:00:01.000+0200", "created"),
        ("2026-11-22T05:00:01Z", "created"),
        ("2026-11-22T05:00:02.000+0000", "updated"),
        ("2026-11-22T05:00:01.000+0200", "updated"),
        ("yesterday", "updated"),
        (None, "updated"),
        (7, "updated"),
    ],
)
def test_a_record_is_created_when_its_version_is_its_creation(
    make_capture: CaptureMaker, created: object, verb: str
) -> None:
    assert kind(make_capture(1, fields={"CreatedDate": created})) == f"com.salesforce.contact.{verb}.v1"


def test_the_data_of_an_entry_is_the_capture_digit_for_digit(make_capture: CaptureMaker) -> None:
    capture = make_capture(fields={"Amount": Decimal("12345678901234567.89"), "Name": "Åsa \U0001f33e"})
    data = to_entry(capture)["data"]
    assert b"12345678901234567.89" in bytes(data)  # type: ignore[arg-type]
    assert exactjson.loads(data) == capture
    Capture.model_validate(exactjson.loads(to_entry(make_capture())["data"]))


def test_an_entry_of_ours_is_shown_with_its_capture(make_capture: CaptureMaker) -> None:
    capture = make_capture()
    view = describe_entry(as_bytes(to_entry(capture)), stream="crm.contact", offset="1795323942655-0")
    assert view.ours
    assert view.data == capture
    assert (view.type, view.origin) == ("com.salesforce.contact.updated.v1", "poll")
    assert view.subject == f"Contact/{capture['record_id']}"
    assert (view.at, view.note) == ("2026-11-22T05:05:42.655Z", "")


def envelope(body: object, headers: dict[str, Any] | None = None) -> dict[bytes, bytes]:
    encoded = BinaryMessageFormatV1.encode(
        message=body,
        reply_to=None,
        headers=headers,
        correlation_id="c",
    )
    return {b"__data__": asyncio.run(encoded)}


def test_faststream_envelopes_are_opened(make_capture: CaptureMaker) -> None:
    view = describe_entry(envelope({"event": "Sign Up"}))
    assert view.data == {"event": "Sign Up"}
    assert not view.ours
    assert "FastStream" in view.note
    assert describe_entry(envelope("a few words")).data == "a few words"


def test_a_header_that_faststream_itself_misreads_does_not_hide_the_body() -> None:
    fields = envelope({"a": 1}, {"name": "Åsa", "next": "x"})
    assert BinaryMessageFormatV1.parse(fields[b"__data__"])[1] == {}, "FastStream reads it well now: simplify"
    assert describe_entry(fields).data == {"a": 1}


def test_json_in_the_envelope_field_is_read_too() -> None:
    assert describe_entry({b"__data__": b'{"a": 1}'}).data == {"a": 1}
    assert describe_entry({b"__data__": b'{"data": "{\\"a\\": 1}", "headers": {}}'}).data == {"a": 1}
    assert describe_entry({b"__data__": b"\x89BIN\r\n\x1a\n\x00"}).note.endswith("cut short")


def test_a_stranger_is_shown_as_not_ours() -> None:
    view = describe_entry({b"Id": b"003", b"Blob": b"\xff\x00"})
    assert (view.ours, view.data) == (False, None)
    assert view.raw == {"Id": "003", "Blob": "\\xff\x00"}
    assert view.note.startswith("not ours: no field specversion")


def test_an_entry_whose_data_is_broken_is_not_ours(make_capture: CaptureMaker) -> None:
    fields = as_bytes(to_entry(make_capture()))
    for broken in (b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b"[1e99999999999999999999999]", b""):
        view = describe_entry(fields | {b"data": broken})
        assert not view.ours
        assert view.note == "not ours: data is not a JSON object"


_ODD_NAMES = st.sampled_from(
    [b"__data__", b"specversion", b"id", b"type", b"source", b"data", b"stream", b"offset", b"reason", b"entry"]
)
_ODD_VALUES = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=20).map(lambda tail: b"\x89BIN\r\n\x1a\n" + tail),
    st.text(max_size=10).map(lambda text: json.dumps({"data": text, "headers": {}}).encode()),
)


@given(st.dictionaries(st.one_of(st.binary(max_size=8), _ODD_NAMES), _ODD_VALUES), st.text(max_size=30))
def test_describing_never_raises(fields: dict[bytes, bytes], offset: str) -> None:
    assert isinstance(describe_entry(fields, offset=offset), EntryView)


@given(_ODD_VALUES, _ODD_VALUES)
def test_describing_a_well_named_but_odd_entry_never_raises(data: bytes, other: bytes) -> None:
    ours = dict.fromkeys((b"specversion", b"id", b"type", b"source"), other)
    dead = dict.fromkeys((b"stream", b"offset", b"reason"), other)
    for fields in (ours | {b"data": data}, dead | {b"entry": data}, {b"__data__": data}):
        assert isinstance(describe_entry(fields), EntryView)
