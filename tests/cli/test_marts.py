"""`headrace marts`: what there is, its SQL, and the project of dbt as files (that dbt runs it: tests/journeys)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.core import naming
from integration.store import dbt, tables
from integration.store.dialects import Dialect, dialect_of, said_in
from integration.store.marts import SHOWN, full_shape
from integration.store.projection import Shape

Printed = pytest.CaptureFixture[str]
NAMES = [mart.name for mart in SHOWN]


def test_all_are_listed_with_a_sentence(sample: Any, capsys: Printed) -> None:
    assert sample.run("marts", "ls", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [mart.name for mart in SHOWN]
    assert all(re.fullmatch(r"[A-Z].{20,}\.", row["sentence"]) for row in rows)
    assert {row["key"] for row in rows} == {"user_id", "opportunity_id"}


def test_the_sql_of_a_mart_gives_its_rows(sample: Any, capsys: Printed) -> None:
    filled = 0
    for name in NAMES:
        assert sample.run("marts", "show", name) == 0
        sql = capsys.readouterr().out
        listed = ", ".join(f'"{column.name}"' for column in tables.MARTS[name])
        kept = sample.rows(f"SELECT {listed} FROM {name} ORDER BY ALL")
        assert sample.rows(f"SELECT {listed} FROM ({sql}) AS shown ORDER BY ALL") == kept
        filled += bool(kept)
    assert filled >= 3


def test_another_dialect_is_shown_when_asked_for(sample: Any, capsys: Printed) -> None:
    shown = {}
    for dialect in Dialect:
        assert sample.run("marts", "show", "sessions", "--dialect", dialect, "--json") == 0
        shown[dialect] = json.loads(capsys.readouterr().out)["sql"]
    assert "properties->>'$.context.campaign.source'" in shown[Dialect.DUCKDB]
    assert "JSON_EXTRACT_PATH_TEXT(properties, 'context', 'campaign', 'source')" in shown[Dialect.POSTGRES]
    assert "JSONExtract(properties, 'context', 'campaign', 'source', 'Nullable(String)')" in shown[Dialect.CLICKHOUSE]


def test_a_name_that_none_has_is_told(sample: Any, capsys: Printed) -> None:
    assert sample.run("marts", "show", "touchs") == 2
    assert "There is no mart touchs. Did you mean touches" in capsys.readouterr().err


def test_without_a_store_they_are_shown_for_an_org_that_has_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    from integration.cli.app import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_SECRETS_DIR", "")
    assert run(["marts", "show", "campaign_influence"]) == 0
    printed = capsys.readouterr()
    assert 'SELECT "id", "accountid"' in printed.out
    assert "no store yet" in printed.err
    assert run(["marts", "export-dbt", "project", "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert (exported["folder"], exported["dialect"], "no store yet" in exported["note"]) == ("project", "duckdb", True)
    assert sorted(str(p.relative_to("project")) for p in Path("project").rglob("*.*")) == exported["files"]


def test_an_export_is_written_anew_and_nothing_else_is(sample: Any, tmp_path: Path, capsys: Printed) -> None:
    folder = tmp_path / "project"
    assert sample.run("marts", "export-dbt", str(folder)) == 0
    (folder / "models" / "touches.sql").write_text("SELECT 1")
    (folder / "models" / "mine.sql").write_text("SELECT 2")
    (folder / "profiles.yml").write_text("mine: {}\n")
    assert sample.run("marts", "export-dbt", str(folder)) == 0
    assert "{{ ref('sessions') }}" in (folder / "models" / "touches.sql").read_text()
    assert (folder / "models" / "mine.sql").read_text() == "SELECT 2"
    assert (folder / "profiles.yml").read_text() == "mine: {}\n"
    assert "profiles.yml was kept, and names no store of duckdb: change it, or take it away" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dbt_project.yml").write_text("name: other\n")
    for place in (tmp_path / "other", tmp_path / "other" / "dbt_project.yml"):
        assert sample.run("marts", "export-dbt", str(place)) == 2
        assert "name a" in capsys.readouterr().err
    assert (tmp_path / "other" / "dbt_project.yml").read_text() == "name: other\n"


def test_an_export_for_another_store_and_of_fewer_marts_says_what_stays(
    sample: Any, tmp_path: Path, capsys: Printed
) -> None:
    def exported(dialect: str) -> Any:
        assert sample.run("marts", "export-dbt", str(tmp_path / "it"), "--dialect", dialect, "--json") == 0
        return json.loads(capsys.readouterr().out)["note"]

    assert exported("postgres") is None
    assert exported("postgres") is None
    assert exported("clickhouse").startswith("profiles.yml was kept, and names no store of clickhouse: ")
    (tmp_path / "it" / "profiles.yml").unlink()
    (tmp_path / "it" / "models" / "mine.sql").write_text("SELECT 1")
    (tmp_path / "it" / "models" / "gone.sql").write_text("SELECT 2")
    schema = tmp_path / "it" / "models" / "schema.yml"
    schema.write_text(schema.read_text().replace("  - name: touches\n", "  - name: gone\n"))
    assert exported("clickhouse") == (
        "What was exported before and is no mart now stays, and dbt builds it: models/gone.sql."
    )
    assert (tmp_path / "it" / "models" / "gone.sql").exists()
    assert exported("clickhouse") is None


@pytest.mark.parametrize(
    ("url", "dialect", "schema"),
    [
        ("clickhouse://localhost:1/analytics", [], "analytics"), ("clickhouses://localhost:1", [], "default"),
        ("clickhouse://localhost:1/analytics", ["--dialect", "postgres"], "public"),
        ("postgresql://localhost:1/analytics", ["--dialect", "clickhouse"], "default"),
    ],
)  # fmt: skip
def test_the_sources_of_a_clickhouse_lie_in_the_database_of_the_store(
    url: str, dialect: list[str], schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from integration.settings import load
    from integration.wiring import marts

    monkeypatch.setattr(marts, "_shape", lambda _: (full_shape(), None))  # no such server is asked
    settings = load(None, {"HEADRACE_STORE__URL": url})
    marts.export_dbt(settings, tmp_path / "it", Dialect(dialect[1]) if dialect else None)
    [ours, *_] = yaml.safe_load((tmp_path / "it" / "models" / "sources.yml").read_text())["sources"]
    assert ours["schema"] == f"{{{{ var('headrace_schema', '{schema}') }}}}"


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_project_names_every_table_by_ref_or_source(dialect: Dialect) -> None:
    files = dbt.project(dialect, full_shape(), "1.0", store='it\'s "here".duckdb')
    sources = yaml.safe_load(files["models/sources.yml"])["sources"]
    there = {(source["name"], table["name"]) for source in sources for table in source["tables"]}
    named = set()
    for mart in SHOWN:
        sql = files[f"models/{mart.name}.sql"]
        named |= set(re.findall(r"\{\{ source\('(\w+)', '(\w+)'\) \}\}", sql))
        given = {*re.findall(r"(\w+) AS \(", sql)}
        bare = set(re.findall(r"(?<!DISTINCT )\b(?:FROM|JOIN) ([\w.\"]+)", sql)) - given
        assert bare == set(), mart.name
        assert set(re.findall(r"ref\('(\w+)'\)", sql)) <= set(NAMES)
    assert named <= there
    assert {(source, table) for source, table in there if source != "headrace_own"} == named
    assert yaml.safe_load(files["profiles.yml"])["headrace"]["outputs"]["dev"]["type"] == dialect.value


def test_a_mart_of_objects_that_the_org_lacks_reads_nothing() -> None:
    files = dbt.project(Dialect.DUCKDB, Shape(), "1.0")
    assert "{{ source('headrace_own', 'meta') }}" in files["models/attribution.sql"]
    assert "source('salesforce'" not in "".join(files.values())
    sources = yaml.safe_load(files["models/sources.yml"])["sources"]
    assert {source["name"]: source["tables"] for source in sources}["salesforce"] == []


def test_every_mart_and_column_has_its_words() -> None:
    assert dbt.words().keys() == {mart.name for mart in SHOWN}
    for name, told in dbt.words().items():
        columns = [column.name for column in tables.MARTS[name]]
        assert list(told["columns"]) == columns, name
        assert all(re.fullmatch(r".{5,}\.", words) for words in told["columns"].values()), name
        of = [*told["unique"], *told["filled"], *told.get("refers", ()), *told.get("one_of", ())]
        assert set(of) <= set(columns), name
    [sessions] = [m for m in yaml.safe_load(project_schema())["models"] if m["name"] == "sessions"]
    assert sessions["columns"][0] == {
        "name": "session_id", "quote": True, "description": "The event_id of the first event of the visit.",
        "data_tests": [
            "unique", "not_null",
            {"relationships": {"arguments": {"to": "source('headrace', 'events')", "field": "event_id"}}},
        ],
    }  # fmt: skip


def project_schema() -> str:
    return dbt.project(Dialect.DUCKDB, full_shape(), "1.0")["models/schema.yml"]


def test_what_marts_refer_to_is_there() -> None:
    raw = {naming.table_of(name): columns for name, columns in full_shape().columns.items()}
    for name, told in dbt.words().items():
        for target in told.get("refers", {}).values():
            table, _, column = target.rpartition(".")
            known = raw[table] if table in raw else {one.name for one in tables.FIXED[table]}
            assert column in known, (name, target)


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("duckdb:///a.duckdb", Dialect.DUCKDB), ("postgresql://a@b/c", Dialect.POSTGRES),
        ("postgres://a@b/c", Dialect.POSTGRES), ("clickhouse://a@b/c", Dialect.CLICKHOUSE),
        ("clickhouses://a@b/c", Dialect.CLICKHOUSE),
    ],
)  # fmt: skip
def test_the_dialect_is_that_of_the_store(url: str, dialect: Dialect) -> None:
    assert dialect_of(url) is dialect


def test_only_tables_of_headrace_get_another_name() -> None:
    sql = "WITH seen AS (SELECT user_id FROM events) SELECT * FROM seen JOIN salesforce.contact AS c ON c.id = user_id"
    assert said_in(Dialect.DUCKDB, sql, lambda table: f"<{table}>") == (
        "WITH seen AS (SELECT user_id FROM <events>) SELECT * FROM seen JOIN <salesforce.contact> AS c ON c.id = user_id"
    )
