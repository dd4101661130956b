"""Trouble on demand: what the next requests get instead of, or before, their answer."""

import random
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson

if TYPE_CHECKING:
    from integration.sandbox.org import Org

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
SESSION_EXPIRED = refuse(401, "INVALID_SESSION_ID", "Session expired or invalid")
TRUNCATED = Fault(keep=0.5)
RESET = Fault(reset=True)


TROUBLES: dict[str, Fault] = {
    "unavailable_json": UNAVAILABLE_JSON,
    "unavailable_html": UNAVAILABLE_HTML,
    "maintenance_page": MAINTENANCE_PAGE,
    "limit_exceeded": LIMIT_EXCEEDED,
    "too_many_long_requests": TOO_MANY_LONG_REQUESTS,
    "query_timeout": QUERY_TIMEOUT,
    "truncated": TRUNCATED,
    "reset": RESET,
    "slow": slow(0.05),
    "session_expired": SESSION_EXPIRED,
}
"""What `Trouble` deals out, by name."""


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


class Troubled(Protocol):
    """The server whose requests meet trouble, as far as `Trouble` needs it: a SandboxServer."""

    @property
    def org(self) -> "Org":
        """The org it serves."""
        ...

    def expire_tokens(self) -> None:
        """End every access token given so far."""
        ...


class Trouble:
    """Random trouble for a whole run: `server.faults.hook = Trouble(seed, 0.2, server=server)`.

    rate    the share of requests that meet trouble, 0 to 1
    kinds   which (see TROUBLES). Session ends and limits spare logins; `query_timeout` comes to queries and
            composites only
    server  if given, a session really ends, for every client, and a timeout hits one query of a composite instead
            of the whole call

    met     counts what was dealt out, by kind

    After two troubles in a row, on one path or on all, the next request is spared; and no request meets an ended
    session twice in a row. So whoever tries each request three times, with a login after a 401, gets through.
    The same seed and sequence of requests give the same trouble. Thread-safe. Raises ValueError for an unknown kind.
    """

    def __init__(
        self, seed: int, rate: float, kinds: Sequence[str] = tuple(TROUBLES), *, server: Troubled | None = None
    ) -> None:
        unknown = [kind for kind in kinds if kind not in TROUBLES]
        if unknown:
            raise ValueError(f"There is no trouble called {unknown[0]!r}; choose some of {', '.join(TROUBLES)}.")
        self.met: Counter[str] = Counter()
        self._kinds = tuple(kinds)
        self._rate = rate
        self._server = server
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._in_a_row: Counter[str] = Counter()
        self._expired: set[str] = set()

    def __call__(self, path: str) -> Fault | None:
        """Return the fault that a request to this path meets, or None."""
        with self._lock:
            if self._server is not None:
                self._server.org.query_to_time_out = None  # what the last request did not use up
            kind = self._choose(path)
            if kind is None:
                self._in_a_row[path] = self._in_a_row[_ALL] = 0
                self._expired.discard(path)
                return None
            self.met[kind] += 1
            self._in_a_row.update((path, _ALL))
            self._expired = {path} | self._expired if kind == _EXPIRED else self._expired - {path}
            return self._deal(kind)

    def _choose(self, path: str) -> str | None:
        lucky, kinds = self._rng.random() >= self._rate, [kind for kind in self._kinds if self._fits(kind, path)]
        if lucky or not kinds or max(self._in_a_row[path], self._in_a_row[_ALL]) >= _MOST_IN_A_ROW:
            return None
        return kinds[int(self._rng.random() * len(kinds))]

    def _fits(self, kind: str, path: str) -> bool:
        if kind == "query_timeout":
            return _QUERYING.search(path) is not None
        if kind == _EXPIRED and path in self._expired:
            return False
        return kind not in _SPARING_LOGINS or "/services/data/v" in path

    def _deal(self, kind: str) -> Fault | None:
        if self._server is None or kind not in (_EXPIRED, "query_timeout"):
            return TROUBLES[kind]
        if kind == _EXPIRED:
            self._server.expire_tokens()
        else:
            self._server.org.query_to_time_out = self._rng.randint(1, 3)
        return None


_ALL = ""
_MOST_IN_A_ROW = 2
_EXPIRED = "session_expired"
_SPARING_LOGINS = frozenset({_EXPIRED, "limit_exceeded", "too_many_long_requests"})
_QUERYING = re.compile(r"/services/data/v[\d.]+/(query|queryAll|composite)(/|$)")
