"""The numbers of a worker: rows and not batches, each where it belongs, none shared between two workers."""

import math
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from consumers.batch import Applied, Delay, Entry, Reject
from integration.core.budget import Pace, Usage
from integration.settings import Settings
from integration.source.captures import Reading
from integration.source.report import CycleReport
from integration.wiring.families import FAMILIES, Kind
from integration.wiring.measures import Measures

NOW = 1_795_000_000.0


class Clock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        return self.seconds


def samples(measures: Measures, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = measures.page(accept)[0].decode()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(measures: Measures, name: str, **labels: str) -> float:
    return samples(measures)[name, frozenset(labels.items())]


def stamp(seconds: float) -> str:
    """Return the time so many seconds after NOW, as Salesforce writes it."""
    return datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def made(settings: Settings, **words: Any) -> Measures:
    return Measures(settings, clock=Clock(), **words)


def test_every_metric_is_there_from_the_start_with_its_help_and_kind(settings: Settings) -> None:
    text = made(settings).page()[0].decode()
    assert "process_cpu_seconds_total" in text
    found = {f.name: f for f in text_string_to_metric_families(text) if f.name.startswith("headrace_")}
    for name, family in FAMILIES.items():
        shown = found.pop(name.removesuffix("_total"))
        assert (shown.type, shown.documentation) == (family.kind.value, family.help)
        needs = name.startswith("headrace_stream_") or name in (
            "headrace_dead_letters_kept",
            "headrace_component_ready",
        )
        assert needs or shown.samples, name  # those need a Redis that answers, or somebody who knows the components
    assert not found


def test_names_carry_their_units_and_labels_are_few() -> None:
    for name, family in FAMILIES.items():
        assert name.startswith("headrace_")
        assert name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert set(family.labels) <= {"object", "stream", "outcome", "reason", "kind", "role", "component", "version"}


def test_a_batch_counts_its_rows(settings: Settings) -> None:
    measures = made(settings)
    bad = Reject(Entry("crm.lead", "1-0", {}), "No.")
    batch = Applied(
        entries=9, stored=7, seen_again=1, untouched=2, unknown_deletes=3, events=5, users=4, rejects=[bad], seconds=0.2
    )
    measures.stored(batch)
    measures.stored(batch)
    assert value(measures, "headrace_entries_taken_total") == 18
    assert value(measures, "headrace_captures_stored_total") == 14
    assert value(measures, "headrace_captures_seen_again_total") == 2
    assert value(measures, "headrace_versions_without_change_total") == 4
    assert value(measures, "headrace_unknown_deletes_total") == 6
    assert value(measures, "headrace_events_written_total") == 10
    assert value(measures, "headrace_people_written_total") == 8
    assert value(measures, "headrace_dead_letters_total", stream="crm.lead") == 2
    assert value(measures, "headrace_dead_letters_total", stream="crm.contact") == 0
    assert value(measures, "headrace_last_commit_timestamp_seconds") == NOW
    assert value(measures, "headrace_batch_entries_bucket", le="10.0") == 2
    assert value(measures, "headrace_batch_entries_bucket", le="1.0") == 0
    assert value(measures, "headrace_batch_duration_seconds_sum") == 0.4
    assert value(measures, "headrace_batch_duration_seconds_count") == 2


def test_delays_are_those_of_changes_made_since_the_first_batch(settings: Settings) -> None:
    clock = Clock()
    measures = Measures(settings, clock=clock)
    old = Delay(stamp(-90_000), stamp(-5), "1795000000000-0")
    measures.stored(Applied(delays=[old] * 1000))
    assert value(measures, "headrace_change_delay_seconds_count") == 0
    clock.seconds += 100
    measures.stored(Applied(delays=[old, Delay(stamp(60), stamp(70), "1795000075500-7")]))
    assert value(measures, "headrace_change_delay_seconds_count") == 1
    assert value(measures, "headrace_source_delay_seconds_sum") == 10
    assert value(measures, "headrace_store_delay_seconds_sum") == 24.5
    assert value(measures, "headrace_change_delay_seconds_sum") == 40
    assert value(measures, "headrace_change_delay_seconds_bucket", le="30.0") == 0
    assert value(measures, "headrace_change_delay_seconds_bucket", le="60.0") == 1


def test_a_poll_counts_rows_by_object_and_says_how_it_ended(settings: Settings) -> None:
    measures = made(settings)
    report = CycleReport()
    report.count("Contact").add_page(5, Reading([], {}, None))
    report.count("Contact").published = 3
    report.count("Contact").unreadable = 1
    measures.cycled(report)
    measures.cycled(report)
    measures.polled(0.3, not_read=2)
    measures.poll_failed()
    measures.poll_left_out()
    assert value(measures, "headrace_rows_read_total", object="Contact") == 10
    assert value(measures, "headrace_captures_published_total", object="Contact") == 6
    assert value(measures, "headrace_captures_published_total", object="Lead") == 0
    assert value(measures, "headrace_rows_unreadable_total", object="Contact") == 2
    for outcome in ("ok", "failed", "paused"):
        assert value(measures, "headrace_poll_cycles_total", outcome=outcome) == 1
    assert value(measures, "headrace_poll_duration_seconds_sum") == 0.3
    assert value(measures, "headrace_poll_last_success_timestamp_seconds") == NOW
    assert value(measures, "headrace_objects_not_read") == 2
    measures.polled(0.1)
    assert value(measures, "headrace_objects_not_read") == 0


def test_calls_add_up_over_the_clients_of_a_worker(settings: Settings) -> None:
    measures = made(settings)
    for calls in (5, 8, 2, 2, 4):
        measures.called(calls)
    assert value(measures, "headrace_salesforce_calls_total") == 12


def test_the_budget_is_told_with_its_forecast(settings: Settings) -> None:
    clock = Clock()
    measures = Measures(settings, clock=clock)
    measures.budgeted(None, 70, Pace(10))
    assert value(measures, "headrace_salesforce_budget_reached_in_seconds") == math.inf
    measures.budgeted(Usage(1_000, 10_000), 70, Pace(10))
    clock.seconds += 1_800
    measures.budgeted(Usage(4_000, 10_000), 70, Pace(40, paused=True, reason="so"))
    assert value(measures, "headrace_salesforce_used_calls") == 4_000
    assert value(measures, "headrace_salesforce_allowed_calls") == 10_000
    assert value(measures, "headrace_salesforce_budget_calls") == 7_000
    assert value(measures, "headrace_salesforce_budget_reached_in_seconds") == 1_800
    assert value(measures, "headrace_poll_interval_seconds") == 40
    assert value(measures, "headrace_paused", reason="budget") == 1
    measures.budgeted(Usage(0, 10_000), 70, Pace(10))
    assert value(measures, "headrace_paused", reason="budget") == 0


def test_a_redis_that_is_away_does_not_break_the_page_and_nothing_old_is_shown_of_it(settings: Settings) -> None:
    measures = made(settings)
    measures.redis.follow("redis://127.0.0.1:1/0")
    found = {name for name, _ in samples(measures)}
    assert value(measures, "headrace_redis_up") == 0
    assert value(measures, "headrace_paused", reason="redis") == 1
    assert "headrace_stream_lag_entries" not in found
    assert "headrace_stream_oldest_waiting_seconds" not in found
    assert value(measures, "headrace_store_open") == 0
    measures.redis.follow(None)


def test_a_worker_shows_what_it_does_and_two_share_nothing(settings: Settings) -> None:
    poller, consumer = made(settings, role="poller", consumes=False), made(settings, role="consumer", polls=False)
    poller.polled(1)
    consumer.stored(Applied(entries=1, stored=1))
    poller.stored(Applied(entries=1, stored=1))
    of_poller, of_consumer = ({name for name, _ in samples(one)} for one in (poller, consumer))
    assert "headrace_poll_cycles_total" in of_poller - of_consumer
    assert "headrace_captures_stored_total" in of_consumer - of_poller
    assert "headrace_redis_up" in of_poller & of_consumer
    assert value(poller, "headrace_build_info", role="poller", version=_version(poller)) == 1
    web = {name for name, _ in samples(made(settings, role="web", polls=False, consumes=False, takes=False))}
    assert {n for n in web if n.startswith("headrace_")} == {
        "headrace_ready", "headrace_start_timestamp_seconds", "headrace_build_info",
    }  # fmt: skip


def test_the_form_is_the_one_that_is_asked_for(settings: Settings) -> None:
    measures = made(settings)
    page, kind = measures.page("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")
    assert measures.page("text/html")[1].startswith("text/plain")


def _version(measures: Measures) -> str:
    return next(dict(labels)["version"] for name, labels in samples(measures) if name == "headrace_build_info")


def test_what_waits_for_the_marts_is_counted_with_the_age_of_the_first(settings: Settings) -> None:
    waiting: list[dict[str, Any]] = [{"waiting": 3, "oldest": stamp(-90)}]
    clock = Clock()
    measures = Measures(settings, clock=clock)
    measures.ask_store(lambda sql: waiting if "headrace.stale" in sql else [])
    assert value(measures, "headrace_marts_waiting_keys") == 3
    assert value(measures, "headrace_marts_oldest_waiting_seconds") == 90
    waiting[0] = {"waiting": 0, "oldest": None}
    clock.seconds += 11  # what the store has said is kept for ten
    assert value(measures, "headrace_marts_waiting_keys") == 0
    assert value(measures, "headrace_marts_oldest_waiting_seconds") == 0
