"""A sweep that another process is asked for: the worker that owns the store."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from integration.core import exactjson
from integration.errors import HeadraceError, RunError, UnreachableError, UsageError
from integration.settings import Settings
from integration.store.owner import Owner, find_owner
from integration.stream.connection import Client, answering
from integration.stream.names import SWEEP_REQUESTS, SWEEPER_KEY, sweep_answer_key
from integration.wiring.streams import existing_streams
from integration.wiring.sweep_report import Finding, Ledger, SweepReport
from integration.wiring.sweeper import SweepProgress

_PATIENCE_SECONDS: Final = 5.0
_BEAT_SECONDS: Final = 0.1
_UNTAKEN_SECONDS: Final = 900
_UNANSWERED_SECONDS: Final = 6 * 3_600


@dataclass(frozen=True, slots=True)
class Request:
    """A sweep that a worker is asked for."""

    run_id: str
    objects: Sequence[str] = ()
    dry_run: bool = False
    accept_loss: bool = False

    @classmethod
    def read(cls, text: Any) -> "Request | None":
        """Read what another process has written; None if it is no request."""
        try:
            request = cls(**exactjson.loads(text))
        except (ValueError, TypeError, AttributeError):
            return None
        is_one = isinstance(request.run_id, str) and isinstance(request.objects, list)
        return request if is_one and all(isinstance(name, str) for name in request.objects) else None


def ask(settings: Settings, worker: Owner, request: Request, on_change: Callable[[SweepProgress], None]) -> SweepReport:
    """Have the worker that owns the store sweep, and wait for its report."""
    with existing_streams(settings) as streams:
        client = streams.client
        if not _sweeps(client, worker):
            raise UnreachableError(
                f"The store is in use by process {worker.pid}, which does not sweep: wait until it ends, or stop it "
                "(headrace run all sweeps when asked)."
            )
        text = exactjson.dumps(asdict(request)).decode()
        with answering(client):
            client.rpush(SWEEP_REQUESTS, text)
        return _report(_wait(settings, client, worker, request, text, on_change))


def _sweeps(client: Client, worker: Owner) -> bool:
    """Tell whether the owner of the store answers; one that has just started is given a moment to say so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with answering(client):
            told = client.get(SWEEPER_KEY)
        if told is not None and int(told) == worker.pid:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_BEAT_SECONDS)


def _wait(
    settings: Settings,
    client: Client,
    worker: Owner,
    request: Request,
    text: str,
    on_change: Callable[[SweepProgress], None],
) -> Mapping[str, Any]:
    began = time.monotonic()
    progress = SweepProgress(f"process {worker.pid} is asked to sweep")
    while True:
        on_change(progress)
        with answering(client):
            answer = client.blpop([sweep_answer_key(request.run_id)], timeout=1)
            if answer is not None:
                told: Mapping[str, Any] = exactjson.loads(answer[1])
                return told
            is_taken = client.lpos(SWEEP_REQUESTS, text) is None
        if is_taken:
            progress.phase = f"process {worker.pid} sweeps"
        waited = time.monotonic() - began
        alive = find_owner(settings.store_path)
        if alive is None or alive.pid != worker.pid:
            raise UnreachableError(f"Process {worker.pid} ended before the sweep was done: run headrace sweep again.")
        if waited > (_UNANSWERED_SECONDS if is_taken else _UNTAKEN_SECONDS + settings.poll.interval_seconds):
            with answering(client):
                client.lrem(SWEEP_REQUESTS, 1, text)
            raise UnreachableError(
                f"Process {worker.pid} has not answered for {waited / 60:.0f} minutes: look at its log; what it still "
                "finds will stand in the table reconciliations."
            )


def _report(told: Mapping[str, Any]) -> SweepReport:
    if "error" in told:
        raise _ERRORS.get(told["exit_code"], RunError)(told["error"])
    raw = dict(told["report"])
    raw["objects"] = [
        Ledger(**{**one, "findings": [Finding(**finding) for finding in one["findings"]]}) for one in raw["objects"]
    ]
    return SweepReport(**raw)


_ERRORS: Final[Mapping[int, type[HeadraceError]]] = {2: UsageError, 3: UnreachableError}
