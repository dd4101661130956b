from enum import StrEnum

from pydantic import JsonValue

from schemas.base import Frozen, ObjectName, RecordId, Stamp


class Origin(StrEnum):
    """How a record image or an event was seen."""

    POLL = "poll"
    BACKFILL = "backfill"
    SWEEP = "sweep"
    HISTORY = "history"
    REPLAY = "replay"
    CDC = "cdc"
    PRODUCT = "product"


class Capture(Frozen):
    """One image of one record as Salesforce showed it: the payload of every `crm.*` stream entry.

    `id` is `<org>:<object>:<record_id>:<system_modstamp>`, followed by `:<content hash>` when the same stamp
    was seen before with other content (two commits in one second, or a formula that moved without a stamp).
    An image that is seen twice therefore has the same id.
    """

    id: str
    org: str
    """The 18-character id of the org, or its host name where Salesforce did not tell the id."""
    object: ObjectName
    record_id: RecordId
    system_modstamp: Stamp
    """The version of the record: SystemModstamp (CreatedDate for objects without one), whole seconds, UTC.
    For an image from the delete log: deletedDate."""
    is_deleted: bool
    fields: dict[str, JsonValue] | None
    """Every selected field by API name with the value exactly as the REST API gave it (its JSON, datetimes as
    `2024-01-22T16:26:15.000+0000`). None when only the delete log tells of the record."""
    schema_id: str
    """Which description of the object the fields were read with: a key of the hash `headrace:schemas`."""
    origin: Origin
    seen_at: Stamp
    """When the answer came, by Salesforce's clock (the Date header)."""
