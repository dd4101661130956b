"""The last images of records: from memory, or from the store."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from integration.core import exactjson
from integration.core.image import Image
from integration.core.state import UnknownLayoutError, layout_of, pack, unpack
from integration.store import tables
from integration.store.last_images import read_layouts
from integration.store.protocol import Transaction


class Memory:
    """The most recently used images, by record id (unique in an org), and the layouts met so far.

    Holds committed images only; layouts also of the transaction that is open.

    Images are kept as they are stored: taken apart, one takes ten times the room, and reading it again costs less than
    asking the store.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._payloads: OrderedDict[str, bytes] = OrderedDict()
        self._names: dict[str, tuple[str, ...]] = {}
        self._layouts: dict[tuple[str, ...], str] = {}
        self._new: dict[str, tuple[str, ...]] = {}

    def put(self, payloads: Mapping[str, bytes]) -> None:
        """Remember images as `state_row` made them; the least recently used make room."""
        for record_id, payload in payloads.items():
            self._payloads[record_id] = payload
            self._payloads.move_to_end(record_id)
        while len(self._payloads) > self._capacity:
            self._payloads.popitem(last=False)

    def forget(self, record_ids: Iterable[str]) -> None:
        """Forget the images of some records."""
        for record_id in record_ids:
            self._payloads.pop(record_id, None)

    def committed(self) -> None:
        """Note that the layouts that were saved are in the store for good."""
        self._new.clear()

    def clear(self) -> None:
        """Forget every image, and what layouts are new, as after a transaction that failed."""
        self._payloads.clear()
        for layout, names in self._new.items():
            del self._names[layout], self._layouts[names]
        self._new.clear()

    def load(self, tx: Transaction, object_name: str, record_ids: Iterable[str]) -> dict[str, Image]:
        """Return the last images of these records of one object; unknown ids are left out."""
        wanted = set(record_ids)
        found = {i: payload for i in wanted if (payload := self._payloads.get(i)) is not None}
        missing = wanted.difference(found)
        if missing:
            found.update(tx.states(object_name, missing))
        return {record_id: self.image(tx, payload) for record_id, payload in found.items()}

    def image(self, tx: Transaction, payload: bytes) -> Image:
        """Return the image of a state. Raises ValueError: see unpack."""
        try:
            return unpack(payload, self._names)
        except UnknownLayoutError:  # an earlier process, or a migration, has stored it
            self._names |= read_layouts(tx.rows)
            self._layouts |= {names: layout for layout, names in self._names.items()}
            return unpack(payload, self._names)

    def state_row(self, one: Image) -> dict[str, Any]:
        """Return the row of `headrace.states` that keeps an image. Its layout is to be saved with it."""
        names = tuple(one.fields)
        layout = self._layouts.get(names)
        if layout is None:
            layout = self._layouts[names] = layout_of(names)
            self._names[layout] = self._new[layout] = names
        return {
            "object": one.object,
            "record_id": one.record_id,
            "version": one.version,
            "is_deleted": one.is_deleted,
            "schema_id": one.schema_id,
            "payload": pack(one, layout),
        }

    def save(self, tx: Transaction) -> None:
        """Store the layouts that are new since the last commit."""
        rows = [{"layout": layout, "names": exactjson.dumps(names)} for layout, names in self._new.items()]
        tx.upsert("headrace.layouts", ("layout",), tables.LAYOUTS, rows)
