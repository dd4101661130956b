"""Record images: what a capture shows, as the core works with it."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from integration.core import exactjson, values


class Image(NamedTuple):
    """A record as one capture showed it. Plain data: the hot path makes one per record.

    `version` and `seen_at` are ISO 8601 UTC; `fields` hold the REST API's JSON values; `payload` is the JSON of the
    capture as it came, so that archiving it costs nothing. A last image that is read from the store has none, and may
    show more than its capture did.
    """

    object: str
    record_id: str
    version: str
    is_deleted: bool
    fields: Mapping[str, Any]
    schema_id: str
    origin: str
    seen_at: str
    capture_id: str
    org: str
    payload: bytes
    known_by_id_only: bool = False
    """True when only the delete log told of the record: there are no fields."""

    @property
    def created(self) -> str:
        """CreatedDate, normalised; the version where the object shows none."""
        created = self.fields.get("CreatedDate")
        return values.stamp(created) if isinstance(created, str) else self.version


_TEXTS = ("id", "org", "object", "record_id", "system_modstamp", "schema_id", "origin", "seen_at")
_STAMPS = ("system_modstamp", "seen_at")
_API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)

# What decides who a record is and whom it belongs to. The values of all other fields are judged by their columns.
_TEXT_FIELDS = (
    "AccountId", "ContactId", "ConvertedAccountId", "ConvertedContactId", "CreatedById", "CreatedDate", "Email",
    "LastModifiedById", "LeadId", "MasterRecordId", "OpportunityId", "OwnerId", "WhatId", "WhoId",
)  # fmt: skip


def read(payload: bytes) -> Image:
    """Read the JSON of a capture.

    Raises ValueError with a sentence that names what is wrong, never a value (values are people's data).
    """
    try:
        raw = exactjson.loads(payload)
    except (ValueError, RecursionError):
        raise ValueError("data is not JSON") from None
    if not isinstance(raw, dict):
        raise ValueError("data is not a JSON object")
    _check_head(raw)
    fields = raw.get("fields")
    if fields is not None:
        _check_fields(fields, raw["record_id"])
    elif not raw["is_deleted"]:
        raise ValueError("fields are missing from a record that is not deleted")
    return Image(
        raw["object"],
        raw["record_id"],
        raw["system_modstamp"],
        raw["is_deleted"],
        fields or {},
        raw["schema_id"],
        raw["origin"],
        raw["seen_at"],
        raw["id"],
        raw["org"],
        payload,
        fields is None,
    )


def deleted_copy(before: Image, told: Image) -> Image:
    """Return the image of a record of which only the delete log tells: its last fields, now deleted."""
    fields = {**before.fields, "IsDeleted": True} if "IsDeleted" in before.fields else dict(before.fields)
    return told._replace(fields=fields, schema_id=before.schema_id, is_deleted=True, known_by_id_only=False)


def carried_copy(before: Image, after: Image, dropped: Callable[[str, str], bool]) -> Image:
    """Return the newer image with the last values of the fields it lacks: what is not shown any more is unknown,
    and unknown is not null. Fields that are `dropped` (by the settings, as object and field) are not kept."""
    shown, name = after.fields, after.object
    kept = {f: value for f, value in before.fields.items() if f not in shown and not dropped(name, f)}
    return after._replace(fields={**shown, **kept}) if kept else after


def without(image: Image, names: Collection[str]) -> Image:
    """Return the image without the fields of these names."""
    if not names or image.fields.keys().isdisjoint(names):
        return image
    fields = {f: value for f, value in image.fields.items() if f not in names}
    capture = {
        "id": image.capture_id,
        "org": image.org,
        "object": image.object,
        "record_id": image.record_id,
        "system_modstamp": image.version,
        "is_deleted": image.is_deleted,
        "fields": fields,
        "schema_id": image.schema_id,
        "origin": image.origin,
        "seen_at": image.seen_at,
    }
    return image._replace(fields=fields, payload=exactjson.dumps(capture))


def _check_head(raw: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        if not isinstance(raw.get(name), str) or not raw[name]:
            raise ValueError(f"{name} is missing or not text")
    if not _API_NAME.fullmatch(raw["object"]):
        raise ValueError("object is not the API name of an object")
    if len(raw["record_id"]) != 18 or not raw["record_id"].isalnum():
        raise ValueError("record_id is not an 18-character Salesforce id")
    for name in _STAMPS:
        if not _is_stamp(raw[name]):
            raise ValueError(f"{name} is not a time like 2024-01-22T16:26:15Z")
    if not isinstance(raw.get("is_deleted"), bool):
        raise ValueError("is_deleted is missing or not true or false")


def _check_fields(fields: Any, record_id: str) -> None:
    if not isinstance(fields, dict):
        raise ValueError("fields is not a JSON object")
    if fields.get("Id") != record_id:
        raise ValueError("the field Id is not the record_id")
    for name in _TEXT_FIELDS:
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"the field {name} is not text")


def _is_stamp(value: str) -> bool:
    if not (len(value) >= 20 and value[4] == "-" and value[10] == "T" and value.endswith("Z")):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
