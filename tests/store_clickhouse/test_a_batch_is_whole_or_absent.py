"""The writer dies at every statement it sends; the next one finds all of the batch or nothing of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from chdb_engine import Engine

from integration.core.columns import Column, ColumnType
from integration.errors import FencedError
from integration.store import tables
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.journal import Entry
from integration.store.clickhouse.store import ClickHouseStore
from integration.store.protocol import Transaction

CONTACT = "salesforce.contact"
COLUMNS = (Column("id", ColumnType.TEXT), Column("amount", ColumnType.DECIMAL), Column("title", ColumnType.TEXT))
NAMES = ("salesforce.contact", "events", "captures", "headrace.positions", "sign_up")


class DiedError(BaseException):
    """The writer is gone."""


@contextmanager
def dying_at(statement: int) -> Iterator[list[str]]:
    """Have every statement from this one on fail, as for a process that is no more. What other threads send, as an
    owner's that gives signs of life, does not count."""
    sent: list[str] = []
    writer = threading.get_ident()

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Session, sql: str, *args: Any, **more: Any) -> Any:
            if threading.get_ident() == writer:
                sent.append(sql)
                if len(sent) >= statement:
                    raise DiedError
            return real(self, sql, *args, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "table", "types", "insert"):
            patch.setattr(Session, name, dies(getattr(Session, name)))
        yield sent


def first(tx: Transaction) -> None:
    tx.ensure_columns(CONTACT, COLUMNS[:2])
    tx.append(CONTACT, COLUMNS[:2], [{"id": "a", "amount": 1}, {"id": "b", "amount": 2}])
    tx.append("captures", tables.CAPTURES, [{"capture_id": "old", "stored_at": "2026-01-01T00:00:00Z"}])
    tx.upsert("headrace.positions", ("stream",), tables.POSITIONS, [{"stream": "crm.contact", "offset": "1-0"}])


def second(tx: Transaction) -> None:
    tx.ensure_columns(CONTACT, COLUMNS)
    tx.upsert(CONTACT, ("id",), COLUMNS, [{"id": "b", "amount": 0.12345, "title": "CTO"}, {"id": "c"}])
    tx.delete(CONTACT, "id", ["a"])
    tx.append("events", tables.EVENTS, [{"event_id": "1", "name": "Sign Up"}])
    tx.ensure_view("sign_up", "SELECT * FROM events WHERE name = 'Sign Up'")
    tx.forget_before("captures", "stored_at", "2026-01-15T00:00:00Z")
    tx.upsert("headrace.positions", ("stream",), tables.POSITIONS, [{"stream": "crm.contact", "offset": "2-0"}])


def everything(store: ClickHouseStore) -> dict[str, Any]:
    there = {*store.table_names()}
    with store.reading() as reading:
        return {n: sorted(reading.rows(f"SELECT * FROM {n}"), key=str) for n in NAMES if n in there}


def write(store: ClickHouseStore, batch: Callable[[Transaction], None]) -> None:
    with store.transaction() as tx:
        batch(tx)


def test_a_writer_that_dies_anywhere_leaves_a_whole_batch_or_none(clickhouse: Engine) -> None:
    def begun() -> ClickHouseStore:
        store = ClickHouseStore(clickhouse.emptied())
        write(store, first)
        return store

    store = begun()
    before = everything(store)
    with dying_at(1_000) as sent:
        write(store, second)
    after = everything(store)
    store.close()
    assert before != after
    commit = next(place for place, what in enumerate(sent, start=1) if "_journal`" in what and "SELECT" not in what)

    outcomes = {}
    # What comes before the commit is alike: some of it stands for all.
    for statement in (*range(2, commit, 20), commit, *range(commit + 1, len(sent) + 1, 2)):
        store = begun()
        with dying_at(statement), pytest.raises(DiedError):
            write(store, second)
        store.close()
        next_one = ClickHouseStore(clickhouse)
        found = everything(next_one)
        assert found in (before, after), f"half a batch after statement {statement}"
        outcomes[statement] = found == after
        if not outcomes[statement]:
            write(next_one, second)
            assert everything(next_one) == after
        next_one.close()
    assert outcomes == {statement: statement > commit for statement in outcomes}


def put(store: ClickHouseStore, value: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    with store.transaction() as tx:
        tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "a", "value": value}])
        meanwhile()


def value(store: ClickHouseStore) -> Any:
    with store.reading() as reading:
        return reading.rows("SELECT value FROM headrace.meta WHERE key = 'a'")[0]["value"]


def test_of_two_writers_of_one_batch_one_is_told_that_it_lost(engine: Engine) -> None:
    one, other = ClickHouseStore(engine), ClickHouseStore(engine)
    with pytest.raises(FencedError, match="nothing of what this one was writing is stored"):
        put(one, "lost", lambda: put(other, "won"))
    assert value(one) == "won"
    put(one, "later")
    assert value(other) == "later"
    one.close()
    other.close()


def test_a_writer_learns_of_columns_that_another_has_added(engine: Engine) -> None:
    one, other = ClickHouseStore(engine), ClickHouseStore(engine)
    write(one, first)
    write(other, second)
    with one.transaction() as tx:
        tx.upsert(CONTACT, ("id",), COLUMNS, [{"id": "d", "title": "CFO"}])
        assert [r["title"] for r in tx.rows(f"SELECT title FROM {CONTACT} ORDER BY id")] == ["CTO", None, "CFO"]
    one.close()
    other.close()


def test_a_batch_applied_again_after_later_ones_changes_nothing(store: ClickHouseStore, engine: Engine) -> None:
    write(store, first)
    write(store, second)
    with store.transaction() as tx:
        tx.upsert(CONTACT, ("id",), COLUMNS, [{"id": "c", "amount": 1e-9, "title": "VP"}])
        tx.append("captures", tables.CAPTURES, [{"capture_id": "late", "stored_at": "2026-01-02T00:00:00Z"}])
    expected = everything(store)
    session = Session(engine)
    found = session.table("SELECT batch, writer, body FROM headrace_rows._journal ORDER BY batch DESC LIMIT 3")
    session.close()
    batches = [
        (batch.as_py(), writer.as_py(), Entry.decoded(body.as_buffer().to_pybytes()))
        for batch, writer, body in zip(*(found.column(n) for n in ("batch", "writer", "body")), strict=True)
    ]
    for batch, writer, entry in batches:  # one who wakes up in the middle of a batch: the newest first
        store._journal.apply(batch, writer, entry)
        assert everything(store) == expected
    for batch, writer, entry in reversed(batches):  # with no token to keep the rows out, in their order
        store._journal.apply(batch, f"again-{writer}", entry)
    assert everything(store) == expected


def test_the_log_of_batches_long_applied_is_dropped_and_their_numbers_stay_taken(engine: Engine) -> None:
    zombie, store = ClickHouseStore(engine), ClickHouseStore(engine)
    session = Session(engine)
    now = store._journal.head().committed
    last = (now // 64 + 3) * 64 - 1  # the last one before the log is tidied

    def others_go_on() -> None:
        session.run(
            "INSERT INTO headrace_rows._journal (batch, writer, body) "
            f"SELECT number, 'another', '' FROM numbers({now + 1}, {last - now})"
        )
        session.run(f"INSERT INTO headrace_rows._applied (batch) VALUES ({last})")
        put(store, "theirs")

    with pytest.raises(FencedError):
        put(zombie, "zombie", others_go_on)
    kept = session.table("SELECT batch FROM headrace_rows._journal ORDER BY batch").column(0).to_pylist()
    # The zombie wrote its entry when its number was free again; it counts for nothing.
    assert kept == [now + 1, *range(last + 1 - 64, last + 2)]
    assert value(zombie) == "theirs"
    session.close()
    zombie.close()
    store.close()
