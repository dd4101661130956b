from pydantic import ConfigDict, JsonValue

from schemas.base import Frozen, Stamp
from schemas.capture import Origin
from schemas.change import FieldChange


class EventProperties(Frozen):
    """What an event tells beside its columns: the changes, and a short snapshot of the record."""

    model_config = ConfigDict(frozen=True, extra="allow")

    changes: tuple[FieldChange, ...] = ()
    name: str | None = None
    stage: str | None = None
    amount: JsonValue = None


class Event(Frozen):
    """A row of `events`: one change event of the CRM or one product event."""

    event_id: str
    """The id of the capture that caused it: deterministic, so that a replay makes the same event."""
    time: Stamp
    """CreatedDate for Created, else SystemModstamp (deletedDate where only the delete log told of it)."""
    name: str
    """Object and cause in words, e.g. `Opportunity Stage Changed`."""
    user_id: str | None
    """The person's current id, also for events from before a merge."""
    account_id: str | None
    source: str
    """`/salesforce/<org>`."""
    object: str | None
    record_id: str | None
    actor_id: str | None
    """LastModifiedById of the image; CreatedById for Created."""
    origin: Origin
    seen_at: Stamp
    stored_at: Stamp
    properties: EventProperties
