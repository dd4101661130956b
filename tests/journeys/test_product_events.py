"""Product events of real clients: into the stream, each once, whatever happens to the worker meanwhile."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from ports import free_port
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient
from shell import Running

from integration.stream.connection import connect
from integration.stream.names import PRODUCT_STREAM
from schemas import ProductEvent

Found = Callable[..., Any]

KEY = "key-of-the-server"
NODE = Path(__file__).with_name("node")
OLDEST_NODE = 20
TRACK = {"type": "track", "event": "Sign Up", "userId": "u1", "messageId": "m1"}


def quick(**env: str) -> dict[str, str]:
    """Settings of a worker whose address is known before it says so."""
    return {"HEADRACE_POLL__INTERVAL_SECONDS": "0.2", "HEADRACE_WEB__PORT": str(free_port()), **env}


def url_of(company: Any) -> str:
    return f"http://127.0.0.1:{company.settings.web.port}"


def stored(company: Any) -> list[dict[str, Any]]:
    with connect(company.settings.redis.url) as client:
        entries: Any = client.xrange(PRODUCT_STREAM)
    return [json.loads(fields[b"data"]) for _, fields in entries]


def stored_events(company: Any, users: Iterable[str]) -> int:
    """Ask the worker how many product events of these people can be queried."""
    named = ", ".join(f"'{user}'" for user in users)
    sql = f"SELECT count(*) AS n FROM events WHERE origin = 'product' AND user_id IN ({named})"
    answer = requests.post(f"{url_of(company)}/api/sql", json={"sql": sql}, timeout=30)
    return int(answer.json()["rows"][0]["n"]) if answer.status_code == 200 else 0


def answers(url: str) -> Callable[[], bool]:
    def is_so() -> bool:
        try:
            return requests.get(f"{url}/livez", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    return is_so


@pytest.fixture
def clients() -> Iterator[Callable[..., list[Any]]]:
    """Make one client of each kind; at the end they stop, and whatever they gave up is told."""
    made: list[Any] = []
    given_up: list[Any] = []

    def make(url: str) -> list[Any]:
        common = {
            "host": url, "upload_size": 7, "upload_interval": 0.05, "timeout": 5,
            "on_error": lambda error, batch: given_up.append((error, len(batch))),
        }  # fmt: skip
        made.extend((SegmentClient(KEY, gzip=True, **common), RudderClient(KEY, **common)))
        return made

    yield make
    for client in made:
        client.join()
    assert given_up == []


def send(client: Any, prefix: str, numbers: range) -> set[str]:
    """Have a client send one call of each kind in turn; return their message ids."""
    for n in numbers:
        message_id = f"{prefix}-{n}"
        calls: list[Callable[[], Any]] = [
            lambda i=message_id: client.track("u1", "Sign Up", {"plan": "pro", "n": 9.25}, message_id=i),
            lambda i=message_id: client.identify("u1", {"email": "bea@example.com"}, message_id=i),
            lambda i=message_id: client.page("u1", "Docs", "Pricing", {"url": "/"}, message_id=i),
            lambda i=message_id: client.screen(anonymous_id="a1", name="Home", message_id=i),
            lambda i=message_id: client.group("u1", 7, {"name": "Acme"}, message_id=i),
            lambda i=message_id: client.alias("a1", "u1", message_id=i),
        ]
        calls[n % len(calls)]()
    return {f"{prefix}-{n}" for n in numbers}


def test_real_clients_lose_nothing_and_repeat_nothing_while_the_worker_is_killed(
    found: Found, clients: Callable[..., list[Any]]
) -> None:
    company = found(accounts=2, **quick(HEADRACE_PRODUCT__WRITE_KEYS=f"another-key, {KEY}"))
    segment, rudder = clients(url_of(company))
    sent: set[str] = set()
    for life in range(3):
        with company.shell.start("run") as running:
            running.until(answers(url_of(company)))
            before = len(stored(company))
            sent |= send(segment, f"segment-{life}", range(60)) | send(rudder, f"rudder-{life}", range(60))
            running.until(lambda before=before: len(stored(company)) > before + 10)
            if life == 2:
                segment.flush()
                rudder.flush()
                assert running.end(signal.SIGTERM) == 0, running.notes
            else:
                running.process.kill()
                running.process.wait(timeout=20)
    events = stored(company)
    assert Counter(one["message_id"] for one in events) == Counter(sent)
    for one in events:
        ProductEvent.model_validate(one)
    kinds = {(one["message_id"].split("-")[0], one["type"]): one for one in events}
    assert len(kinds) == 12
    for sender in ("segment", "rudder"):
        track, page = kinds[sender, "track"], kinds[sender, "page"]
        assert (track["name"], track["user_id"], track["properties"]) == ("Sign Up", "u1", {"plan": "pro", "n": 9.25})
        assert kinds[sender, "identify"]["traits"] == {"email": "bea@example.com"}
        assert (page["name"], page["properties"]) == ("Pricing", {"url": "/", "category": "Docs"})
        assert kinds[sender, "screen"]["anonymous_id"] == "a1"
        assert (kinds[sender, "group"]["group_id"], kinds[sender, "group"]["traits"]) == ("7", {"name": "Acme"})
        assert (kinds[sender, "alias"]["previous_id"], kinds[sender, "alias"]["user_id"]) == ("a1", "u1")
        at = datetime.fromisoformat(track["time"])
        assert timedelta(0) <= datetime.fromisoformat(track["received_at"]) - at < timedelta(seconds=60)
        assert datetime.now(UTC) - at < timedelta(seconds=120)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients for Node, in the versions of tests/journeys/node, and what sends with them."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("There is no node or no npm here, so the clients for Node can't be run.")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"The clients for Node need Node {OLDEST_NODE}, and this is {version.strip()}.")
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, folder, dirs_exist_ok=True)
    # Not `npm ci`: it wants the lock to hold what is for other systems as well. What is installed is what the lock says.
    quiet = ("--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save")
    done = subprocess.run([npm, "install", *quiet], cwd=folder, capture_output=True, text=True, timeout=300)
    if any(code in done.stderr for code in ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT")):
        pytest.skip("npm can't reach its registry, so the clients for Node can't be installed.")
    assert done.returncode == 0, done.stderr
    return folder


class NodeClients:
    """The clients for Node in a process of their own: each call is handed to one of them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def send(self, calls: Sequence[dict[str, Any]]) -> None:
        """Hand calls over; they are sent at once."""
        assert self._process.stdin is not None
        self._process.stdin.write("".join(json.dumps(call) + "\n" for call in calls))
        self._process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """Wait until every call was answered; return what the clients say of it."""
        said, noted = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, noted
        found: dict[str, Any] = json.loads(said)
        return found


@contextmanager
def sending(folder: Path, url: str) -> Iterator[NodeClients]:
    """Start the clients for Node."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        [str(shutil.which("node")), "send.mjs", url, KEY], cwd=folder, env={"PATH": os.defpath}, text=True, **pipes
    ) as process:
        try:
            yield NodeClients(process)
        finally:
            process.kill()


def call_and_row(client: str, n: int, email: str) -> tuple[dict[str, Any], tuple[str, dict[str, Any]]]:
    """Return a call of each kind in turn, and the name and properties that its event is to have."""
    user, visitor = {"userId": f"{client}-user"}, {"anonymousId": f"{client}-visitor"}
    kinds: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
        ("track", {**user, "event": "Sign Up", "properties": {"n": n, "price": 9.25, "plan": "pro"}},
         "Sign Up", {"n": n, "price": 9.25, "plan": "pro"}),
        ("identify", {**user, "traits": {"email": email, "seats": n}},
         "Identified", {"traits": {"email": email, "seats": n}}),
        ("page", {**user, "category": "Docs", "name": "Pricing", "properties": {"url": f"/{n}"}},
         "Page Viewed", {"url": f"/{n}", "category": "Docs", "name": "Pricing"}),
        ("screen", {**visitor, "name": "Home", "properties": {"dark": True, "n": n}},
         "Screen Viewed", {"dark": True, "n": n, "name": "Home"}),
        ("group", {**user, "groupId": f"group {n}", "traits": {"name": "Acme"}},
         "Group Joined", {"group_id": f"group {n}", "traits": {"name": "Acme"}}),
        ("alias", {**user, "previousId": f"{client}-visitor"}, "Alias Created", {}),
    ]  # fmt: skip
    kind, message, name, properties = kinds[n % len(kinds)]
    return {"client": client, "kind": kind, "message": {**message, "messageId": f"{client}-{n}"}}, (name, properties)


def only_one_with_its_email(org: Any) -> dict[str, Any]:
    """Return a contact whom nobody else shares an e-mail with."""
    people = [one for name in ("Contact", "Lead") for one in org.records(name) if one["Email"]]
    shared = Counter(one["Email"].strip().lower() for one in people)
    there = (one for one in people if not one["IsDeleted"] and shared[one["Email"].strip().lower()] == 1)
    return next(one for one in there if one["Id"].startswith("003"))


@pytest.mark.slow
def test_every_call_of_the_clients_for_node_is_one_event_whatever_happens_to_the_worker(
    found: Found, node: Path
) -> None:
    company = found(accounts=2, **quick(HEADRACE_PRODUCT__WRITE_KEYS=KEY))
    contact = only_one_with_its_email(company.org)
    # Who tells the e-mail of a contact is that contact; the others are in no CRM and go by the product's own id.
    emails = {"segment": contact["Email"], "rudder": "ida@example.com", "old": "ole@example.com"}
    users = {"segment": contact["Id"], "rudder": "rudder-user", "old": "old-user"}
    wanted: dict[str, tuple[str, str, dict[str, Any]]] = {}
    with sending(node, url_of(company)) as clients:
        for life in range(3):
            with company.shell.start("run") as running:
                running.until(answers(url_of(company)))
                before = len(stored(company))
                for n in range(120 * life, 120 * life + 120):
                    made = {client: call_and_row(client, n, email) for client, email in emails.items()}
                    clients.send([call for call, _ in made.values()])
                    wanted.update({f"product:{client}-{n}": (users[client], *row) for client, (_, row) in made.items()})
                running.until(lambda before=before: len(stored(company)) > before + 10)
                if life < 2:
                    running.process.kill()
                    running.process.wait(timeout=20)
                    continue
                assert clients.finish() == {"calls": len(wanted), "givenUp": []}
                running.until(lambda: stored_events(company, users.values()) >= len(wanted))
                assert running.end(signal.SIGTERM) == 0, running.notes

    rows = company.query("SELECT event_id, user_id, name, properties FROM events WHERE origin = 'product'")
    assert Counter(row["event_id"] for row in rows) == Counter(wanted.keys())
    senders = set()
    for row in rows:
        properties = {**row["properties"]}
        library = properties.pop("context")["library"]
        assert (row["user_id"], row["name"], properties) == wanted[row["event_id"]]
        senders.add((row["event_id"].split("-")[0], library["name"], library["version"]))
    version = json.loads((NODE / "package.json").read_text())["dependencies"]
    assert senders == {
        ("product:segment", "@segment/analytics-node", version["@segment/analytics-node"]),
        ("product:rudder", "analytics-node", version["@rudderstack/rudder-sdk-node"]),
        ("product:old", "analytics-node", version["analytics-node"]),
    }


def test_an_intake_runs_beside_a_worker_and_everything_that_looks_shows_its_stream(found: Found) -> None:
    company = found(accounts=2, **quick(HEADRACE_PRODUCT__WRITE_KEYS=KEY))
    shell = company.shell
    other = company.shell
    other.folder = company.folder / "other"
    other.folder.mkdir()
    beside = quick()
    url = f"http://127.0.0.1:{beside['HEADRACE_WEB__PORT']}"
    with shell.start("run") as running:
        running.ready()
        with other.start("run", "web", **beside) as web:
            web.ready()
            assert requests.post(f"{url}/v1/track", json=TRACK, auth=(KEY, ""), timeout=30).json() == {"success": True}
            assert requests.post(f"{url}/v1/track", json=TRACK, auth=("wrong", ""), timeout=30).status_code == 401
            asked = requests.post(f"{url}/api/sql", json={"sql": "SELECT 1"}, timeout=30)
            assert (asked.status_code, "Another process has the store" in asked.text) == (503, True)
            ready = requests.get(f"{url}/readyz", timeout=30)
            assert (ready.status_code, "Another process" in ready.json()["components"]["store"]) == (200, True)
            assert 'headrace_product_events_total{outcome="accepted"} 1.0' in numbers(url)
            assert web.end(signal.SIGTERM) == 0, web.notes
        assert [one["message_id"] for one in stored(company)] == ["m1"]
        assert PRODUCT_STREAM in {s["stream"] for s in json.loads(shell.run("status", "--json").stdout)["streams"]}
        assert PRODUCT_STREAM in {s["name"] for s in json.loads(shell.run("streams", "ls", "--json").stdout)}
        peeked = shell.run("streams", "peek", PRODUCT_STREAM)
        assert "product.track.v1  user/u1  product  [product.events " in peeked.stdout
        assert f'headrace_stream_entries{{stream="{PRODUCT_STREAM}"}} 1.0' in numbers(url_of(company))
        assert_quiet(running, web)


def test_events_are_taken_before_salesforce_has_let_us_in(found: Found) -> None:
    company = found(accounts=1, build=False, **quick())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with company.shell.start("run", HEADRACE_SALESFORCE__BASE_URL=nowhere) as running:
            running.until(answers(url_of(company)))
            answer = requests.post(f"{url_of(company)}/v1/track", json=TRACK, timeout=30)
            assert answer.json() == {"success": True}
            running.process.kill()
    assert [one["message_id"] for one in stored(company)] == ["m1"]


def test_a_key_is_asked_for_where_other_machines_can_call(found: Found) -> None:
    open_to_all = quick(HEADRACE_WEB__HOST="0.0.0.0", HEADRACE_WEB__TOKEN="correct-horse-battery")
    company = found(accounts=1, build=False, **open_to_all)
    with company.shell.start("run", "web") as running:
        running.ready()
        answer = requests.post(f"{url_of(company)}/v1/track", json=TRACK, timeout=30)
        assert (answer.status_code, "product.write_keys" in answer.json()["error"]) == (403, True)
        assert_quiet(running)


def numbers(url: str) -> str:
    return requests.get(f"{url}/metrics", timeout=30).text


def assert_quiet(*workers: Running) -> None:
    for worker in workers:
        assert "Traceback" not in worker.notes
        assert KEY not in worker.notes
