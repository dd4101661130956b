"""The door for product events: what clients of the Segment Tracking API get for an answer."""

import base64
import gzip
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from redis.exceptions import RedisError

from integration.errors import HeadraceError, RunError, UnreachableError
from integration.settings import Settings, load
from integration.stream.connection import FullError, connect
from integration.stream.embedded import embedded
from integration.stream.names import PRODUCT_STREAM
from integration.stream.valkey import probe
from integration.web.segment import MOST_BYTES, Intake
from integration.wiring.intake import Channel, intake
from integration.wiring.measures import Measures
from integration.wiring.owner import WorkerDoor

TRACK = {"type": "track", "event": "Sign Up", "userId": "u1", "messageId": "m1"}
KEYS = ("key-of-the-web-page", "key-of-the-server")


@dataclass
class Taken:
    """Takes events, or fails to, and remembers them."""

    events: list[Mapping[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, int, int, int]] = field(default_factory=list)
    error: Exception | None = None

    def take(self, events: Sequence[Mapping[str, Any]]) -> int:
        if self.error is not None:
            raise self.error
        known = {one["id"] for one in self.events}
        fresh = [one for one in events if one["id"] not in known]
        self.events += fresh
        return len(fresh)

    def count(self, outcome: str, accepted: int, duplicate: int, refused: int) -> None:
        self.calls.append((outcome, accepted, duplicate, refused))

    @property
    def ids(self) -> list[str]:
        return [one["message_id"] for one in self.events]


@dataclass
class Door:
    url: str
    taken: Taken

    def emptied(self) -> "Door":
        self.taken.events.clear()
        self.taken.calls.clear()
        self.taken.error = None
        return self

    def post(self, path: str = "/v1/batch", body: Any = None, **words: Any) -> requests.Response:
        data = words.pop("data", None)
        if data is None:
            data = json.dumps(TRACK if body is None else body).encode()
        return requests.post(f"{self.url}{path}", data=data, timeout=30, **words)


@contextmanager
def opened(settings: Settings, **words: Any) -> Iterator[Door]:
    taken = Taken()
    with WorkerDoor(settings, intake=Intake(take=taken.take, count=taken.count, **words)) as door:
        yield Door(door.url, taken)


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, Door]]:
    """Two doors for all tests of this module: one that takes any key, and one with keys."""
    env = {"HEADRACE_STORE__URL": f"duckdb:///{tmp_path_factory.mktemp('door')}/h.duckdb", "HEADRACE_WEB__PORT": "0"}
    common = load(None, env)
    with opened(common) as plain, opened(common, keys=KEYS, is_private=False) as keyed:
        yield plain, keyed


@pytest.fixture
def door(houses: tuple[Door, Door]) -> Door:
    return houses[0].emptied()


@pytest.fixture
def keyed(houses: tuple[Door, Door]) -> Door:
    return houses[1].emptied()


def said(answer: requests.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    return answer.json()


def refusal(answer: requests.Response, status: int) -> str:
    told = said(answer, status)
    assert told["success"] is False
    # Some clients read these two, and try for ever where they are missing.
    assert (told["message"], bool(told["code"])) == (told["error"], True)
    return str(told["error"])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/batch", "track"), ("/v1/import", "track"), ("/api/s/batch", "track"),
        *((f"/v1/{kind}", kind) for kind in ("identify", "track", "page", "screen", "group")),
        *((f"/api/s/{kind}", kind) for kind in ("identify", "track", "page", "screen", "group")),
        ("/v1/i", "identify"), ("/v1/t", "track"), ("/v1/p", "page"), ("/v1/s", "screen"), ("/v1/g", "group"),
    ],
)  # fmt: skip
def test_every_address_of_the_api_takes_events(door: Door, path: str, kind: str) -> None:
    assert said(door.post(path), 200) == {"success": True}
    assert [one["type"] for one in door.taken.events] == [kind]


@pytest.mark.parametrize("path", ["/v1/alias", "/v1/a", "/api/s/alias"])
def test_an_alias_has_its_addresses_too(door: Door, path: str) -> None:
    said(door.post(path, {"userId": "u", "previousId": "a"}), 200)
    assert door.taken.events[0]["previous_id"] == "a"


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/plain;charset=UTF-8", ""])
def test_the_content_type_does_not_matter(door: Door, kind: str) -> None:
    assert said(door.post("/v1/t", headers={"Content-Type": kind}), 200) == {"success": True}


def test_a_batch_may_be_packed_with_or_without_saying_so(door: Door) -> None:
    packed = gzip.compress(json.dumps({"batch": [TRACK]}).encode())
    said(door.post(data=packed, headers={"Content-Encoding": "gzip"}), 200)
    said(door.post(data=packed), 200)
    said(door.post(headers={"Content-Encoding": "gzip"}), 200)  # a proxy has unpacked it
    assert door.taken.calls == [("ok", 1, 0, 0), ("ok", 0, 1, 0), ("ok", 0, 1, 0)]


@pytest.mark.parametrize(
    ("data", "encoding", "status", "words"),
    [
        (gzip.compress(b"[]", mtime=0)[:-9], "gzip", 400, "not gzip to its end"),
        (gzip.compress(b"[]", mtime=0) + b"more", "gzip", 400, "not gzip to its end"),
        (b"\x1f\x8bnonsense", "gzip", 400, "not gzip to its end"),
        (gzip.compress(b" " * 20_000_000, mtime=0), "gzip", 413, "larger than 2 MB once it is unpacked"),
        (b" " * (MOST_BYTES + 1), "", 413, "larger than 500 KB"),
        (b"{}", "br", 415, "Content-Encoding: gzip"),
        (b"{", "", 400, "not JSON"),
        (b"", "", 400, "not JSON"),
        (b'{"batch":[NaN]}', "", 400, "not JSON"),
        (b'{"a":1234567890123456.7, "b":1e99999999999999999999}', "", 400, "not JSON"),
        (b"[" * 100_000, "", 400, "not JSON"),
        (b"[1234567890123456.7," + b"[" * 100_000, "", 400, "not JSON"),
        (b'"track"', "", 400, "not a JSON object"),
        (b'{"batch":[{"type":"track"}, {"type":"track"}]}', "", 400, "None of the 2 events can be used. The first: "),
        (b'{"userId":"u","type":"jump"}', "", 400, "type is none of"),
        (
            b'{"userId":"u","type":"identify","traits":{"n":1234567890123456789e999999999}}', "", 400, "can't be kept",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_taken_says_why(door: Door, data: bytes, encoding: str, status: int, words: str) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    answer = door.post(data=data, headers=headers)
    assert words in refusal(answer, status)
    assert "Retry-After" not in answer.headers
    assert door.taken.events == []
    assert door.taken.calls[0][0] == ("too_large" if status == 413 else "bad")


def test_a_body_of_the_largest_size_is_taken(door: Door) -> None:
    body = json.dumps({"batch": [TRACK]}).encode()
    said(door.post(data=body + b" " * (MOST_BYTES - len(body))), 200)


def test_bad_events_of_a_batch_are_named_and_the_others_taken(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    body = {"batch": [TRACK, {"type": "track", "event": "Reyes"}, {**TRACK, "messageId": "m2"}]}
    assert said(door.post(body=body), 200) == {
        "success": True,
        "refused": [{"index": 1, "reason": "The event has neither userId nor anonymousId."}],
    }
    assert door.taken.ids == ["m1", "m2"]
    assert door.taken.calls == [("ok", 2, 0, 1)]
    told = capsys.readouterr()
    assert "product events refused" in told.out + told.err
    assert "Reyes" not in told.out + told.err


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_found_wherever_clients_put_it(keyed: Door, key: str) -> None:
    said(keyed.post(headers=basic(key)), 200)
    said(keyed.post(headers={"X-Write-Key": key}), 200)
    said(keyed.post(body={"writeKey": key, "batch": [TRACK]}), 200)
    said(keyed.post(body={**TRACK, "writeKey": key}, headers={"Authorization": "Bearer of-a-proxy"}), 200)
    assert keyed.taken.ids == ["m1"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, TRACK),
        (basic("wrong"), TRACK),
        (basic("wrong"), {**TRACK, "writeKey": KEYS[0]}),
        (basic(""), TRACK),
        (basic("Åsa"), TRACK),
        ({"Authorization": "Basic =="}, TRACK),
        ({"Authorization": "Basic"}, TRACK),
        ({"X-Write-Key": KEYS[0] + "x"}, TRACK),
        ({}, {**TRACK, "writeKey": ""}),
        ({}, {**TRACK, "writeKey": [KEYS[0]]}),
        ({}, [TRACK]),
    ],
)
def test_a_wrong_key_or_none_is_turned_away(keyed: Door, headers: dict[str, str], body: Any) -> None:
    sentence = refusal(keyed.post(body=body, headers=headers), 401)
    assert "product.write_keys" in sentence
    assert not any(key in sentence for key in KEYS)
    assert keyed.taken.calls == [("unauthorized", 0, 0, 0)]


def test_a_door_that_others_can_reach_takes_nothing_without_keys(settings: Settings) -> None:
    with opened(settings, is_private=False) as door:
        assert "set product.write_keys (HEADRACE_PRODUCT__WRITE_KEYS)" in refusal(door.post(), 403)
        assert door.taken.calls == [("unauthorized", 0, 0, 0)]


def test_the_token_for_queries_does_not_guard_this_door(settings: Settings) -> None:
    guarded = settings.model_copy(update={"web": settings.web.model_copy(update={"token": SecretStr("correct horse")})})
    with opened(guarded, keys=KEYS) as door:
        said(door.post(headers=basic(KEYS[0])), 200)


def test_a_proxys_host_name_is_as_good_as_any_once_there_are_keys(settings: Settings) -> None:
    elsewhere = {"Host": "events.example.com"}
    with opened(settings, keys=KEYS) as door:
        said(door.post(headers={**elsewhere, **basic(KEYS[0])}), 200)
        assert requests.get(f"{door.url}/livez", headers=elsewhere, timeout=30).status_code == 400
    with opened(settings) as door:
        assert door.post(headers=elsewhere).status_code == 400


@pytest.mark.parametrize("path", ["/v1/t", "/v1/batch", "/api/s/track"])
def test_pages_of_any_site_may_ask_first(door: Door, path: str) -> None:
    asked = {
        "Origin": "https://app.example.com", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-write-key",
    }  # fmt: skip
    answer = requests.options(f"{door.url}{path}", headers=asked, timeout=30)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    assert answer.headers["Access-Control-Allow-Headers"] == asked["Access-Control-Request-Headers"]
    assert door.taken.calls == []


def test_another_method_or_address_says_where_to_go(door: Door) -> None:
    for answer in (requests.get(f"{door.url}/v1/track", timeout=30), door.post("/v1/jump")):
        assert answer.status_code == 404
        assert "POST events to /v1/batch" in answer.json()["error"]


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (FullError("Redis at secret.example.com is full."), 429, "full"),
        (UnreachableError("Redis at secret.example.com does not answer."), 503, "away"),
        (RunError("Redis at secret.example.com refused a command."), 503, "away"),
        (ZeroDivisionError("secret.example.com"), 500, "failed"),
    ],
)
def test_what_may_work_later_says_when_and_not_what_is_wrong(
    door: Door, error: Exception, status: int, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    door.taken.error = error
    answer = door.post()
    assert refusal(answer, status) == "Events can't be taken at the moment: send them again in a few seconds."
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert door.taken.calls == [(outcome, 0, 0, 0)]
    told = capsys.readouterr()
    assert "secret" not in told.out + told.err
    door.taken.error = None
    said(door.post(), 200)


def test_slow_calls_do_not_keep_the_door_from_answering(settings: Settings) -> None:
    began, may_end = threading.Semaphore(0), threading.Event()

    def slow(events: Sequence[Mapping[str, Any]]) -> int:
        began.release()
        assert may_end.wait(20)
        return len(events)

    with WorkerDoor(settings, intake=Intake(take=slow)) as door:
        answers: list[int] = []
        post = Door(door.url, Taken()).post
        threads = [threading.Thread(target=lambda: answers.append(post().status_code)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            assert began.acquire(timeout=20)
        assert requests.get(f"{door.url}/livez", timeout=5).status_code == 200
        assert requests.post(f"{door.url}/api/sql", json={"sql": "SELECT 1"}, timeout=5).status_code == 503
        may_end.set()
        for thread in threads:
            thread.join()
    assert answers == [200] * 12


def test_a_caller_that_hangs_up_half_way_does_no_harm(door: Door) -> None:
    host, port = door.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
    said(door.post(), 200)
    assert door.taken.ids == ["m1"]


def with_redis(settings: Settings, url: str, **product: Any) -> Settings:
    return settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"url": url}),
            "product": settings.product.model_copy(update=product),
        }
    )


def shown(measures: Measures, name: str, outcome: str) -> float:
    text = measures.page()[0].decode()
    [line] = [line for line in text.splitlines() if line.startswith(f'{name}{{outcome="{outcome}"}}')]
    return float(line.rpartition(" ")[2])


def test_events_reach_redis_and_are_counted_without_a_store(settings: Settings, tmp_path: Path) -> None:
    with embedded(tmp_path / "valkey") as url:
        mine = with_redis(settings, url, write_keys=[SecretStr(KEYS[0])])
        measures = Measures(mine)
        with intake(mine, measures) as taking, WorkerDoor(mine, measures=measures, intake=taking) as door:
            post = Door(door.url, Taken()).post
            body = {"batch": [TRACK, {**TRACK, "messageId": "m2"}, {"type": "jump"}]}
            said(post(body=body, headers=basic(KEYS[0])), 200)
            said(post(body=body, headers=basic(KEYS[0])), 200)
            refusal(post(body=body), 401)
        with connect(url) as client:
            entries: Any = client.xrange(PRODUCT_STREAM)
        assert [fields[b"id"] for _, fields in entries] == [b"product:m1", b"product:m2"]
    events, calls = "headrace_product_events_total", "headrace_product_calls_total"
    assert [shown(measures, events, one) for one in ("accepted", "duplicate", "refused")] == [2, 2, 2]
    assert [shown(measures, calls, one) for one in ("ok", "unauthorized", "bad", "away")] == [2, 1, 0, 0]


def test_a_door_that_is_switched_off_is_not_there(settings: Settings) -> None:
    mine = with_redis(settings, "embedded", enabled=False)
    with intake(mine, Measures(mine)) as taking, WorkerDoor(mine, intake=taking) as door:
        assert requests.post(f"{door.url}/v1/batch", json=TRACK, timeout=30).status_code == 404


def made(number: int) -> dict[str, Any]:
    at = "2026-11-22T05:00:00.000Z"
    return {"id": f"product:m{number}", "type": "track", "user_id": "u", "time": at, "received_at": at}


def test_a_redis_in_which_too_much_waits_takes_no_more_and_is_written_about_once(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = [0.0]
    with embedded(tmp_path / "valkey") as url:
        limits = settings.streams.model_copy(update={"high_water": 100})
        mine = with_redis(settings, url).model_copy(update={"streams": limits})
        channel = Channel(mine, clock=lambda: seconds[0])
        assert channel.take([made(n) for n in range(100)]) == 100
        seconds[0] = 2.0
        for _ in range(3):
            with pytest.raises(FullError, match=r"100 product events wait"):
                channel.take([made(100)])
        with connect(url) as client:
            client.xtrim(PRODUCT_STREAM, maxlen=10, approximate=False)
        seconds[0] = 4.0
        assert channel.take([made(100)]) == 1
        channel.close()
    told = "".join(capsys.readouterr())
    assert told.count("product events can't be taken") == told.count("product events are taken again") == 1


def test_a_redis_that_comes_back_is_found_again_wherever_it_answers(settings: Settings) -> None:
    seconds = [0.0]
    mine = with_redis(settings, "embedded")
    channel = Channel(mine, clock=lambda: seconds[0])
    with embedded(mine.redis_directory) as url:
        assert channel.take([made(1)]) == 1
        with suppress(RedisError), probe(url) as client:
            client.execute_command("SHUTDOWN NOW FORCE")
        with pytest.raises(HeadraceError):
            channel.take([made(1)])
        with pytest.raises(UnreachableError):  # for a second it is not even tried
            channel.take([made(1)])
        seconds[0] = 1.0
        assert channel.take([made(1)]) == 0
        assert channel.take([made(2)]) == 1
    channel.close()


def test_a_redis_that_never_answers_is_said_so_at_once_the_second_time(settings: Settings) -> None:
    channel = Channel(with_redis(settings, "redis://127.0.0.1:1/0"), clock=lambda: 0.0)
    told: list[str] = []
    for _ in range(2):
        with pytest.raises(UnreachableError) as failure:
            channel.take([])
        told.append(str(failure.value))
    assert told[0] == told[1]
    assert "does not answer" in told[0]
    channel.close()
