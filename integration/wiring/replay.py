"""`headrace replay`: take what was captured through flattening again, here or in the worker that owns the store.

Salesforce is not asked. From the archive, records are derived anew in small transactions between which a worker goes
on with its batches; a mark in the store says how far it is, so it can be broken off at any moment.
"""

import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from consumers.apply import Flattener
from integration.core import exactjson
from integration.errors import UsageError
from integration.settings import Settings
from integration.store.answers import ask
from integration.store.ownership import StoreOwnedError
from integration.store.protocol import Store
from integration.wiring import asking, owner, parts, reading
from integration.wiring.clock import now
from integration.wiring.interruptible import interruptibly
from integration.wiring.replay_plan import MARKED, archived, in_streams, place_of, time_of, unfinished
from integration.wiring.replay_report import DESK, Asked, Plan, ReplayProgress, ReplayReport, Request, rules_of
from integration.wiring.replaying import Exclusively, OnChange, Replaying
from integration.wiring.streams import existing_streams

__all__ = ["Asked", "Plan", "ReplayProgress", "ReplayReport", "replay"]

T = TypeVar("T")
OnPlan = Callable[[Plan], None]


def replay(
    settings: Settings,
    asked: Asked,
    *,
    dry_run: bool = False,
    restart: bool = False,
    on_plan: OnPlan = lambda _plan: None,
    on_change: OnChange = lambda _progress: None,
) -> ReplayReport | None:
    """Plan, show the plan, and replay; with `dry_run` only plan (None).

    Where a worker owns the store, that worker is asked to do it. Raises UsageError (unknown object, no time, an end
    before the beginning), ConfigError (no store, nothing archived), UnreachableError and what the store raises.
    """
    asking.check_store(settings)
    moment = datetime.now(UTC)
    since, until = time_of(asked.since, "--from", moment), time_of(asked.until, "--to", moment)
    words = exactjson.dumps([asked.source, asked.since, asked.until, sorted(asked.objects)]).decode()
    request = Request(
        f"replay-{uuid.uuid4().hex[:12]}", asked.source, since, until, asked.objects, words, rules_of(settings), restart
    )
    with reading.reader(settings) as store:
        mark = None if restart else unfinished(ask(store, MARKED), request)
        if mark is not None:
            # `-7d` meant other times then: what was begun is finished.
            since, until = mark["since"], mark["until"]
        if since is not None and until is not None and since >= until:
            raise UsageError(f"--from {asked.since} ({since}) is not before --to {asked.until} ({until}).")
        plan = archived(store, asked.objects, since, until) if asked.source == "archive" else None
    if plan is None:
        plan = in_streams(settings, asked.objects, since, until)
    plan.goes_on = place_of(mark) if mark is not None else None
    on_plan(plan)
    if dry_run:
        return None
    return _do(settings, request, plan, on_change)


def _do(settings: Settings, request: Request, plan: Plan, on_change: OnChange) -> ReplayReport:
    worker = reading.find_owner(settings)
    if worker is None:
        try:
            with parts.open_store(settings) as store, owner.answering_queries(settings, store, port=0):
                return _here(settings, store, request, plan, on_change)
        except StoreOwnedError:
            worker = reading.find_owner(settings)
            if worker is None:
                raise
    progress = ReplayProgress(total=plan.records)

    def waiting(phase: str, told: Any) -> None:
        progress.phase = told.get("phase", phase)
        progress.done, progress.began_at = told.get("done", 0), told.get("began_at", 0)
        on_change(progress)

    with existing_streams(settings) as streams:
        text = exactjson.dumps(asdict(request)).decode()
        return ReplayReport(**asking.ask(settings, streams.client, worker, DESK, request.run_id, text, waiting))


def _here(settings: Settings, store: Store, request: Request, plan: Plan, on_change: OnChange) -> ReplayReport:
    progress = ReplayProgress(total=plan.records)
    if request.source == "stream":
        with existing_streams(settings) as streams:
            flattener = parts.flattener(settings, store, streams.client)
            here = partial(Replaying, store, _alone(flattener), request, progress, on_change, client=streams.client)
            return interruptibly(lambda should_stop: here(should_stop=should_stop).run())
    # All descriptions that the archive needs are in the store: Redis may be away.
    flattener = Flattener(store, parts.rules(settings), now=now, fetch_schema=lambda _id: None)
    here = partial(Replaying, store, _alone(flattener), request, progress, on_change)
    return interruptibly(lambda should_stop: here(should_stop=should_stop).run())


def _alone(flattener: Flattener) -> Exclusively:
    def exclusively(work: Callable[[Flattener], T]) -> T:
        return work(flattener)

    return exclusively
