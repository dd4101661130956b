"""How far a sync is, for whoever watches."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from integration.cli.frame import Call

if TYPE_CHECKING:
    from integration.wiring.pipeline import Progress

_SECONDS_BETWEEN_LINES = 0.5


def progress_lines(call: Call) -> "Callable[[Progress, Any], None]":
    """Return what to call with every step: it prints a line of progress now and then, on a terminal only."""
    last = 0.0

    def show(progress: "Progress", _: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            call.out.progress(
                f"  {progress.read:,} records read, {progress.applied.stored:,} stored, "
                f"{progress.applied.events:,} events"
            )

    return show
