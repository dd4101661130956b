"""headrace streams, on a real Valkey."""

import json
import re
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


def test_a_condition_may_be_about_anything_in_the_entry(
    run: Run, server: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, 1, StageName="Prospecting", Amount=500)
    won = publish(server, 2, StageName="Closed Won", Amount=Decimal("1500.50"), CloseDate="2026-11-20")
    server.xadd("crm.opportunity", {"event": "Sign Up", "plan": "free"})

    def peeked(*conditions: str) -> list[str]:
        words = [word for condition in conditions for word in ("--where", condition)]
        assert run("streams", "peek", "crm.opportunity", "--last", "10", "--json", *words) == 0
        return [entry["offset"] for entry in json.loads(capsys.readouterr().out)]

    assert peeked("StageName~=closed") == [won]
    assert peeked("data.fields.Amount>1000", "subject=Opportunity/006*", "origin=poll") == [won]
    assert peeked("CloseDate<2026-11-21") == [won]
    assert peeked("StageName!=Prospecting") == [won]
    assert len(peeked("plan=free")) == 1
    assert peeked("plan=free", "origin=poll") == []


def test_peek_looks_for_types_and_says_what_nothing_has(
    run: Run, server: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    offsets = [publish(server, number) for number in range(5)]
    assert run("streams", "peek", "crm.opportunity", "--type", "*.updated", "--last", "2", "--jsonl") == 0
    assert [json.loads(line)["offset"] for line in capsys.readouterr().out.splitlines()] == offsets[3:]
    assert run("streams", "peek", "crm.opportunity", "--type", "contact.*") == 0
    assert capsys.readouterr() == ("", "None of the 5 entries looked at fits.\n")
    assert run("streams", "peek", "crm.opportunity", "--where", "stagename=Won") == 0
    assert capsys.readouterr().err == "None of the 5 entries looked at fits. No entry has a field stagename.\n"


def test_peek_and_tail_take_times(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    server.xadd("crm.opportunity", {"n": "1"}, id="1790000000000-0")  # 2026-09-21T14:13:20Z
    server.xadd("crm.opportunity", {"n": "2"}, id="1790000060000-0")
    server.xadd("crm.opportunity", {"n": "3"}, id="1790000120000-5")

    def peeked(*words: str) -> list[str]:
        assert run("streams", *words, "--json") == 0
        return [entry["raw"]["n"] for entry in json.loads(capsys.readouterr().out)]

    peek = ("peek", "crm.opportunity", "--count", "9")
    assert peeked(*peek, "--from", "2026-09-21T14:14:20Z") == ["2", "3"]
    assert peeked(*peek, "--from", "2026-09-21", "--to", "2026-09-21T14:14:20Z") == ["1"]
    assert peeked("peek", "crm.opportunity", "--to", "2026-09-21T16:15:20+02:00") == ["2"]
    assert peeked("peek", "crm.opportunity", "--last", "2", "--from", "1970-01-01") == ["2", "3"]
    assert peeked("peek", "crm.opportunity", "--from", "1970-01-01") == ["1"]
    assert peeked("tail", "crm.opportunity", "--start", "2026-09-21T14:14:20Z", "--count", "2") == ["2", "3"]
    assert peeked("tail", "crm.opportunity", "--start", "1790000060000-0", "--count", "1") == ["3"]
    assert run("streams", "peek", "crm.opportunity", "--from", "2027-01-01") == 0
    assert capsys.readouterr().err == "crm.opportunity has no entry of that time.\n"
    assert run("streams", "peek", "crm.opportunity", "--from", "-7d", "--to", "now") == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("peek", "crm.opportunity", "--where", "StageName"),
            "--where StageName is no condition: write FIELD=VALUE, or",
        ),
        (("peek", "crm.opportunity", "--where", "Amount>much"), "--where Amount>much is no condition: > compares"),
        (("tail", "--where", "=Won"), "--where =Won is no condition: write FIELD=VALUE, or"),
        (("peek", "crm.opportunity", "--from", "soon"), "--from: 'soon' is not a time: write one such as 2026-11-22"),
        (("peek", "crm.opportunity", "--to", "2026-13-01"), "--to: '2026-13-01' is not a time"),
        (("peek", "crm.opportunity", "--from", "now", "--to", "-1d"), "--from now is not before --to -1d"),
        (("tail", "--start", "soon"), "--start: 'soon' is neither an offset, such as 1795323942655-0, nor a time"),
        (("peek", "crm.opportunity", "1-2-3"), "'1-2-3' is not an entry id"),
        (("peek", "crm.opportunity", "0", "--last", "2"), "--last counts back from the newest entry"),
        (("peek", "crm.opportunity", "--count", "1", "--last", "2"), "--last counts back from the newest entry"),
        (("peek", "crm.opportunity", "0", "--from", "-1d"), "OFFSET and --from both say where to begin"),
        (("peek", "crm.oportunity"), "There is no stream crm.oportunity; did you mean crm.opportunity?"),
        (("inspect", "opportunity"), "There is no stream opportunity; did you mean crm.opportunity?"),
        (("pending", "crm.nothing"), "There is no stream crm.nothing: `headrace streams ls` lists"),
        (("inspect", "a.string"), "a.string is a string in Redis, not a stream"),
        (("peek", "a.string"), "a.string is a string in Redis, not a stream"),
        (("pending", "a.string"), "a.string is a string in Redis, not a stream"),
        (("tail", "a.string"), "a.string is a string in Redis, not a stream"),
        (("pending", "crm.opportunity"), "crm.opportunity has no group: nobody has read it yet"),
        (("pending", "crm.opportunity", "--idle", "long"), "--idle: 'long' is not a length of time"),
    ],
)
def test_wrong_words_get_one_sentence(
    words: tuple[str, ...], sentence: str, run: Run, server: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, 1)
    server.set("a.string", "1")
    assert run("streams", *words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"headrace: {sentence}")
    assert shown.err.count("\n") == 1


def test_tail_says_for_what_it_waits(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    publish(server, 1)
    words = ("tail", "crm.opportunitty", "crm.opportunity", "--start", "0", "--count", "1")
    assert run("streams", *words) == 0
    shown = capsys.readouterr()
    assert shown.err == "There is no stream crm.opportunitty yet (there is crm.opportunity): waiting for it.\n"
    assert len(shown.out.splitlines()) == 1


def test_inspect_tells_all_about_a_stream(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    offsets = [publish(server, number) for number in range(3)]
    server.xadd("crm.opportunity", {"hello": "world"})
    server.xadd("crm.opportunity.dead", {"x": "y"})
    server.xgroup_create("crm.opportunity", "store", id="0")
    server.xreadgroup("store", "flattener", {"crm.opportunity": ">"}, count=2)
    assert run("streams", "inspect", "crm.opportunity", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (group,) = document["groups"]
    assert (document["name"], document["length"], document["first"], document["dead"]) == (
        "crm.opportunity",
        4,
        offsets[0],
        1,
    )
    assert document["bytes"] > 1000
    assert document["first_at"].endswith("Z")
    assert (group["name"], group["lag"], group["pending"], group["oldest_pending"]) == ("store", 2, 2, offsets[0])
    assert group["last_delivered"] == offsets[1]
    assert group["oldest_pending_at"] == document["first_at"]
    assert [(one["name"], one["pending"]) for one in group["consumers"]] == [("flattener", 2)]
    assert document["newest"] == {
        "looked_at": 4,
        "ours": 3,
        "types": [
            {"type": "com.salesforce.opportunity.updated.v1", "entries": 3},
            {"type": None, "entries": 1},
        ],
    }
    assert run("streams", "inspect", "crm.opportunity") == 0
    text = capsys.readouterr().out
    assert "entries       4; 3 of the newest 4 written by headrace" in text
    assert re.search(rf"first +{offsets[0]}, .*Z \(\d+s ago\)", text)
    assert re.search(r"memory +[\d.]+ kB", text)
    assert "TYPES OF THE NEWEST 4 ENTRIES" in text
    assert re.search(r"opportunity\.updated\.v1 +3", text)


def test_inspect_is_honest_about_what_redis_does_not_know(
    run: Run, server: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    offsets = [publish(server, number) for number in range(4)]
    server.xgroup_create("crm.opportunity", "store", id=offsets[0])
    server.xdel("crm.opportunity", offsets[2])
    assert run("streams", "inspect", "crm.opportunity", "--json") == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["lag"] is None
    assert run("streams", "inspect", "crm.opportunity") == 0
    assert re.search(r"store +unknown +0", capsys.readouterr().out)


def test_inspect_takes_foreign_and_empty_streams(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    server.xadd("celery", {"x": "y"})
    server.xgroup_create("crm.empty", "store", mkstream=True)
    server.xadd("crm.opportunity.dead", {"x": "y"})
    assert run("streams", "inspect", "celery") == 0
    assert "1; none of the newest 1 written by headrace" in capsys.readouterr().out
    assert run("streams", "inspect", "crm.empty") == 0
    assert "entries       0\n" in capsys.readouterr().out
    assert run("streams", "inspect", "crm.opportunity.dead") == 0
    assert "dead letters" not in capsys.readouterr().out


def test_pending_shows_who_holds_what(run: Run, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
    offsets = [publish(server, number) for number in range(3)]
    server.xgroup_create("crm.opportunity", "store", id="0")
    assert run("streams", "pending", "crm.opportunity") == 0
    assert capsys.readouterr() == ("", "Nothing of crm.opportunity is pending in the group store.\n")
    server.xreadgroup("store", "flattener", {"crm.opportunity": ">"})
    server.xclaim("crm.opportunity", "store", "flattener", 0, [offsets[1]], idle=90_000)
    server.xdel("crm.opportunity", offsets[2])
    assert run("streams", "pending", "crm.opportunity") == 0
    head, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["OFFSET", "CONSUMER", "IDLE", "DELIVERIES", "TYPE", "SUBJECT"]
    assert lines[0][:2] + lines[0][3:] == [
        *(offsets[0], "flattener"),
        *("1", "opportunity.updated.v1", "Opportunity/006000000000000AAA"),
    ]
    assert lines[2][4:] == ["trimmed", "away", "or", "deleted", "-"]
    assert run("streams", "pending", "crm.opportunity", "--idle", "60s", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["offset"], one["consumer"], one["deliveries"], one["is_gone"]) == (offsets[1], "flattener", 2, False)
    assert one["idle_ms"] >= 90_000
    assert run("streams", "pending", "crm.opportunity", "--count", "2", "--json") == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 2
    assert shown.err == "There may be more than these 2: --count N shows them.\n"
    assert run("streams", "pending", "crm.opportunity", "--idle", "1d") == 0
    assert capsys.readouterr().err == (
        "Nothing of crm.opportunity that was delivered 1d ago or earlier is pending in the group store.\n"
    )
    assert run("streams", "pending", "crm.opportunity", "--group", "stor") == 2
    assert capsys.readouterr().err == (
        "headrace: crm.opportunity has no group stor; did you mean store? It has store.\n"
    )


def test_where_no_stream_was_ever_made_it_says_so(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "embedded")
    for words in (("ls",), ("inspect", "crm.contact"), ("pending", "crm.contact"), ("peek", "crm.contact")):
        assert run("streams", *words) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert re.fullmatch(r"headrace: There are no streams at .* yet: run headrace sync .*\n", shown.err)


def test_tail_without_any_stream_gets_one_sentence(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("streams", "tail") == 2
    assert capsys.readouterr().err.startswith("headrace: There is no stream yet: ")


@pytest.mark.parametrize(
    "words",
    [("ls",), ("lag",), ("peek", "crm.contact"), ("tail", "crm.contact"), ("inspect", "a"), ("pending", "a")],
)
def test_an_unreachable_redis_ends_with_3(
    words: tuple[str, ...], run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "redis://me:hush@127.0.0.1:1/0")
    assert run("streams", *words) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("headrace: Redis at 127.0.0.1:1 does not answer")
    assert "hush" not in shown.err
