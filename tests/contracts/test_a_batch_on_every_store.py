"""What batches leave behind is the same on every store, and all of a batch or nothing of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from batches import EVERYTHING, OBJECTS, batches, flattener, record, told

from integration.store.clickhouse.store import ClickHouseStore
from integration.store.duckdb.store import DuckDBStore
from integration.store.postgres.store import PostgresStore
from integration.store.protocol import Reading, Store

Opener = Callable[[], Store]
WRITTEN: tuple[str, ...] = (
    "captures",
    "events",
    "users",
    "headrace.states",
    "headrace.positions",
    "salesforce.contact",
    "schema_log",
)
"""Tables of which every batch writes some first and some last."""


_CUTS = {DuckDBStore: (0, 4), PostgresStore: (2, 4), ClickHouseStore: (0, 29)}
"""Where the first batch is broken off, and after how many steps the next one."""


class BrokenError(Exception):
    """The machine stops here."""


class Breaking:
    """A store that breaks down before the `at`-th thing that is asked of its transactions."""

    def __init__(self, store: Store, at: int) -> None:
        self._store = store
        self._left = at

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._store.transaction() as tx:
            yield BreakingTransaction(tx, self._count)
            self._count()

    def reading(self) -> AbstractContextManager[Reading]:
        return self._store.reading()

    def _count(self) -> None:
        if not self._left:
            raise BrokenError
        self._left -= 1


class BreakingTransaction:
    def __init__(self, tx: Any, count: Callable[[], None]) -> None:
        self._tx = tx
        self._count = count

    def __getattr__(self, name: str) -> Any:
        self._count()
        return getattr(self._tx, name)


@pytest.fixture(scope="module")
def by_duckdb(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[str]]]:
    """What DuckDB's store says after each batch: the others must say the same."""
    store = DuckDBStore(tmp_path_factory.mktemp("reference") / "headrace.duckdb", threads=1)
    try:
        return [said for batch in batches() if flattener(store).apply(batch) and (said := told(store))]
    finally:
        store.close()


def test_every_store_says_the_same_of_the_same_batches(store: Store, by_duckdb: list[dict[str, list[str]]]) -> None:
    for batch, expected in zip(batches(), by_duckdb, strict=True):
        assert flattener(store).apply(batch).rejects == []
        said = told(store)
        assert [name for name in expected if said[name] != expected[name]] == []
        assert said == expected


@pytest.mark.slow_on("clickhouse")
def test_a_batch_that_comes_again_changes_nothing(store: Store) -> None:
    for batch in batches():
        flattener(store).apply(batch)
    before = told(store)
    for batch in batches():
        assert flattener(store).apply(batch).stored == 0
        assert flattener(store).apply(batch, again=True).stored == 0
    assert told(store) == before


@pytest.mark.slow_on("clickhouse")
def test_a_replay_of_all_captures_finds_everything_as_it_should_be(store: Store) -> None:
    for batch in batches():
        flattener(store).apply(batch)
    before = told(store)
    worker = flattener(store)
    for name in OBJECTS:
        assert worker.replayer.records(name, [record(name, number) for number in range(1, 6)]).changed_nothing
    assert all(worker.replayer.people(name).changed_nothing for name in ("Contact", "Lead", "Product"))
    assert worker.replayer.nobody().changed_nothing
    assert told(store) == before


@pytest.mark.slow_on("clickhouse")
def test_a_replay_brings_back_what_somebody_has_spoiled(store: Store) -> None:
    for batch in batches():
        flattener(store).apply(batch)
    before = told(store)
    with store.transaction() as tx:
        tx.delete("events", "record_id", [record("Contact", 1)])
        tx.update("changes", "record_id", "new_value", {record("Opportunity", 1): "spoiled"})
        tx.delete("users", "user_id", [record("Contact", 1)])
        tx.delete("headrace.people", "user_id", [record("Contact", 4)])
        tx.update("salesforce.account", "id", "name", {record("Account", 1): None})
    assert told(store) != before
    worker = flattener(store)
    done = [worker.replayer.records(name, [record(name, number) for number in range(1, 6)]) for name in OBJECTS]
    assert not all(one.changed_nothing for one in done)
    assert told(store) == before


def test_a_batch_that_breaks_off_between_any_two_steps_leaves_nothing_and_can_be_done_again(opener: Opener) -> None:
    before, since = batches()
    store = opener()
    flattener(store).apply(before)
    untouched = told(store)
    # Steps are much the same on all stores: two of them share the places, the third has many more and takes a few.
    steps, stride = _CUTS[type(store)]
    while True:
        worker = flattener(store)
        worker._store = Breaking(store, steps)  # type: ignore[assignment]
        try:
            worker.apply(since)
        except BrokenError:
            steps += stride
        else:
            break
        names = WRITTEN
        if steps % 5 == 0:
            # Sometimes whoever takes over is another process.
            store.close()
            store, names = opener(), EVERYTHING
        assert told(store, names) == {name: untouched[name] for name in names}, f"after {steps} steps"
    done = told(store)
    store.close()
    store = opener()
    assert told(store) == done != untouched
    assert steps > 30
    store.close()
