from collections.abc import Iterator

import pytest
from chdb_engine import Engine

from integration.store.clickhouse.store import ClickHouseStore


@pytest.fixture
def engine(clickhouse: Engine) -> Engine:
    return clickhouse.emptied()


@pytest.fixture
def store(engine: Engine) -> Iterator[ClickHouseStore]:
    opened = ClickHouseStore(engine)
    yield opened
    opened.close()
