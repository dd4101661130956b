"""The sandbox org over HTTP: what a Salesforce client takes for Salesforce, on a loopback port."""

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from integration.sandbox.answers import Answer, Call, encode, refusal, zipped
from integration.sandbox.errors import OrgError, not_found
from integration.sandbox.faults import LIMIT_EXCEEDED, Fault, Faults
from integration.sandbox.oauth import Login, Tokens, bearer
from integration.sandbox.org import Org
from integration.sandbox.rest import VERSIONS, Rest, route, versions

_LONGEST_URI = 16_384
_START_SECONDS = 10
_STOP_SECONDS = 2
_TRANSPORT = "sandbox.transport"
_TEXT = "text/plain;charset=UTF-8"


class SandboxServer:
    """Serves an org on a loopback port, from a thread of its own. Use it as a context manager.

    consumer_key, consumer_secret  of the connected app for client credentials
    public_keys   consumer key -> public key (PEM) of apps that log in by JWT bearer
    password      of every user, for the logins that need one
    token_seconds how long an access token lives, by the org's clock
    daily_limit   API calls allowed; beyond them every call gets REQUEST_LIMIT_EXCEEDED

    requests  counts API calls by kind (`query`, `composite`, `describe`, ... and, free of charge, `login`, `versions`)
    api_used  API calls used up; a composite is one, logins and the version list are none
    rest      the resources; `rest.served` also counts the subrequests of composites
    faults    trouble for the next requests
    """

    def __init__(
        self,
        org: Org,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        consumer_key: str = "sandbox-key",
        consumer_secret: str = "sandbox-secret",  # noqa: S107 - made up, for an org that is made up
        public_keys: Mapping[str, bytes] | None = None,
        password: str = "sandbox-password",  # noqa: S107
        token_seconds: float = 7200,
        daily_limit: int = 100_000,
    ) -> None:
        self.org = org
        self.api_used = 0
        self.daily_limit = daily_limit
        self.requests: Counter[str] = Counter()
        self.faults = Faults()
        self.tokens = Tokens(org, token_seconds)
        self.rest = Rest(org, lambda: (self.api_used, self.daily_limit))
        self._login = Login(
            org,
            self.tokens,
            key=consumer_key,
            secret=consumer_secret,
            password=password,
            public_keys=public_keys or {},
        )
        self._address = (host, port)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the server listens, `http://127.0.0.1:PORT`. The port is known once it has started."""
        host, port = self._address
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Listen, and return when requests are answered. Raises OSError if the port is taken."""
        listener = socket.create_server(self._address)
        self._address = listener.getsockname()[:2]
        config = uvicorn.Config(
            _application(self),
            http=_Protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=4 * _LONGEST_URI,
        )
        server = _Server(config)
        self._server = server
        self._thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), name="sandbox-org", daemon=True
        )
        self._thread.start()
        ready = threading.Event()
        for _ in range(_START_SECONDS * 200):
            if server.started:
                return
            ready.wait(0.005)
        raise OSError("The sandbox org did not start listening in time.")

    def stop(self) -> None:
        """Stop listening and wait until the thread has ended."""
        if self._server is not None and self._thread is not None:
            self._server.end()
            self._thread.join(timeout=_START_SECONDS)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def expire_tokens(self) -> None:
        """End every access token given so far, as when sessions time out."""
        self.tokens.revoke()

    def revoke(self, token: str) -> None:
        """End one access token."""
        self.tokens.revoke(token)

    # --- requests -------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Answer:
        """POST /services/oauth2/token."""
        self.requests["login"] += 1
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        return self._login.token(form, request.headers.get("authorization", ""), self.url)

    async def soap(self, request: Request) -> Answer:
        """POST /services/Soap/u/NN.0."""
        self.requests["login"] += 1
        return self._login.soap((await request.body()).decode(), self.url, request.path_params["version"])

    async def versions(self, _request: Request) -> Answer:
        """GET /services/data."""
        self.requests["versions"] += 1
        return Answer(200, versions())

    async def data(self, request: Request) -> Answer:
        """Everything below /services/data/vNN.0/."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        version = request.path_params["version"]
        path = request.path_params.get("path", "")
        try:
            body = orjson.loads(text) if (text := await request.body()) else None
        except orjson.JSONDecodeError as error:
            return refusal(OrgError("JSON_PARSER_ERROR", str(error)))
        params = dict(parse_qsl(request.url.query, keep_blank_values=True))
        call = Call(request.method, version, path, params, request.headers, body)
        kind = route(call)[0]
        self.requests[kind] += 1
        self.api_used += 1
        if self.api_used > self.daily_limit:
            self.api_used = self.daily_limit
            return Answer(LIMIT_EXCEEDED.status, LIMIT_EXCEEDED.body)
        return self.rest.answer(call)

    def limit_info(self) -> str:
        """The value of Sforce-Limit-Info."""
        return f"api-usage={self.api_used}/{self.daily_limit}"

    def _refused(self, request: Request) -> Answer | None:
        query = request.url.query
        if len(request.url.path) + len(query) + 1 > _LONGEST_URI:
            return Answer(414, b"URI Too Long", content_type=_TEXT)
        if sum(len(k) + len(v) for k, v in request.headers.raw) + len(query) > _LONGEST_URI:
            return Answer(431, b"Request Header Fields Too Large", content_type=_TEXT)
        token = bearer(request.headers.get("authorization", ""))
        if token is None:
            return refusal(OrgError("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", status=401))
        if not self.tokens.valid(token):
            return refusal(OrgError("INVALID_SESSION_ID", "Session expired or invalid", status=401))
        version = re.fullmatch(r"v(\d\d)\.0", request.path_params["version"])
        if version is None or int(version[1]) not in VERSIONS:
            return refusal(not_found())
        return None


class _Server(uvicorn.Server):
    """uvicorn that starts and ends at once, instead of looking ten times a second: tests start many of them."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._over.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        for _ in range(_STOP_SECONDS * 200):
            if not state.connections and not state.tasks:
                return
            await asyncio.sleep(0.005)
        for task in state.tasks:
            task.cancel()

    def end(self) -> None:
        """Stop serving; may be called from any thread."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)


class _Protocol(H11Protocol):
    """HTTP as uvicorn speaks it; the application also gets the connection, to be able to cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this for sockets that say they speak TCP; those of socket.create_server do not say so, and
        # every answer would wait 40 ms for the client's delayed acknowledgement of its headers.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope[_TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = app


class _Endpoint:
    """One route: waits for its faults, asks the server, sends the answer."""

    def __init__(self, server: SandboxServer, name: str) -> None:
        self._server = server
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        fault = self._server.faults.take(request.url.path)
        if fault is not None and fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.reset:
            await _cut(scope[_TRANSPORT])
            return
        answer = await self._answer(request, fault)
        body = encode(answer)
        if fault is not None and fault.keep < 1:
            body = body[: int(len(body) * fault.keep)]
        await self._response(request, answer, body)(scope, receive, send)

    async def _answer(self, request: Request, fault: Fault | None) -> Answer:
        if fault is not None and fault.status:
            if self._name == "data":
                self._server.api_used += 1
            return Answer(fault.status, fault.body, content_type=fault.content_type)
        answer: Answer = await getattr(self._server, self._name)(request)
        return answer

    def _response(self, request: Request, answer: Answer, body: bytes) -> Response:
        headers = {"Date": format_datetime(self._server.org.clock.now(), usegmt=True), **answer.headers}
        if self._name == "data" and answer.status != 401:
            headers["Sforce-Limit-Info"] = self._server.limit_info()
        if body:
            headers["Content-Type"] = answer.content_type
        small = zipped(body, request.headers.get("accept-encoding", ""))
        if small is not None:
            headers["Content-Encoding"] = "gzip"
            body = small
        return Response(body, answer.status, headers)


async def _cut(transport: asyncio.Transport) -> None:
    """End the connection with a TCP reset."""
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await asyncio.sleep(0.01)  # until uvicorn knows that nobody waits for an answer


def _application(server: SandboxServer) -> Starlette:
    data = _Endpoint(server, "data")
    return Starlette(
        routes=[
            Route("/services/oauth2/token", _Endpoint(server, "token"), methods=["POST"]),
            Route("/services/Soap/u/{version}", _Endpoint(server, "soap"), methods=["POST"]),
            Route("/services/Soap/u/{version}/{org}", _Endpoint(server, "soap"), methods=["POST"]),
            Route("/services/data", _Endpoint(server, "versions"), methods=["GET"]),
            Route("/services/data/", _Endpoint(server, "versions"), methods=["GET"]),
            Route("/services/data/{version}", data, methods=["GET"]),
            Route("/services/data/{version}/{path:path}", data, methods=["GET", "POST", "PATCH", "DELETE"]),
        ]
    )
