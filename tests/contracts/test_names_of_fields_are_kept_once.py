"""Last images are kept without the names of their fields: a layout is in the store before anybody needs it."""

from collections.abc import Sequence
from typing import Any

import pytest
from batches import FIRST, SECOND, Stream, flattener, record

from consumers.batch import Entry, Reject
from consumers.known import Memory
from integration.store.answers import ask
from integration.store.last_images import read_images
from integration.store.protocol import Store, Transaction

CONTACT = {"Name": "Ann", "Title": "CEO", "Email": "ann@example.com"}


def entry(number: int, **fields: Any) -> Entry:
    return Stream().entry(FIRST, "Contact", number, "02-11T12:00:00", **fields)._replace(offset=f"{number}-0")


def layouts(store: Store) -> list[str]:
    return [row["layout"] for row in ask(store, "SELECT layout FROM headrace.layouts ORDER BY layout")]


def test_records_with_the_same_fields_share_one_layout(store: Store) -> None:
    flattener(store).apply([entry(number, **CONTACT) for number in range(1, 6)])
    assert len(layouts(store)) == 1


def test_what_is_read_without_a_worker_is_what_was_stored(store: Store) -> None:
    flattener(store).apply([entry(1, **CONTACT)])
    rows = ask(store, "SELECT payload FROM headrace.states")
    [one] = read_images((row["payload"] for row in rows), lambda sql: ask(store, sql))
    assert {name: one.fields[name] for name in CONTACT} == CONTACT


def test_a_layout_of_a_batch_that_failed_is_stored_with_the_next(store: Store) -> None:
    worker = flattener(store)

    def fail(tx: Transaction, entries: Sequence[Entry], rejects: Sequence[Reject]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        worker.apply([entry(1, **CONTACT)], judge=fail)
    assert layouts(store) == []
    worker.apply([entry(1, **CONTACT)])
    assert len(layouts(store)) == 1
    changed = entry(1, **CONTACT | {"Title": "CTO"})._replace(offset="2-0")
    changed.fields[b"data"] = changed.fields[b"data"].replace(b"2026-02-11", b"2026-02-12")
    flattener(store).apply([changed])
    told = ask(store, "SELECT old_value, new_value FROM changes WHERE field = 'Title'")
    assert told == [{"old_value": "CEO", "new_value": "CTO"}]


def test_a_layout_that_nobody_here_has_met_is_looked_up(store: Store) -> None:
    begun_before = Memory(10)
    with store.transaction() as tx:
        assert begun_before.load(tx, "Contact", [record("Contact", 1)]) == {}
    flattener(store).apply([entry(1, **CONTACT)])
    with store.transaction() as tx:
        [one] = begun_before.load(tx, "Contact", [record("Contact", 1)]).values()
    assert one.fields["Title"] == "CEO"


def test_a_field_that_comes_later_makes_another_layout(store: Store) -> None:
    worker = flattener(store)
    worker.apply([entry(1, **CONTACT)])
    before = layouts(store)
    later = Stream().entry(SECOND, "Contact", 1, "02-12T12:00:00", **CONTACT, Nickname__c="A")._replace(offset="2-0")
    worker.apply([later])
    assert set(before) < set(layouts(store))
    assert len(layouts(store)) == 2
