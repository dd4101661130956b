"""A consumer in this process, on streams that a test fills by hand: what goes wrong at night, at a moment of its choice."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from consumers.app import Consumer
from consumers.apply import Flattener
from consumers.batch import Applied
from consumers.intake import Intake
from integration.core import exactjson
from integration.core.catalog import ObjectSchema
from integration.store.answers import ask, rows
from integration.store.duckdb.store import DuckDBStore
from integration.stream import groups, names
from integration.stream.connection import Client, connect
from integration.wiring import parts
from integration.wiring.clock import now

Fields = dict[bytes, bytes]
Fetch = Callable[[str], bytes | None]


@dataclass
class Shift:
    """A company's Redis, and what its org shows, read into another database of the same server."""

    company: Any
    client: Client
    elsewhere: Client
    schemas: list[ObjectSchema] = field(default_factory=list)
    _taken: dict[str, str] = field(default_factory=dict)
    _poller: Any = None
    _source: Any = None

    def polled(self) -> dict[str, list[Fields]]:
        """Poll the org; return the entries that came, by stream."""
        self.company.watcher.observe(self.company.org)
        if self._poller is None:
            self._source = parts.salesforce(self.company.settings)
            self._poller, self.schemas = parts.poller(self.company.settings, self._source, self.elsewhere)
        self._poller.deleted()
        self._poller.cycle(histories=True)
        came: dict[str, list[Fields]] = {}
        for key in sorted(self.elsewhere.scan_iter(match="crm.*")):
            stream = key.decode()
            new: Any = self.elsewhere.xrange(stream, min=f"({self._taken.get(stream, '0-0')}")
            if new:
                self._taken[stream] = new[-1][0].decode()
                came[stream] = [fields for _, fields in new]
        return came

    def publish(self, came: dict[str, list[Fields]]) -> None:
        """Put entries into the streams that are consumed, at one moment."""
        pipe = self.client.pipeline(transaction=True)
        for stream, entries in came.items():
            for fields in entries:
                pipe.xadd(stream, fields)  # type: ignore[arg-type]
        pipe.execute()

    def publish_past_a_thief(self, came: dict[str, list[Fields]], *, to_the_end: bool = False) -> int:
        """The same, but some of each stream goes to somebody else of the group, who does nothing with it."""
        stolen = 0
        for stream, entries in came.items():
            for number, fields in enumerate(entries):
                # Nobody else is served before the transaction ends.
                pipe = self.client.pipeline(transaction=True)
                pipe.xadd(stream, fields)  # type: ignore[arg-type]
                if number % 3 == 1 or (to_the_end and number == len(entries) - 1):
                    pipe.xreadgroup(names.GROUP, "thief", {stream: ">"})
                    stolen += 1
                pipe.execute()
        return stolen

    def streams(self) -> list[str]:
        """List the streams to consume."""
        return parts.stream_names(self.company.settings, self.client, [s.object for s in self.schemas])

    def pending(self) -> int:
        """Count what is pending anywhere."""
        return sum(len(groups.pending(self.client, stream)) for stream in self.streams())


@contextmanager
def night_shift(company: Any) -> Iterator[Shift]:
    """Connect to a company's Redis, and to an empty database beside it."""
    url: str = company.settings.redis.url
    with connect(url) as client, connect(url.removesuffix("/0") + "/9") as elsewhere:
        elsewhere.flushdb()
        yield Shift(company, client, elsewhere)


@dataclass
class Worker:
    """A consumer at work in a thread, and its store."""

    consumer: Consumer
    store: DuckDBStore
    loop: asyncio.AbstractEventLoop
    applied: list[Applied]

    def do(self, work: Any) -> Any:
        """Run a coroutine where the consumer runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is so; fail if the consumer fails before, or the time is up."""
        deadline = time.monotonic() + 20
        while not condition():
            failed = self.consumer.failed
            assert failed is None or not failed.done(), failed.exception()
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            time.sleep(0.01)

    def until_failed(self) -> BaseException:
        """Wait until the consumer has stopped by itself; return why."""
        deadline = time.monotonic() + 20
        assert self.consumer.failed is not None
        while not self.consumer.failed.done():
            assert time.monotonic() < deadline, "the consumer goes on"
            time.sleep(0.01)
        error = self.consumer.failed.exception()
        assert error is not None
        return error

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask the store."""
        return rows(self.store.query(sql))


def flattener_of(shift: Shift, store: DuckDBStore, fetch: Fetch = lambda _: None) -> Flattener:
    """Return a flattener that knows the org's objects; `fetch` is asked for any other description."""
    flattener = Flattener(store, parts.rules(shift.company.settings), now=now, fetch_schema=fetch)
    if not ask(store, "SELECT 1 FROM headrace.schemas LIMIT 1"):
        flattener.announce(shift.schemas)
    return flattener


def intake(shift: Shift, store: DuckDBStore, fetch: Fetch = lambda _: None) -> Intake:
    """Return what a consumer does between Redis and the store, without the consumer."""
    return Intake(
        shift.client,
        flattener_of(shift, store, fetch),
        now=now,
        on_applied=lambda _: None,
        keep=10_000,
        max_dead_in_a_row=500,
        at_once=2_000,
    )


@contextmanager
def store_of(shift: Shift) -> Iterator[DuckDBStore]:
    """Open the company's store."""
    store = DuckDBStore(shift.company.settings.store_path)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def consuming(shift: Shift, *, fetch: Fetch = lambda _: None, **options: Any) -> Iterator[Worker]:
    """Run a consumer of the company's streams until the end of the block."""
    store = DuckDBStore(shift.company.settings.store_path)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    applied: list[Applied] = []
    consumer = Consumer(
        shift.company.settings.redis.url,
        shift.client,
        flattener_of(shift, store, fetch),
        shift.streams(),
        now=now,
        on_applied=applied.append,
        **options,
    )
    worker = Worker(consumer, store, loop, applied)
    try:
        worker.do(consumer.start())
        yield worker
    finally:
        worker.do(consumer.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        store.close()


def stored(shift: Shift, worker: Worker) -> Callable[[], bool]:
    """Return a question: is everything that lies in the streams now in the store, and finished in Redis?"""
    wanted = {s: _last(shift.client, s) for s in shift.streams()}

    def is_so() -> bool:
        there = {r["stream"]: r["offset"] for r in worker.query('SELECT stream, "offset" FROM headrace.positions')}
        return all(there.get(s) == last for s, last in wanted.items() if last) and not shift.pending()

    return is_so


def _last(client: Client, stream: str) -> str | None:
    newest: Any = client.xrevrange(stream, count=1)
    return newest[0][0].decode() if newest else None


_numbers = itertools.count(1)


def capture_of_unknown_kind(fields: Fields, schema_id: str) -> Fields:
    """Return a copy of an entry whose capture is new and names another description of its object."""
    capture = exactjson.loads(fields[b"data"])
    changed = {**capture, "id": f"{capture['id']}:{next(_numbers)}", "schema_id": schema_id}
    return {**fields, b"data": exactjson.dumps(changed)}
