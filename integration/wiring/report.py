"""The named reports: SQL files in integration/reports, whose first line says in a comment what they tell."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from typing import TYPE_CHECKING

from integration.errors import UsageError

if TYPE_CHECKING:
    from integration.settings import Settings

_COMMENT = "-- "


@dataclass(frozen=True, slots=True)
class Report:
    """A question that is asked often: its name, what it tells in a sentence, and the SQL that answers it."""

    name: str
    sentence: str
    sql: str


def names() -> list[str]:
    """List the names of the reports. Reads no file."""
    folder = files("integration").joinpath("reports")
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


def in_words_of_store(settings: "Settings", one: Report) -> Report:
    """Return the report with its SQL in the dialect of the store."""
    if settings.store_path is not None:
        return one  # reports are written in DuckDB's
    from integration.wiring import reading  # the names of reports are offered without it

    with reading.reader(settings) as store:
        return replace(one, sql=store.compiled(one.sql))


def _read(name: str) -> Report:
    text = files("integration").joinpath("reports", f"{name}.sql").read_text("utf-8")
    first, _, sql = text.partition("\n")
    return Report(name, first.removeprefix(_COMMENT), sql.rstrip())
