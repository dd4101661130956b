"""Where a record is on its way from Salesforce to the store, and why it is not there. Pure: facts in, verdict out."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from integration.core.ids import long_id
from integration.errors import UsageError

_MOST_NAMES = 10


class Outcome(StrEnum):
    """How it is with a record."""

    STORED = "stored"
    """In the store, as Salesforce shows it (as far as Salesforce was asked)."""
    COMING = "coming"
    """On its way, or found by something that runs anyway."""
    PROBLEM = "problem"
    """Missing, stale, a ghost, given up or not read: it won't come right by itself."""
    UNKNOWN = "unknown"
    """What would be needed for a verdict can't be reached."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence, and what to do."""

    outcome: Outcome
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Dead:
    """An entry of the record that was given up: why, from which stream, and the version of the record it told of."""

    reason: str
    stream: str
    version: str | None = None


@dataclass(slots=True)
class Facts:
    """What was found out about a record; stamps are ISO 8601 UTC. What can't be reached stays as it is here."""

    object: str
    record_id: str
    unread: str | None = None
    """Why its object is not read, and what to do, as a sentence."""
    is_asked: bool = False
    """Salesforce was asked for the record, and answered."""
    version: str | None = None
    """Its version as Salesforce shows it; None where it shows none."""
    gone_at: str | None = None
    """When it was deleted for good, by the delete log."""
    streams_reached: bool = False
    is_read: bool = False
    """Its object has been read before, or is being read for the first time."""
    reading_at: str | None = None
    """How far an unfinished reading of the object is."""
    polled_until: str | None = None
    """What was committed before this was visible to the last finished poll."""
    next_from: str | None = None
    """The stamp from which polls read again; None where that is the beginning."""
    deleted_until: str | None = None
    """How far the delete log has been read."""
    is_published: bool = False
    """The version that Salesforce shows has been published, and is remembered."""
    waiting_in: str | None = None
    """The stream in which an entry of the record waits for the consumer."""
    waiting_seconds: float = 0.0
    dead: Dead | None = None
    store_reached: bool = False
    stored_version: str | None = None
    stored_deleted: bool = False
    differing: tuple[str, ...] = ()
    """What Salesforce shows otherwise than the store: field names, no bookkeeping."""
    calculated: Collection[str] = ()
    """Those of its object's fields that Salesforce calculates."""
    filling: Collection[str] = ()
    """Fields that are new or have another type, and are being read for all records."""


def record_id_of(text: str) -> str:
    """Return the 18-character form of a record id.

    Raises UsageError for what is none; the last three of 18 characters encode the case of the others, so a slip shows.
    """
    if not (text.isascii() and text.isalnum() and len(text) in (15, 18)):
        raise UsageError("That is no record id: one has 15 or 18 letters and digits, such as 003000000000001AAA.")
    full = long_id(text[:15])
    if len(text) == 18 and text != full:
        raise UsageError(
            "That is no record id: its last three characters do not fit the others. Copy it again; capitals count."
        )
    return full


def named(fields: Collection[str]) -> str:
    """List field names for a sentence; a long list is cut."""
    shown = sorted(fields)
    more = len(shown) - _MOST_NAMES
    return ", ".join(shown[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def verdict(facts: Facts) -> Verdict:
    """Say how it is with a record, by the first of these that applies: it is not read, it waits in a stream, the store
    agrees with Salesforce, it was given up; else by what Salesforce shows and how far it has been read."""
    return next(found for judge in _JUDGES if (found := judge(facts)) is not None)


def _not_read(f: Facts) -> Verdict | None:
    if f.unread is None:
        return None
    kept = " The store keeps what it had." if f.stored_version else ""
    return Verdict(Outcome.PROBLEM, f"{f.object} is not read.{kept}", f.unread)


def _waits(f: Facts) -> Verdict | None:
    if f.waiting_in is None:
        return None
    sentence = f"It waits in {f.waiting_in} since {_seconds(f.waiting_seconds)}."
    return Verdict(Outcome.COMING, sentence, "a running consumer stores it within seconds; else run: headrace sync")


def _agrees(f: Facts) -> Verdict | None:
    if not (f.store_reached and f.stored_version and f.is_asked):
        return None
    if f.version is None:
        sentence = "It is deleted for good (or no longer shared with this login), and the store has it as deleted."
        return Verdict(Outcome.STORED, sentence) if f.stored_deleted else None
    if f.differing:
        return None
    return Verdict(Outcome.STORED, "The store has it as Salesforce shows it.")


def _given_up(f: Facts) -> Verdict | None:
    dead = f.dead
    if dead is None or not _is_newer(dead.version, f.stored_version):
        return None
    remedy = f"look at it with: headrace dlq ls {dead.stream}; once the cause is mended: headrace dlq retry"
    return Verdict(Outcome.PROBLEM, f"It was given up: {dead.reason}", remedy)


def _half_known(f: Facts) -> Verdict | None:
    if not f.store_reached:
        return Verdict(Outcome.UNKNOWN, "The store can't be reached, so there is no telling.", "see the line above")
    if f.is_asked:
        return None
    if f.stored_version:
        return Verdict(Outcome.STORED, "It is in the store; Salesforce was not asked whether that is how it is now.")
    remedy = "ask again when Salesforce can be reached, without --offline"
    return Verdict(Outcome.PROBLEM, "It is not in the store, and Salesforce was not asked.", remedy)


def _not_shown(f: Facts) -> Verdict | None:
    if f.version is not None:
        return None
    if not f.stored_version:
        if f.gone_at:
            return Verdict(Outcome.PROBLEM, f"It was deleted for good at {f.gone_at}, before it was ever read.")
        sentence = "Salesforce shows no such record: it was deleted for good, or is not shared with this login."
        return Verdict(Outcome.PROBLEM, sentence, "check the id, or what the integration user may see")
    if f.gone_at and f.streams_reached and (f.deleted_until is None or f.gone_at > f.deleted_until):
        sentence = f"It was deleted for good at {f.gone_at}; the store still has it as live."
        return Verdict(
            Outcome.COMING, sentence, "the next look at the delete log tells: every 5 minutes, or headrace sync"
        )
    sentence = "The store has it as live, but Salesforce shows it no more: deleted for good, or not shared any more."
    return Verdict(Outcome.PROBLEM, sentence, f"run: {_sweep(f)}")


def _calculated_only(f: Facts) -> Verdict | None:
    if not f.stored_version or f.version != f.stored_version or not set(f.differing) <= set(f.calculated):
        return None
    sentence = f"Only calculated fields differ ({named(f.differing)}): they move without a new version of the record."
    return Verdict(Outcome.COMING, sentence, f"they are read again in turn, or at once with: {_sweep(f)}")


def _being_filled(f: Facts) -> Verdict | None:
    if not f.stored_version or not set(f.differing) <= {*f.filling, *f.calculated}:
        return None
    sentence = f"Only new fields differ ({named(f.differing)}): they are being read for all records of {f.object}."
    return Verdict(Outcome.COMING, sentence, "the polls go on with it, or headrace sync")


def _still_to_be_read(f: Facts) -> Verdict | None:
    version = f.version or ""
    if not f.streams_reached:
        return Verdict(Outcome.UNKNOWN, f"{_what(f)}; how far {f.object} has been read can't be seen.", "see above")
    if not f.is_read:
        return Verdict(Outcome.PROBLEM, f"{f.object} has never been read.", "run: headrace sync")
    if f.polled_until is None and (f.reading_at is None or f.reading_at <= version):
        so_far = f", so far up to {f.reading_at}" if f.reading_at else ""
        sentence = f"{f.object} is being read for the first time{so_far}."
        return Verdict(Outcome.COMING, sentence, "wait, or go on with it: headrace sync")
    if f.polled_until is not None and version >= f.polled_until:
        sentence = f"It changed after the last poll ({version}; polled until {f.polled_until})."
        return Verdict(Outcome.COMING, sentence, "it comes with the next poll, or now with: headrace sync")
    if not f.is_published and (f.next_from is None or version >= f.next_from):
        sentence = f"{_what(f)}; it became visible after the poll that passed its stamp ({version})."
        return Verdict(Outcome.COMING, sentence, "polls read that far back again, or run: headrace sync")
    return None


def _left_behind(f: Facts) -> Verdict:
    if f.is_published:
        why = "it was published, but is in the stream no more: the store was set back, or the stream was cut"
    elif f.version == f.stored_version:
        why = "the version is the same, so no poll finds it"
    else:
        why = f"its stamp ({f.version}) lies before what polls read again: it was committed late"
    return Verdict(Outcome.PROBLEM, f"{_what(f)}; {why}.", f"run: {_sweep(f)}")


_JUDGES: tuple[Callable[[Facts], Verdict | None], ...] = (
    _not_read,
    _waits,
    _agrees,
    _given_up,
    _half_known,
    _not_shown,
    _calculated_only,
    _being_filled,
    _still_to_be_read,
    _left_behind,
)


def _what(f: Facts) -> str:
    if not f.stored_version:
        return "The store does not have it"
    return f"The store has it otherwise than Salesforce ({named(f.differing)})"


def _is_newer(version: str | None, stored: str | None) -> bool:
    return version is None or stored is None or version >= stored


def _sweep(f: Facts) -> str:
    return f"headrace sweep {f.object}"


def _seconds(seconds: float) -> str:
    return f"{max(seconds, 0):,.0f} s"
