"""Product events beside CRM data: whose they are, whatever comes first."""

from random import Random
from typing import Any

import pytest
from batches import batches, flattener, numbered, product_event, record, told

from consumers.batch import Entry
from consumers.bisect import InARow, in_parts
from integration.store.answers import ask
from integration.store.protocol import Store

CRM = [entry for entry in batches()[0] if entry.stream != "product.events"]
ANN, DORA = record("Contact", 1), record("Contact", 4)
PEOPLE = ("users", "identities", "headrace.people", "headrace.sightings")


def users(store: Store) -> dict[str, str]:
    return {row["alias"]: row["user_id"] for row in ask(store, "SELECT alias, user_id FROM identities")}


def events(store: Store) -> dict[str, str]:
    found = ask(store, "SELECT event_id, user_id FROM events WHERE origin = 'product'")
    return {row["event_id"].removeprefix("product:"): row["user_id"] for row in found}


def identified(
    number: int, user: str, email: str, *, at: str = "02-01", anonymous_id: str | None = None, **traits: Any
) -> Entry:
    told = {"email": email, **traits}
    return product_event(number, f"{at}T00:00:00", "identify", user_id=user, anonymous_id=anonymous_id, traits=told)


def test_what_somebody_did_before_they_were_known_is_theirs(store: Store) -> None:
    worker = flattener(store)
    worker.apply(CRM)
    worker.apply([product_event(1, "01-18T09:00:00", "page", anonymous_id="a-1")])
    assert events(store) == {"m1": "a-1"}
    assert ask(store, "SELECT user_id FROM users WHERE user_id = 'a-1'") == [{"user_id": "a-1"}]
    worker.apply([identified(2, "u-1", " ANN@example.com", anonymous_id="a-1")])
    assert events(store) == {"m1": ANN, "m2": ANN}
    assert {users(store)[alias] for alias in ("a-1", "u-1", "ann@example.com", ANN)} == {ANN}
    assert ask(store, "SELECT user_id FROM users WHERE user_id IN ('a-1', 'u-1')") == []


def test_a_product_that_uses_the_ids_of_salesforce_needs_no_email(store: Store) -> None:
    worker = flattener(store)
    worker.apply([product_event(1, "01-18T09:00:00", name="Sign Up", user_id=DORA, anonymous_id="a-2")])
    assert events(store) == {"m1": DORA}
    worker.apply(CRM)
    assert users(store)["a-2"] == DORA
    row = ask(store, f"SELECT contact_id, email, is_deleted FROM users WHERE user_id = '{DORA}'")
    assert row == [{"contact_id": DORA, "email": "dora@example.com", "is_deleted": False}]


def test_a_browser_goes_where_the_user_goes_whose_id_is_an_e_mail(store: Store) -> None:
    worker = flattener(store)
    worker.apply([product_event(1, "01-18T09:00:00", "page", anonymous_id="a-1", user_id="ann@example.com")])
    worker.apply([product_event(2, "01-18T09:01:00", "page", anonymous_id="a-1")])
    worker.apply(CRM)
    assert events(store) == {"m1": ANN, "m2": ANN}
    assert users(store)["a-1"] == ANN


def test_who_is_in_no_crm_is_a_person_too(store: Store) -> None:
    flattener(store).apply([identified(1, "u-9", "Zoe@example.org")])
    found = ask(store, "SELECT user_id, identity, email, contact_id, account_id, is_deleted FROM users")
    assert found == [
        {
            "user_id": "u-9",
            "identity": "zoe@example.org",
            "email": "Zoe@example.org",
            "contact_id": None,
            "account_id": None,
            "is_deleted": False,
        }
    ]


def test_an_event_that_is_sent_again_is_stored_once(store: Store) -> None:
    worker = flattener(store)
    one = product_event(1, "01-18T09:00:00", name="Sign Up", user_id="u-1")
    again = one._replace(offset="2-0")
    assert worker.apply([one, again]).stored == 1
    done = flattener(store).apply([again._replace(offset="3-0")])
    assert (done.stored, done.seen_again) == (0, 1)
    assert list(events(store)) == ["m1"]


def test_every_event_has_a_view_that_tells_how_somebody_came(store: Store) -> None:
    context = {"campaign": {"name": "spring", "source": "ads"}, "page": {"referrer": "https://example.org/"}}
    told_alone = product_event(2, "01-18T09:01:00", name="Sign Up", user_id="u-2")
    flattener(store).apply(
        [product_event(1, "01-18T09:00:00", name="Sign Up", user_id="u-1", context=context), told_alone]
    )
    found = ask(store, "SELECT user_id, utm_campaign, utm_source, utm_medium, referrer FROM sign_up ORDER BY user_id")
    assert [tuple(row.values()) for row in found] == [
        ("u-1", "spring", "ads", None, "https://example.org/"),
        ("u-2", None, None, None, None),
    ]


def test_names_that_differ_in_letters_only_share_a_view(store: Store) -> None:
    worker = flattener(store)
    worker.apply([product_event(1, "01-18T09:00:00", name="Sign Up", user_id="u-1")])
    worker.apply([product_event(2, "01-18T09:01:00", name="sign_up", user_id="u-2")])
    flattener(store).apply([product_event(3, "01-18T09:02:00", name="Sign-up", user_id="u-3")])
    found = ask(store, "SELECT user_id FROM sign_up ORDER BY user_id")
    assert [row["user_id"] for row in found] == ["u-1", "u-2", "u-3"]


def test_odd_ids_and_names_stop_nobody(store: Store) -> None:
    odd = [
        product_event(1, "01-18T09:00:00", name="💥", user_id="u-1"),
        product_event(2, "01-18T09:00:00", name="Users", user_id="u-1"),
        product_event(3, "01-18T09:00:00", name="N" * 500, user_id="u" * 1_000),
        product_event(4, "01-18T09:00:00", name="a\x00b", user_id="u-1"),
        product_event(5, "01-18T09:00:00", name="Run", user_id="u\x00"),
        product_event(6, "01-18T09:00:00", "identify", user_id="u-1", traits={"email": "a\x00@example.com"}),
        product_event(7, "01-18T09:00:00", "identify", user_id="u-1", traits={"email": "a" * 5_000 + "@example.com"}),
        product_event(8, "01-18T09:00:00", name="Run", user_id="u-1", properties={"n": "0.12345678901234567890"}),
    ]
    worker = flattener(store)
    with worker.transaction() as tx:
        row = InARow(500, tx)
    rejects = {reject.entry.offset for applied in in_parts(worker, odd, row) for reject in applied.rejects}
    assert rejects <= {"4-0", "5-0", "6-0"}
    assert {"m1", "m2", "m3", "m7", "m8"} <= events(store).keys()
    assert ask(store, "SELECT email FROM users WHERE user_id = 'u-1'") == [{"email": None}]


def test_numbers_of_properties_keep_every_digit(store: Store) -> None:
    one = product_event(1, "01-18T09:00:00", name="Paid", user_id="u-1")
    payload = one.fields[b"data"].replace(b'"properties":{}', b'"properties":{"amount":1234567890123456.78}')
    flattener(store).apply([one._replace(fields={b"data": payload})])
    [row] = ask(store, "SELECT properties::VARCHAR AS properties FROM events")
    assert '"amount":1234567890123456.78' in row["properties"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[]", "not a product event"),
        (b'{"id": 1}', "not a product event"),
        (product_event(1, "01-18T09:00:00").fields[b"data"], "neither a user id nor an anonymous id"),
    ],
)
def test_what_is_no_product_event_is_given_up_with_a_reason(store: Store, payload: bytes, reason: str) -> None:
    [reject] = flattener(store).apply([Entry("product.events", "1-0", {b"data": payload})]).rejects
    assert reason in reject.reason


def test_whatever_comes_first_everybody_is_who_they_are(store: Store) -> None:
    """Contacts before events or after, in whatever batches: the same people, and the same events are theirs."""
    seen = [
        product_event(1, "01-18T09:00:00", "page", anonymous_id="a-1"),
        product_event(2, "01-18T09:01:00", name="Sign Up", anonymous_id="a-1", user_id="u-1"),
        product_event(3, "01-18T09:02:00", name="Run", anonymous_id="a-1", user_id="u-2"),
        identified(4, "u-1", "ann@example.com"),
        identified(5, "u-2", "solo@example.com"),
        product_event(6, "01-18T09:03:00", "alias", previous_id="a-4", user_id="u-2"),
        product_event(7, "01-18T09:04:00", "page", anonymous_id="a-4"),
        product_event(8, "01-18T09:05:00", name="Run", user_id=DORA),
        identified(9, "u-1", "ann@example.com", at="02-03", plan="pro", seats=3),
        identified(10, "a-4", "solo@example.com", at="02-02", plan="team", company={"name": "Solo"}),
        identified(11, "u-2", "solo@example.com", at="02-03", plan=None),
        product_event(12, "02-04T00:00:00", "identify", user_id=DORA, traits={"Plan": "free"}),
    ]
    luck = Random(7)
    luck.shuffle(seen)
    crm_first = luck.random() < 0.5
    streams = [CRM, numbered(seen)] if crm_first else [numbered(seen), CRM]
    for entries in streams:
        worker = flattener(store)
        for start in range(0, len(entries), 3):
            worker.apply(entries[start : start + 3])
    assert {alias: users(store)[alias] for alias in ("a-1", "u-1", "u-2", "a-4", DORA)} == {
        "a-1": ANN,
        "u-1": ANN,
        "u-2": record("Lead", 2),
        "a-4": record("Lead", 2),
        DORA: DORA,
    }
    assert set(events(store).values()) == {ANN, record("Lead", 2), DORA}
    traits = ask(store, "SELECT user_id, plan, seats, company_name FROM users WHERE plan <> '' OR company_name <> ''")
    assert sorted(tuple(row.values()) for row in traits) == [
        (ANN, "pro", "3", None),
        (DORA, "free", None, None),
        (record("Lead", 2), None, None, "Solo"),
    ]
    before = told(store, PEOPLE)
    worker = flattener(store)
    assert all(worker.replayer.people(name).changed_nothing for name in ("Contact", "Lead", "Product"))
    assert worker.replayer.nobody().changed_nothing
    assert told(store, PEOPLE) == before
