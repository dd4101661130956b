from schemas.base import Frozen, Stamp


class DeadLetter(Frozen):
    """An entry that was given up: kept whole, with its address and the reason."""

    stream: str
    """The stream the entry came from; the dead letter lies in `<stream>.dead`."""
    offset: str
    """The Redis entry id it had there."""
    reason: str
    """One sentence: what is wrong with it."""
    first_tried_at: Stamp
    last_tried_at: Stamp
    deliveries: int = 1
    """How often it was delivered before it was given up."""
    fields: dict[str, str]
    """The entry's own fields; bytes that are not UTF-8 are backslash-escaped."""
