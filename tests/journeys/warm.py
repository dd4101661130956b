"""Starts commands as processes of their own that need not load the libraries first.

Loading takes a second of CPU, more than most commands take for their work. So one process loads everything and runs
nothing; each command is a fork of it, with its own words, environment, folder, files and signals. That the command line
starts by itself is seen elsewhere (tests/cli, tests/deploy).
"""

import atexit
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
LOADED = ("schemas", "integration", "consumers")
_LONGEST_REQUEST = 100_000
# What libraries begin as they are loaded; a fork has but one thread.
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


class Process:
    """A command under way; what subprocess.Popen has, as far as the tests need it."""

    def __init__(self, words: Sequence[str], status: socket.socket) -> None:
        self.words = words
        self._status = status
        self.pid = int(status.recv(20))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises TimeoutExpired."""
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(list(self.words), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, should it live."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _code(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            self.returncode = int(self._status.recv(20))
            self._status.close()
        return self.returncode


def start(
    words: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: IO[Any], stdout: IO[Any], stderr: IO[Any]
) -> Process:
    """Start `headrace` with these words, in this folder and with nothing but this environment."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = json.dumps({"words": list(words), "cwd": str(cwd), "env": dict(env)}).encode()
    with theirs:
        files = [stdin.fileno(), stdout.fileno(), stderr.fileno(), theirs.fileno()]
        socket.send_fds(_loaded(), [request], files)
    return Process(words, ours)


def by_name(folder: Path) -> tuple[dict[str, str], int]:
    """Put a `headrace` into a folder that starts such a fork; return what its environment needs, and a file that it
    must inherit."""
    command = folder / "headrace"
    command.write_text(f"#!{sys.executable} -IS\n{Path(__file__).with_name('forked.py').read_text('utf-8')}")
    command.chmod(0o755)
    inherited = _loaded().fileno()
    return {"FORKS_OF_HEADRACE": str(inherited)}, inherited


@cache
def _loaded() -> socket.socket:
    """Start the process that has everything loaded, once for all tests of this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bare = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), **_NO_THREADS}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], env=bare, pass_fds=[theirs.fileno()], cwd=ROOT
        )

    def end() -> None:
        ours.close()
        process.wait(timeout=20)

    atexit.register(end)
    return ours


def _load() -> None:
    for name in LOADED:
        package = import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith(".__main__"):
                import_module(module.name)
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) > 1:
        raise RuntimeError(f"a library started {len(threads) - 1} threads while it was loaded: forks would lack them")
    gc.freeze()  # else the first collection of a fork would copy all of it


def _serve(requests: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(requests, _LONGEST_REQUEST, 4)
        if not message:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            pid = os.fork()
            if pid == 0:
                _become(json.loads(message), files)  # does not return
            _keep(pid, files)
        for file in files:
            os.close(file)


def _keep(pid: int, files: Sequence[int]) -> None:
    """Wait for a command, and tell its number and its exit code."""
    *streams, status = files
    for file in (0, 1, 2, *streams):
        os.close(file)
    os.write(status, str(pid).encode())
    _, code = os.waitpid(pid, 0)
    os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
    os._exit(0)


def _become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, max(files) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()  # noqa: TID251  (a command begins with what it is given, and nothing else)
    os.environ.update(request["env"])  # noqa: TID251
    sys.argv = ["headrace", *request["words"]]
    code: Any = None
    try:
        runpy.run_module("integration", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    # What Python does at its end, but for taking everything that is loaded apart: that takes half a second.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _load()
    _serve(socket.socket(fileno=int(sys.argv[1])))
