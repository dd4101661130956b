"""What a product tells of its users stands in their row: the last value of each trait, as text."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import duckdb
import pytest
import structlog
from batches import NOW, batches, flattener, product_event, record, told

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.store import tables
from integration.store.answers import ask
from integration.store.duckdb.store import DuckDBStore
from integration.store.protocol import Store

pytestmark = pytest.mark.slow_on("clickhouse")

CRM = [entry for entry in batches()[0] if entry.stream != "product.events"]
ANN, DORA = record("Contact", 1), record("Contact", 4)
PEOPLE = ("users", "identities", "headrace.people", "headrace.traits", "headrace.sightings", "headrace.properties")
Opener = Callable[[], Store]
_NUMBERS = count(1)


def tells(day: int, user: str, traits: Mapping[str, Any], kind: str = "identify", **more: Any) -> Entry:
    """A call of the `day`-th of February; each one is another."""
    return product_event(next(_NUMBERS), f"02-{day:02d}T00:00:00", kind, user_id=user, traits=traits, **more)


def row(store: Store, user_id: str) -> dict[str, Any]:
    [found] = ask(store, f"SELECT * FROM users WHERE user_id = '{user_id}'")
    return found


def filled(store: Store, user_id: str) -> dict[str, Any]:
    """The columns of traits that say something in somebody's row."""
    known = {r["property"] for r in ask(store, "SELECT property FROM headrace.properties WHERE object = 'product'")}
    return {name: value for name, value in row(store, user_id).items() if name in known and value is not None}


def assert_as_defined(store: Store) -> None:
    assert told(store, ["users"])["users"] == told(store, ["headrace.users_defined"])["headrace.users_defined"]


def apply(store: Store, entries: Iterable[Entry], rules: Rules | None = None) -> Flattener:
    """Store entries in the order in which they are given."""
    worker = flattener(store)
    if rules is not None:
        worker = Flattener(store, rules, now=lambda: NOW, fetch_schema=lambda _: None)
    last = int(worker.positions.get("product.events", "0-0").split("-")[0])
    worker.apply([one._replace(offset=f"{last + n}-0") for n, one in enumerate(entries, 1)])
    return worker


def test_values_are_text_whatever_they_were(store: Store) -> None:
    entry = tells(
        1,
        "u-1",
        {
            "companyName": "Acme 😀 'x' \"y\" \\n",
            "Seats": 12,
            "ratio": 1e-7,
            "big": 12345678901234567890,
            "is_admin": True,
            "muted": False,
            "tags": ["a", 1, None],
            "company": {"name": "Zenith", "employeeCount": 40, "address": {"city": "Bern"}},
            "empty": "",
            "nothing": None,
            "nobody": {},
        },
    )
    payload = entry.fields[b"data"].replace(b'"Seats":12', b'"Seats":1234567890123456.780')
    apply(store, [entry._replace(fields={b"data": payload})])
    assert filled(store, "u-1") == {
        "company_name": "Zenith",
        "seats": "1234567890123456.78",
        "ratio": "0.0000001",
        "big": "12345678901234567890",
        "is_admin": "true",
        "muted": "false",
        "tags": '["a",1,null]',
        "company_employee_count": "40",
        "company_address": '{"city":"Bern"}',
        "empty": "",
    }
    assert not {"nothing", "nobody", "company"} & row(store, "u-1").keys()
    assert_as_defined(store)


@pytest.mark.slow_on("clickhouse")
def test_over_all_ids_of_a_person_the_value_told_last_counts_and_null_clears(store: Store) -> None:
    apply(store, CRM)
    apply(store, [tells(1, "u-1", {"plan": "free", "role": "admin"}), tells(2, "u-2", {"plan": "pro", "seats": 3})])
    assert (filled(store, "u-1"), filled(store, "u-2")) == (
        {"plan": "free", "role": "admin"},
        {"plan": "pro", "seats": "3"},
    )
    # Both turn out to be Ann, of whom her contact's id was told too.
    both = [tells(3, user, {"email": "ann@example.com"}) for user in ("u-1", "u-2")]
    apply(store, [*both, tells(1, ANN, {"plan": "trial", "role": "owner", "city": "Bern"})])
    assert filled(store, ANN) == {"plan": "pro", "seats": "3", "role": "owner", "city": "Bern"}
    assert row(store, ANN)["updated_at"] == "2026-02-03T00:00:00Z"
    apply(store, [tells(4, "u-1", {"plan": None}), tells(2, "u-2", {"role": "reader"})])
    assert filled(store, ANN) == {"seats": "3", "role": "reader", "city": "Bern"}
    assert row(store, ANN)["updated_at"] == "2026-02-04T00:00:00Z"
    apply(store, [tells(3, "u-2", {"plan": "late"}), tells(5, "u-2", {"seats": 4})])
    assert filled(store, ANN) == {"seats": "4", "role": "reader", "city": "Bern"}
    # Somebody else after all.
    apply(store, [tells(6, "u-2", {"email": "zoe@example.org"})])
    assert filled(store, ANN) == {"role": "owner", "city": "Bern"}
    assert filled(store, "u-2") == {"plan": "late", "seats": "4", "role": "reader"}
    assert_as_defined(store)


@pytest.mark.slow_on("clickhouse")
def test_a_trait_changes_the_row_and_no_other(store: Store) -> None:
    worker = apply(store, [*CRM, tells(1, "u-1", {"plan": "free"}), tells(1, "u-2", {"plan": "free"})])
    before = told(store, ["users"])["users"]
    changed = worker.apply([tells(2, "u-1", {"plan": "pro"})._replace(offset="900-0")])
    assert changed.users == 1
    assert len({*told(store, ["users"])["users"]} - {*before}) == 1


@pytest.mark.slow_on("clickhouse")
def test_whatever_order_calls_arrive_in_the_row_is_the_same(store: Store) -> None:
    def calls(number: int) -> list[Entry]:
        one, two, mail = f"u-{number}", f"v-{number}", f"ann{number}@example.com"
        return [
            tells(1, one, {"plan": "free", "company": {"name": "Acme", "id": 1}}),
            tells(2, two, {"Plan": "pro", "email": mail}),
            tells(2, one, {"plan": "team", "email": mail, "score": 1}),
            tells(2, two, {"score": True}),
            tells(3, two, {"company": {"name": "Zenith"}, "seats": None}),
            tells(4, one, {"company_name": None, "city": "Bern"}),
            tells(5, two, {"company": "Acme"}, kind="group", group_id="g"),
            tells(3, two, {"city": "Basel", "seats": 7}),
        ]

    luck = Random(11)
    for number in range(6):
        shuffled = calls(number)
        if number:
            luck.shuffle(shuffled)
        size = luck.choice([1, 3, 8])
        for start in range(0, len(shuffled), size):
            apply(store, shuffled[start : start + size])
        owner = f"u-{number}"
        # Of two that were told at the same time the greater JSON counts: "team" of "pro", true of 1, null of 7.
        assert filled(store, owner) == {"plan": "team", "score": "true", "city": "Bern"}, number
        assert row(store, owner)["updated_at"] == "2026-02-04T00:00:00Z"
    assert_as_defined(store)


def test_odd_names_find_a_column_or_stay_in_events(store: Store) -> None:
    odd = {
        "user_id": "a", "Select": "b", "💥": "c", "2fa": "d", "sfdc_contact_title": "e", "E-Mail": "f", "Email": "g",
        "traits": "h", "ctid": "i", "xmin": "j", "a" * 63: "k", "b" * 64: "l", "null": "m", "n" * 58 + "user_id": "o",
        "": "p", "is_deleted": "r", "имя": "s", "plan.name": "t", "updatedAt": "u", "x": {"💥": 1, "y": 2},
    }  # fmt: skip
    apply(store, [tells(1, "u-1", odd)])
    expected = {
        "user_id_trait": "a", "select": "b", "trait_2fa": "d", "sfdc_contact_title_trait": "e", "e_mail": "f",
        "email_trait": "g", "traits": "h", "ctid_trait": "i", "xmin_trait": "j", "a" * 63: "k", "null": "m",
        "is_deleted_trait": "r", "plan_name": "t", "updated_at_trait": "u", "x_y": "2",
    }  # fmt: skip
    assert filled(store, "u-1") == expected
    assert row(store, "u-1")["user_id"] == "u-1"
    apply(store, [*CRM, tells(2, "u-1", {"Select": "later"})])
    assert filled(store, "u-1") == expected | {"select": "later"}
    assert_as_defined(store)


def test_a_value_without_room_leaves_its_column_empty(store: Store) -> None:
    apply(store, [tells(1, "u-1", {"bio": "x" * 4_096, "long": "x" * 4_097})])
    assert filled(store, "u-1") == {"bio": "x" * 4_096}
    assert "long" not in row(store, "u-1")
    apply(store, [tells(2, "u-1", {"bio": "y" * 4_097, "list": ["z" * 4_093]})])
    assert filled(store, "u-1") == {}


@pytest.mark.slow_on("clickhouse")
def test_a_store_has_room_for_200_traits_and_says_so_once(store: Store) -> None:
    with structlog.testing.capture_logs() as logs:
        worker = apply(store, [tells(1, "u-1", {f"t{n:03d}": n for n in range(150)})])
        worker.apply([tells(2, "u-2", {f"t{n:03d}": "secret" for n in range(300)})._replace(offset="8-0")])
        worker.apply([tells(3, "u-2", {"t299": "secret", "t000": None})._replace(offset="9-0")])
    assert len(filled(store, "u-1")) == 150
    assert filled(store, "u-2") == {f"t{n:03d}": "secret" for n in range(1, 200)}
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [line["limit"] for line in warnings] == [200]
    assert "secret" not in str(warnings)
    assert "t299" not in str(warnings)
    apply(store, [tells(4, "u-3", {"t250": "more", "t001": "x"})])
    assert filled(store, "u-3") == {"t001": "x"}
    assert_as_defined(store)


def test_a_new_column_is_logged_once_like_a_new_field(store: Store) -> None:
    apply(store, [tells(1, "u-1", {"Plan": "free", "company": {"name": "Acme"}})])
    apply(store, [tells(2, "u-1", {"plan": "pro", "company_name": "Zenith", "seats": 3})])
    logged = ask(store, "SELECT object, field, property, kind, type FROM schema_log")
    assert sorted(tuple(one.values()) for one in logged) == [
        ("product", "Plan", "plan", "added", "text"),
        ("product", "company.name", "company_name", "added", "text"),
        ("product", "seats", "seats", "added", "text"),
    ]


def test_traits_that_the_settings_leave_out_are_stored_nowhere(store: Store) -> None:
    secret = {"product.salary", "product.company.name"}
    rules = replace(Rules({}, {}), dropped=lambda name, field: f"{name}.{field}" in secret)
    earlier = tells(1, "u-1", {"salary": "old-1234", "plan": "free"})
    apply(store, [earlier])
    assert filled(store, "u-1") == {"salary": "old-1234", "plan": "free"}
    hidden = {"salary": "new-1234", "company": {"name": "Secret Ltd", "id": 7}, "plan": "pro"}
    worker = apply(store, [tells(2, "u-1", hidden)], rules)
    assert filled(store, "u-1") == {"plan": "pro", "company_id": "7"}
    everything = str(told(store, tables.FIXED))
    assert "new-1234" not in everything
    assert "Secret Ltd" not in everything
    assert worker.replayer.people("Product").changed_nothing
    # Taken in again, what was told before shows again.
    assert not flattener(store).replayer.people("Product").changed_nothing
    assert filled(store, "u-1") == {"plan": "pro", "company_id": "7", "salary": "old-1234"}


@pytest.mark.slow_on("clickhouse")
def test_a_replay_finds_every_trait_as_it_should_be_and_brings_back_what_was_spoiled(store: Store) -> None:
    apply(store, CRM)
    mail = {"email": "ann@example.com"}
    apply(store, [tells(1, "u-1", mail | {"plan": "free"}), tells(2, "a-1", mail | {"seats": 3, "plan": None})])
    apply(store, [tells(1, DORA, {"plan": "pro"}), tells(1, "u-9", {"null_first": None})])
    apply(store, [tells(2, "u-8", {"null_first": 1})])
    before = told(store, PEOPLE)
    worker = flattener(store)
    assert all(worker.replayer.people(name).changed_nothing for name in ("Contact", "Lead", "Product"))
    assert told(store, PEOPLE) == before
    with store.transaction() as tx:
        tx.update("users", "user_id", "plan", {DORA: "spoiled"})
        tx.update("headrace.traits", "user_id", "seats", {ANN: "9"})
        tx.update("headrace.traits", "user_id", "user_id", {"u-8": "stray"})
    assert not worker.replayer.people("Product").changed_nothing
    worker.replayer.nobody()
    assert told(store, PEOPLE) == before


def test_a_store_from_before_there_were_trait_columns_gets_them_by_a_replay(tmp_path: Any) -> None:
    def opened() -> DuckDBStore:
        return DuckDBStore(tmp_path / "old.duckdb", memory_limit="512MB", threads=2)

    store = opened()
    apply(store, [*CRM, tells(1, "u-1", {"email": "ann@example.com", "plan": "free"}), tells(1, "u-2", {"seats": 2})])
    before = told(store, PEOPLE)
    store.close()
    with duckdb.connect(str(tmp_path / "old.duckdb")) as con:
        for sql in (
            "DROP VIEW headrace.users_defined",
            "DROP TABLE headrace.traits",
            "ALTER TABLE users DROP plan",
            "ALTER TABLE users DROP seats",
            "DELETE FROM headrace.properties WHERE object = 'product'",
        ):
            con.execute(sql)
    store = opened()
    apply(store, [tells(2, "u-3", {"email": "zoe@example.org"})])
    assert row(store, ANN)["user_id"] == ANN
    worker = flattener(store)
    assert worker.replayer.people("Product").users == 2
    store_says = told(store, PEOPLE)
    assert all({*before[name]} <= {*store_says[name]} for name in PEOPLE)
    store.close()


def test_people_that_no_product_knows_have_nothing_to_say(store: Store) -> None:
    apply(store, [*CRM, tells(1, "u-1", {"plan": "free"})])
    assert ask(store, "SELECT user_id FROM headrace.traits") == [{"user_id": "u-1"}]


@pytest.mark.parametrize("broken", [5, 14, 20])
@pytest.mark.slow_on("clickhouse")
def test_a_column_whose_batch_failed_is_there_with_the_next_one(opener: Opener, broken: int) -> None:
    from test_a_batch_on_every_store import Breaking, BrokenError

    store = opener()
    worker = flattener(store)
    worker.apply([tells(1, "u-1", {"plan": "free"})._replace(offset="1-0")])
    whole = worker._store
    worker._store = Breaking(store, broken)  # type: ignore[assignment]
    with pytest.raises(BrokenError):
        worker.apply([tells(2, "u-1", {"gone": "x"})._replace(offset="2-0")])
    worker._store = whole
    worker.apply([tells(3, "u-1", {"seats": 3})._replace(offset="3-0")])
    assert filled(store, "u-1") == {"plan": "free", "seats": "3"}
    assert "gone" not in row(store, "u-1")
    store.close()
