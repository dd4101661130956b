"""What linters say, where they are installed (the extra `dev` brings them)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deployed import COMPOSE, ROOT


def test_yamllint_has_nothing_to_say() -> None:
    pytest.importorskip("yamllint")
    config = ROOT / "deploy" / "yamllint.yml"
    words = [sys.executable, "-m", "yamllint", "--strict", "-c", str(config), str(COMPOSE), str(ROOT / "deploy")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
