import json
from decimal import Decimal
from typing import Any

import pytest

from integration.core import exactjson
from integration.core.columns import Column, ColumnType
from integration.store import arrow
from integration.store.answers import as_table, columns, plain_rows, rows
from integration.store.duckdb.store import DuckDBStore
from integration.store.protocol import Misfit


@pytest.mark.parametrize(
    ("sql", "value", "kind"),
    [
        ("1.50::DECIMAL(18, 2)", Decimal("1.50"), "DECIMAL(18,2)"),
        ("sum(1)", 1, "HUGEINT"),
        ("1.5::DOUBLE", 1.5, "DOUBLE"),
        ("'nan'::DOUBLE", None, "DOUBLE"),
        ("'-inf'::FLOAT", None, "FLOAT"),
        ("true", True, "BOOLEAN"),
        ("NULL", None, '"NULL"'),
        ("'null'", "null", "VARCHAR"),
        ("'2024-01-22 16:26:15+00'::TIMESTAMPTZ", "2024-01-22T16:26:15Z", "TIMESTAMP WITH TIME ZONE"),
        ("'2024-01-22 16:26:15.120+01'::TIMESTAMPTZ", "2024-01-22T15:26:15.12Z", "TIMESTAMP WITH TIME ZONE"),
        ("'2024-01-22 16:26:15'::TIMESTAMP", "2024-01-22T16:26:15", "TIMESTAMP"),
        ("'290000-01-01 00:00:00+00'::TIMESTAMPTZ", None, "TIMESTAMP WITH TIME ZONE"),
        ("'9999-12-31 23:59:59.999999+00'::TIMESTAMPTZ", "9999-12-31T23:59:59.999999Z", "TIMESTAMP WITH TIME ZONE"),
        ("'0001-01-01'::TIMESTAMP", "0001-01-01T00:00:00", "TIMESTAMP"),
        ("'12000-01-01'::DATE", None, "DATE"),
        ("['infinity'::TIMESTAMPTZ]", None, "TIMESTAMP WITH TIME ZONE[]"),
        ("'infinity'::TIMESTAMPTZ", None, "TIMESTAMP WITH TIME ZONE"),
        ("'2024-02-29'::DATE", "2024-02-29", "DATE"),
        ("'-infinity'::DATE", None, "DATE"),
        ("'10:00:00'::TIME", "10:00:00", "TIME"),
        ("INTERVAL 1 DAY", "1 day", "INTERVAL"),
        ("123456789012345678901234567890123456789012::BIGNUM", "123456789012345678901234567890123456789012", "BIGNUM"),
        ("'\\xFFa'::BLOB", "\\xffa", "BLOB"),
        ("'{\"a\": [1, 12345678901234567.89]}'::JSON", {"a": [1, Decimal("12345678901234567.89")]}, "JSON"),
        ("'null'::JSON", None, "JSON"),
        ("[1.5, NULL]::DECIMAL(4, 1)[]", [Decimal("1.5"), None], "DECIMAL(4,1)[]"),
        (
            "{'day': DATE '2024-02-29', 'n': 'nan'::DOUBLE}",
            {"day": "2024-02-29", "n": None},
            'STRUCT("day" DATE, n DOUBLE)',
        ),
        ("MAP {1: 'a'}", {"1": "a"}, "MAP(INTEGER, VARCHAR)"),
        ("['2024-01-22 16:26:15+00'::TIMESTAMPTZ]", ["2024-01-22T16:26:15Z"], "TIMESTAMP WITH TIME ZONE[]"),
    ],
)
def test_every_type_has_a_plain_form_and_a_name(store: DuckDBStore, sql: str, value: Any, kind: str) -> None:
    table = store.query(f"SELECT {sql} AS x")
    assert rows(table) == [{"x": value}]
    assert columns(table) == [{"name": "x", "type": kind}]
    exactjson.dumps(rows(table))


def test_money_is_written_digit_for_digit(store: DuckDBStore) -> None:
    table = store.query(
        "SELECT 12345678901234567.89::DECIMAL(38, 2) AS a, 0.10::DECIMAL(18, 2) AS b, 1e-7::DECIMAL(18, 7) AS c"
    )
    assert exactjson.dumps(rows(table)) == b'[{"a":12345678901234567.89,"b":0.10,"c":0.0000001}]'


def test_columns_of_the_same_name_are_both_shown(store: DuckDBStore) -> None:
    table = store.query("SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a, INTERVAL 1 DAY AS a")
    names = [column["name"] for column in columns(table)]
    assert len(set(names)) == 5
    assert list(rows(table)[0].values())[:4] == [1, 2, 3, 4]
    assert list(rows(table)[0]) == names


def test_plain_rows_keep_json_as_text(store: DuckDBStore) -> None:
    assert plain_rows(store.query("SELECT '{\"a\":1.10}'::JSON AS j")) == [{"j": '{"a":1.10}'}]


def test_an_answer_without_rows_has_its_columns(store: DuckDBStore) -> None:
    table = store.query("SELECT 1 AS a, 'x' AS b WHERE false")
    assert rows(table) == []
    assert json.dumps(columns(table)) == '[{"name": "a", "type": "INTEGER"}, {"name": "b", "type": "VARCHAR"}]'


@pytest.mark.parametrize("kind", ColumnType)
@pytest.mark.parametrize(
    "value",
    [
        "NULL",
        "'text'",
        "'2024-02-29'",
        "'[1.50]'::JSON",
        "'\\xFFa'::BLOB",
        "true",
        "7::INTEGER",
        "9223372036854775807",
        "9223372036854775808::HUGEINT",
        "12345678901234567890123456789012345678::HUGEINT",
        "1.50::DECIMAL(18, 2)",
        "2.00::DECIMAL(18, 2)",
        "1.23456::DECIMAL(38, 5)",
        "12345678901234567890.12::DECIMAL(38, 2)",
        "0.1::DOUBLE",
        "'inf'::DOUBLE",
        "'2024-02-29'::DATE",
        "'12000-01-01'::DATE",
        "'infinity'::DATE",
        "'2024-01-22 16:26:15.120+01'::TIMESTAMPTZ",
        "'290000-01-01 00:00:00+00'::TIMESTAMPTZ",
        "'2024-01-22 16:26:15'::TIMESTAMP",
        "['a', NULL]",
        "{'a': 1}",
        "INTERVAL 1 DAY",
    ],
)
def test_an_answer_is_written_as_its_plain_values_would_be(value: str, kind: ColumnType, store: DuckDBStore) -> None:
    wanted = [Column("v", kind), Column("n", ColumnType.INTEGER)]
    found = store.query(f"SELECT n, CASE WHEN n <> 1 THEN {value} END AS v FROM range(3) AS r(n)")

    def outcome(make: Any) -> Any:
        try:
            made = make()
        except Misfit as misfit:
            return misfit.table, misfit.column, list(misfit.rows), misfit.reason
        return made.schema, made.to_pylist()

    assert outcome(lambda: as_table(wanted, found, table="t")) == outcome(
        lambda: arrow.to_table(wanted, plain_rows(found), table="t")
    )
