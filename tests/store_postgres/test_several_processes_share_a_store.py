import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from batches import batches, flattener, told
from postgres import Cluster

from integration.errors import FencedError, UnreachableError
from integration.store import tables
from integration.store.answers import ask
from integration.store.postgres.store import PostgresReader, PostgresStore

SECONDS = 30


def in_threads(*works: Callable[[], object]) -> None:
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert failures == []


def count(tx: Any) -> int:
    rows = tx.rows("SELECT value FROM headrace.meta WHERE key = ?", ["count"])
    return int(rows[0]["value"]) if rows else 0


def test_who_writes_sees_what_all_others_have_written(url: str) -> None:
    """Read, add one, write back: with two at once inside, some of it would be lost."""
    stores = [PostgresStore(url) for _ in range(3)]

    def add(store: PostgresStore) -> None:
        for _ in range(20):
            with store.transaction() as tx:
                row = {"key": "count", "value": str(count(tx) + 1)}
                tx.upsert("headrace.meta", ("key",), tables.META, [row])

    in_threads(*(lambda store=store: add(store) for store in stores))

    with stores[0].reading() as reading:
        assert count(reading) == 60
    for store in stores:
        store.close()


def test_several_open_an_empty_database_at_once(url: str) -> None:
    opened: list[PostgresStore] = []

    in_threads(*[lambda: opened.append(PostgresStore(url))] * 4)

    assert [ask(store, "SELECT count(*) AS n FROM users") for store in opened] == [[{"n": 0}]] * 4
    for store in opened:
        store.close()


def test_readers_wait_for_no_batch_and_see_whole_batches_only(store: PostgresStore, url: str) -> None:
    flattener(store).apply(batches()[0])
    with PostgresReader(url) as reader:
        seen = told(store, ["users", "events"])
        with store.transaction() as tx:
            tx.delete("events", "source", ["/salesforce/00D000000000001EAA", "/product"])
            tx.update("users", "user_id", "email", {"003000000000001AAA": None})
            assert ask(reader, "SELECT count(*) AS n FROM events") == [{"n": len(seen["events"])}]
        assert ask(reader, "SELECT count(*) AS n FROM events") == [{"n": 0}]


def test_who_was_overtaken_while_it_waited_for_its_turn_writes_nothing(url: str) -> None:
    """The epoch is read when everybody else's batch is in, not when waiting began."""
    first, second = PostgresStore(url), PostgresStore(url)
    before, since = batches()
    worker = flattener(first)
    worker.apply(before)
    caught: list[BaseException] = []

    def apply() -> None:
        try:
            worker.apply(since)
        except FencedError as error:
            caught.append(error)

    late = threading.Thread(target=apply)
    with second.transaction() as tx:
        late.start()
        while not waiting(url):
            assert late.is_alive()
        tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "epoch", "value": "7"}])
    late.join(SECONDS)

    assert len(caught) == 1
    captures = [entry for entry in before if entry.stream.startswith("crm.")]
    assert len(told(second, ["captures"])["captures"]) == len(captures)
    first.close()
    second.close()


def waiting(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as con:
        found = con.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
    return found is not None


@pytest.mark.parametrize("what", ["execute", "copy"])
def test_a_worker_whose_connection_is_cut_at_any_statement_leaves_nothing_and_goes_on(
    what: str, store: PostgresStore, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, since = batches()
    since = since[:2]
    flattener(store).apply(before)
    names = ["captures", "events", "headrace.positions"]
    untouched = told(store, names)
    home = psycopg.Connection if what == "execute" else psycopg.RawCursor
    real, left = getattr(home, what), -1

    def cut(self: Any, *args: Any, **more: Any) -> Any:
        nonlocal left
        con: Any = self if what == "execute" else self.connection
        if store._writer is not None and con is store._writer:
            if left == 0:
                postgres.sql(f"SELECT pg_terminate_backend({store._writer.info.backend_pid}, 5000)")
            left -= 1
        return real(self, *args, **more)

    monkeypatch.setattr(home, what, cut)
    # Before BEGIN nothing is lost: the next connection begins.
    steps = 1 if what == "execute" else 0
    while True:
        worker = flattener(store)
        left = steps
        try:
            worker.apply(since)
        except UnreachableError:
            assert told(store, names) == untouched, f"after {steps} statements"
            steps += 3  # each single one is tried on every store: see tests/contracts
        else:
            break
    assert steps > (25 if what == "execute" else 6)
    assert told(store, names) != untouched


def test_a_worker_that_is_frozen_in_the_middle_of_a_batch_is_thrown_out(url: str) -> None:
    frozen, other = PostgresStore(url), PostgresStore(url)

    def stay() -> None:
        with frozen.transaction() as tx:
            tx.append("events", tables.EVENTS, [{"event_id": "e"}])
            assert frozen._writer is not None
            frozen._writer.execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
            with other.transaction() as next_one:
                assert next_one.rows("SELECT * FROM events") == []

    with pytest.raises(UnreachableError):
        stay()
    with frozen.transaction() as tx:
        assert tx.rows("SELECT * FROM events") == []
    frozen.close()
    other.close()


def test_a_table_that_a_forgotten_session_holds_keeps_the_batch_waiting_only_so_long(
    store: PostgresStore, url: str
) -> None:
    with psycopg.connect(url) as forgotten:
        forgotten.execute("SELECT count(*) FROM public.users")
        assert store._writer is not None
        store._writer.execute("SET lock_timeout = '20ms'")
        with pytest.raises(UnreachableError, match=r"Another session of .* holds"), store.transaction() as tx:
            tx.ensure_columns("users", [tables.META[1]])
    with store.transaction() as tx:
        tx.ensure_columns("users", [tables.META[1]])


def test_the_server_goes_away_and_comes_back(store: PostgresStore, url: str, postgres: Cluster) -> None:
    reader = PostgresReader(url)
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "1"}])
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(UnreachableError, match=r"^PostgreSQL at .* does not answer: start it, or correct"):
                store.query("SELECT 1")
            with pytest.raises(UnreachableError, match="does not answer"), store.transaction():
                pass
            with pytest.raises(UnreachableError, match="does not answer"), store.reading() as reading:
                reading.known_ids("Contact", limit=1)
            with pytest.raises(UnreachableError, match="does not answer"):
                reader.query("SELECT 1")
            with pytest.raises(UnreachableError, match="does not answer"):
                PostgresStore(url)
    finally:
        postgres.start()
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "2"}])
    assert ask(reader, "SELECT count(*) AS n FROM events") == [{"n": 2}]
    reader.close()


def test_the_server_is_restarted_between_two_batches_and_nobody_notices(
    store: PostgresStore, url: str, postgres: Cluster
) -> None:
    reader = PostgresReader(url)
    assert ask(reader, "SELECT 1 AS one") == [{"one": 1}]
    postgres.stop()
    postgres.start()
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "1"}])
    assert (
        ask(store, "SELECT count(*) AS n FROM events") == ask(reader, "SELECT count(*) AS n FROM events") == [{"n": 1}]
    )
    reader.close()


def test_a_statement_that_failed_and_was_passed_over_is_no_commit(store: PostgresStore) -> None:
    with pytest.raises(Exception, match="a statement of it had failed"), store.transaction() as tx:  # noqa: PT012
        tx.append("events", tables.EVENTS, [{"event_id": "1"}])
        with pytest.raises(psycopg.Error):
            tx.rows("SELECT * FROM nowhere")
    assert ask(store, "SELECT count(*) AS n FROM events") == [{"n": 0}]


def test_a_store_that_was_closed_says_so(store: PostgresStore) -> None:
    store.close()
    with pytest.raises(UnreachableError, match="closed"):
        store.query("SELECT 1")
    with pytest.raises(UnreachableError, match="closed"), store.transaction():
        pass


def test_transactions_are_not_nested(store: PostgresStore) -> None:
    with store.transaction():
        with pytest.raises(RuntimeError, match="open already"), store.transaction():
            pass
        with pytest.raises(RuntimeError, match="open"):
            store.close()
