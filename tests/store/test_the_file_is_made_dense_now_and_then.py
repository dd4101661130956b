"""DuckDB's log goes back into the file when it has grown long; dead rows go when they are half of a table."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from integration.store.duckdb import wal
from integration.store.duckdb.store import DuckDBStore
from integration.store.tables import STALE, USERS

ROWS = 300


def write(store: DuckDBStore, numbers: Sequence[int], email: str = "") -> None:
    with store.transaction() as tx:
        tx.upsert("users", ("user_id",), USERS, [{"user_id": f"u{n}", "email": email} for n in numbers])


def log_of(path: Path) -> int:
    try:
        return path.with_name(f"{path.name}.wal").stat().st_size
    except FileNotFoundError:
        return 0


def rows_in_file(path: Path) -> tuple[int, int]:
    """Return how many rows of `users` lie in the file, dead ones included, and how many are alive."""
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{path}' AS store (READ_ONLY)")
        [[lying]] = con.execute("SELECT estimated_size FROM duckdb_tables() WHERE table_name = 'users'").fetchall()
        [[living]] = con.execute("SELECT count(*) FROM store.users").fetchall()
    return lying, living


def test_a_log_that_has_grown_long_goes_back_into_the_file(
    store: DuckDBStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, range(ROWS))
    before = log_of(path)
    monkeypatch.setattr(wal, "_LOG_BYTES", before)
    write(store, [1])
    assert 0 < log_of(path) < before
    assert rows_of(store) == ROWS


def test_a_log_that_is_short_is_left_alone(store: DuckDBStore, path: Path) -> None:
    write(store, range(ROWS))
    before = log_of(path)
    write(store, [1])
    assert log_of(path) > before


def test_who_reads_meanwhile_holds_nobody_up(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, range(ROWS))
    monkeypatch.setattr(wal, "_LOG_BYTES", 1)
    with closing(store._branch()) as reader:
        reader.execute("BEGIN TRANSACTION READ ONLY")
        assert reader.execute("SELECT count(*) FROM users").fetchall() == [(ROWS,)]
        write(store, range(ROWS, ROWS + 5))
        assert reader.execute("SELECT count(*) FROM users").fetchall() == [(ROWS,)]
    assert rows_of(store) == ROWS + 5


@pytest.mark.parametrize(
    ("few", "again", "lie"),
    [
        (100, [range(100)], ROWS + 100),
        (100, [range(200), range(100, ROWS - 1)], ROWS),
        (1_000, [range(200), range(100, ROWS - 1)], ROWS + 200 + 199),
    ],
    ids=["a third are dead", "most are dead", "most are dead, but few"],
)
def test_dead_rows_go_once_they_are_half_of_the_table(
    path: Path, monkeypatch: pytest.MonkeyPatch, few: int, again: Sequence[range], lie: int
) -> None:
    monkeypatch.setattr(wal, "_FEW", few)
    for numbers in (range(ROWS), *again):
        with closing(DuckDBStore(path, threads=2)) as store:
            write(store, numbers, str(numbers))
    assert rows_in_file(path) == (lie, ROWS)


def test_a_list_of_work_that_was_done_makes_no_table_dense(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "_FEW", 100)
    stale = [{"kind": "person", "key": f"u{n}", "since": "2026-01-01T00:00:00Z"} for n in range(ROWS)]
    with closing(DuckDBStore(path, threads=2)) as store:
        write(store, range(ROWS))
        with store.transaction() as tx:
            tx.append("headrace.stale", STALE, stale)
    with closing(DuckDBStore(path, threads=2)) as store:
        write(store, range(100))
        with store.transaction() as tx:
            tx.delete("headrace.stale", "key", [row["key"] for row in stale[1:]])
    assert rows_in_file(path) == (ROWS + 100, ROWS)


def rows_of(store: DuckDBStore) -> int:
    with store.reading() as reading:
        [row] = reading.rows("SELECT count(*) AS n FROM users")
    return int(row["n"])
