"""Traces: none without a collector, linked where several things led to one, and never in the way."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from integration import tracing
from integration.errors import ConfigError
from integration.stream.entry import about, readable, traceparents

ONE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TWO = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Trace into memory."""
    exporter = InMemorySpanExporter()

    def provider(*_: str) -> Any:
        from opentelemetry.sdk.trace import TracerProvider

        made = TracerProvider(shutdown_on_exit=False)
        made.add_span_processor(SimpleSpanProcessor(exporter))
        return made

    monkeypatch.setattr(tracing, "_provider", provider)
    with tracing.sending("http://localhost:1", version="1", role="all"):
        yield exporter


def test_a_worker_without_a_collector_loads_nothing_of_it_nor_of_metrics_that_nobody_asks_for() -> None:
    # FastStream loads a part of OpenTelemetry by itself where it is installed: not the part that traces.
    heavy = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "prometheus_client")
    words = f"import sys, integration.wiring.run; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_what_is_off_says_nothing_and_asks_for_nothing() -> None:
    def asked() -> Iterator[str]:
        raise AssertionError("nobody needs to know")
        yield ""

    with tracing.span("apply batch", after=asked(), entries=1) as span:
        span.set(stored=1)
        assert not tracing.is_on()
        assert tracing.traceparent() is None
        assert tracing.current_ids() is None


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with (
        pytest.raises(ConfigError, match=r"install headrace\[otel\], or unset it"),
        tracing.sending("http://localhost:1", version="1", role="all"),
    ):
        pass


def test_what_one_page_led_to_is_a_part_of_its_trace_and_what_many_did_is_linked_to_them(
    spans: InMemorySpanExporter,
) -> None:
    with tracing.span("apply batch", after=[ONE, ONE]):
        assert tracing.current_ids() is not None
        assert str(tracing.traceparent()).startswith(ONE[:36])
    with tracing.span("apply batch", after=[ONE, TWO, "nonsense"]):
        pass
    with tracing.span("apply batch", after=(f"00-{n:032x}-{n:016x}-01" for n in range(1, 100))):
        pass
    single, double, many = spans.get_finished_spans()
    assert f"{single.context.trace_id:032x}" == ONE[3:35]
    assert f"{single.parent.span_id:016x}" == ONE[36:52]
    assert [len(span.links) for span in (single, double, many)] == [1, 2, tracing.MOST_LINKS]
    assert double.parent is None
    assert many.parent is None


def test_a_span_tells_of_an_error_its_kind_and_never_its_words(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="Reyes"), tracing.span("flatten", entries=3):
        raise ValueError("the value of Reyes")
    (span,) = spans.get_finished_spans()
    assert not span.status.is_ok
    assert span.status.description == "ValueError"
    assert not span.events
    assert span.attributes == {"headrace.entries": 3}


def test_a_collector_that_is_not_there_does_not_hold_a_worker_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    with tracing.sending(f"http://127.0.0.1:{port}", version="1", role="all"):
        for _ in range(100):
            with tracing.span("poll cycle"):
                pass
    assert time.monotonic() - began < 20
    assert not tracing.is_on()


def test_an_entry_says_what_it_is_about_and_what_a_stranger_writes_there_is_not_repeated() -> None:
    ours = {b"subject": b"Contact/0035g0000000001AAA", b"traceparent": ONE.encode()}
    assert about(readable(ours)) == {"record": "Contact/0035g0000000001AAA", "trace_id": ONE[3:35]}
    assert about({"subject": "Bea Reyes, bea@example.com", "traceparent": "Reyes"}) == {}
    assert about({}) == {}
    assert list(traceparents([ours, {}, ours, {b"traceparent": TWO.encode()}])) == [ONE, TWO]
