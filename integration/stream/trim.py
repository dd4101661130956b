"""Trimming: what is stored, and what every group has finished, may leave its stream.

Never by length (MAXLEN eats what nobody has read), always by offset: XTRIM MINID, below the lowest place that anyone
still needs.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from integration.stream.connection import Client, answering
from integration.stream.groups import is_missing, present
from integration.stream.names import GROUP, ORIGIN, offset_key

_MARKS = 100
_PAGE = 1000

Groups = Sequence[Mapping[str, Any]]
"""An answer of XINFO GROUPS."""


@dataclass(slots=True)
class _Flow:
    """What was committed of one stream in this life: marks (offset, entries since the mark before), oldest first."""

    marks: deque[tuple[str, int]] = field(default_factory=deque)
    counted: int = 0
    committed: str = ORIGIN
    floor: str | None = None
    """Enough finished entries lie after it: what lies before it may go."""

    def add(self, offset: str, count: int, keep: int) -> None:
        if self.marks and self.marks[-1][1] + count <= keep // _MARKS:
            merged = self.marks.pop()[1]
            self.counted -= merged
            count += merged
        self.marks.append((offset, count))
        self.counted += count
        self.committed = offset
        while self.marks and self.counted - self.marks[0][1] >= keep:
            self.floor, gone = self.marks.popleft()
            self.counted -= gone


class Trimmer:
    """Trims streams behind the store, and keeps at least the newest `keep` finished entries of each.

    It counts in memory. What earlier runs left is found a thousand entries at a time, so that runs that are short, and
    streams that were never trimmed, come down to the same size in the end. Not for two threads at once.
    """

    def __init__(self, client: Client, *, keep: int) -> None:
        self._client = client
        self._keep = keep
        self._flows: dict[str, _Flow] = {}
        self._due: set[str] = set()

    def note(self, stream: str, offset: str, count: int) -> None:
        """Take in that the store has committed `count` more entries of the stream, up to `offset`."""
        flow = self._flows.get(stream)
        if flow is None or offset_key(offset) < offset_key(flow.committed):
            # A store set back, or a stream that begins anew: what was counted no longer holds.
            flow = self._flows[stream] = _Flow()
        if offset == flow.committed:
            return
        before = flow.floor
        flow.add(offset, count, self._keep)
        if flow.floor is None or flow.floor != before:
            self._due.add(stream)

    def trim(self) -> int:
        """Trim the streams that were noted since they were last trimmed; return how many entries went.

        Entries stay that any group of the stream has not finished, and so does everything in a stream that lacks our
        group. Redis frees whole nodes, usually of a hundred entries at most. Raises UnreachableError.
        """
        if not self._due:
            return 0
        with answering(self._client):
            groups, lengths = self._looked()
            floors = {s: self._flows[s].floor for s in groups} | self._surplus(groups, lengths)
            wanted = {s: _lower(floor, self._flows[s].committed) for s, floor in floors.items() if floor is not None}
            bounds = _bounds(self._client, {s: groups[s] for s in wanted}, wanted)
            removed = self._cut(bounds)
        # Look again at what somebody still holds back, and where more may go: Redis frees so many at a time and then
        # serves others.
        self._due = {s for s, low in wanted.items() if bounds.get(s) != low or removed[s]}
        return sum(removed.values())

    def _looked(self) -> tuple[dict[str, Groups], dict[str, int]]:
        """Ask for the groups of the streams that are due, and for the lengths of those without a floor."""
        streams = sorted(self._due)
        young = [stream for stream in streams if self._flows[stream].floor is None]
        pipe = self._client.pipeline(transaction=False)
        # The lengths first: what comes in between is then counted as waiting, not as finished.
        for stream in young:
            pipe.xlen(stream)
        for stream in streams:
            pipe.xinfo_groups(stream)
        replies = pipe.execute(raise_on_error=False)
        return present(streams, replies[len(young) :]), present(young, replies[: len(young)])

    def _surplus(self, groups: Mapping[str, Groups], lengths: Mapping[str, int]) -> dict[str, str]:
        """Find up to where entries of earlier runs may go, in streams of which too few have gone by in this run."""
        spare = {s: n - self._keep - _unfinished(groups[s], n) for s, n in lengths.items() if s in groups}
        # Each entry that goes this way is read once more, so it is not done for a few.
        worthwhile = [s for s, count in spare.items() if count > _MARKS + self._keep // 10]
        if not worthwhile:
            return {}
        pipe = self._client.pipeline(transaction=False)
        for stream in worthwhile:
            pipe.xrange(stream, count=min(spare[stream], _PAGE))
        return {s: _text(page[-1][0]) for s, page in zip(worthwhile, pipe.execute(), strict=True) if page}

    def _cut(self, bounds: Mapping[str, str]) -> dict[str, int]:
        pipe = self._client.pipeline(transaction=False)
        for stream, bound in bounds.items():
            pipe.xtrim(stream, minid=bound, approximate=True)
        return dict(zip(bounds, map(int, pipe.execute()), strict=True)) if bounds else {}


def trim_all(client: Client, stream: str, below: str) -> int:
    """Trim all that the store has committed (up to `below`) and every group has finished; return how many went.

    For a Redis that is filling up: nothing is kept for people to look at. Raises UnreachableError.
    """
    with answering(client):
        try:
            groups: Groups = client.xinfo_groups(stream)
        except ResponseError as error:
            if is_missing(error):
                return 0
            raise
        bound = _bounds(client, {stream: groups}, {stream: below}).get(stream)
        total = 0
        while bound is not None and (removed := int(client.xtrim(stream, minid=bound, approximate=True))):
            total += removed
        return total


def _bounds(client: Client, groups: Mapping[str, Groups], below: Mapping[str, str]) -> dict[str, str]:
    """Lower each offset of `below` to what all groups of its stream have finished; without our group it is left out."""
    finished = {
        stream: min([below[stream], *(_text(group["last-delivered-id"]) for group in found)], key=offset_key)
        for stream, found in groups.items()
        if any(_text(group["name"]) == GROUP for group in found)
    }
    held = [(stream, group["name"]) for stream in finished for group in groups[stream] if int(group["pending"])]
    if not held:
        return finished
    pipe = client.pipeline(transaction=False)
    for stream, name in held:
        pipe.xpending(stream, name)
    for (stream, _), summary in zip(held, pipe.execute(raise_on_error=False), strict=True):
        if isinstance(summary, ResponseError) and is_missing(summary):
            finished.pop(stream, None)  # the group went away just now: not this time
        elif isinstance(summary, Exception):
            raise summary
        elif stream in finished and summary["min"] is not None:
            finished[stream] = _lower(finished[stream], _text(summary["min"]))
    return finished


def _unfinished(groups: Groups, length: int) -> int:
    """Return how many entries of the stream our group has not finished; all of them where Redis does not know."""
    ours = next((group for group in groups if _text(group["name"]) == GROUP), None)
    told = ours.get("lag") if ours else None
    return int(told) + int(ours["pending"]) if ours and told is not None else length


def _lower(a: str, b: str) -> str:
    return min(a, b, key=offset_key)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
