from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core import exactjson, traits
from integration.core.traits import Told

FIXED = ("user_id", "email", "is_deleted")
TIMES = st.integers(0, 3).map(lambda second: f"2026-01-01T00:00:0{second}.000Z")
VALUES = st.sampled_from([None, "free", "pro", 1, True, 0.5, ["a"], {}, {"name": "Acme"}, {"name": None, "id": 7}])
TOLD = st.dictionaries(st.sampled_from(["plan", "Plan", "company", "company.name", "💥"]), st.tuples(TIMES, VALUES))


def nothing(_trait: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("trait", "column"),
    [
        ("companyName", "company_name"),
        ("Plan", "plan"),
        ("company.name", "company_name"),
        ("First Name", "first_name"),
        ("user_id", "user_id_trait"),
        ("userId", "user_id_trait"),
        ("Email", "email_trait"),
        ("sfdc_contact_title", "sfdc_contact_title_trait"),
        ("ctid", "ctid_trait"),
        ("Select", "select"),
        ("2fa", "trait_2fa"),
        ("x" * 63, "x" * 63),
        ("x" * 64, None),
        ("sfdc_" + "x" * 53, None),
        ("💥", None),
        ("💥.name", None),
        ("", None),
        ("a\x00b", None),
    ],
)
def test_columns_are_named_like_views_and_never_like_another_column(trait: str, column: str | None) -> None:
    assert traits.column_name(trait, FIXED) == column


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("free", "free"),
        ("", ""),
        ("null", "null"),
        (None, None),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        (1.50, "1.5"),
        (1e-7, "0.0000001"),
        (1.395e8, "139500000"),
        (Decimal("1234567890123456.780"), "1234567890123456.78"),
        (2**70, str(2**70)),
        (["a", 1, None], '["a",1,null]'),
        ({"city": "Bern"}, '{"city":"Bern"}'),
        ("x" * 4_096, "x" * 4_096),
        ("x" * 4_097, None),
        ("a\x00b", None),
        (["a\x00b"], None),
        ({"a": ["\x00"]}, None),
    ],
)
def test_values_are_text_in_one_form(value: Any, text: str | None) -> None:
    assert traits.text(value) == text


def test_only_the_first_level_of_an_object_is_taken_apart() -> None:
    company = {"name": "Acme", "address": {"city": "Bern"}, "tags": ["a"]}
    assert dict(traits.parts("company", company)) == {
        "company.name": "Acme",
        "company.address": {"city": "Bern"},
        "company.tags": ["a"],
    }
    assert dict(traits.parts("tags", [company])) == {"tags": [company]}
    assert dict(traits.parts("company", {})) == dict(traits.parts("email", "ann@example.com")) == {}


@given(st.dictionaries(st.sampled_from(["u1", "u2", "a1"]), TOLD, max_size=3), st.randoms(use_true_random=False))
def test_the_last_value_of_every_column_is_the_one_a_slow_reading_finds(by_id: dict[str, Any], luck: Any) -> None:
    """The oracle walks through the tellings in their order and lets each one overwrite what was there."""
    tellings = sorted(
        (at, exactjson.dumps(value), name, product_id, value)
        for product_id, told in by_id.items()
        for name, (at, value) in told.items()
        if name != "💥"
    )
    last = {name: (at, value) for at, _, name, _, value in tellings}
    cells = []
    for name, (at, value) in last.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        cells += [(at, exactjson.dumps(one), name if key is None else f"{name}.{key}", one) for key, one in inner]
    # What is called `company.name` may be an object as well.
    row = {name.lower().replace(".", "_"): one for _, _, name, one in sorted(cells, key=lambda cell: cell[:3])}
    expected = {name: traits.text(one) for name, one in row.items() if one is not None}

    shuffled = list(by_id.items())
    luck.shuffle(shuffled)
    shown = traits.shown(dict(shuffled), row, FIXED, nothing)
    assert shown.values == expected
    assert shown.at == max((at for told in by_id.values() for at, _ in told.values()), default="")


def test_only_columns_that_there_are_show() -> None:
    told = {"u1": {"plan": ("2026-01-01T00:00:00.000Z", "free"), "seats": ("2026-01-02T00:00:00.000Z", 3)}}
    assert traits.shown(told, {"plan"}, FIXED, nothing) == ({"plan": "free"}, "2026-01-02T00:00:00.000Z")
    assert traits.shown(told, (), FIXED, nothing) == ({}, "2026-01-02T00:00:00.000Z")
    assert traits.shown({}, {"plan"}, FIXED, nothing) == ({}, "")


def test_what_the_settings_leave_out_is_as_if_it_was_never_told() -> None:
    told = {"plan": "free", "company": {"name": "Acme", "id": 7}, "salary": 1}
    left_out = {"salary", "company.name"}.__contains__
    assert traits.without(told, left_out) == {"plan": "free", "company": {"id": 7}}
    at = "2026-01-01T00:00:00.000Z"
    by_id = {"u1": {name: (at, value) for name, value in told.items()}}
    found = traits.by_column(traits.told_last(by_id, left_out), FIXED, left_out)
    assert found == {"plan": Told(at, "free", "u1", "plan"), "company_id": Told(at, 7, "u1", "company.id")}
