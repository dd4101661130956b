"""Source against store, record by record: what differs is looked at twice, and repaired through the streams."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from integration.core import history
from integration.core.catalog import ObjectSchema
from integration.core.image import Image
from integration.core.reconcile import Difference, Shown, Span, Tally, chosen, compare, is_settled, spans
from integration.errors import HeadraceError, UsageError
from integration.source.client import QUERIES_PER_CALL
from integration.source.histories import fields_told, tells_fields
from integration.source.sweep import IDS_PER_QUERY, RangePage, RangeReader, fetch
from integration.store.hints import did_you_mean
from integration.wiring.clock import now
from integration.wiring.reconciling import Tools
from integration.wiring.sweep_report import FINDINGS_SHOWN, Finding, Ledger, SweepReport

LOSS_FROM: Final = 25
"""An object that shows no record at all, while so many live in the store, is not buried unasked."""

_LOOKS: Final = 3


@dataclass(slots=True)
class SweepProgress:
    """How far a sweep is."""

    phase: str = "catching up"
    compared: int = 0
    differing: int = 0


class _Look(NamedTuple):
    """A record as it was last looked at: its version (None: not shown), and whether it lives here and there."""

    version: str | None
    source_lives: bool = False
    store_lives: bool = False


class _Real(NamedTuple):
    """A difference that is none of the poll's."""

    difference: Difference
    shown: Shown | None
    stored: Image | None


class Sweep:
    """One sweep over some objects."""

    def __init__(
        self,
        tools: Tools,
        report: SweepReport,
        *,
        accept_loss: bool = False,
        on_change: Callable[[SweepProgress], None] = lambda _progress: None,
    ) -> None:
        self._tools = tools
        self._report = report
        self._accept_loss = accept_loss
        self._on_change = on_change
        self._progress = SweepProgress()
        self._ledgers: dict[str, Ledger] = {}
        self._tallies: dict[str, Tally] = {}
        self._schemas: dict[str, ObjectSchema] = {}
        self._looks: dict[str, dict[str, _Look]] = {}

    def run(self, objects: Sequence[str] = ()) -> None:
        """Compare, look again, repair. Raises UsageError for an object that is not read."""
        self._tell("catching up")
        calls = self._tools.source.calls
        self._tools.catch_up(deleted=False)
        self._schemas = dict(self._tools.schemas())
        for name in _checked(self._schemas, objects):
            self._ledgers[name], self._tallies[name] = Ledger(name, now()), Tally()
            self._report.objects.append(self._ledgers[name])
        self._compare()
        self._settle()
        self._look_again()
        for ledger in self._report.objects:
            ledger.ended_at = now()
        self._report.api_calls = self._tools.source.calls - calls
        self._report.ended_at = now()
        self._report.outcome = "ok" if self._report.is_equal else "differences"

    # --- comparing ----------------------------------------------------------------------------------

    def _compare(self) -> None:
        self._tell("comparing")
        reader = RangeReader(self._tools.source, refresh=self._refresh, told=_told(self._schemas))
        for page in reader.read(self._ranges()):
            self._take(page)
            if page.calls:
                self._tools.go_on()
                self._tools.between()

    def _ranges(self) -> Iterator[tuple[ObjectSchema, Span]]:
        for name in self._ledgers:
            self._ledgers[name].started_at = now()
            for span in spans(name, self._tools.known_ids(name), self._tools.range_size):
                yield self._schemas[name], span

    def _take(self, page: RangePage) -> None:
        name = page.span.object
        ledger, tally = self._ledgers[name], self._tallies[name]
        ledger.api_calls += page.calls
        if page.problem is not None:
            ledger.trouble.append(f"{name} could not be compared: {page.problem}")
            return
        if page.unreadable:
            ledger.trouble.append(f"{page.unreadable:,} rows of {name} have no usable Id or stamp and were left out.")
        stored = self._tools.images(name, [row.record_id for row in page.rows])
        for row in page.rows:
            known = stored.get(row.record_id)
            tally.meet(page.span, row, known, compare(row.record_id, row, known, page.schema.cursor_field))
        if page.is_last:
            tally.end(page.span)
        ledger.rows_read += len(page.rows)
        self._progress.compared += len(page.rows)
        self._progress.differing = sum(len(one.suspects) for one in self._tallies.values())
        self._on_change(self._progress)

    def _refresh(self, name: str) -> ObjectSchema | None:
        """Have the poll describe an object again, whose field has gone while we were reading."""
        self._tools.poll(False)
        schema = self._tools.schemas().get(name)
        if schema is None or schema.schema_id == self._schemas[name].schema_id:
            return None
        self._schemas[name] = schema
        return schema

    def _settle(self) -> None:
        """Close the books of the first look, and keep those shut that must not be trusted."""
        for name, tally in self._tallies.items():
            ledger = self._ledgers[name]
            tally.close()
            suspects = {} if ledger.trouble and not tally.rows else tally.suspects
            if history.parent_of(name):
                # Salesforce forgets history after 18 to 24 months; what the store still has is no ghost.
                suspects = {i: version for i, version in suspects.items() if version is not None}
            if not tally.rows and len(suspects) >= LOSS_FROM and not self._accept_loss:
                self._keep_from_burying(ledger, len(suspects))
                suspects = {}
            self._looks[name] = {i: _Look(version) for i, version in suspects.items()}
            ledger.source_count += tally.live_rows
            ledger.store_count += tally.live_rows

    def _keep_from_burying(self, ledger: Ledger, living: int) -> None:
        ledger.ghosts = ledger.store_count = living
        ledger.trouble.append(
            f"{ledger.object} shows no record at all, while {living:,} live in the store: the login has probably lost "
            "its permission to see them. Give it back, or have them marked as deleted with --accept-loss."
        )

    # --- looking again ------------------------------------------------------------------------------

    def _look_again(self) -> None:
        """Look at what differs by its ids, each time after a poll that had its chance to bring it."""
        for _ in range(_LOOKS):
            if not any(self._looks.values()):
                return
            self._tell("looking again")
            polled_from = self._tools.source.server_time
            self._tools.catch_up(deleted=self._needs_all())
            todo, self._looks = self._looks, {name: {} for name in self._looks}
            for packet in _packets(todo):
                self._tools.go_on()
                self._look_at(packet, todo, polled_from)
        for name, looks in self._looks.items():
            ledger = self._ledgers[name]
            ledger.left_to_poll += len(looks)
            ledger.source_count += sum(look.source_lives for look in looks.values())
            ledger.store_count += sum(look.store_lives for look in looks.values())

    def _needs_all(self) -> bool:
        """Say whether the poll must read the delete log and all histories for its chance to bring what differs."""
        return any(
            looks and (history.parent_of(name) or any(look.version is None for look in looks.values()))
            for name, looks in self._looks.items()
        )

    def _look_at(
        self, packet: Sequence[tuple[str, list[str]]], before: Mapping[str, Mapping[str, _Look]], polled_from: str
    ) -> None:
        calls = self._tools.source.calls
        real: dict[str, list[_Real]] = {}
        wanted = [(self._schemas[name], ids) for name, ids in packet]
        for schema, ids, rows in fetch(self._tools.source, wanted):
            name = schema.object
            if isinstance(rows, HeadraceError):
                self._ledgers[name].trouble.append(f"{name} could not be compared: {rows}")
                continue
            stored = self._tools.images(name, ids)
            for record_id in ids:
                shown, known = rows.get(record_id), stored.get(record_id)
                difference = compare(record_id, shown, known, schema.cursor_field)
                if difference is None:
                    self._count(name, shown, known)
                elif is_settled(shown, before[name][record_id].version, polled_from):
                    real.setdefault(name, []).append(_Real(difference, shown, known))
                else:
                    version = shown.version if shown else None
                    self._looks[name][record_id] = _Look(version, _lives(shown), _lives(known))
        self._ledgers[packet[0][0]].api_calls += self._tools.source.calls - calls
        if real:
            self._repair(real)

    def _count(self, name: str, shown: Shown | None, stored: Image | None) -> None:
        self._ledgers[name].source_count += _lives(shown)
        self._ledgers[name].store_count += _lives(stored)

    # --- repairing ----------------------------------------------------------------------------------

    def _repair(self, real: Mapping[str, Sequence[_Real]]) -> None:
        notes: dict[str, str] = {}
        captures = {} if self._report.dry_run else self._publish(real, notes)
        for name, found in real.items():
            after = self._tools.images(name, [one.difference.record_id for one in found])
            lost = self._tools.given_up(name, [c["id"] for c in captures.get(name, ())])
            notes |= {c["record_id"]: lost[c["id"]] for c in captures.get(name, ()) if c["id"] in lost}
            for one in found:
                self._conclude(name, one, after.get(one.difference.record_id), notes)

    def _publish(self, real: Mapping[str, Sequence[_Real]], notes: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
        self._tell("repairing")
        published: dict[str, list[dict[str, Any]]] = {}
        for name, found in real.items():
            schema = self._schemas[name]
            captures = [self._tools.captured(schema, one.difference.record_id, one.shown, one.stored) for one in found]
            # What could not be stored the last time would be one dead letter more each time.
            lost = self._tools.given_up(name, [c["id"] for c in captures])
            notes |= {c["record_id"]: lost[c["id"]] for c in captures if c["id"] in lost}
            published[name] = [c for c in captures if c["id"] not in lost]
            self._tools.publish(schema, published[name])
            self._report.captures_published += len(published[name])
        self._tools.drain(published)
        return published

    def _conclude(self, name: str, one: _Real, stored: Image | None, notes: Mapping[str, str]) -> None:
        found = one.difference
        self._count(name, one.shown, stored)
        is_equal = not self._report.dry_run and self._is_equal(name, one, stored)
        note = None
        if not is_equal and not self._report.dry_run:
            note = notes.get(found.record_id, "the store did not take what the source shows")
            if len(self._ledgers[name].trouble) < FINDINGS_SHOWN:
                self._ledgers[name].trouble.append(
                    f"{name} {found.record_id} ({found.kind}) could not be repaired: {note.rstrip('.')}."
                )
        self._ledgers[name].add(Finding(found.record_id, found.kind.value, list(found.fields), is_equal, note))

    def _is_equal(self, name: str, one: _Real, stored: Image | None) -> bool:
        return compare(one.difference.record_id, one.shown, stored, self._schemas[name].cursor_field) is None

    def _tell(self, phase: str) -> None:
        self._progress.phase = phase
        self._on_change(self._progress)


def _checked(schemas: Mapping[str, ObjectSchema], objects: Sequence[str]) -> list[str]:
    found, unknown = chosen(schemas, objects)
    if unknown:
        hint = did_you_mean(unknown[0], [*schemas]) or f" It reads {', '.join(schemas)}."
        raise UsageError(f"headrace does not read an object '{unknown[0]}'.{hint}")
    return found


def _told(schemas: Mapping[str, ObjectSchema]) -> dict[str, frozenset[str]]:
    """Return of which fields rows of history are wanted: what the settings keep out must not come in by them."""
    return {
        name: fields_told(schemas[parent])
        for name, schema in schemas.items()
        if (parent := history.parent_of(name)) in schemas and parent is not None and tells_fields(schema)
    }


def _packets(todo: Mapping[str, Mapping[str, _Look]]) -> Iterator[list[tuple[str, list[str]]]]:
    """Put the ids to look at into packets of one call each."""
    batches = _batches(todo)
    while packet := list(islice(batches, QUERIES_PER_CALL)):
        yield packet


def _batches(todo: Mapping[str, Mapping[str, _Look]]) -> Iterator[tuple[str, list[str]]]:
    for name, looks in todo.items():
        ids = iter(looks)
        while batch := list(islice(ids, IDS_PER_QUERY)):
            yield name, batch


def _lives(one: Shown | Image | None) -> bool:
    return one is not None and not one.is_deleted
