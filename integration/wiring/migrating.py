"""One migration with both stores open: it copies page by page, with a mark that says how far it is, and proves."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from consumers.apply import Flattener
from consumers.catalogs import Catalogs
from integration.core.columns import Column
from integration.errors import ConfigError, RunError
from integration.settings import Settings
from integration.store import tables
from integration.store.protocol import Misfit, Reader, RefusedError, Row, Store, Transaction
from integration.wiring import migrate_tables, parts
from integration.wiring.clock import now
from integration.wiring.migrate_mark import MIGRATING, Mark
from integration.wiring.migrate_report import KEYS_NAMED, MigratePlan, MigrateProgress, MigrateReport, TableLedger
from integration.wiring.migrate_tables import NAMES, Counts, Page, Part, rows_in, rows_of, shown_key
from integration.wiring.replay_report import ReplayProgress, Request, rules_of
from integration.wiring.replaying import Replaying

T = TypeVar("T")
OnChange = Callable[[MigrateProgress], None]
Read = tuple[Page, list[dict[str, Any]]]

_RUNS: Final = "migrate-"
_REPLAYS: Final = f"SELECT run_id FROM sync_runs WHERE starts_with(run_id, '{_RUNS}')"


class StoppedError(RunError):
    """Told to stop between two pages."""


class Migration:
    """One run of a migration, with both stores open. To be used once."""

    def __init__(
        self,
        settings: Settings,
        source: Reader,
        store: Store,
        plan: MigratePlan,
        found: Mark | None,
        on_change: OnChange,
        should_stop: Callable[[], bool],
    ) -> None:
        self._settings, self._place = settings, plan.target
        self._source, self._store = source, store
        self._on_change, self._should_stop = on_change, should_stop
        self._objects = migrate_tables.objects_of(source)
        self._tables = migrate_tables.tables_of(self._objects)
        self._counts = migrate_tables.counted(source, self._tables)
        fresh = Mark(plan.source, migrate_tables.moment_of(source), rules_of(settings))
        self._mark = found or fresh
        if found is not None and (found.moment, found.rules) != (fresh.moment, fresh.rules):
            self._mark = replace(fresh, again=True)
        self._report = MigrateReport(
            now(), plan.source, plan.target, resumed=found is not None, archive_from=plan.archive_from
        )
        self._columns: dict[str, Sequence[Column]] = {}
        self._flattener: Flattener

    def run(self) -> MigrateReport:
        """Copy and prove; see migrate."""
        self._columns = self._lay_out()
        self._flattener = Flattener(
            self._store, parts.rules(self._settings), now=now, fetch_schema=lambda _schema_id: None
        )
        if not self._mark.is_copied:
            self._copy()
        self._check_moment()
        self._replay()
        self._compare()
        self._report.ended_at = now()
        self._report.conclude()
        self._finish()
        return self._report

    def _lay_out(self) -> dict[str, Sequence[Column]]:
        """Copy the names, and make of them what they are names of, in one transaction."""
        self._say("copy", "names", 0, None)
        rules = parts.rules(self._settings)
        with self._store.transaction() as tx:
            for table in NAMES:
                page = Page(Part(table), "", None)
                columns = tables.FIXED[table]
                rows = migrate_tables.read(self._source, page, columns)
                self._report.rows_copied += self._make_equal(tx, page, columns, rows)
            catalogs = Catalogs(tx, rules.enrich, rules.names, lambda _schema_id: None, rules.dropped)
            columns_of = migrate_tables.lay_out(tx, catalogs, self._objects, now())
            wanted = rows_in(self._counts, "headrace.properties")
            if catalogs.rename() or tx.rows("SELECT count(*) AS n FROM headrace.properties")[0]["n"] != wanted:
                raise ConfigError(
                    "The settings name or enrich fields otherwise than the store does: run headrace replay, so that it "
                    "follows them, then migrate."
                )
            self._put_mark(tx, self._mark)
        return {table: self._shared(table, columns) for table, columns in columns_of.items()}

    def _shared(self, table: str, columns: Sequence[Column]) -> Sequence[Column]:
        """Return those columns that the old store has too; name those that only it has."""
        there = {name.lower(): name for name in migrate_tables.columns_in(self._source, table)}
        known = {c.name.lower() for c in columns}
        foreign = [name for lower, name in there.items() if lower not in known]
        if foreign:
            self._report.notes.append(f"Columns of {table} that are not headrace's stay behind: {', '.join(foreign)}.")
        return [c for c in columns if c.name.lower() in there]

    # --- copying ------------------------------------------------------------------------------------

    def _copy(self) -> None:
        began = time.monotonic()
        names = [table for table in self._tables if table not in NAMES]
        counts = [self._counts, *([migrate_tables.counted(self._store, self._tables)] if self._mark.again else [])]
        todo = migrate_tables.parts_of(names, *counts)
        labels = [part.label for part in todo]
        at = labels.index(self._mark.part) if self._mark.part in labels else 0
        after = self._mark.after if self._mark.part in labels else ""
        done = sum(rows_of(self._counts, part) for part in todo[:at])
        progress = self._say("copy", "", done, sum(rows_in(self._counts, name) for name in names))
        batch: list[Read] = []
        for page in self._pages(todo[at:], after, counts):
            progress.phase = page.part.table
            self._beat(progress)
            rows = migrate_tables.read(self._source, page, self._columns[page.part.table])
            batch.append((page, rows))
            progress.done += len(rows)
            if sum(len(one) for _, one in batch) >= migrate_tables.ROWS_AT_ONCE:
                self._write(batch)
                batch = []
        self._write(batch, is_last=True)
        self._report.copy_seconds = round(time.monotonic() - began, 3)

    def _pages(self, todo: Sequence[Part], after: str, counts: Sequence[Counts]) -> Iterator[Page]:
        """Give the pages of these parts as the store orders them that has more of their rows."""
        for number, part in enumerate(todo):
            sizes = [rows_of(one, part) for one in counts]
            store = self._source if sizes[0] == max(sizes) else self._store
            if max(sizes):
                width = len(self._columns[part.table])
                yield from migrate_tables.pages(store, part, max(sizes), width, "" if number else after)

    def _write(self, batch: Sequence[Read], *, is_last: bool = False) -> None:
        """Write some pages in one transaction, with the mark that says so."""
        mark = replace(self._mark, is_copied=is_last)
        if batch:
            page, rows = batch[-1]
            last = page.upto or (str(max(row[page.part.key] for row in rows)) if rows else page.after)
            mark = replace(mark, part=page.part.label, after=last)
        try:
            with self._flattener.transaction() as tx:
                written = sum(self._put(tx, page, rows) for page, rows in batch)
                self._put_mark(tx, mark)
        except RefusedError as error:
            if not error.too_large:
                self._blame(batch, error)
            raise
        self._mark = mark
        self._report.rows_copied += written

    def _put(self, tx: Transaction, page: Page, rows: Sequence[Row]) -> int:
        columns = self._columns[page.part.table]
        try:
            if self._mark.again:
                return self._make_equal(tx, page, columns, rows)
            tx.append(page.part.table, columns, rows)
        except Misfit as misfit:
            keys = [rows[place][page.part.key] for place in misfit.rows]
            raise self._no_room(page, f"{misfit.table}.{misfit.column} holds {misfit.reason}", keys) from misfit
        return len(rows)

    def _blame(self, batch: Sequence[Read], error: RefusedError) -> None:
        """Find the row that a store refuses without saying which, and raise an error that names it."""
        for page, rows in batch:
            suspects = rows
            if not self._is_refused(page, suspects):
                continue
            while len(suspects) > 1:
                half = suspects[: len(suspects) // 2]
                suspects = half if self._is_refused(page, half) else suspects[len(half) :]
            raise self._no_room(page, str(error).rstrip("."), [suspects[0][page.part.key]]) from error

    def _is_refused(self, page: Page, rows: Sequence[Row]) -> bool:
        """Tell whether the store refuses these rows; nothing of them is left there."""
        try:
            with self._flattener.transaction() as tx:
                tx.append(page.part.table, self._columns[page.part.table], rows)
                raise _UndoneError
        except _UndoneError:
            return False
        except RefusedError:
            return True

    def _no_room(self, page: Page, reason: str, keys: Sequence[object]) -> RunError:
        named = ", ".join(shown_key(key) for key in dict.fromkeys(keys[:KEYS_NAMED]))
        more = f" and {len(keys) - KEYS_NAMED:,} more" if len(keys) > KEYS_NAMED else ""
        return RunError(
            f"The store at {self._place} has no room for rows of {page.part.table}: {reason} ({page.part.key} {named}"
            f"{more}). Leave the field out (objects.<Name>.exclude) and replay, or migrate to a store that holds it. "
            "What was copied before stays, and the same command goes on there."
        )

    def _make_equal(self, tx: Transaction, page: Page, columns: Sequence[Column], rows: Sequence[Row]) -> int:
        """Bring a page of the new store to what the old one has, and return how many rows were written."""
        there = migrate_tables.read(self._store, page, columns)
        keys = set(migrate_tables.differing(page.part, columns, rows, there))
        if not keys:
            return 0
        wanted = [row for row in rows if row[page.part.key] in keys]
        tx.delete(page.part.table, page.part.key, sorted(keys))
        tx.append(page.part.table, columns, wanted)
        return len(wanted)

    def _put_mark(self, tx: Transaction, mark: Mark) -> None:
        tx.upsert("headrace.meta", ("key",), tables.META, [{"key": MIGRATING, "value": mark.text()}])

    # --- proving ------------------------------------------------------------------------------------

    def _replay(self) -> None:
        """Derive everything in the new store once more from the captures there: it must change nothing."""
        shown = self._say("replay", "", 0, rows_in(self._counts, "headrace.states"))

        def on_change(done: ReplayProgress) -> None:
            shown.phase, shown.done, shown.began_at = done.phase, done.done, done.began_at
            self._on_change(shown)

        request = Request(
            f"{_RUNS}{self._mark.moment[:12]}", "archive", None, None, (), _RUNS, rules_of(self._settings)
        )

        def exclusively(work: Callable[[Flattener], T]) -> T:
            return work(self._flattener)

        replaying = Replaying(
            self._store, exclusively, request, ReplayProgress(), on_change, should_stop=self._should_stop
        )
        self._report.replayed(replaying.run())
        with self._flattener.transaction() as tx:
            # The new store is to tell of what the old one did, and not of its own proof.
            tx.delete("sync_runs", "run_id", [row["run_id"] for row in tx.rows(_REPLAYS)])

    def _compare(self) -> None:
        """Hold every row of every table against the other store's."""
        counts = [self._counts, migrate_tables.counted(self._store, self._tables)]
        ledgers = {table: TableLedger(table) for table in self._tables}
        seen = dict.fromkeys(self._tables, 0)
        total = sum(max(rows_in(one, table) for one in counts) for table in self._tables)
        progress = self._say("compare", "", 0, total)
        for page in self._pages(migrate_tables.parts_of(self._tables, *counts), "", counts):
            progress.phase = page.part.table
            self._beat(progress)
            ledger, columns = ledgers[page.part.table], self._columns[page.part.table]
            here, there = (migrate_tables.read(one, page, columns) for one in (self._source, self._store))
            keys = migrate_tables.differing(page.part, columns, here, there)
            ledger.source_rows += len(here)
            ledger.target_rows += len(there)
            ledger.differing += len(keys)
            ledger.keys += [shown_key(key) for key in keys[: KEYS_NAMED - len(ledger.keys)]]
            seen[page.part.table] += len(here) + len(there)
            progress.done += max(len(here), len(there))
        self._check_moment()
        for table, rows in seen.items():
            if rows != sum(rows_in(one, table) for one in counts):
                raise RunError(f"Not every row of {table} could be compared: some have no {Part(table).key}.")
        self._report.tables = [*ledgers.values()]

    def _check_moment(self) -> None:
        if migrate_tables.moment_of(self._source) != self._mark.moment:
            raise RunError(
                f"The store at {self._report.source} was written to while it was copied: stop what writes to it, then "
                "run the same headrace migrate again; it takes what has changed."
            )

    def _finish(self) -> None:
        """Let the new store be used if it is equal; else the next run looks at every row again."""
        with self._flattener.transaction() as tx:
            if self._report.equal:
                tx.delete("headrace.meta", "key", [MIGRATING])
            else:
                self._put_mark(tx, replace(self._mark, part="", after="", is_copied=False, again=True))

    def _say(self, stage: str, phase: str, done: int, total: int | None) -> MigrateProgress:
        progress = MigrateProgress(phase, done, total, began_at=done, stage=stage)
        self._on_change(progress)
        return progress

    def _beat(self, progress: MigrateProgress) -> None:
        self._on_change(progress)
        if self._should_stop():
            raise StoppedError("Stopped: the same command goes on from there.")


class _UndoneError(Exception):
    """Rolls back what was only tried."""
