"""How far a command is, for whoever watches it in a terminal."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from integration.cli.frame import Call

if TYPE_CHECKING:
    from integration.wiring.pipeline import Progress


class Holding(Protocol):
    """A progress that may wait. `held` says why, None while it goes on."""

    held: str | None


T = TypeVar("T")
H = TypeVar("H", bound=Holding)

_SECONDS_BETWEEN_LINES: Final = 0.5


def now_and_then(call: Call, line: Callable[[T], str]) -> Callable[[T], None]:
    """Return what to call with every step: it prints a line of progress now and then, on a terminal only."""
    last = time.monotonic()

    def show(progress: T) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            call.out.progress(f"  {line(progress)}")

    return show


def with_waits(call: Call, line: Callable[[H], str], goes_on: str) -> Callable[[H], None]:
    """Return the same for what may have to wait: why is told when it begins to, and when it does no more, that it
    goes on."""
    held, tell = None, now_and_then(call, line)

    def show(progress: H) -> None:
        nonlocal held
        if progress.held != held:
            held = progress.held
            call.out.note(held if held is not None else goes_on)
        tell(progress)

    return show


def progress_lines(call: Call) -> "Callable[[Progress, Any], None]":
    """Return what shows the steps of a sync."""
    show = now_and_then(call, _line)
    return lambda progress, _: show(progress)


def _line(progress: "Progress") -> str:
    applied = progress.applied
    return f"{progress.read:,} records read, {applied.stored:,} stored, {applied.events:,} events"
