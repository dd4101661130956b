"""Logging: where it goes, and what it never says."""

import io
import json
import logging
import warnings

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from integration import tracing
from integration.cli.logs import configure
from integration.cli.masking import mask
from integration.settings import LogSettings


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_without_a_terminal_a_line_is_a_json_object() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    structlog.get_logger("poller").info("page published", object="Contact", rows=3)
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {"event": "page published", "object": "Contact", "rows": 3, "level": "info", "logger": "poller"}


def test_secrets_and_names_in_addresses_are_masked_in_every_value() -> None:
    stream = io.StringIO()
    configure(LogSettings(), secrets=["hunter2-secret"], stream=stream)
    structlog.get_logger().warning(
        "login of b.reyes@example.com with hunter2-secret",
        url="redis://me:pw@127.0.0.1",
        session_id="anything",
        headers={"Authorization": "Bearer abcdefghijkl", "who": ["x@example.org"]},
        error=ValueError("Bearer abcdefghijkl 00D000000000001!AQcAQH0dMHZfz972Szmpkb58urFRkgeBGsxL"),
    )
    shown = stream.getvalue()
    for secret in ("b.reyes", "hunter2", "pw@", "anything", "abcdefghijkl", "x@example", "AQcAQ"):
        assert secret not in shown
    assert "***@example.com" in shown


def test_what_libraries_log_is_masked_too_with_its_traceback() -> None:
    stream = io.StringIO()
    configure(LogSettings(), secrets=["hunter2-secret"], stream=stream)
    try:
        raise RuntimeError("hunter2-secret of c.diaz@example.org")
    except RuntimeError:
        logging.getLogger("some.library").exception("failed for %s", "c.diaz@example.org")
    (line,) = lines(stream)
    assert line["event"] == "failed for ***@example.org"
    assert "RuntimeError: ******** of ***@example.org" in str(line["exception"])


def test_the_level_holds_for_everybody() -> None:
    stream = io.StringIO()
    configure(LogSettings(level="warning"), stream=stream)
    structlog.get_logger("ours").info("not this")
    logging.getLogger("theirs").info("nor this")
    structlog.get_logger("ours").warning("but this")
    assert [line["event"] for line in lines(stream)] == ["but this"]


def test_retries_of_the_http_library_are_shown_at_debug_only() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    logging.getLogger("urllib3.connectionpool").warning("Retrying")
    assert lines(stream) == []
    configure(LogSettings(level="debug"), stream=stream)
    logging.getLogger("urllib3.connectionpool").warning("Retrying")
    assert [line["event"] for line in lines(stream)] == ["Retrying"]


def test_configuring_twice_does_not_log_twice() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    configure(LogSettings(json=False), stream=stream)
    structlog.get_logger().info("once", rows=1)
    assert stream.getvalue().count("once") == 1
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    "text", ["", "5 rows of Contact", "from 12:00 to 13:00", "crm.contact@store", "Basic plan", "//no/user"]
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert mask(text, ["", "abc"]) == text


def test_a_line_within_a_trace_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_provider", lambda *_: TracerProvider(shutdown_on_exit=False))
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    with tracing.sending("http://127.0.0.1:1", version="1", role="all"):
        with tracing.span("poll cycle"):
            ids = tracing.current_ids()
            structlog.get_logger().info("inside")
            structlog.get_logger().info("about an entry", trace_id="its own")
        structlog.get_logger().info("outside")
    inside, entry, outside = lines(stream)
    assert (inside["trace_id"], inside["span_id"]) == ids
    assert entry["trace_id"] == "its own"
    assert "trace_id" not in outside


def test_warnings_and_the_web_server_speak_in_the_same_form() -> None:
    stream = io.StringIO()
    logging.captureWarnings(False)  # whatever a test before has left
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure(LogSettings(), stream=stream)
        warnings.warn("of c.diaz@example.org", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    logging.getLogger("uvicorn.error").error("Exception for %s", "c.diaz@example.org")
    logging.getLogger("uvicorn.access").info("GET /livez")
    warned, failed = lines(stream)
    assert warned["logger"] == "py.warnings"
    assert "UserWarning: of ***@example.org" in str(warned["event"])
    assert (failed["event"], failed["logger"]) == ("Exception for ***@example.org", "uvicorn.error")
