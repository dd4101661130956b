from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import settings as settings_module
from integration.settings import Settings
from integration.store.duckdb.store import DuckDBStore


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a worker whose store lies in an empty folder."""
    env = {"HEADRACE_STORE__URL": f"duckdb:///{tmp_path}/headrace.duckdb", "HEADRACE_WEB__PORT": "0"}
    return settings_module.load(None, env)


@pytest.fixture
def store(settings: Settings) -> Iterator[DuckDBStore]:
    opened = DuckDBStore(settings.store_path, memory_limit="512MB", threads=2)
    yield opened
    opened.close()
