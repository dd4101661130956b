from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from chdb_engine import Engine

from integration.errors import ConfigError, RunError, UsageError
from integration.store import answers, tables
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.store import ClickHouseReader, ClickHouseStore


@pytest.fixture(scope="module")
def reader(clickhouse: Engine) -> Iterator[ClickHouseReader]:
    store = ClickHouseStore(clickhouse.emptied())
    event = {
        "event_id": "1",
        "name": "Sign Up",
        "time": "2026-01-02T03:04:05.25Z",
        "properties": b'{"amount":12345678901234567.89,"a":[1]}',
    }
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [event])
        tx.ensure_view("sign_up", "SELECT * FROM events WHERE name = 'Sign Up'")
    store.close()
    with ClickHouseReader(clickhouse) as opened:
        yield opened


REFUSED = {
    "": "no SQL to run",
    "-- nothing": "no SQL to run",
    "DROP TABLE users": "DROP is not possible",
    "INSERT INTO headrace.meta VALUES ('a', 'b')": "INSERT is not possible",
    "ALTER TABLE users DELETE WHERE 1": "ALTER is not possible",
    "SYSTEM SHUTDOWN": "SYSTEM is not possible",
    "SET readonly = 0": "SET is not possible",
    "SELECT 1; DROP VIEW users": "2 statements",
    "SELECT 1 /* ; */; -- x\n DROP VIEW users;": "2 statements",
    "EXPLAIN DROP TABLE users": "EXPLAIN is possible for SELECT only",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')": r"file\(\) can't be used",
    "SELECT file('/etc/passwd')": r"file\(\) can't be used",
    "SELECT * FROM users, url('http://127.0.0.1/', 'CSV', 'a String')": r"url\(\) can't be used",
    "WITH x AS (SELECT * FROM remote('h', 'd.t')) SELECT * FROM x": r"remote\(\) can't be used",
    "SELECT (SELECT count() FROM s3('http://127.0.0.1/x'))": r"s3\(\) can't be used",
    "SELECT * FROM executable('x', 'CSV', 'a String')": r"executable\(\) can't be used",
    "EXPLAIN SELECT * FROM file('/etc/passwd', 'LineAsString')": r"file\(\) can't be used",
    "DESCRIBE TABLE file('/etc/passwd')": "tables and views only",
    "SELECT 1 INTO OUTFILE '{folder}/x'": "can't be written to a file",
    "SHOW TABLES INTO OUTFILE '{folder}/x'": "can't be written to a file",
    "SELECT 1 SETTINGS readonly = 0": "Settings can't be changed",
    "SELECT 1 FORMAT JSON": "does not parse",
    "SELEC 1": "SELEC is not possible",
    "SELECT FROM WHERE": "does not parse",
    "SELECT 'abc": "does not parse",
    "SELECT * FROM userss": "no table or view userss. Did you mean users",
    "SELECT * FROM salesforce.eventz": "no table or view salesforce.eventz.",
    "SELECT emial FROM users": "does not fit the tables: .*emial",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_no_reading_statement_is_refused_in_a_sentence(
    sql: str, reader: ClickHouseReader, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=REFUSED[sql]) as caught:
        reader.query(sql.replace("{folder}", str(tmp_path)))
    assert "DB::" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]
    assert answers.rows(reader.query("SELECT count() AS n FROM users")) == [{"n": 0}]


READ = {
    "SELECT 'a;b' AS x -- ;": [{"x": "a;b"}],
    "select 1 as format, 'x' as settings;": [{"format": 1, "settings": "x"}],
    "FROM events SELECT name": [{"name": "Sign Up"}],
    "WITH 1 AS x SELECT x + 1 AS y": [{"y": 2}],
    "SELECT number AS n FROM numbers(3) ORDER BY n DESC": [{"n": 2}, {"n": 1}, {"n": 0}],
    "EXISTS TABLE users": [{"result": 1}],
    "SELECT toDateTime('2026-01-02 03:04:05', 'UTC') AS t, toDate('2026-01-02') AS d": [
        {"t": "2026-01-02T03:04:05Z", "d": "2026-01-02"}
    ],
    "SELECT toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS u, toInt128(5) AS i": [
        {"u": "61f0c404-5cb3-11e7-907b-a6006ad3dba0", "i": "5"}
    ],
    "SELECT [1, 2] AS l, true AS b, NULL AS n, nan AS f": [{"l": [1, 2], "b": True, "n": None, "f": None}],
}


@pytest.mark.parametrize("sql", READ)
def test_answers_are_plain_values(sql: str, reader: ClickHouseReader) -> None:
    assert answers.rows(reader.query(sql)) == READ[sql]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT properties FROM events",
        "SELECT e.properties AS properties FROM events AS e",
        "SELECT * FROM (SELECT properties FROM sign_up) AS x",
        "WITH x AS (SELECT * FROM default.events) SELECT properties FROM x",
        "SELECT properties FROM user_events UNION ALL SELECT properties FROM events",
    ],
)
def test_a_column_of_json_is_json_however_it_is_reached(sql: str, reader: ClickHouseReader) -> None:
    found = reader.query(sql)
    assert answers.columns(found) == [{"name": "properties", "type": "JSON"}]
    assert answers.rows(found) == [{"properties": {"amount": Decimal("12345678901234567.89"), "a": [1]}}]


@pytest.mark.parametrize("sql", ["SELECT name AS properties FROM events", "SELECT '{}' AS properties FROM events"])
def test_a_text_that_is_called_like_one_stays_text(sql: str, reader: ClickHouseReader) -> None:
    assert answers.columns(reader.query(sql)) == [{"name": "properties", "type": "String"}]


def test_tables_are_shown_described_and_explained(reader: ClickHouseReader) -> None:
    def first(sql: str) -> Any:
        return [next(iter(row.values())) for row in answers.rows(reader.query(sql))]

    assert {"users", "events", "sign_up"} <= {*first("SHOW TABLES")}
    assert first("DESCRIBE headrace.meta") == ["key", "value"]
    assert first("EXPLAIN SELECT * FROM users")


def test_no_more_rows_come_than_were_asked_for(reader: ClickHouseReader) -> None:
    assert reader.query("SELECT number FROM numbers(100000)", limit=7).num_rows == 7
    assert reader.query("SELECT number FROM numbers(100) LIMIT 3", limit=7).num_rows == 3
    assert reader.query("SHOW TABLES", limit=2).num_rows == 2


def test_a_query_that_takes_too_long_is_stopped(reader: ClickHouseReader) -> None:
    with pytest.raises(RunError, match=r"stopped after 0.1 s: narrow it"):
        reader.query("SELECT count() FROM numbers(1000000000000) WHERE rand() = 1", timeout_seconds=0.1)


@pytest.fixture
def empty(clickhouse: Engine) -> Iterator[Engine]:
    yield clickhouse.wiped()
    clickhouse.wiped()


def test_tables_of_others_are_left_alone(empty: Engine) -> None:
    session = Session(empty)
    session.run("CREATE TABLE default.users (id Int8) ENGINE = Memory")
    with pytest.raises(ConfigError, match=r"has a table users that is not headrace's: give headrace a database"):
        ClickHouseStore(empty)
    ClickHouseStore(empty, "crm").close()
    session.run("DROP TABLE default.users SYNC")
    with pytest.raises(ConfigError, match="tables in the database crm: name it"):
        ClickHouseStore(empty)
    store = ClickHouseStore(empty, "crm")
    session.run("CREATE TABLE crm.sign_up (id Int8) ENGINE = Memory")
    with pytest.raises(ValueError, match="not made"), store.transaction() as tx:
        tx.ensure_view("sign_up", "SELECT * FROM events")
    store.close()
    session.close()


def test_without_a_store_there_is_nothing_to_read(empty: Engine) -> None:
    with pytest.raises(ConfigError, match="no store at the engine of the tests yet: run headrace sync"):
        ClickHouseReader(empty)
    ClickHouseStore(empty).close()
    ClickHouseReader(empty).close()
