"""Reading a whole object through the Bulk API 2.0: the rows are the ones that REST gives, at a tenth of the calls.

A job's id and the locator of its next page are plain strings: who keeps them can go on after a crash. What CSV can't
carry as REST's JSON would (values of changing type) is refused with BulkRefusedError, and is left to REST.
"""

import csv
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from integration.core.catalog import ObjectSchema
from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.source import faults
from integration.source.client import SalesforceClient
from integration.source.faults import InvalidFieldError, PassingError, QueryTimeoutError, UnknownObjectError
from integration.source.soql import LONGEST_QUERY, Soql, datetime_literal

ROWS_PER_PAGE = 20_000
"""How many rows are asked for at once: they, and their CSV, are in memory together."""

_PATH = "jobs/query"
_LONGEST_PAUSE = 30.0
_FIRST_PAUSE = 1.0
_PATIENCE = 2 * 3600.0
_LONGEST_VALUE = 1 << 24  # the csv module's own limit is that of the longest text area
# In JSON their values have types of their own, which a column of CSV does not tell.
_UNTYPED = frozenset({"anytype", "junctionidlist"})
_UNSUPPORTED = re.compile(r"not supported|FUNCTIONALITY_NOT_ENABLED|FeatureNotEnabled", re.IGNORECASE)
# DailyBulkV2QueryJobs and DailyBulkV2QueryFileStorageMB, in any of the words in which Salesforce says it.
_DAILY_LIMIT = re.compile(r"LIMIT_EXCEEDED|EXCEEDED_[A-Z_]*LIMIT|DailyBulk", re.IGNORECASE)
_ERROR_CODE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")

Reader = Callable[[str], Any]


class BulkRefusedError(RunError):
    """The Bulk API can't read this object, or not for this login: REST has to."""


class BulkLimitError(UnreachableError):
    """The org's Bulk jobs, or the size of their results, are used up for today."""


class BulkLostError(RunError):
    """A job can't be continued (deleted, older than seven days, of another API version): start a new one."""


@dataclass(frozen=True, slots=True)
class BulkPage:
    """Rows in the form of REST's, less `attributes`; `number` counts the pages of this reading from 1.

    `locator` continues after this page; None says that it is the last one.
    """

    rows: list[dict[str, Any]]
    locator: str | None
    number: int


def why_not_bulk(schema: ObjectSchema) -> str | None:
    """Say why Bulk can't read an object, as far as its description tells; None if it may."""
    if any(field.type in _UNTYPED for field in schema.fields):
        return "it has fields whose values change their type from row to row"
    return None


def bulk_query(schema: ObjectSchema, *, since: str | None = None, until: str | None = None) -> Soql:
    """Ask for an object's rows with stamps from `since` (included) to `until` (not included), in no order.

    Sorting and limits would keep Salesforce from splitting the query up. Raises ValueError for bounds that are no
    times, and ConfigError if the selected fields make the query too long.
    """
    cursor = schema.cursor_field
    bounds = ((">=", since), ("<", until))
    where = " AND ".join(f"{cursor} {sign} {datetime_literal(at)}" for sign, at in bounds if at is not None)
    fields = ", ".join(field.name for field in schema.fields)
    query = f"SELECT {fields} FROM {schema.object}{' WHERE ' if where else ''}{where}"
    if len(query) > LONGEST_QUERY:
        raise ConfigError(
            f"{schema.object} has too many fields for one query ({len(query):,} characters of {LONGEST_QUERY:,}): "
            f"leave some out with objects.{schema.object}.exclude."
        )
    return query


def longer(pause: float) -> float:
    """Return the seconds until the next look at a job, after these."""
    return min(2 * pause, _LONGEST_PAUSE)


class BulkQuery:
    """One query job, deleted records included. `soql` selects fields of `schema` and nothing else.

    job_id         of a job that was started earlier, to go on with it
    wait           sleeps so many seconds; may raise to give up
    rows_per_page  at most so many rows per page

    Every method raises what SalesforceClient raises.
    """

    def __init__(
        self,
        client: SalesforceClient,
        schema: ObjectSchema,
        soql: Soql,
        *,
        job_id: str | None = None,
        wait: Callable[[float], None] = time.sleep,
        rows_per_page: int = ROWS_PER_PAGE,
    ) -> None:
        self.job_id = job_id
        self._client = client
        self._schema = schema
        self._soql = soql
        self._wait = wait
        self._rows_per_page = rows_per_page

    def start(self) -> str:
        """Create the job, if there is none yet, and return its id. Raises BulkRefusedError or BulkLimitError."""
        if self.job_id is None:
            if (refused := why_not_bulk(self._schema)) is not None:
                raise self._refused(refused)
            self.job_id = self._create()
        return self.job_id

    def pages(self, locator: str | None = None) -> Iterator[BulkPage]:
        """Wait until the job is done, and read its result, from the beginning or from a page's `locator` on.

        Starts the job if there is none. Pages may be read again as long as the job exists. Raises BulkRefusedError,
        BulkLostError, or RunError for a job that failed or was aborted.
        """
        job_id = self.start()
        self._finish(job_id)
        number = 1
        while True:
            page = self.page(locator, number)
            yield page
            if page.locator is None:
                return
            locator, number = page.locator, number + 1

    def is_done(self) -> bool:
        """Look at the job, which has been started, once. Raises what `pages` raises for one that does not end well."""
        return self._is_done(self.start())

    def page(self, locator: str | None = None, number: int = 1) -> BulkPage:
        """Read one page of the result of a job that is done: the first one, or the one that a `locator` names."""
        job_id = self.start()
        params = {"maxRecords": str(self._rows_per_page)} | ({"locator": locator} if locator is not None else {})
        path = f"{_PATH}/{job_id}/results"
        try:
            rows, following = self._client.download(path, self._read, params=params, about=self._about, is_object=True)
        except (BulkRefusedError, BulkLostError):
            raise
        except (UnknownObjectError, RunError) as error:
            raise self._lost(error) from error
        return BulkPage(rows, None if following == "null" else following, number)

    def drop(self) -> None:
        """Delete the job and its result; one that still runs is aborted first. Nothing happens if it is gone."""
        if self.job_id is None:
            return
        path, about = f"{_PATH}/{self.job_id}", self._about
        for steps in (("DELETE",), ("PATCH", "DELETE")):  # a running job can't be deleted
            try:
                for method in steps:
                    body = {"json": {"state": "Aborted"}} if method == "PATCH" else {}
                    self._client.rest(path, method=method, about=about, is_object=True, **body)
                break
            except UnknownObjectError:
                break
            except RunError:
                continue  # what can't be deleted goes by itself within a week
        self.job_id = None

    # --- the job ----------------------------------------------------------------------------------------

    @property
    def _about(self) -> str:
        return f"the bulk job for {self._schema.object}"

    def _create(self) -> str:
        body = {
            "operation": "queryAll",
            "query": self._soql,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        }
        try:
            answer = self._client.rest(_PATH, method="POST", json=body, about=self._schema.object)
        except (InvalidFieldError, QueryTimeoutError):
            raise
        except (ConfigError, RunError) as error:  # no such resource, no permission, not this object
            if _DAILY_LIMIT.search(str(error)):
                raise BulkLimitError(
                    f"Salesforce takes no Bulk job for {self._schema.object} now, the day's are used up: try again "
                    "later, or read through REST."
                ) from error
            raise self._refused(str(error).rstrip(".")) from error
        return str(_value(answer, "id"))

    def _finish(self, job_id: str) -> None:
        """Wait for the job. Raises an error if it does not end well."""
        pause, waited = _FIRST_PAUSE, 0.0
        while not self._is_done(job_id):
            if waited >= _PATIENCE:
                raise UnreachableError(
                    f"Salesforce has not finished {self._about} in {_PATIENCE / 3600:.0f} hours: try again later."
                )
            self._wait(pause)
            waited += pause
            pause = longer(pause)

    def _is_done(self, job_id: str) -> bool:
        answer = self._look(job_id)
        state = _value(answer, "state")
        if state == "Failed":
            raise self._failure(str(answer.get("errorMessage") or ""))
        if state == "Aborted":
            raise RunError(f"Somebody has aborted {self._about}: start it again.")
        return bool(state == "JobComplete")

    def _look(self, job_id: str) -> Any:
        try:
            return self._client.rest(f"{_PATH}/{job_id}", about=self._about, is_object=True)
        except (UnknownObjectError, RunError) as error:
            raise self._lost(error) from error

    def _read(self, headers: Mapping[str, str], content: bytes) -> tuple[list[dict[str, Any]], str]:
        # Without its locator a result would end early, and nobody would know.
        following, count = _header(headers, "Sforce-Locator"), _header(headers, "Sforce-NumberOfRecords")
        rows = read_csv(content, self._schema)
        if str(len(rows)) != count:
            raise _cut_short()
        return rows, following

    # --- errors -----------------------------------------------------------------------------------------

    def _refused(self, why: str) -> BulkRefusedError:
        return BulkRefusedError(f"The Bulk API can't read {self._schema.object}, REST has to do it: {why}.")

    def _lost(self, error: HeadraceError) -> BulkLostError:
        reason = "it is not there any more" if isinstance(error, UnknownObjectError) else str(error).rstrip(".")
        return BulkLostError(f"Can't go on with {self._about}, it has to be started again: {reason}.")

    def _failure(self, message: str) -> HeadraceError:
        code = _ERROR_CODE.search(message)
        said = [{"errorCode": code[0] if code else "API_ERROR", "message": message}]
        problem = faults.refusal(400, said, self._schema.object)
        if type(problem) is RunError and _UNSUPPORTED.search(message):
            return self._refused(str(problem).rstrip("."))
        return problem


# --- CSV ------------------------------------------------------------------------------------------------


def read_csv(content: bytes, schema: ObjectSchema) -> list[dict[str, Any]]:
    """Read a page of CSV into rows with the values that REST's JSON has: typed as described, None for empty.

    Raises PassingError for text that is cut short, and BulkRefusedError for a value that is not what its field's
    type promises.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_VALUE))
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    try:
        table = csv.reader(lines, strict=True)
        header = next(table, [])
        names = _names(header, schema)
        typed = [(at, name, read) for at, name in enumerate(names) if (read := _reader(schema, name)) is not None]
        return [_row(line, names, typed, schema) for line in table if line]
    except (csv.Error, UnicodeDecodeError):
        raise _cut_short() from None


def _names(header: list[str], schema: ObjectSchema) -> tuple[str, ...]:
    known = {field.name.lower(): field.name for field in schema.fields}
    unknown = next((name for name in header if name.lower() not in known), None)
    if unknown is not None:
        raise BulkLostError(
            f"The bulk job for {schema.object} was made for another description of the object (it has a column "
            f"{unknown!r}): it has to be started again."
        )
    return tuple(known[name.lower()] for name in header)


def _row(
    line: list[str], names: tuple[str, ...], typed: list[tuple[int, str, Reader]], schema: ObjectSchema
) -> dict[str, Any]:
    if len(line) != len(names):
        raise _cut_short()
    values: list[Any] = [text or None for text in line]
    for at, name, read in typed:
        text = values[at]
        if text is None:
            continue
        try:
            values[at] = read(text)
        except ValueError:
            raise BulkRefusedError(
                f"The Bulk API can't read {schema.object}, REST has to do it: a value of {name} is not in a form that "
                "is known for its type."
            ) from None
    return dict(zip(names, values, strict=True))


def _reader(schema: ObjectSchema, name: str) -> Reader | None:
    field = schema.field(name)
    return _READERS.get(field.type) if field is not None else None


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _integer(text: str) -> int:
    number = _real(text) if not text.isdecimal() else int(text)
    if number != int(number):
        raise ValueError
    return int(number)


def _real(text: str) -> float | Decimal:
    """Read a number as exactjson does: float where that keeps every digit, else Decimal."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError
    number = float(text)
    # a double keeps fifteen digits of any number; counting signs and points among them does no harm
    if len(text) <= 15 and "E" not in text and "e" not in text:
        return number
    exact = Decimal(text)
    return number if Decimal(repr(number)) == exact else exact


def _datetime(text: str) -> str:
    """Write a time the way REST does, `2024-01-22T16:26:15.000+0000`; Bulk likes to end it in Z."""
    if len(text) == 28 and text.endswith("+0000"):
        return text
    if len(text) == 24 and text.endswith("Z"):
        return text[:-1] + "+0000"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    at = moment.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"


_READERS: Mapping[str, Reader] = {
    "boolean": _boolean,
    "int": _integer,
    "long": _integer,
    "double": _real,
    "currency": _real,
    "percent": _real,
    "datetime": _datetime,
}


def _cut_short() -> PassingError:
    return PassingError("Salesforce's answer was cut short: try again.")


def _value(answer: Any, name: str) -> Any:
    try:
        return answer[name]
    except (KeyError, TypeError) as error:
        raise faults.silence(error) from error


def _header(headers: Mapping[str, str], name: str) -> str:
    try:
        return headers[name]
    except KeyError as error:
        raise faults.silence(error) from error
