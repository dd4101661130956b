import time
from decimal import Decimal
from typing import Any

import pytest
from postgres import Cluster, name_of

from integration.core import exactjson
from integration.errors import HeadraceError, RunError, UsageError
from integration.store.answers import columns, plain_rows, rows
from integration.store.postgres.store import PostgresStore
from integration.store.tables import USERS

PEOPLE = [{"user_id": f"u{i}", "email": f"u{i}@example.com", "is_deleted": False} for i in range(5)]


@pytest.fixture(scope="module")
def filled(postgres: Cluster) -> Any:
    store = PostgresStore(postgres.database())
    with store.transaction() as tx:
        tx.upsert("users", ("user_id",), USERS, PEOPLE)
    yield store
    store.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS n FROM users;",
        "-- how many?\nSELECT count(*) AS n FROM users; -- that many\n;",
        "/* one /* inside */ */ /* two */ WITH u AS (TABLE users) SELECT count(*) AS n FROM u",
        "(SELECT count(*) AS n FROM users)",
        "SELECT count(*) AS n FROM generate_series(1, 5)",
        "SELECT count(*) AS n FROM (VALUES (1), (2), (3), (4), (5)) AS v",
        "SELECT count(*) AS n FROM users WHERE email LIKE '%;%' OR email LIKE 'u%--' OR true",
        "SELECT count(*) AS n FROM users WHERE email LIKE '%s%%' OR random() < 2",
    ],
)
def test_one_reading_statement_runs_whatever_stands_around_it(filled: PostgresStore, sql: str) -> None:
    assert rows(filled.query(sql)) == [{"n": 5}]


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM users",
        "explain analyze verbose select * from users",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM users",
        "TABLE users",
        "VALUES (1)",
        "SHOW server_version",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM json_array_elements('[1, 2]')",
        "SELECT pg_total_relation_size('users'), clock_timestamp()",
    ],
)
def test_statements_that_look_around_run(filled: PostgresStore, sql: str) -> None:
    assert filled.query(sql).num_rows > 0


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM users",
        "UPDATE users SET email = 'x'",
        "INSERT INTO users (user_id) VALUES ('x')",
        "MERGE INTO users USING users AS u ON true WHEN MATCHED THEN DELETE",
        "WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d",
        "SELECT * FROM users FOR UPDATE",
        "SELECT * INTO copy FROM users",
        "EXPLAIN ANALYZE DELETE FROM users",
        "EXPLAIN (ANALYZE) CREATE TABLE t AS SELECT 1",
        "EXPLAIN ANALYZE EXECUTE p",
        "EXPLAIN /* */ ANALYZE DELETE FROM users",
        "SELECT 1; DELETE FROM users",
        "SELECT 1;;COMMIT;DROP TABLE users",
        "DROP TABLE users",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TEMP TABLE t AS SELECT 1",
        "ALTER TABLE users ADD COLUMN x INTEGER",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "TRUNCATE users",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "CHECKPOINT",
        "VACUUM",
        "SET work_mem = '1MB'",
        "SET ROLE postgres",
        "RESET ALL",
        "DISCARD ALL",
        "LOCK users",
        "LISTEN x",
        "NOTIFY x",
        "LOAD 'auto_explain'",
        "DO $$ BEGIN PERFORM 1; END $$",
        "CALL p()",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DECLARE c CURSOR FOR SELECT 1",
        "COPY users TO '/tmp/users.csv'",
        "COPY users TO PROGRAM 'id'",
        "COPY users TO STDOUT",
        "/* /* */ SELECT */ COPY users TO '/tmp/users.csv'",
        "",
        "   ;",
        "-- nothing",
        "/* never closed",
    ],
)
def test_anything_else_is_refused_in_one_line(filled: PostgresStore, sql: str) -> None:
    with pytest.raises(UsageError) as caught:
        filled.query(sql)
    assert "\n" not in str(caught.value)
    assert rows(filled.query("SELECT count(*) AS n FROM users")) == [{"n": 5}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
        "SELECT PG_CANCEL_BACKEND(1)",
        'SELECT pg_catalog."pg_reload_conf" /* */ ()',
        "SELECT pg_reload_conf -- so\n ()",
        'SELECT U&"pg_rel\\006fad_conf"()',
        "SELECT u&\"pg_rel!006fad_conf\" UESCAPE '!' ()",
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT * FROM pg_ls_dir('.')",
        "SELECT lo_import('/etc/hostname')",
        "SELECT lo_export(1, '/tmp/x')",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "SELECT nextval('s')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_notify('a', 'b')",
        "SELECT pg_switch_wal()",
        "SELECT pg_logical_emit_message(false, 'a', 'b')",
        "SELECT query_to_xml('SELECT pg_reload_conf()', true, true, '')",
        "SELECT * FROM ts_stat('SELECT 1')",
        "EXPLAIN ANALYZE SELECT pg_reload_conf()",
        "WITH x AS (SELECT pg_reload_conf()) TABLE x",
        "SELECT touch()",
        "SELECT * FROM users WHERE user_id = public.touch()",
    ],
)
def test_functions_with_effects_can_not_be_called(filled: PostgresStore, postgres: Cluster, sql: str) -> None:
    with pytest.raises(UsageError) as caught:
        filled.query(sql)
    assert "can't be" in str(caught.value) or "touch" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_functions_of_ones_own_can_be_called_where_they_only_read(postgres: Cluster) -> None:
    url = postgres.database()
    store = PostgresStore(url)
    name = name_of(url)
    postgres.sql(
        "CREATE FUNCTION public.twice(x int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * x'",
        "CREATE FUNCTION public.touch() RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        database=name,
    )
    assert rows(store.query("SELECT twice(4) AS n")) == [{"n": 8}]
    with pytest.raises(UsageError, match=r"touch\(\) can't be used here"):
        store.query("SELECT touch()")
    store.close()


@pytest.mark.parametrize(
    ("sql", "kind", "sentence"),
    [
        ("SELECT 1,\n2 FRM users,", UsageError, "in line 2"),
        ("SELEC 1", UsageError, "SELEC is not possible. Only reading is possible here"),
        ("SELECT * FROM usres", UsageError, "There is no table or view usres. Did you mean users"),
        ("SELECT * FROM states", UsageError, "There is no table or view states. Did you mean headrace.states?"),
        ("SELECT * FROM qqqqqq", UsageError, "There is no table or view qqqqqq. information_schema.tables lists"),
        ("SELECT emial FROM users", UsageError, 'column "emial" does not exist'),
        ("SELECT emial FROM users", UsageError, "users.email"),
        ("SELECT sum(email) FROM users", UsageError, "function sum(text) does not exist"),
        ("SELECT 'abc'::INTEGER", RunError, "a value it can't convert"),
        ("SELECT user_id::date FROM users", RunError, "a value it can't convert"),
        ("SELECT 1 / 0", RunError, "division by zero"),
    ],
)
def test_wrong_sql_gets_one_sentence_with_the_remedy(
    filled: PostgresStore, sql: str, kind: type[HeadraceError], sentence: str
) -> None:
    with pytest.raises(kind) as caught:
        filled.query(sql)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_query_that_takes_too_long_is_stopped(filled: PostgresStore) -> None:
    began = time.monotonic()
    with pytest.raises(RunError, match=r"stopped after 0.2 s"):
        filled.query("SELECT pg_sleep(60)", timeout_seconds=0.2)
    assert time.monotonic() - began < 30
    assert filled.query("SELECT 1").num_rows == 1


def test_a_limit_ends_the_work_not_only_the_answer(filled: PostgresStore) -> None:
    endless = "SELECT generate_series(1, 1000000000000)"
    assert filled.query(endless, limit=25_000, timeout_seconds=30).num_rows == 25_000
    assert filled.query("SELECT * FROM users", limit=0).num_rows == 0
    assert filled.query("SELECT * FROM users", limit=2).num_rows == 2
    assert filled.query("SELECT * FROM users").num_rows == 5


@pytest.mark.parametrize(
    ("sql", "value", "kind"),
    [
        ("1.50::numeric(18, 2)", Decimal("1.50"), "numeric(18,2)"),
        ("sum(1::bigint)", 1, "numeric"),
        ("1.5::float8", 1.5, "float8"),
        ("'nan'::float8", None, "float8"),
        ("'-inf'::float4", None, "float4"),
        ("'nan'::numeric", None, "numeric"),
        ("true", True, "bool"),
        ("NULL", None, "text"),
        ("'null'", "null", "text"),
        ("'2024-01-22 16:26:15+00'::timestamptz", "2024-01-22T16:26:15Z", "timestamptz"),
        ("'2024-01-22 16:26:15.120+01'::timestamptz", "2024-01-22T15:26:15.12Z", "timestamptz"),
        ("'2024-01-22 16:26:15'::timestamp", "2024-01-22T16:26:15", "timestamp"),
        ("'290000-01-01 00:00:00+00'::timestamptz", None, "timestamptz"),
        ("'0044-03-15 00:00:00+00 BC'::timestamptz", None, "timestamptz"),
        ("'9999-12-31 23:59:59.999999+00'::timestamptz", "9999-12-31T23:59:59.999999Z", "timestamptz"),
        ("'0001-01-01'::timestamp", "0001-01-01T00:00:00", "timestamp"),
        ("'12000-01-01'::date", None, "date"),
        ("ARRAY['infinity'::timestamptz]", [None], "timestamptz[]"),
        ("'infinity'::timestamptz", None, "timestamptz"),
        ("'2024-02-29'::date", "2024-02-29", "date"),
        ("'-infinity'::date", None, "date"),
        ("'10:00:00'::time", "10:00:00", "time"),
        ("INTERVAL '1 day'", "1 day", "interval"),
        ("1e90::numeric", f"1{'0' * 90}", "numeric"),
        ("'\\xff61'::bytea", "\\xff61", "bytea"),
        ("'{\"a\": [1, 12345678901234567.89]}'::json", {"a": [1, Decimal("12345678901234567.89")]}, "JSON"),
        ("'{\"a\": 1.10}'::jsonb", {"a": 1.1}, "JSON"),
        ("'null'::json", None, "JSON"),
        ("ARRAY[1.5, NULL]", [Decimal("1.5"), None], "numeric[]"),
        ("ARRAY['a,b', NULL]", ["a,b", None], "text[]"),
        ("ARRAY[[1, 2], [3, 4]]", [[1, 2], [3, 4]], "int4[]"),
        ("ROW(1, 'a')", "(1,a)", "record"),
        ("'[1,5)'::int4range", "[1,5)", "int4range"),
    ],
)
def test_every_type_has_a_plain_form_and_a_name(filled: PostgresStore, sql: str, value: Any, kind: str) -> None:
    table = filled.query(f"SELECT {sql} AS x")
    assert rows(table) == [{"x": value}]
    assert columns(table) == [{"name": "x", "type": kind}]
    assert columns(filled.query(f"SELECT {sql} AS x LIMIT 0"))[0]["name"] == "x"
    exactjson.dumps(rows(table))
    with filled.reading() as reading:
        [row] = reading._plain(f"SELECT {sql} AS x", [])  # type: ignore[attr-defined]
    assert row["x"] == plain_rows(table)[0]["x"] or kind == "numeric"


def test_money_is_written_digit_for_digit(filled: PostgresStore) -> None:
    table = filled.query("SELECT 12345678901234567.89 AS a, 0.10::numeric(18, 2) AS b, 1e-7::numeric AS c")
    assert exactjson.dumps(rows(table)) == b'[{"a":12345678901234567.89,"b":0.10,"c":0.0000001}]'


def test_columns_of_the_same_name_are_both_shown(filled: PostgresStore) -> None:
    table = filled.query("SELECT 1 AS a, 2 AS a")
    assert list(rows(table)[0].values()) == [1, 2]
