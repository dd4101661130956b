"""Conditions to wait for while a worker works."""

from collections.abc import Callable
from typing import Any

from oracle import WATCHED

from integration.stream import groups, inspect
from integration.stream.connection import connect
from integration.stream.embedded import running_url
from integration.stream.publish import Publisher

ENRICHED = ("cbit__Clearbit__c",)


def polled_and_stored(company: Any, lookups: tuple[str, ...] = ENRICHED) -> Callable[[], bool]:
    """Return a question: has everything that is in the org now been polled, and taken from the streams?

    `lookups` are the objects that are read because a setting flattens them in.
    """
    now = company.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    company.clock.advance(2)

    def is_so() -> bool:
        url = company.settings.redis.url
        url = running_url(company.settings.redis_directory) if url == "embedded" else url
        if url is None:
            return False
        with connect(url) as client:
            publisher = Publisher(client)
            cursors = [publisher.cursor(name) for name in (*WATCHED, *lookups)]
            if not all(c is not None and (c.covered_until or "") > now for c in cursors):
                return False
            return groups.caught_up(client, [stream.name for stream in inspect.streams(client)])

    return is_so
