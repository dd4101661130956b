"""Merging records and converting leads."""

from typing import TYPE_CHECKING, Any

from integration.sandbox import checks, persons
from integration.sandbox.errors import OrgError
from integration.sandbox.table import Row
from integration.sandbox.writer import Save

if TYPE_CHECKING:
    from integration.sandbox.org import Org

# References that say what once happened; a merge leaves them alone.
_SETTLED = frozenset({"MasterRecordId", "ConvertedAccountId", "ConvertedContactId", "PersonContactId"})


def merge(org: "Org", name: str, winner: str, losers: list[str], save: Save) -> None:
    """Move the losers' children to the winner, then delete the losers with MasterRecordId = winner."""
    table = org.table(name)
    if not table.definition.mergeable:
        raise OrgError("INVALID_TYPE_FOR_OPERATION", f"entity type {name} does not support merge")
    if winner in losers or not losers:
        raise OrgError("INVALID_OPERATION", "a merge needs a winner and at least one other record")
    for key in (winner, *losers):
        checks.row_to_change(table, key)
    persons_of = persons.merged_contacts(table, winner, losers)
    groups = [(name, winner, losers), *([("Contact", *persons_of)] if persons_of else [])]
    for group, first, others in groups:
        org.guard({first, *others} | org.touched_by_deleting(_children(org, group, frozenset(others))))
    for group, first, others in reversed(groups):  # the contacts of persons first: they are no children then
        _merge(org, group, first, others, save)


def _merge(org: "Org", name: str, winner: str, losers: list[str], save: Save) -> None:
    table = org.table(name)
    for (child, key), fields in _children(org, name, frozenset(losers)).items():
        # A winner that pointed at a loser would point at itself.
        changes = dict.fromkeys(fields, None if key == winner else winner)
        org.writer.change(org.tables[child], key, changes, save)
    for key in losers:
        org.writer.mark_deleted(table, key, save, "merged", MasterRecordId=winner)
    org.writer.change(table, winner, {}, save)


def _children(org: "Org", name: str, losers: frozenset[str]) -> dict[tuple[str, str], list[str]]:
    """Map (object, Id) of every live record that points at one of the losers to the fields that do."""
    found: dict[tuple[str, str], list[str]] = {}
    for child, table in org.tables.items():
        if "LastModifiedDate" not in table.at:
            continue  # history rows stay with the record they tell about
        for field in table.definition.fields:
            if field.type == "reference" and name in field.reference_to and field.name not in _SETTLED:
                for row in table.live_with(field.name, losers):
                    if row[0] not in losers:
                        found.setdefault((child, row[0]), []).append(field.name)
    return found


def convert(
    org: "Org",
    lead_id: str,
    given: tuple[str | None, str | None],
    status: str,
    with_opportunity: bool,
    by: str | None,
) -> dict[str, str | None]:
    """Convert a lead; `given` is (account, contact) to use instead of new ones."""
    lead = org.tables["Lead"].record(org.tables["Lead"].rows[lead_id])
    if lead["IsConverted"]:
        raise OrgError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    account_id, contact_id = given
    org.guard({lead_id} | org.touched_by_deleting((name, row[0]) for name, row, _ in _belongings(org, lead_id)))
    if account_id is None and contact_id is not None:
        account_id = org.value("Contact", contact_id, "AccountId")
    account_id = account_id or org.insert("Account", _account(lead), by=by)
    contact_id = contact_id or org.insert("Contact", _contact(lead, account_id), by=by)
    opportunity_id = None
    if with_opportunity:
        opportunity_id = org.insert("Opportunity", _opportunity(org, lead, account_id), by=by)
        role = {"OpportunityId": opportunity_id, "ContactId": contact_id, "IsPrimary": True}
        org.insert("OpportunityContactRole", role, by=by)
    save = org.save(by)
    changes = {
        "Status": status,
        "IsConverted": True,
        "ConvertedDate": save.at[:10],
        "ConvertedAccountId": account_id,
        "ConvertedContactId": contact_id,
        "ConvertedOpportunityId": opportunity_id,
    }
    org.writer.change(org.tables["Lead"], lead_id, changes, save, "converted")
    _hand_over(org, lead_id, contact_id, save)
    return {"account_id": account_id, "contact_id": contact_id, "opportunity_id": opportunity_id}


def _hand_over(org: "Org", lead_id: str, contact_id: str, save: Save) -> None:
    """Move the lead's activities to the contact, and add the contact to its campaign memberships."""
    for name, row, target in _belongings(org, lead_id):
        org.writer.change(org.tables[name], row[0], {target: contact_id}, save)


def _belongings(org: "Org", lead_id: str) -> list[tuple[str, Row, str]]:
    """List (object, row, field that takes the contact) of what hangs on a lead."""
    return [
        (name, row, target)
        for name, field, target in (
            ("Task", "WhoId", "WhoId"),
            ("Event", "WhoId", "WhoId"),
            ("CampaignMember", "LeadId", "ContactId"),
        )
        for row in org.tables[name].live_with(field, frozenset({lead_id}))
    ]


def _account(lead: dict[str, Any]) -> dict[str, Any]:
    fields = {name: lead[name] for name in ("Industry", "AnnualRevenue", "NumberOfEmployees", "Website")}
    address = {f"Billing{part}": lead[part] for part in ("Street", "City", "State", "PostalCode", "Country")}
    return {"Name": lead["Company"], "OwnerId": lead["OwnerId"], **fields, **address}


def _contact(lead: dict[str, Any], account_id: str) -> dict[str, Any]:
    names = ("FirstName", "LastName", "Salutation", "Title", "Email", "Phone", "MobilePhone", "LeadSource")
    address = {f"Mailing{part}": lead[part] for part in ("Street", "City", "State", "PostalCode", "Country")}
    own = {name: lead[name] for name in (*names, "OwnerId", "cbit__Clearbit__c")}
    return {"AccountId": account_id, **own, **address}


def _opportunity(org: "Org", lead: dict[str, Any], account_id: str) -> dict[str, Any]:
    now = org.clock.now()
    quarter_end = f"{now.year}-{(now.month + 2) // 3 * 3:02d}-28"
    return {
        "Name": f"{lead['Company'] or lead['Name']}-",
        "AccountId": account_id,
        "StageName": "Qualification",
        "CloseDate": quarter_end,
        "LeadSource": lead["LeadSource"],
        "OwnerId": lead["OwnerId"],
    }
