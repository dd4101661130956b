from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.core import exactjson, identity, product
from integration.core.product import Sighting

IDS = st.sampled_from(["a1", "a2", "u1", "u2", "ann@example.com"])
TIMES = st.integers(0, 59).map(lambda second: f"2026-01-01T00:00:{second:02d}.000Z")
TRAITS = st.dictionaries(
    st.sampled_from(["email", "plan", "seats"]),
    st.sampled_from(["ann@example.com", " Ben@Example.com", "", 3, None, True, {"a": [1]}]),
    max_size=2,
)


def event(**told: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("name", "user_id", "anonymous_id", "previous_id", "group_id", "sent_at", "original_time"))
    plain: dict[str, Any] = {"type": "track", "properties": {}, "traits": {}, "context": {}}
    at = "2026-01-01T00:00:00.000Z"
    return {**empty, **plain, "id": "product:1", "message_id": "1", "time": at, "received_at": at, **told}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["track", "identify", "alias", "group", "page"]))
    user, anonymous = draw(st.none() | IDS), draw(st.none() | IDS)
    if user is None and (anonymous is None or kind == "alias"):
        user = draw(IDS)
    previous = draw(st.none() | IDS) if kind == "alias" else None
    told = {"user_id": user, "anonymous_id": anonymous, "previous_id": previous}
    return event(type=kind, time=draw(TIMES), traits=draw(TRAITS), **told)


@given(st.lists(events(), max_size=8), st.randoms(use_true_random=False), st.integers(1, 8))
def test_whatever_the_order_and_the_batches_the_same_is_known_of_each_id(
    told: list[dict[str, Any]], luck: Any, size: int
) -> None:
    shuffled = list(told)
    luck.shuffle(shuffled)
    known: dict[str, Sighting] = {}
    for start in range(0, len(shuffled), size):
        for product_id, one in product.sightings(shuffled[start : start + size]).items():
            # Between two batches it lies in the store.
            stored = product.sighting_of(product.row_of(known[product_id])) if product_id in known else None
            known[product_id] = one if stored is None else stored.joined(one)
    assert known == product.sightings(told)


@given(st.lists(events(), min_size=1, max_size=4), st.lists(events(), min_size=1, max_size=4))
def test_what_is_said_to_tell_nothing_more_changes_no_row(before: list[Any], later: list[Any]) -> None:
    rows = {product_id: product.row_of(one) for product_id, one in product.sightings(before).items()}
    for product_id, one in product.sightings(later).items():
        if product_id in rows and not product.tells_more(one, rows[product_id]):
            assert product.row_of(product.sighting_of(rows[product_id]).joined(one)) == rows[product_id]


def test_a_property_of_a_reserved_name_stays_beside_what_the_client_told() -> None:
    def properties(kind: str, own: dict[str, Any], **told: Any) -> Any:
        row = product.event_row(event(type=kind, properties=own, **told), "2026-01-01T00:00:00.000Z")
        return exactjson.loads(row["properties"])

    around = {"campaign": {"source": "ad"}, "page": {"url": "https://example.org/p"}}
    assert properties("track", {"context": "onboarding", "n": 1}, context=around) == {
        "context": around, "own_context": "onboarding", "n": 1,
    }  # fmt: skip
    own = {"context": "a", "own_context": "b", "own_own_context": "c", "traits": [1], "group_id": 7, "name": "N"}
    assert properties("page", own, context=around, traits={"plan": "pro"}, group_id="g1", name="Pricing") == {
        "context": around, "own_context": "b", "own_own_context": "c", "own_own_own_context": "a",
        "traits": {"plan": "pro"}, "own_traits": [1], "group_id": "g1", "own_group_id": 7,
        "name": "Pricing", "own_name": "N",
    }  # fmt: skip
    # What nobody told, or told alike, is left as it is; a track call's name is that of the event.
    assert properties("track", own, name="Opened") == own
    assert properties("page", {"name": "Pricing", "context": None}, name="Pricing", context=around) == {
        "name": "Pricing", "context": around, "own_context": None,
    }  # fmt: skip


def test_a_use_by_somebody_known_tells_nothing_more_and_an_earlier_one_does() -> None:
    second = "2026-01-01T00:00:02.000Z"
    row = product.row_of(product.sightings([event(user_id="u1", time=second)])["u1"])

    def tells_more(**told: Any) -> bool:
        return product.tells_more(product.sightings([event(**told)])["u1"], row)

    assert not tells_more(user_id="u1", time="2026-01-01T00:00:03.000Z")
    assert tells_more(user_id="u1", time="2026-01-01T00:00:01.000Z")
    assert tells_more(user_id="u1", time=second, type="identify", traits={"plan": "pro"})


@given(st.lists(events(), min_size=1, max_size=8))
def test_every_id_of_an_event_is_somebody(told: list[dict[str, Any]]) -> None:
    rows = [product.row_of(one) for one in product.sightings(told).values()]
    people = identity.stitch(
        {row["product_id"]: product.record_of(row) for row in rows}, match_email=True, max_cluster=25
    )
    of = {member.record_id: person.user_id for person in people for member in person.members}
    for data in told:
        ids = [i for i in (data["user_id"], data["anonymous_id"], data["previous_id"]) if i]
        assert of.keys() >= set(ids)
    assert {person.user_id for person in people} <= of.keys()


def users(*told: Mapping[str, Any]) -> dict[str, str]:
    """Say whose each product id is."""
    rows = [product.row_of(one) for one in product.sightings(told).values()]
    records = {row["product_id"]: product.record_of(row) for row in rows}
    people = identity.stitch(records, match_email=True, max_cluster=25)
    return {member.record_id: person.user_id for person in people for member in person.members}


def test_a_browser_belongs_to_who_signs_in_with_it() -> None:
    assert users(event(anonymous_id="a1"), event(anonymous_id="a1", user_id="u1")) == {"a1": "u1", "u1": "u1"}


def test_a_browser_that_two_people_use_belongs_to_the_first_of_them() -> None:
    first = event(anonymous_id="a1", user_id="u1", time="2026-01-01T00:00:01.000Z")
    second = event(anonymous_id="a1", user_id="u2", time="2026-01-01T00:00:02.000Z")
    assert users(second, first) == {"a1": "u1", "u1": "u1", "u2": "u2"}


def test_an_alias_joins_what_somebody_was_to_what_they_are() -> None:
    assert users(event(type="alias", previous_id="a1", user_id="u1"), event(anonymous_id="a1"))["a1"] == "u1"


def test_users_with_one_email_are_one_person_and_the_last_one_told_counts() -> None:
    def told(user: str, email: str, second: int) -> dict[str, Any]:
        at = f"2026-01-01T00:00:{second:02d}.000Z"
        return event(type="identify", user_id=user, traits={"email": email}, time=at)

    together = [told("u1", "ann@example.com", 1), told("u2", " ANN@example.com", 2)]
    assert users(*together) == {"u1": "u1", "u2": "u1"}
    assert users(*together, told("u2", "ben@example.com", 3)) == {"u1": "u1", "u2": "u2"}


def test_an_id_that_is_an_email_is_the_persons_email() -> None:
    row = product.row_of(product.sightings([event(user_id="Ann@Example.com")])["Ann@Example.com"])
    assert row["email_key"] == "ann@example.com"


def test_traits_of_a_group_are_not_those_of_its_member() -> None:
    told = event(type="group", user_id="u1", group_id="g1", traits={"email": "office@example.com", "plan": "big"})
    one = product.sightings([told])["u1"]
    assert one.traits == {}
    assert one.email is None


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"name": "Sign Up"}, "Sign Up"),
        ({"type": "page", "name": "Pricing"}, "Page Viewed"),
        ({"type": "screen"}, "Screen Viewed"),
        ({"type": "identify"}, "Identified"),
        ({"type": "group", "group_id": "g1"}, "Group Joined"),
        ({"type": "alias", "previous_id": "a1"}, "Alias Created"),
    ],
)
def test_events_are_called_as_the_product_calls_them(told: dict[str, Any], name: str) -> None:
    assert product.event_row(event(user_id="u1", **told), "2026-01-01T00:00:01Z")["name"] == name


def test_what_was_told_around_an_event_lies_beside_its_own_properties() -> None:
    told = event(
        user_id="u1", anonymous_id="a1", name="Sign Up", properties={"plan": "free"}, context={"ip": "192.0.2.1"}
    )
    row = product.event_row(told, "2026-01-01T00:00:01Z")
    assert exactjson.loads(row["properties"]) == {"plan": "free", "context": {"ip": "192.0.2.1"}}
    assert (row["alias"], row["source"], row["origin"]) == ("u1", "/product", "product")
