import gc
import os
import signal
import sys
from types import FrameType

_AGAIN_SECONDS = 0.05
_GARBAGE = (100_000, 20, 50)
"""Imports and batches make many small objects and hardly a circle of them. With its own thresholds the collector would
walk them all again and again: a fifth of the CPU of a start, and a tenth of that of a first sync."""


def end_as_interrupted() -> None:
    """Have SIGTERM end this process as Ctrl-C does: a command ended by a supervisor tidies up and saves what it has."""
    signal.signal(signal.SIGTERM, _interrupt)
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, _interrupt)


def _interrupt(_: int, frame: FrameType | None) -> None:
    while frame is not None and sys.platform != "win32":
        if frame.f_code.co_name == "__del__":
            # Python would print what is raised in a destructor, and go on as if nothing had come: so a moment later.
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
            return
        frame = frame.f_back
    signal.raise_signal(signal.SIGINT)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Store, streams and settings hold people's data and secrets: whatever is made here is for its owner's eyes.
    os.umask(os.umask(0o077) | 0o077)
    gc.set_threshold(*_GARBAGE)
    end_as_interrupted()
    try:
        from integration.cli.app import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before or after the command itself
        sys.exit(130)


if __name__ == "__main__":
    main()
