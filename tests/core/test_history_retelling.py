"""What of a history is news: the steps that no polled change tells."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core import exactjson
from integration.core.history import Step
from integration.core.image import Image
from integration.core.registry import Registry
from integration.core.retelling import in_order, retell, untold

ME, YOU = "005000000000001AAA", "005000000000002AAA"
DEAL = "006000000000001AAA"
LATE = "2026-01-01T00:01:00Z"


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


def step(second: int, old: str | None, new: str | None, told_by: str = "", *, field: str = "StageName") -> Step:
    return Step(at(second), field, old, new, told_by or f"{second:02d}", ME, at(second + 1))


def left(steps: list[Step], polled: list[Step], version: str = LATE) -> list[tuple[int, str | None, str | None]]:
    return [(int(s.time[17:19]), s.old, s.new) for s in untold(steps, polled, version)]


def test_a_polled_change_tells_the_last_step_to_its_value_and_history_the_ones_between() -> None:
    steps = [step(1, "A", "B"), step(2, "B", "C"), step(3, "C", "D")]

    assert left(steps, [step(3, "A", "D")]) == [(1, "A", "B"), (2, "B", "C")]


def test_a_polled_change_may_have_the_stamp_of_a_later_save() -> None:
    assert left([step(1, "A", "B"), step(2, "B", "C")], [step(9, "A", "C")]) == [(1, "A", "B")]


def test_a_value_that_came_and_went_between_two_polls_is_all_histories() -> None:
    assert left([step(1, "A", "B"), step(2, "B", "A")], []) == [(1, "A", "B"), (2, "B", "A")]


def test_a_polled_change_tells_no_step_from_before_the_polled_change_before_it() -> None:
    polled = [step(4, "A", "C"), step(9, "C", "B")]

    assert left([step(1, "A", "B"), step(4, "B", "C")], polled) == [(1, "A", "B")]


def test_another_fields_polled_change_tells_nothing() -> None:
    assert left([step(1, "A", "B")], [step(1, "A", "B", field="Amount")]) == [(1, "A", "B")]


def test_steps_after_the_last_image_wait_for_the_next() -> None:
    steps = [step(1, "A", "B"), step(5, "B", "C")]

    assert left(steps, [], at(4)) == [(1, "A", "B")]
    assert left(steps, [], at(5)) == [(1, "A", "B"), (5, "B", "C")]


def test_each_of_several_images_of_one_second_finds_its_step() -> None:
    """An image was read after each of three saves of one second; the first must not take the last one's step."""
    steps = [step(5, "A", "B", "1"), step(5, "B", "C", "2"), step(5, "C", "B", "3")]
    polled = [step(5, "A", "B", "v"), step(5, "B", "C", "v:1"), step(5, "C", "B", "v:2")]

    assert left(steps, polled) == []


def test_a_field_that_was_emptied_is_told_like_any_other() -> None:
    assert left([step(1, "A", None), step(2, None, "B")], [step(2, "A", "B")]) == [(1, "A", None)]


def test_steps_of_one_second_are_put_into_a_chain_whatever_their_ids_say() -> None:
    steps = [step(5, "B", "C", "1"), step(5, "A", "B", "2"), step(5, "C", "A", "3"), step(1, "Z", "A", "4")]

    assert [s.old for s in in_order(steps)] == ["Z", "A", "B", "C"]


def test_steps_that_form_no_chain_keep_the_order_of_their_ids() -> None:
    steps = [step(5, "B", "C", "1"), step(5, "X", "Y", "3"), step(5, "A", "B", "2")]

    assert [s.told_by for s in in_order(steps)] == ["1", "2", "3"]


@given(values=st.lists(st.sampled_from("ABC"), min_size=2, max_size=9), data=st.data())
def test_any_walk_within_a_second_is_found_again_as_some_chain(values: list[str], data: st.DataObject) -> None:
    pairs = [(a, b) for a, b in pairwise(values) if a != b]
    ids = data.draw(st.permutations(range(len(pairs))))
    steps = [step(5, a, b, f"{i:02d}") for (a, b), i in zip(pairs, ids, strict=True)]
    before = [step(1, None, pairs[0][0])] if pairs else []

    chain = in_order([*steps, *before])

    assert Counter(chain) == Counter([*steps, *before])
    assert all(one.new == other.old for one, other in pairwise(chain))


@pytest.fixture
def deal(image_of: Callable[..., Image]) -> Image:
    """An opportunity of an account, saved last at LATE."""
    return image_of("Opportunity", DEAL, LATE, AccountId="001000000000001AAA", StageName="D", IsWon=True, IsClosed=True)


def test_a_second_is_one_event_with_all_its_changes(deal: Image, registry: Registry) -> None:
    steps = [step(2, "B", "C", "3"), step(2, "1", "2", "2", field="Amount"), step(2, "A", "B", "9")]

    (told,) = retell(deal, steps, [], registry.fields("Opportunity"), LATE)

    assert told.event == {
        "event_id": f"00D000000000001EAA:Opportunity:{DEAL}:{at(2)}:history",
        "time": at(2),
        "name": "Opportunity Stage Changed",
        "user_id": None,
        "account_id": "001000000000001AAA",
        "source": "/salesforce/00D000000000001EAA",
        "object": "Opportunity",
        "record_id": DEAL,
        "actor_id": ME,
        "origin": "history",
        "seen_at": at(3),
        "stored_at": LATE,
        "properties": exactjson.dumps(
            {
                "changes": [
                    {"field": "Amount", "property": "sfdc_opportunity_amount", "old": "1", "new": "2"},
                    {"field": "StageName", "property": "sfdc_opportunity_stage", "old": "A", "new": "B"},
                    {"field": "StageName", "property": "sfdc_opportunity_stage", "old": "B", "new": "C"},
                ]
            }
        ),
        "alias": None,
    }
    assert [(c["field"], c["old_value"], c["new_value"]) for c in told.changes] == [
        ("Amount", "1", "2"),
        ("StageName", "A", "B"),
        ("StageName", "B", "C"),
    ]
    assert {(c["event_id"], c["time"], c["actor_id"], c["origin"]) for c in told.changes} == {
        (told.event["event_id"], at(2), ME, "history")
    }


def test_two_people_in_one_second_are_two_events_with_ids_of_their_own(deal: Image, registry: Registry) -> None:
    steps = [step(2, "A", "B"), step(2, "B", "C", "3")._replace(actor_id=YOU), step(4, "C", "D")]

    told = retell(deal, steps, [], registry.fields("Opportunity"), LATE)

    assert [(t.event["time"], t.event["actor_id"]) for t in told] == [(at(2), ME), (at(2), YOU), (at(4), ME)]
    assert len({t.event["event_id"] for t in told}) == 3
    assert told[2].event["event_id"].endswith(f":{at(4)}:history")


def test_an_event_keeps_its_id_when_polling_takes_the_others_share(deal: Image, registry: Registry) -> None:
    steps = [step(2, "A", "B"), step(2, "B", "C", "3")._replace(actor_id=YOU)]
    names = registry.fields("Opportunity")

    before = retell(deal, steps, [], names, LATE)
    (after,) = retell(deal, steps, [step(2, "A", "C")], names, LATE)

    assert after.event == before[0].event


@pytest.mark.parametrize(
    ("object_name", "field", "name"),
    [
        ("Contact", "AccountId", "Account Changed"),
        ("Contact", "Email", "Email Changed"),
        ("Contact", "Title", "Contact Updated"),
        ("Lead", "IsConverted", "Lead Updated"),
        ("Account", "OwnerId", "Owner Changed"),
        ("Opportunity", "StageName", "Opportunity Stage Changed"),
        ("Opportunity", "IsWon", "Opportunity Updated"),
    ],
)
def test_an_event_is_named_by_what_changed(
    image_of: Callable[..., Image], registry: Registry, object_name: str, field: str, name: str
) -> None:
    image = image_of(object_name, "003000000000001AAA", LATE, IsWon=True, IsClosed=True, IsConverted=True)

    (told,) = retell(image, [step(1, "a", "b", field=field)], [], registry.fields(object_name), LATE)

    assert told.event["name"] == name
    assert told.event["alias"] == (image.record_id if object_name in ("Contact", "Lead") else None)
