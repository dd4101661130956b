"""Starts what containers would start as processes of this machine: the same words, the same environment.

What a container brings is put in its place: paths become folders of the test, ports become free ones, names of other
containers become 127.0.0.1, and programs of other images have a stand-in that starts the one that is here.
"""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

import redis
from deployed import ROOT, SECRETS, Container

from integration.stream import valkey

WITHIN_SECONDS = 60
"""Data within a minute, and so everything that is waited for."""

_SERVER = """#!/bin/sh
exec {binary} "$@" --port {port} --bind 127.0.0.1 --dir {folder}
"""
_CLIENT = """#!{python}
import sys
import redis
sys.exit(0 if redis.Redis(port={port}).execute_command(*sys.argv[1:]) else 1)
"""
# Everything but the folders that are named is read-only, as for a container whose root file system is.
_READ_ONLY = """set -e
for folder in "$1" "$2"; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /
shift 2
exec "$@"
"""


def free_port() -> int:
    """Return a port that nobody listens on, and that no connection is given meanwhile (those get higher ones)."""
    while True:
        with socket.socket() as listening, suppress(OSError):
            port = SystemRandom().randrange(12_000, 30_000)
            listening.bind(("127.0.0.1", port))
            return port


@dataclass
class Running:
    """A process that stands for a container."""

    container: Container
    process: "subprocess.Popen[bytes]"
    noted: Path

    @property
    def notes(self) -> str:
        """What it said on standard error."""
        return self.noted.read_text()


@dataclass
class Machine:
    """Where containers run side by side, as in one network."""

    folder: Path
    ports: dict[int, int] = field(default_factory=dict)
    """Port of a container -> the one that stands for it."""
    read_only: bool = False
    """Whether processes find everything read-only but /data and /tmp; see `can_be_read_only`."""
    running: list[Running] = field(default_factory=list)

    def port(self, port: int) -> int:
        """Return the port that stands for one of a container."""
        return self.ports.setdefault(port, free_port())

    def inside(self, name: str, path: str) -> Path:
        """Return what stands for a folder of a container, and see that it is there."""
        folder = self.folder / name / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def put(self, name: str, text: str) -> str:
        """Return a word of a container as it must be said here."""
        text = re.sub(r"(?<!\w)(?:valkey|postgres|clickhouse|headrace(?:-\w+)?)(?=:\d)", "127.0.0.1", text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        text = re.sub(
            r"(?<![\d.])(?:80(?:80|81|82|90)|6379|5432|8123)(?!\d)", lambda found: str(self.port(int(found[0]))), text
        )
        return re.sub(
            r"(?<!\w)/(data|etc|run/secrets(?:/headrace)?)(?=/|$)", lambda f: str(self.inside(name, f[1])), text
        )

    def environment(self, container: Container) -> dict[str, str]:
        """Return the environment of a container, all of it."""
        name = container.name
        given = {key: self.put(name, value) for key, value in container.env.items() if key != "PATH"}
        port = container.env.get("HEADRACE_WEB__PORT", "8080")
        return {
            "PATH": f"{self._programs()}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.inside(name, "home")),
            "TMPDIR": str(self.inside(name, "tmp")),
            "PYTHONPATH": str(ROOT),
            "HEADRACE_SECRETS_DIR": str(self.inside(name, SECRETS)),
            "HEADRACE_WEB__PORT": self.put(name, port),
        } | given

    def start(self, container: Container) -> Running:
        """Start a container."""
        name = container.name
        environment = self.environment(container)
        self._mount(container, Path(environment["HEADRACE_SECRETS_DIR"]))
        words = [self.put(name, word) for word in container.words]
        noted = self.folder / f"{name}.err"
        with noted.open("wb") as err, (self.folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                self._wrapped(name, words), cwd=self.inside(name, "data"), env=environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        self.running.append(Running(container, process, noted))
        return self.running[-1]

    def run(self, container: Container, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command beside a container's own, as `docker compose exec` does."""
        return subprocess.run(
            [self.put(container.name, word) for word in words], cwd=self.inside(container.name, "data"),
            env=self.environment(container), capture_output=True, text=True, timeout=WITHIN_SECONDS, check=False,
        )  # fmt: skip

    def healthy(self, running: Running) -> None:
        """Wait until the container's own check says that it is well."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while not self._is_well(running.container):
            assert running.process.poll() is None, f"ended with {running.process.returncode}: {running.notes}"
            assert time.monotonic() < deadline, f"not healthy after {WITHIN_SECONDS} s: {running.notes}"
            time.sleep(0.3)

    def end(self, running: Running, *, within: float) -> int:
        """Stop a container as an engine does, and return its exit code."""
        self.running.remove(running)
        running.process.send_signal(signal.SIGTERM)
        try:
            return running.process.wait(timeout=within)
        finally:
            running.process.kill()

    def end_all(self) -> None:
        """Stop what still runs, the last one first."""
        for running in reversed(list(self.running)):
            with suppress(subprocess.TimeoutExpired):
                self.end(running, within=20)

    def _is_well(self, container: Container) -> bool:
        words = container.probe
        if len(words) > 1:
            return self.run(container, *words).returncode == 0
        url = f"http://127.0.0.1:{self.port(8080)}{words[0]}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _wrapped(self, name: str, words: Sequence[str]) -> list[str]:
        if not self.read_only or words[0] == "valkey-server":
            return list(words)
        folders = [str(self.inside(name, "data")), str(self.inside(name, "tmp"))]
        return ["unshare", "--mount", "sh", "-c", _READ_ONLY, "read-only", *folders, *words]

    def _mount(self, container: Container, secrets: Path) -> None:
        """Put files where the container finds them; secrets as Kubernetes lays them, by links to a hidden folder."""
        hidden = secrets / "..data"
        hidden.mkdir(exist_ok=True)
        for name, text in container.secrets.items():
            (hidden / name).write_text(text)
            (secrets / name).unlink(missing_ok=True)
            (secrets / name).symlink_to(f"..data/{name}")
        for path, text in container.files.items():
            file = Path(self.put(container.name, path))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.put(container.name, text))

    def _programs(self) -> Path:
        folder = self.folder / "programs"
        if not folder.exists():
            folder.mkdir(parents=True)
            kept = self.inside("valkey", "data")
            for name, text in {
                "valkey-server": _SERVER.format(binary=valkey._binary(), port=self.port(6379), folder=kept),
                "valkey-cli": _CLIENT.format(python=sys.executable, port=self.port(6379)),
            }.items():
                (folder / name).write_text(text)
                (folder / name).chmod(0o755)
        return folder

    def empty_valkey(self) -> None:
        """Forget all that Valkey holds."""
        with redis.Redis(port=self.port(6379)) as client:
            client.flushall()


def can_be_read_only(folder: Path) -> bool:
    """Tell whether this machine lets us have a read-only view of its files (Linux, with the right to mount)."""
    if shutil.which("unshare") is None:
        return False
    for name in ("data", "tmp", "elsewhere"):
        (folder / name).mkdir(parents=True)
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        _READ_ONLY,
        "read-only",
        str(folder / "data"),
        str(folder / "tmp"),
        "touch",
    ]
    done = [
        subprocess.run([*words, str(folder / name / "file")], capture_output=True, check=False)
        for name in ("data", "elsewhere")
    ]
    return done[0].returncode == 0 and done[1].returncode != 0
