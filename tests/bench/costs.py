"""What processes cost, by the operating system's own accounting."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    cpu    CPU seconds (user and system) of the process that is judged; `redis` and `org` those of the Valkey server and
           of the sandbox org meanwhile, which are not judged
    wall   seconds it took, peak the most memory the process ever had, in MB
    calls  API calls that the org counted
    """

    cpu: float
    wall: float
    peak: float
    calls: float = 0
    redis: float = 0
    org: float = 0

    def per(self, count: int) -> "Cost":
        """Return the cost of one of so many equal pieces; memory stays."""
        parts = (self.cpu, self.wall, self.peak * count, self.calls, self.redis, self.org)
        return Cost(*(part / count for part in parts))


def run(command: Sequence[str], env: Mapping[str, str], folder: Path) -> Cost:
    """Run a command to its end, its output in `folder`. Raises SystemExit with its last words if it fails."""
    said, noted = folder / "stdout", folder / "stderr"
    began = time.monotonic()
    with said.open("wb") as out, noted.open("wb") as err:
        process = subprocess.Popen(command, env=dict(env), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:  # the bench was told to end
            process.kill()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[1:4])} ended with {process.returncode}: {noted.read_text()[-2000:]}")
    kilobytes = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - began, kilobytes / 1024)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds (user and system) that a running process has used so far, to a hundredth."""
    try:
        # The name in brackets may hold anything; what follows it are numbers.
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / _TICKS
    except FileNotFoundError:
        text = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
        minutes, _, seconds = text.strip().rpartition(":")
        return 60 * float(minutes.rpartition(":")[2] or 0) + float(seconds)


def cpu_of_family(pid: int) -> float:
    """Return the CPU seconds of a process and of all that it has started, those that ended included. Linux only."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            numbers = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(numbers[1]), []).append(int(stat.parent.name))
            used[int(stat.parent.name)] = sum(map(int, numbers[11:15])) / _TICKS
    family, total = [pid], 0.0
    while family:
        one = family.pop()
        total += used.get(one, 0.0)
        family += parents.get(one, [])
    return total


def memory_of(pid: int, *, peak: bool = False) -> float:
    """Return the memory a running process holds now, or (where /proc tells) the most it ever held, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        wanted = "VmHWM:" if peak else "VmRSS:"
        return next(int(line.split()[1]) for line in lines if line.startswith(wanted)) / 1024
    except FileNotFoundError:
        text = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
        return int(text) / 1024
