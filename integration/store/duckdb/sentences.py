"""DuckDB's errors as one sentence each: what happened, and what to do."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from integration.errors import ConfigError, HeadraceError, MissingStoreError, RunError, UnreachableError, UsageError
from integration.store.duckdb.guard import READING_ONLY
from integration.store.hints import did_you_mean
from integration.store.ownership import StoreOwnedError
from integration.store.protocol import RefusedError

_LOCK_HOLDER = re.compile(r"\(PID (\d+)\)")
_MISSING_TABLE = re.compile(r'Table with name "?(.+?)"? (?:does not exist|is not in the catalog)')
_SOURCE_COLUMN = re.compile(r"from source column (\S+)")
_KIND = re.compile(r"^[A-Z][\w ]*?(?:Error|error): ")
_USAGE: tuple[type[duckdb.Error], ...] = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.SyntaxException,
    duckdb.NotImplementedException,
)
_ABOUT_VALUES: tuple[type[duckdb.Error], ...] = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.NotSupportedError,
    duckdb.InvalidInputException,
    duckdb.InvalidTypeException,
)


def opening(error: duckdb.Error, path: Path) -> HeadraceError:
    """Say why a store's file could not be opened."""
    text = str(error)
    if "Could not set lock" in text:
        holder = _LOCK_HOLDER.search(text)
        return owned(path, int(holder[1]) if holder else None)
    if isinstance(error, duckdb.ResourceInUseException | duckdb.ConnectionException):
        return owned(path, os.getpid())
    if "storage version" in text:
        return ConfigError(f"{path} was written by a newer DuckDB than this one: upgrade headrace.")
    if "does not exist" in text or "No such file" in text:
        return missing(path)
    if "Permission denied" in text or "Read-only file system" in text:
        return UnreachableError(f"{path} can't be opened: give this user the right to read and write it.")
    if "Is a directory" in text:
        return ConfigError(f"{path} is a directory: store.url must name a file, for example {path}/headrace.duckdb.")
    return UnreachableError(
        f"{path} can't be used as a store ({first_line(error)}): "
        "restore it from a copy, or move it away and run headrace sync: the streams and Salesforce fill a new one."
    )


def owned(path: Path, pid: int | None) -> StoreOwnedError:
    """Say that another process has the store open."""
    who = f"process {pid}" if pid else "another process"
    return StoreOwnedError(f"{path} is in use by {who}: wait until it ends, or stop it.", pid)


def missing(path: Path) -> MissingStoreError:
    """Say that there is no store yet."""
    return MissingStoreError(f"There is no store at {path} yet: run headrace sync (or headrace demo) first.")


def reading(error: duckdb.Error, tables: Callable[[], Sequence[str]], timed_out: float | None = None) -> HeadraceError:
    """Say why a person's statement failed. `tables` lists what could have been meant, `timed_out` is in seconds."""
    text, line = str(error), first_line(error)
    if timed_out is not None and isinstance(error, duckdb.InterruptException):
        return RunError(f"The query was stopped after {timed_out:g} s: narrow it with WHERE, or allow it more time.")
    if "in read-only mode" in text or "attached in read-only" in text:
        return UsageError(f"This SQL would write. {READING_ONLY}")
    if isinstance(error, duckdb.PermissionException):
        return UsageError("Files and other databases can't be read from here: query the tables (SHOW ALL TABLES).")
    if isinstance(error, duckdb.OutOfMemoryException):
        return RunError(
            "The query needs more memory than the store may use: narrow it with WHERE, or select fewer columns."
        )
    if isinstance(error, duckdb.ParserException):
        return UsageError(f"The SQL does not parse: {line}{_place(text)}.")
    table = _MISSING_TABLE.search(text)
    if isinstance(error, duckdb.CatalogException) and table:
        return UsageError(f"There is no table or view {table[1]}.{_meant(table[1], tables())}")
    if isinstance(error, _USAGE):
        return UsageError(f"The SQL does not fit the tables: {line}{_hint(text)}")
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return RunError(f"The query met a value it can't convert: {line} (TRY_CAST gives null instead).")
    return RunError(f"The query failed: {line}")


def writing(error: duckdb.Error) -> HeadraceError:
    """Say why a batch could not be written; nothing of it is in the store."""
    line = first_line(error)
    if "No space left" in str(error):
        return UnreachableError("The disk that holds the store is full: make room, then start again. Nothing was lost.")
    if isinstance(error, duckdb.IOException | duckdb.FatalException):
        return UnreachableError(f"The store can't be written ({line}): look at its disk, then start again.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return RefusedError(
            "The store has too little memory for this batch: end what else uses the machine's, or give it more.",
            too_large=True,
        )
    if isinstance(error, duckdb.DataError):
        # DuckDB's sentence would show the value: personal data has no place in logs.
        column = _SOURCE_COLUMN.search(str(error))
        where = column[1] if column else "its column"
        return RefusedError(f"The store refused a batch: a value does not fit {where}.")
    kind = RefusedError if isinstance(error, _ABOUT_VALUES) else RunError
    return kind(f"The store refused a batch: {line}")


def first_line(error: Exception) -> str:
    """Return the first line of an error without DuckDB's name for its kind."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return _KIND.sub("", line).strip()


def _place(text: str) -> str:
    found = re.search(r"^LINE (\d+):", text, re.MULTILINE)
    return f" in line {found[1]}" if found and found[1] != "1" else ""


def _hint(text: str) -> str:
    for line in text.splitlines()[1:]:
        if line.startswith(("Did you mean", "Candidate bindings")):
            return f" {line}" if line.endswith(("?", ".")) else f" {line}."
    return ""


def _meant(name: str, tables: Sequence[str]) -> str:
    return did_you_mean(name, tables) or " SHOW ALL TABLES lists what is there."
