import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from integration.core.budget import (
    DAY,
    PAUSE_SECONDS,
    SLOW_FROM,
    Sample,
    Trouble,
    Usage,
    calls_per_thousand,
    forecast,
    hourly_rate,
    pace,
    pause_after,
    remember,
    spare_calls,
    typical_calls,
)

usages = st.builds(Usage, used=st.integers(0, 10**7), total=st.integers(0, 10**7))
percents = st.integers(1, 100)
intervals = st.floats(0.5, 86_400)
calls = st.floats(0, 10_000)


# --- pace ---


def test_a_large_org_with_little_use_is_polled_as_asked():
    assert pace(Usage(5_000, 1_000_000), 70, 10, 3) == pace(None, 70, 10, 3)
    found = pace(Usage(5_000, 1_000_000), 70, 10, 3)
    assert (found.interval_seconds, found.paused, found.reason) == (10, False, None)


def test_up_to_half_of_the_budget_polling_is_as_fast_as_asked():
    assert pace(Usage(5_250, 15_000), 70, 2, 3) == pace(None, 70, 2, 3)


def test_a_developer_edition_org_is_not_emptied_by_a_ten_second_beat():
    found = pace(Usage(8_400, 15_000), 70, 10, 3)
    assert found.interval_seconds == pytest.approx(24.7, abs=0.1)
    assert DAY / found.interval_seconds * 3 <= 10_500 + 1e-6
    assert found.reason == (
        "3 calls every 10 s would be 25,920 a day, more than the 10,500 that salesforce.api_budget_percent allows"
    )


@pytest.mark.parametrize(
    ("used", "seconds"),
    [(0, 10), (559_999, 10), (560_000, 10), (595_000, 17.8), (630_000, 31.6), (665_000, 56.2), (699_999, 100)],
)
def test_from_eighty_percent_of_the_budget_on_it_slows_down_smoothly(used, seconds):
    found = pace(Usage(used, 1_000_000), 70, 10, 3)
    assert found.interval_seconds == pytest.approx(seconds, abs=0.1)
    assert not found.paused
    assert (found.reason is not None) == (used > 560_000)


def test_a_slow_beat_is_slowed_to_ten_minutes_at_most():
    assert pace(Usage(699_999, 1_000_000), 70, 120, 3).interval_seconds == 600
    assert pace(Usage(699_999, 1_000_000), 70, 3_600, 3).interval_seconds == 3_600  # never faster than asked


@pytest.mark.parametrize("used", [700_000, 700_001, 1_000_000, 1_200_000])
def test_at_the_whole_budget_it_pauses_and_says_so(used):
    found = pace(Usage(used, 1_000_000), 70, 10, 3)
    assert (found.paused, found.interval_seconds) == (True, 600)
    assert found.reason == (
        f"the org has used {used:,} of its 1,000,000 API calls of the last 24 hours, and "
        "salesforce.api_budget_percent allows 700,000 (70 %)"
    )


@given(usages, st.integers(0, 10**6), percents, intervals, calls)
@example(Usage(79, 100), 1, 100, 10.0, 0.0)
@example(Usage(99, 100), 1, 100, 10.0, 0.0)
def test_the_more_is_used_the_slower_it_goes(usage, more, percent, interval, cost):
    before, after = (
        pace(usage, percent, interval, cost),
        pace(Usage(usage.used + more, usage.total), percent, interval, cost),
    )
    assert after.interval_seconds >= before.interval_seconds
    assert after.paused >= before.paused


@given(usages, percents, intervals, calls, calls)
def test_dearer_cycles_come_no_faster(usage, percent, interval, cost, more):
    assert (
        pace(usage, percent, interval, cost + more).interval_seconds
        >= pace(usage, percent, interval, cost).interval_seconds
    )


@given(st.none() | usages, percents, intervals, calls)
@example(Usage(5, 0), 70, 10.0, 3.0)
def test_it_is_never_faster_than_asked_and_gives_a_reason_for_being_slower(usage, percent, interval, cost):
    found = pace(usage, percent, interval, cost)
    assert found.interval_seconds >= interval
    assert math.isfinite(found.interval_seconds)
    if found.interval_seconds > interval or found.paused:
        assert found.reason
        assert "\n" not in found.reason


@given(usages.filter(lambda u: u.total > 0), percents, intervals, calls)
def test_when_the_budget_runs_short_a_day_at_that_pace_fits_into_it(usage, percent, interval, cost):
    found = pace(usage, percent, interval, cost)
    if not found.paused and usage.spent(percent) >= SLOW_FROM:
        assert DAY / found.interval_seconds * cost <= usage.budget(percent) * (1 + 1e-9)
    assert found.paused == (usage.used >= usage.budget(percent))


@given(usages.filter(lambda u: u.total > 0), percents, intervals, st.floats(0, 50))
def test_slowing_down_has_no_jumps(usage, percent, interval, cost):
    """One call more never makes the beat more than a seventh slower, where the budget is a thousand calls or more."""
    if usage.budget(percent) >= 1_000 and usage.used + 1 < usage.budget(percent):
        before, after = (
            pace(Usage(used, usage.total), percent, interval, cost) for used in (usage.used, usage.used + 1)
        )
        assert after.interval_seconds <= before.interval_seconds * 1.13


def test_when_others_use_the_calls_up_only_a_knock_every_ten_minutes_is_left():
    """Somebody else makes a call every second and a half; a day is played through."""
    used = own = own_beyond = now = 0.0
    while now < DAY:
        found = pace(Usage(int(used), 60_000), 50, 10, 3)
        cost = 1 if found.paused else 3
        own += cost
        own_beyond += cost if used >= 30_000 else 0
        used += cost + found.interval_seconds / 1.5
        now += found.interval_seconds
    assert own_beyond <= DAY / PAUSE_SECONDS
    assert 3 * DAY / 100 < own < 10_000  # it was polled, and slower in the end than every ten seconds


# --- forecast ---


def test_the_forecast_tells_the_day_the_share_and_the_end():
    found = forecast(Usage(4_500, 15_000), 70, 30, 2, 1_000)
    assert found.calls_a_day == 5_760
    assert found.share == pytest.approx(0.384)
    assert found.budget_reached_in == pytest.approx(6 * 3600)


@pytest.mark.parametrize("growth", [None, 0.0, -500.0, 249.0])
def test_a_budget_that_is_not_reached_within_a_day_is_never_reached(growth):
    # After a day all calls of today have dropped out of the count again.
    assert forecast(Usage(4_500, 15_000), 70, 30, 2, growth).budget_reached_in is None


def test_a_budget_that_is_reached_is_reached_now():
    assert forecast(Usage(10_500, 15_000), 70, 30, 2, None).budget_reached_in == 0


def test_without_knowing_the_use_only_the_calls_are_told():
    found = forecast(None, 70, 30, 2)
    assert (found.calls_a_day, found.share, found.budget_reached_in) == (5_760, None, None)


@given(st.none() | usages, percents, intervals, calls, st.none() | st.floats(-1e6, 1e6))
def test_a_forecast_is_never_negative_nor_later_than_a_day(usage, percent, interval, cost, growth):
    found = forecast(usage, percent, interval, cost, growth)
    assert found.calls_a_day >= 0
    assert found.share is None or found.share >= 0
    assert found.budget_reached_in is None or 0 <= found.budget_reached_in <= DAY * (1 + 1e-9)


def test_the_rate_is_that_of_the_last_hour():
    samples = ()
    for minute in range(180):
        # an hour of 10 calls a minute, then two of one call a minute
        samples = remember(samples, minute * 60.0, min(minute, 60) * 10 + max(minute - 60, 0))
    assert hourly_rate(samples) == pytest.approx(60)
    assert len(samples) <= 62


def test_the_first_minutes_make_no_rate():
    assert hourly_rate(()) is None
    assert hourly_rate(remember((), 5.0, 100)) is None
    assert hourly_rate((Sample(5.0, 100), Sample(604.0, 200))) is None
    assert hourly_rate((Sample(5.0, 100), Sample(605.0, 200))) == 600


@given(st.lists(st.tuples(st.floats(0.1, 4_000), st.integers(0, 100_000)), max_size=300))
def test_samples_are_few_in_order_and_no_older_than_needed(steps):
    samples, now = (), 0.0
    for seconds, used in steps:
        now += seconds
        samples = remember(samples, now, used)
        assert samples[-1] == Sample(now, used)
    assert len(samples) <= 63
    assert [s.at for s in samples] == sorted(s.at for s in samples)
    assert sum(s.at <= now - 3600 for s in samples) <= 1


# --- what a cycle costs ---


def test_a_first_sync_does_not_slow_the_beat_that_follows():
    assert typical_calls([]) == 5
    assert typical_calls([1_000]) == 5
    assert typical_calls([1_000, 2]) == 2
    assert typical_calls([1_000, 2, 2, 2, 2, 2, 2, 2, 2, 2]) == pytest.approx(3.8)
    assert typical_calls([2] * 27 + [12] * 3) == 3


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_a_typical_cost_lies_among_the_costs(costs):
    assert 0 <= typical_calls(costs) <= max(costs)


def test_work_that_can_wait_gets_half_of_what_is_left_and_nothing_when_polling_slows_down():
    assert spare_calls(Usage(0, 100_000), 70, 60, 2) == pytest.approx((70_000 / 1440 - 2) / 2)
    assert spare_calls(Usage(0, 15_000), 70, 10, 2) == 1  # a day of it would not fit, but there is plenty as yet
    assert spare_calls(Usage(6_000, 15_000), 70, 10, 2) == 0
    assert spare_calls(Usage(57_000, 100_000), 70, 60, 2) == 0
    assert spare_calls(None, 70, 60, 2) == 0


@given(usages, percents, intervals, calls)
def test_polling_and_work_that_can_wait_fit_into_the_budget_together(usage, percent, interval, cost):
    spare = spare_calls(usage, percent, interval, cost)
    assert spare >= 0
    if spare:
        assert usage.spent(percent) < SLOW_FROM
    if spare > 1:
        assert (cost + spare) * DAY / interval <= usage.budget(percent) * (1 + 1e-9)


def test_the_price_is_counted_by_a_thousand_changes():
    assert calls_per_thousand(12, 4_000) == 3
    assert calls_per_thousand(12, 0) is None


# --- after trouble ---


def test_used_up_calls_are_left_alone_for_ten_minutes():
    assert pause_after(Trouble.DAILY_LIMIT, 1, 10, lambda: 0.5) == 600


def test_a_busy_org_is_left_alone_for_about_half_a_minute():
    assert pause_after(Trouble.BUSY, 1, 10, lambda: 0.5) == 30
    assert {round(pause_after(Trouble.BUSY, 1, 10, lambda r=r: r)) for r in (0, 1)} == {22, 38}


def test_silence_is_met_with_growing_patience_up_to_a_minute():
    assert [pause_after(Trouble.UNREACHABLE, n, 2, lambda: 1.0) for n in range(1, 7)] == [10, 20, 40, 60, 60, 60]


@given(st.sampled_from(Trouble), st.integers(0, 10**6), intervals, st.floats(0, 1))
def test_trouble_never_makes_the_beat_faster_nor_the_wait_endless(trouble, attempts, interval, chance):
    seconds = pause_after(trouble, attempts, interval, lambda: chance)
    assert interval <= seconds <= max(interval, PAUSE_SECONDS)


@given(st.sampled_from(Trouble), st.integers(1, 50), intervals, st.floats(0, 1))
def test_patience_does_not_shrink(trouble, attempts, interval, chance):
    assert pause_after(trouble, attempts + 1, interval, lambda: chance) >= pause_after(
        trouble, attempts, interval, lambda: chance
    )
