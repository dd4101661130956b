import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes golden files anew, and how long the soak takes."""
    parser.addoption("--write-golden", action="store_true", help="write the golden files anew from what is found")
    parser.addoption("--soak-first", type=int, default=1, help="the first seed of the soak")
    parser.addoption("--soak-seeds", type=int, default=2, help="how many seeds the soak takes")
    parser.addoption("--soak-operations", type=int, default=40, help="how many things happen for each seed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the soak its seeds."""
    if "soak_seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("--soak-first")
        metafunc.parametrize("soak_seed", range(first, first + metafunc.config.getoption("--soak-seeds")))
