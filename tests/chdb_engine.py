"""ClickHouse's own engine in this process (chdb), behind the door through which a store reaches a server."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect

from integration.store import tables
from integration.store.clickhouse import layout
from integration.store.clickhouse.catalog import read
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.store import ClickHouseStore

_TWO_SHARDS = """
<clickhouse><remote_servers><people>
  <shard><replica><host>127.0.0.1</host><port>9</port></replica></shard>
  <shard><replica><host>127.0.0.2</host><port>9</port></replica></shard>
</people></remote_servers></clickhouse>
"""
"""A cluster in name: nobody listens there."""


class Engine:
    """A door to the engine; a process can have one, with its data in one folder. Nothing is sent over a network."""

    shown = "the engine of the tests"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "data"
        self._config = folder / "config.xml"
        self._config.write_text(_TWO_SHARDS, "utf-8")
        # The engine ends with its last client.
        self._last = self.client({}, None)
        self.fresh_tables = _tables_of_a_new_store(self)

    def client(self, settings: Mapping[str, str], session: str | None) -> Any:
        return clickhouse_connect.get_client(
            interface="chdb",
            path=str(self._folder),
            settings={**settings, "max_threads": "1"},
            chdb_options={"config-file": str(self._config)},
        )

    def emptied(self) -> "Engine":
        """Bring the databases back to what they are in a new store: quicker than to make them anew."""
        session = Session(self)
        there = read(session, "default")
        for view in {*there.views} - {*tables.VIEWS}:
            session.run(f"DROP VIEW {layout.public(view, 'default')}")
        for name, one in there.tables.items():
            if self.fresh_tables.get(name) != one.columns:
                session.run(f"DROP VIEW {layout.public(name, 'default')}")
                session.run(f"DROP TABLE {layout.rows_of(name)} SYNC")
        filled = session.table(
            f"SELECT name FROM system.tables WHERE database = '{layout.ROWS}' AND total_rows > 0 "
            "AND NOT startsWith(name, '_')"  # the journal goes on
        )
        for name in filled.column(0).to_pylist():
            session.run(f"TRUNCATE TABLE {layout.rows_of(name)}")
        for view in tables.VIEWS:
            if there.views.get(view) != tables.view_sql(view):
                session.run(f"DROP VIEW IF EXISTS {layout.public(view, 'default')}")
        session.close()
        return self

    def wiped(self) -> "Engine":
        """Drop all databases."""
        session = Session(self)
        there = session.table(
            "SELECT name FROM system.databases WHERE lower(name) NOT IN ('system', 'information_schema')"
        )
        for database in there.column(0).to_pylist():
            session.run(f"DROP DATABASE {database} SYNC")
        session.run("CREATE DATABASE default")
        session.close()
        return self

    def close(self) -> None:
        self._last.close()


def _tables_of_a_new_store(engine: Engine) -> Mapping[str, Mapping[str, str]]:
    ClickHouseStore(engine).close()
    session = Session(engine)
    found = {name: one.columns for name, one in read(session, "default").tables.items()}
    session.close()
    return found


@contextmanager
def running(folder: Path) -> Iterator[Engine]:
    """Start the engine of this process."""
    engine = Engine(folder)
    yield engine
    engine.close()
