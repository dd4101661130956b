"""Where one headrace and one plain script work on an org: their files, their settings, their commands."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import costs
import requests
from costs import Cost
from machine import ROOT
from org import Org

from integration.core.history import histories_of
from integration.settings import DEFAULT_OBJECTS
from integration.stream.connection import connect
from integration.stream.embedded import embedded

FOUR = ("Account", "Contact", "Lead", "Opportunity")
_HERE = Path(__file__).parent
_STOP_SECONDS = 30


def bare(home: Path) -> dict[str, str]:
    """Return an environment in which no setting comes from elsewhere."""
    return {"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}


def with_histories(objects: Sequence[str], org: Org) -> tuple[str, ...]:
    """Return the objects and those that hold their field history, as far as the org has any."""
    histories = [h for name in objects for h in histories_of(name) if h in org.counts]
    return (*objects, *histories)


class Bed:
    """A fresh store, fresh streams and a fresh file for the plain script. `objects` are read by both.

    Every cost tells the API calls, and what Valkey and the org did meanwhile.
    """

    def __init__(
        self, org: Org, folder: Path, redis_url: str, objects: Sequence[str], *, store_url: str | None, interval: float
    ) -> None:
        self.org, self.folder, self.objects = org, folder, tuple(objects)
        self.store_url = store_url or f"duckdb:///{folder}/headrace.duckdb"
        self.interval = interval
        self._plain_file = folder / "plain.duckdb"
        with connect(redis_url) as client:
            self._redis_pid = int(client.info("server")["process_id"])
        off = {*DEFAULT_OBJECTS, *(h for name in DEFAULT_OBJECTS for h in histories_of(name))} - {*objects}
        self.env = {
            **bare(folder),
            "HEADRACE_SALESFORCE__BASE_URL": org.url,
            "HEADRACE_SALESFORCE__CONSUMER_KEY": org.key,
            "HEADRACE_SALESFORCE__CONSUMER_SECRET": org.secret,
            "HEADRACE_SALESFORCE__DOMAIN": "sandbox.my",
            "HEADRACE_STORE__URL": self.store_url,
            "HEADRACE_REDIS__URL": redis_url,
            "HEADRACE_POLL__INTERVAL_SECONDS": str(interval),
            "HEADRACE_POLL__REREAD_SECONDS": "0",  # hourly and daily work has rows of its own
            "HEADRACE_SWEEP__EVERY_HOURS": "0",
            "HEADRACE_WEB__PORT": "0",
            "HEADRACE_LOG__LEVEL": "warning",
            **{f"HEADRACE_OBJECTS__{name}__ENABLED": "false" for name in off},
        }

    def headrace(self, *words: str, **settings: str) -> Cost:
        """Run a command of headrace to its end, under these settings too."""
        return self._timed([sys.executable, "-m", "integration", *words], settings)

    def script(self, name: str, *words: str) -> Cost:
        """Run one of the bench's own scripts in the place of headrace."""
        return self._timed([sys.executable, str(_HERE / name), *words])

    def plain(self, how: str) -> Cost:
        """Run the plain script."""
        return self._timed([
            sys.executable, str(_HERE / "plain.py"), how, self.org.url, str(self._plain_file), self.org.key,
            self.org.secret, *self.objects,
        ])  # fmt: skip

    def plain_quiet(self, polls: int) -> Cost:
        """Have the plain script poll so often inside one process; return the cost of one poll."""
        whole = self.plain(str(polls))
        inside = json.loads((self.folder / "stdout").read_text())
        describes = len(self.objects)
        return replace(whole, cpu=inside["cpu"], wall=inside["wall"], calls=whole.calls - describes).per(polls)

    def said(self) -> Any:
        """Return the JSON that the last command printed."""
        return json.loads((self.folder / "stdout").read_text())

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask the store while no worker has it."""
        costs.run([sys.executable, "-m", "integration", "sql", "--json", sql], self.env, self.folder)
        rows: list[dict[str, Any]] = self.said()
        return rows

    @contextmanager
    def worker(self, **settings: str) -> Iterator["Worker"]:
        """Run `headrace run` as long as the block lasts, under these settings too."""
        noted = self.folder / "worker"
        with noted.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "integration", "run"],
                env={**self.env, **settings}, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=err,
            )  # fmt: skip
        try:
            yield Worker(self, process, noted)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def beside(self) -> Iterator[dict[str, float]]:
        """Give what Valkey and the org do during the block, once it is over, and the API calls."""
        found: dict[str, float] = {}
        calls, redis, org = self.org.calls, costs.cpu_of(self._redis_pid), costs.cpu_of(self.org.pid)
        yield found
        found |= {"redis": costs.cpu_of(self._redis_pid) - redis, "org": costs.cpu_of(self.org.pid) - org}
        found["calls"] = self.org.calls - calls

    def _timed(self, command: Sequence[str], settings: Mapping[str, str] = MappingProxyType({})) -> Cost:
        with self.beside() as beside:
            cost = costs.run(command, {**self.env, **settings}, self.folder)
        return replace(cost, **beside)


class Worker:
    """A `headrace run`, asked through its own door."""

    def __init__(self, bed: Bed, process: "subprocess.Popen[bytes]", noted: Path) -> None:
        self._bed, self._process, self._noted = bed, process, noted
        self.interval = bed.interval
        self._session = requests.Session()
        self._session.trust_env = False
        self.until(lambda: "answering queries at " in noted.read_text(), seconds=60)
        self.url = noted.read_text().partition("answering queries at ")[2].split()[0].rstrip(".")

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask its store."""
        answer = self._session.post(f"{self.url}/api/sql", json={"sql": sql}, timeout=60)
        if answer.status_code != 200:
            raise SystemExit(f"The worker refused a query: {answer.text}")
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def polls(self) -> int:
        """Tell how many polls it has finished."""
        page = self._session.get(f"{self.url}/metrics", timeout=60).text
        counted = [line for line in page.splitlines() if line.startswith('headrace_poll_cycles_total{outcome="ok"}')]
        return round(float(counted[0].split()[-1])) if counted else 0

    def rest(self, polls: int = 2) -> None:
        """Wait until it has finished so many more polls. Asking costs it something: not inside a window."""
        until = self.polls() + polls
        self.until(lambda: self.polls() >= until, every=0.2)

    @property
    def cpu(self) -> float:
        """CPU seconds that it has used so far."""
        return costs.cpu_of(self._process.pid)

    @property
    def peak(self) -> float:
        """The most memory it ever held, in MB."""
        return costs.memory_of(self._process.pid, peak=True)

    def kill(self) -> None:
        """End it as a failing machine does."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def window(self) -> Iterator[list[Cost]]:
        """Give its cost during the block, once that is over."""
        found: list[Cost] = []
        with self._bed.beside() as beside:
            cpu, began = self.cpu, time.monotonic()
            yield found
            wall, cpu = time.monotonic() - began, self.cpu - cpu
        found.append(Cost(cpu, wall, self.peak, **beside))

    def until(self, condition: Any, *, seconds: float = 600, every: float = 0.05) -> None:
        """Wait until something is so; raises SystemExit when it ends before, or when it takes too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The worker ended, or took too long: {self._noted.read_text()[-2000:]}")
            time.sleep(every)


@contextmanager
def made(org: Org, objects: Sequence[str], *, store_url: str | None = None, interval: float = 2) -> Iterator[Bed]:
    """Make a bed; everything in it is thrown away afterwards, but for a store at an address of its own.

    `interval` is poll.interval_seconds of its workers.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        with embedded(folder / "valkey") as redis_url:
            yield Bed(org, folder, redis_url, objects, store_url=store_url, interval=interval)
