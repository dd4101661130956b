"""Run a headrace command with a look at its threads every few milliseconds, and write down where the CPU time went.

    python profiled.py FILE sync

A look notes the stack of every Python thread that has used CPU time since the last look, and how much: threads that wait
weigh nothing. What the process used beyond its Python threads is that of DuckDB's and Arrow's own threads; it goes to the
statement that runs at that moment. The command itself runs as it is; the looks take a few percent, told apart.
"""

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import layers

_EVERY_SECONDS = 0.003
SWITCH_SECONDS = 0.001
"""How soon Python lets the sampler in, 5 ms otherwise: until then time is put down to what comes later."""


def _clock_of(native_id: int) -> int:
    """Return Linux's clock of a thread's CPU time (CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED); needs no pthread handle."""
    return (~native_id << 3) | 6


class Sampler(threading.Thread):
    """Looks until told to stop."""

    def __init__(self) -> None:
        super().__init__(name="bench-sampler", daemon=True)
        self.by_layer: Counter[str] = Counter()
        self.by_phase: Counter[str] = Counter()
        self.by_function: Counter[str] = Counter()
        self.looks = 0
        self._over = threading.Event()
        self._used: dict[int, int] = {}
        for thread in threading.enumerate():  # what they have used until now is not looked at
            self._since_last_look(thread.native_id or 0)
        self._began = time.process_time_ns()
        self._whole = self._began

    def run(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            self._look()

    def stop(self) -> dict[str, Any]:
        """Stop, and return nanoseconds by layer, by phase and by function."""
        self._over.set()
        self.join()
        used = time.process_time_ns() - self._began
        own = self._used.get(self.native_id or 0, 0)
        self.by_layer["the profiler itself"] = own
        self.by_layer["not seen (start of the process, ended threads)"] += max(0, used - sum(self.by_layer.values()))
        return {
            "looks": self.looks,
            "cpu": used / 1e9,
            "layers": dict(self.by_layer),
            "phases": dict(self.by_phase),
            "functions": dict(self.by_function.most_common(40)),
        }

    def _look(self) -> None:
        self.looks += 1
        frames = sys._current_frames()
        native = {t.ident: t.native_id for t in threading.enumerate()}
        whole = time.process_time_ns()
        left, self._whole = whole - self._whole, whole
        statement: str | None = None
        for ident, frame in frames.items():
            used = self._since_last_look(native.get(ident) or 0)
            left -= used
            if ident == self.ident:
                continue
            if used or layers.is_in_store(frame):
                stack = list(_outwards(frame))
                layer = layers.layer_of(stack)
                if layers.is_statement(layer):
                    statement = layer
                if used:
                    self._count(layer, layers.phase_of(stack), layers.function_of(stack), used)
        if left > 0:
            self._count(
                statement or "threads of DuckDB and Arrow, no statement running", "", "threads of libraries", left
            )

    def _since_last_look(self, native_id: int) -> int:
        try:
            now = time.clock_gettime_ns(_clock_of(native_id))
        except OSError:
            return 0  # it has ended
        before = self._used.get(native_id, 0)
        self._used[native_id] = now
        return max(0, now - before)

    def _count(self, layer: str, phase: str, function: str, used: int) -> None:
        self.by_layer[layer] += used
        self.by_phase[phase or "beside the consumer"] += used
        self.by_function[function] += used


def _outwards(frame: FrameType | None) -> list[FrameType]:
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def main() -> None:
    if not sys.platform.startswith("linux"):
        raise SystemExit("The profile needs Linux: it reads the CPU clocks of single threads.")
    file, sys.argv = Path(sys.argv[1]), ["headrace", *sys.argv[2:]]
    sys.setswitchinterval(SWITCH_SECONDS)
    sampler = Sampler()
    sampler.start()
    code = 0
    try:
        from integration.__main__ import main as headrace

        headrace()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        file.write_text(json.dumps(sampler.stop()))
    raise SystemExit(code)


if __name__ == "__main__":
    main()
