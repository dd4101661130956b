"""The last images of records: from memory, or from the store."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from integration.core import image
from integration.core.image import Image
from integration.store.protocol import Transaction


class Memory:
    """The most recently used images, by record id (unique in an org). Holds committed images only.

    They are kept as the JSON they are stored as: taken apart, an image takes ten times the room, and reading it again
    costs less than asking the store.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._payloads: OrderedDict[str, bytes] = OrderedDict()

    def put(self, images: Iterable[Image]) -> None:
        """Remember images; the least recently used make room."""
        for one in images:
            self._payloads[one.record_id] = one.payload
            self._payloads.move_to_end(one.record_id)
        while len(self._payloads) > self._capacity:
            self._payloads.popitem(last=False)

    def forget(self, record_ids: Iterable[str]) -> None:
        """Forget the images of some records."""
        for record_id in record_ids:
            self._payloads.pop(record_id, None)

    def clear(self) -> None:
        """Forget everything, as after a transaction that failed."""
        self._payloads.clear()

    def load(self, tx: Transaction, object_name: str, record_ids: Iterable[str]) -> dict[str, Image]:
        """Return the last images of these records of one object; unknown ids are left out."""
        wanted = set(record_ids)
        found = {i: payload for i in wanted if (payload := self._payloads.get(i)) is not None}
        missing = wanted.difference(found)
        if missing:
            found.update(tx.states(object_name, missing))
        return {record_id: image.read(payload) for record_id, payload in found.items()}


def state_row(one: Image) -> dict[str, Any]:
    """Return the row of `headrace.states` that keeps an image."""
    return {
        "object": one.object,
        "record_id": one.record_id,
        "version": one.version,
        "is_deleted": one.is_deleted,
        "schema_id": one.schema_id,
        "payload": one.payload,
    }
