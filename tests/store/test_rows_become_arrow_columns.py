from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.store.arrow import misfits, to_table
from integration.store.protocol import Column, ColumnType, Misfit


def column_of(kind: ColumnType, *values: Any) -> Any:
    return to_table([Column("c", kind)], [{"c": value} for value in values], table="t")["c"]


def test_values_are_found_under_the_source_key_and_missing_ones_are_null() -> None:
    columns = [Column("id", ColumnType.TEXT, source="Id"), Column("n", ColumnType.INTEGER)]
    found = to_table(columns, [{"Id": "a", "n": 1, "more": 2}, {}])
    assert found.to_pydict() == {"id": ["a", None], "n": [1, None]}


@pytest.mark.parametrize("kind", list(ColumnType))
def test_a_column_without_any_value_keeps_its_type(kind: ColumnType) -> None:
    empty, full = column_of(kind, None, None), column_of(kind)
    assert empty.type == full.type
    assert empty.null_count == 2


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2024-01-22T16:26:15.000+0000", datetime(2024, 1, 22, 16, 26, 15, tzinfo=UTC)),
        ("2024-01-22T16:26:15Z", datetime(2024, 1, 22, 16, 26, 15, tzinfo=UTC)),
        ("2024-01-22T16:26:15.123456Z", datetime(2024, 1, 22, 16, 26, 15, 123456, tzinfo=UTC)),
        ("2024-01-22T16:26:15.123456789Z", datetime(2024, 1, 22, 16, 26, 15, 123456, tzinfo=UTC)),
        ("2024-01-22T16:26:15+02:00", datetime(2024, 1, 22, 14, 26, 15, tzinfo=UTC)),
        ("2024-01-22T16:26:15.5-0730", datetime(2024, 1, 22, 23, 56, 15, 500_000, tzinfo=UTC)),
        ("1700-01-01T00:00:00.000+0000", datetime(1700, 1, 1, tzinfo=UTC)),
        (datetime(2024, 1, 22, tzinfo=UTC), datetime(2024, 1, 22, tzinfo=UTC)),
    ],
)
def test_times_of_every_form_are_one_point_in_time(stamp: Any, expected: datetime) -> None:
    alone = column_of(ColumnType.TIMESTAMP, stamp)
    assert alone.type == pa.timestamp("us", "UTC")
    assert alone.to_pylist() == [expected]
    # Beside one that only the slow way reads, and beside nothing.
    assert column_of(ColumnType.TIMESTAMP, stamp, None, "2024-01-01T00:00:00.0000001Z")[0].as_py() == expected


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (ColumnType.INTEGER, 1.5, "a number with a fraction instead of a whole number"),
        (ColumnType.INTEGER, "1", "text instead of a whole number"),
        (ColumnType.INTEGER, True, "true or false instead of a whole number"),
        (ColumnType.INTEGER, 2**63, "a whole number beyond 64 bits"),
        (ColumnType.DECIMAL, "1", "text instead of a number"),
        (ColumnType.DECIMAL, False, "true or false instead of a number"),
        (ColumnType.DECIMAL, float("nan"), "not-a-number or infinity instead of a number"),
        (ColumnType.DECIMAL, 1e300, "a number that needs more than 38 digits"),
        (ColumnType.DECIMAL, [1], "a list instead of a number"),
        (ColumnType.BOOLEAN, "true", "text instead of true or false"),
        (ColumnType.BOOLEAN, 1, "a number instead of true or false"),
        (ColumnType.BOOLEAN, {"a": 1}, "an object instead of true or false"),
        (ColumnType.DATE, "2024-02-30", "text that is no date (YYYY-MM-DD)"),
        (ColumnType.DATE, "20240229", "text that is no date (YYYY-MM-DD)"),
        (ColumnType.DATE, 20240229, "a number instead of a date"),
        (ColumnType.TIMESTAMP, "2024-01-01", "a time without an offset from UTC"),
        (ColumnType.TIMESTAMP, "yesterday", "text that is no time (ISO 8601)"),
        (ColumnType.TIMESTAMP, 1, "a number instead of a time"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_row_and_what_it_is(kind: ColumnType, value: Any, reason: str) -> None:
    with pytest.raises(Misfit) as caught:
        column_of(kind, None, value, None, value)
    assert (caught.value.table, caught.value.column, caught.value.rows) == ("t", "c", (1, 3))
    assert caught.value.reason == reason
    assert misfits([Column("a", ColumnType.TEXT), Column("c", kind)], {"a": 1, "c": value}) == [f"c: {reason}"]
    assert misfits([Column("c", kind)], {}) == []


def test_bytes_that_are_not_utf8_and_half_characters_are_kept_escaped() -> None:
    assert column_of(ColumnType.BYTES_AS_TEXT, b"a\xff", "é".encode()).to_pylist() == ["a\\xff", "é"]
    assert column_of(ColumnType.TEXT, "\ud800x").to_pylist() == ["\\ud800x"]


def test_json_may_come_as_bytes_text_or_value() -> None:
    assert column_of(ColumnType.JSON, b'{"a":1}', "[1]").to_pylist() == ['{"a":1}', "[1]"]
    assert column_of(ColumnType.JSON, {"a": Decimal("1.10")}, [1]).to_pylist() == ['{"a":1.10}', "[1]"]
    assert misfits([Column("c", ColumnType.JSON)], {"c": b"{"}) == ["c: text that is not JSON"]


def test_dates_may_be_dates() -> None:
    assert column_of(ColumnType.DATE, date(2024, 2, 29), "2024-03-01").to_pylist() == [
        date(2024, 2, 29),
        date(2024, 3, 1),
    ]


_NUMBERS = st.one_of(
    st.none(),
    st.integers(-(10**15), 10**15),
    st.floats(-1e12, 1e12, allow_nan=False).filter(lambda f: f == 0 or abs(f) > 1e-6),
    st.decimals(-(10**14), 10**14, places=6),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_NUMBERS, max_size=8))
def test_no_number_is_ever_rounded(numbers: list[Any]) -> None:
    # 38 digits are the limit: numbers that have no room beside the others are turned away, all others are exact.
    kept = [n for place, n in enumerate(numbers) if place not in _turned_away(numbers)]
    exact = [Decimal(repr(n)) if isinstance(n, float) else n for n in kept]
    assert column_of(ColumnType.DECIMAL, *kept).to_pylist() == exact
    assert len(kept) >= min(len(numbers), 1)


def _turned_away(numbers: list[Any]) -> tuple[int, ...]:
    try:
        column_of(ColumnType.DECIMAL, *numbers)
    except Misfit as misfit:
        return misfit.rows
    return ()
