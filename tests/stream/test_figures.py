"""What /metrics shows of Redis: the truth while it answers, and a sentence at once when it does not."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.stream.connection import Client
from integration.stream.dead import bury
from integration.stream.embedded import embedded
from integration.stream.figures import StreamFigures, StreamWatch
from integration.stream.groups import ack, ensure_group
from integration.stream.names import GROUP, REREAD_KEY, SWEPT_KEY
from schemas import DeadLetter

STREAM = "crm.contact"


class Clock:
    """Seconds that pass when told to, so that nothing is remembered from the last look."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 100.0
        return self.seconds


@pytest.fixture
def watch(redis_url: str, redis_client: Client) -> Iterator[StreamWatch]:
    watching = StreamWatch(["crm.lead"], clock=Clock())
    watching.follow(redis_url)
    yield watching
    watching.follow(None)


def read(client: Client, count: int) -> list[str]:
    reply: Any = client.xreadgroup(GROUP, "worker", {STREAM: ">"}, count=count)
    return [offset.decode() for _, entries in reply for offset, _ in entries]


def test_lag_pending_and_the_age_of_the_oldest_follow_the_group(redis_client: Client, watch: StreamWatch) -> None:
    for millis in (5_000, 6_000, 7_000):
        redis_client.xadd(STREAM, {"n": millis}, id=f"{millis}-0")
    assert watch.look().streams[STREAM] == StreamFigures(3, 3, 0, 0, 5.0)  # nobody reads it: everything waits
    ensure_group(redis_client, STREAM, "")
    first, second = read(redis_client, 2)
    assert watch.look().streams[STREAM] == StreamFigures(3, 1, 2, 0, 5.0)
    ack(redis_client, STREAM, [first])
    assert watch.look().streams[STREAM] == StreamFigures(3, 1, 1, 0, 6.0)
    ack(redis_client, STREAM, [second])
    assert watch.look().streams[STREAM] == StreamFigures(3, 1, 0, 0, 7.0)
    ack(redis_client, STREAM, read(redis_client, 1))
    assert watch.look().streams[STREAM] == StreamFigures(3, 0, 0, 0, None)


def test_a_lag_that_redis_does_not_know_is_all_there_is_until_it_is_nothing(
    redis_client: Client, watch: StreamWatch
) -> None:
    offsets = [redis_client.xadd(STREAM, {"n": n}) for n in range(4)]
    ensure_group(redis_client, STREAM, "")
    redis_client.xdel(STREAM, offsets[2])
    redis_client.xgroup_setid(STREAM, GROUP, offsets[0])
    assert watch.look().streams[STREAM].lag == 3
    redis_client.xgroup_setid(STREAM, GROUP, offsets[3])
    assert watch.look().streams[STREAM].lag == 0


def test_expected_streams_are_there_before_their_first_entry_and_dead_letters_are_counted(
    redis_client: Client, watch: StreamWatch
) -> None:
    offset = redis_client.xadd(STREAM, {"data": "nonsense"})
    at = "2026-11-22T05:00:00Z"
    assert isinstance(offset, bytes)
    letter = DeadLetter(
        stream=STREAM, offset=offset.decode(), reason="no", first_tried_at=at, last_tried_at=at, fields={"n": "0"}
    )
    bury(redis_client, [letter])
    streams = watch.look().streams
    assert streams.keys() == {STREAM, "crm.lead"}
    assert streams["crm.lead"] == StreamFigures()
    assert streams[STREAM].dead == 1


def test_memory_rereading_and_sweeps_are_told(redis_client: Client, watch: StreamWatch) -> None:
    redis_client.set(SWEPT_KEY, "2026-11-22T05:00:00Z")
    done = '{"started": "2026-11-22T04:00:00Z", "ended": "2026-11-22T04:10:00Z"}'
    redis_client.hset(REREAD_KEY, mapping={"Account": done, "began": "2026-11-22T06:00:00Z", "position": "{}"})
    figures = watch.look()
    assert figures.swept == "2026-11-22T05:00:00Z"
    assert figures.reread == {"Account": "2026-11-22T04:00:00Z"}
    assert figures.used_memory > 100_000
    assert figures.max_memory == 0


def test_a_redis_that_goes_away_is_a_sentence_and_one_that_comes_back_is_found_again(tmp_path: Path) -> None:
    watching = StreamWatch(clock=Clock())
    assert watching.problem() == watching.look().problem == "Redis has not been reached yet."
    with embedded(tmp_path / "valkey") as url:
        watching.follow(url)
        assert watching.problem() is None
        assert watching.look().problem is None
    told = watching.problem()
    assert told is not None
    assert "does not answer" in told
    assert watching.look().problem == told
    assert watching.look().streams == {}
    with embedded(tmp_path / "valkey") as url:
        watching.follow(url)
        assert watching.problem() is None
    watching.follow(None)


def test_a_redis_that_says_nothing_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        watching = StreamWatch(patience=0.1)
        watching.follow(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert "does not answer" in str(watching.problem())
        assert time.monotonic() - began < 8  # a client that tries again and again would take far longer
        watching.follow(None)
