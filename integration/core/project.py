"""What a person's row is made of: which records, and the roll-ups of their opportunities. Pure.

The values themselves are never carried through here: a store copies them from its raw tables, column by column.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from integration.core import exactjson
from integration.core.columns import Column
from integration.core.identity import Person
from integration.core.registry import Registry

# Objects whose fields become properties of a person, in the order of the columns.
PERSON_OBJECTS = ("Contact", "Lead", "Account", "Opportunity")

DEAL_FACTS = ("AccountId", "IsClosed", "IsWon", "CloseDate", "Amount")
"""The fields `deal_of` reads."""
ROLE_FACTS = ("ContactId", "OpportunityId", "IsPrimary")
"""The fields `role_of` reads."""

_NO_CLOSE_DATE = "9999-12-31"


class Deal(NamedTuple):
    """An opportunity, as far as people's rows look at it."""

    record_id: str
    account_id: str | None
    is_closed: bool
    is_won: bool
    close_date: str
    amount: Decimal
    is_deleted: bool
    version: str


class Role(NamedTuple):
    """A contact's role in an opportunity."""

    contact_id: str | None
    opportunity_id: str | None
    is_primary: bool
    is_deleted: bool
    version: str


class Deals(NamedTuple):
    """The opportunities that people at hand may be connected with, by their ways."""

    by_id: Mapping[str, Deal]
    by_account: Mapping[str, Sequence[Deal]]
    roles_by_contact: Mapping[str, Sequence[Role]]


def deal_of(facts: Mapping[str, Any]) -> Deal:
    """Read an opportunity's facts. An amount nobody filled in adds nothing."""
    return Deal(
        facts["Id"],
        facts.get("AccountId"),
        bool(facts.get("IsClosed")),
        bool(facts.get("IsWon")),
        facts.get("CloseDate") or _NO_CLOSE_DATE,
        exactjson.number(facts.get("Amount") or 0),
        facts["is_deleted"],
        facts["version"],
    )


def role_of(facts: Mapping[str, Any]) -> Role:
    """Read a contact role's facts."""
    return Role(
        facts.get("ContactId"),
        facts.get("OpportunityId"),
        bool(facts.get("IsPrimary")),
        facts["is_deleted"],
        facts["version"],
    )


def person_row(person: Person, deals: Deals, told_at: str = "", dated: Collection[str] = frozenset()) -> dict[str, Any]:
    """Return the row of `headrace.people`: which records the person's row of `users` is copied from, and the rest.

    `updated_at` counts the person's records, roles and deals, and `told_at`, when traits of the person were told last.
    That of the account, and of the contact and the lead where their object is one of `dated`, is added where the row is
    copied from them: so a contact that changes leaves this row as it is.
    """
    contacts = [m.record_id for m in person.members if m.is_contact]
    roles = [role for contact in contacts for role in deals.roles_by_contact.get(contact, ())]
    of_account = deals.by_account.get(person.account_id, ()) if person.account_id else ()
    of_roles = [deal for r in roles if (deal := deals.by_id.get(r.opportunity_id or "")) is not None]
    candidates, primary = _candidates(roles, of_account, deals.by_id)
    best = best_deal(candidates, primary)
    copied = [one for one in (person.contact, person.lead) if one is not None and one.object in dated]
    versions = [m.version for m in person.members if m not in copied] + [r.version for r in roles]
    return {
        "user_id": person.user_id,
        "identity": person.email,
        "email": person.shown_email,
        "contact_id": person.contact and person.contact.record_id,
        "lead_id": person.lead and person.lead.record_id,
        "account_id": person.account_id,
        "opportunity_id": best and best.record_id,
        "owner_id": person.owner.owner_id,
        "first_seen": person.first_seen,
        "updated_at": max([person.first_seen, told_at, *versions, *(d.version for d in (*of_roles, *of_account))]),
        "is_deleted": person.is_deleted,
        **roll_up(candidates),
    }


def best_deal(candidates: Iterable[Deal], primary: frozenset[str]) -> Deal | None:
    """Choose the opportunity a person shows.

    Open before closed; deals in which the person is the primary contact first; then the open one that closes
    soonest (the closed one that closed last); then the lowest id.
    """
    return min(candidates, key=lambda d: _rank(d, primary), default=None)


def roll_up(candidates: Iterable[Deal]) -> dict[str, Any]:
    """Count opportunities and add up their amounts."""
    count = open_count = won_count = 0
    open_amount = won_amount = Decimal(0)
    for deal in candidates:
        count += 1
        if not deal.is_closed:
            open_count, open_amount = open_count + 1, open_amount + deal.amount
        if deal.is_won:
            won_count, won_amount = won_count + 1, won_amount + deal.amount
    return {
        "sfdc_opportunity_count": count,
        "sfdc_opportunity_open_count": open_count,
        "sfdc_opportunity_open_amount": open_amount,
        "sfdc_opportunity_won_count": won_count,
        "sfdc_opportunity_won_amount": won_amount,
    }


def property_columns(registry: Registry) -> list[Column]:
    """List the columns of the properties of people, in the order in which they were named."""
    return [
        named.property_column()
        for key, named in registry.entries.items()
        if key.prefix_object in PERSON_OBJECTS and key.field != "IsDeleted"  # that is the column is_deleted
    ]


def _candidates(
    roles: Sequence[Role], of_account: Sequence[Deal], by_id: Mapping[str, Deal]
) -> tuple[list[Deal], frozenset[str]]:
    """Live deals in which the person has a live role; if there is none, the live ones of the account."""
    mine: dict[str, Deal] = {}
    primary = set()
    for role in roles:
        deal = by_id.get(role.opportunity_id or "")
        if role.is_deleted or deal is None or deal.is_deleted:
            continue
        mine[deal.record_id] = deal
        if role.is_primary:
            primary.add(deal.record_id)
    if mine:
        return list(mine.values()), frozenset(primary)
    return [d for d in of_account if not d.is_deleted], frozenset()


def _rank(deal: Deal, primary: frozenset[str]) -> tuple[bool, bool, int, str]:
    closes = int(deal.close_date.replace("-", ""))
    return (deal.is_closed, deal.record_id not in primary, -closes if deal.is_closed else closes, deal.record_id)
