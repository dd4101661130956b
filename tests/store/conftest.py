from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.store.duckdb.store import DuckDBStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    opened = DuckDBStore(path, memory_limit="512MB", threads=2)
    yield opened
    opened.close()
