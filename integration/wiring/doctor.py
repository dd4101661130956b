"""`headrace doctor`: what is wrong with the set-up, and how to fix it. Each check stands alone."""

from collections.abc import Callable, Iterator

from integration.errors import HeadraceError
from integration.settings import Settings
from integration.wiring import reading
from integration.wiring.checks import Check, State, machine, redis, salesforce, store, streams
from integration.wiring.streams import existing_streams, has_streams

__all__ = ["Check", "State", "checks"]

_FIRST_SYNC = "run: headrace sync"


def checks(settings: Settings, *, offline: bool = False) -> Iterator[Check]:
    """Run every check, without those that ask Salesforce if `offline`; one that can't be made is a failure with its
    own remedy."""
    parts = {"headrace": machine.checks, "redis": _redis, "store": _store}
    for name, part in (parts if offline else parts | {"salesforce": salesforce.checks}).items():
        yield from _guarded(name, part, settings)


def _guarded(name: str, part: Callable[[Settings], Iterator[Check]], settings: Settings) -> Iterator[Check]:
    try:
        yield from part(settings)
    except HeadraceError as error:
        yield Check(name, State.FAIL, str(error))


def _redis(settings: Settings) -> Iterator[Check]:
    if not has_streams(settings):
        yield Check("redis", State.WARN, f"there are no streams at {settings.redis_directory} yet", _FIRST_SYNC)
        return
    with existing_streams(settings) as reached:
        yield from redis.checks(settings, reached.client)
        yield from streams.checks(settings, reached.client)


def _store(settings: Settings) -> Iterator[Check]:
    if not reading.exists(settings):
        yield Check("store", State.WARN, f"there is no store at {reading.place(settings)} yet", _FIRST_SYNC)
        return
    with reading.reader(settings) as reader:
        yield from store.checks(settings, reader)
