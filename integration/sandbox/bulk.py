"""Bulk API 2.0 query jobs: a query that runs by itself, and its result in pages of CSV.

Nothing happens behind the scenes: a job moves one state on each time somebody looks at it. The rows of a query without
ORDER BY come in no particular order, as they do where Salesforce splits a query up.
"""

import random
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from integration.sandbox.answers import Answer, Call
from integration.sandbox.clock import stamp
from integration.sandbox.errors import OrgError, not_found
from integration.sandbox.evaluate import Column
from integration.sandbox.ids import is_id, record_id, to18
from integration.sandbox.project import Resolver
from integration.sandbox.query import run
from integration.sandbox.soql import Aggregate, AllFields, Name, Query, parse

if TYPE_CHECKING:
    from integration.sandbox.org import Org

_DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
_LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
_OPERATIONS = ("query", "queryAll")
_OVER = frozenset({"JobComplete", "Failed", "Aborted"})
_KEPT_FOR = timedelta(days=7)
_DEFAULT_PAGE = 50_000
_FROM = re.compile(r"\bFROM\s+(\w+)", re.IGNORECASE)
_SUBQUERY = re.compile(r"(?:\bSELECT|,)\s*\(\s*SELECT\b", re.IGNORECASE)
_TYPEOF = re.compile(r"(?:\bSELECT|,)\s*TYPEOF\b", re.IGNORECASE)


@dataclass(slots=True)
class Job:
    """A query job. `lines` is its result, a CSV line for each row, as the org was when the job ran."""

    id: str
    operation: str
    query: str
    entity: str
    version: str
    delimiter: str
    line_ending: str
    created: datetime
    changed: datetime
    state: str = "UploadComplete"
    looks: int = 0
    header: str = ""
    lines: list[str] = field(default_factory=list)
    error: str = ""


class BulkJobs:
    """The query jobs of one org. The caller holds the org's lock.

    polls    how many looks at a job it takes to see it complete; it runs at the first of them
    refused  names of objects that Bulk does not support, as it does not support some of Salesforce's own
    created  how many jobs were made
    failing  messages with which the next jobs fail, one each; an empty one has the job aborted instead
    allowed  how many jobs may be made in all
    """

    def __init__(self, org: "Org") -> None:
        self.polls = 2
        self.refused: set[str] = set()
        self.created = 0
        self.failing: deque[str] = deque()
        self.allowed = 10_000
        self._org = org
        self._jobs: dict[str, Job] = {}

    def create(self, call: Call) -> Answer:
        """POST jobs/query. Raises OrgError for what can be told from the request alone."""
        body = call.body if isinstance(call.body, dict) else {}
        soql = body.get("query")
        if not isinstance(soql, str) or not soql.strip():
            raise OrgError("INVALIDINPUT", "A query job needs a query")
        if body.get("contentType", "CSV") != "CSV":
            raise OrgError("INVALIDINPUT", "The only content type of query jobs is CSV")
        operation = _choice(body, "operation", _OPERATIONS)
        delimiter = _choice(body, "columnDelimiter", _DELIMITERS, "COMMA")
        line_ending = _choice(body, "lineEnding", _LINE_ENDINGS, "LF")
        self._refuse(soql)
        if self.created >= self.allowed:
            raise OrgError("LIMIT_EXCEEDED", "DailyBulkV2QueryJobs Limit exceeded.")
        self.created += 1
        now, found = self._org.clock.now(), _FROM.search(soql)
        entity = found[1] if found else ""
        key = record_id("750", self.created)
        job = Job(key, operation, soql, entity, call.version, delimiter, line_ending, now, now)
        self._jobs[key] = job
        return Answer(200, self._about(job))

    def forget(self) -> None:
        """Have all jobs gone, as after a week."""
        self._jobs.clear()

    def look(self, key: str) -> Answer:
        """GET jobs/query/ID: move the job on, and tell how it stands."""
        job = self._find(key)
        if job.state not in _OVER:
            job.looks += 1
            if job.state == "UploadComplete":
                self._run(job)
            if job.state == "InProgress" and job.looks >= self.polls:
                self._move(job, "JobComplete")
        more = {
            "jobType": "V2Query",
            "numberRecordsProcessed": len(job.lines),
            "retries": 0,
            "totalProcessingTime": 100 * job.looks,
            "isPkChunkingSupported": True,
        }
        return Answer(200, self._about(job) | more | ({"errorMessage": job.error} if job.error else {}))

    def jobs(self) -> Answer:
        """GET jobs/query: all jobs, the newest first. Looking at the list moves none of them on."""
        jobs = [self._about(job) | {"jobType": "V2Query"} for job in reversed(self._kept())]
        return Answer(200, {"done": True, "records": jobs, "nextRecordsUrl": None})

    def abort(self, key: str, call: Call) -> Answer:
        """PATCH jobs/query/ID with the state Aborted, the only one that can be asked for."""
        job = self._find(key)
        if not isinstance(call.body, dict) or call.body.get("state") != "Aborted":
            raise OrgError("INVALIDINPUT", "The state of a query job can only be set to Aborted")
        if job.state in _OVER:
            raise OrgError("INVALIDJOBSTATE", f"Aborting an already {job.state} job is not allowed")
        job.lines = []
        self._move(job, "Aborted")
        return Answer(200, self._about(job))

    def delete(self, key: str) -> Answer:
        """DELETE jobs/query/ID: the job and its result are gone."""
        job = self._find(key)
        if job.state not in _OVER:
            message = "Error encountered when deleting the job because the job is not terminated"
            raise OrgError("API_ERROR", message)
        del self._jobs[job.id]
        return Answer(204)

    def results(self, key: str, call: Call) -> Answer:
        """GET jobs/query/ID/results: one page of CSV, and in the headers the locator of the next one."""
        job = self._find(key)
        if job.version != call.version:
            message = f"The job was created with API version {job.version}, its results were asked with {call.version}"
            raise OrgError("INVALIDVERSION", message, status=409)
        if job.state != "JobComplete":
            raise OrgError("JOB_NOT_COMPLETE", f"The job has no results: its state is {job.state}", status=412)
        start = _offset(call.params.get("locator", ""), len(job.lines))
        end = start + _page_size(call.params.get("maxRecords", ""))
        page = job.lines[start:end]
        ending = _LINE_ENDINGS[job.line_ending]
        headers = {
            "Sforce-NumberOfRecords": str(len(page)),
            "Sforce-Locator": _locator(end) if end < len(job.lines) else "null",
        }
        text = "".join(line + ending for line in (job.header, *page))
        return Answer(200, text.encode(), headers, content_type="text/csv")

    # --- jobs -------------------------------------------------------------------------------------------

    def _kept(self) -> list[Job]:
        oldest = self._org.clock.now() - _KEPT_FOR
        self._jobs = {key: job for key, job in self._jobs.items() if job.created >= oldest}
        return [*self._jobs.values()]

    def _find(self, key: str) -> Job:
        self._kept()
        job = self._jobs.get(to18(key)) if is_id(key) else None
        if job is None:
            raise not_found()
        return job

    def _move(self, job: Job, state: str) -> None:
        job.state, job.changed = state, self._org.clock.now()

    def _about(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.entity,
            "createdById": self._org.default_user,
            "createdDate": stamp(job.created),
            "systemModstamp": stamp(job.changed),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version[1:]),
            "lineEnding": job.line_ending,
            "columnDelimiter": job.delimiter,
        }

    # --- queries ----------------------------------------------------------------------------------------

    def _refuse(self, soql: str) -> None:
        """Raise OrgError for a query that REST would answer and Bulk does not."""
        if _SUBQUERY.search(soql):
            raise _unsupported("Aggregate Relationships not supported in Bulk V2 Query with CSV content type")
        if _TYPEOF.search(soql):
            raise _unsupported("TYPEOF not supported in Bulk Query")
        try:
            query = parse(soql)
        except OrgError:
            return  # a malformed query gives a job, which fails
        self._refuse_parts(query)

    def _refuse_parts(self, query: Query) -> None:
        name = next((known for known in self._org.objects if known.lower() == query.entity.lower()), "")
        if name in self.refused:
            raise OrgError("INVALIDENTITY", f"Entity '{name}' is not supported by the Bulk API.")
        if query.group_by or any(isinstance(item, Aggregate) for item in query.select):
            raise _unsupported("Aggregate functions and GROUP BY not supported in Bulk Query")
        if query.offset:
            raise _unsupported("OFFSET not supported in Bulk Query")
        if any(isinstance(item, AllFields) for item in query.select):
            raise _unsupported("FIELDS functions not supported in Bulk Query")
        for item in query.select:
            field = self._org.visible_field(name, item.path[-1]) if name and isinstance(item, Name) else None
            if field is not None and field.parts and isinstance(item, Name) and len(item.path) == 1:
                raise _unsupported("Selecting compound data not supported in Bulk Query")

    def _run(self, job: Job) -> None:
        if self.failing:
            job.error = self.failing.popleft()
            self._move(job, "Failed" if job.error else "Aborted")
            return
        try:
            result = run(self._org, job.query, include_deleted=job.operation == "queryAll", version=job.version)
            query = parse(job.query)
            columns = _columns(self._org, query)
        except OrgError as error:
            job.error = f"InvalidBatch : Failed to process query: {error.code}: {error.message}"
            self._move(job, "Failed")
            return
        between = _DELIMITERS[job.delimiter]
        job.header = between.join(_quoted(".".join(column.path)) for column in columns)
        job.lines = [between.join(_values(columns, row)) for row in result.rows]
        if not query.order:
            random.Random(job.id).shuffle(job.lines)
        self._move(job, "InProgress")


def _columns(org: "Org", query: Query) -> list[Column]:
    name = next(known for known in org.objects if known.lower() == query.entity.lower())
    resolve = Resolver(org, name, query.text)
    columns = [resolve(item) for item in query.select if isinstance(item, Name)]
    if any(column.type in ("address", "location") for column in columns):
        raise _unsupported("Selecting compound data not supported in Bulk Query")
    return columns


def _values(columns: list[Column], row: Any) -> Iterator[str]:
    for column in columns:
        yield _quoted(_text(column.type, column.get(row)))


def _text(kind: str, value: Any) -> str:
    """A value in the words of Bulk's CSV; null and the empty text look the same."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    text = str(value)
    return text.removesuffix("+0000") + "Z" if kind == "datetime" else text


def _number(value: float) -> str:
    """A double the way Salesforce's servers write one: from ten million on, and below a thousandth, as 1.395E8."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    digits, _, exponent = f"{Decimal(repr(value)).normalize():E}".partition("E")
    return f"{digits if '.' in digits else digits + '.0'}E{int(exponent)}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _locator(offset: int) -> str:
    return urlsafe_b64encode(str(offset).encode()).decode().rstrip("=")


def _offset(locator: str, total: int) -> int:
    if not locator:
        return 0
    try:
        offset = int(urlsafe_b64decode(locator + "=" * (-len(locator) % 4)))
    except (Base64Error, ValueError):
        offset = -1
    if not 0 < offset < total:
        raise OrgError("INVALIDINPUT", f"Invalid locator: {locator}")
    return offset


def _page_size(text: str) -> int:
    if not text:
        return _DEFAULT_PAGE
    if not text.isdigit() or int(text) == 0:
        raise OrgError("INVALIDINPUT", f"maxRecords must be a positive number, not {text}")
    return int(text)


def _choice(body: dict[str, Any], name: str, choices: Any, default: str = "") -> str:
    given = body.get(name, default)
    if given not in choices:
        raise OrgError("INVALIDINPUT", f"{name} must be one of {', '.join(choices)}, not {given!r}")
    return str(given)


def _unsupported(message: str) -> OrgError:
    return OrgError("API_ERROR", message)
