from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.sandbox.clock import VirtualClock, from_stamp, stamp
from integration.sandbox.ids import number_of, record_id, to18


def test_a_virtual_clock_moves_only_when_told():
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.now()
    clock.advance(90)
    assert clock.now() == datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)
    clock.set(datetime(2027, 5, 5, tzinfo=UTC))
    assert clock.now() == datetime(2027, 5, 5, tzinfo=UTC)


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="aware"):
        VirtualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


def test_stamps_have_whole_seconds_and_salesforces_form():
    assert stamp(datetime(2024, 1, 22, 16, 26, 15, 999_999, tzinfo=UTC)) == "2024-01-22T16:26:15.000+0000"
    assert from_stamp("2024-01-22T16:26:15.000+0000") == datetime(2024, 1, 22, 16, 26, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("short", "full"),
    [("001D000000IqhSL", "001D000000IqhSLIAZ"), ("005000000000000", "005000000000000AAA")],
)
def test_the_three_check_characters_follow_the_capitals(short, full):
    assert to18(short) == full
    assert to18(full) == full


@pytest.mark.parametrize("text", ["", "001", "001D000000Iqh L", "001D000000IqhSLI"])
def test_what_is_not_an_id_is_refused(text):
    with pytest.raises(ValueError, match="not a record id"):
        to18(text)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_ids_sort_by_number_and_give_the_number_back(a, b):
    first, second = record_id("003", a), record_id("003", b)
    assert (first < second) == (a < b)
    assert number_of(first) == a
    assert len(first) == 18
