"""How a backfill is cut up: windows that miss and double nothing, the way that is chosen, what it costs."""

from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core.chunks import Course, Sizes, Way, calls, choose, cut

SIZES = Sizes()


def stamp(second: int) -> str:
    return f"2024-01-22T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"


def counted(stamps: list[str], window) -> int:
    low, high = window
    begin = 0 if low is None else bisect_left(stamps, low)
    end = len(stamps) if high is None else bisect_left(stamps, high)
    return max(end - begin, 0)


@given(
    seconds=st.lists(st.one_of(st.integers(0, 86_399), st.sampled_from([7, 4_000, 4_001])), min_size=1, max_size=300),
    size=st.integers(1, 40),
)
def test_windows_hold_every_row_once_and_none_is_too_large_unless_it_is_one_second(seconds, size):
    stamps = sorted(map(stamp, seconds))
    asked = []

    def count(windows):
        asked.extend(windows)
        return [counted(stamps, window) for window in windows]

    windows = cut((stamps[0], stamps[-1]), len(stamps), size, count)
    assert (windows[0][0], windows[-1][1]) == (None, None)
    assert all(before[1] == after[0] for before, after in pairwise(windows))
    assert sum(counted(stamps, window) for window in windows) == len(stamps)
    for window in windows:
        mine = [s for s in stamps if (window[0] or "") <= s < (window[1] or "9")]
        assert len(mine) <= 1.5 * size or len(set(mine)) == 1
    assert len(asked) <= 60 * 20


def test_small_neighbours_become_one_window():
    stamps = [stamp(second) for second in range(0, 86_400, 60)]
    windows = cut((stamps[0], stamps[-1]), len(stamps), 500, lambda ws: [counted(stamps, w) for w in ws])
    assert len(windows) == 3


def test_windows_that_can_not_be_counted_are_taken_as_they_are():
    windows = cut((stamp(0), stamp(4_000)), 1_000, 100, lambda ws: [None for _ in ws])
    assert len(windows) == 10


@pytest.mark.parametrize(
    ("rows", "asked", "refused", "way", "word"),
    [
        (19_999, None, None, Way.REST, "fewer than 20,000"),
        (20_000, None, None, Way.BULK, "20,000 rows or more"),
        (None, None, None, Way.BULK, "counted"),
        (20_000, None, "it is odd", Way.REST, "it is odd"),
        (10, None, "it is odd", Way.REST, "fewer"),
        (10, Way.BULK, None, Way.BULK, "as asked"),
        (10, Way.BULK, "it is odd", Way.REST, "it is odd"),
        (10**7, Way.REST, None, Way.REST, "as asked"),
    ],
)
def test_the_way_follows_from_the_rows_unless_bulk_is_refused_or_somebody_wants_another(
    rows, asked, refused, way, word
):
    choice = choose(rows, asked, refused, SIZES)
    assert choice.way is way
    assert word in choice.reason


def test_a_course_is_read_as_it_was_written_and_nothing_else_is_taken_for_one():
    course = Course(
        "Contact", "backfill-1", Way.BULK, "-7d", "2024-01-22T00:00:00Z", Way.BULK, "as asked",
        windows=[(None, stamp(1)), (stamp(1), None)], chunk=1, job_id="750", locator="x", total=5, rows=3,
        newest=(stamp(1), "003"),
    )  # fmt: skip
    assert Course.from_json(course.to_json()) == course
    for text in (b"", b"{}", b"[1]", b'{"object":"A","run_id":"b","way":"fax"}', b'{"object":"A"}'):
        assert Course.from_json(text) is None


def test_calls_are_counted_for_what_is_left():
    course = Course("Contact", "r", Way.REST, total=4_000)
    assert calls(course, SIZES) == 3
    course.rows = 2_500
    assert calls(course, SIZES) == 1
    course.turn_to(Way.BULK, "because")
    assert calls(course, SIZES) == 8 + 1
    course.total = None
    assert calls(course, SIZES) is None


def test_the_newest_row_is_the_one_with_the_latest_stamp_and_then_the_greatest_id():
    course = Course("Contact", "r", Way.REST)
    course.reached([])
    assert course.newest is None
    course.reached([("2024-01-22T00:00:15Z", "b"), ("2024-01-22T00:00:15.5Z", "a"), ("2024-01-22T00:00:15Z", "c")])
    course.reached([("2024-01-22T00:00:15Z", "d")])
    assert course.newest == ("2024-01-22T00:00:15.5Z", "a")
