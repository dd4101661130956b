"""Sends product calls to a door for them over HTTP, as the clients of the Segment Tracking API do."""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import requests

from integration.sandbox.product import ProductTraffic

_MOST_BYTES: Final = 400_000
_MOST_CALLS: Final = 1_000
_TIMEOUT_SECONDS: Final = 30
_AGAIN_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_TOO_MANY: Final = 429
_SERVERS_FAULT: Final = 500

Call = dict[str, Any]


class ProductRefusedError(Exception):
    """The door will not have the calls, however often they are sent."""


class ProductClient:
    """Sends to `<url>/v1/batch` with a write key.

    What can't be taken just now (no answer, 429, 5xx) is sent again until ``stop`` is set, ``patience`` seconds at most
    (None: for ever). To be used as a context manager, by one thread.
    """

    def __init__(
        self, url: str, write_key: str, *, stop: threading.Event | None = None, patience: float | None = None
    ) -> None:
        self._url = url.rstrip("/") + "/v1/batch"
        self._stop = stop or threading.Event()
        self._patience = patience
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (write_key, "")

    def __enter__(self) -> "ProductClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def send(self, calls: Iterable[Call]) -> int:
        """Send calls in batches, in their order; return how many were taken: fewer, if it was stopped meanwhile.

        Raises ProductRefusedError when the door refuses, or when the patience is at its end.
        """
        taken = 0
        for body, count in batches(calls):
            if not self._post(body):
                break
            taken += count
        return taken

    def _post(self, body: bytes) -> bool:
        waited = 0.0
        while not self._stop.is_set():
            pause, why = self._try(body)
            if not why:
                return True
            if self._patience is not None and waited >= self._patience:
                raise ProductRefusedError(f"The door for product events at {self._url} does not take them ({why}).")
            waited += pause
            self._stop.wait(pause)
        return False

    def _try(self, body: bytes) -> tuple[float, str]:
        """Send it once; return after how many seconds to try again and why, or an empty reason."""
        try:
            answer = self._session.post(
                self._url, body, headers={"Content-Type": "application/json"}, timeout=_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            return _AGAIN_SECONDS, f"no answer: {type(error).__name__}"
        if answer.status_code < requests.codes.bad_request:
            return 0.0, ""
        if answer.status_code != _TOO_MANY and answer.status_code < _SERVERS_FAULT:
            raise ProductRefusedError(
                f"The door for product events at {self._url} refused them with {answer.status_code}: look at the "
                "address and the write key."
            )
        told = answer.headers.get("Retry-After", "")
        pause = float(told) if told.isdigit() else _AGAIN_SECONDS
        return min(max(pause, 0.1), _LONGEST_PAUSE_SECONDS), f"it answered {answer.status_code}"


def batches(calls: Iterable[Call]) -> Iterator[tuple[bytes, int]]:
    """Put calls together to bodies below what a door takes at once; yield each with the number of its calls.

    They are sent without `sentAt`: what is told is of the past, and the clock that told it was right.
    """
    parts: list[str] = []
    size = 0
    for call in calls:
        part = json.dumps(call, separators=(",", ":"))
        if parts and (len(parts) == _MOST_CALLS or size + len(part) > _MOST_BYTES):
            yield _body(parts), len(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield _body(parts), len(parts)


def keep_sending(client: ProductClient, traffic: ProductTraffic, stop: threading.Event, every_seconds: float) -> None:
    """Have something happen in the product every so many seconds, and send it, until ``stop`` is set.

    Raises ProductRefusedError.
    """
    while not stop.wait(every_seconds):
        client.send(traffic.step())


def _body(parts: Sequence[str]) -> bytes:
    return f'{{"batch":[{",".join(parts)}]}}'.encode()
