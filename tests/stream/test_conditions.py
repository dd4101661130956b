"""What --where means."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core import exactjson
from integration.stream.conditions import Filter, holds, parse_condition
from integration.stream.entry import to_entry

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RECORD = {
    "Id": "0035g0000000001AAA",
    "StageName": "Closed Won",
    "Amount": Decimal("1200.50"),
    "IsClosed": True,
    "LeadSource": None,
    "CloseDate": "2026-11-20",
    "CreatedDate": "2026-01-02T03:04:05.000+0000",
    "Type": "Customer",
}


def entry(fields: Mapping[str, Any] | None = None, **changes: Any) -> dict[bytes, bytes]:
    capture = {
        "id": "00D:Contact:0035g0000000001AAA:2026-11-22T08:00:00Z",
        "org": "00D",
        "object": "Contact",
        "record_id": "0035g0000000001AAA",
        "system_modstamp": "2026-11-22T08:00:00Z",
        "is_deleted": False,
        "fields": RECORD if fields is None else fields,
        "schema_id": "5eed",
        "origin": "poll",
        "seen_at": "2026-11-22T08:00:10Z",
    } | changes
    return as_bytes(to_entry(capture))


def as_bytes(fields: Mapping[str, bytes | str]) -> dict[bytes, bytes]:
    return {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in fields.items()}


def letter(fields: Mapping[bytes, bytes], reason: str = "Amount is no number.") -> dict[bytes, bytes]:
    kept = {k.decode(): v.decode() for k, v in fields.items()}
    return as_bytes(
        {"stream": "crm.contact", "offset": "17-0", "reason": reason, "deliveries": "3", "entry": exactjson.dumps(kept)}
    )


def takes(fields: Mapping[bytes, bytes], *conditions: str, type_glob: str | None = None) -> bool:
    return Filter([parse_condition(one, NOW) for one in conditions], type_glob).takes(fields)


@pytest.mark.parametrize(
    "condition",
    [
        "StageName=Closed Won",
        "StageName=Closed*",
        "StageName=*Won",
        "StageName=C*d W*n",
        "StageName!=Prospecting",
        "StageName!=Open*",
        "StageName~=closed",
        "StageName ~=WON",
        "fields.StageName=Closed Won",
        "data.fields.StageName=Closed Won",
        "Amount=1200.5",
        "Amount=1200.500",
        "Amount=1.2005e3",
        "Amount!=1200",
        "Amount>1200",
        "Amount>=1200.50",
        "Amount<1200.51",
        "Amount <= 1200.5",
        "Amount~=200.5",
        "Amount=12*",
        "IsClosed=true",
        "LeadSource=null",
        "LeadSource!=Web",
        "CloseDate=2026-11-20",
        "CloseDate>2026-11-19",
        "CloseDate>-7d",
        "CloseDate<yesterday",
        "CreatedDate>=2026-01-02T03:04:05Z",
        "CreatedDate<2026-01-02T05:00:00+01:00",
        "time>-5h",
        "origin=poll",
        "subject=Contact/003*",
        "subject=Contact/0035g0000000001AAA",
        "type=com.salesforce.contact.updated.v1",
        "Type=Customer",
        "is_deleted=false",
        "data.is_deleted=false",
        "object=Contact",
    ],
)
def test_an_entry_of_ours_fulfils(condition: str) -> None:
    assert takes(entry(), condition)


@pytest.mark.parametrize(
    "condition",
    [
        "StageName=closed won",
        "StageName=Closed",
        "StageName=*Closed",
        "StageName!=Closed Won",
        "StageName!=*Won",
        "StageName~=lost",
        "StageName=",
        "StageName>5",
        "StageName>2026-01-01",
        "Nothing=null",
        "Nothing!=Closed Won",
        "Nothing~=",
        "Amount=1200",
        "Amount>1200.5",
        "Amount<2026-11-22",
        "IsClosed>0",
        "LeadSource>0",
        "CreatedDate>2026-01-02T03:04:05Z",
        "CloseDate>2026-11-20",
        "time>-3h",
        "origin=sweep",
        "subject=Account/*",
        "Type=com.salesforce.contact.updated.v1",
        "fields=*no such text*",
        "data.nothing.StageName=Closed Won",
        "StageName.deeper=Closed Won",
    ],
)
def test_an_entry_of_ours_does_not_fulfil(condition: str) -> None:
    assert not takes(entry(), condition)


def test_conditions_add_up() -> None:
    assert takes(entry(), "StageName=Closed Won", "Amount>1000", "subject=Contact/*", type_glob="contact.updated")
    assert not takes(entry(), "StageName=Closed Won", "Amount>2000", "subject=Contact/*")
    assert not takes(entry(), "StageName=Closed Won", type_glob="*.deleted")


@pytest.mark.parametrize("glob", ["contact.*", "*.updated", "Contact.Updated", "*.updated.v1", "com.none.*|*"])
def test_a_type_is_compared_with_and_without_its_version(glob: str) -> None:
    assert takes(entry(), type_glob=glob) is ("none" not in glob)


def test_an_entry_without_fields_of_a_record_fulfils_nothing_about_them() -> None:
    gone = entry(is_deleted=True) | {b"data": exactjson.dumps({"fields": None, "is_deleted": True})}
    assert takes(gone, "is_deleted=true")
    assert not takes(gone, "StageName!=Closed Won")


def test_fields_of_foreign_entries_can_be_asked_for() -> None:
    foreign = as_bytes(
        {"event": "Sign Up", "amount": "12.50", "user.mail": "x@example.com", "payload": '{"a":{"b":7}}'}
    )
    assert takes(foreign, "event=Sign*", "amount>12", "user.mail~=EXAMPLE", "payload.a.b=7")
    assert not takes(foreign, "amount=12.5")  # it is text there
    assert not takes(foreign, "payload.a=7")
    assert takes(foreign, 'payload.a={"b":7}')
    assert not takes({b"\xff": b"\xfe"}, "event=Sign Up")
    assert takes({b"raw": b"\xfe"}, "raw=\\xfe")


def test_the_body_of_a_faststream_message_can_be_asked_for() -> None:
    assert takes({b"__data__": b'{"userId": "u1", "traits": {"plan": "free"}}'}, "userId=u1", "traits.plan=free")


def test_dead_letters_are_found_by_what_was_given_up_and_why() -> None:
    given_up = letter(entry())
    assert takes(given_up, "reason~=no number", "deliveries>=3", "StageName=Closed Won", "subject=Contact/*")
    assert takes(given_up, "origin=poll", type_glob="contact.*")
    assert not takes(given_up, "reason~=column")
    assert not takes(given_up, "StageName=Prospecting")
    assert not takes(as_bytes({"entry": "[]", "reason": "x"}), "StageName=Prospecting")
    assert takes(letter(as_bytes({"data": "nonsense"})), "data=nonsense")


def test_what_no_entry_has_is_known_afterwards() -> None:
    wanted = Filter([parse_condition(one, NOW) for one in ("StageNam=Closed Won", "origin=poll")])
    assert not wanted.takes(entry())
    assert not wanted.takes(entry(origin="sweep"))
    assert (wanted.unmet, wanted.looked_at) == (["StageNam"], 2)
    spared = Filter([parse_condition(one, NOW) for one in ("origin=backfill", "Whatever=1")])
    assert not spared.takes(entry())
    assert spared.unmet == []  # nobody had to look for it


def test_json_is_read_only_when_a_condition_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    real = exactjson.loads

    def counted(content: bytes | str) -> Any:
        read.append(content)
        return real(content)

    monkeypatch.setattr(exactjson, "loads", counted)
    assert not takes(entry(), "StageName=Closed Won", "subject=Account/*", type_glob="contact.*")
    assert not takes(entry(), "StageName=Closed Won", type_glob="account.*")
    assert takes(entry(), "origin=poll", "time>-1d")
    assert read == []
    assert takes(entry(), "StageName=Closed Won", "Amount>5")
    assert len(read) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("StageName", "is no condition: write FIELD=VALUE, or another"),
        ("=Won", "is no condition: write FIELD=VALUE, or another"),
        ("", "^'' is no condition: write FIELD=VALUE, or another"),
        (">5", "is no condition: write FIELD=VALUE, or another"),
        ("Amount>much", "'much' is neither; write e.g. Amount>1000"),
        ("Amount>", "'' is neither"),
        ("Amount<=nan", "'nan' is neither"),
    ],
)
def test_what_is_no_condition_gets_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_condition(text, NOW)


def test_broken_and_monstrous_entries_are_harmless() -> None:
    assert not takes({b"data": b"[" * 100_000}, "a=b")
    assert not takes({}, "a=b")
    huge = b'{"fields": {"N": 10000000000000000000.5E+999999999}}'
    assert takes({b"data": huge}, "N>5")
    assert not takes({b"data": huge}, "N~=77")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.binary(), st.binary()),
    json_values,
    st.text(min_size=1),
    st.text(),
    st.sampled_from(["=", "!=", "~="]),
)
def test_no_entry_and_no_condition_raises(raw: dict[bytes, bytes], data: Any, name: str, value: str, sign: str) -> None:
    try:
        condition = parse_condition(f"{name}{sign}{value}", NOW)
    except ValueError:
        return
    for fields in (raw, raw | {b"data": json.dumps(data).encode()}, letter({}) | raw):
        assert Filter([condition]).takes(fields) in (True, False)


@given(st.text(), st.text())
def test_equal_and_unequal_are_opposites_and_a_text_equals_itself(value: str, wanted: str) -> None:
    same, other = parse_condition(f"a={wanted}", NOW), parse_condition(f"a!={wanted}", NOW)
    assert holds(same, value) is not holds(other, value)
    assert holds(parse_condition(f"a={value}", NOW), value)
    assert holds(parse_condition(f"a~={value.upper()}", NOW), value.upper())


@given(st.lists(st.text(alphabet="ab", max_size=3), min_size=2, max_size=5), st.text(alphabet="ab", max_size=8))
def test_an_asterisk_stands_for_any_characters(parts: list[str], value: str) -> None:
    import re

    expected = re.fullmatch(".*".join(parts), value) is not None
    assert holds(parse_condition(f"a={'*'.join(parts)}", NOW), value) is expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4), st.integers(-(10**9), 10**9))
def test_numbers_compare_as_numbers(value: Decimal, bound: int) -> None:
    for sign, expected in ((">", value > bound), (">=", value >= bound), ("<", value < bound), ("<=", value <= bound)):
        assert holds(parse_condition(f"a{sign}{bound}", NOW), value) is expected
        assert holds(parse_condition(f"a{sign}{bound}", NOW), f"{value:f}") is expected
    assert holds(parse_condition(f"a={bound}", NOW), value) is (value == bound)
