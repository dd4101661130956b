"""ClickHouse's errors as one sentence each: what happened, and what to do. By number: the texts change."""

import re
from collections.abc import Callable, Sequence

from integration.errors import ConfigError, HeadraceError, MissingStoreError, RunError, UnreachableError, UsageError
from integration.store.clickhouse import layout
from integration.store.clickhouse.connecting import ClickHouseError
from integration.store.clickhouse.guard import READING_ONLY
from integration.store.hints import did_you_mean
from integration.store.protocol import RefusedError

UNKNOWN_TABLE = 60
_SYNTAX, _READONLY, _TIMEOUT, _MEMORY = 62, 164, 159, 241
_UNKNOWN_DATABASE = 81
_LOGIN = frozenset({192, 193, 194, 516})
_NOT_ALLOWED = 497
_USAGE = frozenset({
    36, 42, 43, 44, 46, 47, 48, 49, 50, 53, 115, 179, 184, 207, 215, 351, 352, 386, 403, 456, 457, 468, 637,
})  # fmt: skip
_ABOUT_VALUES = frozenset({6, 26, 27, 38, 41, 53, 69, 70, 72, 131, 321, 349, 407, 675})
_LIMITS = frozenset({158, 161, 191, 307, 394, 396})
_AWAY = frozenset({3, 32, 159, 198, 202, 203, 209, 210, 225, 236, 242, 243, 252, 279, 319, 425, 439, 999})
_FULL = frozenset({243})
_TABLE = re.compile(r"identifier '([^']+)'|(?:[Tt]able|Database) ([\w.`]+) does not exist")
_HEAD = re.compile(
    r"^(?:Received ClickHouse exception, code: \d+, server response: )?(?:Code: \d+\. )?(?:DB::Exception: )?"
)
_TAIL = re.compile(
    r"\s*(?:\(for url .*|In scope .*|: While processing .*|\. Expected one of.*|\([A-Z_]+\)\.?\s*(?:\(version.*)?)$"
)
_GOT = re.compile(r"failed at position \d+ \((.+?)\)")


def code_of(error: Exception) -> int | None:
    """Return ClickHouse's number of an error; None when it was not ClickHouse that spoke."""
    return getattr(error, "code", None)


def opening(error: Exception, shown: str) -> HeadraceError:
    """Say why a store could not be opened. `shown` is the server's address."""
    code = code_of(error)
    if code in _LOGIN:
        return ConfigError(
            f"ClickHouse at {shown} refuses the login: correct the user and password of store.url, or "
            "set store.password."
        )
    if code == _NOT_ALLOWED:
        return ConfigError(
            f"The user of store.url may not make headrace's tables at {shown}: grant it CREATE, ALTER, DROP, INSERT "
            "and SELECT on its database and on headrace, headrace_rows and salesforce."
        )
    if code is None or code in _AWAY:
        return away(shown)
    return RunError(f"The store at {shown} can't be opened: {first_line(error)}")


def away(shown: str) -> UnreachableError:
    """Say that the server does not answer."""
    return UnreachableError(f"ClickHouse does not answer at {shown}: start it, or correct store.url.")


def missing(shown: str) -> MissingStoreError:
    """Say that there is no store yet."""
    return MissingStoreError(f"There is no store at {shown} yet: run headrace sync first.")


def reading(
    error: Exception, shown: str, tables: Callable[[], Sequence[str]], timeout_seconds: float | None = None
) -> HeadraceError:
    """Say why a person's statement failed. `tables` lists what could have been meant."""
    code, line = code_of(error), first_line(error)
    if code == _TIMEOUT and timeout_seconds is not None:
        return RunError(
            f"The query was stopped after {timeout_seconds:g} s: narrow it with WHERE, or allow it more time."
        )
    if code is None:
        return away(shown)
    if code == _SYNTAX:
        got = _GOT.search(str(error))
        return UsageError(f"The SQL does not parse{f' at {got[1]}' if got else ''}.")
    if code == _READONLY:
        return UsageError(f"This SQL would write. {READING_ONLY}")
    if code in (UNKNOWN_TABLE, _UNKNOWN_DATABASE):
        found = _TABLE.search(str(error))
        if found:
            name = (found[1] or found[2]).replace("`", "")
            return UsageError(f"There is no table or view {name}.{_meant(name, tables())}")
    if code in _LOGIN or code == _NOT_ALLOWED:
        return ConfigError(f"The user of store.url may not read this at {shown}: grant it SELECT.")
    if code == _MEMORY or code in _LIMITS:
        return RunError(
            "The query needs more memory than the server allows it: narrow it with WHERE, or select fewer columns."
        )
    if code in _USAGE:
        return UsageError(f"The SQL does not fit the tables: {line}")
    if code in _AWAY:
        return away(shown)
    if code in _ABOUT_VALUES:
        return RunError("The query met a value it can't convert (the functions ...OrNull give null instead).")
    return RunError(f"The query failed: {line}")


def writing(error: Exception, shown: str) -> HeadraceError:
    """Say why a batch could not be written; nothing of it is in the store, or all will be when it is opened again."""
    code = code_of(error)
    if code in _FULL:
        return UnreachableError("The disk that holds the store is full: make room, then start again. Nothing was lost.")
    if code in _LOGIN:
        return opening(error, shown)
    if code is None or code in _AWAY:
        return away(shown)
    if code == UNKNOWN_TABLE and layout.TEMPORARY in str(error):
        return UnreachableError(
            f"ClickHouse at {shown} was restarted in the middle of a batch: nothing of it is stored."
        )
    if code == _MEMORY:
        return RefusedError(
            "The store has too little memory for this batch: end what else uses the machine's, or give it more.",
            too_large=True,
        )
    if code in _ABOUT_VALUES:
        # ClickHouse's sentence would show the value: personal data has no place in logs.
        return RefusedError("The store refused a batch: a value does not fit its column.")
    return RunError(f"The store refused a batch: {first_line(error)}")


def first_line(error: Exception) -> str:
    """Return what ClickHouse says, without its number, its version and the statement."""
    text = str(error).strip()
    line = text.splitlines()[0] if text and isinstance(error, ClickHouseError) else type(error).__name__
    line = _HEAD.sub("", line)
    while (shorter := _TAIL.sub("", line)) != line:
        line = shorter
    return line.strip()


def _meant(name: str, tables: Sequence[str]) -> str:
    return did_you_mean(name, tables) or " SHOW TABLES lists what is there."
