"""Product events of the past, from files into the store: each once, whatever else goes on."""

import csv
import gzip
import json
import signal
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import Shell, sentence

from integration.settings import Settings, load
from integration.store.answers import ask
from integration.store.opening import open_reader
from integration.stream.connection import Client, connect
from integration.stream.embedded import embedded
from integration.stream.names import PRODUCT_STREAM, TAKEN_KEY
from integration.wiring.event_files import Reading
from integration.wiring.imports import Asked, ImportProgress, ImportReport, import_events

EVENTS = "SELECT event_id, time, name, user_id, origin, source, properties FROM events ORDER BY event_id"
PEOPLE = "SELECT * EXCLUDE (updated_at) FROM users ORDER BY user_id"
READING = Reading(defaults={"type": "track"})


class Place:
    """A folder with a store of its own; the streams are emptied."""

    def __init__(self, folder: Path, redis_url: str, **env: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.env = {
            "HEADRACE_REDIS__URL": redis_url,
            "HEADRACE_STORE__URL": f"duckdb:///{folder}/headrace.duckdb",
            "HEADRACE_LOG__LEVEL": "warning",
            "HEADRACE_SECRETS_DIR": "",
            **env,
        }
        self.settings: Settings = load(None, self.env)
        with connect(redis_url) as client:
            client.flushall()

    def take(self, *files: Path, **words: Any) -> ImportReport:
        return import_events(self.settings, Asked([str(file) for file in files], READING), **words)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with open_reader(self.settings.store.url) as reader:
            return ask(reader, sql)

    @property
    def shell(self) -> Shell:
        return Shell(self.folder, self.env)


Placed = Callable[..., Place]


@pytest.fixture
def placed(redis_url: str, tmp_path: Path) -> Placed:
    """Give a new folder with an empty store and empty streams."""
    places: list[Place] = []

    def place(redis: str = redis_url, **env: str) -> Place:
        places.append(Place(tmp_path / f"place{len(places)}", redis, **env))
        return places[-1]

    return place


def story(seed: int, count: int = 120) -> list[dict[str, Any]]:
    """Return calls of a few people, some with a message id of their own; no two are alike."""
    luck = Random(seed)
    found = []
    for number in range(count):
        kind = luck.choice(["track", "track", "page", "identify"])
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=luck.randrange(500_000), seconds=number % 60)
        call: dict[str, Any] = {"type": kind, "userId": f"u{luck.randrange(12)}", "timestamp": at.isoformat()}
        call |= {"anonymousId": f"a{luck.randrange(30)}"} if luck.random() < 0.3 else {}
        call |= {"messageId": f"m{number}"} if luck.random() < 0.5 else {}
        call |= {"context": {"campaign": {"source": luck.choice(["ad", "mail"])}}} if luck.random() < 0.4 else {}
        if kind == "track":
            call |= {"event": luck.choice(["Sign Up", "Run Query"]), "properties": {"n": number, "price": number / 8}}
        elif kind == "page":
            call |= {"name": "Pricing", "properties": {"url": f"/{number}"}}
        else:
            call |= {"traits": {"email": f"{call['userId']}@example.com", "plan": luck.choice(["free", "pro"])}}
        found.append(call)
    return found


def written(path: Path, calls: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(call) + "\n" for call in calls)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_a_file_that_is_imported_twice_is_stored_once(placed: Placed) -> None:
    place, calls = placed(), story(1)
    file = written(place.folder / "events.jsonl", calls)
    first = place.take(file)
    assert (first.rows, first.events, first.refused, first.stored) == (120, 120, 0, 120)
    assert (first.stored_by, first.dead_letters) == ("here", 0)
    events, people = place.rows(EVENTS), place.rows(PEOPLE)
    again = place.take(file, file)
    assert (again.rows, again.events, again.stored) == (240, 240, 0)
    assert (place.rows(EVENTS), place.rows(PEOPLE)) == (events, people)
    # As the calls tell it, counted by hand.
    times = sorted(datetime.fromisoformat(call["timestamp"]).isoformat().replace("+00:00", "Z") for call in calls)
    assert sorted(event["time"] for event in events) == times
    told = {call["userId"]: call["traits"] for call in sorted(calls, key=lambda c: c["timestamp"]) if "traits" in call}
    assert {row["user_id"]: row["plan"] for row in people if row["plan"]} == {u: one["plan"] for u, one in told.items()}
    assert {row["identity"] for row in people if row["identity"]} == {one["email"] for one in told.values()}
    assert {event["origin"] for event in events} == {"product"}
    assert len(place.rows("SELECT * FROM sign_up")) == sum(call.get("event") == "Sign Up" for call in calls)
    assert place.rows("SELECT count(*) AS n FROM sessions")[0]["n"] > 0, "the marts are worked out too"


def test_a_store_that_was_lost_is_filled_again_though_redis_remembers(placed: Placed) -> None:
    place = placed()
    file = written(place.folder / "events.jsonl", story(2))
    assert place.take(file).stored == 120
    with connect(place.env["HEADRACE_REDIS__URL"]) as client:
        client.delete(PRODUCT_STREAM)
    (place.folder / "headrace.duckdb").unlink()
    assert place.take(file).stored == 120


def test_in_any_pieces_and_any_order_the_store_ends_the_same(placed: Placed) -> None:
    whole = placed()
    calls, luck = story(3), Random(3)
    assert whole.take(written(whole.folder / "events.jsonl", calls)).stored == len(calls)
    events, people = whole.rows(EVENTS), whole.rows(PEOPLE)
    pieces = placed()
    some = calls + luck.sample(calls, 60)
    luck.shuffle(some)
    cuts = [0, *sorted(luck.sample(range(len(some)), 4)), len(some)]
    files = [
        written(pieces.folder / f"{n}.jsonl{'.gz' if n % 2 else ''}", some[begin:end])
        for n, (begin, end) in enumerate(pairwise(cuts))
    ]
    reports = [pieces.take(*files[:3]), pieces.take(*files[2:]), pieces.take(files[0])]
    assert sum(report.stored or 0 for report in reports) == len(calls)
    assert pieces.rows(EVENTS) == events
    assert pieces.rows(PEOPLE) == people


def test_the_same_events_in_three_formats_are_the_same_rows(placed: Placed) -> None:
    calls = [call for call in story(4, 90) if call["type"] != "identify"]
    found = []
    for kind in ("jsonl", "csv", "parquet"):
        place = placed()
        file = place.folder / f"events.{kind}"
        if kind == "jsonl":
            written(file, calls)
        elif kind == "csv":
            as_csv(file, calls)
        else:
            as_parquet(file, calls)
        assert place.take(file).stored == len(calls)
        found.append((place.rows(EVENTS), place.rows(PEOPLE)))
    assert found[0] == found[1] == found[2]
    assert {event["properties"].get("price") for event in found[0][0]} >= {calls[0]["properties"].get("price")}


def as_csv(file: Path, calls: list[dict[str, Any]]) -> None:
    with file.open("w", newline="") as text:
        writer = csv.writer(text, delimiter=";")
        writer.writerow(
            ["timestamp", "type", "user_id", "anonymous_id", "message_id", "event", "name", "properties", "utm_source"]
        )
        for call in calls:
            source = call.get("context", {}).get("campaign", {}).get("source")
            names = ("timestamp", "type", "userId", "anonymousId", "messageId", "event", "name")
            writer.writerow([*(call.get(name) for name in names), json.dumps(call["properties"]), source])


def as_parquet(file: Path, calls: list[dict[str, Any]]) -> None:
    names = {"type": "type", "userId": "userId", "anonymousId": "anonymousId", "messageId": "messageId"}
    names |= {"event": "event", "name": "name"}
    columns = {name: [call.get(field) for call in calls] for name, field in names.items()}
    times = [datetime.fromisoformat(call["timestamp"]) for call in calls]
    columns["timestamp"] = pa.array(times, pa.timestamp("us", "UTC"))
    columns["n"] = pa.array([call["properties"].get("n") for call in calls], pa.int64())
    columns["price"] = pa.array([call["properties"].get("price") for call in calls], pa.float64())
    columns["url"] = [call["properties"].get("url") for call in calls]
    columns["context_campaign_source"] = [call.get("context", {}).get("campaign", {}).get("source") for call in calls]
    pq.write_table(pa.table(columns), file, row_group_size=17)


def test_what_can_not_be_used_is_told_kept_and_imported_once_it_is_right(placed: Placed) -> None:
    place = placed()
    good, late = story(5, 3)[:2], {"type": "track", "event": "Sign Up", "userId": "reyes@example.com"}
    lines = [json.dumps(good[0]), json.dumps(late), "Reyes", json.dumps({"batch": [good[1], {"type": "Reyes"}]})]
    (place.folder / "events.jsonl").write_text("\n".join(lines))
    done = place.shell.run("import", "events.jsonl", "--rejected", "bad.jsonl")
    assert done.returncode == 4
    assert sentence(done) == (
        "Finished, but not everything can be used (3 refused): bad.jsonl has the rest; corrected, it can be imported alone."
    )
    assert done.stdout.splitlines()[-1] == "4 rows read, 2 events, 3 refused: 2 new to the store, 0 known to it."
    assert "events.jsonl, line 2: An event of the past needs a timestamp, as ISO 8601." in done.stderr
    assert "events.jsonl, line 3: It is not JSON." in done.stderr
    assert "events.jsonl, line 4: type is none of" in done.stderr
    assert "Reyes" not in done.stderr + done.stdout
    assert (place.folder / "bad.jsonl").read_text().splitlines() == lines[1:]
    text = (
        (place.folder / "bad.jsonl").read_text().replace('{"type": "Reyes"}', json.dumps({**good[1], "messageId": "x"}))
    )
    right = text.replace("Reyes\n", "").replace('"userId": "reyes', '"timestamp": "2024-01-01", "userId": "reyes')
    done = place.shell.run("import", "-", "--json", stdin=right)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["events"], report["stored"], report["refused"]) == (2, 3, 2, 0)
    assert len(place.rows(EVENTS)) == 4


def test_a_dry_run_says_what_would_be_imported_and_leaves_nothing(placed: Placed) -> None:
    place = placed(HEADRACE_REDIS__URL="embedded")
    written(place.folder / "events.jsonl.gz", story(6))
    done = place.shell.run("import", "events.jsonl.gz", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["NAME", "EVENTS", "FIRST", "LAST"]
    assert done.stdout.splitlines()[-1] == "120 rows read, 120 events; nothing was imported."
    assert [path.name for path in place.folder.iterdir()] == ["events.jsonl.gz"]


def test_words_that_make_no_sense_are_told(placed: Placed) -> None:
    shell = placed().shell
    done = shell.run("import", "events.jsonl", "--column", "colour=x")
    assert (done.returncode, "with one of type, event" in sentence(done)) == (2, True)
    done = shell.run("import", "events.jsonl")
    assert (done.returncode, "can't be read" in sentence(done)) == (2, True)


def test_a_worker_that_owns_the_store_stores_what_is_imported(placed: Placed) -> None:
    place = placed(HEADRACE_WEB__PORT="0")
    written(place.folder / "events.jsonl", story(7))
    with place.shell.start("run", "consumer") as worker:
        worker.ready()
        done = place.shell.run("import", "events.jsonl", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["stored_by"] == f"process {worker.process.pid}"
        assert (report["published"], report["stored"]) == (120, 120)
        done = place.shell.run("import", "events.jsonl")
        assert done.stdout.splitlines()[-1] == "120 rows read, 120 events: 0 new to the store, 120 known to it."
        assert worker.end(signal.SIGTERM) == 0
    assert len(place.rows(EVENTS)) == 120


def test_what_stands_before_the_end_of_a_broken_file_is_stored_and_the_rest_once_it_is_whole(placed: Placed) -> None:
    place, calls = placed(), story(11, 700)
    file = written(place.folder / "events.jsonl.gz", calls)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    there = zlib.decompressobj(wbits=31).decompress(file.read_bytes()).count(b"\n")
    assert 200 < there < 700
    done = place.shell.run("import", "events.jsonl.gz")
    assert done.returncode == 1
    assert sentence(done).startswith("events.jsonl.gz is packed by gzip and is not whole: what stood before its end is")
    assert place.rows("SELECT count(*) AS n FROM events") == [{"n": there}]
    file.write_bytes(whole)
    assert place.take(file).stored == 700 - there


@pytest.mark.slow
def test_killed_in_the_middle_it_is_made_whole_by_the_same_words(placed: Placed) -> None:
    place = placed(HEADRACE_STREAMS__HIGH_WATER="400")
    calls = story(10, 3_000)
    written(place.folder / "events.jsonl", calls)
    with connect(place.env["HEADRACE_REDIS__URL"]) as client, place.shell.start("import", "events.jsonl") as running:
        running.until(lambda: bool(client.exists(PRODUCT_STREAM)) and client.xlen(PRODUCT_STREAM) >= 400)
        running.process.kill()
        running.process.wait(timeout=20)
        assert 400 <= client.xlen(PRODUCT_STREAM) < 3_000
    report = place.take(place.folder / "events.jsonl")
    assert report.stored is not None
    events = place.rows("SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events")
    assert events == [{"n": 3_000, "ids": 3_000}]


def noting(held: list[str | None]) -> Callable[[ImportProgress], None]:
    """Note why an import waits, and when it goes on."""

    def watch(progress: ImportProgress) -> None:
        if not held or held[-1] != progress.held:
            held.append(progress.held)

    return watch


def test_it_leaves_room_in_the_streams_for_what_happens_now(placed: Placed) -> None:
    place = placed(HEADRACE_STREAMS__HIGH_WATER="400")
    held: list[str | None] = []
    report = place.take(written(place.folder / "events.jsonl", story(8, 1_500)), on_change=noting(held))
    assert report.stored == 1_500
    assert any(told and "streams.high_water is 200" in told for told in held)
    assert held[-1] is None
    with connect(place.env["HEADRACE_REDIS__URL"]) as client:
        assert client.zcard(TAKEN_KEY) == 0, "what clients sent lately is not forgotten for it"


@pytest.fixture
def small_redis(tmp_path: Path) -> Iterator[tuple[str, Client]]:
    """A server with room for some megabytes."""
    with embedded(tmp_path / "small") as url, connect(url) as client:
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + 3_000_000)
        yield url, client


@pytest.mark.slow
def test_a_full_redis_is_waited_out(placed: Placed, small_redis: tuple[str, Client]) -> None:
    url, _ = small_redis
    place = placed(url, HEADRACE_STREAMS__MEMORY_PERCENT="100")
    calls = [{**call, "properties": {"text": "x" * 4_000}} for call in story(9, 2_000)]
    held: list[str | None] = []
    report = place.take(written(place.folder / "events.jsonl", calls), on_change=noting(held))
    assert (report.stored, report.dead_letters) == (2_000, 0)
    assert place.rows("SELECT count(*) AS n FROM events")[0]["n"] == 2_000
    assert any(told and ("maxmemory" in told or "is full" in told) for told in held)
