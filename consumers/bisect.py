"""What to do with a batch that fails for a reason of its own: halve it until the entry is found that makes it fail.

An entry that fails alone is given up. Where entry after entry fails, it is not the entries: then nothing more is given
up, and the consumer stops.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from consumers.apply import Flattener
from consumers.batch import Applied, Entry, Reject
from integration.errors import HeadraceError, RunError
from integration.store import tables
from integration.store.protocol import RefusedError, Transaction

_META = "dead_in_a_row:"


class InARow:
    """Counts, for each stream, the entries given up since the last one that could be used.

    Kept in the store with the batches: a consumer that is started again and again would otherwise bury as many each
    time. Raises RunError where `limit` is reached, before anything of that batch is committed.
    """

    def __init__(self, limit: int, tx: Transaction) -> None:
        self._limit = limit
        rows = tx.rows("SELECT key, value FROM headrace.meta WHERE starts_with(key, ?)", [_META])
        self._counts = Counter({row["key"].removeprefix(_META): int(row["value"]) for row in rows})
        self._next = self._counts

    def judge(self, tx: Transaction, entries: Sequence[Entry], rejects: Sequence[Reject]) -> None:
        """Count on with a batch that is about to be committed (see batch.Judge)."""
        if not rejects and not +self._counts:
            self._next = self._counts
            return
        self._next = self._counted(entries, {r.entry.address: r for r in rejects})
        rows = [{"key": _META + s, "value": str(n)} for s, n in self._next.items() if n != self._counts[s]]
        tx.upsert("headrace.meta", ("key",), tables.META, rows)

    def committed(self) -> None:
        """Note that the batch which was judged last is in the store."""
        self._counts = self._next

    def foresee(self, given_up: Sequence[Reject]) -> None:
        """Raise RunError if these, that are about to be given up, come to the limit."""
        self._counted([r.entry for r in given_up], {r.entry.address: r for r in given_up})

    def _counted(self, entries: Sequence[Entry], rejects: Mapping[tuple[str, str], Reject]) -> Counter[str]:
        counts = Counter(self._counts)
        for entry in entries:
            reject = rejects.get(entry.address)
            counts[entry.stream] = counts[entry.stream] + 1 if reject is not None else 0
            if reject is not None and counts[entry.stream] >= self._limit:
                raise self._stop(reject)
        return counts

    def _stop(self, last: Reject) -> RunError:
        stream = last.entry.stream
        return RunError(
            f"{self._limit:,} entries of {stream} in a row can't be used, up to {last.entry.offset} "
            f"({last.reason.rstrip('.')}), so the consumer stops instead of giving up the rest: look at them with "
            f"headrace dlq ls {stream} and headrace streams peek {stream}; raise streams.max_dead_in_a_row to go on."
        )


def in_parts(flattener: Flattener, entries: Sequence[Entry], row: InARow) -> Iterator[Applied]:
    """Apply a batch, in parts where the whole fails; each part is a transaction of its own, in order.

    Raises what is not the fault of an entry (UnreachableError, FencedError, ConfigError, RunError) with nothing of the
    part in hand stored.
    """
    given_up: list[Reject] = []
    parts = [entries] if entries else []
    while parts:
        part = parts.pop()
        try:
            # What fails alone is given up together with what comes after it and can be used, so that a run of
            # failures that comes to the limit has buried nothing.
            applied = flattener.apply(part, given_up, row.judge)
        except Exception as error:
            if _is_outage(error, alone=len(part) == 1):
                raise
            if len(part) == 1:
                given_up.append(Reject(part[0], f"The entry makes the flattener fail ({_kind(error)})."))
                row.foresee(given_up)
            else:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
            continue
        row.committed()
        given_up = []
        yield applied
    if given_up:
        yield give_up(flattener, given_up, row)


def give_up(flattener: Flattener, rejects: Sequence[Reject], row: InARow) -> Applied:
    """Record entries as dead letters without trying them."""
    applied = flattener.apply((), rejects, row.judge)
    row.committed()
    return applied


def _is_outage(error: Exception, *, alone: bool) -> bool:
    """Tell whether an error has nothing to do with what is in the batch."""
    if isinstance(error, RefusedError):
        return error.too_large and alone
    return isinstance(error, HeadraceError | MemoryError)


def _kind(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, RunError) else None
    return type(cause or error).__name__
