"""Story 2, the use of the product for a health score: each test is one of the acceptance criteria."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.marts import Marts
from integration.core.columns import Column, ColumnType
from integration.errors import ConfigError
from integration.store import tables
from integration.store.answers import ask
from integration.store.projection import Shape
from integration.store.protocol import Store
from integration.store.usage import Usage

COLUMNS = [
    "EMAIL", "USER_ID", "company_name", "company_id", "number_sessions_30d", "number_sessions_90d", "most_recent_session",
    "METRIC1_30d", "METRIC2_30d", "METRIC3_30d", "METRIC4_30d",
]  # fmt: skip
EVENTS = ("Run Query", "Invite Sent", "Report Exported", "Logged In")
TRAITS = ["company_name", "company"]
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
SECOND = timedelta(seconds=1)


def at(days: float, off: timedelta = timedelta()) -> str:
    """Return a time so many days before today's beginning."""
    return (MIDNIGHT - timedelta(days=days) + off).strftime("%Y-%m-%dT%H:%M:%SZ")


PEOPLE = [
    {"user_id": "ann", "email": "ann@example.com", "company_name": "Acme", "company": "c-1", "contact_id": "003ann"},
    {"user_id": "bo", "email": "bo@example.com", "company_name": "Acme", "company": "c-1"},
    {"user_id": "cy", "email": "cy@example.com", "company_name": None, "company": None},
    {"user_id": "none", "email": None, "company_name": "Zenith", "company": "c-2"},
    {"user_id": "junk", "email": "x@Garbage.example", "company_name": None, "company": None},
    {"user_id": "own", "email": "me@ours.example", "company_name": None, "company": None},
    {"user_id": "never", "email": "never@example.com", "company_name": "Acme", "company": "c-1"},
    {"user_id": "gone", "email": "gone@example.com", "company_name": "Acme", "company": "c-1", "is_deleted": True},
]
DONE = [
    # On the boundary, to the second: 30 days ago at midnight.
    *(("ann", name, at(30, off)) for name in EVENTS[:2] for off in (-SECOND, timedelta(), SECOND)),
    ("ann", "Run Query", at(2)),
    ("ann", "Report Exported", at(40)),
    *(("bo", "Page Viewed", at(90, off)) for off in (timedelta(hours=-1), timedelta())),
    *((user, "Page Viewed", at(1)) for user in ("cy", "none", "junk", "own", "gone")),
]


@pytest.fixture(scope="module")
def filled(module_store: Store) -> Store:
    """A store with people, and what they have done."""
    traits = [Column(name, ColumnType.TEXT) for name in TRAITS]
    events = [
        {"event_id": f"e{n}", "user_id": user, "name": name, "time": time, "origin": "product", "properties": b"{}"}
        for n, (user, name, time) in enumerate(DONE)
    ]
    with module_store.transaction() as tx:
        tx.ensure_columns("users", traits)
        tx.append("users", [*tables.USERS, *traits], [{"is_deleted": False, **one} for one in PEOPLE])
        tx.append("events", tables.EVENTS, events)
    return module_store


@pytest.fixture
def used(filled: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store on the day of its rows, though midnight may have come since."""
    monkeypatch.setattr("integration.store.usage._TODAY", f"CAST('{MIDNIGHT:%Y-%m-%d}' AS DATE)")
    return filled


def usage(store: Store, columns: Sequence[str] = TRAITS, **told: Any) -> dict[str, dict[str, Any]]:
    """Have the view shown under these settings; return its rows by user."""
    found = shown(store, columns, **told)
    assert len({row["user_id"] for row in found}) == len(found)
    return {row["user_id"]: row for row in found}


def shown(store: Store, columns: Sequence[str] = TRAITS, **told: Any) -> list[dict[str, Any]]:
    """Have the view shown under these settings; return its rows."""
    wanted = Usage(**{"events": EVENTS, **told})
    marts = Marts(store.transaction, lambda: Shape(traits=columns), lambda: at(0), wanted)
    while marts.refresh():
        pass
    return ask(store, f"SELECT * FROM {wanted.view}")


def numbers(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in row if name.startswith(("number", "metric"))]


def test_s2_01_the_view_has_the_eleven_columns_in_their_order(used: Store) -> None:
    assert [name.lower() for name in COLUMNS] == [*usage(used)["ann"]]
    assert usage(used)["ann"]["company_id"] == "c-1"
    usage(used, view="my_usage_stats")
    assert used.query("SELECT * FROM my_usage_stats").column_names == [name.lower() for name in COLUMNS]
    with pytest.raises(ConfigError, match="can't be sessions: a table has that name"):
        usage(used, view="sessions")


def test_s2_02_a_metric_is_how_often_its_event_happened_and_there_are_as_many_as_are_named(used: Store) -> None:
    ann = usage(used, events=("Run Query",))["ann"]
    assert (ann["metric1_30d"], ann["metric2_30d"]) == (3, None)
    five = usage(used, events=("Nothing", "Run Query", "Invite Sent", "Report Exported", "Page Viewed"))
    assert [five["ann"][f"metric{n}_30d"] for n in range(1, 6)] == [None, 3, 2, None, None]
    assert five["cy"]["metric5_30d"] == 1


def test_s2_03_the_first_instant_counts_and_as_published_for_the_first_metric_alone(used: Store) -> None:
    ours, published = usage(used), usage(used, compatible=True)
    assert numbers(ours["ann"])[2:4] == [3, 2]
    assert numbers(published["ann"])[2:4] == [3, 1]
    assert numbers(ours["bo"])[:2] == [None, 1]
    assert numbers(published["bo"])[:2] == [None, None]


def test_s2_04_visits_are_counted_and_the_last_one_is_told(used: Store) -> None:
    # The visit of the boundary began a second before it.
    ann = usage(used)["ann"]
    assert (ann["number_sessions_30d"], ann["number_sessions_90d"], ann["most_recent_session"]) == (1, 3, at(2))
    bo = usage(used)["bo"]
    assert (bo["number_sessions_30d"], bo["number_sessions_90d"], bo["most_recent_session"]) == (None, 1, at(90))


def test_s2_05_who_has_done_nothing_stays_with_null_or_with_zero_if_asked(filled: Store) -> None:
    # As of the store's own day, in which cy's visit is that of yesterday, or of the day before.
    assert numbers(usage(filled)["cy"]) == [1, 1, None, None, None, None]
    assert numbers(usage(filled, zeros=True)["cy"]) == [1, 1, 0, 0, 0, 0]


def test_s2_06_every_filter_can_be_taken_away(used: Store) -> None:
    assert usage(used).keys() == {"ann", "bo", "cy", "junk", "own"}
    assert usage(used, exclude_emails=("*@garbage*", "*@OURS.example")).keys() == {"ann", "bo", "cy"}
    assert "ann" in usage(used, exclude_emails=("a_n@example.com", "ann@example_com"))
    everybody = usage(used, all_people=True, exclude_emails=("*@garbage*",))
    assert everybody.keys() == {"ann", "bo", "cy", "none", "own", "never"}
    assert numbers(everybody["never"]) == [None] * 6


def test_s2_07_there_is_one_row_for_who_has_moved_to_another_company(used: Store) -> None:
    moved = [{**PEOPLE[1], "company_name": "Zenith", "company": "c-2", "is_deleted": False}]
    columns = [*tables.USERS, *(Column(name, ColumnType.TEXT) for name in TRAITS)]
    with used.transaction() as tx:
        tx.upsert("users", ("user_id",), columns, moved)
    assert usage(used)["bo"]["company_name"] == "Zenith"


def test_s2_18_the_view_says_the_same_on_every_store(used: Store) -> None:
    assert {who: numbers(row) for who, row in usage(used).items()} == {
        "ann": [1, 3, 3, 2, None, None],
        "bo": [None, 1, None, None, None, None],
        **{who: [1, 1, None, None, None, None] for who in ("cy", "junk", "own")},
    }


def test_s2_10_people_go_by_the_column_that_is_named_and_those_without_it_are_told(used: Store) -> None:
    assert {row["email"]: row["user_id"] for row in shown(used, user_id="contact_id")} == {
        "ann@example.com": "003ann", "bo@example.com": None, "cy@example.com": None, "x@Garbage.example": None,
        "me@ours.example": None,
    }  # fmt: skip


def test_s2_10_the_company_is_whichever_column_is_named(used: Store) -> None:
    assert usage(used, company_id="owner_id", company_name="no_such_column")["ann"]["company_name"] is None
    assert usage(used, company_id="user_id")["ann"]["company_id"] == "ann"
