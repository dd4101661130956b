"""The named reports: SQL files in integration/marts, whose first line says in a comment what they tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path

from integration.errors import UsageError

_COMMENT = "-- "


@dataclass(frozen=True, slots=True)
class Report:
    """A question that is asked often: its name, what it tells in a sentence, and the SQL that answers it."""

    name: str
    sentence: str
    sql: str


def names() -> list[str]:
    """List the names of the reports. Reads no file."""
    folder = files("integration").joinpath("marts")
    return sorted(one.name.removesuffix(".sql") for one in folder.iterdir() if one.name.endswith(".sql"))


def reports() -> list[Report]:
    """List all reports by name."""
    return [_read(name) for name in names()]


def report(name: str) -> Report:
    """Return a report. Raises UsageError for a name that none has."""
    known = names()
    if name not in known:
        close = get_close_matches(name.lower().replace("_", "-"), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"There is no report {name}: {hint}headrace report lists them all.")
    return _read(name)


@contextmanager
def file_of(name: str) -> Iterator[Path]:
    """Give the file of a report, for a while. Raises UsageError for a name that none has."""
    report(name)
    with as_file(files("integration").joinpath("marts", f"{name}.sql")) as path:
        yield path


def _read(name: str) -> Report:
    text = files("integration").joinpath("marts", f"{name}.sql").read_text("utf-8")
    first, _, sql = text.partition("\n")
    return Report(name, first.removeprefix(_COMMENT), sql.rstrip())
