from schemas.base import Frozen, ObjectName, Stamp
from schemas.capture import Origin


class FieldChange(Frozen):
    """One field of one record that changed between two images. Values are text, see `Change`."""

    field: str
    property: str | None
    """The property the field became (`sfdc_contact_title`); None for a field of an object without properties."""
    old: str | None
    new: str | None


class Change(Frozen):
    """A row of `changes`: one changed field of one event.

    Values are text: numbers in plain decimals, datetimes ISO 8601 UTC with `Z`, dates ISO, booleans `true` and
    `false`, ids with 18 characters, null as null.
    """

    event_id: str
    time: Stamp
    object: ObjectName
    record_id: str
    user_id: str | None
    account_id: str | None
    field: str
    property: str | None
    old_value: str | None
    new_value: str | None
    actor_id: str | None
    origin: Origin
