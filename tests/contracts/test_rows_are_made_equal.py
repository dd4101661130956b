"""A store brings the rows under some keys to what they should be, and writes only those that are not."""

from typing import Any

import pytest

from integration.core.columns import Column, ColumnType
from integration.store.protocol import Store

COLUMNS = (
    Column("id", ColumnType.TEXT),
    Column("field", ColumnType.TEXT),
    Column("amount", ColumnType.DECIMAL),
    Column("at", ColumnType.TIMESTAMP),
    Column("properties", ColumnType.JSON),
)


def row(key: str, field: str | None = "a", amount: Any = 1.5, at: str | None = "2026-01-02T03:04:05Z") -> Any:
    return {"id": key, "field": field, "amount": amount, "at": at, "properties": '{"x":1}'}


ROWS = [row("1"), row("1", "b"), row("2", None, None, None), row("3")]


@pytest.fixture
def filled(store: Store) -> Store:
    with store.transaction() as tx:
        tx.ensure_columns("told", COLUMNS)
        tx.append("told", COLUMNS, ROWS)
    return store


def told(store: Store) -> list[Any]:
    with store.reading() as reading:
        return reading.rows("SELECT * FROM told ORDER BY id, field, amount")


def plain(one: Any) -> Any:
    return (one["id"], str(one["field"]), str(one["at"]), float(one["amount"] or 0), one["properties"].replace(" ", ""))


CASES = {
    "as they are": ("123", ROWS, set()),
    "another value": ("123", [row("1"), row("1", "c"), *ROWS[2:]], {"1"}),
    "null instead of a value": ("123", [*ROWS[:3], row("3", None)], {"3"}),
    "a value instead of null": ("123", [*ROWS[:2], row("2"), ROWS[3]], {"2"}),
    "more digits": ("123", [*ROWS[:3], row("3", amount=1.2345)], {"3"}),
    "one more under a key": ("123", [*ROWS, row("3", "z")], {"3"}),
    "one less under a key": ("123", ROWS[1:], {"1"}),
    "none under a key": ("123", ROWS[:3], {"3"}),
    "a new key": ("1234", [*ROWS, row("4")], {"4"}),
    "some keys only": ("3", [row("3", "z")], {"3"}),
    "no key": ("", [], set()),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_of_keys_become_exactly_these(case: str, filled: Store) -> None:
    keys, wanted, differing = CASES[case]
    others = [r for r in told(filled) if r["id"] not in keys]

    with filled.transaction() as tx:
        assert tx.differing("told", "id", keys, COLUMNS, wanted) == differing
        assert tx.make_equal("told", "id", keys, COLUMNS, wanted) == differing
        assert tx.make_equal("told", "id", keys, COLUMNS, wanted) == set()

    assert sorted(map(plain, told(filled))) == sorted(map(plain, [*others, *wanted]))


@pytest.mark.parametrize("case", CASES)
def test_rows_of_keys_become_exactly_what_a_statement_gives(case: str, filled: Store) -> None:
    keys, wanted, differing = CASES[case]
    with filled.transaction() as tx:
        tx.ensure_columns("wanted", COLUMNS)
        tx.append("wanted", COLUMNS, wanted)
    others = [r for r in told(filled) if r["id"] not in keys]

    with filled.transaction() as tx:
        statement = 'SELECT properties, "at", id, field, amount FROM wanted WHERE id = any(?)', [[*keys]]
        assert tx.work_out("told", "id", keys, COLUMNS, *statement) == differing
        assert tx.work_out("told", "id", keys, COLUMNS, *statement) == set()

    assert sorted(map(plain, told(filled))) == sorted(map(plain, [*others, *wanted]))


def test_a_row_that_stands_twice_is_one_again(filled: Store) -> None:
    with filled.transaction() as tx:
        tx.append("told", COLUMNS, [ROWS[3], ROWS[3]])
        assert tx.make_equal("told", "id", ["3"], COLUMNS, [ROWS[3]]) == {"3"}

    assert len([one for one in told(filled) if one["id"] == "3"]) == 1


def test_a_table_that_is_empty_takes_them_all(store: Store) -> None:
    with store.transaction() as tx:
        tx.ensure_columns("told", COLUMNS)
        assert tx.make_equal("told", "id", "123", COLUMNS, ROWS) == {"1", "2", "3"}

    assert len(told(store)) == len(ROWS)
