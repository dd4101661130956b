"""Salesforce as headrace needs it: a handful of reading calls, whose failures are one sentence each."""

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import requests
import structlog
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession

from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.source import faults
from integration.source.credentials import SOAP_LOGIN_ENDS, Connection, LoginKind, login_kind
from integration.source.login import Token, log_in
from integration.source.session import session_for
from integration.source.soql import Soql, moment_of, stamp_of

QUERIES_PER_CALL = 5
"""How many queries one composite call may carry; together they cost one API call."""

_USAGE = re.compile(r"\bapi-usage=(\d+)/(\d+)", re.IGNORECASE)
_ORG_ID = re.compile(r"(00D[A-Za-z0-9]{12})(?:[A-Za-z0-9]{3})?!")
# What a server or proxy says that does not know the composite resource.
_NO_COMPOSITE = (400, 404, 405, 501)

T = TypeVar("T")


class Log(Protocol):
    """Where a sentence for the operator goes: a structlog logger or anything with its two methods."""

    def info(self, event: str, **values: Any) -> Any:
        """Tell."""

    def warning(self, event: str, **values: Any) -> Any:
        """Warn."""


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


class SalesforceClient:
    """One org, one login, one call at a time (calls from several threads wait for each other).

    Logs in when first needed, and once more when Salesforce says that a session of ours has expired. Every method
    that calls raises ConfigError (login, permission, address), UnreachableError (does not answer, or not now;
    DailyLimitError and BusyError say how long to wait) or RunError.
    """

    def __init__(
        self, connection: Connection, *, session: requests.Session | None = None, log: Log | None = None
    ) -> None:
        self._connection = connection
        self._kind = login_kind(connection)
        self._session = session if session is not None else session_for(connection)
        self._session.hooks["response"].append(self._note)
        self._log: Log = log if log is not None else structlog.get_logger("headrace.source")
        self._lock = threading.RLock()
        self._salesforce: Salesforce | None = None
        self._token: Token | None = None
        self._org_id: str | None = None
        self._server_time: str | None = None
        self._usage: tuple[int, int] | None = None
        self._has_composite = True
        self.calls = 0
        """REST calls made so far, logins not counted."""

    @property
    def org_id(self) -> str:
        """The org's 18-character id; the host where Salesforce does not tell it."""
        with self._lock:
            if self._org_id is None:
                self._login()
                self._org_id = self._find_org_id()
            return self._org_id

    @property
    def server_time(self) -> str:
        """Salesforce's clock as its last answer told it: a stamp in UTC, whole seconds."""
        with self._lock:
            if self._server_time is None:
                self._login()
            if self._server_time is None:
                self.limits()
            if self._server_time is None:
                raise UnreachableError(
                    "The answers carry no Date header: the address in salesforce.* is not Salesforce's."
                )
            return self._server_time

    @property
    def api_usage(self) -> tuple[int, int] | None:
        """(used, total) of the org's API calls in 24 hours, as last told; None before the first answer."""
        return self._usage

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._session.close()

    def objects(self) -> list[dict[str, Any]]:
        """List all objects that the login can see: the `sobjects` of the global describe."""
        return self._read(lambda a: list(a["sobjects"]), "sobjects", about="the list of objects")

    def describe(self, name: str) -> dict[str, Any]:
        """Describe an object. Raises UnknownObjectError if there is none of that name."""
        return self._read(dict, f"sobjects/{quote(name)}/describe", about=name, is_object=True)

    def limits(self) -> dict[str, Any]:
        """Read the org's limits: name -> {Max, Remaining}."""
        return self._read(dict, "limits", about="the org's limits")

    def query_pages(self, requests: Sequence[Soql]) -> list[Answer]:
        """Run queries (deleted rows included) and return their answers in the same order.

        Up to five travel in one composite call. A query that fails alone has its problem in its answer; what
        concerns all of them is raised.
        """
        answers: list[Answer] = []
        for start in range(0, len(requests), QUERIES_PER_CALL):
            packet = requests[start : start + QUERIES_PER_CALL]
            answers += self._composite(packet) if self._has_composite else self._one_by_one(packet)
        return answers

    def deleted(self, object_name: str, start: str, end: str) -> DeletedWindow:
        """Read the delete log between two stamps. Raises ReplicationWindowError if it does not reach so far."""
        window = {"start": _with_offset(start), "end": _with_offset(end)}
        path = f"sobjects/{quote(object_name)}/deleted/"
        return self._read(_deleted_window, path, about=object_name, is_object=True, params=window)

    def _composite(self, queries: Sequence[Soql]) -> list[Answer]:
        address = f"/services/data/v{self._connection.api_version}/queryAll?q="
        body = {
            "allOrNone": False,
            "compositeRequest": [
                {"method": "GET", "url": address + quote(query, safe=""), "referenceId": f"q{number}"}
                for number, query in enumerate(queries)
            ],
        }
        try:
            parts = self._read(
                lambda a: list(a["compositeResponse"]),
                "composite",
                about="a packet of queries",
                method="POST",
                json=body,
            )
        except _CompositeRefusedError:
            answers = self._one_by_one(queries)
            self._has_composite = False
            self._log.warning(
                "This server refuses composite calls: every query is a call of its own from now on, which uses up the "
                "API allowance up to five times as fast."
            )
            return answers
        if len(parts) != len(queries):
            raise faults.silence(ValueError("answers are missing"))
        return [self._answer(part, query) for part, query in zip(parts, queries, strict=True)]

    def _answer(self, part: Any, query: Soql) -> Answer:
        try:
            status, body = int(part["httpStatusCode"]), part["body"]
            if status < 300:
                return _rows(body)
        except (KeyError, TypeError, ValueError) as error:
            raise faults.silence(error) from error
        return Answer(problem=self._clean(faults.refusal(status, body, _object_of(query))))

    def _one_by_one(self, queries: Sequence[Soql]) -> list[Answer]:
        answers = []
        for query in queries:
            try:
                answers.append(self._read(_rows, "queryAll", about=_object_of(query), params={"q": query}))
            except (ConfigError, UnreachableError):
                raise
            except HeadraceError as problem:
                answers.append(Answer(problem=problem))
        return answers

    def _read(self, read: Callable[[Any], T], path: str, *, about: str, is_object: bool = False, **words: Any) -> T:
        """Call, and read the answer with `read`; an answer of another shape is not Salesforce's."""
        answer = self._call(path, about, is_object, words)
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise faults.silence(error) from error

    def _call(self, path: str, about: str, is_object: bool, words: dict[str, Any]) -> Any:
        with self._lock:
            for is_last in (False, True):
                try:
                    return self._restful(path, words)
                except SalesforceError as error:
                    if is_last or not self._can_log_in_again(error):
                        raise self._translate(error, path, about, is_object) from None
                except (requests.RequestException, ValueError, TypeError, KeyError) as error:
                    raise faults.silence(error) from error
                self._salesforce = None
        raise AssertionError("the second attempt returns or raises")

    def _restful(self, path: str, words: dict[str, Any]) -> Any:
        salesforce = self._login()
        self.calls += 1
        # Pretty printing, simple-salesforce's default, makes answers a third larger.
        return salesforce.restful(path, headers={"X-PrettyPrint": "0"}, **words)

    def _login(self) -> Salesforce:
        if self._salesforce is None:
            if self._kind is LoginKind.PASSWORD and self._token is None:
                self._log.warning(
                    f"Logging in with a password: Salesforce retires that with {SOAP_LOGIN_ENDS}; move to "
                    "client credentials (salesforce.domain, consumer_key, consumer_secret)."
                )
            try:
                self._token = log_in(self._connection, self._session)
            except HeadraceError as error:
                raise self._clean(error) from error.__cause__
            # Given a token, simple-salesforce never logs in again by itself.
            self._salesforce = Salesforce(
                session_id=self._token.session_id.get_secret_value(),
                instance_url=f"https://{self._token.instance}",
                session=self._session,
                version=self._connection.api_version,
                object_pairs_hook=dict,
            )
        return self._salesforce

    def _can_log_in_again(self, error: SalesforceError) -> bool:
        code, message = faults.code_and_message(error.content)
        return (
            isinstance(error, SalesforceExpiredSession)
            and self._kind is not LoginKind.SESSION
            and code == "INVALID_SESSION_ID"
            and "REST API" not in message
        )

    def _translate(self, error: SalesforceError, path: str, about: str, is_object: bool) -> HeadraceError:
        code, message = faults.code_and_message(error.content)
        if path == "composite" and error.status in _NO_COMPOSITE:
            return _CompositeRefusedError("This server refuses composite calls.")
        if self._kind is LoginKind.SESSION and code == "INVALID_SESSION_ID" and "REST API" not in message:
            return ConfigError(
                "The access token in salesforce.session_id has expired or is not valid: set a new one, or give "
                "salesforce.consumer_key and consumer_secret so that headrace can log in by itself."
            )
        return self._clean(faults.refusal(error.status, error.content, about, is_object=is_object))

    def _clean(self, error: HeadraceError) -> HeadraceError:
        """Blot out secrets, should Salesforce have quoted one."""
        text = str(error)
        token = (self._token.session_id.get_secret_value(),) if self._token else ()
        for secret in (*self._connection.secrets, *token):
            text = text.replace(secret, "***")
        return error if text == str(error) else type(error)(text)

    def _find_org_id(self) -> str:
        assert self._token is not None  # noqa: S101 - the caller has logged in
        named = _ORG_ID.match(self._token.session_id.get_secret_value())
        if named:
            return long_id(named[1])
        try:
            answer = self._read(_rows, "query", about="Organization", params={"q": "SELECT Id FROM Organization"})
            return long_id(str(answer.records[0]["Id"]))
        except (ConfigError, RunError, faults.UnknownObjectError, IndexError, KeyError):
            return self._token.instance

    def _note(self, response: requests.Response, **_words: Any) -> None:
        """Keep what every answer tells beside its body."""
        with suppress(KeyError, ValueError, TypeError):
            self._server_time = stamp_of(parsedate_to_datetime(response.headers["Date"]))
        usage = _USAGE.search(response.headers.get("Sforce-Limit-Info", ""))
        if usage:
            self._usage = int(usage[1]), int(usage[2])


class _CompositeRefusedError(HeadraceError):
    pass


def long_id(short: str) -> str:
    """Return the 18-character form of a 15-character id: three check characters encode the capitals."""
    if len(short) != 15:
        return short
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    blocks = (short[0:5], short[5:10], short[10:15])
    return short + "".join(
        alphabet[sum(1 << k for k, c in enumerate(b) if c.isascii() and c.isupper())] for b in blocks
    )


def _rows(body: Any) -> Answer:
    return Answer(records=list(body["records"]), done=bool(body.get("done", True)))


def _deleted_window(body: Any) -> DeletedWindow:
    return DeletedWindow(
        records=[(str(r["id"]), str(r["deletedDate"])) for r in body["deletedRecords"]],
        earliest_available=body.get("earliestDateAvailable"),
        latest_covered=body.get("latestDateCovered"),
    )


def _with_offset(stamp: str) -> str:
    return moment_of(stamp).isoformat(timespec="seconds")


def _object_of(query: Soql) -> str:
    found = re.search(r"\bFROM\s+(\w+)", query, re.IGNORECASE)
    return found[1] if found else "a query"
