"""A mart that was refreshed key by key holds what its SELECT says, whatever came when."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from batches import EVERYWHERE, OBJECTS, batches, flattener, product_event, written

from consumers.apply import Flattener
from consumers.batch import Entry
from integration.store import answers, tables
from integration.store.answers import ask
from integration.store.dialects import Dialect, said_in
from integration.store.marts import MARTS, SHOWN
from integration.store.projection import Shape
from integration.store.protocol import Store


def shape_of(objects: Mapping[str, Iterable[str]]) -> Shape:
    """Return the shape of an org with these fields, as far as the marts look at it."""
    return Shape({name: frozenset(f.lower() for f in (*EVERYWHERE, *fields)) for name, fields in objects.items()})


SHAPE = shape_of(OBJECTS)


def refreshed(worker: Flattener) -> int:
    """Refresh until nothing is stale, and return how many keys that took."""
    keys = 0
    while count := worker.marts.refresh():
        keys += count
    return keys


def rows(store: Store, sql: str) -> list[str]:
    return sorted(map(written, ask(store, sql)))


def assert_equal_to_their_definitions(store: Store, shape: Shape) -> None:
    for mart in (one for one in MARTS if not one.has_pseudonyms):
        listed = ", ".join(f'"{column.name}"' for column in mart.columns)
        defined = f"SELECT {listed} FROM ({mart.everything(shape)}) AS defined"
        assert rows(store, f"SELECT {listed} FROM {mart.name}") == rows(store, defined), mart.name


def visits(seed: int) -> list[Entry]:
    """Return two hundred events of a few browsers and users, who turn out to be one another now and then."""
    luck = Random(seed)
    found = []
    for number in range(200):
        at = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=luck.randrange(20_000))).strftime("%m-%dT%H:%M:%S")
        who = luck.choice(["anonymous", "user", "both"])
        ids = {"anonymous_id": f"a-{luck.randrange(8)}"} if who != "user" else {}
        ids |= {"user_id": f"u-{luck.randrange(5)}"} if who != "anonymous" else {}
        kind = luck.choice(["track", "page", "page", "identify"])
        traits = {"email": luck.choice(["ann@example.com", "bo@example.com"])} if kind == "identify" else {}
        campaign = {"campaign": {"name": luck.choice(["spring", "launch"])}} if luck.random() < 0.3 else {}
        found.append(product_event(number, at, kind, "Run Query", context=campaign, traits=traits, **ids))
    return found


@pytest.mark.slow_on("clickhouse")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_refreshed_in_any_parts_they_hold_what_they_are_defined_as(store: Store, seed: int) -> None:
    luck, worker = Random(seed), flattener(store)
    before, since = batches()
    stories = [*before, *visits(seed), *since]
    while stories:
        size = luck.randrange(1, 90)
        worker.apply(stories[:size])
        del stories[:size]
        for _ in range(luck.randrange(3)):
            worker.marts.refresh(limit=luck.choice([1, 3, 1_000]))
        if luck.random() < 0.3:
            worker = flattener(store)
    refreshed(worker)
    assert_equal_to_their_definitions(store, SHAPE)
    assert len(ask(store, "SELECT * FROM touches")) > 50


@pytest.mark.slow_on("clickhouse")
def test_only_what_has_changed_is_worked_out_again(store: Store) -> None:
    worker = flattener(store)
    worker.apply(visits(7))
    people = len(ask(store, "SELECT DISTINCT user_id FROM events WHERE origin = 'product'"))
    assert refreshed(worker) == people
    worker.apply([product_event(900, "02-01T00:00:00", "page", "Pricing", user_id="u-1")])
    assert refreshed(worker) == 1
    assert refreshed(worker) == 0
    assert_equal_to_their_definitions(store, Shape())


def test_what_is_due_itself_is_worked_out_once_whatever_reaches_it_before(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = flattener(store)
    worker.apply(batches()[0])
    with store.transaction() as tx:
        there = type(tx)
    done: Counter[tuple[str, str]] = Counter()
    work_out = there.work_out

    def counted(self: Any, table: str, key: str, keys: Iterable[str], *rest: Any) -> set[str]:
        done.update((table, one) for one in keys)
        return work_out(self, table, key, keys, *rest)

    monkeypatch.setattr(there, "work_out", counted)
    while worker.marts.refresh(limit=2):
        pass

    for mart in ("attribution", "opportunity_source", "headrace.lead_accounts"):
        assert {times for (table, _), times in done.items() if table == mart} == {1}, mart
    assert_equal_to_their_definitions(store, SHAPE)


def test_who_takes_the_store_over_goes_on_where_the_last_one_was(store: Store) -> None:
    worker = flattener(store)
    worker.apply(visits(3))
    assert worker.marts.refresh(limit=2) == 2
    people = len(ask(store, "SELECT DISTINCT user_id FROM events WHERE origin = 'product'"))
    assert refreshed(flattener(store)) == people - 2
    assert_equal_to_their_definitions(store, Shape())


@pytest.mark.slow_on("clickhouse")
def test_a_mart_that_is_worked_out_in_another_way_is_made_anew(store: Store) -> None:
    worker = flattener(store)
    worker.apply(visits(5))
    refreshed(worker)
    with store.transaction() as tx:
        tx.delete("daily_activity", "user_id", ["u-1", "u-2"])
        tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "mart daily_activity", "value": "another"}])
    assert refreshed(flattener(store)) > 0
    assert_equal_to_their_definitions(store, Shape())
    assert refreshed(flattener(store)) == 0


@pytest.mark.slow_on("clickhouse")
def test_the_sql_that_people_are_shown_gives_them_the_rows_of_a_mart(store: Store) -> None:
    worker = flattener(store)
    before, since = batches()
    worker.apply([*before, *visits(11), *since])
    refreshed(worker)
    dialect = next(one for one in Dialect if one.name.lower() in type(store).__name__.lower())
    for mart in SHOWN:
        listed = ", ".join(f'"{column.name}"' for column in mart.columns)
        sql = said_in(dialect, mart.everything(SHAPE))
        shown = answers.rows(store.query(f"SELECT {listed} FROM ({sql}) AS shown"))
        assert sorted(map(written, shown)) == rows(store, f"SELECT {listed} FROM {mart.name}"), mart.name
