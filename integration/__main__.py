import os
import signal
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Store, streams and settings hold people's data and secrets: whatever is made here is for its owner's eyes.
    os.umask(os.umask(0o077) | 0o077)
    # Ended by a supervisor, a command tidies up and saves what it has, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        from integration.cli.app import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before or after the command itself
        sys.exit(130)


if __name__ == "__main__":
    main()
