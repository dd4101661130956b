"""What every command has, and how it fails."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from integration.cli.app import build
from integration.cli.frame import Call, guarded
from integration.errors import CheckError, ConfigError, RunError, SkippedError, UnreachableError

Headrace = Callable[..., "subprocess.CompletedProcess[str]"]
TRACEBACK = "Traceback (most recent call last)"


def commands() -> Iterator[tuple[str, ...]]:
    """Every command there is, as the words that run it."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield words
        for name, one in (inner or {}).items():
            yield from walk(one, (*words, name))

    return walk(typer.main.get_command(build()), ())


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_help_has_an_example_and_the_environment_names(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    from integration.cli.app import run

    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"\n  Example:\n    headrace {' '.join(words)}" in text
    assert "\n  Environment:\n    " in text
    assert "HEADRACE_CONFIG" in text
    for option in ("--json", "--config FILE", "--debug"):
        assert option in text


def test_the_commands_of_this_version_are_there() -> None:
    assert {" ".join(words) for words in commands()} >= {
        "demo", "run", "sync", "status", "doctor", "sql", "query", "schema", "config show",
        "streams ls", "streams tail", "streams peek", "streams lag",
    }  # fmt: skip


def test_help_imports_nothing_heavy(environment: dict[str, str], tmp_path: Path) -> None:
    heavy = [
        "faststream",
        "duckdb",
        "pyarrow",
        "redis",
        "simple_salesforce",
        "starlette",
        "uvicorn",
        "rich",
        "structlog",
    ]
    program = (
        "import sys\n"
        "from integration.cli.app import run\n"
        "assert run(['--help']) == 0 and run(['streams', 'tail', '--help']) == 0\n"
        f"print('imported', sorted(sys.modules.keys() & {set(heavy)!r}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == "imported []\n"


def test_without_a_command_the_help_is_printed(headrace: Headrace) -> None:
    for words in ((), ("streams",), ("config",)):
        done = headrace(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Commands:" in done.stdout


def test_the_version_is_printed(headrace: Headrace) -> None:
    done = headrace("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("headrace 0.")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("stat",), "headrace: No such command 'stat'. Did you mean 'status'? See `headrace --help`."),
        (("config", "shw"), "headrace: No such command 'shw'. Did you mean 'show'? See `headrace config --help`."),
        (("status", "--jsn"), "headrace: No such option: --jsn (Possible options: --json). See `headrace status --help`."),
        (("sql",), "headrace: Missing argument 'statement'. See `headrace sql --help`."),
        (("run", "everything"), "headrace: Invalid value for 'role': "),
        (("streams", "peek", "crm.contact", "--count", "many"), "headrace: Invalid value for '--count': "),
        (("config", "show", "--config", "absent.toml"), "headrace: There is no settings file absent.toml (--config): check the name."),
        (("sql", "--json", "--csv", "select 1"), "headrace: --json and --csv exclude each other: give one of them."),
        (("sql", " "), "headrace: There is no SQL to run: "),
        (("query", "absent.sql"), "headrace: The file absent.sql can't be read: No such file or directory."),
        (("streams", "tail", "--json"), "headrace: --json prints one document, and following has no end: "),
        (("streams", "tail", "--where", "Stage"), "headrace: --where Stage is no condition: write FIELD=VALUE, "),
    ],
)  # fmt: skip
def test_wrong_words_get_one_sentence_and_exit_code_2(
    words: tuple[str, ...], sentence: str, headrace: Headrace
) -> None:
    done = headrace(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [("config", "show"), ("status",), ("sync",), ("doctor",), ("streams", "ls"), ("schema",)]
)
def test_a_bad_setting_stops_every_command_with_one_sentence(words: tuple[str, ...], headrace: Headrace) -> None:
    done = headrace(*words, HEADRACE_WEB__PORT="99999")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "headrace: web.port is 99999 (from environment variable HEADRACE_WEB__PORT): "
        "expected a whole number from 0 to 65535.\n"
    )


def test_debug_shows_the_traceback_of_an_error_too(headrace: Headrace) -> None:
    done = headrace("config", "show", "--debug", HEADRACE_WEB__PORT="99999")
    assert done.returncode == 2
    assert TRACEBACK in done.stderr
    assert done.stderr.splitlines()[-1].startswith("headrace: web.port is 99999")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no"), 2),
        (UnreachableError("no"), 3),
        (RunError("no"), 1),
        (SkippedError("no"), 4),
        (CheckError("no"), 5),
    ],
)
def test_errors_end_with_the_code_of_their_kind(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(Call(), raising(error)) == code
    assert capsys.readouterr() == ("", "headrace: no\n")


def test_the_unexpected_gets_one_sentence_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    error = TypeError("b.reyes@example.com\nat redis://me:s3cret@127.0.0.1")
    assert guarded(Call(), raising(error)) == 1
    assert capsys.readouterr().err == (
        "headrace: Something unexpected happened (TypeError: ***@example.com at redis://********@127.0.0.1). "
        "Run again with --debug and report it with what that prints.\n"
    )
    assert guarded(Call(debug=True), raising(error)) == 1
    shown = capsys.readouterr().err
    assert TRACEBACK in shown
    assert "s3cret" not in shown
    assert "b.reyes" not in shown


def test_an_interruption_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(Call(), raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.startswith("Interrupted.")


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "integration", "config", "show"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_want_them(
    variables: dict[str, str], coloured: bool, environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {"TERM": "xterm-256color"} | environment | {"COLUMNS": "150"} | variables
    assert ("\x1b[" in on_a_terminal(["config", "show"], environment, tmp_path)) is coloured


def test_nothing_but_plain_text_goes_into_a_pipe(headrace: Headrace) -> None:
    shown = headrace("config", "show", FORCE_COLOR="1", TERM="xterm-256color").stdout
    assert "\x1b" not in shown
    assert shown.isascii()


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def on_a_terminal(words: list[str], environment: dict[str, str], folder: Path) -> str:
    """Run the program with a pseudo terminal for its output and return what it printed there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "integration", *words], cwd=folder, env=environment, stdout=theirs):
        os.close(theirs)
        printed = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # Linux: the other side is closed
                chunk = b""
            if not chunk:
                break
            printed += chunk
    os.close(ours)
    return printed.decode()
