"""What a record's image no longer shows is unknown, and unknown is not null."""

from collections.abc import Callable, Mapping
from typing import Any

from integration.core.flatten import Outcome, flatten
from integration.core.image import Image
from integration.core.registry import Named, Registry

ImageOf = Callable[..., Image]
NOW = "2026-11-22T00:00:00Z"
T1, T2, T3 = "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z", "2026-01-02T03:06:00Z"
C1 = "003000000000001AAA"


def taken(names: Mapping[str, Named], before: Image | None, after: Image, **words: Any) -> Outcome:
    outcome = flatten(before, after, names, NOW, **words)
    assert outcome is not None
    return outcome


def changed(outcome: Outcome) -> list[tuple[str, str | None, str | None]]:
    return [(c["field"], c["old_value"], c["new_value"]) for c in outcome.changes]


def test_a_field_that_is_not_shown_any_more_keeps_its_last_value(registry: Registry, image_of: ImageOf) -> None:
    names = registry.fields("Contact")
    first = image_of("Contact", C1, T1, Title="CEO", Email="a@example.com")
    second = image_of("Contact", C1, T2, Email="b@example.com")

    outcome = taken(names, first, second)

    assert outcome.after.fields["Title"] == "CEO"
    assert changed(outcome) == [("Email", "a@example.com", "b@example.com")]
    assert outcome.after.payload == second.payload
    assert "Title" not in second.fields


def test_its_value_is_still_there_after_more_changes_and_after_the_delete(
    registry: Registry, image_of: ImageOf
) -> None:
    names = registry.fields("Contact")
    first = image_of("Contact", C1, T1, Title="CEO", Email="a@example.com")
    second = taken(names, first, image_of("Contact", C1, T2, Email="b@example.com")).after
    third = taken(names, second, image_of("Contact", C1, T3, Email="b@example.com", deleted=True)).after

    assert third.fields["Title"] == "CEO"
    assert third.is_deleted


def test_an_image_that_only_lacks_a_field_tells_nothing_new(registry: Registry, image_of: ImageOf) -> None:
    first = image_of("Contact", C1, T1, Title="CEO", Email="a@example.com")

    assert flatten(first, image_of("Contact", C1, T1, Email="a@example.com"), registry.fields("Contact"), NOW) is None


def test_a_field_that_is_shown_again_is_compared_with_the_value_that_was_kept(
    registry: Registry, image_of: ImageOf
) -> None:
    names = registry.fields("Contact")
    first = image_of("Contact", C1, T1, Title="CEO", Email="a@example.com")
    without = taken(names, first, image_of("Contact", C1, T2, Email="b@example.com")).after

    same = flatten(without, image_of("Contact", C1, T3, Title="CEO", Email="b@example.com"), names, NOW)
    other = taken(names, without, image_of("Contact", C1, T3, Title="CTO", Email="b@example.com"))
    emptied = taken(names, without, image_of("Contact", C1, T3, Title=None, Email="b@example.com"))

    assert same is not None
    assert (same.event, same.changes) == (None, [])
    assert changed(other) == [("Title", "CEO", "CTO")]
    assert changed(emptied) == [("Title", "CEO", None)]


def test_a_field_that_the_settings_leave_out_is_not_kept(registry: Registry, image_of: ImageOf) -> None:
    first = image_of("Contact", C1, T1, Title="CEO", Phone="1", Email="a@example.com")
    second = image_of("Contact", C1, T2, Email="b@example.com")

    outcome = taken(registry.fields("Contact"), first, second, dropped=lambda o, f: (o, f) == ("Contact", "Phone"))

    assert outcome.after.fields["Title"] == "CEO"
    assert "Phone" not in outcome.after.fields


def test_an_image_that_lacks_nothing_is_kept_as_it_came(registry: Registry, image_of: ImageOf) -> None:
    second = image_of("Contact", C1, T2, Title="CTO")

    outcome = taken(registry.fields("Contact"), image_of("Contact", C1, T1, Title="CEO"), second)

    assert outcome.after is second


def test_a_person_stays_in_the_account_that_is_not_shown_any_more(registry: Registry, image_of: ImageOf) -> None:
    first = image_of("Contact", C1, T1, AccountId="001a", Title="CEO")

    outcome = taken(registry.fields("Contact"), first, image_of("Contact", C1, T2, Title="CTO"))

    assert (outcome.left, outcome.joined) == (None, None)
    assert outcome.event is not None
    assert outcome.event["account_id"] == "001a"


def test_a_number_that_was_text_before_has_not_changed_by_that(registry: Registry, image_of: ImageOf) -> None:
    names = registry.fields("Contact")
    first = image_of("Contact", C1, T1, Title="5")
    again = image_of("Contact", C1, T1, Title=5)._replace(origin="backfill", schema_id="t")

    same = taken(names, first, again)
    other = taken(names, first, image_of("Contact", C1, T2, Title=6))

    assert (same.event, same.after.fields["Title"]) == (None, 5)
    assert changed(other) == [("Title", "5", "6")]


def test_a_record_read_again_because_its_object_looks_different_is_written_even_if_it_says_the_same(
    registry: Registry, image_of: ImageOf
) -> None:
    names = registry.fields("Contact")
    first = image_of("Contact", C1, T1, Title="2026-01-01")
    again = first._replace(origin="backfill", seen_at=T2)

    assert flatten(first, again, names, NOW) is None
    outcome = taken(names, first, again._replace(schema_id="t"))
    assert (outcome.event, outcome.changes) == (None, [])
