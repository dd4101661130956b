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
