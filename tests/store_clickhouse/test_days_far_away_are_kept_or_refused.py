from typing import Any

import pytest
from chdb_engine import Engine

from integration.core.columns import Column, ColumnType
from integration.store.clickhouse import ranges
from integration.store.clickhouse.store import ClickHouseStore
from integration.store.protocol import Misfit

COLUMNS = (
    Column("id", ColumnType.TEXT),
    Column("day", ColumnType.DATE),
    Column("at", ColumnType.TIMESTAMP),
)
FAR = [
    {"id": "first", "day": "0001-01-01", "at": "1700-01-01T00:00:00Z"},
    {"id": "last", "day": "4000-12-31", "at": "9999-12-31T23:59:59.999999Z"},
]
NEAR = [
    {"id": "a", "day": "1900-01-01", "at": "1900-01-01T00:00:00Z"},
    {"id": "b", "day": None, "at": "2299-12-31T23:59:59.999999Z"},
]


def written(store: ClickHouseStore, rows: Any) -> Any:
    with store.transaction() as tx:
        tx.ensure_columns("salesforce.opportunity", COLUMNS)
        tx.append("salesforce.opportunity", COLUMNS, rows)
    with store.reading() as reading:
        return reading.rows("SELECT id, day, at FROM salesforce.opportunity ORDER BY id")


def test_a_server_of_today_keeps_every_day_there_is(store: ClickHouseStore) -> None:
    assert written(store, FAR) == FAR


@pytest.mark.parametrize(("column", "row"), [("day", FAR[0]), ("at", {**FAR[1], "day": None})])
def test_a_server_that_knows_fewer_years_refuses_the_rest_and_bends_nothing(
    column: str, row: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "holds_all", lambda _session: False)
    store = ClickHouseStore(engine)
    with pytest.raises(Misfit, match="outside the years 1900 to 2299") as caught:
        written(store, [*NEAR, row])
    assert (caught.value.column, caught.value.rows) == (column, (2,))
    assert written(store, NEAR) == NEAR
    store.close()
