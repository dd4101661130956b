"""What saving one record does to others: last activity dates, campaign counts, and stamps of who sums it up.

These move the other record's SystemModstamp but not its LastModifiedDate, as in a real org.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from integration.sandbox import persons
from integration.sandbox.table import Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org
    from integration.sandbox.writer import Save, Writer

Image = dict[str, Any]

_POINTERS = {"Task": ("WhoId", "WhatId", "AccountId"), "Event": ("WhoId", "WhatId", "AccountId")}


def targets(org: "Org", name: str, record: Mapping[str, Any]) -> set[str]:
    """The records that saving or deleting this one will touch: they must not be locked by somebody else."""
    other = persons.partner(name, record)
    if other is not None:
        return {other[1]}
    if name == "CampaignMember":
        return {record["CampaignId"]} if record.get("CampaignId") else set()
    if name not in _POINTERS:
        return set(_summing(org, name, record)) if org.roll_ups_move_stamp else set()
    named = {record[pointer] for pointer in ("WhoId", "WhatId") if record.get(pointer)}
    homes = {org.value(org.object_of(key) or "", key, "AccountId") for key in named}
    return named | homes - {None}


def follow(writer: "Writer", table: Table, before: Image | None, after: Image | None, save: "Save") -> None:
    """Carry out what follows from a record's new form (`after` is None for one that is gone)."""
    name = table.definition.name
    if name in _POINTERS and after is not None:
        _date_activity(writer, name, after, save)
    elif name == "CampaignMember":
        _count_members(writer, before, after, save)
    sum_up(writer, table, before, after, save)


def sum_up(writer: "Writer", table: Table, before: Image | None, after: Image | None, save: "Save") -> None:
    """Move the stamps of the records that sum this one up, if the org's roll-ups do that at all.

    `before` and `after` are its live forms: None where it did not exist or was deleted.
    """
    org, name = writer.org, table.definition.name
    if not org.roll_ups_move_stamp or before == after:
        return
    parents = [
        _summing(org, name, image) for image in (before, after) if image is not None and not image.get("IsDeleted")
    ]
    for key in dict.fromkeys(key for keys in parents for key in keys):
        target = writer.find(key)
        if target is not None:
            writer.drift(target, key, {}, save)


def _summing(org: "Org", name: str, record: Mapping[str, Any]) -> list[str]:
    """The records that have a roll-up summary of this one."""
    pointers = dict.fromkeys(
        field.roll_up[1]
        for table in org.tables.values()
        for field in table.definition.fields
        if field.roll_up is not None and field.roll_up[0] == name
    )
    return [record[pointer] for pointer in pointers if record.get(pointer)]


def _date_activity(writer: "Writer", name: str, after: Image, save: "Save") -> None:
    day = after["ActivityDate"]
    if not day or day > save.at[:10] or (name == "Task" and not after["IsClosed"]):
        return
    for pointer in _POINTERS[name]:
        target = writer.find(after[pointer])
        if target is None or "LastActivityDate" not in target.at:
            continue
        known = target.rows[after[pointer]][target.at["LastActivityDate"]]
        if known is None or known < day:
            writer.drift(target, after[pointer], {"LastActivityDate": day}, save)


def _count_members(writer: "Writer", before: Image | None, after: Image | None, save: "Save") -> None:
    deltas = {name: _counts(after, name) - _counts(before, name) for name in _COUNTS}
    campaign = (after or before or {}).get("CampaignId")
    target = writer.find(campaign)
    if target is None or campaign is None or not any(deltas.values()):
        return
    row = target.rows[campaign]
    counts = {name: (row[target.at[name]] or 0) + delta for name, delta in deltas.items()}
    writer.drift(target, campaign, counts, save)


_COUNTS = ("NumberOfLeads", "NumberOfContacts", "NumberOfResponses")


def _counts(member: Image | None, name: str) -> int:
    if member is None:
        return 0
    if name == "NumberOfResponses":
        return int(member["HasResponded"])
    return int(bool(member["LeadId" if name == "NumberOfLeads" else "ContactId"]))
