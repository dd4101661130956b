"""SQL over HTTP from the process that owns the store: read-only, for loopback or with a token.

    POST /api/sql  {"sql": "SELECT ...", "limit": 100, "timeout_seconds": 60}
        -> {"columns": [{"name", "type"}], "rows": [{...}], "truncated": false}
        -> an Arrow IPC stream with `Accept: application/vnd.apache.arrow.stream`
    GET /livez, /readyz, /metrics: see integration.web.probes
    POST /v1/..., /api/s/...: see integration.web.segment

Errors are {"error": sentence, "kind": "usage" | "config" | "unreachable" | "run"}; 503 says that the store is not open
at the moment, and that asking again may help.
"""

import hmac
import logging
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pyarrow as pa
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from integration.core import exactjson
from integration.errors import ConfigError, HeadraceError, UnreachableError, UsageError
from integration.store import answers
from integration.web.probes import NOT_CACHED, Probes, probe_routes
from integration.web.segment import PREFIXES, Intake, segment_routes

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
JSON_ROWS = 10_000
"""How many rows a JSON answer holds when nobody asks for more or fewer; Arrow answers have no such limit."""
MAX_BODY_BYTES = 1_000_000
MAX_TIMEOUT_SECONDS = 600.0
_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
_EXAMPLE = '{"sql": "SELECT count(*) FROM users"}'

Run = Callable[[str, int | None, float], pa.Table]
"""Runs (sql, limit, timeout in seconds); see store.protocol.Store.query."""

log = logging.getLogger("headrace.web")


def query_app(
    run: Run,
    *,
    token: str | None,
    allowed_hosts: Collection[str] = LOOPBACK_HOSTS,
    probes: Probes | None = None,
    intake: Intake | None = None,
) -> Starlette:
    """Make the ASGI application. An UnreachableError of `run` says that the store is not open now.

    `allowed_hosts` are the host names a request may carry (`*` for any): a web page that points its own name at
    this machine is turned away. `token`, where given, must come as `Authorization: Bearer ...`. Neither concerns
    product events for `intake`, which have keys of their own; without keys the host names hold for them too.
    """

    async def sql(request: Request) -> Response:
        try:
            _check_token(request, token)
            asked = _asked(await _body(request))
            wants_arrow = answers.ARROW_STREAM in request.headers.get("accept", "")
            return await run_in_threadpool(_answer, run, asked, wants_arrow)
        except _RefusedError as refused:
            return _error(str(refused), refused.kind, refused.status)
        except HeadraceError as error:
            return _error(str(error), _kind(error), _status(error))
        except Exception:
            log.exception("query failed")
            return _error("The query failed inside headrace: its log says why.", "run", 500)

    def refusal(request: Request) -> Response | None:
        try:
            _check_token(request, token)
        except _RefusedError as refused:
            return _error(str(refused), refused.kind, refused.status)
        return None

    app = Starlette(
        routes=[
            Route("/api/sql", sql, methods=["POST"]),
            *probe_routes(probes or Probes(), refusal),
            *(segment_routes(intake) if intake is not None else ()),
        ],
        exception_handlers={404: _not_found, 405: _not_found},
    )
    anywhere = PREFIXES if intake is not None and intake.keys else ()
    app.add_middleware(_KnownHosts, hosts=frozenset(host.lower() for host in allowed_hosts), anywhere=anywhere)
    return app


class QueryServer:
    """Serves an ASGI application from a thread of this process. Port 0 takes a free one; see `url`."""

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        config = uvicorn.Config(
            app, log_config=None, log_level="warning", access_log=False, lifespan="off", ws="none", server_header=False
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, once started."""
        if self._socket is None:
            raise RuntimeError("the server has not been started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._socket.getsockname()[1]}"

    def start(self) -> None:
        """Listen; requests are answered when this returns. Raises ConfigError if the address can't be had."""
        listening = _listen(self._host, self._port)
        self._socket = listening
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="headrace-web", daemon=True
        )
        self._thread.start()
        waiting = threading.Event()
        for _ in range(int(_START_SECONDS / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            waiting.wait(0.01)
        if not self._server.started:
            self.stop()
            raise UnreachableError(f"The web server did not start on {self._host}:{self._port}: look at the log.")

    def stop(self) -> None:
        """Stop listening and wait for requests under way. Harmless when not started."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()


class _RefusedError(Exception):
    """A request that is turned away before its SQL is looked at."""

    def __init__(self, sentence: str, status: int, kind: str = "usage") -> None:
        super().__init__(sentence)
        self.status, self.kind = status, kind


class _KnownHosts:
    """Turns away requests that name a host this server is not known by (DNS rebinding), but for paths that begin in one
    of the ways of `anywhere`."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], anywhere: tuple[str, ...]) -> None:
        self._app, self._hosts, self._anywhere = app, hosts, anywhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_known(scope):
            refusal = _error("This host name is not served here: use the address headrace printed.", "usage", 400)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        return "*" in self._hosts or _host(scope) in self._hosts or scope["path"].startswith(self._anywhere)


def _host(scope: Scope) -> str:
    named = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if named.startswith("["):
        return named[1:].partition("]")[0].lower()
    return named.partition(":")[0].lower()


def _check_token(request: Request, token: str | None) -> None:
    if token is None:
        return
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise _RefusedError("A token is asked for here: send it as `Authorization: Bearer ...`.", 401, "config")


async def _body(request: Request) -> bytes:
    # Other pages in a browser can send forms and plain text across sites unasked, but not JSON.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _RefusedError("Send JSON with `Content-Type: application/json`.", 400)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise _RefusedError("The request is larger than 1 MB: shorten the SQL.", 413)
    return bytes(body)


class _Asked:
    """A request for rows, checked."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        sql, limit, seconds = told.get("sql"), told.get("limit"), told.get("timeout_seconds", 60.0)
        if not isinstance(sql, str):
            raise _RefusedError(f"The request holds no SQL: send {_EXAMPLE}.", 400)
        if limit is not None and (type(limit) is not int or limit < 0):
            raise _RefusedError("limit must be a whole number, 0 or more.", 400)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            raise _RefusedError("timeout_seconds must be a number above 0.", 400)
        self.sql: str = sql
        self.limit: int | None = limit
        self.seconds = min(float(seconds), MAX_TIMEOUT_SECONDS)


def _asked(body: bytes) -> _Asked:
    try:
        told = exactjson.loads(body)
    except ValueError as error:
        raise _RefusedError(f"The request is not JSON: send {_EXAMPLE}.", 400) from error
    if not isinstance(told, dict):
        raise _RefusedError(f"The request is not a JSON object: send {_EXAMPLE}.", 400)
    return _Asked(told)


def _answer(run: Run, asked: _Asked, wants_arrow: bool) -> Response:
    if wants_arrow:
        return _arrow(run(asked.sql, asked.limit, asked.seconds))
    limit = JSON_ROWS if asked.limit is None else asked.limit
    # One row more than asked for tells whether there is more.
    table = run(asked.sql, limit + 1, asked.seconds)
    rows = answers.rows(table.slice(0, limit))
    return _json({"columns": answers.columns(table), "rows": rows, "truncated": table.num_rows > limit}, 200)


def _arrow(table: pa.Table) -> Response:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return Response(sink.getvalue().to_pybytes(), media_type=answers.ARROW_STREAM, headers=NOT_CACHED)


def _json(value: Any, status: int) -> Response:
    return Response(exactjson.dumps(value), status, NOT_CACHED, "application/json")


def _error(sentence: str, kind: str, status: int) -> Response:
    return _json({"error": sentence, "kind": kind}, status)


async def _not_found(request: Request, _: Exception) -> Response:
    what = "events to /v1/batch" if request.url.path.startswith(PREFIXES) else "SQL to /api/sql"
    return _error(f"There is no {request.method} {request.url.path} here: POST {what}.", "usage", 404)


def _status(error: HeadraceError) -> int:
    if isinstance(error, UsageError):
        return 400
    return 503 if isinstance(error, UnreachableError) else 500


def _kind(error: HeadraceError) -> str:
    if isinstance(error, UsageError):
        return "usage"
    if isinstance(error, ConfigError):
        return "config"
    return "unreachable" if isinstance(error, UnreachableError) else "run"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}:{port} can't be listened on ({error.strerror}): set web.host and web.port to a free address."
        ) from error
    return listening
