"""Whether other processes of this machine live."""

import os


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine runs, whoever owns it."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # It lives, but belongs to someone else.
        return True
    return True
