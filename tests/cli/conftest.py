import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.traffic import Traffic
from integration.sandbox.world import build_world

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


@dataclass(frozen=True)
class Sample:
    """A small company whose org was synced twice, with things happening in between; the org is gone since."""

    org: Org
    folder: Path
    config: Path
    """Its settings file: give it with --config."""

    def run(self, *words: str) -> int:
        """Run a command on it in this process."""
        from integration.cli.app import run

        return run([*words, "--config", str(self.config)])

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Ask its store."""
        from integration.store.answers import ask
        from integration.store.opening import open_reader

        with open_reader(self.folder / "headrace.duckdb") as reader:
            return ask(reader, sql)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """The same company for all who only look at it. Its last hour is the real one: some questions are about today."""
    from integration.settings import load
    from integration.stream.embedded import embedded
    from integration.wiring.sync import sync

    folder = tmp_path_factory.mktemp("sample")
    starts = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    clock = VirtualClock(starts)
    org = Org(clock=clock)
    traffic = Traffic(org, build_world(org, accounts=8, seed=5, ends_at=starts), seed=5)
    server = SandboxServer(org, consumer_secret="sandbox-secret")
    server.start()
    with embedded(folder / "valkey") as url:
        config = folder / "headrace.toml"
        config.write_text(
            f'[salesforce]\nbase_url = "{server.url}"\nconsumer_key = "sandbox-key"\n'
            f'consumer_secret = "sandbox-secret"\n[redis]\nurl = "{url}"\n[web]\nport = 0\n[log]\nlevel = "error"\n'
            f'[store]\nurl = "duckdb:///{folder / "headrace.duckdb"}"\n'
            '[objects.Contact]\nenrich = ["cbit__Clearbit__c"]\n[objects.Account]\nenrich = ["cbit__Clearbit__c"]\n'
            f'[definitions]\nfolder = "{folder / "definitions"}"\n'
        )
        (folder / "definitions" / "audiences").mkdir(parents=True)
        audience = 'title = "At an account"\nwhere = "account_id IS NOT NULL"\n'
        (folder / "definitions" / "audiences" / "at_accounts.toml").write_text(audience)
        (folder / "definitions" / "funnels").mkdir()
        funnel = 'title = "Into use"\nsteps = [{name = "came", event = "Contact Created"}, {name = "used", event = "Query"}]\n'
        (folder / "definitions" / "funnels" / "used.toml").write_text(funnel)
        settings = load(config, {"HEADRACE_SECRETS_DIR": ""})
        sync(settings)
        for _ in range(50):
            clock.advance(7)
            traffic.step()
        sync(settings)
        server.stop()
        yield Sample(org, folder, config)
