"""The named reports: SQL files in integration/reports. The first line of each says in a comment what it tells, the
second how it is best drawn (see integration.pictures.how).

A column that not every org has stands in braces with its type, `{accounts.sfdc_account_arr:DECIMAL}`: where the store
lacks it, it is null.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from integration.errors import UsageError
from integration.pictures.how import MARK
from integration.store.hints import did_you_mean

if TYPE_CHECKING:
    from integration.settings import Settings
    from integration.store.protocol import Queryable

_COMMENT: Final = "-- "
_MAYBE: Final = re.compile(r"\{(?P<table>users|accounts)\.(?P<column>\w+):(?P<type>\w+)\}")
_ALL: Final = {"users": "SELECT * FROM users LIMIT 0", "accounts": "SELECT * FROM accounts LIMIT 0"}
_TYPES: Final = {"DECIMAL": "DECIMAL(18, 2)"}


@dataclass(frozen=True, slots=True)
class Report:
    """A question that is asked often: its name, what it tells in a sentence, the SQL that answers it, and how that is
    best drawn."""

    name: str
    sentence: str
    sql: str
    picture: str = ""


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
        hint = did_you_mean(name.replace("_", "-"), known)
        raise UsageError(f"There is no report {name}.{hint} headrace report lists them all.")
    return _read(name)


def fitted(store: "Queryable", one: Report) -> Report:
    """Return the report with null for the columns that the store does not have; its SQL stays DuckDB's."""
    asked = {found["table"] for found in _MAYBE.finditer(one.sql)}
    columns = {name: _columns(store, name) for name in sorted(asked)}
    return replace(one, sql=filled_in(one.sql, columns))


def filled_in(sql: str, columns: Mapping[str, Collection[str]]) -> str:
    """Return a statement with its columns in braces filled in: null for those that `columns` does not name."""

    def put(found: re.Match[str]) -> str:
        if found["column"] in columns[found["table"]]:
            return found["column"]
        return f"CAST(NULL AS {_TYPES.get(found['type'], found['type'])})"

    return _MAYBE.sub(put, sql)


def in_words_of_store(settings: "Settings", one: Report) -> Report:
    """Return the report with its SQL as the store takes it: with the columns it has, in its dialect."""
    from integration.wiring import reading  # the names of reports are offered without it

    with reading.reader(settings) as store:
        sql = fitted(store, one).sql
        # What is DuckDB's own needs no other words: it stays as it was written.
        return replace(one, sql=sql if settings.store_path is not None else store.compiled(sql))


def header(text: str) -> tuple[str, str, str]:
    """Part a file of SQL into its sentence, how it is drawn (nothing, where it does not say), and the statement."""
    first, _, rest = text.partition("\n")
    if not first.startswith(_COMMENT):
        return "", "", text
    sentence, picture = first.removeprefix(_COMMENT), ""
    second, _, below = rest.partition("\n")
    if second.startswith(_COMMENT + MARK):
        picture, rest = second.removeprefix(_COMMENT + MARK), below
    return sentence, picture, rest


def _columns(store: "Queryable", table: str) -> list[str]:
    return list(store.query(store.compiled(_ALL[table])).column_names)


def _read(name: str) -> Report:
    sentence, picture, sql = header(files("integration").joinpath("reports", f"{name}.sql").read_text("utf-8"))
    return Report(name, sentence, sql.rstrip(), picture)
