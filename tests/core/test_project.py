from decimal import Decimal
from typing import Any

import pytest

from integration.core import identity, project
from integration.core.project import Deal, Deals, Role

T = "2026-01-02T03:04:05Z"
C, A = "003000000000001AAA", "001000000000001AAA"


def deal(number: int, **more: Any) -> Deal:
    base = {
        "Id": f"006{number:012d}AAA", "AccountId": A, "IsClosed": False, "IsWon": False, "CloseDate": "2026-06-01",
        "Amount": 10.5, "is_deleted": False, "version": T,
    }  # fmt: skip
    return project.deal_of({**base, **more})


def role(opportunity: Deal, *, primary: bool = False, deleted: bool = False) -> Role:
    return Role(C, opportunity.record_id, primary, deleted, T)


def row(deals: list[Deal], roles: list[Role]) -> dict[str, Any]:
    facts = {
        "Id": C, "version": T, "is_deleted": False, "AccountId": A, "Email": " Ana@Example.com ", "OwnerId": "005x",
        "CreatedDate": "2025-01-01T00:00:00Z",
    }  # fmt: skip
    [person] = identity.stitch({C: identity.record_of("Contact", facts)}, match_email=True, max_cluster=25)
    at_account = [d for d in deals if d.account_id == A]
    return project.person_row(person, Deals({d.record_id: d for d in deals}, {A: at_account}, {C: roles}))


def test_a_person_says_which_records_its_row_is_made_of() -> None:
    shown = row([], [])

    assert (shown["user_id"], shown["contact_id"], shown["lead_id"]) == (C, C, None)
    assert (shown["identity"], shown["email"]) == ("ana@example.com", " Ana@Example.com ")
    assert (shown["account_id"], shown["owner_id"], shown["opportunity_id"]) == (A, "005x", None)
    assert (shown["first_seen"], shown["updated_at"], shown["is_deleted"]) == ("2025-01-01T00:00:00Z", T, False)
    assert shown["sfdc_opportunity_count"] == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"CloseDate": "2027-01-01"}, {"IsClosed": True, "CloseDate": "2026-01-01"}),
        ({"CloseDate": "2026-01-01"}, {"CloseDate": "2026-02-01"}),
        ({"IsClosed": True, "CloseDate": "2026-02-01"}, {"IsClosed": True, "CloseDate": "2026-01-01"}),
        ({}, {}),
    ],
    ids=["open before closed", "the open one closing soonest", "the closed one closed last", "the lowest id"],
)
def test_the_deal_a_person_shows_is_chosen_by_rule(first: dict[str, Any], second: dict[str, Any]) -> None:
    winner, other = deal(1, **first), deal(2, **second)

    assert row([other, winner], [])["opportunity_id"] == winner.record_id


def test_a_primary_role_comes_before_the_nearer_close_date() -> None:
    near, primary = deal(1, CloseDate="2026-01-01"), deal(2)

    assert row([near, primary], [role(near), role(primary, primary=True)])["opportunity_id"] == primary.record_id


def test_deals_of_a_role_hide_those_of_the_account_until_the_role_is_gone() -> None:
    mine = deal(1, AccountId="001other", Amount=None)
    accounts = deal(2, IsClosed=True, IsWon=True)

    with_role = row([mine, accounts], [role(mine)])
    without = row([mine, accounts], [role(mine, deleted=True)])

    assert (with_role["opportunity_id"], with_role["sfdc_opportunity_count"]) == (mine.record_id, 1)
    assert with_role["sfdc_opportunity_open_amount"] == 0
    assert without["opportunity_id"] == accounts.record_id
    assert without["sfdc_opportunity_won_amount"] == Decimal("10.5")
    assert (without["sfdc_opportunity_won_count"], without["sfdc_opportunity_open_count"]) == (1, 0)


def test_a_deal_that_is_deleted_still_dates_the_row() -> None:
    gone = deal(1, is_deleted=True, version="2026-05-05T00:00:00Z")

    shown = row([gone], [])

    assert (shown["opportunity_id"], shown["sfdc_opportunity_count"]) == (None, 0)
    assert shown["updated_at"] == "2026-05-05T00:00:00Z"
