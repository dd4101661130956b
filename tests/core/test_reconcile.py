"""Source against store: what counts as a difference, and that every record is met once whatever the source's order."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.core.image import Image
from integration.core.reconcile import (
    Difference,
    Kind,
    Shown,
    Span,
    Tally,
    chosen,
    compare,
    counted,
    is_settled,
    spans,
)

ImageOf = Callable[..., Image]
C1 = "003000000000001AAA"
T1, T2 = "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z"


def shown_of(image: Image, **fields: Any) -> Shown:
    return Shown(image.record_id, image.version, image.is_deleted, {**image.fields, **fields})


def compared(shown: Shown | None, stored: Image | None) -> Difference | None:
    return compare(C1, shown, stored, "SystemModstamp")


def test_a_record_that_reads_the_same_is_equal(image_of: ImageOf) -> None:
    stored = image_of("Contact", C1, T1, Title="CEO", Score__c=1.10)
    assert compared(shown_of(stored), stored) is None
    assert compared(shown_of(stored, Score__c=Decimal("1.1")), stored) is None


def test_when_somebody_looked_at_it_does_not_count(image_of: ImageOf) -> None:
    stored = image_of("Contact", C1, T1, LastViewedDate=None)
    looked_at = "2026-01-02T03:04:05.000+0000"
    assert compared(shown_of(stored, LastViewedDate=looked_at, LastReferencedDate=looked_at), stored) is None


def test_a_field_that_only_the_store_knows_does_not_count(image_of: ImageOf) -> None:
    stored = image_of("Contact", C1, T1, Title="CEO", Hidden__c="x")
    fields = {name: value for name, value in stored.fields.items() if name != "Hidden__c"}
    assert compared(Shown(C1, T1, False, fields), stored) is None


def test_a_new_field_counts_once_it_is_filled(image_of: ImageOf) -> None:
    stored = image_of("Contact", C1, T1)
    assert compared(shown_of(stored, New__c=None), stored) is None
    assert compared(shown_of(stored, New__c="x"), stored) == Difference(C1, Kind.STALE, ("New__c",))


def test_a_stale_record_names_what_differs_in_order(image_of: ImageOf) -> None:
    stored = image_of("Contact", C1, T1, Title="CEO", Name="Bea", Score__c=None)
    told = compared(shown_of(stored, Title="CTO", Score__c=0), stored)
    assert told == Difference(C1, Kind.STALE, ("Score__c", "Title"))


def test_another_version_is_stale_even_if_nothing_else_differs(image_of: ImageOf) -> None:
    stored = image_of("Contact", C1, T1)
    for version in (T2, "2025-12-31T00:00:00Z"):
        told = compared(shown_of(stored)._replace(version=version), stored)
        assert told == Difference(C1, Kind.STALE, ("SystemModstamp",))


def test_a_record_that_came_back_without_a_stamp_is_stale(image_of: ImageOf) -> None:
    stored = image_of("Contact", C1, T1, deleted=True)
    told = compared(shown_of(stored, IsDeleted=False)._replace(is_deleted=False), stored)
    assert told == Difference(C1, Kind.STALE, ("IsDeleted",))


def test_missing_and_ghost_are_told_and_a_purged_record_is_no_ghost(image_of: ImageOf) -> None:
    live, deleted = image_of("Contact", C1, T1), image_of("Contact", C1, T1, deleted=True)
    assert compared(shown_of(live), None) == Difference(C1, Kind.MISSING)
    assert compared(shown_of(deleted), None) == Difference(C1, Kind.MISSING)
    assert compared(None, live) == Difference(C1, Kind.GHOST)
    assert compared(None, deleted) is None
    assert compared(None, None) is None


def test_a_difference_is_the_poll_s_until_a_poll_has_had_its_chance() -> None:
    row = Shown(C1, T1, False, {})
    assert is_settled(row, T1, T2)
    assert not is_settled(row, T1, T1), "saved in the second in which the poll began"
    assert not is_settled(row, T2, T2), "another version than the first time"
    assert not is_settled(row, None, T2), "not shown the first time"
    assert is_settled(None, None, T2)
    assert not is_settled(None, T1, T2), "shown the first time"
    assert is_settled(Shown(C1, T1, False, {}), T1, "2026-01-02T03:04:05.5Z")


def ids(count: int) -> list[str]:
    return [f"003{number:012d}AAA" for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8, 9])
def test_ranges_leave_no_gap_and_hold_so_many_ids(count: int) -> None:
    known = ids(count)
    cut = list(spans("Contact", iter([(i, False) for i in known]), 4))

    assert cut[0].low is None
    assert cut[-1].high is None
    assert [span.high for span in cut[:-1]] == [span.low for span in cut[1:]]
    assert [sorted(span.expected) for span in cut] == [known[n : n + 4] for n in range(0, max(count, 1), 4)]
    for one in known:
        assert [span.holds(one) for span in cut] == [one in span.expected for span in cut]


def test_ranges_can_go_on_behind_an_id_and_expect_live_records_only() -> None:
    known = ids(6)
    cut = list(spans("Contact", iter([(i, i == known[4]) for i in known[3:]]), 2, low=known[2]))
    assert [(s.low, s.high) for s in cut] == [(known[2], known[4]), (known[4], None)]
    assert [s.expected for s in cut] == [{known[3]}, {known[5]}]


def answers(span: Span, source: dict[str, Shown], key: Callable[[str], Any]) -> Iterator[Shown]:
    """Answer a range as a server would whose order of ids is `key`."""
    for record_id in sorted(source, key=key):
        above = span.low is None or key(record_id) > key(span.low)
        if above and (span.high is None or key(record_id) <= key(span.high)):
            yield source[record_id]


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(st.tuples(*[st.sampled_from(["none", "live", "deleted"])] * 2, st.booleans()), max_size=30),
    size=st.integers(1, 6),
    seed=st.none() | st.integers(0, 5),
)
def test_every_record_is_met_once_in_whatever_order_the_source_keeps_its_ids(
    image_of: ImageOf, records: list[tuple[str, str, bool]], size: int, seed: int | None
) -> None:
    known = ids(len(records))
    shuffled = Random(seed).sample(known, len(known)) if seed is not None else known
    place = {record_id: number for number, record_id in enumerate(shuffled)}
    source: dict[str, Shown] = {}
    store: dict[str, Image] = {}
    for record_id, (here, there, drifted) in zip(known, records, strict=True):
        image = image_of("Contact", record_id, T1, deleted=there == "deleted", Title="x")
        if there != "none":
            store[record_id] = image
        if here != "none":
            fields = {**image.fields, "IsDeleted": here == "deleted", "Title": "y" if drifted else "x"}
            source[record_id] = Shown(record_id, T1, here == "deleted", fields)

    tally = Tally()
    for span in spans("Contact", iter([(i, store[i].is_deleted) for i in sorted(store)]), size):
        for row in answers(span, source, place.__getitem__):
            stored = store.get(row.record_id)
            tally.meet(span, row, stored, compare(row.record_id, row, stored, "SystemModstamp"))
        tally.end(span)
    tally.close()

    truth = {i: compare(i, source.get(i), store.get(i), "SystemModstamp") for i in known}
    assert tally.suspects == {
        i: source[i].version if i in source else None for i, difference in truth.items() if difference
    }
    assert tally.live_rows == sum(i in source and source[i].is_live and truth[i] is None for i in known)


def test_findings_are_counted_in_words() -> None:
    assert counted({}) == "nothing"
    assert counted({Kind.GHOST: 1}) == "1 ghost"
    assert counted({Kind.MISSING: 1_200, Kind.STALE: 2, Kind.GHOST: 3}) == "1,200 missing, 2 stale and 3 ghosts"


def test_objects_are_chosen_by_name_in_any_case_in_their_own_order() -> None:
    names = ["Account", "Contact", "Lead"]
    assert chosen(names, []) == (names, [])
    assert chosen(names, ["lead", "ACCOUNT"]) == (["Account", "Lead"], [])
    assert chosen(names, ["Lead", "Contacts"]) == (["Lead"], ["Contacts"])
