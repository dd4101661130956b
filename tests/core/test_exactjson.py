from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core import exactjson

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**18), max_value=10**18)


@given(DECIMALS)
def test_a_number_survives_reading_and_writing_digit_for_digit(value: Decimal) -> None:
    read = exactjson.loads(b'{"Amount":' + format(value, "f").encode() + b',"Name":"x"}')

    assert exactjson.number(read["Amount"]) == value
    assert exactjson.number(exactjson.loads(exactjson.dumps(read))["Amount"]) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_every_json_value_comes_back_as_it_was(value: object) -> None:
    assert exactjson.loads(exactjson.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.395e8, "139500000"), (0.1, "0.1"), (1e-7, "0.0000001"), (12, "12"), (Decimal("10.50"), "10.5"), (-0.0, "0")],
)
def test_numbers_are_shown_in_plain_decimals(value: float, expected: str) -> None:
    assert exactjson.plain(value) == expected


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":NaN}', b'{"a":1234567890123456.7,"b":NaN}', b"\xff"])
def test_what_is_not_json_is_refused_with_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each reader words it its own way
        exactjson.loads(text)
