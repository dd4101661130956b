import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Cluster

from integration.store.postgres.store import PostgresStore

# The batches that every store is held to.
sys.path.insert(0, str(Path(__file__).parent.parent / "contracts"))


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.emptied()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(url)
    yield opened
    opened.close()
