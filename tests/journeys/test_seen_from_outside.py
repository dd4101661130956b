"""A worker as seen by those who watch it at night: probes, numbers, alerts, a dashboard, traces."""

import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from collector import Collector, collecting
from following import polled_and_stored
from prometheus_client.parser import text_string_to_metric_families
from shell import ROOT, Running

from integration.stream.connection import connect
from integration.stream.embedded import embedded

Found = Callable[..., Any]
Sample = tuple[str, frozenset[tuple[str, str]]]

QUICK = {"HEADRACE_POLL__INTERVAL_SECONDS": "0.2", "HEADRACE_WEB__PORT": "0"}
LOST = "00Q5g000000LOSTAAA"
MONITORING = ROOT / "docs" / "monitoring"
METRIC = re.compile(r"\b((?:headrace|process)_[a-z_]+)\b")


def url_of(running: Running) -> str:
    found = re.search(r"http://[\d.]+:\d+", running.notes)
    assert found, running.notes
    return found[0]


def get(running: Running, path: str) -> requests.Response:
    return requests.get(f"{url_of(running)}{path}", timeout=30)


def scraped(running: Running) -> dict[Sample, float]:
    answer = get(running, "/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def total(numbers: dict[Sample, float], name: str) -> float:
    return sum(value for (found, _), value in numbers.items() if found == name)


def one(numbers: dict[Sample, float], name: str, **labels: str) -> float:
    return numbers[name, frozenset(labels.items())]


def counts(company: Any) -> dict[str, int]:
    return company.query(
        "SELECT (SELECT count(*) FROM captures) AS captures, (SELECT count(*) FROM events) AS events, "
        "(SELECT count(*) FROM users) AS users, (SELECT count(*) FROM dead_letters) AS dead, "
        "(SELECT count(*) FROM captures WHERE object = 'Contact') AS contacts"
    )[0]


@dataclass
class Night:
    """What a worker showed after it had stored all there was, and what is in its store."""

    numbers: dict[Sample, float]
    ready: requests.Response
    there: dict[str, int]
    lines: list[dict[str, Any]]
    """What it logged."""


@pytest.fixture(scope="module")
def night(found_for_all: Found) -> Night:
    """Look at a worker after a first sync, some changes, and an entry that nobody can use."""
    company = found_for_all(accounts=3, **QUICK)
    company.watcher.observe(company.org)
    with company.shell.start("run") as running:
        running.ready()
        running.until(polled_and_stored(company))
        company.live(20)
        with connect(company.settings.redis.url) as client:
            client.xadd("crm.lead", {"data": "nonsense", "subject": f"Lead/{LOST}"})
        company.watcher.observe(company.org)
        running.until(polled_and_stored(company))
        numbers, ready = scraped(running), get(running, "/readyz")
        assert running.end(signal.SIGTERM) == 0, running.notes
    lines = [json.loads(line) for line in running.notes.splitlines() if line.startswith("{")]
    return Night(numbers, ready, counts(company), lines)


def test_a_worker_that_works_is_ready(night: Night) -> None:
    assert night.ready.status_code == 200
    assert night.ready.json() == {
        "status": "ok",
        "components": dict.fromkeys(("redis", "store", "consumer", "poller"), "ok"),
    }
    for name in ("headrace_ready", "headrace_store_open", "headrace_redis_up"):
        assert one(night.numbers, name) == 1
    assert one(night.numbers, "headrace_lease_held", role="poller") == 1


def test_the_numbers_of_a_worker_are_those_of_its_store(night: Night) -> None:
    numbers, there = night.numbers, night.there
    assert one(numbers, "headrace_captures_stored_total") == there["captures"]
    assert one(numbers, "headrace_events_written_total") == there["events"]
    assert one(numbers, "headrace_people_written_total") >= there["users"]
    assert one(numbers, "headrace_captures_published_total", object="Contact") >= there["contacts"] > 10
    assert one(numbers, "headrace_dead_letters_total", stream="crm.lead") == there["dead"] == 1
    assert one(numbers, "headrace_dead_letters_kept", stream="crm.lead") == 1
    taken = there["captures"] + there["dead"] + one(numbers, "headrace_captures_seen_again_total")
    assert one(numbers, "headrace_entries_taken_total") == taken == one(numbers, "headrace_batch_entries_sum")
    assert total(numbers, "headrace_stream_entries") == taken
    assert total(numbers, "headrace_stream_lag_entries") == total(numbers, "headrace_stream_pending_entries") == 0
    assert one(numbers, "headrace_poll_cycles_total", outcome="ok") >= 2
    assert one(numbers, "headrace_poll_cycles_total", outcome="failed") == 0
    assert one(numbers, "headrace_salesforce_calls_total") == one(numbers, "headrace_salesforce_used_calls") > 5
    # Of what was there before the worker, only the age is known; of what happened meanwhile, the delay.
    assert 0 < one(numbers, "headrace_source_delay_seconds_count") < there["captures"] / 2


def test_what_is_given_up_is_logged_with_the_record_it_is_about(night: Night) -> None:
    [line] = [line for line in night.lines if line["event"] == "dead letter"]
    assert (line["level"], line["stream"], line["record"]) == ("warning", "crm.lead", f"Lead/{LOST}")


def test_dashboard_and_alerts_name_what_a_worker_shows_and_nothing_else(night: Night) -> None:
    shown = {name for name, _ in night.numbers}
    expressions = (*dashboard_expressions(), *alert_expressions())
    named = {name for expression in expressions for name in METRIC.findall(expression)}
    assert len(named) > 30
    assert named <= shown, named - shown


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    assert isinstance(board["schemaVersion"], int)
    assert board["title"]
    assert "id" not in board  # Grafana gives it one
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) > 30
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows[0] == "Is it fresh?"
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"].endswith(".")
            assert [t["refId"] for t in panel["targets"]] == sorted({t["refId"] for t in panel["targets"]})


def test_the_alert_rules_have_the_form_that_prometheus_takes() -> None:
    rules = alert_rules()
    assert len({rule["alert"] for rule in rules}) == len(rules) > 12
    for rule in rules:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"Headrace[A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"].endswith(".")
        assert re.fullmatch(r"docs/operations\.md#[a-z-]+", rule["annotations"]["runbook"])
        expression = rule["expr"]
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")
        for used in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert used in expression, (rule["alert"], used)


def test_a_redis_that_goes_away_is_seen_and_one_that_comes_back_too(found: Found, tmp_path: Path) -> None:
    with embedded(tmp_path / "own") as redis_url:
        company = found(accounts=2, **{**QUICK, "HEADRACE_REDIS__URL": redis_url})
        company.watcher.observe(company.org)
        with company.shell.start("run") as running:
            running.ready()
            running.until(lambda: get(running, "/readyz").status_code == 200)
            with connect(redis_url) as client:
                client.shutdown(nosave=True)
            running.until(lambda: "does not answer" in get(running, "/readyz").json()["components"]["redis"])
            told = get(running, "/readyz")
            assert (told.status_code, told.json()["status"]) == (503, "not ready")
            assert get(running, "/livez").status_code == 200
            numbers = scraped(running)
            assert one(numbers, "headrace_redis_up") == one(numbers, "headrace_ready") == 0
            assert one(numbers, "headrace_component_ready", component="redis") == 0
            with embedded(tmp_path / "own") as again:
                assert again == redis_url
                running.until(lambda: get(running, "/readyz").status_code == 200)
                running.until(lambda: one(scraped(running), "headrace_redis_up") == 1)
                assert running.end(signal.SIGTERM) == 0, running.notes


def test_a_change_is_one_trace_from_the_poll_to_the_commit(found: Found) -> None:
    with collecting() as collector:
        company = found(accounts=1, **QUICK, HEADRACE_TELEMETRY__OTLP_ENDPOINT=collector.url)
        contact = company.org.insert("Contact", {"LastName": "Reyes", "Email": "bea.reyes@example.com"})
        company.watcher.observe(company.org)
        with company.shell.start("run", HEADRACE_LOG__LEVEL="debug") as running:
            running.ready()
            running.until(polled_and_stored(company))
            company.clock.advance(5)
            # A field without history: its row would be a page of its own, and may share the batch.
            company.org.update("Contact", contact, {"Fax": "555-0199"})
            company.watcher.observe(company.org)
            running.until(polled_and_stored(company))
            with connect(company.settings.redis.url) as client:
                [[_, entry]] = client.xrevrange("crm.contact", count=1)
            assert running.end(signal.SIGTERM) == 0, running.notes
    version, trace, parent, _ = entry[b"traceparent"].decode().split("-")
    assert version == "00"
    spans = {span.span_id.hex(): span for span in collector.spans if span.trace_id.hex() == trace}
    page = spans[parent]
    assert page.name == "publish page"
    cycle = spans[page.parent_span_id.hex()]
    assert cycle.name == "poll cycle"
    assert not cycle.parent_span_id
    calls = [span for span in spans.values() if span.name == "salesforce call"]
    assert calls
    assert {call.parent_span_id for call in calls} == {cycle.span_id}
    batch = next(span for span in spans.values() if span.name == "apply batch" and span.parent_span_id == page.span_id)
    assert [link.span_id for link in batch.links] == [page.span_id]
    parts = {span.name: span for span in spans.values() if span.parent_span_id == batch.span_id}
    assert parts.keys() == {"flatten", "commit"}
    assert parts["commit"].start_time_unix_nano >= parts["flatten"].end_time_unix_nano
    assert page.end_time_unix_nano <= parts["commit"].end_time_unix_nano <= batch.end_time_unix_nano
    first = next(span for span in collector.named("apply batch") if len(span.links) > 1)
    assert not first.parent_span_id
    assert_tells_no_person(collector)
    assert {"service.name": "headrace", "headrace.role": "all"}.items() <= collector.resources[0].items()
    lines = [json.loads(line) for line in running.notes.splitlines() if line.startswith("{")]
    published = [line for line in lines if line["event"] == "page published"]
    assert trace in {line["trace_id"] for line in published if line["object"] == "Contact"}


def test_without_a_collector_nothing_is_traced(found: Found) -> None:
    company = found(accounts=1, **QUICK)
    company.sync()
    with connect(company.settings.redis.url) as client:
        [[_, entry]] = client.xrevrange("crm.contact", count=1)
    assert b"traceparent" not in entry


def assert_tells_no_person(collector: Collector) -> None:
    for span in collector.spans:
        for attribute in span.attributes:
            assert attribute.key.startswith("headrace."), attribute
            text = attribute.value.string_value
            assert not re.search(r"Reyes|555-0199|@", text), attribute
        assert not span.events


def dashboard_expressions() -> list[str]:
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    asked = [variable["definition"] for variable in board["templating"]["list"] if "definition" in variable]
    return asked + [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def alert_rules() -> list[dict[str, Any]]:
    told = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))
    assert told.keys() == {"groups"}
    assert all(group.keys() == {"name", "rules"} for group in told["groups"])
    return [rule for group in told["groups"] for rule in group["rules"]]


def alert_expressions() -> list[str]:
    return [rule["expr"] for rule in alert_rules()]
