"""Long work that Ctrl-C ends between two pieces, not within one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def interruptibly(work: Callable[[Callable[[], bool]], T]) -> T:
    """Work in a thread, so that Ctrl-C reaches us and not a statement: the piece in hand is finished, then it ends.

    `work` gets a function that tells whether it is to end.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, stop.is_set)
        try:
            return done.result()
        finally:
            stop.set()
