"""demo, sync, status, doctor and schema, on the sample org."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a demo that has ended, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    printed = subprocess.run(
        [sys.executable, "-m", "integration", "demo", "--exit", "--json", "--dir", str(folder / "demo")],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(folder), "PATH": os.defpath},
        cwd=folder, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return folder / "demo", json.loads(printed.stdout)


@pytest.mark.slow
def test_the_demo_shows_people_and_what_changed(finished_demo: tuple[Path, dict[str, Any]]) -> None:
    _, shown = finished_demo
    assert shown["told"]["Contact"] > 100
    assert shown["said"]
    assert shown["sync"]["events_written"] > 0
    assert all(view["rows"] for view in shown["views"])


@pytest.mark.slow
def test_status_and_schema_tell_what_the_demo_left(
    finished_demo: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    from integration.cli.app import run

    config = ("--config", str(finished_demo[0] / "headrace.toml"))
    assert run(["status", "--json", *config]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["store"]["users"] > 100
    assert run(["status", *config]) == 0
    shown = capsys.readouterr().out
    assert "\nOBJECTS\n" in shown
    assert " ago" in shown
    assert run(["schema", "--json", *config]) == 0
    properties = {row["property"] for row in json.loads(capsys.readouterr().out)}
    assert {"sfdc_account_arr", "sfdc_contact_title"} <= properties


@pytest.mark.slow
def test_a_doctor_whose_check_fails_ends_with_5_and_gives_a_remedy(
    finished_demo: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    from integration.cli.app import run

    config = ("--config", str(finished_demo[0] / "headrace.toml"))
    # The sample org is gone, the store and the streams are fine.
    assert run(["doctor", *config]) == 5
    shown = capsys.readouterr()
    words = [line.split()[0] for line in shown.out.splitlines()]
    assert words[0] == "ok"
    assert words[-1] == "FAIL"
    assert shown.err.endswith("checks found a problem.\n")
    assert run(["doctor", "--json", *config]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert {check["state"] for check in document["checks"]} >= {"ok", "fail"}


@pytest.mark.slow
def test_the_demo_ends_cleanly_when_it_is_interrupted(tmp_path: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "integration", "demo", "--port", "0"],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        notes = []
        for line in process.stderr:
            notes.append(line)
            if line.startswith("SQL is answered at"):
                break
        assert notes[-1].startswith("SQL is answered at"), notes
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) in (0, 130)
        assert "Traceback" not in rest
