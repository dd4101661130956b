"""`headrace definitions`: what is defined is listed, checked, shown and previewed, and members are told."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.apply import Flattener
from consumers.rules import Rules
from integration.cli import app as cli
from integration.store import tables
from integration.store.duckdb.store import DuckDBStore
from integration.wiring.definitions import read_folder


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Told]

OVERAGE = 'title = "Over their plan"\nwhere = "email LIKE \'a%\'"\n'
BROKEN = 'title = "Broken"\nwere = "true"\n'
UNKNOWN = 'title = "Unknown"\nwhere = "no_such_column > 1"\n'


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def told(*words: str) -> Told:
        capsys.readouterr()  # what a run has logged
        code = cli.run(words)
        printed = capsys.readouterr()
        return Told(code, printed.out, printed.err)

    return told


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a store of three people, and definitions."""
    monkeypatch.chdir(tmp_path)
    audiences = tmp_path / "definitions" / "audiences"
    audiences.mkdir(parents=True)
    (audiences / "overage.toml").write_text(OVERAGE)
    people = [
        {"user_id": name, "email": f"{name}@example.com", "is_deleted": False} for name in ("ann", "abe", "bo")
    ]  # fmt: skip
    with closing(DuckDBStore(tmp_path / "headrace.duckdb")) as store, store.transaction() as tx:
        tx.append("users", tables.USERS, people)
    work_out(tmp_path / "definitions", "2026-03-01T00:00:00Z")
    return audiences


def work_out(definitions: Path, now: str) -> None:
    """Work the definitions of a folder out, over the store beside it."""
    with closing(DuckDBStore(definitions.parent / "headrace.duckdb")) as store:
        rules = Rules({}, {}, definitions=lambda: read_folder(definitions))
        Flattener(store, rules, now=lambda: now, fetch_schema=lambda _: None).work_out_definitions()


def test_the_list_says_how_many_are_members_and_what_is_wrong(folder: Path, run: Run) -> None:
    (folder / "broken.toml").write_text(BROKEN)
    rows = {row["name"]: row for row in json.loads(run("definitions", "ls", "--json").stdout)}
    assert rows["overage"] | {"since": None, "run_at": None} == {
        "kind": "audience", "name": "overage", "title": "Over their plan", "of": "user", "size": 2, "since": None,
        "run_at": None, "is_new": False, "problem": None,
    }  # fmt: skip
    assert rows["broken"]["problem"] == "audiences/broken.toml: there is no key were. Did you mean where?"


def test_a_check_asks_every_definition_and_ends_with_5_when_one_can_not_be_used(folder: Path, run: Run) -> None:
    assert run("definitions", "check").code == 0
    (folder / "unknown.toml").write_text(UNKNOWN)
    checked = run("definitions", "check")
    assert checked.code == 5
    assert "no_such_column" in checked.stdout
    assert "1 of 2 definitions can't be used" in checked.stderr


def test_a_file_that_was_mended_is_fine_before_the_next_run(folder: Path, run: Run) -> None:
    (folder / "overage.toml").write_text(UNKNOWN)
    work_out(folder.parent, "2026-03-02T00:00:00Z")
    (row,) = json.loads(run("definitions", "ls", "--json").stdout)
    assert ("no_such_column" in row["problem"], row["size"], row["run_at"]) == (True, None, None)
    (folder / "overage.toml").write_text(OVERAGE)
    assert run("definitions", "check").code == 0
    (row,) = json.loads(run("definitions", "ls", "--json").stdout)
    assert (row["is_new"], row["problem"]) == (True, None)


def test_a_condition_that_nests_too_deeply_is_told_and_not_a_crash(folder: Path, run: Run) -> None:
    (folder / "deep.toml").write_text(f'title = "Deep"\nwhere = "length(email) {"+ 1 - 1 " * 300} > 1"\n')
    checked = run("definitions", "check")
    assert (checked.code, "can't be put into the SQL" in checked.stdout) == (5, True)
    assert run("definitions", "show", "deep", "--sql").code == 2


def test_a_preview_of_a_cohort_tells_the_arms_of_those_alone_who_would_get_one(folder: Path, run: Run) -> None:
    def previewed() -> dict[str, tuple[str, str]]:
        rows = json.loads(run("definitions", "preview", "trial", "--json").stdout)
        return {row["member_id"]: (row["what"], row["value"]) for row in rows}

    cohorts = folder.parent / "cohorts"
    cohorts.mkdir()
    (cohorts / "trial.toml").write_text('title = "Trial"\narms = {old = 1.0}\n')
    assert previewed() == dict.fromkeys(("abe", "ann", "bo"), ("comes", "old"))
    assert len(json.loads(run("definitions", "preview", "trial", "--json", "--limit", "2").stdout)) == 2
    work_out(folder.parent, "2026-03-02T00:00:00Z")
    # Nobody changes sides, and nobody goes for having left the audience.
    (cohorts / "trial.toml").write_text('title = "Trial"\narms = {old = 0.5, new = 0.5}\nwithin = "overage"\n')
    assert previewed() == {}
    (cohorts / "trial.toml").write_text('title = "Trial"\narms = {old = 0.0}\n')
    assert previewed() == {}


def test_a_preview_says_who_would_come_and_go_and_writes_nothing(folder: Path, run: Run) -> None:
    (folder / "overage.toml").write_text(OVERAGE.replace("'a%'", "'%b%@%'"))
    rows = json.loads(run("definitions", "preview", "overage", "--json").stdout)
    assert [(row["what"], row["member_id"], row["because"]) for row in rows] == [
        ("comes", "bo", None), ("goes", "ann", "does not fit"),
    ]  # fmt: skip
    members = json.loads(run("definitions", "members", "audience/overage", "--json").stdout)
    assert [row["email"] for row in members] == ["abe@example.com", "ann@example.com"]
    assert run("definitions", "members", "overage", "--as-of", "2026-02-28", "--csv").stdout.count("\n") == 1


def test_a_definition_is_shown_with_its_sql_which_runs_as_it_is(folder: Path, run: Run) -> None:
    shown = json.loads(run("definitions", "show", "overage", "--json").stdout)
    assert (shown["definition"]["title"], shown["needs"], shown["needed_by"]) == ("Over their plan", [], [])
    sql = run("definitions", "show", "overage", "--sql").stdout
    assert {row["member_id"] for row in json.loads(run("sql", sql, "--json").stdout)} == {"ann", "abe"}


def test_a_name_that_none_has_gets_a_hint_and_one_that_two_have_a_question(folder: Path, run: Run) -> None:
    missing = run("definitions", "show", "overag")
    assert (missing.code, missing.stderr) == (
        2, "headrace: There is no definition overag. Did you mean overage? headrace definitions ls lists them all.\n",
    )  # fmt: skip
    personas = folder.parent / "personas"
    personas.mkdir()
    (personas / "overage.toml").write_text('title = "P"\n[[signals]]\nname = "a"\nwhere = "true"\n')
    assert (
        run("definitions", "show", "overage").stderr
        == "headrace: Which overage? audience/overage or persona/overage.\n"
    )


def test_without_a_folder_there_is_nothing_and_the_sentence_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    told = run("definitions", "ls")
    assert (told.code, "docs/audiences.md says how to begin" in told.stderr) == (2, True)
    monkeypatch.setenv("HEADRACE_DEFINITIONS__FOLDER", "elsewhere")
    assert "There is no folder elsewhere (definitions.folder)" in run("definitions", "ls").stderr
