"""`make bench`: how much CPU headrace spends, beside a plain script on the same org in the same run.

CPU seconds are the operating system's own accounting of each finished process (user + system); the sandbox org and
the Valkey server run in processes of their own and are not counted. Ratios are what to trust: machines differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.settings import DEFAULT_OBJECTS
from integration.stream.embedded import embedded

FOUR = ("Account", "Contact", "Lead", "Opportunity")


@dataclass(frozen=True)
class Cost:
    """What one finished process cost: CPU and wall seconds, peak memory in MB."""

    cpu: float
    wall: float
    peak: float


def measured(command: Sequence[str], env: Mapping[str, str]) -> Cost:
    """Run a command to its end; raises if it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - began, used.ru_maxrss / 1024)


@contextmanager
def sandbox(accounts: int, contacts: int, opportunities: int, leads: int) -> Iterator[dict[str, str]]:
    """Run the sandbox org in a process of its own; gives its address and credentials."""
    sizes = {"accounts": accounts, "contacts": contacts, "opportunities": opportunities, "leads": leads}
    words = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    process = subprocess.Popen(
        [sys.executable, "-m", "integration.sandbox", "--port", "0", "--seed", "7", *words],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def settings(org: Mapping[str, str], directory: Path, redis_url: str, objects: Sequence[str]) -> dict[str, str]:
    """Return the environment under which headrace syncs this org."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")},  # noqa: TID251 - handed on to children
        "HEADRACE_SALESFORCE__BASE_URL": org["url"],
        "HEADRACE_SALESFORCE__CONSUMER_KEY": org["consumer_key"],
        "HEADRACE_SALESFORCE__CONSUMER_SECRET": org["consumer_secret"],
        "HEADRACE_SALESFORCE__DOMAIN": "sandbox.my",
        "HEADRACE_STORE__URL": f"duckdb:///{directory}/headrace.duckdb",
        "HEADRACE_REDIS__URL": redis_url,
        "HEADRACE_LOG__LEVEL": "warning",
        **{f"HEADRACE_OBJECTS__{name}__ENABLED": "false" for name in DEFAULT_OBJECTS if name not in objects},
    }


def row(name: str, cost: Cost, against: Cost | None = None) -> str:
    """Return one line of the table."""
    ratio = f"{cost.cpu / against.cpu:6.2f}x" if against else "      -"
    return f"{name:38} {cost.cpu:8.2f} {cost.wall:8.2f} {cost.peak:8.0f} {ratio}"


def main() -> None:
    """Run the bench and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1.0: 5,000 accounts, 20,000 contacts, ...")
    parser.add_argument("--all", action="store_true", help="all default objects, not only the four that are counted")
    words = parser.parse_args()
    scale, objects = words.scale, DEFAULT_OBJECTS if words.all else FOUR
    sizes = [round(n * scale) for n in (5_000, 20_000, 10_000, 5_000)]
    with tempfile.TemporaryDirectory() as name, embedded(Path(name) / "valkey") as redis_url, sandbox(*sizes) as org:
        directory = Path(name)
        env = settings(org, directory, redis_url, objects)
        plain = [
            sys.executable, str(Path(__file__).with_name("plain.py")),
            org["url"], str(directory / "plain.duckdb"), org["consumer_key"], org["consumer_secret"], *objects,
        ]  # fmt: skip
        headrace = [sys.executable, "-m", "integration", "sync"]
        print(f"{'':38} {'CPU s':>8} {'wall s':>8} {'peak MB':>8} {'vs plain':>7}")
        yardstick = measured(plain, env)
        print(row("plain script, raw rows only", yardstick))
        print(row("headrace sync, first", measured(headrace, env), yardstick))
        print(row("headrace sync, nothing new", measured(headrace, env), yardstick))


if __name__ == "__main__":
    main()
