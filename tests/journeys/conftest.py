import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from oracle import Watcher
from shell import Shell

from integration import settings as settings_module
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.traffic import Traffic
from integration.sandbox.world import build_world
from integration.settings import Settings
from integration.store.answers import ask
from integration.store.opening import open_reader
from integration.store.protocol import Reader
from integration.stream.connection import connect
from integration.stream.embedded import embedded
from integration.wiring.sync import SyncReport, sync

STARTS = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECRET = "a-secret-nobody-may-see"


@dataclass
class Company:
    """A sandbox org under a virtual clock, headrace's settings for it, and the oracle that watches it."""

    org: Org
    server: SandboxServer
    clock: VirtualClock
    traffic: Traffic
    env: dict[str, str]
    settings: Settings
    world: Any
    directory: Path
    watcher: Watcher = field(default_factory=Watcher)
    runs: int = 0
    reader: Reader | None = None
    said: list[str] = field(default_factory=list)
    """What happened in the org, in sentences."""

    def sync(self) -> SyncReport:
        """Sync once, the oracle looking at the org at the same moment."""
        self.watcher.observe(self.org)
        self.runs += 1
        return sync(self.settings)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask the store."""
        if self.reader is not None:
            return ask(self.reader, sql)
        with open_reader(self.settings.store.url) as reader:
            return ask(reader, sql)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Keep the store open for many questions."""
        with open_reader(self.settings.store.url) as self.reader:
            try:
                yield
            finally:
                self.reader = None

    @property
    def folder(self) -> Path:
        """Where its files lie: the store, if that is a file."""
        return self.directory

    @property
    def shell(self) -> Shell:
        """A terminal in that folder, with this company's settings."""
        return Shell(self.folder, self.env)

    def live(self, operations: int, *, every_seconds: float = 7) -> list[str]:
        """Let things happen; time passes between them."""
        said = []
        for _ in range(operations):
            self.clock.advance(every_seconds)
            said += self.traffic.step()
        self.said += said
        return said


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey server for the whole run."""
    with embedded(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@contextmanager
def founding(redis_url: str, folder: Path) -> Iterator[Callable[..., Company]]:
    """Give a function that founds companies in a folder; at the end their orgs are shut down."""
    servers: list[SandboxServer] = []

    def build(*, accounts: int = 12, seed: int = 7, build: bool = True, org_number: int = 1, **env: str) -> Company:
        clock = VirtualClock(STARTS)
        org = Org(clock=clock, org_number=org_number)
        world = build_world(org, accounts=accounts, seed=seed, ends_at=STARTS) if build else None
        server = SandboxServer(org, consumer_secret=SECRET)
        server.start()
        servers.append(server)
        client = connect(redis_url)
        client.flushall()
        client.close()
        directory = folder / f"company{len(servers)}"
        directory.mkdir()
        given = {
            "HEADRACE_SALESFORCE__BASE_URL": server.url,
            "HEADRACE_SALESFORCE__DOMAIN": "sandbox.my",
            "HEADRACE_SALESFORCE__CONSUMER_KEY": "sandbox-key",
            "HEADRACE_SALESFORCE__CONSUMER_SECRET": SECRET,
            "HEADRACE_REDIS__URL": redis_url,
            "HEADRACE_STORE__URL": f"duckdb:///{directory}/headrace.duckdb",
            "HEADRACE_OBJECTS__Contact__ENRICH": "cbit__Clearbit__c",
            "HEADRACE_OBJECTS__Account__ENRICH": "cbit__Clearbit__c",
            "HEADRACE_LOG__LEVEL": "warning",
            **env,
        }
        given = {name: value for name, value in given.items() if value}
        traffic, known = Traffic(org, world, seed=seed), settings_module.load(None, given)
        company = Company(org, server, clock, traffic, given, known, world, directory)
        ignored = company.watcher.ignored
        for name, definition in org.objects.items():
            # Roll-ups and formulas over other records or over today change without any stamp: no poll sees that.
            ignored[name] = {f.name for f in definition.fields if f.moves_alone}
        return company

    try:
        yield build
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def found(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Company]]:
    """Found a company: found(accounts=12, seed=3) with a fresh store and empty streams."""
    with founding(redis_url, tmp_path) as build:
        yield build


@pytest.fixture(scope="module")
def found_for_all(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Company]]:
    """The same for all tests of a module that only ask the store (the next company empties the streams)."""
    with founding(redis_url, tmp_path_factory.mktemp("module")) as build:
        yield build


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A terminal in an empty folder, without any settings."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return Shell(folder, {})
