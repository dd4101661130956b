"""A sweep that another process is asked for: the worker that owns the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from integration.core import exactjson
from integration.settings import Settings
from integration.store.ownership import Owner
from integration.stream.names import SWEEP_REQUESTS, SWEEPER_KEY
from integration.wiring import asking
from integration.wiring.streams import existing_streams
from integration.wiring.sweep_report import Finding, Ledger, SweepReport
from integration.wiring.sweeper import SweepProgress

DESK: Final = asking.Desk(
    "sweep",
    SWEEP_REQUESTS,
    SWEEPER_KEY,
    roles="headrace run all sweeps when asked",
    trace="what it still finds will stand in the table reconciliations",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A sweep that a worker is asked for."""

    run_id: str
    objects: Sequence[str] = ()
    dry_run: bool = False
    accept_loss: bool = False


def ask(settings: Settings, worker: Owner, request: Request, on_change: Callable[[SweepProgress], None]) -> SweepReport:
    """Have the worker that owns the store sweep, and wait for its report."""
    progress = SweepProgress("")

    def waiting(phase: str, _: Mapping[str, Any]) -> None:
        progress.phase = phase
        on_change(progress)

    with existing_streams(settings) as streams:
        text = exactjson.dumps(asdict(request)).decode()
        return _report(asking.ask(settings, streams.client, worker, DESK, request.run_id, text, waiting))


def _report(told: Mapping[str, Any]) -> SweepReport:
    raw = dict(told)
    raw["objects"] = [
        Ledger(**{**one, "findings": [Finding(**finding) for finding in one["findings"]]}) for one in raw["objects"]
    ]
    return SweepReport(**raw)
