"""`headrace sync`: one shot. Poll until caught up, consume until empty."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from integration.errors import HeadraceError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.store import tables
from integration.store.protocol import Store
from integration.wiring import owner, parts, pipeline, runs
from integration.wiring.clock import now
from integration.wiring.pipeline import Polling, Progress
from integration.wiring.streams import open_streams
from integration.wiring.sweep import Sweeper, tools_for


@dataclass(slots=True)
class SyncReport:
    """What one sync came to."""

    run_id: str
    started_at: str
    ended_at: str = ""
    records_read: int = 0
    captures_published: int = 0
    captures_stored: int = 0
    versions_without_change: int = 0
    events_written: int = 0
    users_written: int = 0
    dead_letters: int = 0
    dead_letters_by_stream: dict[str, int] = field(default_factory=dict)
    api_calls: int = 0
    api_usage: tuple[int, int] | None = None
    by_object: dict[str, int] = field(default_factory=dict)
    not_watched: dict[str, str] = field(default_factory=dict)
    """Default objects that the login does not see, and why."""
    skipped: list[str] = field(default_factory=list)
    """Records the poller could not use, in a sentence each."""
    notes: list[str] = field(default_factory=list)
    outcome: str = "ok"


def sync(settings: Settings, on_change: Callable[[Progress, Any], None] | None = None) -> SyncReport:
    """Bring the store up to date with the org.

    Raises ConfigError, UnreachableError or RunError; what was committed before stays, and the next sync goes on.
    """
    report = SyncReport(run_id=f"sync-{uuid.uuid4().hex[:12]}", started_at=now())
    progress = Progress()
    if on_change is not None:
        progress.on_change = on_change
    source = parts.salesforce(settings)
    # Before anything is made: who is refused here has not left an empty store behind.
    source.org_id  # noqa: B018 - logs in
    with parts.open_store(settings) as store, owner.answering_queries(settings, store, port=0):
        try:
            _work(settings, source, store, progress)
            report.outcome = "dead letters" if progress.dead else "ok"
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            report.outcome = "interrupted" if stopped else f"failed: {type(error).__name__}"
            _fill(report, progress, source)
            with suppress(HeadraceError):  # a store that is broken has said so already
                runs.note(store, report, "sync")
            raise
        _fill(report, progress, source)
        runs.note(store, report, "sync")
        _forget(store, settings.archive.days)
    return report


def _work(settings: Settings, source: SalesforceClient, store: Store, progress: Progress) -> None:
    with open_streams(settings) as streams:
        polling = Polling(settings, source, streams, progress, by="sync")
        described = polling.describe()
        consumer = pipeline.consumer(settings, store, streams, progress, described)

        def work(should_stop: Callable[[], bool]) -> None:
            polling.once(should_stop=should_stop)
            tools = tools_for(settings, source, streams.client, store, polling, should_stop=should_stop)
            Sweeper(settings, tools, counts=progress.totals).settle()

        asyncio.run(pipeline.drain_while(consumer, streams, progress, work))


def _fill(report: SyncReport, progress: Progress, source: SalesforceClient) -> None:
    report.ended_at = now()
    report.records_read, report.captures_published = progress.read, progress.published
    report.by_object, report.skipped = progress.by_object, progress.skipped
    report.notes, report.not_watched = progress.notes, progress.not_watched
    report.captures_stored, report.events_written = progress.applied.stored, progress.applied.events
    report.versions_without_change = progress.applied.untouched
    report.users_written = progress.applied.users
    report.dead_letters, report.dead_letters_by_stream = progress.dead.total(), dict(progress.dead)
    report.api_calls, report.api_usage = source.calls, source.api_usage


def _forget(store: Store, days: int) -> None:
    """Keep the archive to `archive.days` (0 keeps it for ever), and note since when it is whole."""
    if not days:
        return
    before = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with store.transaction() as tx:
        if tx.rows("SELECT 1 AS found FROM captures WHERE stored_at < CAST(? AS TIMESTAMPTZ) LIMIT 1", [before]):
            tx.forget_before("captures", "stored_at", before)
            tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "archive_from", "value": before}])
