"""The reason that is given for a choice is the reason: held against the rules as docs/tables.md words them."""

from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core import explain, project
from integration.core.explain import Candidate
from integration.core.identity import Person, Record
from integration.core.project import Deal, Deals, Role

DAYS = ["2026-01-01", "2026-02-01", "2026-03-01"]


def record(number: int, name: str = "Contact", created: str = "2026-01-01T00:00:00Z", **more: bool) -> Record:
    flags = {"is_deleted": False, "is_converted": False} | more
    return Record(f"{number:018d}", name, created, created, None, follows=None, **flags)


def deal(number: int, *, closed: bool = False, closes: str = "2026-01-01", **more: object) -> Deal:
    values = {"account_id": "001", "is_won": False, "amount": Decimal(5), "is_deleted": False, "version": "v"} | more
    return Deal(record_id=f"{number:018d}", is_closed=closed, close_date=closes, **values)  # type: ignore[arg-type]


RECORDS = st.lists(
    st.builds(
        record,
        st.integers(0, 50),
        created=st.sampled_from([f"{day}T00:00:00Z" for day in DAYS]),
        is_deleted=st.booleans(),
        is_converted=st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda r: r.record_id,
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.builds(deal, st.integers(0, 50), closed=st.booleans(), closes=st.sampled_from(DAYS)),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda c: c.deal.record_id,
)


@given(RECORDS)
def test_the_contact_that_shows_is_told_with_the_first_rule_in_which_it_differs(records: list[Record]) -> None:
    def key(r: Record) -> list[tuple[str, object]]:
        return [
            ("live before deleted", r.is_deleted),
            ("unconverted before converted", r.is_converted),
            ("the earliest CreatedDate", r.created),
            ("the lowest id", r.record_id),
        ]

    choice = explain.best_record(records)
    ordered = sorted(records, key=lambda r: [value for _, value in key(r)])
    assert choice.chosen == ordered[0]
    if len(ordered) == 1:
        assert (choice.runner_up, choice.rule) == (None, None)
        return
    assert choice.runner_up == ordered[1]
    assert choice.rule == next(n for (n, a), (_, b) in zip(key(ordered[0]), key(ordered[1]), strict=True) if a != b)


@given(CANDIDATES)
def test_the_opportunity_that_shows_is_told_with_the_first_rule_in_which_it_differs(found: list[Candidate]) -> None:
    def key(c: Candidate) -> list[tuple[str, object]]:
        closes = int(c.deal.close_date.replace("-", ""))
        last = "the closed one that closed last" if c.deal.is_closed else "the open one that closes soonest"
        return [
            ("open before closed", c.deal.is_closed),
            ("the one whose primary contact the person is", not c.is_primary),
            (last, -closes if c.deal.is_closed else closes),
            ("the lowest id", c.deal.record_id),
        ]

    choice = explain.best_candidate(found)
    ordered = sorted(found, key=lambda c: [value for _, value in key(c)])
    assert choice.chosen == ordered[0]
    primary = frozenset(c.deal.record_id for c in found if c.is_primary)
    assert choice.chosen.deal == project.best_deal([c.deal for c in found], primary)
    if len(ordered) > 1:
        assert choice.runner_up == ordered[1]
        assert choice.rule == next(n for (n, a), (_, b) in zip(key(ordered[0]), key(ordered[1]), strict=True) if a != b)


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [
        (record(5), record(1, "Lead"), "a contact before a lead, and both before a product identity"),
        (record(5, "Lead"), record(1, is_deleted=True), "live before deleted or converted"),
        (record(5), record(1, "Lead", is_converted=True), "live before deleted or converted"),
        (record(5, created="2025-01-01T00:00:00Z"), record(1), "the earliest CreatedDate"),
        (record(1), record(5), "the lowest id"),
    ],
)
def test_the_record_behind_the_user_id_is_told_with_its_rule(first: Record, second: Record, rule: str) -> None:
    for pool in permutations([first, second]):
        choice = explain.best_owner(pool)
        assert (choice.chosen, choice.rule) == (first, rule)


def person(contact: Record) -> Person:
    shown = contact._replace(account_id="001")
    return Person(shown.record_id, (shown,), shown, shown, None, is_deleted=False)


def test_a_role_in_a_live_opportunity_counts_only_those_of_roles() -> None:
    contact, own, other, gone = record(9), deal(1), deal(2), deal(3, is_deleted=True)
    roles = [
        Role(contact.record_id, own.record_id, True, False, "v"),
        Role(contact.record_id, gone.record_id, False, False, "v"),
    ]
    deals = Deals({d.record_id: d for d in (own, other, gone)}, {"001": [own, other]}, {contact.record_id: roles})

    assert explain.counted(person(contact), deals) == ([Candidate(own, True)], True)

    ended = [role._replace(is_deleted=True) for role in roles]
    found, are_own = explain.counted(person(contact), deals._replace(roles_by_contact={contact.record_id: ended}))
    assert ([c.deal for c in found], are_own) == ([own, other], False)


def test_an_opportunity_counts_in_the_roll_ups_of_its_state() -> None:
    names = {name.removeprefix("sfdc_opportunity_") for name in explain.counts_in(deal(1, amount=Decimal(0)))}
    assert names == {"count", "open_count", "open_amount"}
    won = {name.removeprefix("sfdc_opportunity_") for name in explain.counts_in(deal(1, closed=True, is_won=True))}
    assert won == {"count", "won_count", "won_amount"}
