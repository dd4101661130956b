"""What a change costs in stores of several sizes: the consumer's own path, from a stream entry to the commit.

Runs in a process of its own and prints JSON. A store is filled by the flattener itself, as a first sync fills it; at each
size it is closed and opened again, and then random records are edited, 3,900 a round. The mean counts, not the median:
every few rounds DuckDB writes its log back into the file, and what that costs belongs to the changes. No Salesforce, no
Redis: those do not see how large the store is. Reading and parsing entries is counted, making them is not.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import costs
from clones import SHARES, Clones
from profiled import SWITCH_SECONDS, Sampler
from rows import MIX

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.store.opening import open_store
from integration.store.protocol import Store

_AT_ONCE = 4_000
"""Entries of a stream that the consumer takes at once where there are so many."""
_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
_SERVER = {"shared_buffers": f"{_MEMORY // 4 // 2**20}MB", "full_page_writes": "on", "max_wal_size": "8GB"}
"""A server as its makers advise: a quarter of the memory is its own, and no page is lost in a crash."""


class Grower:
    """A store, and how many records it has."""

    def __init__(
        self,
        url: str,
        rounds: int,
        *,
        profiles: bool,
        server: int | None = None,
        settle: Callable[[], object] = lambda: None,
    ) -> None:
        self._server = server
        self._settle = settle
        self._url = url
        self._rounds = rounds
        self._profiles = profiles
        self._clones = Clones()
        self._counts = dict.fromkeys(SHARES, 0)
        self._turn = 0

    def measure(self, size: int) -> dict[str, Any]:
        """Grow to a size; return what a record of the growing and a change cost."""
        counts = {name: round(share * size) for name, share in SHARES.items()}
        fill, _ = self._run(self._clones.records(counts, self._counts, _AT_ONCE))
        added, self._counts = size - sum(self._counts.values()), counts
        self._settle()  # what the growing has left for the server to do is no cost of the changes
        store = open_store(self._url)
        flattener = self._flattener(store)
        measured = [self._edited(flattener) for _ in range(self._rounds + 1)][1:]  # the first warms up
        layers = self._profiled(flattener) if self._profiles else {}
        store.close()
        return {
            "records": size,
            "cpu_ms": mean(cpu for cpu, _ in measured),
            "least": min(cpu for cpu, _ in measured),
            "most": max(cpu for cpu, _ in measured),
            "rounds": [cpu for cpu, _ in measured],
            "wall_ms": mean(wall for _, wall in measured),
            "fill_us": fill / max(1, added) * 1e6,
            "peak_mb": costs.memory_of(os.getpid(), peak=True),
            "store_mb": _size(self._url),
            "layers": layers,
        }

    def _edited(self, flattener: Flattener) -> tuple[float, float]:
        """Have random records edited; return what a change cost in milliseconds, of CPU and by the clock."""
        self._turn += 1
        batches = self._clones.edits(self._counts, MIX, self._turn, _AT_ONCE)
        changes = sum(len(batch) for batch in batches)
        cpu, wall, stored = self._applied(flattener, batches)
        if stored != changes:
            raise SystemExit(f"{stored} of {changes} changes were stored.")
        return cpu / changes * 1000, wall / changes * 1000

    def _profiled(self, flattener: Flattener) -> dict[str, float]:
        """Do the same again under the profiler; return milliseconds of CPU per change by layer."""
        turns = []
        for _ in range(self._rounds):
            self._turn += 1
            turns += self._clones.edits(self._counts, MIX, self._turn, _AT_ONCE)
        sampler = Sampler()
        sampler.start()
        self._applied(flattener, turns)
        found: dict[str, int] = sampler.stop()["layers"]
        changes = sum(len(batch) for batch in turns)
        return {name: used / changes / 1e6 for name, used in found.items()}

    def _run(self, batches: "object") -> tuple[float, int]:
        store = open_store(self._url)
        flattener = self._flattener(store)
        cpu, count = 0.0, 0
        for batch in batches:  # type: ignore[attr-defined]
            used, _, stored = self._applied(flattener, [batch])
            cpu, count = cpu + used, count + stored
            _say(f"\r{count:,} records stored, {cpu:.0f} s CPU")
        store.close()
        _say("\n")
        return cpu, count

    def _applied(self, flattener: Flattener, batches: Sequence[list[Entry]]) -> tuple[float, float, int]:
        cpu, wall, stored = self._cpu(), time.monotonic(), 0
        for batch in batches:
            applied = flattener.apply(batch)
            stored += applied.stored
        return self._cpu() - cpu, time.monotonic() - wall, stored

    def _cpu(self) -> float:
        """Return the CPU seconds used so far, the store's server included where there is one."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        served = costs.cpu_of_family(self._server) if self._server is not None else 0.0
        return used.ru_utime + used.ru_stime + served

    def _flattener(self, store: Store) -> Flattener:
        flattener = Flattener(store, Rules({}, {}), now=_now, fetch_schema=self._clones.schema_body)
        flattener.announce(self._clones.schemas.values())
        return flattener


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _size(url: str) -> float:
    file = Path(url.removeprefix("duckdb:///"))
    return file.stat().st_size / 2**20 if url.startswith("duckdb:") else 0.0


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", required=True)
    parser.add_argument("--store", default=f"duckdb:///{Path.cwd()}/growth.duckdb")
    parser.add_argument(
        "--postgres", action="store_true", help="in a PostgreSQL server of its own, whose CPU counts too"
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--profile", action="store_true")
    words = parser.parse_args()
    gc.set_threshold(100_000, 20, 50)  # as every command does
    if words.profile:
        sys.setswitchinterval(SWITCH_SECONDS)
    with ExitStack() as stack:
        url, server, settle = words.store, None, lambda: None
        if words.postgres:
            sys.path.insert(0, str(Path(__file__).parents[1]))
            from postgres import name_of, running

            cluster = stack.enter_context(running(**_SERVER))
            url, server = cluster.database(), cluster.pid
            settle = partial(cluster.sql, "VACUUM ANALYZE", "CHECKPOINT", database=name_of(url))
        grower = Grower(url, words.rounds, profiles=words.profile, server=server, settle=settle)
        found = []
        for size in words.sizes.split(","):
            found.append(grower.measure(int(size)))
            _say(f"{found[-1]['records']:,} records: {found[-1]['cpu_ms']:.3f} ms CPU per change\n")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
