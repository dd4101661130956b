"""What the pages show is what happens: their examples are run by real processes on a real sample org."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "journeys"))
import warm
from docs_examples import (
    BIN,
    REDIS_CLI,
    Example,
    Shell,
    blocks,
    definitions,
    differences,
    examples,
    without_numbers,
    written,
)

from integration.stream.embedded import embedded

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
SECRET = {"HEADRACE_SALESFORCE__CONSUMER_SECRET": "sandbox-secret"}
WITH_EXAMPLES = [page for page in PAGES if any(blocks(page, "console"))]


def environment() -> dict[str, str]:
    """The environment of a user who has set nothing, with headrace on the path."""
    mine = {k: v for k, v in os.environ.items() if not k.upper().startswith(("HEADRACE_", "MAKE"))}  # noqa: TID251
    return mine | {"HEADRACE_SECRETS_DIR": "", "NO_COLOR": "1", "PATH": f"{BIN}{os.pathsep}{mine['PATH']}"}


@pytest.fixture(scope="module")
def org() -> Iterator[str]:
    """The address of a sample org in a process of its own, as docs/commands.md says to start it."""
    command = next(text for _, text in blocks(DOCS / "commands.md", "sh") if "integration.sandbox" in text).split()
    process = subprocess.Popen(
        [sys.executable, *command[1:], "--port", "0", "--accounts", "30"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def settings(org: str) -> str:
    """The settings of docs/commands.md, for that org."""
    text, count = re.subn(
        r'(?<=base_url = ")[^"]+', org, next(text for _, text in blocks(DOCS / "commands.md", "toml"))
    )
    assert count == 1
    return f"{text}\n\n[web]\nport = 0\n"


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    """An environment whose `headrace` and redis-cli have everything loaded, and a file that they must inherit."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "redis-cli").write_text(REDIS_CLI)
    (folder / "redis-cli").chmod(0o755)
    given, inherited = warm.by_name(folder)
    env = environment() | given
    return env | {"PATH": f"{folder}{os.pathsep}{env['PATH']}"}, inherited


@pytest.fixture(scope="module")
def synced(settings: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a first sync behind it."""
    folder = tmp_path_factory.mktemp("synced")
    (folder / "headrace.toml").write_text(settings)
    assert Shell(folder, environment() | SECRET).run("headrace sync --json")[1] == 0
    return folder


@pytest.fixture(scope="module")
def demo(forks: tuple[dict[str, str], int], tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell beside the demo's company, as docs/questions/README.md says to start it: its product has users too."""
    env, inherited = forks
    shell = Shell(tmp_path_factory.mktemp("demo"), dict(env), (inherited,))
    begins = next(text for _, text in blocks(DOCS / "questions" / "README.md", "sh"))
    for command in begins.splitlines():
        fewer = command.replace("headrace demo", "headrace demo --accounts 30")  # half the time, the same questions
        assert shell.run(fewer)[1] == 0
    return shell


@pytest.fixture
def shell(request: pytest.FixtureRequest, forks: tuple[dict[str, str], int], tmp_path: Path) -> Shell:
    """A shell in a folder where the examples of a page can run."""
    if request.param.startswith("questions/"):
        return request.getfixturevalue("demo")
    if (
        request.param == "README.md"
    ):  # begins with the demo, which brings its own settings; the command as it is installed
        return Shell(tmp_path, environment())
    env, inherited = {**forks[0]}, (forks[1],)
    if request.param == "commands.md":  # begins with the first sync
        (tmp_path / "headrace.toml").write_text(request.getfixturevalue("settings"))
        return Shell(tmp_path, env, inherited)
    # The definitions that the page shows.
    env["HEADRACE_DEFINITIONS__FOLDER"] = str(written(definitions(DOCS / request.param), tmp_path / "definitions"))
    return Shell(request.getfixturevalue("synced"), env | SECRET, inherited)


def name_of(page: Path) -> str:
    """Name a page by its place in docs."""
    return page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name


NAMES = [name_of(page) for page in WITH_EXAMPLES]


def _pages() -> Iterator[Any]:
    for page, name in zip(WITH_EXAMPLES, NAMES, strict=True):
        # They share one demo: in one process.
        marks = [pytest.mark.xdist_group("questions")] if name.startswith("questions/") else []
        yield pytest.param(page, name, marks=marks, id=name)


@pytest.mark.parametrize(("page", "shell"), [*_pages()], indirect=["shell"])
def test_the_examples_of_a_page_run_and_print_what_it_says(page: Path, shell: Shell) -> None:
    wrong, held = [], False
    with ExitStack() as stack:
        for example in examples(page):
            if not held and (shell.folder / "headrace.valkey").is_dir():
                # Held open from now on: examples with redis-cli say "while a headrace process runs", and it saves time.
                stack.enter_context(embedded(shell.folder / "headrace.valkey"))
                held = True
            printed, code = shell.run(example.command)
            problems = differences(example.expected, printed)
            if code != example.code:
                problems.append(f"it ended with {code}, not {example.code}, and said: {printed[-500:]}")
            wrong += [f"{example.where}  $ {example.command}\n    {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)


def test_most_pages_have_examples_and_most_examples_show_what_they_print() -> None:
    found = [example for page in WITH_EXAMPLES for example in examples(page)]
    assert {p.name for p in WITH_EXAMPLES} >= {"README.md", "commands.md", "tables.md", "streams.md", "guarantees.md"}
    assert sum(bool(example.expected) for example in found) > 25


OTHER_SHAPES = [
    (["NAME  N", "Task Created  285"], "NAME  COUNT\nTask Created  9\n"),
    (["NAME  N", "Task Created  285  7"], "NAME  N\nTask Created  9\n"),
    (["users    275"], "people   275\n"),
    (['{"a":1,"b":2}'], '{"a":1}\n'),
    (["headrace: There is no stream."], "headrace: There is no table.\n"),
    (["Founding a company ..."], "Closing a company down\n"),
    (['  "id": "00D",'], '  "org": "00D",\n'),
]


@pytest.mark.parametrize(("expected", "printed"), OTHER_SHAPES, ids=[shape[0][0] for shape in OTHER_SHAPES])
def test_an_output_of_another_shape_is_noticed(expected: list[str], printed: str) -> None:
    assert differences(expected, printed)


def test_an_output_of_the_same_shape_with_other_numbers_is_fine() -> None:
    expected = ["NAME    N", "Task Created  285", "...", "", "users  275", '{"a":1}', "ok    5 of 100,000 used"]
    assert differences(expected, 'NAME  N\nLead Created  1\n\nusers  3\n{"a":9}\nok    61 of 15,000 used\n') == []
    assert without_numbers("at 09:23:10  0035g000000003tAAA") == without_numbers("at 10:00:00 0035g0000000099AAQ")


def test_commands_are_told_from_what_they_print(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```console\n$ headrace sql "a\n  b"\nA\n1\n$ headrace x    # exit code 2\n```\n')
    assert examples(page) == [
        Example("page.md:2", 'headrace sql "a\n  b"', ("A", "1"), 0),
        Example("page.md:2", "headrace x", (), 2),
    ]
