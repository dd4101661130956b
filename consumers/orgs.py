"""Whose records the store holds: one org's. What comes from another org is refused before anything of it is stored."""

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

from consumers.batch import Entry
from integration.store import tables
from integration.store.protocol import Transaction
from integration.stream import orgs
from integration.stream.connection import Client

_ORG: Final = "org"
_SOURCE: Final = re.compile(rb"/salesforce/(\w{18})")

Transactions = Callable[[], AbstractContextManager[Transaction]]


def check(client: Client, transaction: Transactions) -> None:
    """Raise ConfigError if the streams are those of another org than the store; UnreachableError."""
    there = orgs.org_of(client)
    with transaction() as tx:
        here = org_of_store(tx)
    if there is not None and here is not None and there != here:
        raise orgs.mixed_up(f"This store holds the records of org {here}, and this Redis the streams of org {there}")


def org_of_store(tx: Transaction) -> str | None:
    """Return the id of the org whose records the store holds, None if it holds none or the org is not known."""
    noted = tx.rows("SELECT value FROM headrace.meta WHERE key = ?", [_ORG])
    if noted:
        return str(noted[0]["value"])
    # A store that was filled before orgs were noted.
    for row in tx.rows("SELECT capture_id FROM captures LIMIT 1"):
        found = str(row["capture_id"]).partition(":")[0]
        return found if orgs.is_org_id(found) else None
    return None


class OneOrg:
    """Looks whether entries are of the store's org; the first that come to an empty store decide which one that is."""

    def __init__(self, transaction: Transactions) -> None:
        self._transaction = transaction
        with transaction() as tx:
            self._org = org_of_store(tx)
        self._sources: set[bytes | None] = set()
        """Seen before, and found to be in order."""

    def check(self, entries: Iterable[Entry]) -> None:
        """Raise ConfigError for entries that are captures of another org. What is no capture has no org."""
        for source in {entry.fields.get(b"source") for entry in entries} - self._sources:
            found = _SOURCE.fullmatch(source or b"")
            org = found[1].decode() if found else ""
            if orgs.is_org_id(org):
                self._take(org)
            self._sources.add(source)

    def _take(self, org: str) -> None:
        if self._org is not None and org != self._org:
            raise orgs.mixed_up(f"This store holds the records of org {self._org}, and the streams bring org {org}")
        self._org = org
        with self._transaction() as tx:
            tx.upsert("headrace.meta", ("key",), tables.META, [{"key": _ORG, "value": org}])
