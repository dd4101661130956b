"""Person accounts: an account and a contact that are one person, each showing the other's fields.

Off in a new org, as in real ones. Once they are switched on they stay on.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from integration.sandbox import checks
from integration.sandbox.errors import OrgError
from integration.sandbox.fields import email, flag, ref, system, text
from integration.sandbox.hooks import name_person
from integration.sandbox.table import Row, Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org
    from integration.sandbox.writer import Save, Writer

Record = dict[str, Any]

FIELDS: dict[str, str] = {
    "FirstName": "FirstName",
    "LastName": "LastName",
    "PersonEmail": "Email",
    "PersonTitle": "Title",
    "Phone": "Phone",
    "OwnerId": "OwnerId",
}
"""What the two share: the account's field -> the contact's."""


def enable(org: "Org") -> None:
    """Add the fields of person accounts to Account and Contact."""
    if enabled(org):
        return
    for field in (
        system(flag("IsPersonAccount", label="Is Person Account")),
        system(ref("PersonContactId", "Contact", relationship="PersonContact")),
        text("LastName", 80),
        text("FirstName", 40),
        email("PersonEmail"),
        text("PersonTitle", 80),
    ):
        org.add_field("Account", field)
    org.add_field("Contact", system(flag("IsPersonAccount", label="Is Person Account")))
    account = org.table("Account").definition
    org.redefine(replace(account, on_save=_name_account))


def enabled(org: "Org") -> bool:
    """Tell whether the org has person accounts."""
    return "IsPersonAccount" in org.table("Account").at


def insert(org: "Org", fields: Mapping[str, Any], save: "Save") -> str:
    """Make an account and its contact, and return the account's Id. Raises OrgError."""
    if not enabled(org):
        raise OrgError("INVALID_PERSON_ACCOUNT_OPERATION", "Person accounts are not enabled for this org")
    accounts, contacts = org.table("Account"), org.table("Contact")
    given = checks.given_values(org, accounts, fields) | {"IsPersonAccount": True}
    if not given.get("LastName"):
        raise OrgError("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", ("LastName",))
    account, contact = org.new_id("001"), org.new_id("003")
    org.writer.create(accounts, account, given | {"PersonContactId": contact}, save)
    shared = {theirs: given[ours] for ours, theirs in FIELDS.items() if ours in given}
    org.writer.create(contacts, contact, shared | {"AccountId": account, "IsPersonAccount": True}, save)
    return account


def partner(name: str, record: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return (object, Id) of the other half of a person account, None for any other record."""
    if not record.get("IsPersonAccount"):
        return None
    other, key = ("Contact", "PersonContactId") if name == "Account" else ("Account", "AccountId")
    return (other, record[key]) if record.get(key) else None


def mirror(writer: "Writer", table: Table, before: Record, after: Record, save: "Save") -> None:
    """Save on the other half what changed on this one. Its stamp moves in any case."""
    name = table.definition.name
    found = partner(name, after)
    other = writer.find(found[1]) if found else None
    if found is None or other is None:
        return
    pairs = FIELDS.items() if name == "Account" else [(theirs, ours) for ours, theirs in FIELDS.items()]
    changes = {theirs: after[ours] for ours, theirs in pairs if before[ours] != after[ours]}
    writer.change(other, found[1], changes, save, mirrored=True)


def check_change(table: Table, row: Row, given: Mapping[str, Any]) -> None:
    """Raise OrgError if a person's contact shall get another account."""
    if table.definition.name != "Contact" or not _is_person(table, row):
        return
    if "AccountId" in given and given["AccountId"] != row[table.at["AccountId"]]:
        raise _refused("the contact of a person account belongs to its account")


def check_delete(table: Table, row: Row) -> None:
    """Raise OrgError if a person's contact shall be deleted without its account."""
    if table.definition.name == "Contact" and _is_person(table, row):
        raise _refused("the contact of a person account is deleted with its account")


def merged_contacts(table: Table, winner: str, losers: list[str]) -> tuple[str, list[str]] | None:
    """Return (winner, losers) among the contacts when person accounts are merged, None for other merges.

    Raises OrgError for a merge of persons with others, and for one of their contacts alone.
    """
    rows = [table.rows[key] for key in (winner, *losers)]
    persons = [_is_person(table, row) for row in rows]
    if not any(persons):
        return None
    if table.definition.name == "Contact":
        raise _refused("the contact of a person account is merged with its account")
    if not all(persons):
        raise _refused("a person account can be merged with person accounts only")
    own = table.at["PersonContactId"]
    return rows[0][own], [row[own] for row in rows[1:]]


def _is_person(table: Table, row: Row) -> bool:
    place = table.at.get("IsPersonAccount")
    return place is not None and bool(row[place])


def _name_account(record: Record, _changed: Mapping[str, Any], org: "Org") -> None:
    if record.get("IsPersonAccount"):
        name_person(record, record, org)  # whatever was given: a person's Name is always put together


def _refused(message: str) -> OrgError:
    return OrgError("INVALID_PERSON_ACCOUNT_OPERATION", message)
