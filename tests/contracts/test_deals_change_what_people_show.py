"""An opportunity or a role that changes says nothing about who is who: whom it reaches is read, not stitched again."""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import pytest
from batches import FIRST, Stream, batches, flattener, numbered, product_event, record, told

from consumers.apply import Flattener
from consumers.batch import Entry
from integration.store.answers import ask
from integration.store.protocol import Store, Transaction

PEOPLE = ("users", "identities", "headrace.people", "headrace.traits")
CONVERTED = {"Email": "solo@example.com", "IsConverted": True, "ConvertedContactId": record("Contact", 5)}
DEAL = {"AccountId": record("Account", 1), "StageName": "Open", "CloseDate": "2026-06-30", "IsWon": False}


def changes() -> list[Entry]:
    """Return an org, what happens in it, and among it all that can happen to opportunities and roles."""
    before, since = batches()
    stream = Stream()

    def at(minute: int, name: str, number: int, **fields: Any) -> Entry:
        return stream.entry(FIRST, name, number, f"02-11T12:{minute:02d}:00", **fields)

    def role(minute: int, number: int, deal: int, contact: int, **fields: Any) -> Entry:
        ends = {"OpportunityId": record("Opportunity", deal), "ContactId": record("Contact", contact)}
        return at(minute, "OpportunityContactRole", number, IsPrimary=False, **ends, **fields)

    more = [
        role(1, 2, 2, 2),  # of a contact that was merged into another
        role(2, 3, 2, 5),  # of one that a lead was converted to
        role(3, 4, 1, 6),  # of one that comes later
        at(4, "Opportunity", 2, **DEAL, Amount=7, IsClosed=True),
        at(5, "Contact", 6, Email="late@example.com"),
        at(6, "Opportunity", 3, **{**DEAL, "AccountId": record("Account", 2)}, Amount=5, IsClosed=False),
        product_event(8, "02-11T12:06:30", "identify", user_id=record("Contact", 6), traits={"plan": "team"}),
        role(7, 4, 1, 6, IsDeleted=True),
        at(8, "Contact", 1, IsDeleted=True, Email="ann@example.com", AccountId=record("Account", 1)),
        at(9, "Opportunity", 1, **DEAL, Amount=9, IsClosed=False),
        at(10, "Opportunity", 3, **DEAL, Amount=5, IsClosed=False),  # to another account
        # Those that are shown, those that others stand before, and one that was converted: who is who stays as it is.
        at(11, "Contact", 4, Name="Dora", Title="CFO", Email="ann@example.com", AccountId=record("Account", 1)),
        at(12, "Lead", 1, Email="ann@example.com", Company="Acme Ltd", IsConverted=False),
        at(13, "Lead", 2, Company="Solo Ltd", **CONVERTED),
        at(14, "Contact", 5, Email="solo@example.com", Name="Solo", Title="CEO", AccountId=record("Account", 2)),
        at(15, "Contact", 6, Email="late@example.com", Title="COO"),
    ]
    return numbered([*before, *since, *more])


def in_batches(worker: Flattener, entries: list[Entry], dice: Random) -> None:
    while entries:
        size = dice.choice([1, 1, 2, 5, 9])
        worker.apply(entries[:size])
        entries = entries[size:]


@pytest.mark.parametrize("seed", range(4))
def test_people_are_the_same_however_a_history_is_cut_into_batches(store: Store, seed: int) -> None:
    whole, parts = changes(), Random(seed)
    in_batches(flattener(store), whole, parts)
    found = told(store, (*PEOPLE, "headrace.users_defined"))
    assert found["users"] == found.pop("headrace.users_defined")
    worker = flattener(store)
    for name in ("Contact", "Lead", "Product"):
        # Stitches everybody from nothing but the records.
        done = worker.replayer.people(name)
        assert (done.users, done.records > 0) == (0, True)
    assert told(store, PEOPLE) == found


def test_a_deal_that_changes_looks_for_nobody_by_e_mail(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = flattener(store)
    worker.apply(numbered(batches()[0]))
    asked: list[str] = []
    monkeypatch.setattr(worker, "transaction", Asked(worker, asked))
    won = {**DEAL, "IsClosed": True, "IsWon": True, "Amount": 11}
    stream = Stream()
    worker.apply([stream.entry(FIRST, "Opportunity", 1, "02-11T12:00:00", **won)._replace(offset="99-0")])
    assert asked == ["Id"]
    shown = ask(store, f"SELECT sfdc_opportunity_won_amount AS won FROM users WHERE user_id = '{record('Contact', 1)}'")
    assert [int(row["won"]) for row in shown] == [11]


class Asked:
    """Opens transactions that note by which fields contacts are looked for."""

    def __init__(self, worker: Flattener, asked: list[str]) -> None:
        self._begin = worker.transaction
        self._asked = asked

    def __call__(self) -> "Asked":
        self._open = self._begin()
        return self

    def __enter__(self) -> Transaction:
        tx = self._open.__enter__()
        read = tx.facts

        def facts(object_name: str, any_of: Mapping[str, Iterable[str]], fields: Any) -> list[dict[str, Any]]:
            if object_name == "Contact":
                self._asked.extend(any_of)
            return read(object_name, any_of, fields)

        tx.facts = facts  # type: ignore[method-assign]
        return tx

    def __exit__(self, *error: Any) -> bool | None:
        return self._open.__exit__(*error)
