import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import chdb_engine
from postgres import Cluster, running


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes golden files anew, and how long the soak and the chaos take."""
    parser.addoption("--write-golden", action="store_true", help="write the golden files anew from what is found")
    parser.addoption("--soak-first", type=int, default=1, help="the first seed of the soak")
    parser.addoption("--soak-seeds", type=int, default=1, help="how many seeds the soak takes")
    parser.addoption("--soak-operations", type=int, default=40, help="how many things happen for each seed")
    parser.addoption("--chaos-first", type=int, default=1, help="the first seed of the nights of chaos")
    parser.addoption("--chaos-seeds", type=int, default=1, help="how many nights there are")
    parser.addoption("--chaos-strikes", type=int, default=4, help="how many things go wrong in each night")
    parser.addoption("--postgres", type=Path, help="the folder of the PostgreSQL binaries to test with")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the soak and the nights of chaos their seeds."""
    for name in ("soak", "chaos"):
        if f"{name}_seed" in metafunc.fixturenames:
            first = metafunc.config.getoption(f"--{name}-first")
            metafunc.parametrize(f"{name}_seed", range(first, first + metafunc.config.getoption(f"--{name}-seeds")))


SHARED = ("sample",)
"""What is dear to make, and shared by several modules."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those that share something dear run in one process: else each of them makes it anew. Mark what is slow on one
    kind of store."""
    for item in items:
        if isinstance(item, pytest.Function) and (dear := item.get_closest_marker("slow_on")) is not None:
            kinds = item.callspec.params.values() if hasattr(item, "callspec") else ()
            if any(kind in dear.args for kind in kinds):
                item.add_marker(pytest.mark.slow)
        if not isinstance(item, pytest.Function) or item.get_closest_marker("xdist_group"):
            continue
        found = {name: defs[-1].scope for name, defs in item._fixtureinfo.name2fixturedefs.items()}
        shared = next((name for name in SHARED if name in found), None)
        if shared or "module" in found.values():
            item.add_marker(pytest.mark.xdist_group(shared or item.path.name))
    # What takes long first: at the end there should be small things for everybody.
    items.sort(key=lambda item: item.path.parent.name != "journeys" and item.path.name != "test_docs_examples.py")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Start a PostgreSQL cluster, once for the tests of this process that ask for one."""
    with running(request.config.getoption("--postgres")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chdb_engine.Engine]:
    """Start ClickHouse's engine in this process, once for its tests that ask for one."""
    with chdb_engine.running(tmp_path_factory.mktemp("clickhouse")) as engine:
        yield engine
