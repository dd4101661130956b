"""`python -m integration.sandbox` as scripts use it: one JSON line, logins, traffic, a clean end."""

import base64
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "integration.sandbox"]
ACCOUNT = "Id,Name,OwnerId\n001Ec00000FzlUdIAJ,Brightwater Foods,005Ec000004oBPNIA2\n"


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def ask(ready: dict[str, Any], soql: str) -> list[dict[str, Any]]:
    key = (ready["consumer_key"], ready["consumer_secret"])
    form = {"grant_type": "client_credentials"}
    with requests.Session() as session:
        session.trust_env = False
        token = session.post(f"{ready['url']}/services/oauth2/token", data=form, auth=key, timeout=10).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        url = f"{ready['url']}/services/data/v66.0/query"
        answer = session.get(url, params={"q": soql}, headers=headers, timeout=10)
        return list(answer.json()["records"])


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_queries_and_ends_cleanly(ending: signal.Signals) -> None:
    words = ("--accounts", "3", "--contacts", "8", "--clock-start", "2026-03-02T09:00:00Z", "--consumer-secret", "xyz")
    with running(*words) as (process, ready):
        assert ready["consumer_secret"] == "xyz"
        assert ready["records"]["Account"] == 3
        assert len(ask(ready, "SELECT Id FROM Contact")) == 8
        last = ask(ready, "SELECT SystemModstamp FROM Contact ORDER BY SystemModstamp DESC LIMIT 1")
        assert last[0]["SystemModstamp"].startswith("2026-")
        process.send_signal(ending)
        assert process.wait(10) == 0


def test_traffic_is_told_on_stderr_and_seen_in_the_org() -> None:
    with running("--accounts", "3", "--every", "0.01") as (process, ready):
        assert process.stderr is not None
        said = [process.stderr.readline().strip() for _ in range(5)]
        assert all(said)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert ready["url"].startswith("http://127.0.0.1:")


def test_the_product_tells_a_worker_that_comes_later_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the-key\n")
    port = free_port()
    got: list[dict[str, Any]] = []
    keys: set[str | None] = set()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.add(self.headers["Authorization"])
            got.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["batch"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    words = ("--product-url", f"http://127.0.0.1:{port}", "--write-key-file", str(tmp_path / "key"))
    with running("--accounts", "2", "--every", "0.05", *words) as (process, ready):
        began = datetime.now(UTC).isoformat()
        assert ask(ready, "SELECT Id FROM Account")  # it is there for all others meanwhile
        with ThreadingHTTPServer(("127.0.0.1", port), Door) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            assert process.stderr is not None
            said = next(line for line in process.stderr if line.startswith("The product"))
            told = int(said.split()[-2].replace(",", ""))
            assert 20 < told <= len(got)
            deadline = time.monotonic() + 20
            while not any(call["timestamp"] > began for call in got[told:]) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert any(call["timestamp"] > began for call in got[told:])
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            server.shutdown()
            thread.join()
    assert keys == {"Basic " + base64.b64encode(b"the-key:").decode()}


def test_it_serves_an_export(tmp_path: Path) -> None:
    (tmp_path / "Account.csv").write_text(ACCOUNT)
    with running("--data", str(tmp_path)) as (_, ready):
        assert ready["records"] == {"Account": 1, "User": 1}
        assert ask(ready, "SELECT Name FROM Account")[0]["Name"] == "Brightwater Foods"


def test_a_missing_folder_gives_one_sentence(tmp_path: Path) -> None:
    ran = subprocess.run(
        [*COMMAND, "--data", str(tmp_path / "no")], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"{tmp_path / 'no'} is not a folder; give the folder that holds the exported CSV files.\n"


def test_a_taken_port_gives_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = subprocess.run(
            [*COMMAND, "--accounts", "1", "--port", port], capture_output=True, text=True, check=False, cwd=ROOT
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"Can't listen on 127.0.0.1:{port}")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--every", "0"], "is not above 0"),
        (["--clock-start", "noon"], "is no ISO 8601 time"),
        (["--accounts", "-1"], "accounts is -1; give 0 or more."),
        (["--write-key", "k"], "give --product-url too."),
        (["--product-url", "127.0.0.1:8080"], "such as http://127.0.0.1:8080."),
        (["--product-url", "http://127.0.0.1:1", "--data", "."], "leave out --product-url, or --data."),
        (["--product-url", "http://127.0.0.1:1", "--write-key-file", "no"], "no can't be read (FileNotFoundError)."),
        (["--product-url", "http://127.0.0.1:1", "--write-key", "k", "--write-key-file", "f"], "not allowed with"),
    ],
)
def test_wrong_words_are_a_usage_error(words: list[str], complaint: str) -> None:
    ran = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 2
    assert complaint in ran.stderr
    assert "Traceback" not in ran.stderr
