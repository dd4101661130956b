import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.store.clickhouse.store import ClickHouseStore
from integration.store.duckdb.store import DuckDBStore
from integration.store.postgres.store import PostgresStore
from integration.store.protocol import Store

if TYPE_CHECKING:
    from defined import World

sys.path.insert(0, str(Path(__file__).parent))

Opener = Callable[[], Store]


def duckdb_file(request: pytest.FixtureRequest) -> Opener:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("store")
    return lambda: DuckDBStore(folder / "headrace.duckdb", memory_limit="512MB", threads=2)


def postgres_database(request: pytest.FixtureRequest) -> Opener:
    url = request.getfixturevalue("postgres").emptied()
    return lambda: PostgresStore(url)


def clickhouse_engine(request: pytest.FixtureRequest) -> Opener:
    engine = request.getfixturevalue("clickhouse").emptied()
    return lambda: ClickHouseStore(engine)


BACKENDS: dict[str, Callable[[pytest.FixtureRequest], Opener]] = {
    "clickhouse": clickhouse_engine,
    "duckdb": duckdb_file,
    "postgres": postgres_database,
}
"""For each kind of store what makes a place for one, and returns what opens it: the first time with new tables."""


@pytest.fixture(params=sorted(BACKENDS))
def opener(request: pytest.FixtureRequest) -> Opener:
    return BACKENDS[request.param](request)


@pytest.fixture
def store(opener: Opener) -> Iterator[Store]:
    opened = opener()
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def module_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store that the tests of a module share: they only read."""
    opened = BACKENDS[request.param](request)()
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> "World":
    """A store with people in it, and definitions."""
    from defined import World

    return World(store)
