"""What a cycle did, in numbers and sentences."""

from dataclasses import dataclass, field

from integration.source.captures import Reading


@dataclass(slots=True)
class ObjectCount:
    """One object's part of a cycle.

    `unreadable` counts rows without a usable Id or stamp, `left_out` history rows of fields that are not selected.
    """

    rows_read: int = 0
    published: int = 0
    dropped_as_seen: int = 0
    pages: int = 0
    unreadable: int = 0
    left_out: int = 0

    def add_page(self, rows: int, reading: Reading) -> None:
        """Add a page of so many rows, and what it gave."""
        self.pages += 1
        self.rows_read += rows
        self.published += len(reading.captures)
        self.dropped_as_seen += reading.dropped
        self.unreadable += reading.unreadable
        self.left_out += reading.left_out


@dataclass(slots=True)
class CycleReport:
    """One cycle of the poller.

    `started_at` and `ended_at` are stamps by this machine's clock. `calls` counts API calls. `skipped` says for objects
    that were not (wholly) read why not; `notes` holds what the operator should know beside. `is_complete` is False when
    the cycle was asked to stop half-way.
    """

    started_at: str = ""
    ended_at: str = ""
    objects: dict[str, ObjectCount] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    calls: int = 0
    is_complete: bool = True

    def count(self, name: str) -> ObjectCount:
        """Return the object's numbers, to be added to."""
        return self.objects.setdefault(name, ObjectCount())

    @property
    def rows_read(self) -> int:
        """Rows that Salesforce sent."""
        return sum(c.rows_read for c in self.objects.values())

    @property
    def published(self) -> int:
        """Captures handed to the streams."""
        return sum(c.published for c in self.objects.values())

    @property
    def dropped_as_seen(self) -> int:
        """Rows of the overlap that were known already."""
        return sum(c.dropped_as_seen for c in self.objects.values())

    @property
    def pages(self) -> int:
        """Pages read."""
        return sum(c.pages for c in self.objects.values())

    @property
    def unreadable(self) -> int:
        """Rows left out because they have no usable Id or stamp."""
        return sum(c.unreadable for c in self.objects.values())
