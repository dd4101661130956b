"""Times as people type them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core.times import parse_duration, parse_time

NOW = datetime(2026, 11, 22, 5, 30, 15, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
        ("2026-11-20T05:00", "2026-11-20T05:00:00+00:00"),
        ("2026-11-20 05:00:07", "2026-11-20T05:00:07+00:00"),
        ("2026-11-20T05:00:00Z", "2026-11-20T05:00:00+00:00"),
        ("2026-11-20t05:00:00.5z", "2026-11-20T05:00:00.500000+00:00"),
        ("2026-11-20T05:00:00+02:00", "2026-11-20T03:00:00+00:00"),
        ("2026-11-20T05:00:00.000+0000", "2026-11-20T05:00:00+00:00"),
        ("now", "2026-11-22T05:30:15.250000+00:00"),
        ("today", "2026-11-22T00:00:00+00:00"),
        (" Yesterday ", "2026-11-21T00:00:00+00:00"),
        ("-7d", "2026-11-15T05:30:15.250000+00:00"),
        ("-2h", "2026-11-22T03:30:15.250000+00:00"),
        ("-30m", "2026-11-22T05:00:15.250000+00:00"),
        ("-15S", "2026-11-22T05:30:00.250000+00:00"),
        ("-2w", "2026-11-08T05:30:15.250000+00:00"),
    ],
)
def test_a_time_is_understood(text: str, expected: str) -> None:
    assert parse_time(text, NOW).isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "7d", "-7", "-d", "-7y", "--7d", "-\u0667d", "2026-13-01", "2026-11-20T25:00", "tomorrow"),
        *("-99999999999d", "-" + "9" * 5000 + "d", "0001-01-01T00:00:00+14:00", "\x00"),
    ],
)
def test_what_is_no_time_gets_a_sentence_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time: write one such as 2026-11-22, .*-7d.*yesterday\.$"):
        parse_time(text, NOW)


def test_days_are_those_of_utc_wherever_the_clock_is() -> None:
    in_auckland = NOW.astimezone(timezone(timedelta(hours=13)))
    assert parse_time("today", in_auckland) == datetime(2026, 11, 22, tzinfo=UTC)


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=ZONES))  # noqa: DTZ001
def test_every_iso_time_is_itself_in_utc(moment: datetime) -> None:
    assert parse_time(moment.isoformat(), NOW) == moment
    assert parse_time(moment.isoformat(), NOW).tzinfo is UTC


@given(st.text())
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        assert parse_time(text, NOW).tzinfo is UTC
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("5m", 300), ("2H", 7200), (" 1d ", 86400), ("1w", 604800), ("90", 90), ("0", 0)]
)
def test_a_length_of_time_is_understood(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "-5m", "1.5h", "5 m", "1y", "99999999999999d", "9" * 5000])
def test_what_is_no_length_of_time_gets_a_sentence_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a length of time: write one such as 60s, 5m, 2h or 1d\.$"):
        parse_duration(text)
