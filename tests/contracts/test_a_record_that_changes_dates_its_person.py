"""A contact or lead that changes without becoming somebody else: the person's row has its time, and nothing is written
that does not change."""

from typing import Any

import pytest
from batches import FIRST, Stream, flattener, numbered, record, told

from consumers.batch import Entry
from integration.core import exactjson
from integration.store.answers import ask
from integration.store.protocol import Store

ANN = {"Email": "ann@example.com", "Name": "Ann"}
EARLIER, SINCE = "2026-01-20T10:00:00Z", "2026-02-11T12:00:00Z"


def entries() -> list[Entry]:
    stream = Stream()
    first = [stream.entry(FIRST, "Contact", number, "01-20T10:00:00", **ANN) for number in (1, 2)]
    lead = stream.entry(
        FIRST, "Lead", 1, "01-20T10:00:00", Email="lea@example.com", Company="Lea Ltd", IsConverted=False
    )
    return numbered([*first, lead])


def changed(name: str, number: int, **fields: Any) -> Entry:
    return Stream().entry(FIRST, name, number, "02-11T12:00:00", **fields)._replace(offset="99-0")


def times(store: Store) -> dict[str, str]:
    return {row["user_id"]: row["updated_at"] for row in ask(store, "SELECT user_id, updated_at FROM users")}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Contact", {**ANN, "Title": "CTO"}),
        ("Lead", {"Email": "lea@example.com", "Company": "Lea", "IsConverted": False}),
    ],
)
def test_the_row_of_people_stays_as_it_is_when_what_it_shows_changes(
    store: Store, name: str, fields: dict[str, Any]
) -> None:
    worker = flattener(store)
    worker.apply(entries())
    before = told(store, ["headrace.people"])
    worker.apply([changed(name, 1, **fields)])
    assert told(store, ["headrace.people"]) == before
    assert times(store)[record(name, 1)] == SINCE
    assert told(store, ["users"])["users"] == told(store, ["headrace.users_defined"])["headrace.users_defined"]


def test_a_contact_that_another_stands_before_dates_the_person_too(store: Store) -> None:
    worker = flattener(store)
    worker.apply(entries())
    assert times(store)[record("Contact", 1)] == EARLIER
    worker.apply([changed("Contact", 2, **ANN, Title="CTO")])
    assert times(store) == {record("Contact", 1): SINCE, record("Lead", 1): EARLIER}


def test_a_delete_that_only_the_delete_log_tells_of_dates_the_raw_row_and_the_person(store: Store) -> None:
    worker = flattener(store)
    worker.apply(entries())
    capture = exactjson.loads(changed("Lead", 1).fields[b"data"])
    capture |= {"fields": None, "is_deleted": True}
    worker.apply([Entry("crm.lead", "99-0", {b"data": exactjson.dumps(capture)})])
    [raw] = ask(store, "SELECT is_deleted, systemmodstamp AS stamp FROM salesforce.lead")
    assert (raw["is_deleted"], raw["stamp"]) == (True, SINCE)
    assert times(store)[record("Lead", 1)] == SINCE


def test_events_of_somebody_who_was_nobody_before_become_theirs(store: Store) -> None:
    worker = flattener(store)
    task = Stream().entry(FIRST, "Task", 1, "01-20T10:00:00", WhoId=record("Contact", 1), Subject="Call")
    worker.apply([task])
    worker.apply(entries())
    owners = ask(store, "SELECT DISTINCT user_id FROM events WHERE object = 'Task'")
    assert [row["user_id"] for row in owners] == [record("Contact", 1)]
