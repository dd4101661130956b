"""One batch of stream entries through the core into the store, in one transaction.

The shell around integration.core: it reads what the pure functions need in a few set-based reads, and writes what
they answer. Everything of a batch commits together with the position it reaches, so an entry that is delivered
again (its id is not past the position) changes nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog

from consumers import letters
from consumers.batch import Applied, Delay, Entry, Judge, Reject
from consumers.catalogs import Catalogs
from consumers.history import Histories
from consumers.known import Memory
from consumers.marts import Marts, note_batch
from consumers.people import Projected, name_users, write_people
from consumers.product import Product, Taken
from consumers.product import read as read_product
from consumers.reach import reach
from consumers.records import UnfitError, write_records
from consumers.replay import Replayed, Replayer
from consumers.rules import Rules
from integration import tracing
from integration.core import history, image, traits
from integration.core.catalog import ObjectSchema
from integration.core.flatten import Outcome, flatten
from integration.core.image import Image
from integration.errors import FencedError
from integration.store import tables
from integration.store.protocol import Store, Transaction
from integration.stream.entry import about, readable, traceparents
from integration.stream.names import PRODUCT_STREAM, offset_key

if TYPE_CHECKING:
    from consumers.members import Ran

log = structlog.get_logger()

_EPOCH: Final = "epoch"
_CAPTURES_OF: Final = "SELECT capture_id FROM captures WHERE object = ? AND record_id = any(?)"


class Flattener:
    """Takes entries through flattening. One per store; not safe to use from two threads at once.

    Whoever makes one takes the store over: all that an earlier one still tries to write fails with FencedError.
    """

    def __init__(
        self,
        store: Store,
        rules: Rules,
        *,
        now: Callable[[], str],
        fetch_schema: Callable[[str], bytes | None],
        memory: int = 5_000,
    ) -> None:
        self._store = store
        self._rules = rules
        self._now = now
        self._memory = Memory(memory)
        self._product = Product()
        with store.transaction() as tx:
            self._epoch = _next_epoch(tx)
            self.positions = {
                r["stream"]: r["offset"] for r in tx.rows('SELECT stream, "offset" FROM headrace.positions')
            }
            self._catalogs = Catalogs(tx, rules.enrich, rules.names, fetch_schema, rules.dropped)
            self._histories = Histories(tx, rules.dropped)
        self.marts = Marts(
            self.transaction, lambda: self._catalogs.shape, now, rules.usage, rules.attribution, rules.pseudonyms
        )
        self.replayer = Replayer(
            self.transaction, self._catalogs, self._histories, self._memory, rules, rules.dropped, now
        )

    def announce(self, schemas: Iterable[ObjectSchema]) -> None:
        """Take in how these objects look now: tables, columns and views are made whether or not a record ever comes,
        and what differs from how they looked last is logged. Not while another thread is in `apply`: see
        Consumer.announce."""
        self._catalogs.announce(schemas)
        with self.transaction() as tx:
            self._catalogs.save(tx, self._now())
        self._catalogs.committed()

    def forget_position(self, stream: str) -> None:
        """Take whatever the stream brings from now on; what the store has already is known by its content."""
        if self.positions.pop(stream, None) is not None:
            with self.transaction() as tx:
                tx.delete("headrace.positions", "stream", [stream])

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction as the store's present owner. Raises FencedError, having written nothing, when somebody
        else has taken the store over since."""
        with self._store.transaction() as tx:
            if _stored_epoch(tx) != self._epoch:
                raise FencedError(
                    "Another worker has taken over this store: this one has stopped, and nothing of what it was "
                    "writing is stored."
                )
            yield tx

    def work_out_definitions(self) -> "Ran | None":
        """Bring audiences and whatever else is defined up to date; None where nothing is. Raises ConfigError, and what
        the store raises."""
        defined = self._rules.definitions()
        if defined is None:
            return None
        # What reads conditions takes a while to import, and most have none.
        from consumers.members import Members

        return Members(self.transaction, self._catalogs.shape, self._now).refresh(defined)

    def replay(self, object_name: str, record_ids: Iterable[str]) -> Replayed:
        """Derive records anew from all their archived captures, under the rules of now: see `replayer`."""
        return self.replayer.records(object_name, record_ids)

    def apply(
        self,
        entries: Sequence[Entry],
        given_up: Sequence[Reject] = (),
        judge: Judge = lambda *_: None,
        *,
        again: bool = False,
    ) -> Applied:
        """Store a batch. Entries that can't be used come back as rejects, recorded with their position.

        `given_up` are entries before these that are not to be tried: they are recorded in the same transaction.
        With `again` the positions of the streams neither count nor move: what the store lacks of these entries is
        stored, what it has is known by its id, and rejects are not recorded. Raises what the store and `judge` raise;
        then nothing of the batch is stored.
        """
        unfit: dict[str, str] = {}
        began = time.perf_counter()
        with tracing.span("apply batch", after=traceparents(e.fields for e in entries), entries=len(entries)) as span:
            while True:
                try:
                    applied = self._attempt(entries, unfit, given_up, judge, again)
                    break
                except UnfitError as found:
                    # A value that fits no column of its field: give up the captures that carry it, store the rest.
                    unfit.update(found.reasons)
            span.set(stored=applied.stored, events=applied.events, people=applied.users)
        applied.seconds = time.perf_counter() - began
        return applied

    def _attempt(
        self, entries: Sequence[Entry], unfit: Mapping[str, str], given_up: Sequence[Reject], judge: Judge, again: bool
    ) -> Applied:
        now = self._now()
        rejects = [r for r in given_up if self._is_new(r.entry)]
        applied = Applied(entries=len(given_up) + len(entries), rejects=rejects, at=now)
        fresh = [e for e in entries if again or self._is_new(e)]
        passed = [*(r.entry for r in applied.rejects), *fresh]
        applied.seen_again += applied.entries - len(passed)
        images: list[tuple[Entry, Image]] = []
        told: list[dict[str, Any]] = []
        for entry in fresh:
            read = self._read(entry, unfit)
            if isinstance(read, dict):
                told.append(read)
            elif isinstance(read, Image):
                images.append((_as_kept(entry, read), read))
            else:
                applied.rejects.append(read)
        reached = {} if again else _reached(passed)
        try:
            with ExitStack() as commit, self.transaction() as tx:
                with tracing.span("flatten"):
                    images = self._unknown(tx, images, applied) if again else images
                    written = self._write(tx, images, told, applied, now)
                    if not again:
                        settled = _record_rejects(tx, applied, now)
                        judge(
                            tx, [e for e in passed if e.address not in settled] if settled else passed, applied.rejects
                        )
                        _move_positions(tx, reached, now)
                commit.enter_context(tracing.span("commit"))
        except BaseException:
            self._memory.clear()
            self._product.forget()
            raise
        self._catalogs.committed()
        self.positions.update(reached)
        self._memory.committed()
        self._memory.put(written)
        return applied

    def _is_new(self, entry: Entry) -> bool:
        return _after(entry.offset, self.positions.get(entry.stream))

    def _read(self, entry: Entry, unfit: Mapping[str, str]) -> Image | dict[str, Any] | Reject:
        payload = entry.fields.get(b"data")
        if payload is None:
            return Reject(entry, "The entry has no field data, so it is not a capture.")
        if entry.stream == PRODUCT_STREAM:
            try:
                return read_product(payload, lambda name: self._rules.dropped(traits.OBJECT, name))
            except ValueError as error:
                return Reject(entry, f"The entry is not a product event: {error}.")
        try:
            read = image.read(payload)
        except ValueError as error:
            return Reject(entry, f"The entry is not a capture: {error}.")
        if read.capture_id in unfit:
            return Reject(entry, unfit[read.capture_id])
        if not read.known_by_id_only and not self._catalogs.describes(read.schema_id, read.object):
            return Reject(
                entry, f"No description {read.schema_id} of {read.object} is known, so its fields can't be typed."
            )
        return image.without(read, self._catalogs.left_out(read))

    def _unknown(
        self, tx: Transaction, images: Sequence[tuple[Entry, Image]], applied: Applied
    ) -> list[tuple[Entry, Image]]:
        """Leave out what the store has seen: captures it has, and images of a record older than its last one."""
        wanted = _ids_by_object(images)
        known = {
            row["capture_id"] for name, ids in wanted.items() for row in tx.rows(_CAPTURES_OF, [name, sorted(ids)])
        }
        last = {i: s for name, ids in wanted.items() for i, s in self._memory.load(tx, name, ids).items()}
        unknown = [
            (entry, one)
            for entry, one in images
            if one.capture_id not in known and (one.record_id not in last or last[one.record_id].seen_at <= one.seen_at)
        ]
        applied.seen_again += len(images) - len(unknown)
        return unknown

    def _write(
        self,
        tx: Transaction,
        images: Sequence[tuple[Entry, Image]],
        told: Sequence[Mapping[str, Any]],
        applied: Applied,
        now: str,
    ) -> Mapping[str, bytes]:
        self._catalogs.save(tx, now)
        outcomes = self._fold(tx, images, applied, now)
        taken = self._product.take(tx, told, now) if told else Taken()
        applied.seen_again += taken.seen_again
        self._catalogs.learn(tx, taken.traits, now)
        if not (outcomes or taken.events):
            return {}
        latest = {o.after.record_id: o.after for _, o in outcomes}
        kept = write_records(tx, self._catalogs, self._memory, outcomes, latest.values(), now)
        reached = reach(tx, [o for _, o in outcomes], self._catalogs.looked_up_by)
        reached.stitch |= taken.ids
        reached.emails |= taken.emails
        projected = write_people(tx, reached, self._catalogs, self._rules)
        applied.users = projected.users
        self._write_events(tx, outcomes, projected.user_of, applied)
        _write_product_events(tx, taken, projected, applied)
        retold = self._retell(tx, outcomes, latest, projected.user_of, applied, now) if outcomes else []
        note_batch(tx, [o for _, o in outcomes], [*taken.events, *retold], projected.handed_over, now)
        # History rows don't change any more: in memory they would only take the place of records that do.
        return {i: kept[i] for i, one in latest.items() if history.parent_of(one.object) is None}

    def _fold(
        self, tx: Transaction, images: Sequence[tuple[Entry, Image]], applied: Applied, now: str
    ) -> list[tuple[Entry, Outcome]]:
        """Take the images of each record in their order; the outcome of one is the state before the next."""
        current: dict[str, Image] = {}
        for object_name, ids in _ids_by_object(images).items():
            current.update(self._memory.load(tx, object_name, ids))
        outcomes: list[tuple[Entry, Outcome]] = []
        for entry, one in images:
            before = current.get(one.record_id)
            if before is None and one.known_by_id_only:
                applied.unknown_deletes += 1
                continue
            try:
                outcome = flatten(before, one, self._catalogs.names(one.object), now, self._rules.dropped)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                log.warning(
                    "entry rejected",
                    **about(readable(entry.fields)),
                    stream=entry.stream,
                    offset=entry.offset,
                    error=type(error).__name__,
                )
                applied.rejects.append(
                    Reject(entry, f"A field of the capture has an unexpected form ({type(error).__name__}).")
                )
                continue
            if outcome is None:
                applied.seen_again += 1
                continue
            current[one.record_id] = outcome.after
            outcomes.append((entry, outcome))
        return outcomes

    def _write_events(
        self, tx: Transaction, outcomes: Sequence[tuple[Entry, Outcome]], user_of: Mapping[str, str], applied: Applied
    ) -> None:
        events = [o.event for _, o in outcomes if o.event is not None]
        changes = [c for _, o in outcomes for c in o.changes]
        applied.stored, applied.events, applied.happened = len(outcomes), len(events), events
        polled = ((e, o.after) for e, o in outcomes if o.after.origin == "poll")
        applied.delays = [Delay(one.version, one.seen_at, entry.offset) for entry, one in polled]
        applied.untouched = sum(o.event is None and history.parent_of(o.after.object) is None for _, o in outcomes)
        name_users(tx, (*events, *changes), user_of)
        tx.append("events", tables.EVENTS, events)
        tx.append("changes", tables.CHANGES, changes)

    def _retell(
        self,
        tx: Transaction,
        outcomes: Sequence[tuple[Entry, Outcome]],
        latest: Mapping[str, Image],
        user_of: Mapping[str, str],
        applied: Applied,
        now: str,
    ) -> Sequence[Mapping[str, Any]]:
        """Let the history of these records tell what polling has not, now that the polled changes are stored."""
        told = self._histories.retell(tx, [o for _, o in outcomes], latest, self._catalogs, self._memory, now)
        name_users(tx, (*told.events, *told.changes), user_of)
        told.write(tx)
        applied.events += len(told.is_news)
        applied.happened += told.is_news
        return told.events


def _write_product_events(tx: Transaction, taken: Taken, projected: Projected, applied: Applied) -> None:
    name_users(tx, taken.events, projected.user_of)
    tx.append("events", tables.EVENTS, taken.events)
    applied.stored += len(taken.events)
    applied.events += len(taken.events)
    applied.happened += taken.events


def _stored_epoch(tx: Transaction) -> int:
    rows = tx.rows("SELECT value FROM headrace.meta WHERE key = ?", [_EPOCH])
    return int(rows[0]["value"]) if rows else 0


def _next_epoch(tx: Transaction) -> int:
    epoch = _stored_epoch(tx) + 1
    tx.upsert("headrace.meta", ("key",), tables.META, [{"key": _EPOCH, "value": str(epoch)}])
    return epoch


def _as_kept(entry: Entry, one: Image) -> Entry:
    """Return the entry as the archive is to have it: without what the settings leave out."""
    if one.payload is entry.fields[b"data"]:
        return entry
    return entry._replace(fields={**entry.fields, b"data": one.payload})


def _record_rejects(tx: Transaction, applied: Applied, now: str) -> set[letters.Address]:
    """Keep the rejects as dead letters; those that were settled long ago are none any more. Return their addresses."""
    settled = letters.record(tx, [r.letter(now) for r in applied.rejects])
    if settled:
        applied.seen_again += len(settled)
        applied.rejects = [r for r in applied.rejects if r.entry.address not in settled]
    return settled


def _move_positions(tx: Transaction, reached: Mapping[str, str], now: str) -> None:
    rows = [{"stream": stream, "offset": offset, "updated_at": now} for stream, offset in reached.items()]
    if rows:
        tx.upsert("headrace.positions", ("stream",), tables.POSITIONS, rows)


def _ids_by_object(images: Iterable[tuple[Entry, Image]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for _, one in images:
        found.setdefault(one.object, set()).add(one.record_id)
    return found


def _reached(entries: Iterable[Entry]) -> dict[str, str]:
    offsets: dict[str, list[str]] = {}
    for entry in entries:
        offsets.setdefault(entry.stream, []).append(entry.offset)
    return {stream: max(found, key=offset_key) for stream, found in offsets.items()}


def _after(offset: str, position: str | None) -> bool:
    return position is None or offset_key(offset) > offset_key(position)
