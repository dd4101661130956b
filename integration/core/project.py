"""The rows of `users`, as a function of the records they are made of. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from integration.core import exactjson
from integration.core.columns import Column
from integration.core.identity import Person
from integration.core.image import Image
from integration.core.registry import Registry

# Objects whose fields become properties of a person, in the order in which a row is filled.
PERSON_OBJECTS = ("Contact", "Lead", "Account", "Opportunity")

_NO_CLOSE_DATE = "9999-12-31"


@dataclass(slots=True)
class Records:
    """The images a projection may look at: everything the people at hand are connected with."""

    by_id: dict[str, Image] = field(default_factory=dict)
    roles_by_contact: dict[str, list[Image]] = field(default_factory=dict)
    opportunities_by_account: dict[str, list[Image]] = field(default_factory=dict)

    def get(self, record_id: str | None) -> Image | None:
        """Return the image of a record, None for None or a record never seen."""
        return self.by_id.get(record_id) if record_id else None


@dataclass(frozen=True, slots=True)
class Projection:
    """How fields become properties: the names given, and which lookups are flattened in (`objects.<Name>.enrich`)."""

    pairs: Mapping[tuple[str, str], Sequence[tuple[str, str]]]
    enrich: Mapping[str, Sequence[str]]

    def properties(self, image: Image | None, records: Records) -> dict[str, Any]:
        """Return a record's properties, those of its enriched lookups included; nulls are left out."""
        if image is None:
            return {}
        row = self._own(image, image.object)
        for lookup in self.enrich.get(image.object, ()):
            found = records.get(image.fields.get(lookup))
            if found is not None and not found.is_deleted:
                row.update(self._own(found, image.object))
        return row

    def _own(self, image: Image, prefix_object: str) -> dict[str, Any]:
        get = image.fields.get
        pairs = self.pairs.get((prefix_object, image.object), ())
        return {name: value for key, name in pairs if (value := get(key)) is not None}


def projection(registry: Registry, enrich: Mapping[str, Sequence[str]]) -> Projection:
    """Freeze the registry's names into what a projection needs."""
    wanted: dict[tuple[str, str], Sequence[tuple[str, str]]] = {}
    for key in registry.entries:
        place = (key.prefix_object, key.object)
        if key.prefix_object in PERSON_OBJECTS and place not in wanted:
            named = registry.fields(key.object, key.prefix_object)
            # IsDeleted is the column is_deleted.
            wanted[place] = [(f, n.property) for f, n in named.items() if f != "IsDeleted"]
    return Projection(wanted, enrich)


def property_columns(registry: Registry, prefix_objects: Iterable[str]) -> list[Column]:
    """List the columns of the properties with these prefixes, in the order in which they were named."""
    wanted = frozenset(prefix_objects)
    return [
        named.property_column()
        for key, named in registry.entries.items()
        if key.prefix_object in wanted and key.field != "IsDeleted"
    ]


def user_row(person: Person, records: Records, how: Projection, accounts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the row of `users` of one person; nulls are left out.

    `accounts` remembers the properties of accounts between calls: one account has many people.
    """
    contact, lead = records.get(person.contact_id), records.get(person.lead_id)
    owner = records.by_id[person.user_id]
    account_id = _account_of(contact, lead)
    row: dict[str, Any] = {
        "user_id": person.user_id,
        "identity": person.email,
        "email": _shown_email(owner, contact, lead),
        "contact_id": person.contact_id,
        "lead_id": person.lead_id,
        "account_id": account_id,
        "owner_id": owner.fields.get("OwnerId"),
        "first_seen": person.first_seen,
        "is_deleted": person.is_deleted,
    }
    row.update(how.properties(contact, records))
    row.update(how.properties(lead, records))
    if account_id is not None:
        if account_id not in accounts:
            accounts[account_id] = how.properties(records.get(account_id), records)
        row.update(accounts[account_id])
    roles = [role for m in person.members if m.is_contact for role in records.roles_by_contact.get(m.record_id, ())]
    of_account = records.opportunities_by_account.get(account_id, []) if account_id else []
    in_roles = [o for o in (records.get(r.fields.get("OpportunityId")) for r in roles) if o is not None]
    candidates, primary = _candidates(roles, of_account, records)
    row.update(how.properties(best_opportunity(candidates, primary), records))
    row.update(roll_up(candidates))
    members = [records.by_id[m.record_id] for m in person.members]
    row["updated_at"] = _latest(members, roles, in_roles, of_account, [records.get(account_id)])
    return row


def best_opportunity(candidates: Iterable[Image], primary: frozenset[str]) -> Image | None:
    """Choose the opportunity a person shows.

    Open before closed; deals in which the person is the primary contact first; then the open one that closes
    soonest (the closed one that closed last); then the lowest id.
    """
    return min(candidates, key=lambda o: _rank(o, primary), default=None)


def roll_up(candidates: Iterable[Image]) -> dict[str, Any]:
    """Count and add up opportunities. Amounts nobody filled in add nothing."""
    count = open_count = won_count = 0
    open_amount = won_amount = Decimal(0)
    for opportunity in candidates:
        fields = opportunity.fields
        amount = exactjson.number(fields.get("Amount") or 0)
        count += 1
        if not fields.get("IsClosed"):
            open_count, open_amount = open_count + 1, open_amount + amount
        if fields.get("IsWon"):
            won_count, won_amount = won_count + 1, won_amount + amount
    return {
        "sfdc_opportunity_count": count,
        "sfdc_opportunity_open_count": open_count,
        "sfdc_opportunity_open_amount": open_amount,
        "sfdc_opportunity_won_count": won_count,
        "sfdc_opportunity_won_amount": won_amount,
    }


def _candidates(
    roles: Sequence[Image], of_account: Sequence[Image], records: Records
) -> tuple[list[Image], frozenset[str]]:
    """Live deals in which the person has a live role; if there is none, the live ones of the account."""
    mine: dict[str, Image] = {}
    primary = set()
    for role in roles:
        opportunity = records.get(role.fields.get("OpportunityId"))
        if role.is_deleted or opportunity is None or opportunity.is_deleted:
            continue
        mine[opportunity.record_id] = opportunity
        if role.fields.get("IsPrimary"):
            primary.add(opportunity.record_id)
    if mine:
        return list(mine.values()), frozenset(primary)
    return [o for o in of_account if not o.is_deleted], frozenset()


def _rank(opportunity: Image, primary: frozenset[str]) -> tuple[bool, bool, int, str]:
    closed = bool(opportunity.fields.get("IsClosed"))
    closes = int(str(opportunity.fields.get("CloseDate") or _NO_CLOSE_DATE).replace("-", ""))
    return (closed, opportunity.record_id not in primary, -closes if closed else closes, opportunity.record_id)


def _account_of(contact: Image | None, lead: Image | None) -> str | None:
    if contact is not None:
        return contact.fields.get("AccountId") or None
    return (lead.fields.get("ConvertedAccountId") or None) if lead is not None else None


def _shown_email(*images: Image | None) -> str | None:
    emails = (image.fields.get("Email") for image in images if image is not None)
    return next((email for email in emails if email), None)


def _latest(*groups: Iterable[Image | None]) -> str:
    return max(image.version for group in groups for image in group if image is not None)
