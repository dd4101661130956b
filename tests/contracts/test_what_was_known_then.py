"""The time machine, held against captures walked through by their stamps, over everything that happens to records."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from batches import BODIES, NOW, SECOND, Stream, batches, product_event, record, schema_of
from known_then import Oracle, at_moments

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.core import catalog
from integration.errors import UsageError
from integration.store.answers import ask
from integration.store.protocol import Store
from integration.store.then import Asked, users_as_of, users_at_events
from integration.wiring.as_of import asked

pytestmark = pytest.mark.slow_on("clickhouse")

HISTORY = schema_of(
    "ContactHistory",
    {"ContactId": "reference", "CreatedById": "reference", "Field": "picklist", "DataType": "picklist",
     "OldValue": "anyType", "NewValue": "anyType"},
)  # fmt: skip
SCHEMAS = SECOND | {"ContactHistory": HISTORY}
ACME, ZENITH = record("Account", 1), record("Account", 2)


def more() -> tuple[list[Entry], list[Entry]]:
    """Return what happens after `batches()`: as polls see it, and the history that comes late."""
    stream = Stream()

    def image(name: str, number: int, at: str, **fields: Any) -> Entry:
        one = stream.entry(SCHEMAS, name, number, at, **fields)
        return one._replace(offset=f"9{one.offset}")

    def step(number: int, at: str, old: Any, new: Any) -> Entry:
        told = {"Field": "Title", "OldValue": old, "NewValue": new, "DataType": "Text"}
        key = {
            "ContactId": record("Contact", 6),
            "CreatedDate": f"2026-{at}.000+0000",
            "CreatedById": "005000000000002AAA",
        }
        return image("ContactHistory", number, at, **told, **key)

    bea: dict[str, Any] = {"Name": "Bea", "Email": "bea@example.com", "AccountId": ZENITH, "Title": "Intern"}
    cy: dict[str, Any] = {"Name": "Cy", "Email": "cy@example.com", "AccountId": ACME, "Title": "old"}
    di: dict[str, Any] = {"Name": "Di", "Email": "di@example.com", "AccountId": ZENITH, "Title": "new"}
    lead: dict[str, Any] = {"Email": "ed@example.com", "Company": "Ed & Co", "IsConverted": False, "Visits__c": 1}
    done = {"IsConverted": True, "ConvertedContactId": record("Contact", 9), "ConvertedAccountId": ACME}
    polled = [
        image("Contact", 6, "02-12T09:00:00", **bea),
        # Moved to another account, which others have changed meanwhile.
        image("Contact", 6, "02-14T09:00:00", **(bea | {"Title": "Head", "AccountId": ACME})),
        image("Account", 2, "02-16T09:00:00", Name="Zenith & Sons", Industry="Media", ARR__c=10.5),
        # Deleted and restored, with a value that nobody tells of.
        image("Contact", 6, "02-17T09:00:00", IsDeleted=True, **(bea | {"Title": "Head", "AccountId": ACME})),
        image("Contact", 6, "02-18T09:00:00", **(bea | {"Title": "Back", "AccountId": ACME})),
        image("Contact", 6, "02-19T09:00:00", **(bea | {"Title": "Again", "AccountId": None})),
        # The older contact is merged into the younger one.
        image("Contact", 7, "02-11T09:00:00", **cy),
        image("Contact", 8, "02-11T09:00:00", **di),
        image("Contact", 7, "02-13T09:00:00", **(cy | {"Title": "older"})),
        image("Contact", 8, "02-15T09:00:00", **(di | {"Title": "newer"})),
        image("Contact", 7, "02-16T10:00:00", IsDeleted=True, MasterRecordId=record("Contact", 8), **(cy | {"Title": "older"})),
        # Converted: the lead has an account before the contact is there.
        image("Lead", 3, "02-11T09:00:00", **lead),
        image("Lead", 3, "02-13T09:00:00", **(lead | done | {"Visits__c": 2})),
        image("Contact", 9, "02-13T09:30:00", CreatedDate="2026-02-13T09:30:00.000+0000", Email="ed@example.com", AccountId=ZENITH),
        product_event(900, "02-13T08:00:00", name="Sign Up", user_id="ed@example.com"),
        product_event(901, "02-13T12:00:00", name="Sign Up", user_id="ed@example.com"),
        product_event(902, "02-15T12:00:00", name="Run Query", user_id="bea@example.com"),
        product_event(903, "02-16T12:00:00", name="Run Query", user_id="di@example.com"),
        product_event(904, "02-12T12:00:00", name="Run Query", user_id="di@example.com"),
    ]  # fmt: skip
    late = [
        step(1, "02-01T00:00:00", None, "Intern"),
        # Two in one second, and two that went in a circle.
        step(3, "02-13T08:00:00", "Junior", "Senior"),
        step(2, "02-13T08:00:00", "Intern", "Junior"),
        step(4, "02-13T09:00:00", "Senior", "Chief"),
        step(5, "02-13T09:00:00", "Chief", "Senior"),
        # The second of these is what a poll has told.
        step(6, "02-14T09:00:00", "Senior", "Lead"),
        step(7, "02-14T09:00:00", "Lead", "Head"),
    ]
    return polled, late


@pytest.fixture(scope="module")
def lived(module_store: Store) -> Store:
    """A store in which all of that has happened."""
    bodies = BODIES | {HISTORY.schema_id: catalog.to_json(HISTORY)}
    flattener = Flattener(module_store, Rules({}, {}), now=lambda: NOW, fetch_schema=bodies.get)
    for batch in (*batches(), *more()):
        assert flattener.apply(batch).rejects == []
    return module_store


@pytest.fixture(scope="module")
def oracle(lived: Store) -> Oracle:
    return Oracle(lived)


def as_text(value: Any) -> Any:
    """Write a typed value as `changes` does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value) if isinstance(value, int) else value


def test_every_field_of_every_record_has_one_value_at_every_time_and_that_is_what_its_captures_show(
    lived: Store, oracle: Oracle
) -> None:
    rows = ask(lived, "SELECT * FROM record_values")
    moments = oracle.moments()
    for at, held in at_moments(rows, moments).items():
        told = [(r["record_id"], r["property"]) for r in held]
        assert len(told) == len(set(told)), at
        expected = {
            (record_id, name): value
            for record_id in oracle.records
            for name, value in oracle.of_record(record_id, at).items()
        }
        assert {(r["record_id"], r["property"]): r["value"] for r in held} == expected, at
    assert len(moments) > 20


def test_a_person_shows_the_records_they_would_have_shown_then(lived: Store, oracle: Oracle) -> None:
    for at, held in at_moments(ask(lived, "SELECT * FROM user_records"), oracle.moments()).items():
        found: dict[str, dict[str, str]] = {}
        for row in held:
            assert row["object"] not in found.setdefault(row["user_id"], {}), at
            found[row["user_id"]][row["object"]] = row["record_id"]
        assert found == oracle.records_of(at), at


def test_what_was_known_of_a_person_is_what_their_records_held(lived: Store, oracle: Oracle) -> None:
    for at, held in at_moments(ask(lived, "SELECT * FROM user_values"), oracle.moments()).items():
        found = {(r["user_id"], r["property"]): r["value"] for r in held}
        assert len(found) == len(held), at
        expected = {(u, name): value for u, known in oracle.of_people(at).items() for name, value in known.items()}
        assert found == expected, at


@pytest.mark.parametrize("at", ["2026-01-03T12:00:00Z", "2026-02-13T09:10:00Z", "2026-02-16T10:00:00Z"])
@pytest.mark.slow_on("clickhouse")
def test_people_are_shown_as_they_were(lived: Store, oracle: Oracle, at: str) -> None:
    known = asked(lived)
    rows = {row["user_id"]: row for row in ask(lived, users_as_of(at, known))}
    assert rows.keys() == {user_id for user_id, first in oracle.first_seen.items() if first <= at}
    of_people, records = oracle.of_people(at), oracle.records_of(at)
    for user_id, row in rows.items():
        expected = of_people.get(user_id, {})
        assert {one.property: as_text(row[one.property]) for one in known} == {
            one.property: expected.get(one.property) for one in known
        }
        for name in ("Contact", "Lead", "Account"):
            assert row[f"{name.lower()}_id"] == records.get(user_id, {}).get(name)


def test_as_of_now_people_are_as_in_users(lived: Store) -> None:
    rows = ask(lived, users_as_of("2031-01-01T00:00:00Z", asked(lived)))
    users = {row["user_id"]: row for row in ask(lived, "SELECT * FROM users")}
    assert len(rows) == len(users) == 7
    assert len(rows[0]) > 40
    for row in rows:
        assert row == {name: users[row["user_id"]][name] for name in row}


@pytest.mark.slow_on("clickhouse")
def test_each_product_event_has_its_person_as_they_were_then(lived: Store, oracle: Oracle) -> None:
    names = (
        "sfdc_contact_title",
        "sfdc_account_name",
        "sfdc_account_arr",
        "sfdc_lead_visits",
        "sfdc_lead_is_converted",
    )
    rows = {row["event_id"]: row for row in ask(lived, users_at_events(asked(lived, names)))}
    events = ask(lived, "SELECT * FROM events WHERE origin = 'product'")
    assert rows.keys() == {event["event_id"] for event in events}
    for event in events:
        known = oracle.of_people(event["time"]).get(event["user_id"], {})
        row = rows[event["event_id"]]
        assert [as_text(row[name]) for name in names] == [known.get(name) for name in names]
        assert (row["time"], row["name"], row["user_id"]) == (event["time"], event["name"], event["user_id"])

    def shown(number: int) -> Sequence[Any]:
        return [rows[f"product:m{number}"][name] for name in names]

    # Worked out by hand: a lead before and after its conversion, a contact who has moved, a winner before and after.
    assert shown(900) == [None, None, None, 1, False]
    assert shown(901) == [None, "Zenith", 0, 2, True]
    assert shown(902)[:2] == ["Head", "Acme 😀"]
    assert shown(903)[:2] == ["newer", "Zenith & Sons"]
    assert shown(904)[:2] == ["old", "Acme 😀"]


def test_events_of_one_name_are_asked_for(lived: Store) -> None:
    rows = ask(lived, users_at_events([Asked("sfdc_contact_title", asked(lived)[0].type)], "Sign Up"))
    assert {row["name"] for row in rows} == {"Sign Up"}
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert len(rows) == 4


def test_a_field_whose_type_has_changed_goes_by_its_present_name(lived: Store) -> None:
    assert [one.property for one in asked(lived) if "score" in one.property] == ["sfdc_contact_score_text"]
    [row] = ask(
        lived,
        "SELECT value, until FROM record_values WHERE property = 'sfdc_contact_score_text' AND until IS NOT NULL",
    )
    assert row == {"value": "0.1", "until": "2026-02-10T12:00:00Z"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sfdc_contact_titel", "Did you mean sfdc_contact_title"),
        ("sfdc_contact_system_modstamp", "The past of sfdc_contact_system_modstamp is not kept"),
    ],
)
def test_a_property_whose_past_is_not_known_is_refused(lived: Store, name: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        asked(lived, [name])
    assert said in str(error.value)
