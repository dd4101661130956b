import threading
import time
from pathlib import Path

import pytest

from integration.errors import HeadraceError, RunError, UsageError
from integration.store.answers import rows
from integration.store.duckdb.store import DuckDBStore
from integration.store.tables import USERS

PEOPLE = [{"user_id": f"u{i}", "email": f"u{i}@example.com", "is_deleted": False} for i in range(5)]


@pytest.fixture
def filled(store: DuckDBStore) -> DuckDBStore:
    with store.transaction() as tx:
        tx.upsert("users", ("user_id",), USERS, PEOPLE)
    return store


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS n FROM users;",
        "-- how many?\nSELECT count(*) AS n FROM users; -- that many\n;",
        "/* one */ /* two */ WITH u AS (FROM users) SELECT count(*) AS n FROM u",
        "FROM users SELECT count(*) AS n",
        "SELECT count(*) AS n FROM range(5)",
        "SELECT count(*) AS n FROM (VALUES (1), (2), (3), (4), (5)) AS v",
        "SELECT count(*) AS n FROM users WHERE email LIKE '%;%' OR email LIKE 'u%--' OR true",
    ],
)
def test_one_reading_statement_runs_whatever_stands_around_it(filled: DuckDBStore, sql: str) -> None:
    assert rows(filled.query(sql)) == [{"n": 5}]


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM users",
        "explain analyze select * from users",
        "EXPLAIN (FORMAT json) SELECT * FROM users",
        "DESCRIBE users",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "SUMMARIZE users",
        "PRAGMA table_info('users')",
        "PIVOT users ON is_deleted USING count(*)",
        "PIVOT users ON is_deleted IN (true, false) USING count(*)",
        "SELECT * FROM duckdb_tables()",
        "SELECT * FROM json_each('[1, 2]')",
    ],
)
def test_statements_that_look_around_run(filled: DuckDBStore, sql: str) -> None:
    assert filled.query(sql).num_rows > 0


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM users",
        "UPDATE users SET email = 'x'",
        "INSERT INTO users BY NAME SELECT 'x' AS user_id",
        "MERGE INTO users USING users AS u ON true WHEN MATCHED THEN DELETE",
        "WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d",
        "EXPLAIN ANALYZE DELETE FROM users",
        "EXPLAIN ANALYZE SET threads = 1",
        "EXPLAIN /* */ ANALYZE SET threads = 1",
        "EXPLAIN (SELECT 1); DELETE FROM users",
        "SELECT 1; DELETE FROM users",
        "SELECT 1;;COMMIT;DROP TABLE users",
        "DROP TABLE users",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TEMP TABLE t AS SELECT 1",
        "ALTER TABLE users ADD COLUMN x INTEGER",
        "TRUNCATE users",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "CHECKPOINT",
        "VACUUM",
        "SET memory_limit = '1MB'",
        "RESET memory_limit",
        "USE memory",
        "DETACH store",
        "ATTACH 'other.duckdb'",
        "CALL enable_logging()",
        "PRAGMA enable_profiling",
        "PRAGMA memory_limit = '1MB'",
        "PRAGMA force_checkpoint",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "LOAD json",
        "INSTALL httpfs",
        "COPY users TO 'users.csv'",
        "EXPORT DATABASE 'copy'",
        "IMPORT DATABASE 'copy'",
        "CONNECT 'somewhere'",
        "SELECT nextval('s')",
        "",
        "   ;",
        "-- nothing",
    ],
)
def test_anything_else_is_refused_in_one_line(filled: DuckDBStore, sql: str) -> None:
    with pytest.raises(UsageError) as caught:
        filled.query(sql)
    assert "\n" not in str(caught.value)
    assert rows(filled.query("SELECT count(*) AS n FROM users")) == [{"n": 5}]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM enable_logging(storage='file', storage_config={'path': '{folder}/logs'})",
        "SELECT * FROM users, LATERAL (FROM system.main.\"Enable_Logging\"(storage='file'))",
        "SELECT (SELECT count(*) FROM enable_logging/* */('QueryLog'))",
        "EXPLAIN ANALYZE SELECT * FROM enable_logging()",
        "DESCRIBE FROM enable_logging()",
        "SUMMARIZE FROM enable_logging()",
        "WITH RECURSIVE x AS (SELECT 1 AS a UNION ALL SELECT 1 FROM enable_logging()) FROM x",
        "PIVOT (SELECT 1 AS a, 2 AS b FROM enable_logging()) ON a USING count(*)",
        "FROM query('FROM enable_logging()')",
        "FROM checkpoint()",
        "FROM truncate_duckdb_logs()",
        "FROM read_text('{file}')",
        "FROM read_csv('{file}')",
        "FROM '{file}'",
        "FROM glob('{folder}/*')",
        "FROM read_duckdb('{folder}/other.duckdb')",
        "FROM duckdb_secrets()",
        "FROM which_secret('x', 'http')",
        "FROM sniff_csv('{file}')",
    ],
)
def test_neither_files_nor_functions_with_effects_can_be_reached(filled: DuckDBStore, sql: str, tmp_path: Path) -> None:
    file = tmp_path / "private.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError) as caught:
        filled.query(sql.replace("{file}", str(file)).replace("{folder}", str(tmp_path)))
    assert "\n" not in str(caught.value)
    # What enable_logging to a file would break is every later statement, the writer's too.
    with filled.transaction() as tx:
        tx.upsert("users", ("user_id",), USERS, [{"user_id": "u9"}])
    assert rows(filled.query("SELECT count(*) AS n FROM users")) == [{"n": 6}]


def test_python_variables_are_no_tables(filled: DuckDBStore) -> None:
    secret_frame = filled.query("SELECT 1 AS a")
    with pytest.raises(UsageError, match="no table or view secret_frame"):
        filled.query("SELECT * FROM secret_frame")
    assert secret_frame.num_rows == 1


@pytest.mark.parametrize(
    ("sql", "kind", "sentence"),
    [
        ("SELEC 1", UsageError, 'The SQL does not parse: syntax error at or near "SELEC".'),
        ("SELECT 1,\n2 FRM users,", UsageError, "in line 2"),
        ("SELECT * FROM usres", UsageError, "There is no table or view usres. Did you mean users"),
        ("SELECT * FROM states", UsageError, "There is no table or view states. Did you mean headrace.states?"),
        ("SELECT * FROM qqqqqq", UsageError, "There is no table or view qqqqqq. SHOW ALL TABLES lists what is there."),
        ("SELECT emial FROM users", UsageError, 'Referenced column "emial" not found'),
        ("SELECT emial FROM users", UsageError, '"email"'),
        ("SELECT lenght('a')", UsageError, 'Did you mean "length"?'),
        ("SELECT sum(email) FROM users", UsageError, "No function matches"),
        ("SELECT 'abc'::INTEGER", RunError, "TRY_CAST"),
        ("SELECT * FROM users WHERE user_id::DATE > '2024-01-01'", RunError, "TRY_CAST"),
        ("SELECT error('my own')", RunError, "The query failed: my own"),
    ],
)
def test_wrong_sql_gets_one_sentence_with_the_remedy(
    filled: DuckDBStore, sql: str, kind: type[HeadraceError], sentence: str
) -> None:
    with pytest.raises(kind) as caught:
        filled.query(sql)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).startswith(("Catalog Error", "Binder Error", "Parser Error"))


def test_a_query_that_takes_too_long_is_stopped(filled: DuckDBStore) -> None:
    began = time.monotonic()
    endless = "SELECT count(*) FROM range(10000000) a(x), range(10000000) b(y) WHERE x % 3 = y"
    with pytest.raises(RunError, match=r"stopped after 0.2 s"):
        filled.query(endless, timeout_seconds=0.2)
    assert time.monotonic() - began < 10
    assert filled.query("SELECT 1").num_rows == 1


def test_a_limit_ends_the_work_not_only_the_answer(filled: DuckDBStore) -> None:
    assert filled.query("SELECT * FROM range(1000000000000)", limit=25_000, timeout_seconds=20).num_rows == 25_000
    assert filled.query("SELECT * FROM users", limit=0).num_rows == 0
    assert filled.query("SELECT * FROM users", limit=2).num_rows == 2


def test_a_query_that_needs_too_much_memory_says_so(path: Path) -> None:
    small = DuckDBStore(path, memory_limit="20MB", threads=1)
    try:
        with pytest.raises(RunError, match="more memory"):
            small.query("SELECT list(x) FROM range(50000000) AS r(x)")
        assert small.query("SELECT 1").num_rows == 1
    finally:
        small.close()


def test_a_query_sees_the_last_commit_and_is_not_held_up_by_an_open_transaction(filled: DuckDBStore) -> None:
    def count() -> object:
        return rows(filled.query("SELECT count(*) AS n FROM users", timeout_seconds=10))[0]["n"]

    with filled.transaction() as tx:
        tx.upsert("users", ("user_id",), USERS, [{"user_id": f"new{i}"} for i in range(1000)])
        tx.delete("users", "user_id", ["u1"])
        assert count() == 5
    assert count() == 1004


def test_queries_and_a_busy_writer_do_not_disturb_each_other(filled: DuckDBStore) -> None:
    done = threading.Event()
    failures: list[BaseException] = []
    seen: set[int] = set()

    def ask() -> None:
        try:
            while not done.is_set():
                found = rows(filled.query("SELECT count(*) AS n, count(DISTINCT email) AS mails FROM users"))[0]
                assert found["n"] == found["mails"]  # no half of a batch
                seen.add(found["n"])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for batch in range(15):
        with filled.transaction() as tx:
            ids = [f"b{batch}-{i}" for i in range(200)]
            tx.upsert("users", ("user_id",), USERS, [{"user_id": i, "email": i} for i in ids])
            tx.upsert("users", ("user_id",), USERS, [{"user_id": i, "email": f"{i}!"} for i in ids])
    done.set()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert seen <= {5 + 200 * batch for batch in range(16)}
    assert len(seen) > 1
