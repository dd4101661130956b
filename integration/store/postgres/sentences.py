"""PostgreSQL's errors as one sentence each: what happened, and what to do. They go by its codes: its words are in the
language of the server, and may show values."""

import re
from collections.abc import Callable, Sequence

import psycopg
from psycopg import errors

from integration.errors import ConfigError, HeadraceError, MissingStoreError, RunError, UnreachableError, UsageError
from integration.store.hints import did_you_mean
from integration.store.postgres.address import Address, gone
from integration.store.postgres.guard import READING_ONLY
from integration.store.protocol import RefusedError

_NAME = re.compile(r'"(.+)"')
_LISTED = " information_schema.tables lists what is there."
_COLUMN = re.compile(r"COPY (\S+), line \d+, column (\S+?):?(?:\s|$)")
_SESSION_ENDED = (
    errors.IdleInTransactionSessionTimeout,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.DatabaseDropped,
)
_SYNTAX = "42601"
_ABOUT_SQL = "42"
_ABOUT_VALUES = "22"
_NO_MEMORY = ("53000", "53200", "53400")
_REFUSED = ("22", "23", "54")
"""Classes of codes that say something of what is in a batch: values, constraints, limits of a row."""


def lost(error: psycopg.Error, con: psycopg.Connection | None) -> bool:
    """Tell whether the connection is gone, and not the statement wrong."""
    return isinstance(error, _SESSION_ENDED) or (con is not None and con.broken)


def reading(
    error: psycopg.Error,
    sql: str,
    tables: Callable[[], Sequence[str]],
    timed_out: float,
) -> HeadraceError:
    """Say why a person's statement failed. `tables` lists what could have been meant, `timed_out` is in seconds."""
    code, line = error.sqlstate or "", first_line(error)
    if isinstance(error, errors.QueryCanceled):
        return RunError(f"The query was stopped after {timed_out:g} s: narrow it with WHERE, or allow it more time.")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return UsageError(f"This SQL would write. {READING_ONLY}")
    if isinstance(error, errors.InsufficientPrivilege):
        return UsageError(f"The role that headrace logs in as may not do that: {line}.")
    if code in _NO_MEMORY:
        return RunError(f"The query needs more than the server has ({line}): narrow it with WHERE.")
    if "multiple commands" in line and code == _SYNTAX:
        return UsageError("These are several statements; give one at a time.")
    if code == _SYNTAX:
        return UsageError(f"The SQL does not parse: {line}{_place(error, sql)}.")
    named = _NAME.search(line)
    if isinstance(error, errors.UndefinedTable) and named:
        return UsageError(f"There is no table or view {named[1]}.{_meant(named[1], tables())}")
    if code.startswith(_ABOUT_SQL):
        hint = (error.diag.message_hint or "").splitlines()
        return UsageError(f"The SQL does not fit the tables: {line}.{f' {hint[0]}' if hint else ''}")
    if code.startswith(_ABOUT_VALUES):
        return RunError(f"The query met a value it can't convert: {line}.")
    return RunError(f"The query failed: {line}")


def writing(error: psycopg.Error, to: Address) -> HeadraceError:
    """Say why a batch could not be written; nothing of it is in the store."""
    code, line = error.sqlstate or "", first_line(error)
    if isinstance(error, errors.DiskFull):
        return UnreachableError(
            f"The disk of PostgreSQL at {to.place} is full: make room, then start again. Nothing was lost."
        )
    if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected):
        return UnreachableError(
            f"Another session of {to.place} holds what this batch has to change: end it (SELECT pid, query FROM "
            "pg_stat_activity WHERE state LIKE 'idle in%'), then start again. Nothing was lost."
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return no_rights(error, to)
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return ConfigError(f"{to.place} is a standby that can only be read: name the primary server in store.url.")
    if isinstance(error, errors.TooManyColumns):
        return RunError(
            "A table would have more than the 1,600 columns that PostgreSQL allows: leave fields out "
            "(objects.<Name>.exclude), or choose another store."
        )
    if isinstance(error, errors.OutOfMemory):
        return RefusedError("PostgreSQL has too little memory for this batch: give it more.", too_large=True)
    if isinstance(error, errors.ProgramLimitExceeded):
        return RefusedError(f"The store refused a batch: a row is larger than PostgreSQL allows ({line}).")
    if code.startswith(_REFUSED):
        # PostgreSQL's sentence would show the value: personal data has no place in logs.
        column = _COLUMN.search(error.diag.context or "")
        named = column[2].rstrip(",") if column else error.diag.column_name or error.diag.constraint_name
        return RefusedError(f"The store refused a batch: a value does not fit {named or 'its column'}.")
    return RunError(f"The store refused a batch: {line}")


def no_rights(error: psycopg.Error, to: Address) -> ConfigError:
    """Say that the role may not do what a worker has to."""
    return ConfigError(
        f"The role of store.url lacks rights in {to.place} ({first_line(error)}): make it the owner of the database, "
        f"or GRANT CREATE ON DATABASE {to.database} and ON SCHEMA public to it."
    )


def missing(to: Address) -> MissingStoreError:
    """Say that there is no store yet."""
    return MissingStoreError(f"There is no store in {to.place} yet: run headrace sync first.")


def unanswered(to: Address) -> UnreachableError:
    """Say that the server has gone away."""
    return gone(to)


def first_line(error: psycopg.Error) -> str:
    """Return what happened, without what PostgreSQL adds to it."""
    told = error.diag.message_primary or str(error).strip()
    return told.splitlines()[0].strip() if told else type(error).__name__


def _place(error: psycopg.Error, sql: str) -> str:
    place = error.diag.statement_position
    line = sql.count("\n", 0, int(place) - 1) + 1 if place else 1
    return f" in line {line}" if line > 1 else ""


def _meant(name: str, tables: Sequence[str]) -> str:
    return did_you_mean(name, tables) or _LISTED
