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
    """Salesforce's clock when the last finished wide pass began: rows committed before it were visible to that pass."""
    passed_until: Stamp | None = None
    """Salesforce's clock when the last finished pass began, wide or narrow; a narrow one begins shortly before it."""
    deleted_until: Stamp | None = None
    """End of the last window read from the delete log (`/deleted/`)."""
    late_seen: bool = False
    """True once a row arrived with a stamp older than the overlap allowed for: the overlap then also counts
    back from the last row, not only from the clock."""
    open_since: Stamp | None = None
    """Since when a transaction has been open: wide passes begin there at the latest. It may have ended by now; one wide
    pass after the delete log's answer that says so is the last to begin there."""
    still_open: Stamp | None = None
    """What the delete log answered last: the start of the oldest transaction that was open then, None if there was no
    long one. The next wide pass makes it `open_since`."""
    schema_id: str | None = None
    """Which description of the object its records have been read with, but for the fields in `filling`."""
    filling: tuple[str, ...] = ()
    """Fields that appeared, or got another type: the records in which they are filled are being read again."""
    fill_after: str = ""
    """Id of the last record that this reading has reached."""
    fill_all: bool = False
    """True when one of these fields was read before, and then was not shown or had another type: records in which it is
    empty now count too."""
    gone: tuple[str, ...] = ()
    """The fields that were read once and are not shown any more."""
