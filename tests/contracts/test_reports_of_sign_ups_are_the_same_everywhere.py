"""What the reports on sign-ups answer of a few people, worked out by hand: on every store the same.

Acme (ARR 60,000) has Ann and Bob, Bolt (ARR 5,000) has Cleo, Calm (ARR 900) has Dan; Eve has no account.
All but Dan have signed up: Ann in January, Bob and Cleo in February, Eve in April. Ann came by e-mail and later by an
ad, Bob, Cleo and Dan by the ad, Eve by herself.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from defined import World, person

from integration.store import tables
from integration.store.answers import ask
from integration.store.protocol import Store
from integration.wiring.report import fitted, report

MAIL, AD = (
    ("email", "playbook", "https://lantern.example/playbook?utm_campaign=playbook"),
    ("paid", "ad", "https://lantern.example/"),
)
ALONE = ("direct", None, "https://lantern.example/")
CAME = [("ann", *MAIL), ("ann", *AD), ("bob", *AD), ("cleo", *AD), ("dan", *AD), ("eve", *ALONE)]
SIGNED_UP = {
    "ann": "2026-01-31T23:30:00Z",
    "bob": "2026-02-01T00:30:00Z",
    "cleo": "2026-02-03T10:00:00Z",
    "eve": "2026-04-04T10:00:00Z",
}


def day(ago: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=ago)).isoformat()


@pytest.fixture(scope="module")
def sold(module_store: Store) -> Store:
    world = World(module_store)
    world.accounts(
        {"id": "acme", "plan__c": "pro", "arr__c": Decimal(60_000)},
        {"id": "bolt", "plan__c": "pro", "arr__c": Decimal(5_000)},
        {"id": "calm", "plan__c": "pro", "arr__c": Decimal(900)},
    )
    world.people(
        person("ann", account_id="acme", sfdc_contact_title="CTO"),
        person("bob", account_id="acme", sfdc_contact_title="CTO"),
        person("cleo", account_id="bolt", sfdc_contact_title="CEO"),
        person("dan", account_id="calm", sfdc_contact_title="CEO"),
        person("eve"),
    )
    places: dict[str, int] = {}
    touches = []
    for number, (user, channel, campaign, page) in enumerate(CAME):
        places[user] = places.get(user, 0) + 1
        row = {"user_id": user, "channel": channel, "utm_campaign": campaign, "landing_page": page}
        row |= {"touch_id": f"t{number}", "time": f"2026-01-0{number + 1}T00:00:00Z", "place": places[user]}
        last = int(user != "ann" or places[user] == 2)
        touches.append({**row, "place_from_last": 2 - last, "place_from_last_campaign": 2 - last})
    points = [
        {"user_id": user, "place": 1, "time": at, "kind": "sign-up", "touchpoint_id": user}
        for user, at in SIGNED_UP.items()
    ]
    used = [("ann", 3), ("ann", 60), ("bob", 31), ("cleo", 120), ("dan", 121)]
    activity = [
        {
            "user_id": user,
            "day": day(ago),
            "name": "Run Query",
            "events": 2,
            "first_at": f"{day(ago)}T00:00:00Z",
            "last_at": f"{day(ago)}T00:00:00Z",
        }
        for user, ago in used
    ]
    with module_store.transaction() as tx:
        for table, rows in (("touches", touches), ("touchpoints", points), ("daily_activity", activity)):
            tx.append(table, tables.FIXED[table], rows)
    return module_store


def answered(store: Store, name: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in ask(store, fitted(store, report(name)).sql)]


def test_an_account_counts_once_and_each_of_its_people_beside_that(sold: Store) -> None:
    columns = ("people", "accounts", "arr_by_account", "arr_by_person")
    assert answered(sold, "sign-ups", "industry", *columns) == [
        ("(unknown)", 3, 2, 65_000, 125_000),
        ("(no account)", 1, 0, None, None),
    ]
    assert answered(sold, "sign-ups-by-title", "title", "accounts_that_pay", *columns) == [
        ("CTO", 1, 2, 1, 60_000, 120_000),
        ("CEO", 1, 1, 1, 5_000, 5_000),
        ("(unknown)", 0, 1, 0, None, None),
    ]
    assert answered(sold, "sign-ups-by-arr", "pays", *columns) == [
        ("50,000 to 200,000", 2, 1, 60_000, 120_000),
        ("less than 10,000", 1, 1, 5_000, 5_000),
        ("(no account)", 1, 0, None, None),
    ]
    assert answered(sold, "who-buys", "title", "industry", *columns) == [
        ("CTO", "(unknown)", 2, 1, 60_000, 120_000),
        ("CEO", "(unknown)", 1, 1, 5_000, 5_000),
    ]


def test_an_account_counts_in_the_month_of_its_first_sign_up(sold: Store) -> None:
    columns = ("month", "people", "accounts", "accounts_that_pay", "arr_by_account")
    found = answered(sold, "sign-ups-by-month", *columns)
    assert found[:2] == [("2026-01-01", 1, 1, 1, 60_000), ("2026-02-01", 2, 1, 1, 5_000)]
    assert found[3] == ("2026-04-01", 1, 0, 0, 0)


def test_a_month_without_sign_ups_has_nothing_instead_of_no_row(sold: Store) -> None:
    before = day(0)
    rows = answered(sold, "sign-ups-by-month", "month", "people", "accounts", "accounts_that_pay", "arr_by_account")
    months = [f"{year}-{month:02d}-01" for year in range(2026, int(day(0)[:4]) + 1) for month in range(1, 13)]
    assert [month for month, *_ in rows] in [
        [month for month in months if month <= today] for today in (before, day(0))
    ]
    assert {tuple(others) for month, *others in rows if month == "2026-03-01" or month > "2026-04-01"} == {(0, 0, 0, 0)}


def test_where_people_came_from_counts_their_accounts_once_a_line(sold: Store) -> None:
    columns = ("people", "sign_ups", "accounts", "arr_by_account", "arr_by_person")
    assert answered(sold, "campaigns", "campaign", "visits", *columns) == [
        ("ad", 4, 4, 3, 3, 65_900, 125_900),
        ("playbook", 1, 1, 1, 1, 60_000, 60_000),
        ("(direct)", 1, 1, 1, 0, None, None),
    ]
    assert answered(sold, "channels", "channel", *columns) == [
        ("paid", 3, 2, 3, 65_900, 65_900),
        ("direct", 1, 1, 0, None, None),
        ("email", 1, 1, 1, 60_000, 60_000),
    ]
    # Who signed up there: Bob, Cleo and Eve. What Calm pays is no sign-up's, for Dan has not.
    assert answered(sold, "landing-pages", "landing_page", "arr_for_each_sign_up", *columns) == [
        ("https://lantern.example/", Decimal("21666.67"), 4, 3, 3, 65_900, 65_900),
        ("https://lantern.example/playbook", 60_000, 1, 1, 1, 60_000, 60_000),
    ]


def test_who_has_stopped_was_there_in_the_90_days_before_the_last_30(sold: Store) -> None:
    """Exactly 30 days ago is in the last 30, exactly 120 days ago in the 90 before: Bob and Cleo have stopped."""
    columns = ("account_type", "people", "accounts", "active_30d", "stopped", "events_30d", "last_day")
    assert answered(sold, "product-use", *columns) == [("(unknown)", 4, 3, 1, 2, 2, day(3))]
