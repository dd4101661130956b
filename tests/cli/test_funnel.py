"""`headrace funnel`: how many come how far, as a file says."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from integration.cli import app as cli
from integration.cli.funnel import lasting
from integration.store import tables
from integration.store.duckdb.store import DuckDBStore


class Told(NamedTuple):
    """What a command said."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Told]
WAY = """
title = "Into use"
days = 30
steps = [{name = "came", event = "Sign Up"}, {name = "asked", event = "Query Run"}, {name = "paid", event = "Paid"}]
"""
HAPPENED = [
    ("ann", "Sign Up", "2026-03-01T00:00:00Z"), ("ann", "Query Run", "2026-03-02T00:00:00Z"),
    ("ann", "Paid", "2026-03-10T00:00:00Z"), ("abe", "Sign Up", "2026-03-05T00:00:00Z"),
    ("abe", "Query Run", "2026-03-05T12:00:00Z"), ("bo", "Sign Up", "2026-03-06T00:00:00Z"),
]  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def told(*words: str) -> Told:
        code = cli.run(words)
        printed = capsys.readouterr()
        return Told(code, printed.out, printed.err)

    return told


@pytest.fixture
def funnels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a store of three people, and a funnel."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "definitions" / "funnels"
    folder.mkdir(parents=True)
    (folder / "use.toml").write_text(WAY)
    people = [{"user_id": name, "email": f"{name}@example.com", "is_deleted": False} for name in ("ann", "abe", "bo")]
    events = [
        {"event_id": f"e{n}", "user_id": who, "name": name, "time": at, "properties": b"{}"}
        for n, (who, name, at) in enumerate(HAPPENED)
    ]
    with closing(DuckDBStore(tmp_path / "headrace.duckdb")) as store, store.transaction() as tx:
        tx.append("users", tables.USERS, people)
        tx.append("events", tables.EVENTS, events)
    return folder


def test_s4_19_a_funnel_is_shown_for_people_and_for_programs(funnels: Path, run: Run) -> None:
    told = run("funnel", "use", "--json")
    assert json.loads(told.stdout) == [
        {"step": 1, "name": "came", "reached": 3, "of_first": 1, "of_previous": None, "median_seconds": None},
        {"step": 2, "name": "asked", "reached": 2, "of_first": 0.6667, "of_previous": 0.6667, "median_seconds": 64800},
        {"step": 3, "name": "paid", "reached": 1, "of_first": 0.3333, "of_previous": 0.5, "median_seconds": 691200},
    ]
    lines = run("funnel", "use").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["STEP", "NAME", "REACHED", "OF_FIRST", "OF_PREVIOUS", "MEDIAN"], ["1", "came", "3", "100.0%", "-", "-"],
        ["2", "asked", "2", "66.7%", "66.7%", "18.0", "hours"], ["3", "paid", "1", "33.3%", "50.0%", "8.0", "days"],
    ]  # fmt: skip
    assert run("funnel", "use", "--csv").stdout.splitlines()[3].startswith("3,paid,1,0.3333,0.5,691200")
    assert json.loads(run("funnel", "--json").stdout) == [{"name": "use", "title": "Into use"}]


def test_a_funnel_is_of_a_time(funnels: Path, run: Run) -> None:
    def reached(*words: str) -> list[int]:
        return [row["reached"] for row in json.loads(run("funnel", "use", "--json", *words).stdout)]

    assert reached("--as-of", "2026-03-05T06:00:00Z") == [2, 1, 0]
    assert reached("--since", "2026-03-05") == [2, 1, 0]
    assert reached("--since", "2026-03-05", "--as-of", "2026-03-05T06:00:00Z") == [1, 0, 0]
    assert run("funnel", "use", "--since", "now", "--as-of", "-1d").code == 2


def test_the_sql_of_a_funnel_runs_as_it_is(funnels: Path, run: Run) -> None:
    sql = run("funnel", "use", "--sql").stdout
    assert [row["reached"] for row in json.loads(run("sql", sql, "--json").stdout)] == [3, 2, 1]
    shown = run("definitions", "show", "use", "--sql").stdout
    assert [row["reached"] for row in json.loads(run("sql", shown, "--json").stdout)] == [3, 2, 1]
    assert run("definitions", "check").code == 0


def test_what_is_wrong_with_a_funnel_is_a_sentence(funnels: Path, run: Run) -> None:
    told = run("funnel", "used")
    assert (told.code, told.stderr) == (
        2, "headrace: There is no funnel used. Did you mean use? headrace definitions ls lists them all.\n"
    )  # fmt: skip
    (funnels / "use.toml").write_text(WAY.replace("steps", "stepps"))
    told = run("funnel", "use")
    assert (told.code, told.stderr.count("\n")) == (2, 1)
    assert "The funnel use can't be used: funnels/use.toml: " in told.stderr
    (funnels / "use.toml").write_text(WAY + 'within = "nowhere"\n')
    assert run("funnel", "use").stderr == "headrace: The funnel use can't be used: There is no audience nowhere.\n"
    for words in (("preview", "use"), ("members", "use")):
        (funnels / "use.toml").write_text(WAY)
        told = run("definitions", *words)
        assert (told.code, "A funnel has no members: headrace funnel use" in told.stderr) == (2, True)
    (funnels / "use.toml").unlink()
    told = run("funnel")
    assert (told.code, "No funnel is defined" in told.stderr) == (0, True)


def test_without_a_folder_the_sentence_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    told = run("funnel")
    assert (told.code, "docs/audiences.md says how to begin" in told.stderr) == (2, True)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0.0 seconds"), (59, "59.0 seconds"), (60, "1.0 minutes"), (5400, "1.5 hours"), (86400, "1.0 days")],
)
def test_how_long_a_step_takes_is_told_in_the_unit_that_fits(seconds: float, told: str) -> None:
    assert lasting(seconds) == told
