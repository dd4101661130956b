"""A proxy between the client and the sandbox org cuts one answer off, at every byte in turn."""

import contextlib
import re
import socket
import struct
import threading
from datetime import UTC, datetime

import pytest

from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.session import patient_retry, session_for

NOON = datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)


class Cutter:
    """Passes requests on, and answers back; the next answer only up to `cut_at` bytes when that is set."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_at: int | None = None
        self.with_reset = False
        self.last_length = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, contextlib.suppress(OSError):
            while request := whole(client):
                server.sendall(request)
                answer = whole(server)
                self.last_length = len(answer)
                cut, self.cut_at = self.cut_at, None
                if cut is None:
                    client.sendall(answer)
                    continue
                client.sendall(answer[:cut])
                if self.with_reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return


def whole(source: socket.socket) -> bytes:
    """Read one request or answer with its body."""
    read = b""
    while b"\r\n\r\n" not in read:
        piece = source.recv(65536)
        if not piece:
            return b""
        read += piece
    length = re.search(rb"(?i)content-length: (\d+)", read)
    end = read.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
    while len(read) < end:
        read += source.recv(65536)
    return read


@pytest.mark.parametrize("with_reset", [pytest.param(False, marks=pytest.mark.slow), True], ids=["closed", "reset"])
def test_an_answer_cut_at_any_byte_is_asked_for_again(with_reset):
    org = Org(clock=VirtualClock(NOON))
    for number in range(3):
        org.insert("Account", {"Name": f"Account {number}"})
    with SandboxServer(org) as server:
        cutter = Cutter(server.url)
        connection = Connection(base_url=cutter.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
        believed = set()

        def sleep(_seconds: float) -> None:
            believed.add((client.server_time, client.api_usage[1]))

        session = session_for(connection, retry=patient_retry(0))
        client = SalesforceClient(connection, session=session, sleep=sleep)
        query = "SELECT Id, Name FROM Account ORDER BY Id"
        (expected,) = client.query_pages([query])
        assert len(expected.records) == 3
        cutter.with_reset = with_reset
        length = cutter.last_length
        assert length > 300
        for cut in range(length):
            before = client.calls, server.api_used
            cutter.cut_at = cut
            (answer,) = client.query_pages([query])
            assert answer.records == expected.records, cut
            assert answer.problem is None
            assert cutter.cut_at is None
            assert client.calls - before[0] <= 2
            assert server.api_used - before[1] == 2
            assert client.server_time == "2024-01-22T12:00:00Z"
            assert client.api_usage == (server.api_used, server.daily_limit)
        # Nor was half a header believed while an answer was waited for: "api-usage=5/100" of a hundred thousand.
        assert believed == {("2024-01-22T12:00:00Z", 100_000)}
        assert client.logins == 1
        client.close()
        cutter.close()
