"""ClickHouse's HTTP interface in front of the engine of the tests: as much of it as clickhouse-connect asks for."""

import base64
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chdb_engine import Engine
from clickhouse_connect.driver._backend.chdb_backend import CHDB_TRANSPORT_SETTINGS
from clickhouse_connect.driver.exceptions import ClickHouseError

_INSERT = re.compile(rb"\s*INSERT INTO (?P<table>\S+) \((?P<columns>.*?)\) FORMAT (?P<format>\w+)\s*\n?", re.DOTALL)
_LOGIN_REFUSED = 516


class Server(ThreadingHTTPServer):
    """Knows one user; every session has a client of the engine of its own, as on a server."""

    daemon_threads = True

    def __init__(self, engine: Engine, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = engine
        self.password = password
        self.is_gone = False
        self.sessions: dict[str, Any] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"clickhouse://headrace@127.0.0.1:{self.server_port}/default"

    def answer(self, sql: bytes, data: bytes, given: dict[str, str]) -> bytes:
        with self.lock:
            name = given.get("session_id", "")
            if name not in self.sessions:
                self.sessions[name] = self.engine.client({}, name or None)
            client = self.sessions[name]
            client.database = given.get("database", "default")
            settings = {k: v for k, v in given.items() if k not in CHDB_TRANSPORT_SETTINGS and k != "query"}
            readonly = settings.pop("readonly", None)
            if readonly is not None and not re.match(
                rb"[\s(]*(SELECT|WITH|SHOW|DESCRIBE|EXPLAIN|EXISTS|FROM)\b", sql, re.IGNORECASE
            ):
                raise AssertionError("something else than reading came in a session that reads")
            insert = _INSERT.match(sql)
            if insert:
                columns = [one.strip('`" ') for one in insert["columns"].decode().split(",")]
                rest = sql[insert.end() :] + data
                client.raw_insert(insert["table"].decode(), columns, rest, settings, insert["format"].decode())
                return b""
            answer: bytes = client.raw_query(sql.decode(), settings=settings)
            return answer

    def end(self) -> None:
        self.is_gone = True
        self.shutdown()
        self.server_close()
        for client in self.sessions.values():
            client.close()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        if self.server.is_gone:  # connections outlive the server that took them
            self.close_connection = True
            return
        given = dict(parse_qsl(urlsplit(self.path).query))
        query = given.pop("query", "").encode()
        if self.headers.get("X-ClickHouse-Key", "") != self.server.password and not self._is_basic():
            self._send(403, b"Code: 516. DB::Exception: headrace: Authentication failed. (AUTHENTICATION_FAILED)", 516)
            return
        try:
            self._send(200, self.server.answer(query or body, body if query else b"", given))
        except ClickHouseError as error:
            self._send(500, str(error).encode(), getattr(error, "code", None) or 1000)

    do_GET = do_POST  # noqa: N815

    def _is_basic(self) -> bool:
        told = self.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(told).decode().partition(":")[2] == self.server.password

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, body: bytes, code: int | None = None) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("X-ClickHouse-Format", "Arrow")
        self.send_header("X-ClickHouse-Summary", "{}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(engine: Engine, password: str) -> Iterator[Server]:
    """Serve on a free port until the block ends."""
    server = Server(engine, password)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.end()
        thread.join()
