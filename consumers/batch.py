"""What goes into a batch, and what it came to: plain values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumers import letters
from integration.store.protocol import Transaction
from integration.stream.entry import readable
from schemas import DeadLetter


class Entry(NamedTuple):
    """A stream entry: where it lies, and its fields as Redis has them."""

    stream: str
    offset: str
    fields: Mapping[bytes, bytes]

    @property
    def address(self) -> letters.Address:
        """Stream and offset."""
        return self.stream, self.offset


class Reject(NamedTuple):
    """An entry that can't be used, and why in one sentence."""

    entry: Entry
    reason: str
    deliveries: int = 1

    def letter(self, now: str) -> DeadLetter:
        """Return it as a dead letter."""
        return DeadLetter(
            stream=self.entry.stream,
            offset=self.entry.offset,
            reason=self.reason,
            first_tried_at=now,
            last_tried_at=now,
            deliveries=self.deliveries,
            fields=readable(self.entry.fields),
        )


Judge = Callable[[Transaction, Sequence[Entry], Sequence[Reject]], None]
"""Is told, before a batch is committed, of its new entries in their order and which of them are given up; what it
raises undoes the batch."""


class Delay(NamedTuple):
    """How far a capture has come: the record's version, when Salesforce showed it, its offset in the stream."""

    version: str
    seen_at: str
    offset: str


@dataclass(slots=True)
class Applied:
    """What a batch came to."""

    entries: int = 0
    stored: int = 0
    """Captures that told something new."""
    seen_again: int = 0
    """Captures that told nothing new, and entries below the position."""
    untouched: int = 0
    """New versions in which nothing that people look at had changed: no event."""
    unknown_deletes: int = 0
    """Deletes of records that were never seen."""
    events: int = 0
    users: int = 0
    rejects: list[Reject] = field(default_factory=list)
    happened: list[dict[str, Any]] = field(default_factory=list)
    """The rows of `events` that were written."""
    delays: list[Delay] = field(default_factory=list)
    """Of what polls have shown and is stored now."""
    seconds: float = 0.0
    """From taking up the batch to its commit."""
    at: str = ""
    """When its rejects were given up, as the store has it."""

    def add(self, other: "Applied") -> None:
        """Add up."""
        for name in ("entries", "stored", "seen_again", "untouched", "unknown_deletes", "events", "users"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.rejects += other.rejects
