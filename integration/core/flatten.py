"""From two images of a record to what people see of it: the event, its changes, and where the record belonged.

Pure: no clock, no store. `stored_at` is passed in; user ids are filled in once identity has been worked out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from integration.core import cause, exactjson, history, values
from integration.core.diff import Difference, diff
from integration.core.image import Image, carried_copy, deleted_copy
from integration.core.registry import Named

_ACTIVITIES = frozenset({"Task", "Event"})
_ACCOUNT_PREFIX = "001"
_CLOCKS_APART_SECONDS = 5


class Membership(NamedTuple):
    """While a record said so, the person `alias` belonged to an account or an opportunity."""

    alias: str
    kind: str
    target_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one new image of a record means."""

    before: Image | None
    after: Image
    event: dict[str, Any] | None
    """A row of `events` (`user_id` still None), or None: nothing that people look at has changed."""
    changes: list[dict[str, Any]]
    left: Membership | None = None
    joined: Membership | None = None
    moved_at: str = ""


def _nothing_dropped(_object: str, _field: str) -> bool:
    return False


def flatten(
    before: Image | None,
    after: Image,
    names: Mapping[str, Named],
    stored_at: str,
    dropped: Callable[[str, str], bool] = _nothing_dropped,
) -> Outcome | None:
    """Compare a record's new image with the last one; None when the image tells nothing new (seen again, or older).

    `names` are the object's own fields (see Registry.fields). `dropped` says of (object, field) whether the settings
    leave it out; every other field that the new image lacks keeps its last value in the outcome's `after`.
    """
    if before is not None and _is_old_news(before, after):
        return None
    if before is not None and after.known_by_id_only:
        after = deleted_copy(before, after)
    elif before is not None and not before.fields.keys() <= after.fields.keys():
        after = carried_copy(before, after, dropped)
    life = cause.life_cause(
        after.object,
        None if before is None else (before.is_deleted, before.fields),
        after.is_deleted,
        after.fields,
    )
    differences = [] if life in cause.LIFE_CAUSES else diff(before.fields if before else {}, after.fields)
    name = cause.event_name(after.object, life, {d.field for d in differences}, after.fields)
    left, joined = membership(before), membership(after)
    if left == joined:
        left = joined = None
    if name is None or history.parent_of(after.object):
        return Outcome(before, after, None, [], left, joined, after.version)
    at = after.created if life == "Created" else after.version
    event = _event(before, after, name, at, life, stored_at)
    changes = [_change(event, d, names) for d in differences]
    event["properties"] = _properties(after, changes)
    return Outcome(before, after, event, changes, left, joined, at)


def membership(image: Image | None) -> Membership | None:
    """Say where a record places a person now: a contact or converted lead in its account, a role in its deal."""
    if image is None or image.is_deleted:
        return None
    fields = image.fields
    if image.object == "Contact" and fields.get("AccountId"):
        return Membership(image.record_id, "account", fields["AccountId"])
    if image.object == "Lead" and fields.get("ConvertedAccountId"):
        return Membership(image.record_id, "account", fields["ConvertedAccountId"])
    if image.object == "OpportunityContactRole" and fields.get("ContactId") and fields.get("OpportunityId"):
        return Membership(fields["ContactId"], "opportunity", fields["OpportunityId"])
    return None


def alias_of(image: Image) -> str | None:
    """Return the id of the contact or lead that a record is about, or None."""
    fields = image.fields
    if image.object in ("Contact", "Lead"):
        return image.record_id
    if image.object == "OpportunityContactRole":
        return fields.get("ContactId")
    if image.object == "CampaignMember":
        return fields.get("ContactId") or fields.get("LeadId")
    if image.object in _ACTIVITIES:
        return fields.get("WhoId")
    return None


def account_of(image: Image) -> str | None:
    """Return the account that a record itself names, or None."""
    fields = image.fields
    if image.object == "Account":
        return image.record_id
    if image.object == "Lead":
        return fields.get("ConvertedAccountId")
    if image.object in _ACTIVITIES and not fields.get("AccountId"):
        what = fields.get("WhatId")
        return what if isinstance(what, str) and what.startswith(_ACCOUNT_PREFIX) else None
    return fields.get("AccountId")


def _is_old_news(before: Image, after: Image) -> bool:
    if after.version < before.version and not _is_reconciled(before, after):
        return True
    if after.version == before.version and _was_read_before(before, after):
        return True
    if after.known_by_id_only or before.is_deleted == after.is_deleted:
        return before.is_deleted if after.known_by_id_only else _same_image(before, after)
    return False


def _is_reconciled(before: Image, after: Image) -> bool:
    """Tell whether a sweep has looked later than the last image: then it is right, whatever the stamps say.

    A record restored without its stamp moving is older than its own deletion.
    """
    return after.origin == "sweep" and after.seen_at >= before.seen_at


def _was_read_before(before: Image, after: Image) -> bool:
    """Tell whether a backfill has looked before the last image was seen, under the same stamp.

    It runs beside the poll, and what it reads may arrive long after it was read: a formula may have moved since. Of two
    looks within one second nobody knows which was the later. Under another description of the object the later look
    counts though a clock of Salesforce's is some seconds behind: new fields are filled by it.
    """
    if after.origin != "backfill" or after.seen_at > before.seen_at:
        return False
    if after.schema_id == before.schema_id:
        return True
    ahead = datetime.fromisoformat(before.seen_at) - datetime.fromisoformat(after.seen_at)
    return ahead.total_seconds() > _CLOCKS_APART_SECONDS


def _same_image(before: Image, after: Image) -> bool:
    if after.version != before.version or _is_read_anew(before, after):
        return False
    return after.fields == before.fields or not _shows_more(before, after)


def _is_read_anew(before: Image, after: Image) -> bool:
    """Tell whether the record was read again because its object looks different now.

    Values that say the same may belong into other columns (a date that has become text): they have to be written.
    """
    return after.origin == "backfill" and after.schema_id != before.schema_id


def _shows_more(before: Image, after: Image) -> bool:
    """Tell whether an image with the stamp of the last one shows another value anywhere."""
    return any(
        not values.same(before.fields.get(name), value) or (name not in before.fields)
        for name, value in after.fields.items()
    )


def _event(before: Image | None, after: Image, name: str, at: str, life: str | None, stored_at: str) -> dict[str, Any]:
    fields = after.fields
    actor = fields.get("CreatedById") if life == "Created" else fields.get("LastModifiedById")
    return {
        "event_id": _event_id(before, after),
        "time": at,
        "name": name,
        "user_id": None,
        "account_id": account_of(after),
        "source": f"/salesforce/{after.org}",
        "object": after.object,
        "record_id": after.record_id,
        "actor_id": actor,
        "origin": after.origin,
        "seen_at": after.seen_at,
        "stored_at": stored_at,
        "alias": alias_of(after),
    }


def _event_id(before: Image | None, after: Image) -> str:
    """Name the event by its record version; a second event of one version adds a hash of what it shows.

    The same images in the same order give the same ids, however they were delivered. When the image was seen counts,
    because a formula can move to and fro under one stamp.
    """
    version = f"{after.org}:{after.object}:{after.record_id}:{after.version}"
    if before is None or before.version != after.version:
        return version
    return f"{version}:{content_hash(after.fields, after.seen_at)}"


def archived_as(before: Image | None, after: Image) -> str:
    """Return the id under which the archive keeps a capture: its own.

    A second content of one version comes under the id of the first when the poller has lost what it knew of that
    (streams that were emptied): then it gets a hash of what it shows behind it.
    """
    version = f"{after.org}:{after.object}:{after.record_id}:{after.version}"
    if before is None or before.version != after.version or after.capture_id != version:
        return after.capture_id
    return f"{version}:{content_hash(after.fields, after.seen_at)}"


def content_hash(fields: Mapping[str, Any], seen_at: str) -> str:
    """Return a short hash of what a record showed at a time, independent of the order of its fields."""
    return blake2b(exactjson.dumps([seen_at, sorted(fields.items())]), digest_size=6).hexdigest()


def _change(event: Mapping[str, Any], difference: Difference, names: Mapping[str, Named]) -> dict[str, Any]:
    named = names[difference.field]
    kind = named.key.type
    return {
        "event_id": event["event_id"],
        "time": event["time"],
        "object": event["object"],
        "record_id": event["record_id"],
        "user_id": None,
        "account_id": event["account_id"],
        "field": difference.field,
        "property": named.property,
        "old_value": values.text(kind, difference.old),
        "new_value": values.text(kind, difference.new),
        "actor_id": event["actor_id"],
        "origin": event["origin"],
        "alias": event["alias"],
    }


def _properties(after: Image, changes: list[dict[str, Any]]) -> bytes:
    fields = after.fields
    shown = [
        {"field": c["field"], "property": c["property"], "old": c["old_value"], "new": c["new_value"]} for c in changes
    ]
    snapshot = {
        "name": fields.get("Name") or fields.get("Subject"),
        "stage": fields.get("StageName"),
        "amount": fields.get("Amount"),
    }
    properties = {"changes": shown} | {key: value for key, value in snapshot.items() if value is not None}
    return exactjson.dumps(properties)
