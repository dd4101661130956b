from collections.abc import Callable
from typing import Any

import pytest

from integration.core import exactjson
from integration.core.flatten import Membership, flatten
from integration.core.image import Image
from integration.core.registry import Registry

ImageOf = Callable[..., Image]
NOW = "2026-11-22T00:00:00Z"
T1, T2 = "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z"
C1 = "003000000000001AAA"


def event_of(registry: Registry, before: Image | None, after: Image) -> dict[str, Any] | None:
    outcome = flatten(before, after, registry.fields(after.object), NOW)
    return outcome.event if outcome else None


CASES = [
    ("Contact", {}, {"Title": "CEO"}, "Contact Updated"),
    ("Contact", {"AccountId": "001a"}, {"AccountId": "001b", "Title": "CEO"}, "Account Changed"),
    ("Contact", {"Email": None}, {"Email": "a@example.com", "OwnerId": "005b"}, "Email Changed"),
    ("Contact", {"Email": "a@example.com"}, {"Email": None}, "Email Changed"),
    ("Contact", {"OwnerId": "005a"}, {"OwnerId": "005b", "Title": "x"}, "Owner Changed"),
    ("Lead", {"IsConverted": False}, {"IsConverted": True, "OwnerId": "005b"}, "Lead Converted"),
    ("Lead", {"Email": "a@example.com"}, {"Email": "b@example.com"}, "Email Changed"),
    ("Account", {"ARR__c": 1}, {"ARR__c": 2}, "Account Updated"),
    ("Opportunity", {"StageName": "A"}, {"StageName": "B"}, "Opportunity Stage Changed"),
    (
        "Opportunity",
        {"StageName": "A", "IsClosed": False, "IsWon": False},
        {"StageName": "Won", "IsClosed": True, "IsWon": True},
        "Opportunity Won",
    ),
    (
        "Opportunity",
        {"StageName": "A", "IsClosed": False, "IsWon": False},
        {"StageName": "Lost", "IsClosed": True, "IsWon": False},
        "Opportunity Lost",
    ),
    (
        "Opportunity",
        {"StageName": "Lost", "IsClosed": True, "IsWon": False},
        {"StageName": "A", "IsClosed": False, "IsWon": False},
        "Opportunity Stage Changed",
    ),
    ("Opportunity", {"Amount": 1}, {"Amount": 2}, "Opportunity Updated"),
    ("Task", {"IsClosed": False}, {"IsClosed": True}, "Task Completed"),
    ("CampaignMember", {"HasResponded": False}, {"HasResponded": True}, "Campaign Responded"),
]


@pytest.mark.parametrize(("object_name", "old", "new", "expected"), CASES)
def test_an_update_is_named_by_the_first_rule_that_applies(
    registry: Registry, image_of: ImageOf, object_name: str, old: dict[str, Any], new: dict[str, Any], expected: str
) -> None:
    event = event_of(registry, image_of(object_name, C1, T1, **old), image_of(object_name, C1, T2, **{**old, **new}))

    assert event is not None
    assert event["name"] == expected
    assert event["time"] == T2


def test_the_first_sight_of_a_record_is_created_at_its_created_date(registry: Registry, image_of: ImageOf) -> None:
    outcome = flatten(
        None, image_of("Contact", C1, T1, Title="CEO", CreatedById="005a"), registry.fields("Contact"), NOW
    )

    assert outcome is not None
    assert outcome.event is not None
    assert outcome.event["name"] == "Contact Created"
    assert outcome.event["time"] == "2025-01-01T00:00:00Z"
    assert outcome.event["actor_id"] == "005a"
    assert outcome.changes == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"deleted": True}, "Contact Deleted"),
        ({}, {"deleted": True, "MasterRecordId": "003000000000002AAA"}, "Contact Merged"),
        ({"deleted": True}, {"Title": "CEO"}, "Contact Restored"),
    ],
)
def test_deletes_merges_and_restores_write_no_changes(
    registry: Registry, image_of: ImageOf, before: dict[str, Any], after: dict[str, Any], expected: str
) -> None:
    outcome = flatten(
        image_of("Contact", C1, T1, **before), image_of("Contact", C1, T2, **after), registry.fields("Contact"), NOW
    )

    assert outcome is not None
    assert outcome.event is not None
    assert outcome.event["name"] == expected
    assert outcome.changes == []


def test_changes_are_text_in_plain_form_and_sorted_by_field(registry: Registry, image_of: ImageOf) -> None:
    before = image_of("Contact", C1, T1, Score__c=1.395e8, DoNotCall=False, Birthdate="2000-01-01", Title="null")
    after = image_of(
        "Contact", C1, T2, Score__c=0.1, DoNotCall=True, Birthdate=None, Title="null",
        LastActivityAt__c="2026-01-02T03:04:05.000+0000",
    )  # fmt: skip

    outcome = flatten(before, after, registry.fields("Contact"), NOW)

    assert outcome is not None
    assert [(c["field"], c["property"], c["old_value"], c["new_value"]) for c in outcome.changes] == [
        ("Birthdate", "sfdc_contact_birthdate", "2000-01-01", None),
        ("DoNotCall", "sfdc_contact_do_not_call", "false", "true"),
        ("LastActivityAt__c", "sfdc_contact_last_activity_at", None, "2026-01-02T03:04:05Z"),
        ("Score__c", "sfdc_contact_score", "139500000", "0.1"),
    ]
    assert outcome.event is not None
    assert [c["field"] for c in exactjson.loads(outcome.event["properties"])["changes"]] == [
        "Birthdate", "DoNotCall", "LastActivityAt__c", "Score__c",
    ]  # fmt: skip


def test_a_version_that_changed_nothing_people_look_at_gives_no_event(registry: Registry, image_of: ImageOf) -> None:
    before = image_of("Contact", C1, T1, Title="CEO", LastViewedDate=None)
    after = image_of("Contact", C1, T2, Title="CEO", LastViewedDate="2026-01-02T03:04:05.000+0000")

    outcome = flatten(before, after, registry.fields("Contact"), NOW)

    assert outcome is not None
    assert outcome.event is None
    assert outcome.after is after


def test_an_image_seen_again_or_an_older_one_tells_nothing(registry: Registry, image_of: ImageOf) -> None:
    older, newer = image_of("Contact", C1, T1, Title="CEO"), image_of("Contact", C1, T2, Title="CFO")

    assert flatten(newer, newer, registry.fields("Contact"), NOW) is None
    assert flatten(newer, older, registry.fields("Contact"), NOW) is None


def test_two_commits_in_one_second_give_two_events_with_two_ids(registry: Registry, image_of: ImageOf) -> None:
    first, second = image_of("Contact", C1, T1, Title="A"), image_of("Contact", C1, T1, Title="B")
    third = image_of("Contact", C1, T1, Title="C")

    ids = [event_of(registry, *pair) for pair in ((None, first), (first, second), (second, third))]

    assert len({e["event_id"] for e in ids if e}) == 3


def test_a_contact_that_moves_leaves_one_account_and_joins_another(registry: Registry, image_of: ImageOf) -> None:
    outcome = flatten(
        image_of("Contact", C1, T1, AccountId="001a"),
        image_of("Contact", C1, T2, AccountId="001b"),
        registry.fields("Contact"),
        NOW,
    )

    assert outcome is not None
    assert (outcome.left, outcome.joined, outcome.moved_at) == (
        Membership(C1, "account", "001a"),
        Membership(C1, "account", "001b"),
        T2,
    )
