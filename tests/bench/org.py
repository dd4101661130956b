"""The sandbox org, asked from the bench: it runs in a process of its own, whose work is not counted."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import costs

PER_ACCOUNT = {"accounts": 1, "contacts": 4, "opportunities": 2, "leads": 1}
"""Records of each object to an account: 40,000 for 5,000 accounts."""


class Org:
    """A running org.

    counts   object -> records, deleted ones included
    seconds  how long it took to start, pid its process
    """

    def __init__(self, process: "subprocess.Popen[str]", seconds: float, ready: Mapping[str, Any]) -> None:
        self._process, self._turn = process, threading.Lock()
        self.pid, self.seconds = process.pid, seconds
        self.url, self.key, self.secret = ready["url"], ready["key"], ready["secret"]
        self.counts: dict[str, int] = ready["records"]

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Have something done; see org_server.Deeds."""
        with self._turn:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps({"do": do, **words}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"The sandbox org has ended while it was asked to {do}.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def calls(self) -> int:
        """API calls so far."""
        return int(self.ask("calls")["calls"])

    def grow_old(self) -> None:
        """Let so much time pass that no poll looks again at what has happened (poll.overlap_seconds is 600)."""
        self.ask("wait", seconds=900)


@contextmanager
def running(accounts: int, env: Mapping[str, str]) -> Iterator[Org]:
    """Run an org of so many accounts, and all that belongs to them."""
    began = time.monotonic()
    sizes = [word for name, each in PER_ACCOUNT.items() for word in (f"--{name}", str(each * accounts))]
    command = [sys.executable, str(Path(__file__).with_name("org_server.py")), *sizes]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(env))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("The sandbox org did not start.")
        yield Org(process, time.monotonic() - began, json.loads(line))
    finally:
        process.terminate()
        process.wait()


def memory(org: Org) -> float:
    """Return the memory an org holds, in MB."""
    return costs.memory_of(org.pid)
