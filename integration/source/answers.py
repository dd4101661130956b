"""The shapes of Salesforce's answers, and how they are read out of JSON. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from integration.errors import HeadraceError
from integration.source import faults

T = TypeVar("T")


@dataclass(slots=True)
class Answer:
    """The answer to one query: its rows, or the problem that this query alone met.

    `done` is False when the server cut the answer short of what the query asked for.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    done: bool = True
    problem: HeadraceError | None = None


@dataclass(frozen=True, slots=True)
class DeletedWindow:
    """A window of the delete log: (record id, deletedDate as given) pairs, and what the log covers at all."""

    records: list[tuple[str, str]]
    earliest_available: str | None
    latest_covered: str | None


def shaped(read: Callable[[Any], T], body: Any) -> T:
    """Read a body with `read`. Raises UnreachableError for one of another shape: it is not Salesforce's."""
    try:
        return read(body)
    except (KeyError, TypeError, ValueError) as error:
        raise faults.silence(error) from error


def rows(body: Any) -> Answer:
    """Read the answer to a query."""
    return Answer(records=list(body["records"]), done=bool(body.get("done", True)))


def deleted_window(body: Any) -> DeletedWindow:
    """Read the answer of the delete log."""
    return DeletedWindow(
        records=[(str(r["id"]), str(r["deletedDate"])) for r in body["deletedRecords"]],
        earliest_available=body.get("earliestDateAvailable"),
        latest_covered=body.get("latestDateCovered"),
    )
