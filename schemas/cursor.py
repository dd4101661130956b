from schemas.base import Frozen, ObjectName, Stamp


class Cursor(Frozen):
    """How far the poller has read one object: saved in the MULTI/EXEC that publishes the page it covers."""

    object: ObjectName
    system_modstamp: Stamp | None = None
    """Stamp of the last row read; with `record_id` the keyset position. None before the first row."""
    record_id: str = ""
    """Id of the last row read, as Salesforce ordered it."""
    pass_started_at: Stamp | None = None
    """Salesforce's clock when the unfinished pass began; None between passes."""
    covered_until: Stamp | None = None
    """Salesforce's clock when the last finished pass began: rows committed before it were visible to that pass."""
    deleted_until: Stamp | None = None
    """End of the last window read from the delete log (`/deleted/`)."""
    late_seen: bool = False
    """True once a row arrived with a stamp older than the overlap allowed for: the overlap then also counts
    back from the last row, not only from the clock."""
