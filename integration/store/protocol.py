"""What a store must do for headrace: one transaction at a time, a few set-based reads, read-only SQL for people.

Tables are named as users know them (`users`, `salesforce.contact`); headrace's own bookkeeping lies in the schema
`headrace` (`headrace.states`, `headrace.positions`, ...). Rows are plain mappings; a `Column` says under which key a
value is found and which type it has, and the adapter turns whole batches into columns at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import pyarrow as pa

from integration.core.columns import Column, ColumnType
from integration.errors import RunError
from integration.store.projection import Shape

__all__ = [
    "Column",
    "ColumnType",
    "Misfit",
    "Queryable",
    "Reader",
    "Reading",
    "RefusedError",
    "Row",
    "State",
    "Store",
    "Transaction",
]


class Misfit(ValueError):  # noqa: N818 - what it is called where it is caught
    """Values that fit no column of their type. Nothing of the rows handed over has been written."""

    def __init__(self, table: str, column: str, rows: Sequence[int], reason: str) -> None:
        self.table = table
        self.column = column
        self.rows = tuple(rows)
        """Which of the rows handed over carry such a value, by their place."""
        self.reason = reason
        """What the value is, without telling it: `text instead of a number`."""
        super().__init__(f"{table}.{column} can't hold {reason}")


class RefusedError(RunError):
    """The store refused a batch for what is in it: a value, or its size. A part of it may do better.

    Whatever a store has to settle with itself (disk, memory, locks, a table that somebody has dropped) is another
    RunError, or an UnreachableError.
    """

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large
        """Whether it was the size: what is alone in its batch is not to blame then."""


class State(NamedTuple):
    """The last known image of a record: the JSON of the capture that showed it (see schemas.Capture)."""

    record_id: str
    payload: bytes


Row = Mapping[str, Any]


class Reading(Protocol):
    """What headrace itself asks a store."""

    def states(self, object_name: str, record_ids: Iterable[str]) -> list[State]:
        """Read the last images of these records; unknown ids are left out."""

    def known_ids(self, object_name: str, *, after: str = "", limit: int) -> list[tuple[str, bool]]:
        """List the next `limit` records known of the object behind the id `after`, as (record id, is deleted).

        In the order of the ids' characters, which is Python's: capitals before small letters.
        """

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a reading statement of headrace's own (never a user's) and return plain rows; `?` for parameters;
        a list parameter is matched with `= any(?)`."""


class Transaction(Reading, Protocol):
    """Everything one batch does. It is all there after the `with` block, or nothing of it is.

    Reads inside a transaction see its own writes.
    """

    def ensure_columns(self, table: str, columns: Sequence[Column]) -> None:
        """Create the table if it is missing, add missing columns. Existing columns are never retyped; a decimal
        column whose precision or scale is too small for the asked one is widened."""

    def append(self, table: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Insert rows. Decimal columns are widened when a value would not fit unrounded."""

    def upsert(self, table: str, key: Sequence[str], columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Replace the rows with these keys (the last one wins where a key comes twice), insert the others."""

    def differing(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """Return the keys (values of the column `key`) under which the table does not hold exactly these rows.

        No row may come twice. Raises Misfit.
        """

    def make_equal(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], rows: Sequence[Row]
    ) -> set[str]:
        """Have the table hold, under these keys (values of the column `key`), exactly these rows and no others.

        Only keys whose rows differ are written; they are returned. Raises Misfit.
        """

    def work_out(
        self, table: str, key: str, keys: Iterable[str], columns: Sequence[Column], sql: str, parameters: Sequence[Any]
    ) -> set[str]:
        """Do what `make_equal` does, with the rows that a statement of headrace's own gives (see `rows`)."""

    def delete(self, table: str, column: str, values: Iterable[str]) -> None:
        """Delete the rows whose column holds one of the values."""

    def update(self, table: str, key: str, column: str, values: Mapping[str, str | None]) -> None:
        """Set `column` to the mapped value in every row whose `key` column holds the mapping's key."""

    def forget_before(self, table: str, column: str, time: str) -> None:
        """Delete the rows whose time in `column` lies before `time` (ISO 8601)."""

    def facts(
        self, object_name: str, any_of: Mapping[str, Iterable[str]], fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Read some fields of an object's records in which one of the `any_of` fields holds one of its values.

        Rows hold `Id`, `version`, `is_deleted` and the fields by their API names; a field the store has no column
        for is left out, and finds nothing. `Email` is compared trimmed and in lower case (as the given e-mails are).
        """

    def project_users(self, shape: Shape, user_ids: Iterable[str], *, only_differing: bool = False) -> int:
        """Copy these people's rows of `users` anew from headrace.people and the raw tables.

        A user that headrace.people does not have is deleted. `only_differing` is for people of whom most are expected
        to be as they are: what does not differ is not written. Returns how many rows were written or deleted.
        """

    def ensure_view(self, name: str, sql: str, *, own: bool = False) -> None:
        """Create or replace a view; a name that a table has already is refused with ValueError."""


class Queryable(Protocol):
    """Answers read-only SQL, in the dialect of the store."""

    def query(self, sql: str, *, limit: int | None = None, timeout_seconds: float = 60.0) -> pa.Table:
        """Run one read-only statement of a user.

        Raises UsageError when it does not parse, names what does not exist, holds several statements, writes, or
        touches files; RunError when it fails or outlives the timeout.
        """

    def compiled(self, sql: str) -> str:
        """Return a statement of headrace's own in the dialect of this store: they are all written in DuckDB's."""


class Reader(Queryable, Protocol):
    """A store opened for nothing but reading."""

    def close(self) -> None:
        """Let go of the file or the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Queryable, Protocol):
    """A place where the tables live, opened to write. One flattener writes at a time; anyone may read through it."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin; commit at the end of the block, roll back if it raises."""

    def reading(self) -> AbstractContextManager[Reading]:
        """Read what was committed last, beside the transaction that somebody may have open: nobody waits.

        Each call of the block sees the commits made until then. Raises RunError when the store can't be read.
        """

    def close(self) -> None:
        """Close; everything committed is on disk."""
