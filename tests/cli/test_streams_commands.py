"""headrace streams, on a real Valkey."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from integration.stream.connection import Client, connect
from integration.stream.embedded import embedded
from integration.stream.entry import to_entry

Run = Callable[..., int]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def server(redis_url: str) -> Iterator[Client]:
    with connect(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def run(server: Client, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    from integration.cli.app import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_REDIS__URL", redis_url)
    return lambda *words: run(words)


def publish(server: Client, number: int, **record_fields: object) -> str:
    record = f"006{number:012d}AAA"
    capture = {
        "id": f"00D000000000001AAA:Opportunity:{record}:2026-11-22T05:00:00Z",
        "org": "00D000000000001AAA",
        "object": "Opportunity",
        "record_id": record,
        "system_modstamp": "2026-11-22T05:00:00Z",
        "is_deleted": False,
        "fields": {"Id": record, "CreatedDate": "2026-01-02T03:04:05.000+0000", **record_fields},
        "schema_id": "5eed",
        "origin": "poll",
        "seen_at": "2026-11-22T06:00:00Z",
    }
    fields: dict[Any, Any] = dict(to_entry(capture))
    offset = server.xadd("crm.opportunity", fields)
    return offset.decode() if isinstance(offset, bytes) else str(offset)


def test_ls_shows_every_stream_with_its_groups(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    publish(server, 1)
    publish(server, 2)
    server.xgroup_create("crm.opportunity", "store", id="0")
    server.xreadgroup("store", "me", {"crm.opportunity": ">"}, count=1)
    server.xadd("product.events", {"a": "b"})
    assert run("streams", "ls") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["STREAM", "LENGTH", "LAST", "GROUP", "LAG", "PENDING", "DEAD"]
    assert [line[:2] + line[-4:] for line in lines[1:]] == [
        ["crm.opportunity", "2", "store", "1", "1", "0"],
        ["product.events", "1", "-", "1", "0", "0"],
    ]
    assert run("streams", "ls", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["length"], first["groups"][0]["lag"]["pending"]) == ("crm.opportunity", 2, 1)
    assert second["name"] == "product.events"


def test_lag_above_the_limit_ends_with_5(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    publish(server, 1)
    publish(server, 2)
    server.xgroup_create("crm.opportunity", "store", id="0")
    assert run("streams", "lag", "--max", "2") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["crm.opportunity", "store", "2", "0"]
    assert run("streams", "lag", "--max", "1", "--json") == 5
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [{"stream": "crm.opportunity", "group": "store", "lag": 2, "pending": 0}]
    assert shown.err == "headrace: crm.opportunity: more than 1 entries behind, or it is unknown how many.\n"


def test_an_unknown_lag_is_no_zero(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    offsets = [publish(server, number) for number in range(4)]
    server.xgroup_create("crm.opportunity", "store", id=offsets[0])
    server.xdel("crm.opportunity", offsets[2])
    assert run("streams", "lag") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["crm.opportunity", "store", "-", "0"]
    assert run("streams", "lag", "--max", "1000000") == 5


def test_peek_shows_the_newest_entry_decoded(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    first = publish(server, 1, Amount=Decimal("12345678901234567.89"), Name="Big\x1b[2J deal")
    second = publish(server, 2)
    assert run("streams", "peek", "crm.opportunity", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["offset"], entry["ours"]) == (second, True)
    assert run("streams", "peek", "crm.opportunity", first) == 0
    shown = capsys.readouterr().out
    assert f"[crm.opportunity {first}]" in shown
    assert '"Amount": 12345678901234567.89' in shown
    assert "\x1b" not in shown
    assert run("streams", "peek", "crm.opportunity", "--count", "2", "--jsonl") == 0
    assert [json.loads(line)["offset"] for line in capsys.readouterr().out.splitlines()] == [first, second]


def test_peek_of_an_unknown_stream_gets_one_sentence(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("streams", "peek", "crm.nothing") == 2
    assert capsys.readouterr() == (
        "",
        "headrace: There is no stream crm.nothing: `headrace streams ls` lists those there are.\n",
    )


def test_tail_prints_what_was_asked_for(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    publish(server, 1, StageName="Prospecting")
    won = publish(server, 2, StageName="Closed Won")
    server.xadd("crm.lead", {"none": "of ours"})
    where = ("--where", "StageName=Closed Won", "--type", "opportunity.*", "--start", "0", "--count", "1")
    assert run("streams", "tail", *where) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "Opportunity/006000000000002AAA  poll" in line
    assert line.endswith(f"[crm.opportunity {won}]")
    assert run("streams", "tail", "crm.opportunity", *where, "--jsonl") == 0
    assert json.loads(capsys.readouterr().out)["offset"] == won
    assert run("streams", "tail", "crm.opportunity", *where, "--json") == 0
    assert [entry["offset"] for entry in json.loads(capsys.readouterr().out)] == [won]


def test_tail_without_any_stream_gets_one_sentence(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("streams", "tail") == 2
    assert capsys.readouterr().err.startswith("headrace: There is no stream yet: ")


@pytest.mark.parametrize("words", [("ls",), ("lag",), ("peek", "crm.contact"), ("tail", "crm.contact")])
def test_an_unreachable_redis_ends_with_3(
    words: tuple[str, ...], run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "redis://me:hush@127.0.0.1:1/0")
    assert run("streams", *words) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("headrace: Redis at 127.0.0.1:1 does not answer")
    assert "hush" not in shown.err
