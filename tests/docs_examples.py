"""Runs the examples of the documentation, and holds what they print against what the pages say they print.

In a fenced block marked `console`, a line that begins with `$ ` is a command; it goes on while a quote is open. What follows
is its output, as far as the next command. Of that output the shape is compared, not the numbers:

    HEADER  OF  A TABLE      the same columns in the same order; rows must have no more cells
    key  value               a line with that key
    "key": value             a JSON document with that key
    {"key": ...}             a JSON document with the same keys
    any other line           the same line, numbers, ids and times left out; from `...` on, anything
    ...                      something that the page leaves out

`# exit code N` after a command says how it ends. `export NAME=value` holds for the rest of the page.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
SECONDS = 60

REDIS_CLI = f"""#!{sys.executable}
import sys
import redis
assert sys.argv[1] == "-u"
with redis.Redis.from_url(sys.argv[2]) as client:
    answer = client.execute_command(*sys.argv[3:])
print(answer)
sys.exit(answer in (None, [], 0))
"""
"""Stands in for redis-cli, which is not everywhere. A command that finds nothing fails."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"\s+# exit code (\d+)$")
_HEADER = re.compile(r"[A-Z][A-Z0-9_()*.]*(?:  +[A-Z][A-Z0-9_()*.]*)*")
_PAIR = re.compile(r"([a-z][a-z0-9_.]*) {2,}\S.*")
_JSON_KEY = re.compile(r'\s*"(\w+)": .*')
_VARYING = (
    (re.compile(r"\b(?=[A-Za-z]*\d)[A-Za-z0-9]{15}(?:[A-Z0-9]{3})?\b"), "ID"),
    (re.compile(r"\.(created|updated|deleted)\b"), ".VERB"),
    (re.compile(r"\d[\d,.]*"), "#"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Example:
    """A command of a page, and what the page says that it prints."""

    where: str
    command: str
    expected: tuple[str, ...]
    code: int


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Give (line number, text) of the fenced blocks of a language."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found[2] == language:
            indent = found[1]
            lines = [line.removeprefix(indent) for line in found[3].splitlines()]
            yield text.count("\n", 0, found.start(3)) + 1, "\n".join(lines)


def examples(page: Path) -> list[Example]:
    """List the examples of a page in order."""
    return [one for line, text in blocks(page, "console") for one in _of_block(f"{page.name}:{line}", text)]


def definitions(page: Path) -> dict[str, str]:
    """Return path -> text of the definitions that a page shows: their first line says where they lie."""
    found = {}
    for language in ("toml", "csv"):
        for _, text in blocks(page, language):
            first = re.match(r"# definitions/(\S+)\n", text)
            if first is not None:
                found[first[1]] = text
    return found


def written(files: Mapping[str, str], folder: Path) -> Path:
    """Write files into a folder that is made."""
    folder.mkdir()
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _of_block(where: str, text: str) -> Iterator[Example]:
    lines = text.splitlines()
    assert lines[0].startswith("$ "), f"{where} does not begin with a command"
    while lines:
        command = lines.pop(0).removeprefix("$ ")
        while not _is_whole(command):
            command += "\n" + lines.pop(0)
        expected = []
        while lines and not lines[0].startswith("$ "):
            expected.append(lines.pop(0))
        code = _CODE.search(command)
        yield Example(where, _CODE.sub("", command), tuple(expected), int(code[1]) if code else 0)


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


@dataclass
class Shell:
    """Where the examples of a page run."""

    folder: Path
    env: dict[str, str]
    inherited: tuple[int, ...] = ()
    """Files that every command gets beside its streams."""

    def run(self, command: str) -> tuple[str, int]:
        """Run a command; return what it prints (both streams together) and its exit code."""
        words = shlex.split(command)
        if words[0] == "export":
            self.env |= dict(word.split("=", 1) for word in words[1:])
            return "", 0
        if words[:2] == ["headrace", "run"]:
            return self._until_it_runs(words)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
            pass_fds=self.inherited,
        )  # fmt: skip
        return done.stdout, done.returncode

    def _until_it_runs(self, words: Sequence[str]) -> tuple[str, int]:
        """Start a worker, wait until it says that it runs, and press Ctrl-C."""
        with subprocess.Popen(
            words, cwd=self.folder, env=self.env, stderr=subprocess.PIPE, text=True, pass_fds=self.inherited
        ) as worker:
            alarm = threading.Timer(SECONDS, worker.kill)
            alarm.start()
            try:
                assert worker.stderr is not None
                said = ""
                for line in worker.stderr:
                    said += line
                    if line.startswith("Running"):
                        worker.send_signal(signal.SIGINT)
            finally:
                alarm.cancel()
        return said, worker.returncode


def differences(expected: Sequence[str], printed: str) -> list[str]:
    """Say what a page tells otherwise than it is, a sentence each."""
    actual = _Printed(printed)
    columns: tuple[str, ...] | None = None
    found = []
    for line in expected:
        if not line.strip():
            columns = None
        elif _HEADER.fullmatch(line.strip()):
            columns = _cells(line)
            if columns not in actual.headers:
                found.append(f"there is no table with the columns {line!r}")
        elif columns is not None and not line.startswith("== ") and not (len(columns) == 1 and _PAIR.fullmatch(line)):
            if len(_cells(line)) > len(columns):
                found.append(f"the row {line!r} has more cells than its table")
        elif problem := actual.lacks(line):
            found.append(problem)
    return found


class _Printed:
    """What a command printed, as far as it is compared."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.headers = {_cells(line) for line in lines if _HEADER.fullmatch(line.strip())}
        self._keys = {pair[1] for line in lines if (pair := _PAIR.fullmatch(line))}
        self._json_keys = {key[1] for line in lines if (key := _JSON_KEY.fullmatch(line))}
        self._documents = {shape for line in lines if (shape := _json_shape(line)) is not None}
        self._lines = {without_numbers(line) for line in lines}

    def lacks(self, line: str) -> str | None:
        """Say what is missing, None if the line is there."""
        if line.strip() in ("...", "{", "}", "},", "[", "]"):
            return None
        if key := _JSON_KEY.fullmatch(line):
            return None if key[1] in self._json_keys else f"there is no JSON key {key[1]}"
        if (shape := _json_shape(line)) is not None:
            return None if shape in self._documents else f"no JSON document has the keys {shape}"
        if (pair := _PAIR.fullmatch(line)) and pair[1] not in ("ok", "fail"):
            return None if pair[1] in self._keys else f"no line begins with the key {pair[1]}"
        if line.startswith("  "):  # what happened in the sample org: another day, another story
            return None if any(one.startswith(line[:4].replace("  ", " ")) for one in self._lines) else line
        start, cut, _ = without_numbers(line).partition("...")
        there = any(one.startswith(start) for one in self._lines) if cut and start else start in self._lines
        return None if there else f"there is no line {line!r}"


def without_numbers(line: str) -> str:
    """Leave out what differs from run to run."""
    for pattern, word in _VARYING:
        line = pattern.sub(word, line)
    return line.rstrip()


def _cells(line: str) -> tuple[str, ...]:
    return tuple(re.split(r"  +", line.strip()))


def _json_shape(line: str) -> tuple[str, ...] | None:
    if not line.startswith(("{", "[{")):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return tuple(_first(document))


def _first(document: Any) -> Mapping[str, Any]:
    first: Mapping[str, Any] = document[0] if isinstance(document, list) else document
    return first
