"""Trouble on demand: what the next requests get instead of, or before, their answer."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import orjson

JSON = "application/json;charset=UTF-8"
HTML = "text/html;charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request.

    status   answer with this status and `body` instead of the real answer; 0 keeps the real one
    seconds  wait so long first
    keep     send only this share of the real body, as a complete HTTP reply
    reset    cut the connection without any answer
    """

    status: int = 0
    body: bytes = b""
    content_type: str = JSON
    seconds: float = 0.0
    keep: float = 1.0
    reset: bool = False


def refuse(status: int, code: str, message: str) -> Fault:
    """An error in the REST API's own form."""
    return Fault(status, orjson.dumps([{"message": message, "errorCode": code}]))


def slow(seconds: float) -> Fault:
    """The real answer, late."""
    return Fault(seconds=seconds)


UNAVAILABLE_JSON = refuse(503, "SERVER_UNAVAILABLE", "The server is temporarily unavailable; try again later")
UNAVAILABLE_HTML = Fault(503, b"<html><body><h1>We are down for maintenance</h1></body></html>", HTML)
MAINTENANCE_PAGE = Fault(200, b"<html><body><h1>We are down for maintenance</h1></body></html>", HTML)
SERVER_ERROR = refuse(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId: 1-1 (1)")
LIMIT_EXCEEDED = refuse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
TOO_MANY_LONG_REQUESTS = refuse(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded.")
QUERY_TIMEOUT = refuse(400, "QUERY_TIMEOUT", "Your query request was running for too long.")
TRUNCATED = Fault(keep=0.5)
RESET = Fault(reset=True)


class Faults:
    """The faults that wait for requests, first come first served. Thread-safe.

    `hook`, if set, is called with the path of every request before anything else; it may change the org (a commit
    between two pages, say) and may return a Fault.
    """

    def __init__(self) -> None:
        self.hook: Callable[[str], Fault | None] | None = None
        self._waiting: deque[tuple[str, Fault]] = deque()
        self._lock = threading.Lock()

    def push(self, fault: Fault, *, times: int = 1, where: str = "") -> None:
        """Let the next `times` requests whose path contains `where` meet the fault."""
        with self._lock:
            self._waiting.extend([(where, fault)] * times)

    def clear(self) -> None:
        """Forget the faults that still wait."""
        with self._lock:
            self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, path: str) -> Fault | None:
        """Return the fault for a request, or None; a fault that waited is used up."""
        found = self.hook(path) if self.hook is not None else None
        if found is not None:
            return found
        with self._lock:
            for entry in self._waiting:
                if entry[0] in path:
                    self._waiting.remove(entry)
                    return entry[1]
        return None
