"""Salesforce's refusals and silences as our errors: one sentence each, by what to do next. Pure.

UsageError        UnknownObjectError      no such object, or not for this login
ConfigError                               refused logins, missing permissions, wrong versions
UnreachableError  DailyLimitError         the org's daily calls are used up: stop for many minutes
                  PassingError            an answer that is no good just now: ask again in a moment
                    BusyError             too much at once: come back in half a minute
RunError          InvalidFieldError       a field went away: describe the object again
                  QueryTimeoutError       ask for less at once
                  ReplicationWindowError  the delete log does not reach back that far
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import requests
import urllib3

from integration.core.budget import Trouble
from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError, UsageError
from integration.source.session import NotJSONError

LONGEST_QUOTE = 300


class UnknownObjectError(UsageError):
    """The org has no object of that name that this login may read."""


class DailyLimitError(UnreachableError):
    """The daily API calls of the whole org are used up."""


class PassingError(UnreachableError):
    """Salesforce is there, but its answer is no good: cut short, a maintenance page. Worth asking again at once."""


class BusyError(PassingError):
    """Too many long calls at once, or too many calls in a short time."""


class InvalidFieldError(RunError):
    """A query named a field that is not there any more, or no longer for this login."""


class QueryTimeoutError(RunError):
    """A query ran too long or was too complicated."""


class ReplicationWindowError(RunError):
    """The delete log refused a window: it does not reach back that far, or lists too much."""


def trouble_of(error: UnreachableError) -> Trouble:
    """Say what kind of trouble an error is, for how long to wait before the next cycle."""
    if isinstance(error, DailyLimitError):
        return Trouble.DAILY_LIMIT
    return Trouble.BUSY if isinstance(error, BusyError) else Trouble.UNREACHABLE


def code_and_message(content: Any) -> tuple[str, str]:
    """Read an error body of any of Salesforce's forms; ("", "") for anything else (a web page)."""
    if isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, dict):
        return "", ""
    code = content.get("errorCode") or content.get("exceptionCode") or content.get("error") or ""
    message = content.get("message") or content.get("exceptionMessage") or content.get("error_description") or ""
    return str(code), _one_line(str(message))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_QUOTE]


class Said(NamedTuple):
    """A refusal: what was asked (the middle of a sentence, or an object's name), and Salesforce's words."""

    about: str
    code: str
    message: str

    @property
    def quote(self) -> str:
        """The words in brackets, with the space before them; empty if there are none."""
        words = ": ".join(part for part in (self.code, self.message.rstrip(".")) if part)
        return f" ({words})" if words else ""


def refusal(status: int, content: Any, about: str, *, is_object: bool = False) -> HeadraceError:
    """Translate a REST answer of status 300 or more.

    `about` says what was asked, as the middle of a sentence; `is_object` that it is the name of an object.
    """
    said = Said(about, *code_and_message(content))
    build = _no_object if is_object and said.code == "NOT_FOUND" else _BY_CODE.get(said.code)
    if build is None and said.code.startswith("INSUFFICIENT_ACCESS"):
        build = _no_access
    return build(said) if build is not None else _by_status(status, said)


def silence(error: Exception) -> UnreachableError:
    """Translate an answer that did not come, or can't be read."""
    if isinstance(error, NotJSONError):
        if not error.is_page:
            return PassingError("Salesforce's answer was cut short: try again.")
        return PassingError(
            "Salesforce answered with a web page instead of data: maintenance, or a proxy's page in between; try "
            "again later, and check salesforce.domain, salesforce.instance_url and salesforce.base_url."
        )
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)):
        return PassingError("The connection to Salesforce broke in the middle of an answer: try again.")
    if not isinstance(error, requests.RequestException):
        return UnreachableError(
            "The answer is not one that Salesforce gives: check salesforce.domain, salesforce.instance_url and "
            "salesforce.base_url."
        )
    return UnreachableError(f"Can't reach {_host(error)}: {_reason(error)}.")


def login_refusal(code: str | int | None, message: str | None) -> HeadraceError:
    """Translate a refused login. A number as the code is the HTTP status of an answer that was not JSON."""
    if isinstance(code, int):
        # With status 200 it is a maintenance page, or half a token.
        return (PassingError if code < 300 else UnreachableError)(
            f"Salesforce's login answered with a web page instead of a token (HTTP {code}): maintenance, or the wrong "
            "address; check salesforce.domain and salesforce.base_url, or try again later."
        )
    word = (code or "").rsplit(":", 1)[-1]
    said = Said("the login", word, _one_line(message or ""))
    if word in ("server_error", "temporarily_unavailable", "SERVER_UNAVAILABLE", "rate_limit_exceeded"):
        return UnreachableError(f"Salesforce can't log anybody in now{said.quote}: try again later.")
    return ConfigError(f"Salesforce refused the login{said.quote}: {_login_remedy(said)}.")


def _login_remedy(said: Said) -> str:
    words = said.message.lower()
    if "approved" in words:
        return "pre-authorise the user for the app (its policies: permitted users, profiles or permission sets)"
    if "user" in words and "client credentials" in words:
        return "turn on the app's client-credentials flow and choose its run-as user"
    if said.code in ("invalid_client", "invalid_client_id"):
        return "check salesforce.consumer_key and salesforce.consumer_secret against the app"
    if "audience" in words:
        return "check salesforce.domain (`login`, `test` or the prefix of My Domain)"
    if said.code == "invalid_grant" and ("assertion" in words or "expired" in words):
        return (
            "check that the app has the certificate of salesforce.private_key_file, and that this machine's "
            "clock is right"
        )
    return (
        "check salesforce.domain, the user and the secrets, and that the user may log in from this network "
        "(Setup, Login History, tells why it was refused)"
    )


def _by_status(status: int, said: Said) -> HeadraceError:
    if status in (414, 431):
        return ConfigError(
            f"The query for {said.about} is too long to be sent in an address: leave fields out with "
            "objects.<Name>.exclude."
        )
    if status == 429:
        return BusyError("Salesforce says that there were too many calls in a short time: wait, then try again.")
    if status == 401:
        return ConfigError(f"Salesforce does not accept this login{said.quote}: check the settings salesforce.*.")
    if status >= 500 or not said.code:
        return UnreachableError(
            f"Salesforce is not available now (HTTP {status} for {said.about}): try again later; "
            "status.salesforce.com tells of maintenance."
        )
    if status == 404:
        return ConfigError(
            f"Salesforce has nothing at the address of {said.about}{said.quote}: check salesforce.api_version and "
            "the instance's address."
        )
    return RunError(f"Salesforce refused {said.about}{said.quote}.")


def _limit(said: Said) -> HeadraceError:
    if "concurrent" in said.message.lower():
        return BusyError("The org runs too many long calls at once just now: wait, then try again.")
    return DailyLimitError(
        "The org's daily API calls are used up: they come back over the next 24 hours; lower "
        "salesforce.api_budget_percent or poll less often."
    )


def _no_access(said: Said) -> HeadraceError:
    return ConfigError(
        f"This login may not read {said.about}{said.quote}: give its user the permission (API Enabled, View All Data "
        "or read access to the objects)."
    )


def _no_object(said: Said) -> HeadraceError:
    return UnknownObjectError(
        f"The org has no object '{said.about}' that this login may read: check the name (`headrace schema` lists "
        "them) and the user's permissions."
    )


def _session(said: Said) -> HeadraceError:
    if "REST API" in said.message:
        return ConfigError(
            "This session is not valid for use with the REST API, and a new login would not change that: give the "
            "user the permission API Enabled and the app the scope `api`."
        )
    return ConfigError(
        "Salesforce does not accept the session it has just given (INVALID_SESSION_ID): check the user's session "
        "settings and login policies."
    )


def _too_slow(said: Said) -> HeadraceError:
    return QueryTimeoutError(
        f"The query for {said.about} ran too long{said.quote}: leave fields out with objects.{said.about}.exclude."
    )


def _no_field(said: Said) -> HeadraceError:
    return InvalidFieldError(
        f"A field of {said.about} is not there any more{said.quote}: the object has to be described again."
    )


def _no_window(said: Said) -> HeadraceError:
    return ReplicationWindowError(f"The delete log of {said.about} can't answer for this window{said.quote}.")


def _no_version(_said: Said) -> HeadraceError:
    return ConfigError("Salesforce has retired this API version: set salesforce.api_version to a current one.")


_BY_CODE: dict[str, Callable[[Said], HeadraceError]] = {
    "REQUEST_LIMIT_EXCEEDED": _limit,
    "API_DISABLED_FOR_ORG": _no_access,
    "API_CURRENTLY_DISABLED": _no_access,
    "INVALID_TYPE": _no_object,
    "INVALID_SESSION_ID": _session,
    "QUERY_TIMEOUT": _too_slow,
    "QUERY_TOO_COMPLICATED": _too_slow,
    "INVALID_FIELD": _no_field,
    "INVALID_REPLICATION_DATE": _no_window,
    "EXCEEDED_ID_LIMIT": _no_window,
    "UNSUPPORTED_API_VERSION": _no_version,
}


def _host(error: requests.RequestException) -> str:
    url = error.request.url if error.request is not None else None
    return (urllib3.util.parse_url(str(url)).netloc if url else None) or "Salesforce"


def _reason(error: requests.RequestException) -> str:
    """Say why in words; the exception's own text holds addresses and object dumps."""
    chain = _chain(error)
    for kind, words in _REASONS:
        if any(isinstance(e, kind) for e in chain):
            return words
    return "the connection broke; try again"


_REASONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (
        (requests.exceptions.SSLError, urllib3.exceptions.SSLError),
        "the TLS certificate is not trusted or the server does not speak TLS; check the address and salesforce.ca_file",
    ),
    (urllib3.exceptions.NameResolutionError, "the host name does not exist; check salesforce.domain"),
    (
        (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError),
        "the proxy does not answer; check the proxy settings of this machine",
    ),
    # before the timeouts: urllib3 counts a refused connection as one
    (
        (ConnectionRefusedError, urllib3.exceptions.NewConnectionError),
        "nothing listens there; check the address, or start the server",
    ),
    (
        (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError),
        "it took the request but did not answer in time; try again later",
    ),
    (
        (requests.exceptions.Timeout, urllib3.exceptions.ConnectTimeoutError),
        "it does not answer; check the network and the address",
    ),
)


def _chain(error: BaseException) -> list[BaseException]:
    """List the exception with everything it wraps: requests keeps urllib3's in args, urllib3 in `reason`."""
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        next_one = todo.pop()
        if isinstance(next_one, BaseException) and next_one not in found:
            found.append(next_one)
            todo += [*next_one.args, getattr(next_one, "reason", None), next_one.__cause__, next_one.__context__]
    return found
