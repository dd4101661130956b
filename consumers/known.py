"""What the flattener knows of records: the last images, from memory or from the store."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from integration.core import identity, image
from integration.core.image import Image
from integration.store.protocol import State, Transaction


class Memory:
    """The most recently used images, by record id (unique in an org). Holds committed images only."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._images: OrderedDict[str, Image] = OrderedDict()

    def get(self, record_id: str) -> Image | None:
        """Return an image and keep it a while longer."""
        found = self._images.get(record_id)
        if found is not None:
            self._images.move_to_end(record_id)
        return found

    def put(self, images: Iterable[Image]) -> None:
        """Remember images; the least recently used make room."""
        for one in images:
            self._images[one.record_id] = one
            self._images.move_to_end(one.record_id)
        while len(self._images) > self._capacity:
            self._images.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, as after a transaction that failed."""
        self._images.clear()


class Known:
    """Images as one transaction sees them: its own writes first, then memory, then the store."""

    def __init__(self, tx: Transaction, memory: Memory) -> None:
        self._tx = tx
        self._memory = memory
        self.seen: dict[str, Image] = {}
        """Every image this transaction has touched or read."""

    def load(self, object_name: str, record_ids: Iterable[str]) -> dict[str, Image]:
        """Return the images of these records of one object; unknown ids are left out."""
        wanted = set(record_ids)
        found = {i: one for i in wanted if (one := self.seen.get(i) or self._memory.get(i)) is not None}
        missing = wanted.difference(found)
        if missing:
            found.update(self._read(self._tx.states(object_name, missing)))
        self.seen.update(found)
        return found

    def by_field(self, object_name: str, field: str, values: Iterable[str]) -> dict[str, Image]:
        """Return the images of an object's records whose field holds one of the values."""
        wanted = set(values)
        return self._take(lambda: self._tx.states_by(object_name, field, wanted)) if wanted else {}

    def by_email(self, object_name: str, emails: Iterable[str]) -> dict[str, Image]:
        """Return the images of an object's records that have one of the e-mails."""
        wanted = set(emails)
        return self._take(lambda: self._tx.states_by_email(object_name, wanted)) if wanted else {}

    def _take(self, read: Callable[[], list[State]]) -> dict[str, Image]:
        found = self._read(read())
        self.seen.update(found)
        return found

    def _read(self, states: Iterable[State]) -> dict[str, Image]:
        # What is in self.seen is as new as the store (writes come before look-ups) and need not be read again.
        return {s.record_id: self.seen.get(s.record_id) or image.read(s.payload) for s in states}


def close_over(known: Known, seeds: Iterable[Image]) -> dict[str, Image]:
    """Return the contacts and leads that can be one person with the seeds: by e-mail, conversion or merge.

    A little more than needed is fine (identity.stitch decides); anything less would tear people apart.
    """
    closed: dict[str, Image] = {}
    frontier = {one.record_id: one for one in seeds}
    while frontier:
        closed.update(frontier)
        found = _connected(known, frontier)
        frontier = {i: one for i, one in found.items() if i not in closed}
    return closed


def _connected(known: Known, frontier: Mapping[str, Image]) -> dict[str, Image]:
    contacts = {i for i, one in frontier.items() if one.object == "Contact"}
    leads = frontier.keys() - contacts
    emails = {e for one in frontier.values() if (e := identity.normal_email(one.fields.get("Email")))}
    ends = {one.fields.get("ConvertedContactId") for one in frontier.values()}
    masters = {i: one.fields.get("MasterRecordId") for i, one in frontier.items()}
    return {
        **known.load("Contact", {e for e in ends if e} | {m for i, m in masters.items() if m and i in contacts}),
        **known.load("Lead", {m for i, m in masters.items() if m and i in leads}),
        **known.by_field("Lead", "ConvertedContactId", contacts),
        **known.by_field("Contact", "MasterRecordId", contacts),
        **known.by_field("Lead", "MasterRecordId", leads),
        **known.by_email("Contact", emails),
        **known.by_email("Lead", emails),
    }
