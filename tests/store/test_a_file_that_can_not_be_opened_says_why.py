import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from integration.errors import ConfigError, HeadraceError, UnreachableError
from integration.store.answers import ask
from integration.store.duckdb.store import DuckDBStore
from integration.store.ownership import StoreOwnedError
from integration.store.tables import META, USERS

HOLD = """
import sys
from pathlib import Path
from integration.store.duckdb.store import DuckDBStore
store = DuckDBStore(Path(sys.argv[1]), read_only=sys.argv[2] == "reading")
print("open", flush=True)
sys.stdin.readline()
store.close()
"""


def refusal(path: Path, *, read_only: bool = False) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        DuckDBStore(path, read_only=read_only)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture(params=["writing", "reading"])
def holder(request: pytest.FixtureRequest, path: Path) -> Iterator[subprocess.Popen[str]]:
    DuckDBStore(path).close()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), request.param], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.communicate("\n", timeout=30)


def test_a_store_that_another_process_has_open_names_that_process(holder: subprocess.Popen[str], path: Path) -> None:
    error = refusal(path)
    assert isinstance(error, StoreOwnedError)
    assert error.exit_code == 3
    assert error.pid == holder.pid
    assert f"process {holder.pid}" in str(error)


def test_a_store_that_this_process_has_open_is_owned_too(store: DuckDBStore) -> None:
    for read_only in (False, True):
        error = refusal(store.path, read_only=read_only)
        assert isinstance(error, StoreOwnedError)
        assert error.pid == os.getpid()


def test_a_store_that_is_not_there_yet_says_what_to_run(path: Path) -> None:
    error = refusal(path, read_only=True)
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"There is no store at {path} yet: run headrace sync")
    assert not path.exists()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere" / "headrace.duckdb")
    assert isinstance(error, ConfigError)
    assert f"The directory {tmp_path / 'nowhere'} does not exist" in str(error)


def test_a_directory_is_not_a_store(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert isinstance(error, ConfigError)
    assert "is a directory" in str(error)


@pytest.mark.parametrize("content", [b"", b"x", b"SQLite format 3\x00" * 500])
def test_a_file_that_is_no_duckdb_file_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    error = refusal(path)
    assert isinstance(error, UnreachableError)
    assert "can't be used as a store" in str(error)
    assert "restore it" in str(error)
    assert path.read_bytes() == content


def test_a_damaged_file_says_so(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE t AS SELECT range AS a, range::VARCHAR AS b FROM range(300000)")
    content = bytearray(path.read_bytes())
    content[0:64] = b"\xff" * 64
    path.write_bytes(content)
    assert isinstance(refusal(path), UnreachableError)
    with path.open("r+b") as file:
        file.truncate(100)
    assert isinstance(refusal(path), UnreachableError)


def test_a_store_of_a_newer_headrace_is_not_touched(path: Path) -> None:
    store = DuckDBStore(path)
    with store.transaction() as tx:
        tx.upsert("headrace.meta", ("key",), META, [{"key": "schema_version", "value": "999"}])
    store.close()
    for read_only in (False, True):
        error = refusal(path, read_only=read_only)
        assert isinstance(error, ConfigError)
        assert "newer headrace" in str(error)


def test_a_memory_limit_that_is_no_size_is_a_setting_to_change(path: Path) -> None:
    with pytest.raises(ConfigError, match="DuckDB refuses its settings"):
        DuckDBStore(path, memory_limit="plenty")


@pytest.mark.parametrize(
    "name", ["headrace.duckdb", "salesforce.duckdb", "main.duckdb", 'o\'brien "x".duckdb', "store"]
)
def test_the_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        store = DuckDBStore(tmp_path / name)
        with store.transaction() as tx:
            tx.upsert("users", ("user_id",), USERS, [{"user_id": "u"}])
            assert tx.rows("SELECT count(*) AS n FROM headrace.states") == [{"n": 0}]
        assert ask(store, "SELECT user_id FROM users") == [{"user_id": "u"}]
        store.close()


def test_everything_committed_is_there_after_a_kill(path: Path) -> None:
    killed = """
import os, sys
from pathlib import Path
from integration.store.duckdb.store import DuckDBStore
from integration.store.tables import USERS
store = DuckDBStore(Path(sys.argv[1]))
for i in range(3):
    with store.transaction() as tx:
        tx.upsert("users", ("user_id",), USERS, [{"user_id": f"u{i}"}])
with store.transaction() as tx:
    tx.upsert("users", ("user_id",), USERS, [{"user_id": "never committed"}])
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", killed, str(path)], check=False).returncode == 9
    for read_only in (True, False):
        store = DuckDBStore(path, read_only=read_only)
        found = ask(store, "SELECT user_id FROM users ORDER BY 1")
        store.close()
        assert found == [{"user_id": "u0"}, {"user_id": "u1"}, {"user_id": "u2"}]


def test_a_transaction_inside_a_transaction_is_a_programming_error(store: DuckDBStore) -> None:
    with store.transaction() as tx:
        with pytest.raises(RuntimeError, match="already"), store.transaction():
            pass
        tx.upsert("users", ("user_id",), USERS, [{"user_id": "u"}])
    assert store.query("SELECT 1 FROM users").num_rows == 1


def test_a_batch_the_store_refuses_gives_one_sentence_without_its_values(store: DuckDBStore) -> None:
    with pytest.raises(HeadraceError) as caught, store.transaction() as tx:
        tx.rows("SELECT 'private'::INTEGER AS x")
    assert "private" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.query("SELECT 1").num_rows == 1


def test_a_closed_store_says_so_and_may_be_closed_again(store: DuckDBStore) -> None:
    with store.transaction(), pytest.raises(RuntimeError, match="transaction open"):
        store.close()
    store.close()
    store.close()
    with pytest.raises(UnreachableError, match="is closed"):
        store.query("SELECT 1")
    with pytest.raises(HeadraceError), store.transaction():
        pass
