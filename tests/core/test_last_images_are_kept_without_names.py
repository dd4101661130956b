"""A state is its record's values, and a layout their names: together they are the image again, and less is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core import exactjson
from integration.core.image import Image
from integration.core.state import layout_of, pack, unpack

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = SCALARS | st.dictionaries(TEXT, SCALARS, max_size=3) | st.lists(SCALARS, max_size=3)
FIELDS = st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True), VALUES, max_size=8)
RECORD = "003000000000001AAA"


def image(fields: dict[str, object]) -> Image:
    return Image(
        "Contact", RECORD, "2026-02-01T10:00:00Z", False, fields, "abc", "poll", "2026-02-01T10:00:05Z",
        f"org:Contact:{RECORD}:2026-02-01T10:00:00Z", "org", b"{}",
    )  # fmt: skip


@given(FIELDS.map(exactjson.dumps))
def test_a_packed_image_is_unpacked_as_it_was(capture: bytes) -> None:
    fields = exactjson.loads(capture)
    names = tuple(fields)
    layout = layout_of(names)
    again = unpack(pack(image(fields), layout), {layout: names})
    assert again == image(fields)._replace(payload=b"")
    assert list(again.fields) == list(fields)


def test_money_keeps_every_digit() -> None:
    fields = {"Id": RECORD, "Amount": Decimal("12345678901234567.89")}
    assert unpack(pack(image(fields), "a"), {"a": ("Id", "Amount")}).fields == fields


def test_a_layout_is_its_names_in_their_order() -> None:
    assert layout_of(("Id", "Name")) == layout_of(("Id", "Name")) != layout_of(("Name", "Id"))


def test_no_name_of_a_field_is_in_a_packed_image() -> None:
    packed = pack(image({"Title": "CEO"}), layout_of(("Title",)))
    assert b"CEO" in packed
    assert b"Title" not in packed


def test_a_state_from_before_there_were_layouts_is_read() -> None:
    capture = {
        "id": "x", "org": "org", "object": "Contact", "record_id": RECORD, "system_modstamp": "2026-02-01T10:00:00Z",
        "is_deleted": False, "fields": {"Id": RECORD, "Title": "CEO"}, "schema_id": "abc", "origin": "poll",
        "seen_at": "2026-02-01T10:00:05Z",
    }  # fmt: skip
    assert unpack(exactjson.dumps(capture), {}).fields == {"Id": RECORD, "Title": "CEO"}


@pytest.mark.parametrize(
    "payload",
    [pack(image({"Title": "CEO"}), "gone"), pack(image({"Title": "CEO", "Fax": "1"}), "one"), b"[]", b'["one"]'],
)
def test_values_whose_names_are_not_known_are_refused_without_being_told(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the names of its fields are not in headrace\.layouts$"):
        unpack(payload, {"one": ("Title",)})
