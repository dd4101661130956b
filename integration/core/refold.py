"""A record told from the beginning: all its archived captures folded once more, under the rules of now. Pure.

What comes out is what would have come out had these rules held when the captures came: the same images in the same
order give the same events with the same ids.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from integration.core.flatten import Outcome, flatten, membership
from integration.core.image import Image, carried_copy, deleted_copy
from integration.core.registry import Named

Names = Callable[[Image], Mapping[str, Named]]
Dropped = Callable[[str, str], bool]


class Told(NamedTuple):
    """An archived capture: what it shows, when it was stored (ISO 8601), and its offset as Redis compares offsets."""

    image: Image
    stored_at: str
    offset: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Refolded:
    """What all captures of a record come to."""

    outcomes: Sequence[Outcome]
    latest: Image | None
    """The record's last image; None where deletes alone are told, of a record that was never seen."""
    base: Told | None = None
    """Where the archive does not go back to the record's first sight: the capture that stands for what was before."""


def refold(told: Iterable[Told], names: Names, dropped: Dropped, stored: Image | None = None) -> Refolded:
    """Fold the captures of one record in the order of their arrival.

    `stored` is the record's state as it is, given where the archive does not go back to its first sight: the first
    capture is the base then, which tells nothing itself, and values that no capture shows any more are kept.
    Raises TypeError, ValueError, KeyError or AttributeError for a field of an unexpected form.
    """
    found: tuple[int, Refolded] | None = None
    for order in _orders(list(told)):
        silent, folded = _fold(order, names, dropped, stored)
        if found is None or silent < found[0]:
            found = silent, folded
        if not silent:
            break
    if found is None:
        return Refolded((), None)
    return found[1]


def stays(outcomes: Iterable[Outcome], open_stays: MutableMapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of memberships: the stays that these outcomes end and begin, in their order.

    `open_stays` are the rows without an end by record id; they are brought up to date. Where several rows have one
    record and beginning, the last one counts.
    """
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        record_id = outcome.after.record_id
        if not outcome.left and not outcome.joined:
            continue
        stay = open_stays.pop(record_id, None)
        if outcome.left and stay is not None:
            stay["until"] = outcome.moved_at
            rows.append(stay)
        if outcome.joined:
            opened = {"record_id": record_id, **outcome.joined._asdict(), "since": outcome.moved_at, "until": None}
            open_stays[record_id] = opened
            rows.append(opened)
    return rows


def all_stays(folded: Refolded, stored: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return all rows of memberships of a refolded record; `stored` are its present ones, looked at where the archive
    does not go back to its first sight."""
    earlier: list[dict[str, Any]] = []
    open_stays: dict[str, dict[str, Any]] = {}
    if folded.base is not None:
        base = folded.base.image
        known = sorted((dict(row) for row in stored if row["since"] <= base.version), key=lambda row: row["since"])
        here = membership(base)
        if here is not None:
            if known and all(known[-1][name] == value for name, value in here._asdict().items()):
                known[-1]["until"] = None
            else:
                known.append({"record_id": base.record_id, **here._asdict(), "since": base.version, "until": None})
            open_stays[base.record_id] = known[-1]
        earlier = known
    rows = {row["since"]: row for row in (*earlier, *stays(folded.outcomes, open_stays))}
    return list(rows.values())


def _orders(told: list[Told]) -> Iterable[list[Told]]:
    """Give the orders in which they may have come, the likeliest first.

    Only what told something new was archived, so an order in which a capture tells nothing was not the order of
    arrival: then the clock of this machine was set back, or Redis was replaced by one whose clock was behind.
    """
    keys: Sequence[Callable[[Told], Any]] = (
        lambda t: (t.stored_at, t.offset),
        lambda t: (t.stored_at, t.image.seen_at, t.offset),
        lambda t: t.offset,
        lambda t: (t.image.seen_at, t.offset),
    )
    tried: list[list[Told]] = []
    for key in keys:
        order = sorted(told, key=key)
        if order and order not in tried:
            tried.append(order)
            yield order


def _fold(told: Sequence[Told], names: Names, dropped: Dropped, stored: Image | None) -> tuple[int, Refolded]:
    """Fold in this order; return how many captures told nothing, too."""
    base = told[0] if stored is not None else None
    before = None
    if base is not None and stored is not None:
        before = deleted_copy(stored, base.image) if base.image.known_by_id_only else base.image
    outcomes: list[Outcome] = []
    silent = 0
    for image, stored_at, _ in told[1:] if base else told:
        outcome = None
        if before is not None or not image.known_by_id_only:
            outcome = flatten(before, image, names(image), stored_at, dropped)
        if outcome is None:
            silent += 1
            continue
        before = outcome.after
        outcomes.append(outcome)
    if before is not None and stored is not None and not stored.fields.keys() <= before.fields.keys():
        before = carried_copy(stored, before, dropped)
    return silent, Refolded(outcomes, before, base)
