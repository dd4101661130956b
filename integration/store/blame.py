"""Whose fault it was that a batch could not be written: the store's, or that of a value in it."""

import duckdb

from integration.errors import RunError

_ABOUT_VALUES: tuple[type[duckdb.Error], ...] = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.NotSupportedError,
    duckdb.InvalidInputException,
    duckdb.InvalidTypeException,
)


def blames_values(error: RunError) -> bool:
    """Tell whether a batch may have been refused for what is in it, so that a part of it can do better.

    False for all that the store has to settle with itself: disk, memory, locks, a table that somebody has dropped.
    """
    return isinstance(error.__cause__, _ABOUT_VALUES)


def wants_memory(error: RunError) -> bool:
    """Tell whether a batch was refused for its size: a half of it may pass."""
    return isinstance(error.__cause__, duckdb.OutOfMemoryException)
