"""What the sweep and the re-reading of formulas share: looking into the store, publishing, waiting until stored."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from integration.core.catalog import ObjectSchema
from integration.core.image import Image
from integration.core.reconcile import Shown
from integration.errors import HeadraceError, RunError
from integration.source.captures import capture, content_hash, hashed_fields
from integration.source.client import SalesforceClient
from integration.source.soql import latest
from integration.source.sweep import IDS_PER_RANGE
from integration.store.last_images import read_images
from integration.store.protocol import Store
from integration.stream import groups, names
from integration.stream.connection import Client, answering
from integration.stream.publish import Publisher

_LOOK_SECONDS: Final = 0.05
_IDS_AT_ONCE: Final = 45_000


class StoppedError(RunError):
    """The work was told to end before it was done."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What reconciling works with. All of it is used from one thread: the poller's.

    `poll` brings the streams up to date with the org, with the delete log if its argument is true. `between` is called
    between two calls of a long reading, so that the poll need not wait for its end; `refused` says why no further API
    call may be made, or None; `range_size` is how many ids of the store make a range to read; `enriching` names the
    objects that others are enriched from.
    """

    source: SalesforceClient
    client: Client
    store: Store
    schemas: Callable[[], Mapping[str, ObjectSchema]]
    poll: Callable[[bool], None]
    should_stop: Callable[[], bool] = lambda: False
    between: Callable[[], None] = lambda: None
    refused: Callable[[], HeadraceError | None] = lambda: None
    range_size: int = IDS_PER_RANGE
    enriching: Collection[str] = ()

    def go_on(self) -> None:
        """Raise what ends the work: StoppedError when told to stop, or why no call may be made."""
        if self.should_stop():
            raise StoppedError("It was stopped before it was done: start it again.")
        refused = self.refused()
        if refused is not None:
            raise refused

    def catch_up(self, *, deleted: bool) -> None:
        """Poll, and wait until everything is stored."""
        self.go_on()
        self.poll(deleted)
        self.drain(self.schemas())

    def drain(self, objects: Iterable[str]) -> None:
        """Wait until what was published of these objects is in the store. Raises StoppedError."""
        streams = [names.stream_of(name) for name in objects]
        while True:
            if self.should_stop():
                raise StoppedError("It was stopped before it was done: start it again.")
            with answering(self.client):
                if groups.caught_up(self.client, streams):
                    return
            time.sleep(_LOOK_SECONDS)

    def known_ids(self, object_name: str, after: str = "") -> Iterator[tuple[str, bool]]:
        """Give the ids the store has of an object behind `after`, in order, with whether they are deleted."""
        while True:
            with self.store.reading() as reading:
                some = reading.known_ids(object_name, after=after, limit=_IDS_AT_ONCE)
            yield from some
            if len(some) < _IDS_AT_ONCE:
                return
            after = some[-1][0]

    def images(self, object_name: str, record_ids: Iterable[str]) -> dict[str, Image]:
        """Read the last images of records; unknown ids are left out."""
        with self.store.reading() as reading:
            payloads = (state.payload for state in reading.states(object_name, record_ids))
            return {one.record_id: one for one in read_images(payloads, reading.rows)}

    def captured(
        self, schema: ObjectSchema, record_id: str, shown: Shown | None, stored: Image | None
    ) -> dict[str, Any]:
        """Return the capture that tells the store what the source shows; of a ghost, that it is gone by now."""
        # Salesforce's servers don't agree to the second, but this is known: we have looked after the last image.
        seen_at = latest(self.source.server_time, stored.seen_at if stored else None) or self.source.server_time
        org = self.source.org_id
        if shown is None:
            return capture(org, schema, record_id, seen_at, True, None, seen_at, "sweep")
        suffix = f":{content_hash(shown.fields, hashed_fields(schema))}"
        return capture(org, schema, record_id, shown.version, shown.is_deleted, shown.fields, seen_at, "sweep", suffix)

    def publish(self, schema: ObjectSchema, captures: Sequence[Mapping[str, Any]]) -> list[str]:
        """Publish captures of one object; no cursor moves. Return their offsets."""
        return Publisher(self.client).publish_more(captures, schema)

    def given_up(self, object_name: str, capture_ids: Sequence[str]) -> dict[str, str]:
        """Return which of these captures are dead letters, and why: capture id -> reason."""
        sql = "SELECT entry->>'$.id' AS id, reason FROM dead_letters WHERE stream = ? AND entry->>'$.id' = any(?)"
        with self.store.reading() as reading:
            rows = reading.rows(sql, [names.stream_of(object_name), list(capture_ids)]) if capture_ids else []
        return {row["id"]: row["reason"] for row in rows}
