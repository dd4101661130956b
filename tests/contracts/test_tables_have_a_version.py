"""Tables have a version: who opens an older store to write brings it up to date, and a newer one is left alone."""

from collections.abc import Callable

import pytest

from integration.errors import ConfigError
from integration.store import tables
from integration.store.protocol import Store
from integration.wiring.reading import version_of

Opener = Callable[[], Store]


def made_with(opener: Opener, version: int) -> None:
    store = opener()
    with store.transaction() as tx:
        tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "schema_version", "value": str(version)}])
    store.close()


def test_a_new_store_has_the_version_of_who_made_it(opener: Opener) -> None:
    store = opener()
    assert version_of(store) == tables.SCHEMA_VERSION
    store.close()


def test_an_older_store_is_of_this_version_once_it_was_opened(opener: Opener) -> None:
    made_with(opener, tables.SCHEMA_VERSION - 1)
    store = opener()
    assert version_of(store) == tables.SCHEMA_VERSION
    store.close()


def test_a_newer_store_is_refused_and_stays_as_it_is(opener: Opener) -> None:
    made_with(opener, tables.SCHEMA_VERSION + 1)
    for _ in range(2):
        with pytest.raises(ConfigError, match="was written by a newer headrace: upgrade this one"):
            opener()
