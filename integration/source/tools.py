"""What every piece of work in a cycle needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from integration.source.client import Log, SalesforceClient
from integration.source.outlet import Outlet
from integration.source.report import CycleReport
from integration.source.walk import Ease


@dataclass(frozen=True, slots=True)
class Tools:
    """The client to ask, the outlet to publish to, the report to count in, and how objects are to be read.

    `overlap` is in seconds, `page_size` in rows; `wait` sleeps so many seconds while a bulk job runs; `eases` says of
    objects whose queries ran too long how to ask them.
    """

    client: SalesforceClient
    outlet: Outlet
    log: Log
    overlap: float
    page_size: int
    wait: Callable[[float], None] = time.sleep
    eases: dict[str, Ease] = field(default_factory=dict)
    report: CycleReport = field(default_factory=CycleReport)

    def ease(self, name: str) -> Ease:
        """Return how to ask the object; what is changed in it holds for later cycles too."""
        return self.eases.setdefault(name, Ease(self.page_size))
