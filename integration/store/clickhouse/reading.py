"""What headrace itself asks a ClickHouse."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from integration.store import answers
from integration.store.clickhouse import layout
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.dialect import compiled
from integration.store.protocol import State


class ClickHouseReading:
    """See protocol.Reading. Reads what was committed last; a transaction lays its own writes over it."""

    def __init__(self, session: Session, main: str) -> None:
        self._session = session
        self._main = main

    def states(self, object_name: str, record_ids: Iterable[str]) -> list[State]:
        """See protocol.Reading."""
        ids = list(dict.fromkeys(record_ids))
        if not ids:
            return []
        sql = "SELECT record_id, payload FROM headrace.states WHERE object = ? AND record_id = any(?)"
        found = self._table(sql, [object_name, ids])
        payloads = found.column("payload").cast(pa.binary())
        return [State(*pair) for pair in zip(found.column("record_id").to_pylist(), payloads.to_pylist(), strict=True)]

    def known_ids(self, object_name: str, *, after: str = "", limit: int) -> list[tuple[str, bool]]:
        """See protocol.Reading."""
        sql = (
            "SELECT record_id, is_deleted FROM headrace.states WHERE object = ? AND record_id > ? "
            f"ORDER BY record_id LIMIT {limit:d}"
        )
        found = self._table(sql, [object_name, after])
        return list(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """See protocol.Reading. Values have the form in which columns take them: times and dates as ISO text, numbers
        as int, float or Decimal, JSON as text."""
        return answers.plain_rows(self._table(sql, parameters))

    def _table(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        return self._session.table(self._text(sql, parameters))

    def _text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        return compiled(sql).text(self._source, parameters)

    def _source(self, table: str) -> str:
        """Return what stands for a table in SQL."""
        return layout.public(table, self._main)
