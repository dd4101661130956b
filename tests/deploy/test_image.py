"""The image: what is in it, who runs in it, how it is asked whether it is well."""

import re
import tomllib
from pathlib import Path

import pytest
from deployed import ROOT, Image
from typer.testing import CliRunner

from integration.cli.app import build
from integration.settings import Settings, load

DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def as_it_is(tmp_path: Path) -> Settings:
    """The settings that a container has without any of its own."""
    return load(None, {"HOME": str(tmp_path), "HEADRACE_SECRETS_DIR": "", **Image.read().env})


def test_the_image_runs_as_nobody_special_by_a_number() -> None:
    user = re.findall(r"^USER (\d+):(\d+)$", Image.read().text, re.MULTILINE)
    assert user == [("10001", "10001")]
    assert f"--uid {user[0][0]} " in Image.read().text
    assert "-o headrace -g headrace -m 0700 /data" in Image.read().text


def test_the_image_takes_only_what_is_needed_to_install_headrace() -> None:
    copied = {
        name for names in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for name in names.split()
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"


def test_both_stages_have_the_same_python_of_a_named_version() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases[0])
    assert set(bases) == {bases[0]}


def test_the_image_has_what_pins_and_extras_say() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)[0].split(",")
    assert set(extras) == set(project["optional-dependencies"]) - {"dev"}
    assert "--constraint constraints.txt" in DOCKERFILE


def test_the_image_tells_what_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', Image.read().text))
    assert told["title"] == project["name"]
    assert told["licenses"] == project["license"]
    assert set(told) == {"title", "description", "licenses", "version"}


def test_a_container_does_what_a_command_without_words_says() -> None:
    image = Image.read()
    assert image.entrypoint == ["headrace"]
    assert CliRunner().invoke(build(), [*image.command, "--help"]).exit_code == 0


def test_what_a_container_keeps_lies_in_its_volume(as_it_is: Settings) -> None:
    assert as_it_is.store_path == Path("/data/headrace.duckdb")
    assert as_it_is.redis_directory.is_relative_to("/data")
    assert "\nVOLUME /data\n" in Image.read().text
    assert "\nWORKDIR /data\n" in Image.read().text


def test_the_image_asks_the_probe_at_the_default_port(as_it_is: Settings) -> None:
    check = re.findall(r"^HEALTHCHECK (.+)$", Image.read().text, re.MULTILINE)
    assert len(check) == 1
    assert f"http://127.0.0.1:{as_it_is.web.port}/readyz" in check[0]


def test_the_image_holds_no_secret(as_it_is: Settings) -> None:
    assert as_it_is.secrets == ()
