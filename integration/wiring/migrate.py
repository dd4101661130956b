"""`headrace migrate`: a store is moved to another one, whatever keeps it, and the two are proved equal.

Copied are all tables, page by page; a mark in the new store says how far it is, so it can be broken off at any moment.
Proved is it twice: everything in the new store is derived once more from the captures there, which must change nothing,
and every row of every table is compared.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import SecretStr, ValidationError

from integration.errors import ConfigError, MissingStoreError, UnreachableError, UsageError
from integration.settings import MASK, Settings, StoreSettings
from integration.store import answers, opening, tables
from integration.store.protocol import Queryable, Reader, Store
from integration.wiring import asking, migrate_tables, reading
from integration.wiring.interruptible import interruptibly
from integration.wiring.migrate_mark import Mark, mark_in, refuse_unfinished
from integration.wiring.migrate_report import MigratePlan, MigrateProgress, MigrateReport, TablePlan
from integration.wiring.migrate_tables import rows_in
from integration.wiring.migrating import Migration, OnChange

__all__ = ["MigratePlan", "MigrateProgress", "MigrateReport", "migrate", "target_of"]

OnPlan = Callable[[MigratePlan], None]

_PASSWORD: Final = re.compile(r"(?i)([?&]\w*password=)[^&\s]*")
_AS_BEFORE: Final = "SELECT count(*) AS n FROM headrace.states WHERE NOT starts_with(payload::VARCHAR, '[')"
"""Last images as they were before version 2 (see core.state.is_packed)."""
_ARCHIVE_FROM: Final = "SELECT value FROM headrace.meta WHERE key = 'archive_from'"


def target_of(settings: Settings, url: str, password: str | None = None) -> Settings:
    """Return the settings with another store. Raises UsageError for an address that names none."""
    try:
        store = StoreSettings(url=url, password=SecretStr(password) if password else None)
    except ValidationError as error:
        raise UsageError(f"--to needs {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None
    return settings.model_copy(update={"store": store})


def migrate(
    settings: Settings,
    target: Settings,
    *,
    dry_run: bool = False,
    on_plan: OnPlan = lambda _plan: None,
    on_change: OnChange = lambda _progress: None,
) -> MigrateReport | None:
    """Plan, show the plan, copy the store of `settings` into that of `target`, and prove them equal; with `dry_run`
    only plan (None).

    Raises UsageError (twice the same store), ConfigError (no store; one that holds something else; other names than the
    settings want), UnreachableError (a worker has one of them), RunError (a value has no room; the store was written
    meanwhile) and what the stores raise. What differs is no error here, but stands in the report.
    """
    _check(settings, target)
    with reading.reader(settings) as source:
        refuse_unfinished(source, reading.place(settings))
        _refuse_older(source, settings)
        plan = _plan(settings, target, source)
        on_plan(plan)
        if dry_run:
            return None
        with _opened(target) as store:
            found = _mark(store, plan)
            report = interruptibly(
                lambda should_stop: Migration(settings, source, store, plan, found, on_change, should_stop).run()
            )
    report.notes += _notes(settings, target)
    return report


def _check(settings: Settings, target: Settings) -> None:
    if _where(settings) == _where(target):
        raise UsageError(f"--to names the store that is there already ({_where(settings)}): name another one.")
    asking.check_store(settings)
    owner = reading.find_owner(settings)
    if owner is not None:
        raise UnreachableError(
            f"Process {owner.pid} has the store open and goes on writing: stop it first; migrate, then point store.url "
            "at the new store, and start it again: the streams keep what comes meanwhile."
        )
    other = reading.find_owner(target)
    if other is not None:
        raise UnreachableError(f"Process {other.pid} has the store at {_where(target)} open: stop it first.")


def _refuse_older(source: Reader, settings: Settings) -> None:
    """Raise ConfigError for a store that an older headrace wrote: it may lack tables, and reading makes none; and the
    proof would write its last images otherwise than they are."""
    is_older = reading.version_of(source) < tables.SCHEMA_VERSION
    if is_older or answers.ask(source, _AS_BEFORE)[0]["n"]:
        raise ConfigError(
            f"The store at {_where(settings)} is as an older headrace keeps one: run headrace replay, which brings all "
            "of it up to date, then migrate."
        )


def _where(settings: Settings) -> str:
    """Return where a store is, as people see it: the same for the same file, from wherever it is named."""
    path = settings.store_path
    return str(path.resolve()) if path is not None else _PASSWORD.sub(rf"\1{MASK}", reading.place(settings))


def _plan(settings: Settings, target: Settings, source: Reader) -> MigratePlan:
    names = migrate_tables.tables_of(migrate_tables.objects_of(source))
    counts = migrate_tables.counted(source, names)
    listed = [TablePlan(table, rows_in(counts, table)) for table in names]
    forgotten = answers.ask(source, _ARCHIVE_FROM)
    plan = MigratePlan(_where(settings), _where(target), listed, sum(one.rows for one in listed))
    plan.archive_from = forgotten[0]["value"] if forgotten else None
    mark = _mark_there(target, plan)
    if mark is not None:
        plan.goes_on = "the proof" if mark.is_copied else mark.part or "the beginning"
    return plan


def _mark_there(target: Settings, plan: MigratePlan) -> Mark | None:
    """Look into the new store, where there is one yet: a plan makes none."""
    if not reading.exists(target):
        return None
    try:
        reader = reading.reader(target)
    except MissingStoreError:
        return None
    with reader:
        return _mark(reader, plan)


def _mark(store: Queryable, plan: MigratePlan) -> Mark | None:
    """Return how far an earlier migration of the same store came. Raises ConfigError for a store of something else."""
    mark = mark_in(store)
    if mark is not None and mark.source != plan.source:
        raise ConfigError(
            f"The store at {plan.target} is being filled from {mark.source}: name another one, or drop what is in it."
        )
    if mark is None:
        there = migrate_tables.counted(store, ("captures", "headrace.states", "headrace.positions"))
        if any(there.values()):
            raise ConfigError(
                f"The store at {plan.target} holds rows of its own: name a new file or an empty database, or drop what "
                "is in it."
            )
    return mark


def _notes(settings: Settings, target: Settings) -> list[str]:
    here, there = settings.redis_directory, target.redis_directory
    if settings.redis.url != "embedded" or here.absolute() == there.absolute():
        return []
    note = (
        f"The streams of the embedded Redis lie in {here}: before the worker starts, move them to {there}, where it "
        "looks for them with the new store, or it reads everything again."
    )
    return [note]


@contextmanager
def _opened(target: Settings) -> Iterator[Store]:
    """Open the new store to write. Not as a worker does: that refuses one that is being filled."""
    store = reading.patiently(
        lambda: opening.open_store(target.store.url, password=reading.store_password(target)), lambda _error: True
    )
    try:
        yield store
    finally:
        store.close()
