"""A worker's numbers: counted as it works, collected when Prometheus asks. See `families` for what each one means.

Counting is plain additions, since a first sync stores tens of thousands of captures. What Redis, the store and the
disk know themselves is asked when somebody looks, and never breaks the page.
"""

import math
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import structlog

from consumers.batch import Applied, Delay
from integration import __version__
from integration.core import budget
from integration.core.budget import Pace, Sample, Usage
from integration.errors import HeadraceError
from integration.settings import Settings
from integration.source.report import CycleReport
from integration.stream.figures import Figures, StreamFigures, StreamWatch
from integration.stream.names import stream_of
from integration.wiring.families import Family, Kind, shown_by
from integration.wiring.health import Health
from integration.wiring.waiting import MARTS_WAITING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

log = structlog.get_logger()

Labels = tuple[str, ...]
Values = dict[str, dict[Labels, float]]

PAUSES: Final = ("budget", "pressure", "redis", "standby")
_OUTCOMES: Final[Mapping[str, Sequence[str]]] = {
    "headrace_poll_cycles_total": ("ok", "failed", "paused"),
    "headrace_product_events_total": ("accepted", "duplicate", "refused"),
    "headrace_product_calls_total": ("ok", "bad", "unauthorized", "too_large", "full", "away", "failed"),
}
_KINDS: Final = ("missing", "stale", "ghosts")
_STORE_KEPT_SECONDS: Final = 10.0
_SWEPT: Final = """
SELECT object, ended_at, missing, stale, ghosts, missing + stale + ghosts - repaired AS unrepaired
FROM (SELECT *, row_number() OVER (PARTITION BY object ORDER BY ended_at DESC) AS place FROM reconciliations
      WHERE coalesce(kind, 'sweep') = 'sweep')
WHERE place = 1
"""
_APPLIED: Final = {
    "headrace_entries_taken_total": "entries",
    "headrace_captures_stored_total": "stored",
    "headrace_captures_seen_again_total": "seen_again",
    "headrace_versions_without_change_total": "untouched",
    "headrace_unknown_deletes_total": "unknown_deletes",
    "headrace_events_written_total": "events",
    "headrace_people_written_total": "users",
}
_READ: Final = {
    "headrace_rows_read_total": "rows_read",
    "headrace_rows_seen_again_total": "dropped_as_seen",
    "headrace_rows_unreadable_total": "unreadable",
    "headrace_captures_published_total": "published",
}
_STREAM: Final[Mapping[str, Callable[[StreamFigures], float]]] = {
    "headrace_stream_entries": lambda one: one.entries,
    "headrace_stream_lag_entries": lambda one: one.lag,
    "headrace_stream_pending_entries": lambda one: one.pending,
    "headrace_dead_letters_kept": lambda one: one.dead,
}


class Measures:
    """The numbers of one worker, in a registry of its own. Every method may be called from any thread.

    `clock` gives seconds since 1970. Metrics of what the role does not do are not shown.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        role: str = "all",
        polls: bool = True,
        consumes: bool = True,
        takes: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._role = role
        self._path = settings.store_path
        self._shown = shown_by(polls=polls, consumes=consumes, takes=takes)
        self._lock = threading.Lock()
        self._sums = {name: 0.0 for name, family in self._shown.items() if family.kind is Kind.HISTOGRAM}
        self._buckets = {name: [0] * (len(self._shown[name].bounds) + 1) for name in self._sums}
        streams = tuple(stream_of(name) for name in settings.watched)
        self._values = _zeros(self._shown, settings.watched, streams)
        self._since: str | None = None
        self._calls_before = 0
        self._samples: tuple[Sample, ...] = ()
        self._told: tuple[float, list[dict[str, Any]], dict[str, Any]] | None = None
        """What the store told last: when, its sweeps, and what waits for its marts."""
        self._ask_store: Callable[[str], list[dict[str, Any]]] | None = None
        self._health: Health | None = None
        self._registry: CollectorRegistry | None = None
        self.redis = StreamWatch(streams)
        """Looks at the streams; `redis.follow(url)` tells it where they are."""
        self._set("headrace_start_timestamp_seconds", clock())
        self._set("headrace_build_info", 1, __version__, role)
        self._set("headrace_poll_asked_interval_seconds", settings.poll.interval_seconds)
        self._set("headrace_poll_interval_seconds", settings.poll.interval_seconds)
        self._set("headrace_salesforce_budget_reached_in_seconds", math.inf)

    def stored(self, applied: Applied) -> None:
        """Count a committed batch: its rows, not itself."""
        now = self._clock()
        with self._lock:
            for name, attribute in _APPLIED.items():
                self._add(name, getattr(applied, attribute))
            for stream, count in Counter(reject.entry.stream for reject in applied.rejects).items():
                self._add("headrace_dead_letters_total", count, stream)
            self._set("headrace_last_commit_timestamp_seconds", now)
            self._observe("headrace_batch_entries", applied.entries)
            self._observe("headrace_batch_duration_seconds", applied.seconds)
            self._delayed(applied.delays, now)

    def cycled(self, report: CycleReport) -> None:
        """Count what a cycle of the poller read and published."""
        with self._lock:
            for name, count in report.objects.items():
                for metric, attribute in _READ.items():
                    self._add(metric, getattr(count, attribute), name)

    def polled(self, seconds: float, not_read: int = 0) -> None:
        """Note that a cycle ended well, how long it took, and how many watched objects can't be read."""
        with self._lock:
            self._set("headrace_objects_not_read", not_read)
            self._add("headrace_poll_cycles_total", 1, "ok")
            self._observe("headrace_poll_duration_seconds", seconds)
            self._set("headrace_poll_last_success_timestamp_seconds", self._clock())

    def poll_failed(self) -> None:
        """Note that a cycle ended in an error."""
        with self._lock:
            self._add("headrace_poll_cycles_total", 1, "failed")

    def poll_left_out(self) -> None:
        """Note that it was time for a cycle, but polling pauses."""
        with self._lock:
            self._add("headrace_poll_cycles_total", 1, "paused")

    def paused(self, reason: str, is_so: bool) -> None:
        """Note that polling pauses for one of PAUSES, or does so no more."""
        with self._lock:
            self._set("headrace_paused", float(is_so), reason)

    def product_call(self, outcome: str, accepted: int, duplicate: int, refused: int) -> None:
        """Count a call that brought product events, and what became of these."""
        with self._lock:
            self._add("headrace_product_calls_total", 1, outcome)
            for kind, count in (("accepted", accepted), ("duplicate", duplicate), ("refused", refused)):
                self._add("headrace_product_events_total", count, kind)

    def called(self, calls: int) -> None:
        """Note how many API calls the client has made so far; a new client begins at 0."""
        with self._lock:
            self._add(
                "headrace_salesforce_calls_total", calls - self._calls_before if calls >= self._calls_before else calls
            )
            self._calls_before = calls

    def budgeted(self, usage: Usage | None, percent: float, pace: Pace) -> None:
        """Note the org's API calls as Salesforce last told them, and the pace that follows from them."""
        with self._lock:
            self._set("headrace_poll_interval_seconds", pace.interval_seconds)
            self._set("headrace_paused", float(pace.paused), "budget")
            if usage is None:
                return
            self._samples = budget.remember(self._samples, self._clock(), usage.used)
            growth = budget.hourly_rate(self._samples)
            reached = budget.forecast(usage, percent, pace.interval_seconds, 0, growth).budget_reached_in
            self._set("headrace_salesforce_used_calls", usage.used)
            self._set("headrace_salesforce_allowed_calls", usage.total)
            self._set("headrace_salesforce_budget_calls", usage.budget(percent))
            self._set("headrace_salesforce_budget_reached_in_seconds", math.inf if reached is None else reached)

    def lease(self, role: str, is_held: bool) -> None:
        """Note whether this worker has the lease of a role."""
        with self._lock:
            self._set("headrace_lease_held", float(is_held), role)

    def ask_store(self, ask: Callable[[str], list[dict[str, Any]]]) -> None:
        """Say who answers SQL about the store; it raises UnreachableError while the store is closed."""
        self._ask_store = ask

    def ask_health(self, health: Health | None) -> None:
        """Say who knows how the components are."""
        self._health = health

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """Return all numbers as Prometheus takes them (by its `Accept` header), and the content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        if self._registry is None:
            self._registry = self._registered()
        return encode(self._registry), content_type

    def collect(self) -> "Iterator[Metric]":
        """Give the metrics, as a registry of prometheus_client asks for them."""
        found = self._found()
        with self._lock:
            values = {name: {**given, **found.get(name, {})} for name, given in self._values.items()}
            sums = dict(self._sums)
            buckets = {name: tuple(accumulate(counts)) for name, counts in self._buckets.items()}
        if found.get("headrace_redis_up", {}).get(()) == 0:
            for name in (*_STREAM, "headrace_stream_oldest_waiting_seconds"):
                values.pop(name, None)  # what was last known of a Redis that is away would pass for what is
        for name, family in self._shown.items():
            if family.kind is Kind.HISTOGRAM:
                yield _histogram(name, family, buckets[name], sums[name])
            else:
                yield _metric(name, family, values.get(name, {}))

    def _registered(self) -> "CollectorRegistry":
        from prometheus_client import CollectorRegistry, ProcessCollector

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        ProcessCollector(registry=registry)
        return registry

    def _add(self, name: str, count: float, *labels: str) -> None:
        if count and name in self._values:
            values = self._values[name]
            values[labels] = values.get(labels, 0.0) + count

    def _set(self, name: str, value: float, *labels: str) -> None:
        if name in self._values:
            self._values[name][labels] = value

    def _observe(self, name: str, *values: float) -> None:
        if name in self._sums:
            bounds, buckets = self._shown[name].bounds, self._buckets[name]
            for value in values:
                buckets[bisect_left(bounds, value)] += 1
            self._sums[name] += sum(values)

    def _delayed(self, delays: Sequence[Delay], now: float) -> None:
        """Observe how long changes took that were made since the first batch.

        What a first sync, or a start after a pause, brings is as old as it is: that would say nothing of the way here.
        """
        if not delays or "headrace_change_delay_seconds" not in self._sums:
            return
        if self._since is None:
            self._since = min(seen_at for _, seen_at, _ in delays)
        since = self._since
        fresh = [one for one in delays if one.version >= since]
        if not fresh:
            return
        changed = [_seconds(one.version) for one in fresh]
        shown = [_seconds(one.seen_at) for one in fresh]
        taken = [int(one.offset.partition("-")[0]) / 1000 for one in fresh]
        # Clocks of several machines differ: nothing is stored before it is published.
        self._observe("headrace_source_delay_seconds", *(max(s - c, 0.0) for s, c in zip(shown, changed, strict=True)))
        self._observe("headrace_store_delay_seconds", *(max(now - at, 0.0) for at in taken))
        self._observe("headrace_change_delay_seconds", *(max(now - at, 0.0) for at in changed))

    def _found(self) -> Values:
        """Return what is asked for only when somebody looks."""
        found: Values = {}
        if "headrace_redis_up" in self._values:
            figures = self.redis.look()
            found |= _of_redis(figures, self._clock())
            with self._lock:
                self._set("headrace_paused", float(figures.problem is not None), "redis")
        if "headrace_store_open" in self._values:
            found |= self._of_store()
        if self._health is not None:
            working = self._health.working()
            found["headrace_ready"] = {(): float(all(working.values()))}
            found["headrace_component_ready"] = {(name,): float(works) for name, works in working.items()}
        return found

    def _of_store(self) -> Values:
        size = 0
        files = (self._path, self._path.with_name(f"{self._path.name}.wal")) if self._path is not None else ()
        for path in files:
            with suppress(OSError):
                size += path.stat().st_size
        rows, waiting, is_open = self._asked()
        oldest = waiting.get("oldest")
        return {
            "headrace_store_open": {(): float(is_open)},
            "headrace_store_file_bytes": {(): float(size)},
            "headrace_marts_waiting_keys": {(): float(waiting.get("waiting") or 0)},
            "headrace_marts_oldest_waiting_seconds": {
                (): max(self._clock() - _seconds(oldest), 0.0) if oldest is not None else 0.0
            },
            "headrace_sweep_differences": {(r["object"], kind): float(r[kind] or 0) for r in rows for kind in _KINDS},
            "headrace_sweep_unrepaired_records": {(r["object"],): float(r["unrepaired"] or 0) for r in rows},
            "headrace_sweep_timestamp_seconds": {(r["object"],): _seconds(r["ended_at"]) for r in rows},
        }

    def _asked(self) -> tuple[list[dict[str, Any]], dict[str, Any], bool]:
        """Return the last sweep of each object, what waits for the marts, and whether the store is open."""
        now = self._clock()
        if self._ask_store is None:
            return [], {}, False
        is_open = True
        try:
            if self._told is None or not 0 <= now - self._told[0] < _STORE_KEPT_SECONDS:
                self._told = now, self._ask_store(_SWEPT), self._ask_store(MARTS_WAITING)[0]
            else:
                self._ask_store("SELECT 1")
        except HeadraceError as error:
            log.debug("metrics", detail=str(error))
            is_open = False
        _, swept, waiting = self._told or (now, [], {})
        return swept, waiting, is_open


def _zeros(shown: Mapping[str, Family], objects: Sequence[str], streams: Sequence[str]) -> Values:
    """Begin every metric at 0, so that an alert finds it before there is anything to tell."""
    known: dict[Labels, Iterable[Labels]] = {
        (): [()],
        ("object",): [(name,) for name in objects],
        ("stream",): [(name,) for name in streams],
        ("reason",): [(name,) for name in PAUSES],
        ("role",): [("poller",)],
        ("object", "kind"): [(name, kind) for name in objects for kind in _KINDS],
    }
    return {
        name: dict.fromkeys(known.get(family.labels) or ((one,) for one in _OUTCOMES.get(name, ())), 0.0)
        for name, family in shown.items()
        if family.kind is not Kind.HISTOGRAM
    }


def _of_redis(figures: Figures, now: float) -> Values:
    found: Values = {"headrace_redis_up": {(): float(figures.problem is None)}}
    if figures.problem is not None:
        return found
    for name, value in _STREAM.items():
        found[name] = {(stream,): value(one) for stream, one in figures.streams.items()}
    return found | {
        "headrace_stream_oldest_waiting_seconds": {
            (stream,): max(now - one.oldest_at, 0.0) if one.oldest_at is not None else 0.0
            for stream, one in figures.streams.items()
        },
        "headrace_redis_used_memory_bytes": {(): figures.used_memory},
        "headrace_redis_max_memory_bytes": {(): figures.max_memory},
        "headrace_reread_timestamp_seconds": {(name,): _seconds(at) for name, at in figures.reread.items()},
        "headrace_sweep_began_timestamp_seconds": {(): _seconds(figures.swept) if figures.swept else 0.0},
    }


def _metric(name: str, family: Family, values: Mapping[Labels, float]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _histogram(name: str, family: Family, counts: Sequence[int], total: float) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    ends = [*(str(float(end)) for end in family.bounds), "+Inf"]
    metric = HistogramMetricFamily(name, family.help)
    metric.add_metric([], list(zip(ends, counts, strict=True)), total)
    return metric


@lru_cache(4_096)
def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
