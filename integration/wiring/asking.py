"""Work that another process is asked for: the worker that owns the store. The request lies in a list in Redis, the
answer in a list of its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from integration.core import exactjson
from integration.errors import HeadraceError, MissingStoreError, RunError, UnreachableError, UsageError
from integration.settings import Settings
from integration.store.ownership import Owner
from integration.stream.connection import Client, answering
from integration.stream.names import answer_key
from integration.wiring.reading import exists, find_owner, place

_PATIENCE_SECONDS: Final = 5.0
_BEAT_SECONDS: Final = 0.1
_UNTAKEN_SECONDS: Final = 900
_UNANSWERED_SECONDS: Final = 6 * 3_600
_KEPT_SECONDS: Final = 3_600
_MOST_MESSAGES: Final = 100
_ERRORS: Final[Mapping[int, type[HeadraceError]]] = {2: UsageError, 3: UnreachableError}

OnWait = Callable[[str, Mapping[str, Any]], None]
"""Is told how things stand: a phase in words, and the progress that the worker has told of (empty: none yet)."""


class Asked(Protocol):
    """What every request has."""

    @property
    def run_id(self) -> str:
        """The id under which it is answered."""

    @property
    def objects(self) -> Sequence[str]:
        """The objects it is about; none: all."""


R = TypeVar("R", bound=Asked)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a kind of work is asked for."""

    command: str
    """The command that asks: `sweep`."""
    requests: str
    """The key of the list of requests."""
    worker: str
    """The key that holds the process id of the worker that answers."""
    roles: str
    """Who would: `headrace run all sweeps when asked`."""
    trace: str
    """Where the end of the work can be seen later: `what it still finds will stand in the table reconciliations`."""

    @property
    def verb(self) -> str:
        """What the worker does: `sweeps`."""
        return f"{self.command}s"

    def answers(self, run_id: str) -> str:
        """Return the key of the list in which the worker answers one request."""
        return answer_key(self.requests, run_id)


def ask(
    settings: Settings, client: Client, worker: Owner, desk: Desk, run_id: str, text: str, on_wait: OnWait
) -> Mapping[str, Any]:
    """Have the worker that owns the store do it, and return its report.

    Raises UnreachableError when it can't or ends before, and the error that it met.
    """
    if not _answers(client, worker, desk):
        raise UnreachableError(
            f"The store is in use by process {worker.pid}, which does not {desk.command}: wait until it ends, or stop "
            f"it ({desk.roles})."
        )
    with answering(client):
        client.rpush(desk.requests, text)
    told = _wait(settings, client, worker, desk, run_id, text, on_wait)
    if "error" in told:
        raise _ERRORS.get(told["exit_code"], RunError)(told["error"])
    report: Mapping[str, Any] = told["report"]
    return report


def request_of(text: Any, kind: type[R]) -> R | None:
    """Read a request that another process has written; None if it is none of this kind."""
    try:
        request = kind(**exactjson.loads(text))
    except (ValueError, TypeError, AttributeError):
        return None
    is_one = isinstance(request.run_id, str) and isinstance(request.objects, list)
    return request if is_one and all(isinstance(name, str) for name in request.objects) else None


def reply(client: Client, desk: Desk, run_id: str, told: Mapping[str, Any]) -> None:
    """Answer whoever asked: {"report"}, {"error", "exit_code"}, or, on the way there, {"progress"}."""
    key = desk.answers(run_id)
    with answering(client):
        pipe = client.pipeline(transaction=True)
        pipe.rpush(key, exactjson.dumps(told))
        pipe.ltrim(key, -_MOST_MESSAGES, -1)
        pipe.expire(key, _KEPT_SECONDS)
        pipe.execute()


def check_store(settings: Settings) -> None:
    """Raise MissingStoreError where there is no store yet."""
    if not exists(settings):
        raise MissingStoreError(
            f"There is no store at {place(settings)} yet: run headrace sync (or headrace demo) first."
        )


def _answers(client: Client, worker: Owner, desk: Desk) -> bool:
    """Tell whether the owner of the store answers; one that has just started is given a moment to say so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with answering(client):
            told = client.get(desk.worker)
        if told is not None and int(told) == worker.pid:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_BEAT_SECONDS)


def _wait(
    settings: Settings, client: Client, worker: Owner, desk: Desk, run_id: str, text: str, on_wait: OnWait
) -> Mapping[str, Any]:
    heard = time.monotonic()
    phase, progress = f"process {worker.pid} is asked to {desk.command}", dict[str, Any]()
    while True:
        on_wait(phase, progress)
        with answering(client):
            answer = client.blpop([desk.answers(run_id)], timeout=1)
            is_taken = client.lpos(desk.requests, text) is None
        if answer is not None:
            told: Mapping[str, Any] = exactjson.loads(answer[1])
            if "progress" not in told:
                return told
            heard, progress = time.monotonic(), dict(told["progress"])
        if is_taken:
            phase = f"process {worker.pid} {desk.verb}"
        if answer is not None:
            continue
        waited = time.monotonic() - heard
        alive = find_owner(settings)
        if alive is None or (alive.pid, alive.host) != (worker.pid, worker.host):
            raise UnreachableError(
                f"Process {worker.pid} ended before the {desk.command} was done: run headrace {desk.command} again."
            )
        if waited > (_UNANSWERED_SECONDS if is_taken else _UNTAKEN_SECONDS + settings.poll.interval_seconds):
            with answering(client):
                client.lrem(desk.requests, 1, text)
            raise UnreachableError(
                f"Process {worker.pid} has not answered for {waited / 60:.0f} minutes: look at its log; {desk.trace}."
            )
