"""What history rows say: from rows of the diary, and of the opportunities' own history, to steps of fields."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from integration.core.history import Step, histories_of, parent_key, parent_of, steps
from integration.core.ids import long_id
from integration.core.image import Image
from integration.core.registry import Registry

ImageOf = Callable[..., Image]
T1, T2, T3 = "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z", "2026-01-02T03:05:01Z"
CONTACT, DEAL = "003000000000001AAA", "006000000000001AAA"
ME, YOU = "005000000000001AAA", "005000000000002AAA"
LOOKUPS = frozenset({"AccountId", "OwnerId", "Manager__c"})
SNAPSHOT = {"StageName": "A", "Amount": 10, "CloseDate": "2026-03-01", "Probability": 10}


@pytest.fixture
def row(image_of: ImageOf) -> Callable[..., Image]:
    """Build a history row: row("Contact", 1, T1, Field=..., OldValue=..., NewValue=...)."""

    def build(object_name: str, number: int, time: str, *, history: str | None = None, **fields: Any) -> Image:
        name = history or histories_of(object_name)[0]
        record = DEAL if object_name == "Opportunity" else CONTACT
        values = {"CreatedById": ME, parent_key(name): record, **fields, "CreatedDate": time[:-1] + ".000+0000"}
        return image_of(name, f"017{number:012d}AAA", time, **values)

    return build


@pytest.fixture
def told(registry: Registry) -> Callable[..., list[tuple[str, str | None, str | None]]]:
    """Read the steps of rows as (field, old, new)."""

    def read(object_name: str, *rows: Image) -> list[tuple[str, str | None, str | None]]:
        return [(s.field, s.old, s.new) for s in steps(rows, registry.fields(object_name), LOOKUPS)]

    return read


def test_a_row_tells_who_changed_a_field_when_and_from_what_to_what(
    row: Callable[..., Image], registry: Registry
) -> None:
    one = row("Contact", 1, T1, Field="Title", DataType="Text", OldValue="Lead", NewValue="Head", CreatedById=YOU)

    assert steps([one], registry.fields("Contact"), LOOKUPS) == [
        Step(T1, "Title", "Lead", "Head", one.record_id, YOU, T1)
    ]


@pytest.mark.parametrize(
    ("object_name", "field", "old", "new", "expected"),
    [
        ("Account", "ARR__c", None, 10.0, (None, "10")),
        ("Account", "ARR__c", "10.50", Decimal("123456789012345.67"), ("10.5", "123456789012345.67")),
        ("Contact", "DoNotCall", False, True, ("false", "true")),
        ("Contact", "DoNotCall", "False", "True", ("false", "true")),
        ("Contact", "Birthdate", None, "1999-12-31T00:00:00.000+0000", (None, "1999-12-31")),
        ("Contact", "LastActivityAt__c", "2026-01-01T00:00:00.000+0000", None, ("2026-01-01T00:00:00Z", None)),
        ("Contact", "Title", "", "null", (None, "null")),
        ("Contact", "Title", "0", 5, ("0", "5")),
    ],
)
def test_values_are_written_as_changes_writes_them(
    row: Callable[..., Image],
    told: Callable[..., Any],
    object_name: str,
    field: str,
    old: Any,
    new: Any,
    expected: tuple[str | None, str | None],
) -> None:
    assert told(object_name, row(object_name, 1, T1, Field=field, OldValue=old, NewValue=new)) == [(field, *expected)]


@pytest.mark.parametrize(
    "fields",
    [
        {"Field": "created", "OldValue": None, "NewValue": None},
        {"Field": "contactMerged", "OldValue": None, "NewValue": "somebody"},
        {"Field": "ownerAssignment", "OldValue": ME, "NewValue": YOU},
        {"Field": "locked", "OldValue": False, "NewValue": True},
        {"Field": "Salary__c", "OldValue": 1, "NewValue": 2},
        {"Field": "Title", "OldValue": None, "NewValue": None},
        {"Field": "Title", "OldValue": "", "NewValue": None},
        {"Field": "IsDeleted", "OldValue": False, "NewValue": True},
        {"Field": "LastModifiedById", "OldValue": ME, "NewValue": YOU},
        {"Field": None, "OldValue": "a", "NewValue": "b"},
        {"OldValue": "a", "NewValue": "b"},
    ],
)
def test_special_words_unknown_fields_and_mere_facts_tell_nothing(
    row: Callable[..., Image], told: Callable[..., Any], fields: dict[str, Any]
) -> None:
    assert told("Contact", row("Contact", 1, T1, **fields)) == []


def test_of_the_two_rows_of_a_lookup_the_one_with_ids_counts(
    row: Callable[..., Image], told: Callable[..., Any]
) -> None:
    names = row("Contact", 1, T1, Field="Account", DataType="Text", OldValue="Acme", NewValue="Brightwater")
    ids = row("Contact", 2, T1, Field="Account", DataType="EntityId", OldValue="001000000000001AAA", NewValue=None)

    assert told("Contact", names, ids) == [("AccountId", "001000000000001AAA", None)]


def test_without_a_data_type_ids_are_known_by_their_looks(row: Callable[..., Image], told: Callable[..., Any]) -> None:
    rows = [
        row("Contact", 1, T1, Field="Owner", OldValue="Elizabethtaylor", NewValue="Ana Moreau"),
        row("Contact", 2, T1, Field="Owner", OldValue="Elizabethtaylor", NewValue=None),
        row("Contact", 3, T1, Field="Owner", OldValue="0051A00000ABCde", NewValue=YOU),
    ]

    assert told("Contact", *rows) == [("OwnerId", long_id("0051A00000ABCde"), YOU)]


@pytest.mark.parametrize(
    ("short", "long"),
    [("001A0000006Vm9r", "001A0000006Vm9rIAC"), ("00D000000000001", "00D000000000001EAA"), ("12345", "12345")],
)
def test_short_ids_are_lengthened_by_their_check_characters(short: str, long: str) -> None:
    assert long_id(short) == long
    assert long_id(long) == long


def test_a_deleted_row_still_tells(row: Callable[..., Image], told: Callable[..., Any]) -> None:
    one = row("Contact", 1, T1, Field="Title", OldValue="a", NewValue="b", deleted=True)

    assert told("Contact", one) == [("Title", "a", "b")]


def test_differences_between_snapshots_of_an_opportunity_are_steps(
    row: Callable[..., Image], registry: Registry
) -> None:
    rows = [
        row("Opportunity", 3, T3, history="OpportunityHistory", **SNAPSHOT | {"StageName": "C", "Amount": 12.5}),
        row("Opportunity", 1, T1, history="OpportunityHistory", **SNAPSHOT),
        row("Opportunity", 2, T2, history="OpportunityHistory", **SNAPSHOT | {"StageName": "B"}, CreatedById=YOU),
    ]

    found = [(s.time, s.field, s.old, s.new, s.actor_id) for s in steps(rows, registry.fields("Opportunity"), LOOKUPS)]

    # The first snapshot is the creation; Probability is no field of this org's opportunities.
    assert found == [
        (T2, "StageName", "A", "B", YOU),
        (T3, "StageName", "B", "C", ME),
        (T3, "Amount", "10", "12.5", ME),
    ]


def test_a_field_that_a_snapshot_does_not_show_has_not_changed(
    row: Callable[..., Image], told: Callable[..., Any]
) -> None:
    rows = [
        row("Opportunity", 1, T1, history="OpportunityHistory", StageName="A", Amount=1),
        row("Opportunity", 2, T2, history="OpportunityHistory", StageName="B"),
        row("Opportunity", 3, T3, history="OpportunityHistory", StageName="B", Amount=2),
    ]

    assert told("Opportunity", *rows) == [("StageName", "A", "B"), ("Amount", "1", "2")]


def test_what_both_histories_of_an_opportunity_tell_counts_once(
    row: Callable[..., Image], told: Callable[..., Any]
) -> None:
    """To and fro within one second: each of the two rows to B is matched by a snapshot, the third snapshot is not."""
    rows = [
        row("Opportunity", 1, T2, Field="StageName", OldValue="A", NewValue="B"),
        row("Opportunity", 2, T2, Field="StageName", OldValue="A", NewValue="B"),
        *(
            row("Opportunity", 10 + i, time, history="OpportunityHistory", StageName=stage)
            for i, (time, stage) in enumerate([(T1, "A"), (T2, "B"), (T2, "A"), (T2, "B"), (T3, "C")])
        ),
    ]

    assert told("Opportunity", *rows) == [
        ("StageName", "A", "B"),
        ("StageName", "A", "B"),
        ("StageName", "B", "A"),
        ("StageName", "B", "C"),
    ]


@pytest.mark.parametrize(
    ("name", "parent", "key"),
    [
        ("ContactHistory", "Contact", "ContactId"),
        ("OpportunityFieldHistory", "Opportunity", "OpportunityId"),
        ("OpportunityHistory", "Opportunity", "OpportunityId"),
        ("cbit__Clearbit__History", "cbit__Clearbit__c", "ParentId"),
    ],
)
def test_a_history_object_names_its_parent(name: str, parent: str, key: str) -> None:
    assert (parent_of(name), parent_key(name)) == (parent, key)
    assert name in histories_of(parent)
    assert parent_of(parent) is None
