"""A record told from the beginning: the same captures, in whatever order they lie, tell the same once more."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from integration.core.flatten import flatten
from integration.core.image import Image
from integration.core.refold import Told, all_stays, refold, stays
from integration.core.registry import Named, Registry
from integration.core.retained import retained

ImageOf = Callable[..., Image]
PERSON = "003000000000001AAA"


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


def kept(_object: str, _field: str) -> bool:
    return False


@pytest.fixture
def names(registry: Registry) -> Callable[[Image], Mapping[str, Named]]:
    return lambda one: registry.fields(one.object)


@pytest.fixture
def life(image_of: ImageOf, registry: Registry) -> list[Told]:
    """What came of one contact: it moves, moves back, is deleted, and a formula goes to and fro under one stamp."""
    images = [
        image_of("Contact", PERSON, at(1), Title="A", AccountId="001000000000001AAA", Score__c=1),
        image_of("Contact", PERSON, at(2), Title="B", AccountId="001000000000002AAA", Score__c=1),
        image_of("Contact", PERSON, at(2), Title="B", AccountId="001000000000002AAA", Score__c=2),
        image_of("Contact", PERSON, at(2), Title="B", AccountId="001000000000002AAA", Score__c=1),
        image_of("Contact", PERSON, at(5), Title="B", AccountId="001000000000001AAA", Score__c=1),
        image_of("Contact", PERSON, at(6), Title="B", AccountId="001000000000001AAA", Score__c=1, deleted=True),
    ]
    images = [one._replace(seen_at=at(10 + place), capture_id=f"c{place}") for place, one in enumerate(images)]
    before = None
    for one in images:
        outcome = flatten(before, one, registry.fields("Contact"), at(30))
        assert outcome is not None  # all of it is news, so all of it is in the archive
        before = outcome.after
    return [Told(one, at(20 + place), (1_000 + place, 0)) for place, one in enumerate(images)]


def told(folded: Any) -> list[Any]:
    return [(o.event and o.event["event_id"], o.event and o.event["name"], o.changes) for o in folded.outcomes]


def test_the_order_in_which_captures_lie_does_not_matter(life: list[Told], names: Any) -> None:
    wanted = refold(life, names, kept)
    assert len(wanted.outcomes) == len(life)
    assert [o.event["stored_at"] for o in wanted.outcomes if o.event] == [t.stored_at for t in life]

    for seed in range(5):
        mixed = random.Random(seed).sample(life, len(life))
        assert told(refold(mixed, names, kept)) == told(wanted)


@pytest.mark.parametrize(
    "clocks",
    [
        pytest.param(lambda place, t: t._replace(stored_at=at(20)), id="all in one second"),
        pytest.param(
            lambda place, t: t._replace(stored_at=at(20), offset=(1_000 - place, 0)), id="a Redis behind the last one"
        ),
        pytest.param(lambda place, t: t._replace(offset=(1_000 - place, 0)), id="a Redis behind it, some time later"),
        pytest.param(lambda place, t: t._replace(stored_at=at(20 + place % 3)), id="a machine whose clock went back"),
        pytest.param(
            lambda place, t: t._replace(stored_at=at(29 - place), offset=(1_000 - place, 0)), id="both of them"
        ),
    ],
)
def test_clocks_that_went_back_do_not_mix_the_order_up(clocks: Any, life: list[Told], names: Any) -> None:
    turned = [clocks(place, one) for place, one in enumerate(life)]

    assert told(refold(turned, names, kept)) == told(refold(life, names, kept))


def test_of_a_record_that_was_never_seen_a_delete_tells_nothing(image_of: ImageOf, names: Any) -> None:
    gone = image_of("Contact", PERSON, at(1), deleted=True)._replace(fields={}, known_by_id_only=True)

    folded = refold([Told(gone, at(2), (1, 0))], names, kept)

    assert (folded.outcomes, folded.latest) == ((), None) or (list(folded.outcomes), folded.latest) == ([], None)


def test_where_the_beginning_is_forgotten_the_first_capture_is_the_base(
    life: list[Told], names: Any, image_of: ImageOf
) -> None:
    whole = refold(life, names, kept)
    assert whole.latest is not None
    hidden = image_of("Contact", PERSON, at(6), Title="B", Email="ada@example.com")
    stored = whole.latest._replace(fields={**whole.latest.fields, "Email": hidden.fields["Email"]})

    rest = refold(life[2:], names, kept, stored)

    assert rest.base == life[2]
    assert told(rest) == told(whole)[3:]
    assert rest.latest is not None
    assert rest.latest.fields == stored.fields  # what no capture shows any more is kept


def test_stays_are_those_that_came_about_one_after_the_other(life: list[Told], names: Any) -> None:
    whole = refold(life, names, kept)
    open_stays: dict[str, dict[str, Any]] = {}
    live: dict[str, dict[str, Any]] = {}
    for outcome in whole.outcomes:
        live |= {row["since"]: row for row in stays([outcome], open_stays)}

    found = all_stays(whole)

    assert sorted(found, key=lambda r: r["since"]) == sorted(live.values(), key=lambda r: r["since"])
    assert [(r["target_id"][-4], r["until"]) for r in sorted(found, key=lambda r: r["until"])] == [
        ("1", at(2)),
        ("2", at(5)),
        ("1", at(6)),
    ]
    assert whole.latest is not None
    cut = refold(life[3:], names, kept, whole.latest)
    assert sorted(all_stays(cut, found), key=lambda r: r["until"]) == sorted(found, key=lambda r: r["until"])


def test_events_the_archive_has_forgotten_follow_names_and_exclusions() -> None:
    event = {"event_id": "e", "object": "Contact", "properties": '{"changes":[%s],"name":"Ada"}'}
    title = '{"field":"Title","property":"sfdc_contact_title","old":"A","new":"B"}'
    email = '{"field":"Email","property":"sfdc_contact_email","old":null,"new":"ada@example.com"}'
    both = {**event, "properties": event["properties"] % f"{title},{email}"}
    alone = {**event, "event_id": "f", "properties": event["properties"] % email}
    changes = [
        {"event_id": "e", "object": "Contact", "field": "Title", "property": "sfdc_contact_title"},
        {"event_id": "e", "object": "Contact", "field": "Email", "property": "sfdc_contact_email"},
    ]

    def name(_object: str, field: str, given: str | None) -> str | None:
        return "sfdc_contact_job" if field == "Title" else given

    events, theirs = retained([both, alone], changes, name, lambda _object, field: field == "Email")

    assert [one["event_id"] for one in events] == ["e"]
    job = title.replace("sfdc_contact_title", "sfdc_contact_job")
    assert events[0]["properties"].decode() == event["properties"] % job
    assert theirs == [{**changes[0], "property": "sfdc_contact_job"}]
    assert retained([both], changes, lambda _o, _f, given: given, kept) == ([both], changes)
