"""Entries on their way into the store: each stream without gaps, what can't be stored given up, the streams tidied.

What Redis knows of a group (what was delivered, what is pending) is bookkeeping. What counts is the store's position:
before a batch is applied, whatever lies between the two is read and applied first, be it that another worker of the
group has taken it, or that an answer was lost on its way.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

import structlog

from consumers.apply import Flattener
from consumers.batch import Applied, Entry, Reject
from consumers.bisect import InARow, give_up, in_parts
from consumers.letters import Letters
from consumers.orgs import OneOrg
from integration.errors import HeadraceError
from integration.stream import delivery, groups
from integration.stream.connection import Client
from integration.stream.delivery import Gap
from integration.stream.names import ORIGIN, offset_key
from integration.stream.pressure import memory_used, refused_writes
from integration.stream.trim import Trimmer, trim_all

log = structlog.get_logger()

CONSUMER = "flattener"
"""The consumer's name in the group: always the same, since one flattener at a time takes an org's streams."""

_MOST_DELIVERIES = 6
"""By then an entry that is pending has been in a list of its own at least once (see groups.drain)."""
_TRIM_EVERY = 5_000


class Intake:
    """Takes entries through one flattener. Blocks while it works; not for two threads at once.

    Every method raises UnreachableError (Redis or the store is away), FencedError, ConfigError or RunError; what was
    committed until then stays, and the rest comes again at the next start.
    """

    def __init__(
        self,
        client: Client,
        flattener: Flattener,
        *,
        now: Callable[[], str],
        on_applied: Callable[[Applied], None],
        keep: int,
        max_dead_in_a_row: int,
        at_once: int,
        memory_percent: int = 70,
    ) -> None:
        self._client = client
        self._flattener = flattener
        self._on_applied = on_applied
        self._at_once = at_once
        self._letters = Letters(client, flattener.transaction, now)
        self._trimmer = Trimmer(client, keep=keep)
        self._since_trim = 0
        self._memory_percent = memory_percent
        self._is_tight = False
        self._refused: int | None = None
        self._org = OneOrg(flattener.transaction)
        with flattener.transaction() as tx:
            self._row = InARow(max_dead_in_a_row, tx)
        self._suspects: list[Gap] = []

    def recover(self, stream: str) -> None:
        """Set the group to the store's position, and take what an earlier run was given but did not finish."""
        flattener = self._flattener
        position = flattener.positions.get(stream, ORIGIN)
        if groups.note_loss(self._client, stream, position):
            log.warning("stream was lost", stream=stream, detail="its object is read again from the beginning")
        if groups.ensure_group(self._client, stream, position) is groups.GroupState.CREATED:
            # A stream that knows no group of ours may be another one than the position was taken in (a new Redis,
            # its clock behind the old one's): by that position its entries would be taken for old ones.
            flattener.forget_position(stream)
        for chunk in groups.drain(self._client, stream, CONSUMER):
            entries = [Entry(stream, offset, fields) for offset, fields in chunk]
            try:
                self._take_again(entries)
            except Exception:
                # Nobody died of them: the store is away, say, and that can last. It must not be held against them.
                with suppress(HeadraceError):
                    delivery.undeliver(self._client, stream, CONSUMER, [entry.offset for entry in entries])
                raise
            groups.ack(self._client, stream, [entry.offset for entry in entries])
        delivery.forget_idle_consumers(self._client, stream, but=CONSUMER)
        self._letters.restore(stream)

    def take(self, batches: Sequence[Sequence[Entry]]) -> None:
        """Store batches, each of one stream and in its order, and with them what lies before them.

        All of them in one transaction, unless something is amiss.
        """
        for together in _rounds(batches):
            self._fill_up_to([batch[0] for batch in together])
            self._apply([entry for batch in together for entry in batch])

    def tidy(self, streams: Sequence[str]) -> None:
        """Note what became of dead letters, and trim the streams."""
        self._letters.settle(streams)
        self._letters.restore_owed()
        self._trimmer.trim()
        self.make_room(streams)

    def make_room(self, streams: Sequence[str]) -> int:
        """Trim all that is finished, also what people would look at, if Redis uses more of its memory than the
        settings allow, or has refused writes since the last time; return how many entries went.

        Publishers wait for that. A Redis that stays full of what is finished would stop them for ever.
        """
        used, refused, before = memory_used(self._client), refused_writes(self._client), self._refused
        self._refused = refused
        if not (before is not None and refused > before) and (used is None or used < self._memory_percent):
            self._is_tight = False
            return 0
        positions = self._flattener.positions
        gone = sum(trim_all(self._client, s, positions[s]) for s in streams if s in positions)
        if gone and not self._is_tight:
            self._is_tight = True
            log.warning(
                "finished entries trimmed",
                entries=gone,
                detail="Redis is short of memory: none are kept for people to look at until it is not.",
            )
        return gone

    def find_stranded(self, streams: Iterable[str]) -> None:
        """Take entries that were delivered, yet never came: to somebody else, or with an answer that was lost. Finish
        those whose acknowledgement was lost.

        `streams` are those of which nothing is in hand here. An entry that is on its way looks the same: so only what
        has not moved since the last time is taken.
        """
        positions = [(s, self._flattener.positions.get(s, ORIGIN)) for s in streams]
        delivery.finish(self._client, positions)
        found = delivery.delivered_past(self._client, positions)
        for gap in found:
            if gap in self._suspects:
                self._fill(gap)
        self._suspects = found

    def _take_again(self, entries: Sequence[Entry]) -> None:
        """Take entries that an earlier run was given."""
        deadly = self._deadly(entries[0]) if len(entries) == 1 else None
        if deadly is None:
            self.take([entries])
        else:
            self._fill_up_to(entries)
            self._stored(give_up(self._flattener, [deadly], self._row), entries)

    def _fill_up_to(self, entries: Iterable[Entry]) -> None:
        """Take what lies between the store's positions and these entries, each of another stream."""
        positions = self._flattener.positions
        gaps = [Gap(e.stream, positions.get(e.stream, ORIGIN), e.offset) for e in entries]
        for gap in delivery.filled(self._client, gaps):
            self._fill(gap)

    def _fill(self, gap: Gap) -> None:
        there = groups.between(self._client, *gap)
        count = 0
        while chunk := list(islice(there, self._at_once)):
            self._apply([Entry(gap.stream, offset, fields) for offset, fields in chunk])
            groups.ack(self._client, gap.stream, [offset for offset, _ in chunk])
            count += len(chunk)
        if count and gap.after != ORIGIN:
            log.info("entries taken that were delivered elsewhere", stream=gap.stream, entries=count)

    def _apply(self, entries: Sequence[Entry]) -> None:
        self._org.check(entries)
        rest = iter(entries)
        for applied in in_parts(self._flattener, entries, self._row):
            self._stored(applied, list(islice(rest, applied.entries)))

    def _stored(self, applied: Applied, entries: Sequence[Entry]) -> None:
        """Do what comes after a commit."""
        last = {entry.stream: entry.offset for entry in entries}
        counts = Counter(entry.stream for entry in entries)
        for stream, offset in last.items():
            self._trimmer.note(stream, offset, counts[stream])
        try:
            self._letters.bury([reject.letter(applied.at) for reject in applied.rejects])
        finally:
            self._on_applied(applied)
        self._since_trim += len(entries)
        if self._since_trim >= _TRIM_EVERY:
            self._since_trim = 0
            self._trimmer.trim()

    def _deadly(self, entry: Entry) -> Reject | None:
        """Return the entry as one that is given up without a try, if nobody has lived through one."""
        if offset_key(entry.offset) <= offset_key(self._flattener.positions.get(entry.stream, ORIGIN)):
            return None  # stored, and only not acknowledged
        times = groups.deliveries(self._client, entry.stream, [entry.offset]).get(entry.offset, 1)
        if times <= _MOST_DELIVERIES:
            return None
        return Reject(entry, f"The consumer died {times - 1} times with this entry in hand.", deliveries=times)


def _rounds(batches: Iterable[Sequence[Entry]]) -> Iterator[list[Sequence[Entry]]]:
    """Put batches into rounds that have no stream twice, so that what lies between two of one stream is found."""
    left = [batch for batch in batches if batch]
    while left:
        first = {batch[0].stream: batch for batch in reversed(left)}
        yield list(first.values())
        left = [batch for batch in left if first[batch[0].stream] is not batch]
