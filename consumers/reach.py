"""Whom a change reaches: from changed records to the people whose rows may differ."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumers import product
from integration.core import identity
from integration.core.flatten import Outcome
from integration.core.identity import Person, Record, record_of
from integration.core.image import Image
from integration.store.protocol import Transaction

_PEOPLE = ("Contact", "Lead")
_ROLE = "OpportunityContactRole"

_AT_ACCOUNTS = "SELECT user_id FROM headrace.people WHERE account_id = any(?)"
_USERS_OF = "SELECT alias, user_id FROM identities WHERE alias = any(?)"
_MEMBERS = "SELECT alias, kind, user_id FROM identities WHERE user_id = any(?) AND kind <> 'email'"


@dataclass(slots=True)
class Reach:
    """Ids of contacts and leads that must be stitched and chosen for anew, e-mails that were given up, and users
    whose row is only to be copied again (a value has changed, but not which records they are made of)."""

    stitch: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    copy: set[str] = field(default_factory=set)
    deals: set[str] = field(default_factory=set)
    """Users who are who they were, but may show another opportunity, or have other sums."""
    moved: dict[str, Image] = field(default_factory=dict)
    """Contacts and leads that are who they were, under a later version: record id -> what they are now."""


class Closed(NamedTuple):
    """Records that can be one person with some, and no others that can be one with these."""

    records: dict[str, Record]
    named: set[str]
    """Those of them that product events tell of: product identities, and records that a product names by their id."""


class Known(NamedTuple):
    """People as they were stitched last, with the facts of now."""

    people: list[Person]
    others: set[str]
    """Records of whoever should have been somebody else: to be stitched."""
    named: set[str]
    """As in Closed."""


def reach(tx: Transaction, outcomes: Sequence[Outcome], lookups: Mapping[str, Sequence[tuple[str, str]]]) -> Reach:
    """Follow the changes.

    `lookups` says for each flattened-in object which (object, lookup field) look it up.
    """
    found = Reach()
    touched: dict[str, set[str]] = {}
    for outcome in outcomes:
        touched.setdefault(outcome.after.object, set()).add(outcome.after.record_id)
    _reach_people(found, outcomes)
    _reach_by_deals(tx, found, touched.get("Opportunity", set()), outcomes)
    accounts = touched.get("Account", set()) | _looking_up(tx, touched, lookups, "Account")
    found.copy |= _ids(tx, _AT_ACCOUNTS, accounts)
    people = {i for name in _PEOPLE for i in _looking_up(tx, touched, lookups, name)}
    found.copy.update(users_of(tx, people).values())
    deals = _looking_up(tx, touched, lookups, "Opportunity")
    found.copy |= _ids(tx, "SELECT user_id FROM headrace.people WHERE opportunity_id = any(?)", deals)
    return found


def _reach_people(found: Reach, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.after.object not in _PEOPLE:
            continue
        if outcome.before is not None and _is_who_it_was(outcome.before, outcome.after):
            found.moved[outcome.after.record_id] = outcome.after
            continue
        for one in filter(None, (outcome.before, outcome.after)):
            found.stitch.update(i for i in (one.record_id, *_ends(one)) if i)
            if email := identity.normal_email(one.fields.get("Email")):
                found.emails.add(email)


def _is_who_it_was(before: Image, after: Image) -> bool:
    """Tell whether nothing has changed that identity looks at, or that people's rows are chosen by.

    That is so for most changes, and spares looking for everybody who might be the same person.
    """
    return (
        before.is_deleted == after.is_deleted
        and before.version <= after.version
        and all(before.fields.get(name) == after.fields.get(name) for name in identity.FACTS[after.object])
    )


def close_over(tx: Transaction, ids: Iterable[str], emails: Iterable[str]) -> Closed:
    """Read the contacts, leads and product identities that can be one person with these: by e-mail, conversion, merge,
    or a sign-in.

    A little more than needed is fine (identity.stitch decides); anything less would tear people apart.
    """
    closed: dict[str, Record] = {}
    # Apart: a product's user id may be an e-mail.
    seen_ids: set[str] = set()
    seen_emails: set[str] = set()
    all_named: set[str] = set()
    new_ids, new_emails = set(ids), set(emails)
    while new_ids or new_emails:
        found = [
            record_of(name, facts)
            for name in _PEOPLE
            for facts in tx.facts(name, _connected(name, new_ids, new_emails), identity.FACTS[name])
        ]
        named = {r.record_id: r for r in product.records(tx, new_ids, new_emails)}
        seen_ids |= new_ids
        seen_emails |= new_emails
        all_named |= named.keys()
        # A record that a product names by its id stands for both.
        closed = {**named, **closed, **{r.record_id: r for r in found}}
        found += [r for r in named.values() if closed[r.record_id] is r]
        new_ids = {i for r in found for i in (r.record_id, r.follows) if i} - seen_ids
        new_emails = {r.email for r in found if r.email} - seen_emails
    return Closed(closed, all_named)


def _connected(object_name: str, ids: set[str], emails: set[str]) -> dict[str, set[str]]:
    ways = {"Id": ids, "MasterRecordId": ids, "Email": emails}
    return ways | {"ConvertedContactId": ids} if object_name == "Lead" else ways


def known_people(tx: Transaction, users: Iterable[str]) -> Known:
    """Read users of whose records nothing has changed that identity looks at: they are who they were stitched to be,
    and nobody else need be looked for."""
    members = members_of(tx, users)
    if not members:
        return Known([], set(), set())
    named = {r.record_id: r for r in product.records(tx, members, ()) if r.record_id in members}
    records = named | {
        facts["Id"]: record_of(name, facts)
        for name in _PEOPLE
        for facts in tx.facts(name, {"Id": _ids_of(name, members)}, identity.FACTS[name])
    }
    of_user: dict[str, list[Record]] = {}
    for one in records.values():
        of_user.setdefault(members[one.record_id]["user_id"], []).append(one)
    people = {user: identity.person(mine) for user, mine in of_user.items()}
    others = (one for user, one in people.items() if one.user_id != user)
    return Known(
        [one for user, one in people.items() if one.user_id == user],
        {r.record_id for one in others for r in one.members},
        set(named),
    )


def users_of(tx: Transaction, aliases: Iterable[str]) -> dict[str, str]:
    """Return the users these aliases belong to; those that belong to nobody yet are left out."""
    wanted = sorted(aliases)
    return {row["alias"]: row["user_id"] for row in tx.rows(_USERS_OF, [wanted])} if wanted else {}


def members_of(tx: Transaction, users: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return the identities of these users' records by record id: kind and user_id."""
    wanted = sorted(users)
    return {row["alias"]: row for row in tx.rows(_MEMBERS, [wanted])} if wanted else {}


def _ids_of(object_name: str, members: Mapping[str, Mapping[str, Any]]) -> list[str]:
    kind = f"{object_name.lower()}_id"
    return [alias for alias, row in members.items() if row["kind"].endswith(kind)]


def _reach_by_deals(tx: Transaction, found: Reach, deals: set[str], outcomes: Sequence[Outcome]) -> None:
    """Find everybody who may show other deals than before: through a role, or through the account."""
    roles = tx.facts(_ROLE, {"OpportunityId": deals}, ("ContactId",)) if deals else ()
    contacts = {role["ContactId"] for role in roles if role["ContactId"]}
    contacts |= _values(_images(outcomes, _ROLE), "ContactId")
    user_of = users_of(tx, contacts)
    found.deals.update(user_of.values())
    found.deals |= _ids(tx, _AT_ACCOUNTS, _values(_images(outcomes, "Opportunity"), "AccountId"))
    found.stitch |= contacts - user_of.keys()


def _looking_up(
    tx: Transaction, touched: Mapping[str, set[str]], lookups: Mapping[str, Sequence[tuple[str, str]]], object_name: str
) -> set[str]:
    """Return the records of an object that look up a record which has changed."""
    return {
        facts["Id"]
        for target, ids in touched.items()
        for looking, lookup in lookups.get(target, ())
        if looking == object_name
        for facts in tx.facts(object_name, {lookup: ids}, ())
    }


def _ids(tx: Transaction, sql: str, keys: set[str]) -> set[str]:
    return {row["user_id"] for row in tx.rows(sql, [sorted(keys)])} if keys else set()


def _images(outcomes: Iterable[Outcome], *object_names: str) -> Iterator[Image]:
    """Give the images before and after of the outcomes of some objects."""
    for outcome in outcomes:
        if outcome.after.object in object_names:
            yield outcome.after
            if outcome.before is not None:
                yield outcome.before


def _ends(one: Image) -> tuple[str | None, str | None]:
    return one.fields.get("MasterRecordId"), one.fields.get("ConvertedContactId")


def _values(images: Iterable[Image], field_name: str) -> set[str]:
    return {value for one in images if (value := one.fields.get(field_name))}
