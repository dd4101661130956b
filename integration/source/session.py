"""The HTTP session under every Salesforce call: time limits, retries, where requests really go, exact JSON."""

import ipaddress
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from integration.core import exactjson
from integration.errors import ConfigError
from integration.source.credentials import Connection

TIMEOUT = (5.0, 120.0)
"""Seconds to wait for a connection (tried three times), and for each piece of an answer."""

_LONGEST_RETRY_AFTER = 20.0
_PIECE = 1 << 20


class NotJSONError(requests.exceptions.JSONDecodeError):
    """An answer that should have been JSON and is not; it never carries the answer's text.

    `is_page` tells a page meant for people from half a document.
    """

    def __init__(self, *, is_page: bool) -> None:
        super().__init__("not JSON", "", 0)
        self.is_page = is_page


class ExactResponse(requests.Response):
    """A response whose numbers are exact, whatever hooks the caller asks for."""

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Any:
        """Read the body in pieces; large ones, because unpacking a page 10 kB at a time costs more than parsing it."""
        return super().iter_content(max(chunk_size or 0, _PIECE), decode_unicode)

    def json(self, **_hooks: Any) -> Any:
        """Read the body. Raises NotJSONError."""
        try:
            return exactjson.loads(self.content)
        except ValueError:
            raise NotJSONError(is_page=self._is_page()) from None

    def _is_page(self) -> bool:
        text = self.content.lstrip()
        # An answer cut off in its headers has no type and no body.
        return text[:1] == b"<" or bool(text and "json" not in self.headers.get("Content-Type", ""))


class PatientRetry(urllib3.Retry):
    """urllib3's retry with two limits more.

    A Retry-After of more than 20 s is not waited for: the answer itself is handed on. An answer that did not come in
    time is asked for once more only, for each time costs two minutes.
    """

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: urllib3.connectionpool.ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Count an attempt. Raises MaxRetryError when it was the last."""
        rule = self
        if response is not None and (self.get_retry_after(response) or 0) > _LONGEST_RETRY_AFTER:
            rule = self.new(total=0)
        elif _is_slow(error) and any(_is_slow(past.error) for past in self.history):
            rule = self.new(read=0)
        return super(PatientRetry, rule).increment(method, url, response, error, _pool, _stacktrace)


def _is_slow(error: Exception | None) -> bool:
    return isinstance(error, urllib3.exceptions.ReadTimeoutError)


def patient_retry(backoff_seconds: float = 0.5) -> PatientRetry:
    """Return the retry rule: five tries after a passing server error, fewer when nobody answers at all.

    Every method is repeated: our POSTs are logins, composite queries and bulk query jobs, and all may be sent twice.
    """
    return PatientRetry(
        total=5,
        connect=2,
        other=2,
        status=5,
        backoff_factor=backoff_seconds,
        backoff_jitter=backoff_seconds,
        backoff_max=30.0,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,  # the last answer says more than "too many retries"
    )


class SalesforceAdapter(HTTPAdapter):
    """Sends what is meant for `https://<anything>` to `base` when there is one, and reads JSON exactly."""

    def __init__(
        self, retry: urllib3.Retry, *, base: SplitResult | None = None, trust: ssl.SSLContext | None = None
    ) -> None:
        self._base = base
        self._trust = trust
        super().__init__(max_retries=retry)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the pool with the extra certificate authority in it."""
        if self._trust is not None:
            pool_kwargs["ssl_context"] = self._trust
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """The same for connections through a proxy."""
        if self._trust is not None:
            proxy_kwargs["ssl_context"] = self._trust
        return super().proxy_manager_for(proxy, **proxy_kwargs)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send, to the base if there is one, within the time limits: simple-salesforce sets none of its own."""
        if self._base is not None and request.url is not None:
            asked = urlsplit(request.url)
            path = self._base.path.rstrip("/") + asked.path
            request.url = asked._replace(scheme=self._base.scheme, netloc=self._base.netloc, path=path).geturl()
        return super().send(request, stream, timeout or TIMEOUT, verify, cert, proxies)

    def build_response(self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse) -> ExactResponse:
        """Build the response, reading JSON our way."""
        exact = ExactResponse()
        exact.__dict__.update(super().build_response(req, resp).__dict__)
        return exact


def session_for(connection: Connection, *, retry: urllib3.Retry | None = None) -> requests.Session:
    """Return the session for a connection. Raises ConfigError for an unusable base_url or ca_file."""
    base = _base(connection.base_url)
    session = requests.Session()
    session.mount("https://", SalesforceAdapter(retry or patient_retry(), base=base, trust=_trust(connection)))
    if base is not None:
        session.trust_env = False  # a proxy of the environment must not catch what is meant for the base
    return session


def _base(base_url: str | None) -> SplitResult | None:
    if not base_url:
        return None
    try:
        base = urlsplit(base_url)
        host, _port = base.hostname, base.port
    except ValueError:
        host = None
    if host is None or base.scheme not in ("http", "https") or base.username or base.query or base.fragment:
        raise ConfigError(
            "salesforce.base_url is not a plain http:// or https:// address: write it like "
            "https://proxy.example.com or http://127.0.0.1:8900."
        )
    if base.scheme == "http" and not _is_loopback(host):
        raise ConfigError(
            f"salesforce.base_url would send secrets unencrypted to {host}: use https://, or http:// only to this "
            "machine (127.0.0.1, localhost)."
        )
    return base


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trust(connection: Connection) -> ssl.SSLContext | None:
    if connection.ca_file is None:
        return None
    context = urllib3.util.ssl_.create_urllib3_context()
    try:
        context.load_verify_locations(cafile=str(connection.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"salesforce.ca_file ({connection.ca_file}) can't be read as a PEM certificate: give the file of the "
            "certificate authority."
        ) from error
    return context
