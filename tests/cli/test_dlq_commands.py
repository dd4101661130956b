"""headrace dlq, on a real Valkey."""

import json
import os
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from integration.stream import dead
from integration.stream.connection import Client, connect
from integration.stream.embedded import embedded
from integration.stream.entry import readable, to_entry
from integration.stream.names import settled_key
from schemas import DeadLetter

Run = Callable[..., int]
Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
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


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sit at a terminal and type: `at_a_terminal("y")`."""
    keyboard, terminal = os.openpty()

    def write(words: str) -> None:
        os.write(keyboard, f"{words}\n".encode())

    with open(terminal, closefd=False) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield write
    os.close(keyboard)
    os.close(terminal)


def record(number: int) -> str:
    return f"003{number:012d}AAA"


def give_up(server: Client, number: int, reason: str = "Amount is no number.", stream: str = "crm.contact") -> str:
    """Publish a capture and make it a dead letter; return its offset."""
    name = stream.removeprefix("crm.").capitalize()
    entry: dict[Any, Any] = to_entry(
        {
            "id": f"00D000000000001EAA:{name}:{record(number)}:2026-11-22T05:00:00Z",
            "org": "00D000000000001EAA",
            "object": name,
            "record_id": record(number),
            "system_modstamp": "2026-11-22T05:00:00Z",
            "is_deleted": False,
            "fields": {"Id": record(number), "Email": f"jane{number}@example.com", "Amount": 7, "OptOut": True},
            "schema_id": "5eed",
            "origin": "poll",
            "seen_at": "2026-11-22T06:00:00Z",
        }
    )
    offset = server.xadd(stream, entry).decode()  # type: ignore[union-attr]
    fields = readable({k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in entry.items()})
    stamp = "2026-11-22T06:00:01Z"
    letter = DeadLetter(
        stream=stream,
        offset=offset,
        reason=reason,
        first_tried_at=stamp,
        last_tried_at=stamp,
        deliveries=2,
        fields=fields,
    )
    dead.bury(server, [letter])
    return offset


def test_ls_shows_where_and_why_and_no_value(run: Run, server: Client, capsys: Shown) -> None:
    first, second = give_up(server, 1), give_up(server, 2, "What jane@example.com wrote is no date.")
    lead = give_up(server, 3, stream="crm.lead")
    assert run("dlq", "ls") == 0
    text = capsys.readouterr().out
    head, *lines = text.splitlines()
    assert head.split() == ["STREAM", "OFFSET", "SUBJECT", "REASON", "FIRST", "LAST", "DELIVERIES"]
    assert [line.split()[:3] for line in lines] == [
        ["crm.contact", first, f"Contact/{record(1)}"],
        ["crm.contact", second, f"Contact/{record(2)}"],
        ["crm.lead", lead, f"Lead/{record(3)}"],
    ]
    assert "jane" not in text
    assert run("dlq", "ls", "crm.lead", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "stream": "crm.lead",
            "offset": lead,
            "dead_offset": dead.list_dead(server, "crm.lead")[0].dead_offset,
            "subject": f"Lead/{record(3)}",
            "reason": "Amount is no number.",
            "first_tried_at": "2026-11-22T06:00:01Z",
            "last_tried_at": "2026-11-22T06:00:01Z",
            "deliveries": 2,
            "ours": True,
        }
    ]
    assert run("dlq", "ls", "--jsonl", "--where", "reason~=DATE") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["offset"], "jane" in line) == (second, False)


def test_ls_shows_the_newest_when_there_are_many(run: Run, server: Client, capsys: Shown) -> None:
    offsets = [give_up(server, number) for number in range(105)]
    assert run("dlq", "ls", "crm.contact") == 0
    shown = capsys.readouterr()
    assert [line.split()[1] for line in shown.out.splitlines()[1:]] == offsets[5:]
    assert shown.err == "crm.contact has 105 dead letters; these are the newest 100, --count N shows more.\n"
    assert run("dlq", "ls", "--count", "2", "--json") == 0
    assert [row["offset"] for row in json.loads(capsys.readouterr().out)] == offsets[103:]
    assert run("dlq", "ls", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 105


def test_without_dead_letters_it_says_so(run: Run, server: Client, capsys: Shown) -> None:
    assert run("dlq", "ls") == 0
    assert capsys.readouterr() == ("", "There are no dead letters.\n")
    assert run("dlq", "ls", "--json") == 0
    assert capsys.readouterr().out == "[]\n"
    server.xadd("crm.contact", {"a": "b"})
    for words in (("ls", "crm.contact"), ("retry", "crm.contact", "--all"), ("drop", "crm.contact", "--all", "--yes")):
        assert run("dlq", *words) == 0
        assert capsys.readouterr() == ("", "crm.contact has no dead letters.\n")


def test_show_masks_values_unless_told_otherwise(run: Run, server: Client, capsys: Shown) -> None:
    offset = give_up(server, 1)
    assert run("dlq", "show", "crm.contact", offset) == 0
    shown = capsys.readouterr()
    assert "jane" not in shown.out + shown.err
    assert '"Email": "********"' in shown.out
    assert '"Amount": "********"' in shown.out
    for kept in (f'"Id": "{record(1)}"', '"OptOut": true', '"object": "Contact"', '"origin": "poll"'):
        assert kept in shown.out
    assert "reason      Amount is no number." in shown.out
    assert shown.err == "Values are masked: --unmask shows them.\n"
    assert run("dlq", "show", "crm.contact.dead", offset, "--unmask", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["masked"], document["entry"]["data"]["fields"]["Email"]) == (False, "jane1@example.com")
    dead_offset = document["dead_offset"]
    assert run("dlq", "show", "crm.contact", dead_offset, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["masked"], document["offset"]) == (True, offset)
    assert document["entry"]["data"]["fields"] == {
        "Id": record(1),
        "Email": "********",
        "Amount": "********",
        "OptOut": True,
    }


def test_retry_puts_entries_back_and_says_what_next(run: Run, server: Client, capsys: Shown) -> None:
    offsets = [give_up(server, number) for number in range(3)]
    assert run("dlq", "retry", "crm.contact", offsets[1]) == 0
    shown = capsys.readouterr()
    assert shown.out == "1 dead letter of crm.contact put back at the end of the stream.\n"
    assert "`headrace dlq ls crm.contact`" in shown.err
    assert server.xlen("crm.contact") == 4
    assert dead.settled(server, "crm.contact") == {offsets[1]: "retried"}
    before = server.xrange("crm.contact", offsets[1], offsets[1])
    newest = server.xrevrange("crm.contact", count=1)
    assert newest[0][1] == before[0][1]  # type: ignore[index]
    assert run("dlq", "retry", "crm.contact", "--all", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["offset"] for one in document["letters"]] == [offsets[0], offsets[2]]
    entries: Any = server.xrange("crm.contact")
    assert [one["new_offset"] for one in document["letters"]] == [offset.decode() for offset, _ in entries[-2:]]
    assert (document["stream"], document["dry_run"], document["left"]) == ("crm.contact", False, 0)
    assert dead.dead_count(server, "crm.contact") == 0


def test_retry_takes_what_fulfils_a_condition(run: Run, server: Client, capsys: Shown) -> None:
    offsets = [give_up(server, n, "Amount is no number." if n % 2 else "A column is missing.") for n in range(6)]
    where = ("--where", "reason~=amount", "--where", f"subject!=Contact/{record(3)}")
    assert run("dlq", "retry", "crm.contact", *where, "--dry-run") == 0
    assert capsys.readouterr() == ("2 dead letters of crm.contact would be put back.\n", "")
    assert (server.xlen("crm.contact"), dead.dead_count(server, "crm.contact")) == (6, 6)
    assert server.exists(settled_key("crm.contact")) == 0
    assert run("dlq", "retry", "crm.contact", *where) == 0
    assert dead.settled(server, "crm.contact") == {offsets[1]: "retried", offsets[5]: "retried"}
    capsys.readouterr()
    assert run("dlq", "retry", "crm.contact", *where) == 0
    assert capsys.readouterr() == ("", "None of the 4 entries looked at fits.\n")


def test_drop_asks_at_a_terminal(run: Run, server: Client, capsys: Shown, at_a_terminal: Callable[[str], None]) -> None:
    offsets = [give_up(server, number) for number in range(3)]
    at_a_terminal("no")
    assert run("dlq", "drop", "crm.contact", "--all") == 0
    assert capsys.readouterr() == ("", "Drop 3 dead letters of crm.contact for good? [y/N]\nNothing was dropped.\n")
    assert dead.dead_count(server, "crm.contact") == 3
    at_a_terminal("y")
    assert run("dlq", "drop", "crm.contact", offsets[0]) == 0
    assert capsys.readouterr().out == "1 dead letter of crm.contact dropped.\n"
    assert dead.settled(server, "crm.contact") == {offsets[0]: "dropped"}


def test_without_a_terminal_drop_needs_a_word_more(
    run: Run, server: Client, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    offset = give_up(server, 1)
    assert run("dlq", "drop", "crm.contact", offset) == 2
    assert capsys.readouterr().err == (
        "headrace: What is dropped is gone for good, and there is no terminal to ask at: give --yes.\n"
    )
    assert run("dlq", "drop", "crm.contact", "--all", "--dry-run") == 0
    assert capsys.readouterr() == ("1 dead letter of crm.contact would be dropped.\n", "")
    assert dead.dead_count(server, "crm.contact") == 1
    assert run("dlq", "drop", "crm.contact", offset, "--yes", "--json") == 0
    assert [one["offset"] for one in json.loads(capsys.readouterr().out)["letters"]] == [offset]
    assert dead.dead_count(server, "crm.contact") == 0


def test_what_fails_again_meanwhile_is_not_put_back_for_ever(
    run: Run, server: Client, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        give_up(server, number)
    real = dead.retry_dead

    def and_fails_again(client: Client, letters: Any) -> Any:
        done = real(client, letters)
        for number, _ in enumerate(letters):
            give_up(server, number)
        return done

    monkeypatch.setattr(dead, "retry_dead", and_fails_again)
    assert run("dlq", "retry", "crm.contact", "--all", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["letters"]) == 3
    assert dead.dead_count(server, "crm.contact") == 3


def test_strangers_among_the_dead_are_listed_dropped_and_left_alone(run: Run, server: Client, capsys: Shown) -> None:
    offset = give_up(server, 1)
    foreign = server.xadd("crm.contact.dead", {"name": "Jane Doe", "subject": "jane@example.com"}).decode()  # type: ignore[union-attr]
    assert run("dlq", "ls") == 0
    text = capsys.readouterr().out
    assert "This entry was not written by headrace." in text
    assert "ane" not in text
    assert run("dlq", "show", "crm.contact", foreign, "--json") == 0
    assert json.loads(capsys.readouterr().out)["entry"] == {"name": "********", "subject": "********"}
    assert run("dlq", "retry", "crm.contact", foreign) == 2
    assert capsys.readouterr().err.startswith(f"headrace: {foreign} in crm.contact.dead was not written by headrace")
    assert run("dlq", "retry", "crm.contact", "--all") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("1 dead letter of crm.contact put back")
    assert "1 dead letter stayed" in shown.err
    assert run("dlq", "drop", "crm.contact", foreign, "--yes") == 0
    assert dead.settled(server, "crm.contact") == {offset: "retried"}
    assert server.xlen("crm.contact.dead") == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "crm.contact", "1-0"), "crm.contact has no dead letter 1-0: `headrace dlq ls crm.contact` lists"),
        (("retry", "crm.contact", "1-0", "2-0"), "crm.contact has no dead letter 1-0, 2-0: `headrace dlq ls"),
        (("drop", "crm.contact", "1-0", "--yes"), "crm.contact has no dead letter 1-0"),
        (("show", "crm.contact", "soon"), "'soon' is not an entry id"),
        (("ls", "crm.contcat"), "There is no stream crm.contcat; did you mean crm.contact?"),
        (("show", "crm.contcat", "1-0"), "There is no stream crm.contcat; did you mean crm.contact?"),
        (("retry", "crm.contcat", "--all"), "There is no stream crm.contcat; did you mean crm.contact?"),
        (("drop", "crm.contcat", "--all", "--yes"), "There is no stream crm.contcat; did you mean crm.contact?"),
        (("ls", "a"), "a.dead is a string in Redis, not a stream"),
        (("retry", "crm.contact"), "Say which: offsets (`headrace dlq ls crm.contact` lists them)"),
        (("drop", "crm.contact", "--yes"), "Say which: offsets"),
        (("retry", "crm.contact", "1-0", "--all"), "OFFSET names single letters, --all and --where many"),
        (("retry", "crm.contact", "--where", "reason"), "--where reason is no condition: write FIELD=VALUE, or"),
        (("ls", "--where", "deliveries>many"), "--where deliveries>many is no condition: > compares numbers"),
        (("ls", "--json", "--jsonl"), "--json and --jsonl exclude each other"),
    ],
)
def test_wrong_words_get_one_sentence_and_change_nothing(
    words: tuple[str, ...], sentence: str, run: Run, server: Client, capsys: Shown
) -> None:
    give_up(server, 1)
    server.set("a.dead", "1")
    assert run("dlq", *words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"headrace: {sentence}")
    assert shown.err.count("\n") == 1
    assert (server.xlen("crm.contact"), dead.dead_count(server, "crm.contact")) == (1, 1)


COMMANDS = (("ls",), ("show", "a", "1-0"), ("retry", "a", "--all"), ("drop", "a", "--all", "--yes"))


@pytest.mark.parametrize("words", COMMANDS)
def test_an_unreachable_redis_ends_with_3(
    words: tuple[str, ...], run: Run, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "redis://me:hush@127.0.0.1:1/0")
    assert run("dlq", *words) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("headrace: Redis at 127.0.0.1:1 does not answer")
    assert "hush" not in shown.err


@pytest.mark.parametrize("words", COMMANDS)
def test_where_no_stream_was_ever_made_it_says_so(
    words: tuple[str, ...], run: Run, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "embedded")
    assert run("dlq", *words) == 2
    assert re.fullmatch(r"headrace: There are no streams at .* yet: run headrace sync .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["ls", "show", "retry", "drop"])
def test_every_command_has_help_with_an_example(name: str, run: Run, capsys: Shown) -> None:
    assert run("dlq", name, "--help") == 0
    text = capsys.readouterr().out
    assert f"Example:\n    headrace dlq {name}" in text
    assert "HEADRACE_REDIS__URL" in text
