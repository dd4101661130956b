import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes golden files anew."""
    parser.addoption("--write-golden", action="store_true", help="write the golden files anew from what is found")
