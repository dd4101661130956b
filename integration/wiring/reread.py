"""Formulas and roll-ups, read again and again: they move without their record's stamp, so no poll can see it.

A round goes over all objects that have such fields, some ranges at a time, asking for the id, the stamp and those
fields only. How far it is lies in Redis, so that a restart goes on there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from math import ceil
from typing import Any, Final

import structlog

from integration.core import exactjson, history, values
from integration.core.catalog import ObjectSchema
from integration.core.image import Image
from integration.core.reconcile import Shown, Span, compare, spans
from integration.errors import HeadraceError
from integration.source.client import QUERIES_PER_CALL
from integration.source.sweep import (
    IDS_PER_QUERY,
    RECORDS_PER_CALL,
    RangePage,
    RangeReader,
    fetch,
    moving_fields,
    reread_fields,
)
from integration.store import tables
from integration.stream.connection import Client, answering
from integration.stream.names import REREAD_KEY
from integration.wiring.clock import now
from integration.wiring.reconciling import Tools

log = structlog.get_logger()

_POSITION: Final = "position"
_BEGAN: Final = "began"
_OWN: Final = (_POSITION, _BEGAN)


@dataclass(slots=True)
class Reread:
    """What some steps of the re-reading did. `finished` names the objects whose end was reached."""

    rows_read: int = 0
    drifted: int = 0
    """Records whose formulas had moved without a stamp: they were captured anew."""
    calls: int = 0
    finished: list[str] = field(default_factory=list)
    is_round_over: bool = True
    """False while there is more of the round to read."""


@dataclass(slots=True)
class _Position:
    """How far the round is: in which object, behind which id; and what came of this object so far."""

    object: str
    after: str | None = None
    started: str = ""
    started_at: str = ""
    rows: int = 0
    drifted: int = 0
    calls: int = 0


class Rereader:
    """Makes rounds, `every_seconds` apart (0: never). `run_id` names them in `reconciliations`."""

    def __init__(self, tools: Tools, every_seconds: float) -> None:
        self._tools = tools
        self._every = every_seconds

    def step(self, max_calls: int = 1) -> Reread:
        """Go on with the round, or begin one if it is time, for about so many API calls; then stop until the next step.

        A record whose stamp is not the stored one is left to the poll. What has drifted is published; it is stored when
        the consumer comes to it. Raises what the source and Redis raise; what was read before stays read.
        """
        done = Reread()
        position = self._load() or self._begin()
        first = self._tools.source.calls
        while position is not None and done.calls < max_calls:
            self._tools.go_on()
            position = self._read_on(position, done)
            done.calls = self._tools.source.calls - first
        done.is_round_over = position is None
        return done

    def round(self) -> Reread | None:
        """Finish the round, or make a whole one if it is time; None if it is not."""
        if self._load() is None and not self.is_due():
            return None
        done = Reread(is_round_over=False)
        while not done.is_round_over:
            step = self.step(max_calls=1)
            done.rows_read += step.rows_read
            done.drifted += step.drifted
            done.calls += step.calls
            done.finished += step.finished
            done.is_round_over = step.is_round_over
        return done

    def is_due(self) -> bool:
        """Tell whether it is time for a round; the first comes so long after the first question, when all is fresh."""
        if not self._every or not self._objects():
            return False
        began = self._get(_BEGAN)
        clock = self._tools.source.server_time
        if began is None or began > clock:
            self._set({_BEGAN: clock})
            return False
        return _seconds(began, clock) >= self._every

    def calls_per_step(self, interval_seconds: float) -> int:
        """Return how many calls to make after each poll so that a round is over when the next one is due."""
        with self._tools.store.reading() as reading:
            sql = "SELECT count(*) AS n FROM headrace.states WHERE object = any(?)"
            records = int(reading.rows(sql, [self._objects()])[0]["n"])
        calls = records / (self._tools.range_size * QUERIES_PER_CALL)
        return max(1, ceil(calls * interval_seconds / max(self._every, 1.0)))

    def swept(self, objects: Mapping[str, str], began: str) -> None:
        """Note that a sweep has read these objects whole: object -> when it began with it (Salesforce's clock)."""
        ended = self._tools.source.server_time
        told = {
            name: exactjson.dumps({"started": started, "ended": ended})
            for name, started in objects.items()
            if name in self._objects()
        }
        if set(self._objects()) <= objects.keys():
            told[_BEGAN] = began.encode()
            with answering(self._tools.client):
                self._tools.client.hdel(REREAD_KEY, _POSITION)
        if told:
            self._set(told)

    # --- one packet of ranges -----------------------------------------------------------------------

    def _read_on(self, position: _Position, done: Reread) -> _Position | None:
        """Read up to five ranges from the position on; return where to go on, None at the end of the round."""
        schemas = self._tools.schemas()
        packet = list(islice(self._ranges(position), QUERIES_PER_CALL))
        reader = RangeReader(self._tools.source, names=lambda schema: reread_fields(schema, self._tools.enriching))
        drifted: dict[str, list[str]] = {}
        marks = {position.object: position}
        unread: set[str] = set()
        for page in reader.read((schemas[span.object], span) for span in packet):
            mark = marks.setdefault(page.span.object, self._mark(page.span.object))
            mark.calls += page.calls
            if page.problem is not None:
                log.warning("formulas not read", object=mark.object, detail=str(page.problem))
                unread.add(mark.object)
                continue
            mark.rows += len(page.rows)
            done.rows_read += len(page.rows)
            drifted.setdefault(mark.object, []).extend(self._drifted(page))
        for name, count in self._recapture(schemas, drifted, marks).items():
            marks[name].drifted += count
            done.drifted += count
        return self._move(packet, marks, unread, done)

    def _ranges(self, position: _Position) -> Iterator[Span]:
        objects = self._objects()
        for name in objects[objects.index(position.object) :]:
            low = position.after if name == position.object else None
            yield from spans(name, self._tools.known_ids(name, low or ""), self._tools.range_size, low=low)

    def _drifted(self, page: RangePage) -> list[str]:
        """List the records of a page whose formulas are not as stored, while their stamp is."""
        names = moving_fields(page.schema, self._tools.enriching)
        stored = self._tools.images(page.span.object, [row.record_id for row in page.rows])
        return [
            row.record_id
            for row in page.rows
            if (known := stored.get(row.record_id)) is not None
            and _same_version(row, known)
            and any(not values.same(known.fields.get(name), row.fields.get(name)) for name in names)
        ]

    def _recapture(
        self, schemas: Mapping[str, ObjectSchema], drifted: Mapping[str, Sequence[str]], marks: Mapping[str, _Position]
    ) -> dict[str, int]:
        """Read the drifted records whole, and publish those that still differ under the stored stamp."""
        wanted = [
            (schemas[name], ids[start : start + IDS_PER_QUERY])
            for name, ids in drifted.items()
            for start in range(0, len(ids), IDS_PER_QUERY)
        ]
        counts: dict[str, int] = {}
        per_call = RECORDS_PER_CALL // IDS_PER_QUERY
        for packet in (wanted[start : start + per_call] for start in range(0, len(wanted), per_call)):
            self._tools.go_on()
            calls = self._tools.source.calls
            for schema, ids, rows in fetch(self._tools.source, packet):
                if isinstance(rows, HeadraceError):
                    log.warning("formulas not read", object=schema.object, detail=str(rows))
                    continue
                stored = self._tools.images(schema.object, ids)
                captures = [
                    self._tools.captured(schema, row.record_id, row, known)
                    for row in rows.values()
                    if (known := stored.get(row.record_id)) is not None
                    and _same_version(row, known)
                    and compare(row.record_id, row, known, schema.cursor_field) is not None
                ]
                self._tools.publish(schema, captures)
                counts[schema.object] = counts.get(schema.object, 0) + len(captures)
            marks[packet[0][0].object].calls += self._tools.source.calls - calls
        return counts

    def _move(
        self, packet: Sequence[Span], marks: dict[str, _Position], unread: set[str], done: Reread
    ) -> _Position | None:
        objects = self._objects()
        for span in packet:
            mark = marks.setdefault(span.object, self._mark(span.object))
            mark.after = span.high
            if span.high is None:
                done.finished.append(span.object)
                if span.object not in unread:
                    self._finish(mark)
        last = marks[packet[-1].object]
        if last.after is None:
            following = objects[objects.index(last.object) + 1 :]
            if not following:
                with answering(self._tools.client):
                    self._tools.client.hdel(REREAD_KEY, _POSITION)
                return None
            last = self._mark(following[0])
        self._set({_POSITION: exactjson.dumps(asdict(last))})
        return last

    def _finish(self, mark: _Position) -> None:
        ended = self._tools.source.server_time
        self._set({mark.object: exactjson.dumps({"started": mark.started, "ended": ended})})
        row: dict[str, Any] = {
            "run_id": f"reread-{mark.started}",
            "object": mark.object,
            "started_at": mark.started_at,
            "ended_at": now(),
            "source_count": mark.rows,
            "stale": mark.drifted,
            "repaired": mark.drifted,
            "api_calls": mark.calls,
            "kind": "reread",
        }
        with self._tools.store.transaction() as tx:
            tx.append("reconciliations", tables.RECONCILIATIONS, [row])

    # --- how far it is ------------------------------------------------------------------------------

    def _objects(self) -> list[str]:
        """Name the objects that have formulas; history rows are never written again."""
        return [
            name
            for name, schema in self._tools.schemas().items()
            if moving_fields(schema, self._tools.enriching) and not history.parent_of(name)
        ]

    def _mark(self, name: str) -> _Position:
        return _Position(name, started=self._tools.source.server_time, started_at=now())

    def _begin(self) -> _Position | None:
        if not self.is_due():
            return None
        self._set({_BEGAN: self._tools.source.server_time})
        return self._mark(self._objects()[0])

    def _load(self) -> _Position | None:
        text = self._get(_POSITION)
        try:
            position = _Position(**exactjson.loads(text)) if text else None
        except (ValueError, TypeError):
            position = None
        return position if position is not None and position.object in self._objects() and self._every else None

    def _get(self, name: str) -> str | None:
        with answering(self._tools.client):
            value = self._tools.client.hget(REREAD_KEY, name)
        return value.decode() if isinstance(value, bytes) else value

    def _set(self, told: Mapping[str, str | bytes]) -> None:
        with answering(self._tools.client):
            self._tools.client.hset(REREAD_KEY, mapping=told)  # type: ignore[arg-type]


def rereads(client: Client) -> dict[str, dict[str, str]]:
    """Return object -> when its formulas were last read whole: `started` and `ended`, by Salesforce's clock.

    A formula of the object is at most as old as `started`.
    """
    with answering(client):
        told = client.hgetall(REREAD_KEY)
    pairs = {key.decode() if isinstance(key, bytes) else key: value for key, value in told.items()}
    return {name: exactjson.loads(value) for name, value in pairs.items() if name not in _OWN}


def _same_version(row: Shown, known: Image) -> bool:
    return row.version == known.version and row.is_deleted == known.is_deleted


def _seconds(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
