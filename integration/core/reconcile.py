"""Source against store: which records differ, and which of an object's records a reading in ranges has met. Pure.

A reading in ranges may not rely on our order of ids: how Salesforce sorts them is not documented. Ranges cut at ids
a < b < c cover everything under any total order (who is not <= a is > a, and so on), but a row may come back in a
range where we would not look for it, and then a second time in another. Its home is the range where our own order
puts it; elsewhere it is a stray, which counts only if its home has not shown it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from integration.core import values
from integration.core.image import Image

UNCOUNTED = frozenset({"LastViewedDate", "LastReferencedDate"})
"""Fields that never count: they differ from one login to the other."""


class Kind(StrEnum):
    """How a record differs."""

    MISSING = "missing"
    """The source shows it, the store does not have it."""
    STALE = "stale"
    """The store has another version of it, other values, or another opinion on whether it is deleted."""
    GHOST = "ghost"
    """It lives in the store, and the source does not show it, not even as deleted."""


class Shown(NamedTuple):
    """A record as the source shows it; `fields` hold the REST API's values, `version` is ISO 8601 UTC."""

    record_id: str
    version: str
    is_deleted: bool
    fields: dict[str, Any]

    @property
    def is_live(self) -> bool:
        """True for a record that is not deleted."""
        return not self.is_deleted


class Difference(NamedTuple):
    """How a record differs; `fields` names what differs in a stale one, by API name and in order."""

    record_id: str
    kind: Kind
    fields: tuple[str, ...] = ()


def compare(record_id: str, shown: Shown | None, stored: Image | None, cursor_field: str) -> Difference | None:
    """Hold a record of the source against its image in the store; None when they agree.

    A field that only the store knows (hidden since, or no longer selected) does not count; one that only the source
    knows counts once it is filled. `cursor_field` is the name under which another version is told.
    """
    if shown is None:
        is_ghost = stored is not None and not stored.is_deleted
        return Difference(record_id, Kind.GHOST) if is_ghost else None
    if stored is None:
        return Difference(record_id, Kind.MISSING)
    fields = set(differing(shown.fields, stored.fields))
    if shown.version != stored.version:
        fields.add(cursor_field)
    if shown.is_deleted != stored.is_deleted:
        fields.add("IsDeleted")
    return Difference(record_id, Kind.STALE, tuple(sorted(fields))) if fields else None


def differing(shown: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    """Name the fields of the source's row that have another value in the store."""
    if shown == stored:
        return
    for name, value in shown.items():
        known = stored.get(name)
        if known != value and name not in UNCOUNTED and not values.same(known, value):
            yield name


@dataclass(slots=True)
class Span:
    """A range of an object's ids, `low` < id <= `high` (None: no bound), and the live ids the store has in it.

    What has been shown is taken out of `expected`.
    """

    object: str
    low: str | None
    high: str | None
    expected: set[str]

    def holds(self, record_id: str) -> bool:
        """Tell whether our order puts an id into this range."""
        return (self.low is None or record_id > self.low) and (self.high is None or record_id <= self.high)


def spans(object_name: str, known: Iterator[tuple[str, bool]], size: int, *, low: str | None = None) -> Iterator[Span]:
    """Cut the ids of an object (in order, with whether they are deleted) into ranges of `size` of them.

    There is always at least one; the first begins behind `low` (None: no bound), and the last has no upper bound.
    """
    held: list[tuple[str, bool]] = []
    for one in known:
        if len(held) == size:
            yield Span(object_name, low, held[-1][0], _live(held))
            low, held = held[-1][0], []
        held.append(one)
    yield Span(object_name, low, None, _live(held))


def _live(known: Sequence[tuple[str, bool]]) -> set[str]:
    return {record_id for record_id, is_deleted in known if not is_deleted}


class _Stray(NamedTuple):
    version: str
    is_live: bool
    is_expected: bool
    difference: Difference | None


@dataclass(slots=True)
class Tally:
    """What a reading of one object in ranges has met: every record once, whatever the order of the source.

    Memory is needed for what differs only.
    """

    rows: int = 0
    """Rows the source has sent."""
    live_rows: int = 0
    """Live records in which source and store agree."""
    suspects: dict[str, str | None] = field(default_factory=dict)
    """What may differ: record id -> the version that was shown, None for what was not shown."""
    _unmet: set[str] = field(default_factory=set)
    _strays: dict[str, _Stray] = field(default_factory=dict)

    def meet(self, span: Span, shown: Shown, stored: Image | None, difference: Difference | None) -> None:
        """Take in a row of a range, with its image in the store and what comparing them has given."""
        self.rows += 1
        if not span.holds(shown.record_id):
            self._strays[shown.record_id] = _Stray(
                shown.version, shown.is_live, stored is not None and not stored.is_deleted, difference
            )
            return
        span.expected.discard(shown.record_id)
        if difference is None:
            self.live_rows += shown.is_live
        else:
            self.suspects[shown.record_id] = shown.version

    def end(self, span: Span) -> None:
        """Note that a range has been read to its end."""
        self._unmet |= span.expected

    def close(self) -> None:
        """Settle accounts when all ranges have been read: `suspects` and `live_rows` are complete then."""
        for record_id, stray in self._strays.items():
            if record_id in self._unmet:
                self._unmet.discard(record_id)
                if stray.difference is None:
                    self.live_rows += stray.is_live
                else:
                    self.suspects[record_id] = stray.version
            elif stray.difference is not None and not stray.is_expected:
                # Its home does not miss it, and may not have shown it.
                self.suspects.setdefault(record_id, stray.version)
        self.suspects.update(dict.fromkeys(self._unmet))
        self._strays.clear()
        self._unmet.clear()


def counted(kinds: Mapping[Kind, int]) -> str:
    """Say how many records differ in which way: `1 missing, 2 stale and 1 ghost`."""
    parts = [
        f"{count:,} {kind}{'s' if kind is Kind.GHOST and count != 1 else ''}"
        for kind in Kind
        if (count := kinds.get(kind, 0))
    ]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1] if parts else ""))) or "nothing"


def is_settled(shown: Shown | None, before: str | None, polled_from: str) -> bool:
    """Tell whether a poll that began at `polled_from` has had its chance to see this version of a record.

    It has if the record had the same version (or was as absent) when it was first looked at, before that poll. A stamp
    at or after the poll's beginning says that the record may have been saved once more since.
    """
    if shown is None:
        return before is None
    return shown.version == before and shown.version.removesuffix("Z") < polled_from.removesuffix("Z")


def chosen(names: Collection[str], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return which of `names` are wanted (in their own order; all if nothing is named), and what is wanted in vain.

    Capitals and small letters count alike.
    """
    lower = {one.lower() for one in wanted}
    known = {name.lower() for name in names}
    found = [name for name in names if not lower or name.lower() in lower]
    return found, [one for one in wanted if one.lower() not in known]
