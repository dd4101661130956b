"""headrace sql and headrace query, on a real store."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.store.duckdb.store import DuckDBStore

Run = Callable[..., int]

STATEMENT = """
select 1 as n, 12345678901234567.89::decimal(20, 2) as arr, true as won, null as nothing, 'a[red]b' as title,
       timestamptz '2026-11-22 05:04:41+00' as at, date '2026-11-22' as day, '{"a": 1}'::json as doc
"""
ROW = {
    "n": 1,
    "arr": "12345678901234567.89",
    "won": True,
    "nothing": None,
    "title": "a[red]b",
    "at": "2026-11-22T05:04:41Z",
    "day": "2026-11-22",
    "doc": {"a": 1},
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process, in a folder with a new store."""
    from integration.cli.app import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    DuckDBStore(tmp_path / "headrace.duckdb").close()
    return lambda *words: run(words)


def test_json_is_a_list_of_rows_with_exact_numbers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", STATEMENT, "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out, parse_float=str) == [ROW]
    assert shown.err == ""


def test_jsonl_is_a_row_a_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", "select range as n from range(3)", "--jsonl") == 0
    assert capsys.readouterr().out == '{"n":0}\n{"n":1}\n{"n":2}\n'


def test_csv_has_a_header(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", STATEMENT, "--csv") == 0
    assert capsys.readouterr().out == (
        "n,arr,won,nothing,title,at,day,doc\n"
        '1,12345678901234567.89,true,,a[red]b,2026-11-22T05:04:41Z,2026-11-22,"{""a"":1}"\n'
    )


def test_a_table_is_aligned_and_tells_null_from_text(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", "select 7 as n, null as nothing, '' as empty") == 0
    assert capsys.readouterr().out == "N  NOTHING  EMPTY\n7  null\n"


def test_a_table_stops_at_a_thousand_rows_and_says_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", "select range from range(1001)") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1001
    assert shown.err == "There are more than these 1,000 rows: --limit 0 shows all.\n"
    assert run("sql", "select range from range(1000)") == 0
    assert capsys.readouterr().err == ""
    assert run("sql", "select range from range(1001)", "--limit", "0") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1002
    assert run("sql", "select range from range(1001)", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1001


def test_two_columns_of_one_name_are_both_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", "select 1 as a, 2 as a", "--json") == 0
    assert sorted(json.loads(capsys.readouterr().out)[0].values()) == [1, 2]


def test_a_file_and_standard_input_are_read(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "question.sql").write_text("-- how much?\nselect 42 as answer;\n")
    assert run("query", "question.sql", "--csv") == 0
    assert capsys.readouterr().out == "answer\n42\n"
    for words in (("query", "-"), ("sql", "-")):
        monkeypatch.setattr("sys.stdin", io.StringIO("select 43 as answer"))
        assert run(*words, "--csv") == 0
        assert capsys.readouterr().out == "answer\n43\n"


@pytest.mark.parametrize("command", ["sql", "query"])
def test_standard_input_that_is_not_utf_8_is_told(
    command: str, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("select 'J\xfcrg'".encode("latin-1")), "utf-8"))
    assert run(command, "-") == 2
    assert "Standard input can't be read: it is not UTF-8 text." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("selec 1", 2),
        ("select * from nowhere", 2),
        ("select nothing_such from users", 2),
        ("delete from users", 2),
        ("select 1; select 2", 2),
        ("select * from read_csv('/etc/passwd')", 2),
    ],
)
def test_bad_sql_gets_one_sentence(statement: str, code: int, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", statement) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("headrace: ")
    assert shown.err.count("\n") == 1


def test_without_a_store_the_sentence_says_so(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "headrace.duckdb").unlink()
    assert run("sql", "select 1") in (2, 3)
    assert "headrace.duckdb" in capsys.readouterr().err
    assert not (tmp_path / "headrace.duckdb").exists()
