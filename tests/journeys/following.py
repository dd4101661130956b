"""Conditions to wait for while a worker works."""

from collections.abc import Callable
from typing import Any

from oracle import WATCHED

from integration.stream import groups, inspect
from integration.stream.connection import connect
from integration.stream.publish import Publisher


def polled_and_stored(company: Any) -> Callable[[], bool]:
    """Return a question: has everything that is in the org now been polled, and taken from the streams?"""
    now = company.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    company.clock.advance(2)

    def is_so() -> bool:
        with connect(company.settings.redis.url) as client:
            publisher = Publisher(client)
            cursors = [publisher.cursor(name) for name in WATCHED]
            if not all(c is not None and (c.covered_until or "") > now for c in cursors):
                return False
            return groups.caught_up(client, [stream.name for stream in inspect.streams(client)])

    return is_so
