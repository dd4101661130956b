"""Why a record changed, in one name: a record version gives one event, and the event's name says what happened."""

from collections.abc import Collection, Mapping
from typing import Any

from integration.core import naming

_MERGEABLE = frozenset({"Account", "Contact", "Lead"})
_PEOPLE = frozenset({"Contact", "Lead"})

# These tell of a record's life as a whole; they write no `changes` rows.
LIFE_CAUSES = ("Created", "Deleted", "Restored", "Merged")


_ALWAYS = ("Created", "Deleted", "Restored", "Updated")
_PARTICULAR = {
    "Lead": ("Lead Converted", "Email Changed"),
    "Opportunity": ("Opportunity Won", "Opportunity Lost", "Opportunity Stage Changed"),
    "Contact": ("Account Changed", "Email Changed"),
    "Task": ("Task Completed",),
    "CampaignMember": ("Campaign Responded",),
}


def event_names(object_name: str) -> list[str]:
    """List every name that an event of this object can have."""
    lives = (*_ALWAYS, "Merged") if object_name in _MERGEABLE else _ALWAYS
    names = [f"{naming.words(object_name)} {life}" for life in lives]
    return [*names, *_PARTICULAR.get(object_name, ()), "Owner Changed"]


def life_cause(
    object_name: str, before: tuple[bool, Mapping[str, Any]] | None, is_deleted: bool, after: Mapping[str, Any]
) -> str | None:
    """Return Created, Deleted, Restored or Merged, or None if the record just lives on.

    `before` is (is_deleted, fields) of the last image, None when the record was never seen.
    """
    if before is None:
        return "Created"
    was_deleted, old = before
    merged = object_name in _MERGEABLE and after.get("MasterRecordId") and not old.get("MasterRecordId")
    if is_deleted and merged:
        return "Merged"
    if is_deleted and not was_deleted:
        return "Deleted"
    if was_deleted and not is_deleted:
        return "Restored"
    return None


def event_name(object_name: str, life: str | None, changed: Collection[str], after: Mapping[str, Any]) -> str | None:
    """Name the event, or return None when nothing happened. The first rule that applies wins."""
    if life is not None:
        return f"{naming.words(object_name)} {life}"
    if not changed:
        return None
    return _particular(object_name, changed, after) or f"{naming.words(object_name)} Updated"


def _particular(object_name: str, changed: Collection[str], after: Mapping[str, Any]) -> str | None:
    if object_name == "Lead" and "IsConverted" in changed and after.get("IsConverted"):
        return "Lead Converted"
    if object_name == "Opportunity" and (name := _opportunity(changed, after)):
        return name
    if object_name == "Contact" and "AccountId" in changed:
        return "Account Changed"
    if object_name in _PEOPLE and "Email" in changed:
        return "Email Changed"
    if "OwnerId" in changed:
        return "Owner Changed"
    if object_name == "Task" and "IsClosed" in changed and after.get("IsClosed"):
        return "Task Completed"
    if object_name == "CampaignMember" and "HasResponded" in changed and after.get("HasResponded"):
        return "Campaign Responded"
    return None


def _opportunity(changed: Collection[str], after: Mapping[str, Any]) -> str | None:
    closed, won = bool(after.get("IsClosed")), bool(after.get("IsWon"))
    if won and "IsWon" in changed:
        return "Opportunity Won"
    if closed and not won and ("IsClosed" in changed or "IsWon" in changed):
        return "Opportunity Lost"
    if "StageName" in changed:
        return "Opportunity Stage Changed"
    return None
