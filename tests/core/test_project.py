from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from integration.core import identity, project
from integration.core.image import Image
from integration.core.project import Records
from integration.core.registry import Registry

ImageOf = Callable[..., Image]
T = "2026-01-02T03:04:05Z"
C, A = "003000000000001AAA", "001000000000001AAA"


def deal(image_of: ImageOf, number: int, **fields: Any) -> Image:
    base = {"AccountId": A, "IsClosed": False, "IsWon": False, "CloseDate": "2026-06-01", "Amount": 10.5}
    return image_of(
        "Opportunity", f"006{number:012d}AAA", T, deleted=fields.pop("deleted", False), **{**base, **fields}
    )


def role(image_of: ImageOf, number: int, opportunity: Image, *, primary: bool = False, deleted: bool = False) -> Image:
    return image_of(
        "OpportunityContactRole", f"00K{number:012d}AAA", T, deleted=deleted,
        OpportunityId=opportunity.record_id, ContactId=C, IsPrimary=primary,
    )  # fmt: skip


def row(registry: Registry, image_of: ImageOf, deals: list[Image], roles: list[Image]) -> dict[str, Any]:
    contact = image_of("Contact", C, T, AccountId=A, Email=" Ana@Example.com ", Title="CEO", OwnerId="005x")
    account = image_of("Account", A, T, Name="Acme", Type="Paying Customer", ARR__c=1200.5)
    records = Records({i.record_id: i for i in (contact, account, *deals)})
    records.opportunities_by_account[A] = [d for d in deals if d.fields["AccountId"] == A]
    records.roles_by_contact[C] = roles
    [person] = identity.stitch({C: identity.record_of(contact)}, match_email=True, max_cluster=25)
    return project.user_row(person, records, project.projection(registry, {}), {})


def test_s1_14_a_person_carries_contact_and_account_as_properties(registry: Registry, image_of: ImageOf) -> None:
    shown = row(registry, image_of, [], [])

    assert shown["user_id"] == C
    assert (shown["identity"], shown["email"]) == ("ana@example.com", " Ana@Example.com ")
    assert (shown["account_id"], shown["owner_id"]) == (A, "005x")
    assert shown["sfdc_contact_title"] == "CEO"
    assert shown["sfdc_account_account_type"] == "Paying Customer"
    assert shown["sfdc_account_arr"] == 1200.5
    assert shown["sfdc_opportunity_count"] == 0
    assert "sfdc_opportunity_stage" not in shown


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"IsClosed": False, "CloseDate": "2027-01-01"}, {"IsClosed": True, "CloseDate": "2026-01-01"}),
        ({"CloseDate": "2026-01-01"}, {"CloseDate": "2026-02-01"}),
        ({"IsClosed": True, "CloseDate": "2026-02-01"}, {"IsClosed": True, "CloseDate": "2026-01-01"}),
        ({}, {}),
    ],
    ids=["open before closed", "the open one closing soonest", "the closed one closed last", "the lowest id"],
)
def test_the_deal_a_person_shows_is_chosen_by_rule(
    registry: Registry, image_of: ImageOf, first: dict[str, Any], second: dict[str, Any]
) -> None:
    winner, other = deal(image_of, 1, StageName="winner", **first), deal(image_of, 2, StageName="other", **second)

    assert row(registry, image_of, [other, winner], [])["sfdc_opportunity_stage"] == "winner"


def test_a_primary_role_comes_before_the_nearer_close_date(registry: Registry, image_of: ImageOf) -> None:
    near, primary = deal(image_of, 1, StageName="near", CloseDate="2026-01-01"), deal(image_of, 2, StageName="primary")
    roles = [role(image_of, 1, near), role(image_of, 2, primary, primary=True)]

    assert row(registry, image_of, [near, primary], roles)["sfdc_opportunity_stage"] == "primary"


def test_deals_of_a_role_hide_those_of_the_account_until_the_role_is_gone(
    registry: Registry, image_of: ImageOf
) -> None:
    mine = deal(image_of, 1, StageName="mine", AccountId="001other", Amount=None)
    accounts = deal(image_of, 2, StageName="account's", IsClosed=True, IsWon=True)

    with_role = row(registry, image_of, [mine, accounts], [role(image_of, 1, mine)])
    without = row(registry, image_of, [mine, accounts], [role(image_of, 1, mine, deleted=True)])

    assert (with_role["sfdc_opportunity_stage"], with_role["sfdc_opportunity_count"]) == ("mine", 1)
    assert with_role["sfdc_opportunity_open_amount"] == 0
    assert without["sfdc_opportunity_stage"] == "account's"
    assert without["sfdc_opportunity_won_amount"] == Decimal("10.5")
    assert (without["sfdc_opportunity_won_count"], without["sfdc_opportunity_open_count"]) == (1, 0)
