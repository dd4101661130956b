"""Tab: the shells' completion protocol, spoken to the real program. No server is asked, and no settings are needed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from integration.cli import completion
from integration.cli.app import build
from integration.settings import DEFAULT_OBJECTS
from integration.wiring.report import names

Headrace = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tab(headrace: Headrace) -> Callable[..., list[str]]:
    """Press Tab at the end of a line in bash: what is offered."""

    def press(line: str, **variables: str) -> list[str]:
        words = line.split(" ")
        asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        done = headrace(**asked, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return press


def test_bash_is_offered_commands_options_and_choices(tab: Callable[..., list[str]]) -> None:
    assert set(tab("headrace st")) == {"status", "streams"}
    assert "--dry-run" in tab("headrace sweep --d")
    assert tab("headrace run p") == ["poller"]


def test_objects_come_from_the_built_in_list_and_the_settings(tab: Callable[..., list[str]], tmp_path: Path) -> None:
    assert tab("headrace sweep Acc") == ["Account"]
    (tmp_path / "headrace.toml").write_text(
        "[objects.Asset]\nenabled = true\n[objects.Account]\nenabled = false\n[objects.Task]\nenabled = false\n"
        '[redis]\nurl = "redis://127.0.0.1:1/0"\n'
    )
    assert set(tab("headrace sweep A")) == {"Account", "Asset"}
    assert tab("headrace streams peek crm.as") == ["crm.asset"]


def test_streams_and_reports_are_offered(tab: Callable[..., list[str]]) -> None:
    assert set(tab("headrace streams tail crm.o")) == {"crm.opportunity", "crm.opportunitycontactrole"}
    assert tab("headrace streams peek pro") == ["product.events"]
    assert tab("headrace report p") == [
        "people-by-industry", "personas", "personas-to-review", "pipeline", "pipeline-over-time", "product-use",
    ]  # fmt: skip


def test_settings_that_are_wrong_do_not_keep_tab_from_working(tab: Callable[..., list[str]]) -> None:
    assert tab("headrace sweep Cam", HEADRACE_WEB__PORT="99999") == ["Campaign", "CampaignMember"]


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "headrace report pip"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "headrace report pip", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_zsh_and_fish_are_offered_the_same(shell: str, variables: dict[str, str], headrace: Headrace) -> None:
    done = headrace(_HEADRACE_COMPLETE=f"complete_{shell}", **variables)
    assert done.returncode == 0
    assert "pipeline" in done.stdout
    assert "people" not in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell: str, headrace: Headrace) -> None:
    done = headrace("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert f"_HEADRACE_COMPLETE=complete_{shell}" in done.stdout


def test_it_installs_into_the_home_of_the_user(headrace: Headrace, environment: dict[str, str]) -> None:
    done = headrace("--install-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    home = Path(environment["HOME"])
    assert "headrace" in (home / ".bashrc").read_text()
    [script] = home.rglob("headrace.sh")
    assert "_HEADRACE_COMPLETE=complete_bash" in script.read_text()


def test_a_shell_that_is_not_known_is_one_sentence(headrace: Headrace) -> None:
    done = headrace("--show-completion", "tcsh", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 2
    assert done.stderr.startswith("headrace: Invalid value for '--show-completion': ")
    assert done.stderr.count("\n") == 1


def test_what_takes_an_object_a_stream_or_a_group_is_completed() -> None:
    """A new command gets its completion by the names of its parameters; one that has none is listed here."""
    wanted = {"object": completion.objects, "stream": completion.streams, "group": completion.groups}

    def walk(command: typer.core.TyperGroup, path: str) -> list[str]:
        missing = []
        for name, inner in getattr(command, "commands", {}).items():
            missing += walk(inner, f"{path} {name}")
        for parameter in command.params:
            told = f"{parameter.name} {getattr(parameter, 'metavar', '') or ''}".lower()
            if any(word in told for word in wanted) and parameter.param_type_name in ("argument", "option"):
                offered = [one.value for one in parameter.shell_complete(typer.Context(command), "")]
                missing += [] if offered else [f"{path} {parameter.name}"]
        return missing

    assert walk(typer.main.get_command(build()), "headrace") == []  # type: ignore[arg-type]


def test_names_are_offered_without_importing_what_works(environment: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import sys; from integration.cli.app import build; from integration.cli import completion; build();"
        "print(*completion.objects(''), *completion.streams('crm.u'), *completion.reports('pi'));"
        "heavy = {'duckdb', 'pyarrow', 'redis', 'faststream', 'simple_salesforce', 'requests', 'rich', 'starlette'};"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment | {"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [*DEFAULT_OBJECTS, "crm.user", *(n for n in names() if n.startswith("pi"))]
