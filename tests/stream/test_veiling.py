"""What is shown of an entry without showing what is personal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.stream.veil import VEIL, veiled, veiled_subject

ID = "0035g0000000032AAA"
ENTRY: dict[str, Any] = {
    "specversion": "1.0",
    "id": f"00D5g0000000001EAA:Contact:{ID}:2026-11-22T08:52:53Z:5eed",
    "type": "com.salesforce.contact.updated.v1",
    "source": "/salesforce/00D5g0000000001EAA",
    "subject": f"Contact/{ID}",
    "time": "2026-11-22T08:52:53Z",
    "origin": "poll",
    "seenat": "2026-11-22T09:23:10Z",
    "datacontenttype": "application/json",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "data": {
        "id": f"00D5g0000000001EAA:Contact:{ID}:2026-11-22T08:52:53Z",
        "org": "00D5g0000000001EAA",
        "object": "Contact",
        "record_id": ID,
        "system_modstamp": "2026-11-22T08:52:53Z",
        "is_deleted": False,
        "schema_id": "8afbbc5f7dff7aaf",
        "origin": "poll",
        "seen_at": "2026-11-22T09:23:10Z",
        "fields": {},
    },
}


def test_what_headrace_wrote_about_the_record_stays() -> None:
    assert veiled(ENTRY) == ENTRY


def test_of_a_record_only_ids_times_booleans_and_null_stay() -> None:
    stays = {"Id": ID, "CreatedDate": "2026-01-02T03:04:05.000+0000", "HasOptedOut": True, "Fax": None}
    goes = {
        "Name": "Jane Doe",
        "Email": "jane@example.com",
        "Birthdate": "1980-01-02",
        "Amount": 12.5,
        "Phone": 491234,
        "Word": "internationalizati",  # 18 letters, and no id
        "id": ENTRY["id"],
        "origin": "poll",
        "object": "Contact",
        "type": "com.salesforce.contact.updated.v1",
    }
    shown = veiled(ENTRY | {"data": ENTRY["data"] | {"fields": stays | goes}})["data"]["fields"]
    assert shown == stays | dict.fromkeys(goes, VEIL)
    nested = {"fields": {"Address": {"city": "Berlin", "object": "Contact"}, "Tags": ["a", None, {"org": "Doe"}]}}
    assert veiled(nested) == {
        "fields": {"Address": {"city": VEIL, "object": VEIL}, "Tags": [VEIL, None, {"org": VEIL}]}
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject", "Contact/jane@example.com"),
        ("subject", "Jane Doe"),
        ("id", "jane@example.com"),
        ("id", f"00D:Jane Doe:{ID}:2026-11-22T08:52:53Z"),
        ("object", "Jane Doe"),
        ("origin", "Jane"),
        ("type", "Jane"),
        ("source", "jane@example.com"),
        ("time", "Jane"),
        ("data", "nonsense"),
        ("whatever", "Jane"),
        ("deliveries", 3),
    ],
)
def test_a_strangers_entry_is_veiled_under_our_names_too(name: str, value: Any) -> None:
    assert veiled({name: value}) == {name: VEIL}


def test_names_that_can_be_no_fields_are_veiled_and_none_is_lost() -> None:
    assert veiled({"jane@example.com": 1, "Jane Doe": None, "Name": "x"}) == {
        VEIL: VEIL,
        f"{VEIL}1": None,
        "Name": VEIL,
    }


def test_a_subject_shows_only_what_can_be_a_record() -> None:
    assert veiled_subject(f"Contact/{ID}") == f"Contact/{ID}"
    assert veiled_subject("Contact/jane@example.com") == VEIL
    assert veiled_subject(None) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values, st.sampled_from(["data", "fields", "x"]))
def test_no_word_gets_through_and_the_form_stays(value: Any, name: str) -> None:
    marked = json.loads(json.dumps({name: value, "note": "Secret Word"}).replace('"note"', '"Secret Word"'))
    shown = veiled(marked)
    assert "Secret" not in json.dumps(shown)
    assert len(shown) == len(marked)
