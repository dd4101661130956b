import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

Headrace = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what a command run in this process did to logging."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("urllib3").setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing of this machine's settings in it."""
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "HEADRACE_SECRETS_DIR": str(home / "secrets"),
        "COLUMNS": "100",
    }


@pytest.fixture
def headrace(tmp_path: Path, environment: dict[str, str]) -> Headrace:
    """Run the program as a user does: `headrace("config", "show", HEADRACE_WEB__PORT="1")`."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "integration", *arguments],
            cwd=tmp_path,
            env=environment | variables,
            input=variables.pop("stdin", ""),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def document() -> Callable[[str], Any]:
    """Read what a command printed with --json."""
    import json

    return json.loads
