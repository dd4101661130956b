import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes golden files anew, and how long the soak and the chaos take."""
    parser.addoption("--write-golden", action="store_true", help="write the golden files anew from what is found")
    parser.addoption("--soak-first", type=int, default=1, help="the first seed of the soak")
    parser.addoption("--soak-seeds", type=int, default=2, help="how many seeds the soak takes")
    parser.addoption("--soak-operations", type=int, default=40, help="how many things happen for each seed")
    parser.addoption("--chaos-first", type=int, default=1, help="the first seed of the nights of chaos")
    parser.addoption("--chaos-seeds", type=int, default=1, help="how many nights there are")
    parser.addoption("--chaos-strikes", type=int, default=8, help="how many things go wrong in each night")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the soak and the nights of chaos their seeds."""
    for name in ("soak", "chaos"):
        if f"{name}_seed" in metafunc.fixturenames:
            first = metafunc.config.getoption(f"--{name}-first")
            metafunc.parametrize(f"{name}_seed", range(first, first + metafunc.config.getoption(f"--{name}-seeds")))
