"""Field history beside what polling saw: the events of the records whose history a batch touches, worked out anew.

Only what differs from the stored events is written, so most batches write nothing here.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumers.catalogs import Catalogs
from consumers.known import Memory
from integration.core import exactjson, history
from integration.core.flatten import Outcome
from integration.core.history import Step
from integration.core.image import Image
from integration.core.registry import Named
from integration.core.retelling import ORIGIN, Retold, polled_steps, retell
from integration.store import tables
from integration.store.protocol import Transaction

_POLLED = (
    "SELECT event_id, time, record_id, field, old_value, new_value, actor_id FROM changes "
    "WHERE record_id = any(?) AND origin <> ?"
)
_TOLD = "SELECT * FROM events WHERE record_id = any(?) AND origin = ?"

# People move from one identity to another without the event having changed: see people._repoint.
_NOT_COMPARED = frozenset({"user_id", "stored_at"})


@dataclass(slots=True)
class Retelling:
    """What must be written: rows whose `user_id` is still to be filled in, and events that are to go first."""

    events: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Events that polling tells by now, and those to be written anew."""
    is_news: list[dict[str, Any]] = field(default_factory=list)
    """Those of `events` that the store has not had before."""

    def write(self, tx: Transaction) -> None:
        """Replace what differs."""
        for table in ("events", "changes"):
            tx.delete(table, "event_id", self.gone)
        tx.append("events", tables.EVENTS, self.events)
        tx.append("changes", tables.CHANGES, self.changes)


class Histories:
    """Which history objects the store has rows of, and what they add to a batch.

    `dropped` says of (object, field) whether the settings leave it out: no history of it is told.
    """

    def __init__(self, tx: Transaction, dropped: Callable[[str, str], bool]) -> None:
        there = tx.rows("SELECT DISTINCT object FROM headrace.states")
        self._filled = {row["object"] for row in there if history.parent_of(row["object"])}
        self._dropped = dropped

    def retell(
        self,
        tx: Transaction,
        outcomes: Iterable[Outcome],
        latest: Mapping[str, Image],
        catalogs: Catalogs,
        memory: Memory,
        now: str,
    ) -> Retelling:
        """Work out the history events of the records that these outcomes touch, once all else of them is written.

        `latest` are the batch's last images by record id.
        """
        retelling = Retelling()
        for object_name, (told, shown) in self._touched(outcomes).items():
            rows = self._rows(tx, object_name, told | shown, latest, memory)
            ids = sorted(told | rows.keys())
            if ids:
                wanted = self._wanted(tx, object_name, ids, rows, latest, catalogs, memory, now)
                _compare(retelling, _stored(tx, ids), wanted)
        return retelling

    def told_anew(
        self,
        tx: Transaction,
        object_name: str,
        record_ids: Collection[str],
        latest: Mapping[str, Image],
        catalogs: Catalogs,
        memory: Memory,
        now: str,
    ) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Retold]]:
        """Return all history events of these records by id: those the store has, and those that there should be.

        An event that is there already keeps the time at which it was stored.
        """
        ids = sorted(record_ids)
        rows = self._rows(tx, object_name, set(ids), latest, memory)
        stored = _stored(tx, ids)
        if not rows and not stored:
            return {}, {}
        wanted = self._wanted(tx, object_name, ids, rows, latest, catalogs, memory, now)
        for event_id, told in wanted.items():
            if event_id in stored:
                told.event["stored_at"] = stored[event_id]["stored_at"]
        return stored, wanted

    def filled(self, object_name: str) -> None:
        """Note that the store has rows of this history object."""
        self._filled.add(object_name)

    def _wanted(
        self,
        tx: Transaction,
        object_name: str,
        ids: Sequence[str],
        rows: Mapping[str, Sequence[Image]],
        latest: Mapping[str, Image],
        catalogs: Catalogs,
        memory: Memory,
        now: str,
    ) -> dict[str, Retold]:
        names = {n: v for n, v in catalogs.names(object_name).items() if not self._dropped(object_name, n)}
        steps = {i: history.steps(rows.get(i, ()), names, catalogs.lookups(object_name)) for i in ids}
        images = {i: latest[i] for i in ids if i in latest}
        images |= memory.load(tx, object_name, (i for i in ids if i not in images))
        return _wanted(tx, ids, images, steps, names, now)

    def _touched(self, outcomes: Iterable[Outcome]) -> dict[str, tuple[set[str], set[str]]]:
        """Return per object the records that history rows of the batch are about, and those with a new image."""
        touched: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        images: dict[str, set[str]] = defaultdict(set)
        for outcome in outcomes:
            name = outcome.after.object
            parent = history.parent_of(name)
            if parent is None:
                images[name].add(outcome.after.record_id)
                continue
            self._filled.add(name)
            key = history.parent_key(name)
            for one in (outcome.before, outcome.after):
                if one is not None and one.fields.get(key):
                    touched[parent][0].add(one.fields[key])
        for name, ids in images.items():
            if self._filled.intersection(history.histories_of(name)):
                touched[name][1].update(ids)
        return touched

    def _rows(
        self, tx: Transaction, object_name: str, ids: set[str], latest: Mapping[str, Image], memory: Memory
    ) -> dict[str, list[Image]]:
        """Read all history rows of these records."""
        rows: dict[str, list[Image]] = defaultdict(list)
        for name in self._filled.intersection(history.histories_of(object_name)):
            key = history.parent_key(name)
            found = [facts["Id"] for facts in tx.facts(name, {key: ids}, ())]
            images = [latest[i] for i in found if i in latest]
            images += memory.load(tx, name, (i for i in found if i not in latest)).values()
            for one in images:
                rows[one.fields[key]].append(one)
        return rows


def _wanted(
    tx: Transaction,
    ids: Sequence[str],
    images: Mapping[str, Image],
    steps: Mapping[str, Sequence[Step]],
    names: Mapping[str, Named],
    now: str,
) -> dict[str, Retold]:
    polled: dict[str, list[Step]] = defaultdict(list)
    for record_id, step in polled_steps(tx.rows(_POLLED, [ids, ORIGIN])):
        polled[record_id].append(step)
    # A record that has not arrived yet gets its past when it does.
    return {
        told.event["event_id"]: told
        for record_id, one in images.items()
        for told in retell(one, steps[record_id], polled[record_id], names, now)
    }


def _stored(tx: Transaction, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {row["event_id"]: row for row in tx.rows(_TOLD, [ids, ORIGIN])}


def _compare(retelling: Retelling, stored: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Retold]) -> None:
    retelling.gone += stored.keys() - wanted.keys()
    for event_id, (event, changes) in wanted.items():
        there = stored.get(event_id)
        if there is not None and _is_same(there, event):
            continue
        if there is None:
            retelling.is_news.append(event)
        else:
            retelling.gone.append(event_id)
        retelling.events.append(event)
        retelling.changes += changes


def _is_same(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Compare two rows of `events`; what `changes` has of them follows from their properties."""
    return all(
        stored[name] == value if name != "properties" else _is_same_json(stored[name], value)
        for name, value in wanted.items()
        if name not in _NOT_COMPARED
    )


def _is_same_json(stored: str, wanted: bytes) -> bool:
    # A store may keep JSON in a form of its own.
    return stored.encode() == wanted or exactjson.loads(stored) == exactjson.loads(wanted)
