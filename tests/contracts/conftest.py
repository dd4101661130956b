from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.store.duckdb.store import DuckDBStore
from integration.store.protocol import Store

BACKENDS: dict[str, Callable[[Path], Store]] = {
    "duckdb": lambda folder: DuckDBStore(folder / "headrace.duckdb", memory_limit="512MB", threads=2),
}


@pytest.fixture(params=sorted(BACKENDS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = BACKENDS[request.param](tmp_path)
    yield opened
    opened.close()
