"""The product of the demo's company: its browsers send to a worker's door as those of any customer do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from integration.errors import RunError
from integration.sandbox.org import Org
from integration.sandbox.product import ProductTraffic, history, users_of
from integration.sandbox.product_client import ProductClient, ProductRefusedError, keep_sending
from integration.settings import Settings
from integration.wiring.intake import intake
from integration.wiring.measures import Measures
from integration.wiring.owner import WorkerDoor

REPORTS: Final = ("campaigns", "attribution", "personas", "product-use", "accounts-at-risk")
"""What to ask of a company that has a product."""

_PATIENCE_SECONDS: Final = 20.0
"""So long the door may say that it can't just now."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Product:
    """What people do with the product of the company in `org`; `key` is what its browsers send with."""

    org: Org
    seed: int
    key: str = field(repr=False)

    def tell(self, settings: Settings) -> tuple[int, int]:
        """Send all that has happened so far; return how many calls there were, of how many users. It waits in the
        streams then. Raises RunError."""
        calls = history(self.org, seed=self.seed, ends_at=self.org.clock.now())
        with _door(settings) as url, ProductClient(url, self.key, patience=_PATIENCE_SECONDS) as client:
            try:
                return client.send(calls), users_of(calls)
            except ProductRefusedError as error:
                raise RunError(str(error)) from None

    def keep_telling(self, url: str, every_seconds: float, stop: threading.Event) -> None:
        """Have somebody use it every so many seconds until `stop` is set, and send that to the worker at `url`."""
        threading.Thread(
            target=self._keep_telling, args=(url, every_seconds, stop), name="product", daemon=True
        ).start()

    def _keep_telling(self, url: str, every_seconds: float, stop: threading.Event) -> None:
        with ProductClient(url, self.key, stop=stop) as client:
            try:
                keep_sending(client, ProductTraffic(self.org, seed=self.seed), stop, every_seconds)
            except ProductRefusedError as error:
                log.warning("what happens in the product is not told any more", detail=str(error))


@contextmanager
def _door(settings: Settings) -> Iterator[str]:
    """Open a worker's door that takes product events and nothing else."""
    measures = Measures(settings, role="web", polls=False, consumes=False)
    with (
        intake(settings, measures) as taking,
        WorkerDoor(settings, intake=taking, port=0, has_store=False) as door,
    ):
        yield door.url
