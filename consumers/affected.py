"""Whom a change reaches: from changed records to the people whose rows may differ."""

from collections.abc import Iterable, Mapping, Sequence

from consumers.known import Known, close_over
from integration.core.flatten import Outcome, account_of
from integration.core.image import Image
from integration.core.project import Records


def affected(
    known: Known, outcomes: Sequence[Outcome], lookups: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, Image]:
    """Return the contacts and leads to stitch and project again.

    `lookups` says for each flattened-in object which (object, field) look it up.
    """
    touched: dict[str, set[str]] = {}
    images: dict[str, list[Image]] = {}
    for outcome in outcomes:
        both = [i for i in (outcome.before, outcome.after) if i is not None]
        images.setdefault(outcome.after.object, []).extend(both)
        touched.setdefault(outcome.after.object, set()).add(outcome.after.record_id)
    _through_lookups(known, touched, images, lookups)
    contact_ids = _ids(images.get("OpportunityContactRole", ()), "ContactId")
    opportunity_ids = touched.get("Opportunity", set())
    roles = known.by_field("OpportunityContactRole", "OpportunityId", opportunity_ids)
    contact_ids |= _ids(roles.values(), "ContactId")
    of_deals = _ids(images.get("Opportunity", ()), "AccountId")
    accounts = touched.get("Account", set()) | of_deals
    seeds = [i for name in ("Contact", "Lead") for i in images.get(name, ())]
    seeds += known.load("Contact", contact_ids).values()
    seeds += known.by_field("Contact", "AccountId", accounts).values()
    seeds += known.by_field("Lead", "ConvertedAccountId", accounts).values()
    return _newest(known, seeds)


def gather(
    known: Known,
    people: Iterable[Image],
    enrich: Mapping[str, Sequence[str]],
    targets: Mapping[tuple[str, str], Sequence[str]],
) -> Records:
    """Read everything that the rows of these people are made of.

    `targets` names for each (object, lookup field) of `enrich` the objects the lookup may point at.
    """
    people = list(people)
    contacts = [i.record_id for i in people if i.object == "Contact"]
    account_ids = {a for i in people if (a := account_of(i))}
    roles = known.by_field("OpportunityContactRole", "ContactId", contacts)
    in_roles = known.load("Opportunity", _ids(roles.values(), "OpportunityId"))
    of_accounts = known.by_field("Opportunity", "AccountId", account_ids)
    found = {**known.load("Account", account_ids), **in_roles, **of_accounts, **{i.record_id: i for i in people}}
    _look_up(known, found, enrich, targets)
    records = Records(found)
    for role in roles.values():
        records.roles_by_contact.setdefault(str(role.fields.get("ContactId")), []).append(role)
    for opportunity in of_accounts.values():
        account = str(opportunity.fields.get("AccountId"))
        records.opportunities_by_account.setdefault(account, []).append(opportunity)
    return records


def _through_lookups(
    known: Known,
    touched: dict[str, set[str]],
    images: dict[str, list[Image]],
    lookups: Mapping[str, Sequence[tuple[str, str]]],
) -> None:
    """A looked-up record that changes is a change of every record that looks it up."""
    for target in list(touched):
        for object_name, field_name in lookups.get(target, ()):
            found = known.by_field(object_name, field_name, touched[target])
            images.setdefault(object_name, []).extend(found.values())
            touched.setdefault(object_name, set()).update(found)


def _newest(known: Known, seeds: Iterable[Image]) -> dict[str, Image]:
    """Close over old and new images alike (an e-mail given up affects its other holders); answer with the new."""
    old_and_new = list(seeds)
    closed = close_over(known, old_and_new)
    emails_of_old = [i for i in old_and_new if closed.get(i.record_id) is not i]
    closed |= close_over(known, emails_of_old)
    return {i: known.seen.get(i, one) for i, one in closed.items()}


def _look_up(
    known: Known,
    found: dict[str, Image],
    enrich: Mapping[str, Sequence[str]],
    targets: Mapping[tuple[str, str], Sequence[str]],
) -> None:
    wanted: dict[str, set[str]] = {}
    for one in found.values():
        for lookup in enrich.get(one.object, ()):
            if value := one.fields.get(lookup):
                for target in targets.get((one.object, lookup), ()):
                    wanted.setdefault(target, set()).add(value)
    for target, ids in wanted.items():
        found.update(known.load(target, ids))


def _ids(images: Iterable[Image], field_name: str) -> set[str]:
    return {value for one in images if (value := one.fields.get(field_name))}
