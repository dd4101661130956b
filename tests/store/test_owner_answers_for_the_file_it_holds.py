import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError, UsageError
from integration.store.answers import rows
from integration.store.duckdb.owner import announce, find_owner, owner_file, withdraw
from integration.store.duckdb.store import DuckDBStore
from integration.store.opening import open_reader
from integration.store.ownership import Owner, StoreOwnedError
from integration.store.protocol import Reader
from integration.store.tables import USERS
from integration.web.query import QueryServer, query_app

STARTED = "2024-01-22T16:26:15Z"
READ_IN_ANOTHER_PROCESS = """
import sys
from integration.store.opening import open_reader
with open_reader(sys.argv[1]) as reader:
    for line in sys.stdin:
        found = reader.query("SELECT count(*) AS n, count(DISTINCT email) AS mails FROM users").to_pylist()[0]
        print(found["n"], found["mails"], flush=True)
"""


@pytest.fixture
def token() -> str:
    return "a-token-of-these-tests"


@pytest.fixture
def owner(store: DuckDBStore, token: str) -> Iterator[Owner]:
    def run(sql: str, limit: int | None, seconds: float) -> pa.Table:
        return store.query(sql, limit=limit, timeout_seconds=seconds)

    with store.transaction() as tx:
        tx.upsert("users", ("user_id",), USERS, [{"user_id": f"u{i}", "email": f"{i}"} for i in range(5)])
    server = QueryServer(query_app(run, token=token))
    server.start()
    yield announce(store.path, url=server.url, token=token, started_at=STARTED)
    withdraw(store.path)
    server.stop()


@pytest.fixture
def reader(owner: Owner, path: Path) -> Iterator[Reader]:
    with open_reader(path) as opened:
        yield opened


def test_the_note_is_for_this_user_only_and_goes_away(owner: Owner, path: Path) -> None:
    note = owner_file(path)
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert json.loads(note.read_text()) == {
        "pid": os.getpid(), "url": owner.url, "token": owner.token, "started_at": STARTED,
    }  # fmt: skip
    assert find_owner(path) == owner
    assert owner.token not in repr(owner)
    withdraw(path)
    assert find_owner(path) is None
    assert list(path.parent.glob("*.json*")) == []


def test_a_note_is_replaced_by_the_next_owner_and_withdrawn_only_by_its_writer(path: Path, token: str) -> None:
    note = owner_file(path)
    note.write_text(json.dumps({"pid": 1, "url": "http://127.0.0.1:1", "token": "t", "started_at": STARTED}))
    withdraw(path)
    assert note.exists()
    announce(path, url="http://127.0.0.1:2", token=token, started_at=STARTED)
    found = find_owner(path)
    assert found is not None
    assert found.pid == os.getpid()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"pid": 1}', '{"pid": 0, "url": "", "token": "", "started_at": ""}', "dead", "huge"]
)
def test_a_stale_or_damaged_note_names_nobody(path: Path, note: str) -> None:
    pids = {"dead": dead_pid(), "huge": 10**40}
    if note in pids:
        note = json.dumps({"pid": pids[note], "url": "http://127.0.0.1:1", "token": "t", "started_at": STARTED})
    owner_file(path).write_text(note)
    assert find_owner(path) is None
    DuckDBStore(path).close()
    with open_reader(path) as reader:  # the file is free: it is read itself
        assert reader.query("SELECT count(*) AS n FROM users").to_pylist() == [{"n": 0}]


def test_another_process_reads_consistent_commits_while_the_owner_writes(store: DuckDBStore, owner: Owner) -> None:
    seen = []
    with subprocess.Popen(
        [sys.executable, "-c", READ_IN_ANOTHER_PROCESS, f"duckdb:///{store.path}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for batch in range(10):
            with store.transaction() as tx:
                new = [{"user_id": f"b{batch}-{i}", "email": f"{batch}-{i}"} for i in range(100)]
                tx.upsert("users", ("user_id",), USERS, new)
                print(file=process.stdin, flush=True)  # asked while the transaction is open
                seen.append(process.stdout.readline().split())
        process.stdin.close()
        assert process.wait(30) == 0
    assert seen == [[f"{5 + 100 * batch}"] * 2 for batch in range(10)]


def test_the_owner_gives_the_same_table_as_the_file(store: DuckDBStore, reader: Reader, path: Path) -> None:
    sql = (
        "SELECT user_id, 1.10::DECIMAL(38, 20) AS d, NULL AS nothing, '{\"a\": 1}'::JSON AS j, [1, 2] AS l, "
        "'2024-01-22 16:26:15+00'::TIMESTAMPTZ AS at FROM users ORDER BY 1"
    )
    told = reader.query(sql, limit=3)
    assert told.num_rows == 3
    withdraw(path)
    store.close()
    with open_reader(f"duckdb:///{path}") as file:
        read = file.query(sql, limit=3)
    assert read.equals(told)
    assert rows(read) == rows(told)
    assert rows(told)[0]["j"] == {"a": 1}


@pytest.mark.parametrize(
    ("sql", "kind", "sentence"),
    [
        ("SELECT * FROM usres", UsageError, "Did you mean users"),
        ("DELETE FROM users", UsageError, "DELETE is not possible"),
        ("SELECT 'a'::INTEGER", RunError, "TRY_CAST"),
        ("FROM read_text('/etc/hostname')", UsageError, "can't be used here"),
    ],
)
def test_errors_of_the_owner_are_the_same_as_those_of_the_file(
    reader: Reader, sql: str, kind: type[HeadraceError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        reader.query(sql)


def test_the_time_limit_holds_at_the_owner(reader: Reader) -> None:
    with pytest.raises(RunError, match=r"stopped after 0.3 s"):
        reader.query(
            "SELECT count(*) FROM range(10000000) a(x), range(10000000) b(y) WHERE x % 3 = y", timeout_seconds=0.3
        )


def test_an_owner_that_answers_no_queries_is_named(store: DuckDBStore) -> None:
    with pytest.raises(StoreOwnedError, match="answers no queries") as caught:
        open_reader(store.path)
    assert caught.value.pid == os.getpid()


def test_an_owner_that_has_stopped_answering_is_named(store: DuckDBStore, path: Path, token: str) -> None:
    server = QueryServer(query_app(lambda *_: pa.table({}), token=token))
    server.start()
    announce(path, url=server.url, token=token, started_at=STARTED)
    server.stop()
    with open_reader(path) as reader, pytest.raises(UnreachableError, match=f"Process {os.getpid()} owns the store"):
        reader.query("SELECT 1")
    withdraw(path)


def test_an_address_may_be_given_instead_of_a_file(owner: Owner) -> None:
    with open_reader(owner.url) as reader, pytest.raises(ConfigError, match="token"):
        reader.query("SELECT 1")


def test_there_is_no_store_yet(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no store at .* yet: run headrace sync"):
        open_reader(path)


def test_something_else_on_the_port_is_not_taken_for_an_owner() -> None:
    async def page(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"<html>"})  # type: ignore[operator]

    server = QueryServer(page)
    server.start()
    try:
        with open_reader(server.url) as reader, pytest.raises(UnreachableError, match="404"):
            reader.query("SELECT 1")
    finally:
        server.stop()
