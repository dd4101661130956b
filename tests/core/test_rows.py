"""Rows of a table as Segment calls."""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from integration.core import rows
from integration.core.rows import FIELDS, call, field_of, layout


def read(row: dict[str, Any], named: dict[str, str] | None = None, **defaults: Any) -> dict[str, Any]:
    return call(layout(list(row), named or {}), list(row.values()), defaults)


@pytest.mark.parametrize("letters", ["userId", "user_id", "USERID", "User Id", "user-id", "userID"])
def test_fields_are_found_in_whatever_letters(letters: str) -> None:
    assert field_of(letters) == "userId"
    assert read({letters: "u1"}) == {"userId": "u1"}


def test_every_field_of_a_call_is_known_by_its_own_name() -> None:
    assert [field_of(name) for name in FIELDS] == list(FIELDS)
    assert field_of("plan") is None


def test_other_columns_are_properties_and_of_people_traits() -> None:
    row = {"type": "track", "event": "Sign Up", "plan": "pro", "seats": 3, "gone": None}
    assert read(row)["properties"] == {"plan": "pro", "seats": 3}
    assert read({**row, "type": "identify"})["traits"] == {"plan": "pro", "seats": 3}
    assert read({"plan": "pro"}, type="group") == {"type": "group", "traits": {"plan": "pro"}}


def test_a_name_is_a_property_of_all_but_pages_and_screens() -> None:
    assert read({"type": "page", "name": "Pricing", "category": "Docs"}) == {
        "type": "page", "name": "Pricing", "category": "Docs",
    }  # fmt: skip
    assert read({"type": "track", "name": "Bea", "category": "x"})["properties"] == {"name": "Bea", "category": "x"}
    assert read({"type": "identify", "name": "Bea"})["traits"] == {"name": "Bea"}


def test_what_stands_around_an_event_goes_into_its_context() -> None:
    assert read(
        {
            "utm_source": "ad", "utm_campaign": "spring", "utm_id": "7", "referrer": "https://example.com/",
            "page_url": "https://example.org/p", "page_path": "/p", "context_page_title": "P", "context_ip": "10.0.0.1",
            "context_user_agent": "x", "context_campaign_medium": "cpc", "context_traits_first_name": "Bea",
            "context_device_advertising_id": "d", "context": '{"locale": "de", "campaign": {"name": "own"}}',
        }
    )["context"] == {
        "campaign": {"name": "own", "source": "ad", "id": "7", "medium": "cpc"}, "locale": "de", "ip": "10.0.0.1", "userAgent": "x",
        "page": {"referrer": "https://example.com/", "url": "https://example.org/p", "path": "/p", "title": "P"},
        "traits": {"first_name": "Bea"}, "device": {"advertisingId": "d"},
    }  # fmt: skip
    assert read({"utm_source": "ad", "utm_campaign": "spring"})["context"] == {
        "campaign": {"source": "ad", "name": "spring"}
    }


def test_json_in_a_cell_goes_before_the_columns_beside_it() -> None:
    row = {"event": "e", "properties": '{"plan": "pro", "price": 12345678901234567.89}', "plan": "old", "x": "1"}
    assert read(row)["properties"] == {"plan": "pro", "price": Decimal("12345678901234567.89"), "x": "1"}
    assert read({"properties": {"a": 1}})["properties"] == {"a": 1}
    # What is no object is left as it is, for whoever reads the call to refuse it.
    assert read({"properties": "pro", "plan": "x"})["properties"] == "pro"
    assert read({"properties": "[1]", "plan": "x"})["properties"] == [1]


@pytest.mark.parametrize("nothing", ["null", " null ", None, "", float("nan")])
def test_a_cell_that_holds_null_takes_nothing_from_the_columns_beside_it(nothing: Any) -> None:
    row = {"event": "e", "properties": nothing or None, "context": nothing or None, "plan": "pro", "utm_source": "ad"}
    assert read(row) == {"event": "e", "properties": {"plan": "pro"}, "context": {"campaign": {"source": "ad"}}}
    assert read({"traits": nothing or None, "plan": "pro"}, type="identify")["traits"] == {"plan": "pro"}


def test_a_context_as_json_and_columns_of_it_are_one() -> None:
    row = {
        "context": '{"campaign": {"name": "own", "term": null}, "page": {"title": "T"}, "screen": null, "locale": "de"}',
        "utm_source": "ad", "utm_campaign": "other", "utm_term": "x", "page_url": "https://example.org/p",
        "context_screen_width": 7,
    }  # fmt: skip
    assert read(row)["context"] == {
        "campaign": {"name": "own", "term": "x", "source": "ad"}, "locale": "de", "screen": {"width": 7},
        "page": {"title": "T", "url": "https://example.org/p"},
    }  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
def test_columns_that_contradict_each_other_refuse_the_row(turned: bool) -> None:
    for row, words in (
        ({"context_page": "p", "context_page_url": "u"}, "tell context.page both as an object and as a single value"),
        ({"context_campaign": "c", "utm_source": "ad"}, "tell context.campaign both"),
        ({"context": '{"page": "p"}', "page_url": "u"}, "tell context.page both"),
        ({"context": '{"page": {"url": {}}}', "page_url": "u"}, "tell context.page.url both"),
        ({"utm_source": "ad", "context_campaign_source": "mail"}, "Two of its columns tell context.campaign.source"),
    ):
        told = dict(reversed(row.items())) if turned else row
        with pytest.raises(ValueError, match=words):
            read(told)
        # Where only one of them holds something there is no doubt.
        for name in row:
            assert read({**told, name: None})["context"]
    same = {"utm_source": "ad", "context_campaign_source": "ad", "context_campaign": {"name": "n", "source": None}}
    told = dict(reversed(same.items())) if turned else same
    assert read(told)["context"] == {"campaign": {"source": "ad", "name": "n"}}


def test_a_value_that_no_event_can_hold_is_told_by_its_column() -> None:
    for value, words in (
        (timedelta(1), "a length of time"),
        ([b"x"], "bytes"),
        (rows.UNREADABLE, "what can't be read"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "what can't be read"),
    ):
        with pytest.raises(ValueError, match=f"Its column odd holds {words}"):
            read({"event": "e", "odd": value})


def test_a_column_can_be_named_for_a_field() -> None:
    row = {"event": "sign_up", "event_text": "Sign Up", "uid": "u1"}
    assert read(row, {"event": "event_text", "userId": "uid"}) == {
        "event": "Sign Up", "userId": "u1", "properties": {"event": "sign_up"},
    }  # fmt: skip


def test_what_a_row_does_not_tell_is_taken_from_the_defaults() -> None:
    assert read({"event": None, "userId": "u"}, type="track", event="Sign Up") == {
        "type": "track", "event": "Sign Up", "userId": "u",
    }  # fmt: skip
    assert read({"type": "page", "userId": "u"}, type="track")["type"] == "page"


def test_values_become_what_json_has() -> None:
    at = datetime(2024, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    row = {
        "timestamp": at, "naive": at.replace(microsecond=250, tzinfo=None), "day": date(2024, 2, 29), "none": float("nan"),
        "amount": Decimal("1.10"), "many": [at, {"day": date(2024, 1, 1)}], "yes": True,
    }  # fmt: skip
    found = read(row)
    assert found["timestamp"] == "2024-01-31T10:00:00Z"
    assert found["properties"] == {
        "naive": "2024-01-31T12:00:00.000250Z", "day": "2024-02-29", "amount": Decimal("1.10"), "yes": True,
        "many": ["2024-01-31T10:00:00Z", {"day": "2024-01-01"}],
    }  # fmt: skip


def test_columns_that_leave_a_doubt_are_refused() -> None:
    for columns, named, words in (
        (["userId", "user_id"], {}, "userId and user_id are both userId"),
        (["plan", "plan"], {}, "more than one column plan"),
        (["event"], {"userId": "uid"}, "no column uid for userId; its columns are event"),
    ):
        with pytest.raises(ValueError, match=words):
            layout(columns, named)
    assert layout(["userId", "user_id"], {"userId": "user_id"}).fields == {"userId": 1}


def test_a_column_without_a_name_is_called_by_its_place() -> None:
    assert read({"": "7", "event": "e"})["properties"] == {"column_1": "7"}


def test_defaults_hold_for_each_call_of_a_batch() -> None:
    assert rows.with_defaults({"batch": [{"event": "e"}, {"type": "page"}, 7]}, {"type": "track"}) == {
        "batch": [{"type": "track", "event": "e"}, {"type": "page"}, 7]
    }
    assert rows.with_defaults({"userId": "u"}, {"type": "track"}) == {"type": "track", "userId": "u"}
    assert rows.with_defaults({"batch": 7}, {"type": "track"}) == {"batch": 7}
    assert rows.with_defaults([1], {"type": "track"}) == [1]
