"""A terminal: the real command line as a process of its own, in a folder and an environment with nothing else in it."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import warm

ROOT = Path(__file__).parents[2]

Done = subprocess.CompletedProcess[str]

_PERSON = re.compile(r"[A-Za-z0-9]@[A-Za-z]")


@dataclass
class Shell:
    """Runs `headrace` in `folder`; `env` holds the settings it gets beside a bare environment."""

    folder: Path
    env: dict[str, str]

    def run(self, *words: str, stdin: str = "", **variables: str) -> Done:
        """Run to the end. A variable that is given as empty text is not set."""
        with TemporaryFile() as given, TemporaryFile() as said, TemporaryFile() as noted:
            given.write(stdin.encode())
            given.seek(0)
            process = warm.start(words, self.folder, self.environment(**variables), given, said, noted)
            try:
                code = process.wait(timeout=90)
            finally:
                process.kill()
            texts = []
            for file in (said, noted):
                file.seek(0)
                texts.append(file.read().decode())
        return Done(words, code, *texts)

    @contextmanager
    def start(self, *words: str, **variables: str) -> "Iterator[Running]":
        """Start, and end it at the latest when the block ends."""
        said, noted = self.folder / "stdout", self.folder / "stderr"
        with said.open("w") as out, noted.open("w") as err, Path(os.devnull).open() as nothing:
            process = warm.start(words, self.folder, self.environment(**variables), nothing, out, err)
        try:
            yield Running(process, said, noted)
        finally:
            if process.poll() is None:
                # Asked first: a command that is killed leaves its embedded server behind.
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
                process.kill()
            process.wait(timeout=30)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return what a command gets to see."""
        bare = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "HEADRACE_SECRETS_DIR": "",
            "COLUMNS": "120",
        }
        given = {name: value for name, value in (self.env | variables).items() if value}
        return bare | given


@dataclass
class Running:
    """A command under way; what it prints goes to files."""

    process: warm.Process
    said: Path
    noted: Path

    @property
    def notes(self) -> str:
        """Everything on standard error so far."""
        return self.noted.read_text()

    def until(self, condition: Callable[[], bool], *, seconds: float = 30) -> None:
        """Wait until something is so; fail if the command ends before, or the time is up."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.notes}"
            assert time.monotonic() < deadline, f"still not so after {seconds} s: {self.notes}"
            time.sleep(0.02)

    def ready(self) -> None:
        """Wait until `run` says that it runs."""
        self.until(lambda: "Running (" in self.notes)

    def end(self, number: int, *, seconds: float = 25) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


def refusal(done: Done, code: int) -> str:
    """Return the one sentence a failed command said, after seeing that it said nothing it should not."""
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    return sentence(done)


def sentence(done: Done) -> str:
    """The same where the command had a result as well."""
    said = [line for line in done.stderr.splitlines() if line.startswith("headrace: ")]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "secret-nobody" not in done.stdout + done.stderr
    assert not _PERSON.search(done.stderr), done.stderr
    assert said[0].endswith((".", "?")), said[0]
    return said[0].removeprefix("headrace: ")
