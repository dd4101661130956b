"""Dead letters: kept in the store first, with the position that passes them, then shown in Redis.

The table `dead_letters` is the truth. `<stream>.dead` is where people look and put back (`headrace dlq`), and what
they decided there comes back into the table here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import structlog

from integration.core import exactjson
from integration.store import tables
from integration.store.protocol import Transaction
from integration.stream import dead
from integration.stream.connection import Client, FullError
from integration.stream.entry import about
from schemas import DeadLetter

log = structlog.get_logger()

Address = tuple[str, str]
"""Stream and offset."""

_KEY = ("stream", "offset")
_AT_ONCE = 500


def record(tx: Transaction, letters: Sequence[DeadLetter]) -> set[Address]:
    """Keep letters in the table; return the addresses of those that somebody has settled before: they stay settled.

    An entry is given up again when its stream is read again from the beginning.
    """
    settled: set[Address] = set()
    rows: list[dict[str, Any]] = []
    there = _stored(tx, [(letter.stream, letter.offset) for letter in letters])
    for letter in letters:
        address = (letter.stream, letter.offset)
        before = there.get(address)
        # Another entry under the same offset: that Redis was emptied, and its clock is behind what it was.
        if before is None or exactjson.loads(before["entry"]) != letter.fields:
            rows.append(_row(letter))
        elif before["settled"] is not None:
            settled.add(address)
        else:
            more = {"first_tried_at": before["first_tried_at"], "deliveries": before["deliveries"] + letter.deliveries}
            rows.append({**_row(letter), **more})
    if rows:
        tx.upsert("dead_letters", _KEY, tables.DEAD_LETTERS, rows)
    return settled


class Letters:
    """Keeps `<stream>.dead` and the table `dead_letters` in step. Every method raises UnreachableError.

    `transaction` opens a transaction of the store as its present owner.
    """

    def __init__(
        self,
        client: Client,
        transaction: Callable[[], AbstractContextManager[Transaction]],
        now: Callable[[], str],
    ) -> None:
        self._client = client
        self._transaction = transaction
        self._now = now
        self._owed: set[str] = set()
        """Streams with letters that found no room in Redis."""

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Show letters that are in the store in Redis too, later if it is full: it must be emptied all the same."""
        if not letters:
            return
        for letter in letters:
            where = {"stream": letter.stream, "offset": letter.offset, **about(letter.fields)}
            log.warning("dead letter", **where, reason=letter.reason)
        try:
            dead.bury(self._client, letters)
        except FullError:
            self._owed.update(letter.stream for letter in letters)

    def restore(self, stream: str) -> int:
        """Bury again what nobody has settled and Redis does not have: it was emptied or full, or the worker died after
        its commit. Return how many."""
        self.settle([stream])
        with self._transaction() as tx:
            sql = (
                'SELECT "offset" FROM dead_letters WHERE stream = ? AND settled IS NULL '
                'ORDER BY first_tried_at, "offset"'
            )
            unsettled = [row["offset"] for row in tx.rows(sql, [stream])]
        lost = dead.missing(self._client, stream, unsettled) if unsettled else []
        self._owed.discard(stream)
        for start in range(0, len(lost), _AT_ONCE):
            addresses = [(stream, offset) for offset in lost[start : start + _AT_ONCE]]
            with self._transaction() as tx:
                rows = _stored(tx, addresses)
            try:
                dead.bury(self._client, [_letter(rows[address]) for address in addresses if address in rows])
            except FullError:
                self._owed.add(stream)
                return start
        if lost:
            log.info("dead letters brought back", stream=stream, letters=len(lost))
        return len(lost)

    def restore_owed(self) -> None:
        """Bury what found no room before."""
        for stream in sorted(self._owed):
            self.restore(stream)

    def settle(self, streams: Iterable[str]) -> int:
        """Take into the table what was retried or dropped since; return how many letters that were."""
        told = {stream: found for stream in streams if (found := dead.settled(self._client, stream))}
        if not told:
            return 0
        with self._transaction() as tx:
            for stream, found in told.items():
                _settle(tx, stream, found, self._now())
        for stream, found in told.items():
            dead.forget_settled(self._client, stream, list(found))
        return sum(map(len, told.values()))


def _settle(tx: Transaction, stream: str, told: Mapping[str, str], now: str) -> None:
    # Letters that another store gave up are not in this one: there is nothing to note then.
    rows = _stored(tx, [(stream, offset) for offset in told]).values()
    settled = [{**row, "settled": told[row["offset"]], "settled_at": now} for row in rows]
    if settled:
        tx.upsert("dead_letters", _KEY, tables.DEAD_LETTERS, settled)


def _stored(tx: Transaction, addresses: Iterable[Address]) -> dict[Address, dict[str, Any]]:
    wanted: dict[str, list[str]] = {}
    for stream, offset in addresses:
        wanted.setdefault(stream, []).append(offset)
    sql = 'SELECT * FROM dead_letters WHERE stream = ? AND "offset" = any(?)'
    return {
        (stream, row["offset"]): row for stream, offsets in wanted.items() for row in tx.rows(sql, [stream, offsets])
    }


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "stream": letter.stream,
        "offset": letter.offset,
        "reason": letter.reason,
        "first_tried_at": letter.first_tried_at,
        "last_tried_at": letter.last_tried_at,
        "deliveries": letter.deliveries,
        "entry": exactjson.dumps(letter.fields),
        "settled": None,
        "settled_at": None,
    }


def _letter(row: Mapping[str, Any]) -> DeadLetter:
    return DeadLetter(
        stream=row["stream"],
        offset=row["offset"],
        reason=row["reason"],
        first_tried_at=row["first_tried_at"],
        last_tried_at=row["last_tried_at"],
        deliveries=row["deliveries"],
        fields=exactjson.loads(row["entry"]),
    )
