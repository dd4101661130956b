"""Salesforce as headrace needs it: a handful of reading calls, whose failures are one sentence each."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlencode

import requests
import structlog
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession
from simple_salesforce.util import exception_handler

from integration import tracing
from integration.core.ids import long_id
from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.source import composite, faults
from integration.source.answers import Answer, DeletedWindow, deleted_window, rows, shaped
from integration.source.composite import QUERIES_PER_CALL, RESOURCES_PER_CALL, Part
from integration.source.credentials import SOAP_LOGIN_ENDS, Connection, LoginKind, login_kind
from integration.source.login import Token, log_in
from integration.source.patience import Patience
from integration.source.session import NotJSONError, session_for
from integration.source.soql import Soql, moment_of, stamp_of

__all__ = ["QUERIES_PER_CALL", "RESOURCES_PER_CALL", "Answer", "DeletedWindow", "Log", "SalesforceClient"]

LOGINS_IN_A_ROW = 3
"""So many sessions may be refused one after the other before it is called a matter of settings."""

_USAGE = re.compile(r"\bapi-usage=(\d+)/(\d+)", re.IGNORECASE)
_ORG_ID = re.compile(r"(00D[A-Za-z0-9]{12})(?:[A-Za-z0-9]{3})?!")
_WHOLE_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")

T = TypeVar("T")


class Log(Protocol):
    """Where a sentence for the operator goes: a structlog logger or anything with its two methods."""

    def info(self, event: str, **values: Any) -> Any:
        """Tell."""

    def warning(self, event: str, **values: Any) -> Any:
        """Warn."""


class _Asked(NamedTuple):
    """A resource of an object: its name, and the path with its query."""

    about: str
    path: str


class SalesforceClient:
    """One org, one login, one call at a time (calls from several threads wait for each other).

    Logs in when first needed, and again when Salesforce says that a session of ours has ended: once for each such
    answer, and three times in a row at most. An answer that is no good (cut short, a maintenance page, "too many at
    once") is asked for again, four times in 45 s at most; `sleep` waits between them. Every method that calls raises
    ConfigError (login, permission, address), UnreachableError (does not answer, or not now; `faults.trouble_of` says
    for how long to leave it alone) or RunError.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        session: requests.Session | None = None,
        log: Log | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._kind = login_kind(connection)
        self._session = session if session is not None else session_for(connection)
        self._session.hooks["response"].append(self._note)
        self._log: Log = log if log is not None else structlog.get_logger("headrace.source")
        self._patience = Patience(sleep, self._tell_wait)
        self._lock = threading.RLock()
        self._salesforce: Salesforce | None = None
        self._token: Token | None = None
        self._org_id: str | None = None
        self._server_time: str | None = None
        self._usage: tuple[int, int] | None = None
        self._heard: Mapping[str, str] = {}
        self._has_composite = True
        self._composite_answered = False
        self._travels_together: dict[str, bool] = {}
        self._refused_sessions = 0
        self.calls = 0
        """REST calls made so far, logins not counted."""
        self.logins = 0
        """Logins tried so far; a token of one's own is none."""

    @property
    def org_id(self) -> str:
        """The org's 18-character id; the host where Salesforce does not tell it."""
        with self._lock:
            if self._org_id is None:
                self._patience(self._login)
                self._org_id = self._find_org_id()
            return self._org_id

    @property
    def server_time(self) -> str:
        """Salesforce's clock as its last answer told it: a stamp in UTC, whole seconds."""
        with self._lock:
            if self._server_time is None:
                self._patience(self._login)
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
        return self._read(dict, _describe_path(name), about=name, is_object=True)

    def describes(self, names: Sequence[str]) -> dict[str, dict[str, Any] | HeadraceError]:
        """Describe several objects, 25 in a call: name -> its description, or the problem that it alone has.

        What concerns all of them is raised.
        """
        asked = [_Asked(name, _describe_path(name)) for name in dict.fromkeys(names)]
        found = self._each("describe", asked, dict)
        return dict(zip((one.about for one in asked), found, strict=True))

    def limits(self) -> dict[str, Any]:
        """Read the org's limits: name -> {Max, Remaining}."""
        return self._read(dict, "limits", about="the org's limits")

    def rest(self, path: str, *, method: str = "GET", about: str, is_object: bool = False, **words: Any) -> Any:
        """Call a resource below `/services/data/vNN.0/` and return its JSON; None for an answer without a body.

        `words` are `json` and `params`, as requests takes them. `about` is what is asked, for sentences of errors;
        with `is_object` a NOT_FOUND becomes an UnknownObjectError.
        """
        return self._patience(lambda: self._call(path, about, is_object, {"method": method, **words}))

    def download(
        self,
        path: str,
        read: Callable[[Mapping[str, str], bytes], T],
        *,
        params: Mapping[str, str],
        about: str,
        is_object: bool = False,
    ) -> T:
        """GET what is no JSON, and return what `read` makes of its headers (names in any case) and its body.

        A PassingError that `read` raises is a reason to ask again.
        """
        return self._patience(lambda: read(*self._call(path, about, is_object, {"params": params}, self._fetch)))

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
        return self._read(deleted_window, _deleted_path(object_name, start, end), about=object_name, is_object=True)

    def deleted_windows(self, asked: Sequence[tuple[str, str, str]]) -> list[DeletedWindow | HeadraceError]:
        """Read the delete logs of several objects, 25 in a call: (object, start, end) each, the answers in that order.

        A problem of one object (UnknownObjectError, ReplicationWindowError, another RunError) stands in its place; what
        concerns all of them is raised.
        """
        return self._each("delete log", [_Asked(one[0], _deleted_path(*one)) for one in asked], deleted_window)

    def _composite(self, queries: Sequence[Soql]) -> list[Answer]:
        try:
            parts = self._together([f"queryAll?q={quote(query, safe='')}" for query in queries])
        except _CompositeRefusedError:
            answers = self._one_by_one(queries)
            self._has_composite = False
            self._log.warning(
                "This server refuses composite calls: every query is a call of its own from now on, which uses up the "
                "API allowance up to five times as fast."
            )
            return answers
        return [self._answer(part, query) for part, query in zip(parts, queries, strict=True)]

    def _answer(self, part: Part, query: Soql) -> Answer:
        if not part.is_good:
            return Answer(problem=self._clean(part.problem(_object_of(query))))
        return shaped(rows, part.body)

    def _together(self, paths: Sequence[str]) -> list[Part]:
        """Ask for several resources in one call. Parts that met passing trouble are asked for again, the others not."""
        parts: dict[int, Part] = {}

        def ask() -> None:
            todo = [n for n in range(len(paths)) if n not in parts or parts[n].passing]
            body = composite.body_of(self._connection.api_version, [paths[n] for n in todo])
            answer = self._call("composite", "a packet of requests", False, {"method": "POST", "json": body})
            parts.update(zip(todo, shaped(lambda a: composite.parts_of(a, len(todo)), answer), strict=True))
            self._composite_answered = True
            for n in todo:
                if trouble := parts[n].passing:
                    raise trouble

        try:
            self._patience(ask)
        except UnreachableError:
            if len(parts) < len(paths):
                raise
        return [parts[n] for n in range(len(paths))]

    def _each(self, kind: str, asked: Sequence[_Asked], read: Callable[[Any], T]) -> list[T | HeadraceError]:
        """Ask for one resource of each object, 25 in a call where the server lets them travel together."""
        found: list[T | HeadraceError] = []
        for start in range(0, len(asked), RESOURCES_PER_CALL):
            packet = asked[start : start + RESOURCES_PER_CALL]
            together = self._packet(kind, packet, read) if len(packet) > 1 else None
            found += together if together is not None else self._singly(packet, read)
        return found

    def _packet(self, kind: str, asked: Sequence[_Asked], read: Callable[[Any], T]) -> list[T | HeadraceError] | None:
        """Ask for all in one call; None if that does not work here."""
        if not self._has_composite or self._travels_together.get(kind) is False:
            return None
        try:
            parts = self._together([one.path for one in asked])
        except _CompositeRefusedError:
            self._stop_packing(kind)
            return None
        if any(part.is_good for part in parts):
            self._travels_together[kind] = True
        if not self._travels_together.get(kind) and all(part.is_unclear for part in parts):
            # "Not found" may mean the objects, or that such a thing is not to be asked for in a packet.
            singly = self._singly(asked, read)
            if not all(isinstance(one, HeadraceError) for one in singly):
                self._stop_packing(kind)
            return singly
        return [self._result(part, one, read) for part, one in zip(parts, asked, strict=True)]

    def _stop_packing(self, kind: str) -> None:
        self._travels_together[kind] = False
        self._log.info(f"This server answers no {kind} inside a composite call: each is a call of its own from now on.")

    def _result(self, part: Part, asked: _Asked, read: Callable[[Any], T]) -> T | HeadraceError:
        if part.is_good:
            return shaped(read, part.body)
        return _of_one(self._clean(part.problem(asked.about, is_object=True)))

    def _singly(self, asked: Sequence[_Asked], read: Callable[[Any], T]) -> list[T | HeadraceError]:
        found: list[T | HeadraceError] = []
        for one in asked:
            try:
                found.append(self._read(read, one.path, about=one.about, is_object=True))
            except HeadraceError as problem:
                found.append(_of_one(problem))
        return found

    def _one_by_one(self, queries: Sequence[Soql]) -> list[Answer]:
        answers = []
        for query in queries:
            try:
                answers.append(self._read(rows, "queryAll", about=_object_of(query), params={"q": query}))
            except HeadraceError as problem:
                answers.append(Answer(problem=_of_one(problem)))
        return answers

    def _read(self, read: Callable[[Any], T], path: str, *, about: str, is_object: bool = False, **words: Any) -> T:
        """Call, patiently, and read the answer with `read`; an answer of another shape is not Salesforce's."""
        return self._patience(lambda: shaped(read, self._call(path, about, is_object, words)))

    def _call(
        self,
        path: str,
        about: str,
        is_object: bool,
        words: dict[str, Any],
        send: Callable[[str, dict[str, Any]], Any] | None = None,
    ) -> Any:
        """Call once, or once more for each session that has ended."""
        with self._lock:
            while True:
                try:
                    with tracing.span("salesforce call", about=about):
                        answer = (send or self._restful)(path, words)
                except SalesforceError as error:
                    if faults.code_and_message(error.content)[0]:
                        self._believe()
                    if not self._can_log_in_again(error):
                        raise self._translate(error, path, about, is_object) from None
                except (requests.RequestException, ValueError, TypeError, KeyError) as error:
                    raise faults.silence(error) from error
                else:
                    self._refused_sessions = 0
                    self._believe()
                    return answer
                self._salesforce = None

    def _restful(self, path: str, words: dict[str, Any]) -> Any:
        salesforce = self._login()
        self.calls += 1
        # Pretty printing, simple-salesforce's default, makes answers a third larger.
        return salesforce.restful(path, headers={"X-PrettyPrint": "0"}, **words)

    def _fetch(self, path: str, words: dict[str, Any]) -> tuple[Mapping[str, str], bytes]:
        salesforce = self._login()
        self.calls += 1
        response = self._session.get(salesforce.base_url + path, headers=salesforce.headers, **words)
        if response.status_code >= 300:
            exception_handler(response, name=path)
        if "html" in response.headers.get("Content-Type", ""):
            raise NotJSONError(is_page=True)
        return response.headers, response.content

    def _login(self) -> Salesforce:
        if self._salesforce is None:
            if self._kind is LoginKind.PASSWORD and self._token is None:
                self._log.warning(
                    f"Logging in with a password: Salesforce retires that with {SOAP_LOGIN_ENDS}; move to "
                    "client credentials (salesforce.domain, consumer_key, consumer_secret)."
                )
            self.logins += self._kind is not LoginKind.SESSION
            try:
                self._token = log_in(self._connection, self._session)
            except HeadraceError as error:
                raise self._clean(error) from error.__cause__
            self._believe()
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
        if not isinstance(error, SalesforceExpiredSession):
            self._refused_sessions = 0  # whatever it refuses, it knows the session
            return False
        if self._kind is LoginKind.SESSION or code != "INVALID_SESSION_ID" or "REST API" in message:
            return False
        self._refused_sessions += 1
        return self._refused_sessions < LOGINS_IN_A_ROW

    def _translate(self, error: SalesforceError, path: str, about: str, is_object: bool) -> HeadraceError:
        content: Any = error.content  # what the types of simple-salesforce call bytes is parsed JSON, or text
        if isinstance(content, str) and "json" in self._heard.get("Content-Type", ""):
            return faults.silence(NotJSONError(is_page=False))  # half a refusal says nothing
        code, message = faults.code_and_message(error.content)
        # Where a packet has been answered before, a page without a code is some proxy's bad moment.
        if path == "composite" and error.status in composite.REFUSED and (code or not self._composite_answered):
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
            answer = self._read(rows, "query", about="Organization", params={"q": "SELECT Id FROM Organization"})
            return long_id(str(answer.records[0]["Id"]))
        except (ConfigError, RunError, faults.UnknownObjectError, IndexError, KeyError):
            return self._token.instance

    def _tell_wait(self, seconds: float, error: BaseException | None) -> None:
        self._log.info("asking Salesforce again", in_seconds=round(seconds, 1), detail=str(error))

    def _note(self, response: requests.Response, **_words: Any) -> None:
        self._heard = response.headers

    def _believe(self) -> None:
        """Keep what the answer told beside its body; not before that has come whole, for headers can be cut off too."""
        heard, self._heard = self._heard, {}
        date = _WHOLE_DATE.fullmatch(heard.get("Date", "").strip())
        if date:
            with suppress(ValueError):
                self._server_time = stamp_of(parsedate_to_datetime(date[0]))
        usage = _USAGE.search(heard.get("Sforce-Limit-Info", ""))
        if usage:
            self._usage = int(usage[1]), int(usage[2])


class _CompositeRefusedError(HeadraceError):
    pass


def _of_one(problem: HeadraceError) -> HeadraceError:
    """Give back a problem of one object or query; raise one that concerns them all."""
    if isinstance(problem, (ConfigError, UnreachableError)):
        raise problem
    return problem


def _describe_path(name: str) -> str:
    return f"sobjects/{quote(name, safe='')}/describe"


def _deleted_path(name: str, start: str, end: str) -> str:
    window = urlencode({"start": _with_offset(start), "end": _with_offset(end)})
    return f"sobjects/{quote(name, safe='')}/deleted/?{window}"


def _with_offset(stamp: str) -> str:
    return moment_of(stamp).isoformat(timespec="seconds")


def _object_of(query: Soql) -> str:
    found = re.search(r"\bFROM\s+(\w+)", query, re.IGNORECASE)
    return found[1] if found else "a query"
