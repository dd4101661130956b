"""The tables are a function of what was captured, not of the order in which streams were read."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.apply import Flattener
from consumers.batch import Entry
from integration.store.answers import ask
from integration.store.duckdb.store import DuckDBStore
from integration.wiring import parts

Found = Callable[..., Any]
Capture = dict[str, Any]

TABLES = {
    "users": "SELECT * FROM users ORDER BY user_id",
    "accounts": "SELECT * FROM accounts ORDER BY account_id",
    "identities": "SELECT * FROM identities ORDER BY alias",
    "events": "SELECT * EXCLUDE (stored_at) FROM events ORDER BY event_id",
    "changes": "SELECT * FROM changes ORDER BY event_id, field",
    "user_events": "SELECT user_id, event_id, via FROM user_events ORDER BY ALL",
    "contacts": "SELECT * FROM salesforce.contact ORDER BY id",
}


@pytest.fixture(scope="module")
def captured(found_for_all: Found) -> tuple[Any, list[Capture], dict[str, bytes]]:
    """A company, all that was captured of a life with several syncs, and the descriptions to read it with."""
    company = found_for_all(accounts=2, seed=11)
    company.sync()
    for _ in range(2):
        company.live(25)
        company.sync()
    captures = company.query("SELECT stream, payload FROM captures ORDER BY stream, stored_at, rowid")
    schemas = company.query("SELECT schema_id, body::VARCHAR AS body FROM headrace.schemas")
    return company, captures, {row["schema_id"]: row["body"].encode() for row in schemas}


@settings(
    max_examples=1, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 10_000), batch=st.integers(15, 400))
def test_whatever_the_order_of_streams_and_the_size_of_batches_the_tables_are_the_same(
    captured: tuple[Any, list[Capture], dict[str, bytes]],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    batch: int,
) -> None:
    company, captures, schemas = captured
    folder = tmp_path_factory.mktemp("orders")

    in_turn = _tables(company, schemas, folder / "a.duckdb", _batches(_entries(captures), 5_000))
    shuffled = _batches(_interleaved(_entries(captures), random.Random(seed)), batch)
    at_random = _tables(company, schemas, folder / "b.duckdb", shuffled)

    assert at_random == in_turn
    assert {r["user_id"] for r in in_turn["users"]} == {r["user_id"] for r in company.query(TABLES["users"])}


def _entries(captures: Sequence[Capture]) -> dict[str, list[Entry]]:
    streams: dict[str, list[Entry]] = defaultdict(list)
    for capture in captures:
        mine = streams[capture["stream"]]
        payload = capture["payload"]
        data = payload.encode() if isinstance(payload, str) else payload
        mine.append(Entry(capture["stream"], f"{len(mine) + 1}-0", {b"data": data}))
    return streams


def _interleaved(streams: dict[str, list[Entry]], rng: random.Random) -> dict[str, list[Entry]]:
    """Mix the streams at random; within a stream the order stays."""
    order = [name for name, entries in streams.items() for _ in entries]
    rng.shuffle(order)
    waiting = {name: iter(entries) for name, entries in streams.items()}
    return {"mixed": [next(waiting[name]) for name in order]}


def _batches(streams: dict[str, list[Entry]], size: int) -> list[list[Entry]]:
    return [mine[start : start + size] for mine in streams.values() for start in range(0, len(mine), size)]


def _tables(company: Any, schemas: dict[str, bytes], file: Path, batches: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    store = DuckDBStore(file)
    try:
        flattener = Flattener(
            store, parts.rules(company.settings), now=lambda: "2026-03-03T00:00:00Z", fetch_schema=schemas.get
        )
        for batch in batches:
            assert not flattener.apply(batch).rejects
        return {name: ask(store, sql, limit=None) for name, sql in TABLES.items()}
    finally:
        store.close()
