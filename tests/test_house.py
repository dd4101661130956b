"""The house keeps its own rules: what is pinned, what each dependency is for, who may import whom."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from integration.cli import reference
from schemas import export

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()


def requirement_lines() -> list[str]:
    """The lines of pyproject.toml that name a dependency, those of the tools included."""
    blocks = re.findall(r"^(?:dependencies|dev) = \[.*?^\]", PROJECT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    return [line.strip() for block in blocks for line in block.splitlines()[1:-1]]


def name_of(requirement: str) -> str:
    return re.split(r"[\s\[<>=!;~]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_every_dependency_has_its_reason_beside_it() -> None:
    lines = requirement_lines()
    assert len(lines) > 20
    assert [line for line in lines if not re.fullmatch(r'"[^"]+",\s+# \w.{9,}', line)] == []


def test_every_dependency_is_pinned() -> None:
    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    project = tomllib.loads(PROJECT)["project"]
    named = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {name_of(one) for one in named} - pinned == set()


def test_the_constraints_pin_exact_versions_and_name_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert [
        line for line in text.splitlines() if not re.match(r"[a-z0-9][a-z0-9.-]*==[0-9][^\s]*( ; .+)?$", line)
    ] == []


def test_the_lock_of_the_clients_for_node_pins_content_and_names_no_address() -> None:
    text = (ROOT / "tests/journeys/node/package-lock.json").read_text()
    assert "://" not in text
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert len(packages) > 20
    assert [name for name, one in packages.items() if not one["integrity"].startswith("sha512-")] == []
    asked = json.loads((ROOT / "tests/journeys/node/package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked


def test_make_has_its_targets_and_says_what_they_do() -> None:
    shown = subprocess.run(["make", "-s", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in shown.splitlines()} == {
        "help",
        "demo",
        "test",
        "lint",
        "types",
        "bench",
        "soak",
        "chaos",
        "clean",
    }
    assert all(len(line.split()) > 3 for line in shown.splitlines())


def make_in_an_empty_folder(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_text((ROOT / name).read_text())
    # Inside `make test` the outer make's flags and its job server are none of this one's business.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # noqa: TID251
    return subprocess.run(
        ["make", "-s", "-C", str(folder), "UV=", *words], env=env, capture_output=True, text=True, check=False
    )


def test_an_old_python_is_told_so_in_a_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = make_in_an_empty_folder(tmp_path, "demo", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"headrace needs Python 3.11 or later, and {old} is Python 3.9.2: " in done.stderr


def test_a_missing_python_is_told_so_in_a_sentence(tmp_path: Path) -> None:
    done = make_in_an_empty_folder(tmp_path, "demo", "PYTHON=python-that-is-not-there")
    assert done.returncode != 0
    assert "headrace needs Python 3.11 or later, and there is no python-that-is-not-there: " in done.stderr


def test_nothing_is_installed_again_while_nothing_changed(tmp_path: Path) -> None:
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for name, script in (("python", "echo installing; exit 1"), ("headrace", 'echo "headrace $*"')):
        (bin_folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin_folder / name).chmod(0o755)
    make_in_an_empty_folder(tmp_path, "help")
    (tmp_path / ".venv" / ".installed").touch()
    done = subprocess.run(
        ["make", "-s", "-C", str(tmp_path), "UV=", "demo", "ARGS=--exit"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "headrace demo --exit\n")


def test_the_layers_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports_command; sys.argv[1:] = ['--no-cache']; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_json_schemas_are_those_of_the_models() -> None:
    assert export.differences(export.documents(), export.FOLDER) == []
    assert set(export.documents()) == {
        f"{name}.json"
        for name in ("capture", "change", "cursor", "dead_letter", "event", "identity", "product_event", "user")
    }


def test_a_changed_or_stray_schema_is_noticed(tmp_path: Path) -> None:
    for name, text in export.documents().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "user.json").write_text("{}")
    (tmp_path / "stray.json").write_text("{}")
    (tmp_path / "event.json").unlink()
    assert export.differences(export.documents(), tmp_path) == ["event.json", "stray.json", "user.json"]


def test_the_page_of_the_settings_is_up_to_date() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page()


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob(".github/*.md")), ids=lambda p: p.name
)
def test_no_page_links_to_nowhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert [
        page.name for page in ROOT.glob("docs/*.md") if page.name != "README.md" and f"({page.name})" not in index
    ] == []


def test_what_ci_runs_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "make test" in script.read_text()
    assert "make demo ARGS=--exit" in script.read_text()
