"""What saving one record does to others: last activity dates and campaign counts.

These move the other record's SystemModstamp but not its LastModifiedDate, as in a real org.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from integration.sandbox.table import Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org
    from integration.sandbox.writer import Save, Writer

Image = dict[str, Any]

_POINTERS = {"Task": ("WhoId", "WhatId", "AccountId"), "Event": ("WhoId", "WhatId", "AccountId")}


def targets(org: "Org", name: str, record: Mapping[str, Any]) -> set[str]:
    """The records that saving or deleting this one will touch: they must not be locked by somebody else."""
    if name == "CampaignMember":
        return {record["CampaignId"]} if record.get("CampaignId") else set()
    if name not in _POINTERS:
        return set()
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
