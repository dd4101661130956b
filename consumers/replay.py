"""Records derived anew from the archive: their captures folded once more under the rules of now.

Every call is one transaction that leaves the store whole, so live batches may come in between; and it writes only what
differs, so that it may be done again, or be broken off and taken up.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from consumers import product
from consumers.catalogs import Catalogs
from consumers.history import Histories
from consumers.known import Memory
from consumers.marts import note_stale
from consumers.people import IdentityRules, Projected, name_users, people_ids, write_people
from consumers.reach import Reach, reach
from integration.core import history, identity, image, naming
from integration.core.flatten import Outcome
from integration.core.image import Image
from integration.core.refold import Refolded, Told, all_stays, refold
from integration.core.retained import retained
from integration.store import tables
from integration.store.marts import PERSON
from integration.store.protocol import Misfit, Transaction
from integration.stream.names import offset_key

MARK: Final = "replay"
"""The key in `headrace.meta` under which a replay notes how far it is."""

_CAPTURES = 'SELECT record_id, stored_at, "offset", payload FROM captures WHERE object = ? AND record_id = any(?)'
_EVENTS = "SELECT event_id, record_id, stored_at, seen_at FROM events WHERE record_id = any(?) AND origin <> 'history'"
_STAYS = "SELECT * FROM headrace.memberships WHERE record_id = any(?)"
_EVERYBODY = "SELECT user_id FROM headrace.people UNION SELECT user_id FROM users"
# Who is in these tables and no contact or lead, or stands there twice.
_NOBODY = (
    "SELECT user_id FROM headrace.people WHERE user_id NOT IN "
    "(SELECT record_id FROM headrace.states WHERE object IN ('Contact', 'Lead')) "
    "AND user_id NOT IN (SELECT product_id FROM headrace.sightings)"
)
_NO_TRAITS = "SELECT user_id FROM headrace.traits WHERE user_id NOT IN (SELECT user_id FROM headrace.people)"
_NO_USER = (
    "SELECT user_id FROM users WHERE user_id NOT IN (SELECT user_id FROM headrace.people) "
    "UNION SELECT user_id FROM users GROUP BY user_id HAVING count(*) > 1"
)
_NO_ALIAS = (
    "SELECT alias FROM identities WHERE kind <> 'email' AND alias NOT IN "
    "(SELECT record_id FROM headrace.states WHERE object IN ('Contact', 'Lead')) "
    "AND alias NOT IN (SELECT product_id FROM headrace.sightings) "
    "UNION SELECT alias FROM identities GROUP BY alias HAVING count(*) > 1"
)
_EMAILS = "SELECT alias FROM identities WHERE kind = 'email' AND alias > ? ORDER BY alias LIMIT {limit:d}"
_PEOPLE = ("Contact", "Lead")
_FOR_EVER = "9999-12-31T00:00:00Z"

# What decides whom a record reaches: see consumers.reach.
_REACHING: Final[Mapping[str, Sequence[str]]] = {
    "Contact": ("Email", "MasterRecordId", "AccountId"),
    "Lead": ("Email", "MasterRecordId", "ConvertedContactId"),
    "OpportunityContactRole": ("ContactId", "OpportunityId"),
    "Opportunity": ("AccountId",),
}

Note = Callable[["Replayed"], str]
"""Says what is to be kept under MARK, in the same transaction, once this has been done."""


@dataclass(slots=True)
class Replayed:
    """What a step of a replay came to."""

    records: int = 0
    captures: int = 0
    rewritten: int = 0
    """Records whose state, raw row or memberships were not as their captures say."""
    events_before: int = 0
    """Events that were there and are so no more: replaced by others or gone."""
    events_after: int = 0
    """Events that were written, be it in the place of others."""
    users: int = 0
    """Rows of `users` that were written or deleted."""
    skipped: list[str] = field(default_factory=list)
    """Records that were left as they are, and why, in a sentence each."""

    @property
    def changed_nothing(self) -> bool:
        """Tell whether all was as it should be."""
        return not (self.rewritten or self.events_before or self.events_after or self.users)

    def add(self, other: "Replayed") -> None:
        """Add up."""
        for name in ("records", "captures", "rewritten", "events_before", "events_after", "users"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.skipped += other.skipped


class Batch(NamedTuple):
    """Records of one object as the store has them and as they should be."""

    object: str
    ids: Sequence[str]
    folded: Mapping[str, Refolded]
    latest: Mapping[str, Image]
    """The last images."""
    events: Mapping[str, Mapping[str, Any]]
    """Event id -> who and when, of all stored events of these records that no field history told."""


class Replayer:
    """Derives records and people anew for one flattener; like it, not safe to use from two threads at once.

    `transaction` opens a transaction of the store as its present owner. Its methods raise what the store raises; then
    nothing of the step is stored.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Transaction]],
        catalogs: Catalogs,
        histories: Histories,
        memory: Memory,
        rules: IdentityRules,
        dropped: Callable[[str, str], bool],
        now: Callable[[], str],
    ) -> None:
        self._begin = transaction
        self._catalogs = catalogs
        self._histories = histories
        self._memory = memory
        self._rules = rules
        self._dropped = dropped
        self._now = now

    def names(self, note: Note | None = None) -> Replayed:
        """Give properties the names that the settings want by now, and clear the columns that nothing fills any more.

        Everybody's row is copied again in the same transaction, so that `users` is as defined at all times.
        """
        done = Replayed()
        with self._step(note, done) as tx:
            renamed = self._catalogs.rename()
            self._catalogs.save(tx, self._now())
            stale = _filled(tx, self._catalogs.without_place())
            if renamed or stale:
                tx.delete("users", "user_id", stale)
                everybody = [row["user_id"] for row in tx.rows(_EVERYBODY)]
                done.users = tx.project_users(self._catalogs.shape, {*everybody, *stale}, only_differing=True)
        return done

    def records(
        self, object_name: str, record_ids: Iterable[str], *, follow: bool = True, note: Note | None = None
    ) -> Replayed:
        """Derive these records anew. Of one that the archive has nothing of, its state stands for what was captured.

        With `follow` everybody they reach is stitched and projected; without, only whom those reach that were not as
        they should be: enough where all people are done anyway.
        """
        unfit: dict[str, str] = {}
        while True:
            done = Replayed()
            try:
                with self._step(note, done) as tx:
                    self._catalogs.save(tx, self._now())
                    batch = self._read(tx, object_name, sorted({*record_ids} - unfit.keys()), done)
                    self._write(tx, batch, done, follow=follow)
                    done.skipped += unfit.values()
                return done
            except _UnfitError as found:
                unfit.update(found.reasons)

    def people(self, object_name: str, after: str = "", *, limit: int = 1_000, note: Note | None = None) -> Replayed:
        """Stitch and project the next `limit` people of an object (Contact, Lead, Product) behind the id `after`.

        `records` tells how many they were; none, when there are no more.
        """
        done = Replayed()
        with self._step(note, done) as tx:
            self._catalogs.save(tx, self._now())
            ids = people_ids(tx, object_name, after, limit)
            if object_name == identity.PRODUCT:
                told = product.traits(tx, ids).values()
                values = [{name: value for name, (_, value) in one.items()} for one in told]
                self._catalogs.learn(tx, values, self._now())
            done.records = len(ids)
            done.users = self._people(tx, Reach(stitch=set(ids))).users
        return done

    def nobody(self, note: Note | None = None) -> Replayed:
        """Take out of the tables of people who is no record any more and which e-mails nobody has any more."""
        done = Replayed()
        with self._step(note, done) as tx:
            tx.delete("headrace.people", "user_id", [row["user_id"] for row in tx.rows(_NOBODY)])
            tx.delete("headrace.traits", "user_id", [row["user_id"] for row in tx.rows(_NO_TRAITS)])
            tx.delete("identities", "alias", [row["alias"] for row in tx.rows(_NO_ALIAS)])
            gone = [row["user_id"] for row in tx.rows(_NO_USER)]
            tx.delete("users", "user_id", gone)
            done.users = max(len(gone), tx.project_users(self._catalogs.shape, gone, only_differing=True))
            for emails in _unused_emails(tx):
                done.users += self._people(tx, Reach(emails=emails)).users
        return done

    @contextmanager
    def _step(self, note: Note | None, done: Replayed) -> Iterator[Transaction]:
        try:
            with self._begin() as tx:
                yield tx
                if note is not None:
                    tx.upsert("headrace.meta", ("key",), tables.META, [{"key": MARK, "value": note(done)}])
        except BaseException:
            self._memory.clear()
            raise
        self._catalogs.committed()
        self._memory.committed()

    def _people(self, tx: Transaction, reached: Reach) -> Projected:
        done = write_people(tx, reached, self._catalogs, self._rules, only_differing=True)
        note_stale(tx, {PERSON: done.handed_over}, self._now())
        return done

    def _read(self, tx: Transaction, object_name: str, ids: Sequence[str], done: Replayed) -> Batch:
        told: dict[str, list[Told]] = {}
        rows = tx.rows(_CAPTURES, [object_name, ids])
        reasons: dict[str, str] = {}
        for row in rows:
            try:
                one = image.read(row["payload"].encode())
            except ValueError as error:
                reasons[row["record_id"]] = f"a capture in the archive can't be read: {error}"
                continue
            one = image.without(one, self._catalogs.left_out(one))
            told.setdefault(row["record_id"], []).append(Told(one, row["stored_at"], offset_key(row["offset"])))
        events = {row["event_id"]: row for row in tx.rows(_EVENTS, [ids])} if ids else {}
        stored = self._without_beginning(tx, object_name, told, events, reasons)
        folded: dict[str, Refolded] = {}
        latest: dict[str, Image] = {}
        for record_id in told.keys() - reasons.keys():
            try:
                one_told = refold(told[record_id], self._catalogs.names_as_read, self._dropped, stored.get(record_id))
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                reasons[record_id] = f"a field of a capture has an unexpected form ({type(error).__name__})"
                continue
            if one_told.latest is not None:
                folded[record_id], latest[record_id] = one_told, one_told.latest
        done.captures = sum(len(told[i]) for i in folded)
        for one in self._states(tx, object_name, set(ids) - told.keys() - reasons.keys(), reasons):
            folded[one.record_id], latest[one.record_id] = Refolded((), one, Told(one, _FOR_EVER, (0, 0))), one
        done.records = len(folded)
        done.skipped += [_left_as_is(object_name, i, reason) for i, reason in sorted(reasons.items())]
        mine = {e: row for e, row in events.items() if row["record_id"] in folded}
        return Batch(object_name, sorted(folded), folded, latest, mine)

    def _without_beginning(
        self,
        tx: Transaction,
        object_name: str,
        told: Mapping[str, Sequence[Told]],
        events: Mapping[str, Any],
        reasons: dict[str, str],
    ) -> dict[str, Image]:
        """Return the states of the records whose first captures were forgotten (`archive.days`): of those something
        was told before their first archived capture was stored. Without a state, that capture is the best there is."""
        first = {record_id: min(one.stored_at for one in mine) for record_id, mine in told.items()}
        cut = {i for row in events.values() if (i := row["record_id"]) in first and row["stored_at"] < first[i]}
        known = {one.record_id: one for one in self._states(tx, object_name, cut, reasons)}
        return {i: known.get(i) or min(told[i], key=lambda t: (t.stored_at, t.offset)).image for i in cut}

    def _states(
        self, tx: Transaction, object_name: str, record_ids: Collection[str], reasons: dict[str, str]
    ) -> list[Image]:
        images = []
        for state in tx.states(object_name, record_ids) if record_ids else ():
            try:
                one = self._memory.image(tx, state.payload)
            except ValueError as error:
                reasons[state.record_id] = f"its state can't be read: {error}"
                continue
            images.append(image.without(one, self._catalogs.left_out(one)))
        return images

    def _write(self, tx: Transaction, batch: Batch, done: Replayed, *, follow: bool) -> None:
        if not batch.ids:
            return
        differing, were = self._write_records(tx, batch)
        self._memory.forget(differing)
        done.rewritten = len(differing)
        parent = history.parent_of(batch.object)
        if parent is not None:
            self._histories.filled(batch.object)
            key = history.parent_key(batch.object)
            images = (one for i in differing for one in (were.get(i), batch.latest[i]) if one is not None)
            parents = {one.fields[key] for one in images if one.fields.get(key)}
            self._retell(tx, parent, parents, {}, {}, done)
            note_stale(tx, {parent: parents}, self._now())
            return
        ids = batch.ids if follow else sorted(differing)
        projected = Projected()
        if ids:
            outcomes = [Outcome(were.get(i), batch.latest[i], None, []) for i in ids]
            projected = self._people(tx, reach(tx, outcomes, self._catalogs.looked_up_by))
        done.users = projected.users
        self._write_events(tx, batch, projected.user_of, done)
        self._retell(tx, batch.object, batch.ids, batch.latest, projected.user_of, done)
        note_stale(tx, {batch.object: batch.ids}, self._now())

    def _write_records(self, tx: Transaction, batch: Batch) -> tuple[set[str], dict[str, Image]]:
        """Bring state, raw row and memberships to what they should be; return the records of which one was not, and
        what their raw rows said before."""
        ids, images, table = batch.ids, [batch.latest[i] for i in batch.ids], naming.table_of(batch.object)
        states = {one.record_id: self._memory.state_row(one) for one in images}
        rows = {one.record_id: self._catalogs.raw_row(one) for one in images}
        columns = self._catalogs.raw_columns(batch.object)
        stays = self._stays(tx, batch)
        differing = tx.differing("headrace.states", "record_id", ids, tables.STATES, [*states.values()])
        try:
            differing |= tx.differing(table, "id", ids, columns, [*rows.values()])
        except Misfit as misfit:
            reason = f"the field behind {misfit.table}.{misfit.column} holds {misfit.reason}"
            raise _UnfitError({ids[n]: _left_as_is(batch.object, ids[n], reason) for n in misfit.rows}) from misfit
        were = self._images_before(tx, batch, differing)
        tx.upsert("headrace.states", ("record_id",), tables.STATES, [states[i] for i in sorted(differing)])
        self._memory.save(tx)
        tx.upsert(table, ("id",), columns, [rows[i] for i in sorted(differing)])
        moved = tx.make_equal("headrace.memberships", "record_id", ids, tables.MEMBERSHIPS, stays)
        return differing | moved, were

    def _images_before(self, tx: Transaction, batch: Batch, ids: Collection[str]) -> dict[str, Image]:
        """Return what the raw table says now of whom these records reach."""
        parent = history.parent_of(batch.object)
        fields = _REACHING.get(batch.object, ()) if parent is None else (history.parent_key(batch.object),)
        if not fields or not ids:
            return {}
        found = tx.facts(batch.object, {"Id": ids}, fields)
        return {f["Id"]: batch.latest[f["Id"]]._replace(fields=f, is_deleted=f["is_deleted"]) for f in found}

    def _stays(self, tx: Transaction, batch: Batch) -> list[dict[str, Any]]:
        stored: dict[str, list[dict[str, Any]]] = {}
        cut = [i for i in batch.ids if batch.folded[i].base is not None]
        for row in tx.rows(_STAYS, [cut]) if cut else ():
            stored.setdefault(row["record_id"], []).append(row)
        return [row for i in batch.ids for row in all_stays(batch.folded[i], stored.get(i, ()))]

    def _write_events(self, tx: Transaction, batch: Batch, user_of: Mapping[str, str], done: Replayed) -> None:
        outcomes = [o for i in batch.ids for o in batch.folded[i].outcomes]
        events = [o.event for o in outcomes if o.event is not None]
        changes = [change for o in outcomes for change in o.changes]
        told = {event["event_id"] for event in events}
        kept = sorted(e for e, row in batch.events.items() if e not in told and _is_older(row, batch.folded))
        if kept:
            older, theirs = retained(
                tx.rows("SELECT * FROM events WHERE event_id = any(?)", [kept]),
                tx.rows("SELECT * FROM changes WHERE event_id = any(?)", [kept]),
                self._catalogs.present_name,
                self._dropped,
            )
            events += older
            changes += theirs
        name_users(tx, (*events, *changes), user_of)
        _replace_events(tx, batch.events.keys(), events, changes, done)

    def _retell(
        self,
        tx: Transaction,
        object_name: str,
        record_ids: Collection[str],
        latest: Mapping[str, Image],
        user_of: Mapping[str, str],
        done: Replayed,
    ) -> None:
        """Let the history of these records tell what polling has not, now that the polled changes are stored."""
        if not record_ids:
            return
        stored, wanted = self._histories.told_anew(
            tx, object_name, record_ids, latest, self._catalogs, self._memory, self._now()
        )
        events = [told.event for told in wanted.values()]
        changes = [change for told in wanted.values() for change in told.changes]
        name_users(tx, (*events, *changes), user_of)
        _replace_events(tx, stored.keys(), events, changes, done)


class _UnfitError(Exception):
    """Records that no column can hold any more, and why."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(f"{len(reasons)} records do not fit")
        self.reasons = reasons


def _left_as_is(object_name: str, record_id: str, reason: str) -> str:
    return f"{object_name} {record_id} was left as it is: {reason}."


def _is_older(event: Mapping[str, Any], folded: Mapping[str, Refolded]) -> bool:
    """Tell whether an event was told before what the archive has of its record, or by the first capture it has."""
    base = folded[event["record_id"]].base
    if base is None:
        return False
    return bool(
        event["stored_at"] < base.stored_at
        or (event["stored_at"] == base.stored_at and event["seen_at"] == base.image.seen_at)
    )


def _replace_events(
    tx: Transaction,
    stored: Collection[str],
    events: Sequence[dict[str, Any]],
    changes: Sequence[dict[str, Any]],
    done: Replayed,
) -> None:
    wanted = {event["event_id"] for event in events}
    keys = wanted.union(stored)
    if not keys:
        return
    differing = tx.make_equal("events", "event_id", keys, tables.EVENTS, events)
    differing |= tx.make_equal("changes", "event_id", keys, tables.CHANGES, changes)
    done.events_before += len(differing.intersection(stored))
    done.events_after += len(differing & wanted)


def _filled(tx: Transaction, columns: Sequence[str]) -> set[str]:
    """Return the users in whose row one of these columns says something."""
    if not columns:
        return set()
    filled = " OR ".join(f'"{name}" IS NOT NULL' for name in columns)
    return {row["user_id"] for row in tx.rows(f"SELECT user_id FROM users WHERE {filled}")}


def _unused_emails(tx: Transaction, at_once: int = 1_000) -> Iterator[set[str]]:
    """Give the e-mails in `identities` that no contact and no lead has."""
    after = ""
    while emails := [row["alias"] for row in tx.rows(_EMAILS.format(limit=at_once), [after])]:
        after = emails[-1]
        used = {
            identity.normal_email(facts.get("Email"))
            for name in _PEOPLE
            for facts in tx.facts(name, {"Email": emails}, ("Email",))
        }
        if unused := set(emails) - used:
            yield unused
