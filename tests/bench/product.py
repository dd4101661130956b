"""Product events under load: how many a worker takes, how soon they can be queried, and that none of them is lost."""

import bisect
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import requests
from bed import Bed, Worker

_LOADER = Path(__file__).with_name("loader.py")
_LOOK_SECONDS = 0.2
_STUCK_SECONDS = 120
_COUNT = "SELECT count(*) AS n FROM events"
_FOUND = """\
SELECT count(*) AS rows, count(DISTINCT event_id) AS events FROM events
WHERE origin = 'product' AND event_id LIKE 'product:{name}-%'"""


class Kind(NamedTuple):
    """A kind of load: which loader, how many of its processes, how many senders in each, how often the worker is killed
    meanwhile, and what it is called."""

    loader: str
    processes: int
    threads: int
    kills: int
    title: str


KINDS = (
    Kind("steady", 1, 1, 0, "200 events a second"),
    Kind("segment", 2, 2, 0, "2 processes with segment-analytics-python"),
    Kind("segment", 2, 2, 2, "the same, the worker killed twice"),
    Kind("plain", 1, 8, 0, "8 connections of plain HTTP"),
    Kind("plain", 1, 8, 2, "the same, the worker killed twice"),
)


@dataclass
class Load:
    """What a load came to.

    accepted   events taken a second, while they were sent; queryable: from the first call until all could be queried
    cpu        CPU µs per event of the worker (what its lives used, starts included), redis those of the Valkey server
    delays     seconds from the beginning of each call that was taken until its events could be queried
    again      how many events were sent more than once, lost and twice: how many are not stored, and stored too often
    """

    name: str
    events: int
    accepted: float
    queryable: float
    cpu: float
    redis: float
    peak: float
    again: int
    lost: int
    twice: int
    delays: list[float] = field(repr=False)

    @property
    def cuts(self) -> tuple[float, float, float]:
        """The median, the 95th of a hundred, and the longest delay."""
        cuts = quantiles(self.delays, n=100, method="inclusive")
        return cuts[49], cuts[94], max(self.delays)

    def plain(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        median, p95, longest = self.cuts
        return {**asdict(self), "delays": {"median": median, "p95": p95, "longest": longest}}


HEAD = ("load", "events", "taken/s", "queryable/s", "CPU µs per event", "Valkey CPU µs", "peak MB", "median s", "p95 s",
        "longest s", "sent again", "lost")  # fmt: skip


def lines(loads: Sequence[Load]) -> list[Sequence[str]]:
    """Return the cells of the table, the headings first."""
    return [
        HEAD,
        *(
            (
                one.name, f"{one.events:,}", f"{one.accepted:,.0f}", f"{one.queryable:,.0f}", f"{one.cpu:,.0f}",
                f"{one.redis:,.0f}", f"{one.peak:,.0f}", *(f"{cut:.2f}" for cut in one.cuts), f"{one.again:,}",
                f"{one.lost:,}",
            )
            for one in loads
        ),
    ]  # fmt: skip


class Served:
    """A worker at an address that stays the same, whatever happens to it."""

    def __init__(self, bed: Bed, stack: ExitStack) -> None:
        self._bed, self._stack = bed, stack
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self.worker = self._started()
        self.url = self.worker.url
        self.worker.rest()  # its first polls look at more than the later ones
        self._session = requests.Session()
        self._session.trust_env = False
        self._before = self.worker.cpu
        self._spent = 0.0
        self.peak = 0.0

    @property
    def cpu(self) -> float:
        """CPU seconds since the first of its lives was ready."""
        return self._spent + self.worker.cpu - self._before

    def die(self) -> None:
        """Have it killed, and started again."""
        self._spent, self._before = self.cpu, 0.0
        self.peak = max(self.peak, self.worker.peak)
        self.worker.kill()
        self.worker = self._started()

    def count(self) -> int | None:
        """Count the events that can be queried; None while it does not say."""
        try:
            answer = self._session.post(f"{self.url}/api/sql", json={"sql": _COUNT}, timeout=60)
        except requests.RequestException:
            return None
        return int(answer.json()["rows"][0]["n"]) if answer.status_code == 200 else None

    def _started(self) -> Worker:
        return self._stack.enter_context(self._bed.worker(HEADRACE_WEB__PORT=self._port))


def loads(bed: Bed, seconds: float) -> Iterator[Load]:
    """Put each kind of load on a worker for so long, one after the other. Raises SystemExit if an event is lost."""
    for number, kind in enumerate(KINDS):
        with ExitStack() as stack:
            yield _load(bed, Served(bed, stack), kind, f"load{number}", seconds)


def _load(bed: Bed, served: Served, kind: Kind, name: str, seconds: float) -> Load:
    before = _counted(served)
    names = [f"{name}.{process}" for process in range(kind.processes)]
    with bed.beside() as beside:
        with _loading(bed, served.url, kind, names, seconds) as loaders:
            curve, told = _followed(served, loaders, before, seconds, kind.kills)
        time.sleep(1)  # acknowledging and trimming belong to it
        cpu = served.cpu
    made = sum(one["made"] for one in told)
    taken = sorted(tuple(call) for one in told for call in one["taken"])
    stored = [served.worker.ask(_FOUND.format(name=one))[0] for one in names]
    lost = made - sum(one["events"] for one in stored)
    twice = sum(one["rows"] - one["events"] for one in stored)
    if lost or twice:
        raise SystemExit(f"Of {made:,} events {lost:,} are not in the store, and {twice:,} are there more than once.")
    began, sent = taken[0][0], max(ended for _, ended, _ in taken)
    return Load(
        name=kind.title,
        events=made,
        accepted=made / (sent - began),
        queryable=made / (curve[-1][0] - began),
        cpu=cpu / made * 1e6,
        redis=beside["redis"] / made * 1e6,
        peak=max(served.peak, served.worker.peak),
        again=sum(one["sent"] for one in told) - made,
        lost=lost,
        twice=twice,
        delays=delays(taken, curve),
    )


def _counted(served: Served) -> int:
    """Ask until there is an answer: a question that found nobody is no zero."""
    while (count := served.count()) is None:
        time.sleep(0.1)
    return count


Loaders = Sequence[tuple["subprocess.Popen[bytes]", Path]]


@contextmanager
def _loading(bed: Bed, url: str, kind: Kind, names: Sequence[str], seconds: float) -> Iterator[Loaders]:
    """Start the loaders, each with the file that it writes; end them at the latest when the block ends."""
    started = []
    try:
        for name in names:
            said = bed.folder / name
            command = [sys.executable, str(_LOADER), kind.loader, url, name, str(seconds), str(kind.threads)]
            with said.open("wb") as out:
                started.append((subprocess.Popen(command, env=bed.env, cwd=bed.folder, stdout=out), said))
        yield started
    finally:
        for process, _ in started:
            process.kill()
            process.wait()


def _followed(
    served: Served, loaders: Loaders, before: int, seconds: float, kills: int
) -> tuple[list[tuple[float, int]], list[dict[str, Any]]]:
    """Kill the worker so often while the loaders send; return when how many of their events could be queried, and what
    each of them tells at its end. `before` are the events that were there already."""
    began = moved = time.monotonic()
    deaths = [began + seconds * (number + 1) / (kills + 1) for number in range(kills)]
    curve = [(began, 0)]
    told: list[dict[str, Any]] = []
    while not told or curve[-1][1] < sum(one["made"] for one in told):
        if deaths and time.monotonic() >= deaths[0]:
            deaths.pop(0)
            served.die()
        seen = served.count()
        now = time.monotonic()
        if seen is not None and seen - before > curve[-1][1]:
            curve.append((now, seen - before))
            moved = now
        if now - moved > _STUCK_SECONDS:
            raise SystemExit(f"No event was stored for {_STUCK_SECONDS} s; {curve[-1][1]:,} had been before.")
        if not told and all(process.poll() is not None for process, _ in loaders):
            if failed := [said.name for process, said in loaders if process.returncode]:
                raise SystemExit(f"{', '.join(failed)} failed: see above.")
            told = [json.loads(said.read_text()) for _, said in loaders]
        time.sleep(_LOOK_SECONDS)
    return curve, told


def delays(taken: Sequence[tuple[float, float, int]], curve: Sequence[tuple[float, int]]) -> list[float]:
    """Return for each call (when it began and ended, how many events it brought; in order) how many seconds it took
    until as many events as had been taken with it could be queried; `curve` tells when how many could. The stream keeps
    the order in which they came."""
    seen = [count for _, count in curve]
    found, so_far = [], 0
    for began, _, events in taken:
        so_far += events
        at, _ = curve[min(bisect.bisect_left(seen, so_far), len(curve) - 1)]
        found.append(max(0.0, at - began))
    return found
