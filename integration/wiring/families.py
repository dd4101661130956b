"""Every metric there is: its name, kind, labels and help text, and which workers show it. The one list of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """How Prometheus takes a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Part(StrEnum):
    """What a worker has to do to show a metric."""

    POLLS = "polls"
    CONSUMES = "consumes"
    TAKES = "takes"
    """Takes product events."""
    ANY = "any"
    """Polls or consumes."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric. `bounds` are the upper ends of a histogram's buckets."""

    kind: Kind
    part: Part
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_DELAYS: Final = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3_600, 14_400, 86_400)
_WORK: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES: Final = (1, 10, 50, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000)

_O: Final = ("object",)
_S: Final = ("stream",)


def _counter(part: Part, help_text: str, labels: tuple[str, ...] = ()) -> Family:
    return Family(Kind.COUNTER, part, help_text, labels)


def _gauge(part: Part, help_text: str, labels: tuple[str, ...] = ()) -> Family:
    return Family(Kind.GAUGE, part, help_text, labels)


def _histogram(part: Part, help_text: str, bounds: tuple[float, ...]) -> Family:
    return Family(Kind.HISTOGRAM, part, help_text, (), bounds)


FAMILIES: Final[Mapping[str, Family]] = {
    # The poller.
    "headrace_rows_read_total": _counter(Part.POLLS, "Rows that Salesforce sent in polls.", _O),
    "headrace_rows_seen_again_total": _counter(Part.POLLS, "Rows of the overlap that were known already.", _O),
    "headrace_rows_unreadable_total": _counter(Part.POLLS, "Rows without a usable Id or stamp, left out.", _O),
    "headrace_captures_published_total": _counter(Part.POLLS, "Captures that polls handed to the streams.", _O),
    "headrace_poll_cycles_total": _counter(
        Part.POLLS, "Cycles of the poller, by outcome: ok, failed, or paused (left out).", ("outcome",)
    ),
    "headrace_poll_duration_seconds": _histogram(Part.POLLS, "How long a cycle took that ended well.", _WORK),
    "headrace_poll_last_success_timestamp_seconds": _gauge(
        Part.POLLS, "When the last cycle ended well, in seconds since 1970; 0 before the first."
    ),
    "headrace_poll_interval_seconds": _gauge(Part.POLLS, "Time from one cycle to the next, as it is now."),
    "headrace_poll_asked_interval_seconds": _gauge(Part.POLLS, "The same as poll.interval_seconds asks for it."),
    "headrace_paused": _gauge(
        Part.POLLS,
        "1 while polling pauses: for the API budget, for the streams (back-pressure), since Redis is away, or standing "
        "by while another worker polls.",
        ("reason",),
    ),
    "headrace_objects_not_read": _gauge(Part.POLLS, "Watched objects that the login can not read."),
    "headrace_salesforce_calls_total": _counter(Part.POLLS, "API calls this worker has made, logins not counted."),
    "headrace_salesforce_used_calls": _gauge(Part.POLLS, "API calls of the org in 24 hours, everyone's."),
    "headrace_salesforce_allowed_calls": _gauge(Part.POLLS, "API calls that the org may make in 24 hours."),
    "headrace_salesforce_budget_calls": _gauge(
        Part.POLLS, "What salesforce.api_budget_percent is of the allowed calls: where polling pauses."
    ),
    "headrace_salesforce_budget_reached_in_seconds": _gauge(
        Part.POLLS, "When the budget is reached at the rate of the last hour; +Inf if not within a day."
    ),
    # The consumer.
    "headrace_entries_taken_total": _counter(Part.CONSUMES, "Stream entries in committed batches."),
    "headrace_captures_stored_total": _counter(Part.CONSUMES, "Captures stored: those that told something new."),
    "headrace_captures_seen_again_total": _counter(Part.CONSUMES, "Captures that told nothing new."),
    "headrace_versions_without_change_total": _counter(
        Part.CONSUMES, "Stored versions in which nothing that people look at had changed: no event."
    ),
    "headrace_unknown_deletes_total": _counter(Part.CONSUMES, "Deletes of records that were never seen."),
    "headrace_events_written_total": _counter(Part.CONSUMES, "Rows written to events."),
    "headrace_people_written_total": _counter(Part.CONSUMES, "Rows written to users."),
    "headrace_dead_letters_total": _counter(Part.CONSUMES, "Entries given up.", _S),
    "headrace_batch_entries": _histogram(Part.CONSUMES, "Entries in a committed batch.", _SIZES),
    "headrace_batch_duration_seconds": _histogram(Part.CONSUMES, "From taking up a batch to its commit.", _WORK),
    "headrace_last_commit_timestamp_seconds": _gauge(
        Part.CONSUMES, "When the last batch was committed, in seconds since 1970; 0 before the first."
    ),
    "headrace_source_delay_seconds": _histogram(
        Part.CONSUMES,
        "From a change in Salesforce (SystemModstamp) to the answer that showed it, by Salesforce's clock. Changes "
        "made since this worker's first batch.",
        _DELAYS,
    ),
    "headrace_store_delay_seconds": _histogram(
        Part.CONSUMES,
        "From being published to being stored, for the changes of headrace_source_delay_seconds.",
        _DELAYS,
    ),
    "headrace_change_delay_seconds": _histogram(
        Part.CONSUMES,
        "From a change in Salesforce (SystemModstamp) to being stored, for the same changes; two clocks.",
        _DELAYS,
    ),
    "headrace_store_open": _gauge(Part.CONSUMES, "1 while this worker has the store open."),
    "headrace_store_file_bytes": _gauge(Part.CONSUMES, "Size of the store's file, its log included."),
    "headrace_marts_waiting_keys": _gauge(
        Part.CONSUMES, "People and records for which the marts are still to be worked out anew."
    ),
    "headrace_marts_oldest_waiting_seconds": _gauge(
        Part.CONSUMES, "How long the first of these has waited; 0: none waits."
    ),
    "headrace_sweep_differences": _gauge(
        Part.CONSUMES, "Records that the last sweep of the object found missing, stale or ghosts.", ("object", "kind")
    ),
    "headrace_sweep_unrepaired_records": _gauge(
        Part.CONSUMES, "Of these, records that the sweep could not set right.", _O
    ),
    "headrace_sweep_timestamp_seconds": _gauge(
        Part.CONSUMES, "When the object was swept last, in seconds since 1970; 0: never.", _O
    ),
    # The door for product events.
    "headrace_product_events_total": _counter(
        Part.TAKES,
        "Product events that clients sent, by outcome: accepted, duplicate (taken before), or refused (not usable).",
        ("outcome",),
    ),
    "headrace_product_calls_total": _counter(
        Part.TAKES,
        "Calls of clients, by outcome: ok, bad, unauthorized, too_large, full or away (of Redis), or failed.",
        ("outcome",),
    ),
    # Redis.
    "headrace_redis_up": _gauge(Part.ANY, "1 if Redis answers this worker."),
    "headrace_redis_used_memory_bytes": _gauge(Part.ANY, "Memory that Redis uses."),
    "headrace_redis_max_memory_bytes": _gauge(Part.ANY, "Memory that Redis may use; 0: no limit is set."),
    "headrace_stream_entries": _gauge(Part.ANY, "Entries that the stream holds.", _S),
    "headrace_stream_lag_entries": _gauge(
        Part.ANY, "Entries not yet delivered to the consumer; all of the stream's where Redis does not know.", _S
    ),
    "headrace_stream_pending_entries": _gauge(Part.ANY, "Entries delivered and not yet stored.", _S),
    "headrace_stream_oldest_waiting_seconds": _gauge(
        Part.ANY, "Age of the oldest entry that is not yet stored; 0: nothing waits.", _S
    ),
    "headrace_dead_letters_kept": _gauge(Part.ANY, "Dead letters that lie in Redis now.", _S),
    "headrace_reread_timestamp_seconds": _gauge(
        Part.ANY, "Since when the object's calculated fields have been read again; 0: not yet.", _O
    ),
    "headrace_sweep_began_timestamp_seconds": _gauge(
        Part.ANY, "When the last sweep of all objects began, by Salesforce's clock; 0: none has."
    ),
    # The worker itself.
    "headrace_lease_held": _gauge(Part.POLLS, "1 while this worker has the lease of the role.", ("role",)),
    "headrace_ready": _gauge(Part.ALWAYS, "1 if /readyz answers 200."),
    "headrace_component_ready": _gauge(Part.ALWAYS, "1 for each component that works.", ("component",)),
    "headrace_start_timestamp_seconds": _gauge(Part.ALWAYS, "When the worker was started, in seconds since 1970."),
    "headrace_build_info": _gauge(Part.ALWAYS, "Always 1: the labels tell.", ("version", "role")),
}


def shown_by(*, polls: bool, consumes: bool, takes: bool) -> dict[str, Family]:
    """Return the metrics of a worker that does this."""
    parts = {Part.ALWAYS}
    if polls:
        parts |= {Part.POLLS, Part.ANY}
    if consumes:
        parts |= {Part.CONSUMES, Part.ANY}
    if takes:
        parts.add(Part.TAKES)
    return {name: family for name, family in FAMILIES.items() if family.part in parts}
