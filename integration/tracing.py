"""Traces, for those who have a collector: what a poll asked and published, and which batch stored it.

Off until `sending` turns it on, and then nothing of OpenTelemetry is imported; what is called all the same costs less
than a microsecond. There is one tracer per process, as OpenTelemetry has it. Attributes name objects, streams and
counts: never a record's values.

    poll cycle
    |- salesforce call
    `- publish page         its traceparent travels in the entries
    apply batch             linked to the pages whose entries it stores; their child, if it is one page
    |- flatten
    `- commit
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from integration.errors import ConfigError

MOST_LINKS: Final = 32
"""A batch of many pages is linked to so many of them."""
_PATH: Final = "/v1/traces"
_PATIENCE_SECONDS: Final = 5.0
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class _State:
    """The process's tracer, once there is one."""

    tracer: Any = None


class Span(Protocol):
    """What is being timed."""

    def set(self, **attributes: str | int | float | bool) -> None:
        """Add what is known by now."""


@contextmanager
def sending(endpoint: str | None, *, version: str, role: str) -> Iterator[None]:
    """Send traces to a collector (OTLP over HTTP) while the block runs; None: make none.

    What is left is sent at the end, for five seconds at most. Raises ConfigError where OpenTelemetry is not installed.
    """
    if endpoint is None:
        yield
        return
    provider = _provider(endpoint, version, role)
    before, _State.tracer = _State.tracer, provider.get_tracer("headrace", version)
    try:
        yield
    finally:
        _State.tracer = before
        provider.shutdown()


def is_on() -> bool:
    """Tell whether traces are made."""
    return _State.tracer is not None


def span(
    name: str, *, after: Iterable[str] = (), **attributes: str | int | float | bool
) -> AbstractContextManager[Span]:
    """Time the block, as a part of what is being timed around it.

    `after` are the traceparents of what led to it, of which the distinct ones become links. If there is just one, and
    nothing is timed around it, the block is a part of that trace.
    """
    return _OFF if _State.tracer is None else _timed(name, after, attributes)


def traceparent() -> str | None:
    """Return the W3C traceparent of what is being timed, None if nothing is."""
    found = current_ids()
    return f"00-{found[0]}-{found[1]}-01" if found is not None else None


def current_ids() -> tuple[str, str] | None:
    """Return trace id and span id of what is being timed, in hexadecimal; None if nothing is."""
    if _State.tracer is None:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None


def trace_id_of(traceparent: str) -> str | None:
    """Return the trace id in a traceparent; None where it is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found is not None else None


class _Off:
    """The span that is none."""

    def set(self, **_: object) -> None:
        return None

    def __enter__(self) -> "_Off":
        return self

    def __exit__(self, *_: object) -> None:
        return None


_OFF: Final = _Off()


class _On:
    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, **attributes: str | int | float | bool) -> None:
        self._span.set_attributes(_named(attributes))


@contextmanager
def _timed(name: str, after: Iterable[str], attributes: dict[str, Any]) -> Iterator[Span]:
    from opentelemetry import trace

    contexts = _contexts(after)
    parent = None
    if len(contexts) == 1 and not trace.get_current_span().get_span_context().is_valid:
        parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]))
    with _State.tracer.start_as_current_span(
        name,
        parent,
        links=[trace.Link(context) for context in contexts],
        attributes=_named(attributes),
        # The message of an error of a library can quote a record.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield _On(span)
        except BaseException as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def _contexts(traceparents: Iterable[str]) -> list[Any]:
    from opentelemetry.trace import SpanContext, TraceFlags

    found = (_TRACEPARENT.fullmatch(text) for text in list(dict.fromkeys(traceparents))[:MOST_LINKS])
    return [
        SpanContext(int(one[1], 16), int(one[2], 16), is_remote=True, trace_flags=TraceFlags(int(one[3], 16)))
        for one in found
        if one is not None
    ]


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"headrace.{name}": value for name, value in attributes.items()}


def _provider(endpoint: str, version: str, role: str) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"telemetry.otlp_endpoint is set, but {error.name} is not installed: install headrace[otel], or unset it."
        ) from None
    about = {"service.name": "headrace", "service.version": version, "headrace.role": role}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    address = endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address, timeout=_PATIENCE_SECONDS)))
    return provider
