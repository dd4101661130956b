"""Sends product events to a worker as fast as it takes them, in a process of its own. Prints JSON.

    python loader.py plain|steady|segment URL NAME SECONDS THREADS

plain    writes the body of a batch and posts it over a connection that stays open, THREADS of them: what a door takes
steady   does so twenty times a second, ten events a call: what a product does that is used
segment  segment-analytics-python as it comes, THREADS of its senders: what a real client makes of it

No batch is given up: what was not answered, or answered with 429 or 5xx, is sent again. After SECONDS nothing new is
made, and what was made is sent to its end. Told are the events that were made (their message ids are NAME-0, NAME-1, ...),
those that were sent to somebody who listened (so what was sent again is the difference), and of each call that was taken
when it began and ended, by the monotonic clock, and how many events it brought.
"""

import http.client
import itertools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import segment.analytics.request
from requests.adapters import HTTPAdapter
from segment.analytics.client import Client

KEY = "key-of-the-bench"
AT_ONCE = 100
"""What the client puts into one call, too."""
USERS = 2_000
_AGAIN_SECONDS = 0.1
_ID = b'"messageId"'
_PATIENCE_SECONDS = 15

Message = dict[str, Any]


def message(name: str, number: int) -> Message:
    """Return what the product tells, the same for the same name and number: of ten events seven uses and an `identify`
    of 2,000 users, a page of one of them, and a page of a visitor who was never seen before."""
    user = f"user{(number * 7919 + number // 10) % USERS}@product.example.com"
    kind = number % 10
    if kind < 7:
        properties = {
            "plan": "pro",
            "seats": number % 50,
            "price": 9.25,
            "feature": f"feature {kind}",
            "is_trial": False,
        }
        return {"type": "track", "user_id": user, "event": f"Feature {kind} Used", "properties": properties}
    if kind == 7:
        traits = {"email": user, "plan": "pro", "seats": number % 50, "company": "Acme"}
        return {"type": "identify", "user_id": user, "anonymous_id": f"browser of {user}", "traits": traits}
    visitor = f"browser of {user}" if kind == 8 else f"{name} visitor {number}"
    page = {"path": "/pricing", "url": "https://www.example.com/pricing", "referrer": "https://www.example.org/"}
    context = {"page": page, "campaign": {"source": "news", "medium": "email", "name": f"week {number % 9}"}}
    return {"type": "page", "anonymous_id": visitor, "name": "Pricing", "properties": {**page}, "context": context}


class Book:
    """What was sent, and which calls were taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = 0
        self.taken: list[tuple[float, float, int]] = []

    def note(self, events: int, began: float, *, is_taken: bool) -> None:
        with self._lock:
            self.sent += events
            if is_taken:
                self.taken.append((began, time.monotonic(), events))


class Plain:
    """Batches of `at_once` events over connections that stay open, one every so many seconds if they are not 0."""

    def __init__(self, url: str, name: str, book: Book, at_once: int = AT_ONCE, every_seconds: float = 0) -> None:
        self._at_once, self._every_seconds = at_once, every_seconds
        self._address = urlsplit(url).netloc
        self._name, self._book = name, book
        self._numbers = itertools.count()
        self._refused: list[bytes] = []

    def run(self, threads: int, until: float) -> int:
        """Send until then; return how many events there were. Raises SystemExit if the door finds fault with them."""
        senders = [threading.Thread(target=self._send, args=(until,)) for _ in range(threads)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        if self._refused:
            raise SystemExit(f"The door refused a batch: {self._refused[0]!r}")
        return next(self._numbers) * self._at_once

    def _send(self, until: float) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=_PATIENCE_SECONDS)
        due = time.monotonic()
        while time.monotonic() < until and not self._refused:
            first = next(self._numbers) * self._at_once
            body = self._body(range(first, first + self._at_once))
            while (pause := self._post(connection, body)) is not None:
                time.sleep(pause)
            due += self._every_seconds
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    def _post(self, connection: http.client.HTTPConnection, body: bytes) -> float | None:
        """Post a body; return None if it was taken, else in how many seconds to send it again."""
        began = time.monotonic()
        try:
            connection.request("POST", "/v1/batch", body, {"X-Write-Key": KEY, "Content-Type": "application/json"})
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException) as error:
            if not isinstance(error, ConnectionRefusedError):
                self._book.note(self._at_once, began, is_taken=False)
            connection.close()
            return _AGAIN_SECONDS
        self._book.note(self._at_once, began, is_taken=answer.status == 200)
        if answer.status == 200:
            return None
        if answer.status != 429 and answer.status < 500:
            self._refused.append(told)
            return None
        return float(answer.headers.get("Retry-After", _AGAIN_SECONDS))

    def _body(self, numbers: range) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        around = {"library": {"name": "bench", "version": "1"}}
        batch = [
            {
                "type": told["type"], "messageId": f"{self._name}-{number}", "timestamp": now,
                "userId": told.get("user_id"), "anonymousId": told.get("anonymous_id"), "event": told.get("event"),
                "name": told.get("name"), "properties": told.get("properties"), "traits": told.get("traits"),
                "context": {**around, **told.get("context", {})},
            }
            for number, told in ((number, message(self._name, number)) for number in numbers)
        ]  # fmt: skip
        return orjson.dumps({"batch": batch, "sentAt": now})


class Watched(HTTPAdapter):
    """Passes on what the client posts, and notes it."""

    def __init__(self, book: Book, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self._book = book

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]
        """Post it. Raises what requests raises."""
        body = request.body or b""
        events = (body if isinstance(body, bytes) else body.encode()).count(_ID)
        began = time.monotonic()
        try:
            answer = super().send(request, **more)
        except requests.RequestException as error:
            if "refused" not in str(error):
                self._book.note(events, began, is_taken=False)
            raise
        self._book.note(events, began, is_taken=answer.status_code == 200)
        return answer


class Segment:
    """A client of segment-analytics-python with its own settings, but for the number of its senders."""

    def __init__(self, url: str, name: str, book: Book) -> None:
        self._url, self._name, self._book = url, name, book

    def run(self, threads: int, until: float) -> int:
        """Tell it as much as it takes until then; return how many events there were. Raises SystemExit if it gave any
        of them up."""
        logging.getLogger("segment").setLevel(logging.CRITICAL)  # of each try that fails it writes a line
        session = segment.analytics.request._session
        session.trust_env = False
        session.mount("http://", Watched(self._book, threads))
        given_up: list[object] = []
        client = Client(KEY, host=self._url, thread=threads, on_error=lambda error, _: given_up.append(error))
        told = 0
        while time.monotonic() < until:
            # What is answered with 429 goes back into its queue, and what has no room there is thrown away.
            if client.queue.qsize() > client.queue.maxsize // 2:
                time.sleep(0.01)
                continue
            self._tell(client, told)
            told += 1
        client.shutdown()
        if given_up:
            raise SystemExit(f"The client gave up: {given_up[0]}")
        return told

    def _tell(self, client: Client, number: int) -> None:
        told = message(self._name, number)
        call = getattr(client, told.pop("type"))
        call(**told, message_id=f"{self._name}-{number}")


def main(kind: str, url: str, name: str, seconds: str, threads: str) -> None:
    book = Book()
    kinds: dict[str, Callable[[str, str, Book], Plain | Segment]] = {
        "plain": Plain, "steady": partial(Plain, at_once=10, every_seconds=0.05), "segment": Segment,
    }  # fmt: skip
    loader = kinds[kind](url, name, book)
    made = loader.run(int(threads), time.monotonic() + float(seconds))
    json.dump({"made": made, "sent": book.sent, "taken": book.taken}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
