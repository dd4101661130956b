"""FastStream speaks through our log: what it is surprised by while it is being stopped alarms nobody."""

import asyncio
import logging
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumers.app import _Voice


def said(error: BaseException, level: int = logging.ERROR, *, stopping: bool = False) -> list[tuple[str, Any]]:
    with capture_logs() as told:
        _Voice(lambda: stopping).log(level, "Message fetch error", exc_info=error)
    return [(one["log_level"], one["detail"]) for one in told]


@pytest.mark.parametrize(("stopping", "level"), [(False, "warning"), (True, "debug")])
def test_a_connection_that_is_cut_is_a_warning_unless_the_consumer_stops(stopping: bool, level: str) -> None:
    assert said(ConnectionError(), stopping=stopping) == [(level, "Message fetch error (ConnectionError)")]


def test_a_task_that_is_cancelled_and_what_is_no_error_are_not_told() -> None:
    assert said(asyncio.CancelledError()) == []
    assert said(ConnectionError(), logging.INFO) == []
