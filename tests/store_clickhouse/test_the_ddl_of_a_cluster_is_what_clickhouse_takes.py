from collections.abc import Iterator
from pathlib import Path

import pytest
from chdb_engine import Engine

from integration.store.clickhouse import layout, sharding
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.layout import Layout
from integration.store.tables import FIXED

GOLDEN = Path(__file__).parent / "cluster.sql"


def tables() -> list[Layout]:
    columns = {name: {c.name: layout.type_of(c) for c in listed} for name, listed in FIXED.items()}
    return [Layout(name, kinds, layout.key_of(name, [*kinds])) for name, kinds in columns.items()]


def test_the_ddl_of_a_cluster_is_as_written_down(request: pytest.FixtureRequest) -> None:
    text = ";\n\n".join(sharding.ddl(tables(), "people", "crm")) + ";\n"
    if request.config.getoption("--write-golden"):
        GOLDEN.write_text(text, "utf-8")
    assert text == GOLDEN.read_text("utf-8")


@pytest.fixture
def session(clickhouse: Engine) -> Iterator[Session]:
    opened = Session(clickhouse.wiped())
    yield opened
    opened.close()
    clickhouse.wiped()


def test_clickhouse_takes_the_ddl_of_a_cluster(session: Session) -> None:
    session.run("CREATE DATABASE crm")
    for statement in sharding.ddl(tables(), "people", "crm"):
        session.run(statement)
    doors = session.table("SELECT name, engine_full FROM system.tables WHERE engine = 'Distributed' ORDER BY name")
    assert [row["name"] for row in doors.to_pylist()] == ["everywhere.changes", "everywhere.events", "everywhere.users"]
    assert "cityHash64(coalesce(user_id, event_id, ''))" in doors.column("engine_full")[0].as_py()
    # What decides where a row lies is part of its key: no row can be in two places.
    keys = session.table("SELECT name, sorting_key FROM system.tables WHERE engine = 'ReplacingMergeTree'").to_pylist()
    assert {k["name"]: k["sorting_key"].strip("()").split(", ")[:2] for k in keys} == {
        "changes": ["user_id", "event_id"],
        "events": ["user_id", "event_id"],
        "users": ["user_id"],
    }
    assert [*session.types("SELECT * FROM crm.users")] == [c.name for c in FIXED["users"]]
