"""What to do about a problem that one object's query met."""

from collections.abc import Callable
from typing import Protocol

from integration.core.catalog import ObjectSchema
from integration.errors import HeadraceError, RunError
from integration.source.answers import Answer
from integration.source.faults import InvalidFieldError, QueryTimeoutError, UnknownObjectError
from integration.source.heavy import read_through_bulk
from integration.source.soql import Soql
from integration.source.tools import Tools
from integration.source.watch import Catalog
from integration.source.work import PassWork

_NAP_SECONDS = 0.5


class Work(Protocol):
    """One object's part of a cycle, page by page."""

    schema: ObjectSchema

    @property
    def name(self) -> str:
        """The object's name."""

    def query(self) -> Soql:
        """Ask for the next page."""

    def take(self, answer: Answer) -> bool:
        """Publish a page; say whether there are more."""

    def described(self, schema: ObjectSchema) -> None:
        """Go on under another description of the object."""

    def eased(self) -> str | None:
        """Ask for less from now on; return the middle of a sentence about it, None when nothing less can be asked."""


class StoppedError(HeadraceError):
    """The cycle was asked to stop while it waited."""


class Recovery:
    """Deals with the problems of one cycle."""

    def __init__(self, tools: Tools, catalog: Catalog, should_stop: Callable[[], bool]) -> None:
        self._tools = tools
        self._catalog = catalog
        self._should_stop = should_stop
        self._described_again: set[str] = set()

    def goes_on(self, work: Work, problem: HeadraceError) -> bool:
        """Say whether to ask for the object's page again. Raises what can't be helped, and StoppedError."""
        try:
            return self._remedy(work, problem)
        except (UnknownObjectError, RunError) as error:
            return self._skip(work, error)

    def _remedy(self, work: Work, problem: HeadraceError) -> bool:
        if isinstance(problem, InvalidFieldError) and work.name not in self._described_again:
            return self._describe(work)
        if isinstance(problem, QueryTimeoutError):
            return self._ease(work, problem)
        raise problem

    def _describe(self, work: Work) -> bool:
        self._described_again.add(work.name)
        schema = self._catalog.refresh(work.name)
        if schema is None:
            self._tools.report.skipped.update(self._catalog.skipped)
            return False
        work.described(schema)
        return True

    def _ease(self, work: Work, problem: QueryTimeoutError) -> bool:
        remedy = work.eased()
        if remedy is not None:
            self._tools.report.notes.append(f"{work.name}: a query ran too long; {remedy}.")
            return True
        if not isinstance(work, PassWork):
            raise problem
        self._tools.report.notes.append(f"{work.name}: a query ran too long; its rows are read through the Bulk API.")
        return read_through_bulk(self._tools, work, self._wait)

    def _skip(self, work: Work, error: HeadraceError) -> bool:
        if isinstance(error, UnknownObjectError):
            self._catalog.drop(work.name, str(error))
            if work.name not in self._catalog.skipped:
                return False  # an object that nobody asked for goes without a word
        self._tools.report.skipped[work.name] = str(error)
        return False

    def _wait(self, seconds: float) -> None:
        """Sleep; wake up early to stop."""
        while seconds > 0:
            if self._should_stop():
                raise StoppedError("Stopped while a bulk job was running.")
            self._tools.wait(min(seconds, _NAP_SECONDS))
            seconds -= _NAP_SECONDS
