"""The exported project in the hands of the real dbt: its models are the marts that headrace keeps."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from postgres import name_of

from integration.sandbox.product import history
from integration.store import tables
from integration.store.marts import SHOWN
from integration.wiring.event_files import Reading
from integration.wiring.imports import Asked, import_events

pytestmark = pytest.mark.slow

# dbt 1.12 needs a parser that PyPI has no wheel of for every machine.
_PACKAGES = ("dbt-core==1.11.16", "dbt-duckdb==1.11.1", "dbt-postgres==1.11.0")

Dbt = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """Install dbt into an environment of its own, and give what runs it."""
    folder = tmp_path_factory.mktemp("dbt")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    installed = subprocess.run(
        [str(folder / "bin" / "pip"), "install", "-q", *_PACKAGES],
        env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if installed.returncode != 0:
        pytest.skip(f"dbt can't be installed here: {installed.stderr.strip().splitlines()[-1:]}")

    def run(*words: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(folder / "bin" / "dbt"), "--no-use-colors", *words],
            cwd=cwd, env=_environment() | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def _environment() -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}  # noqa: TID251
    return mine | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "DO_NOT_TRACK": "1"}


def filled(company: Any) -> None:
    """Fill the store: the org, and two years of its product out of a file."""
    company.sync()
    company.live(60, every_seconds=3_600)
    company.sync()
    file = company.folder / "product.jsonl"
    file.write_text("".join(json.dumps(call) + "\n" for call in history(company.org, ends_at=company.clock.now())))
    report = import_events(company.settings, Asked([str(file)], Reading(defaults={"type": "track"})))
    assert report.stored == report.events > 500


def built(dbt: Dbt, project: Path, **variables: str) -> None:
    """Build the project; every model and every test has to succeed."""
    done = dbt("build", cwd=project, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "eprecat" not in done.stdout, done.stdout
    results = json.loads((project / "target" / "run_results.json").read_text())["results"]
    found = [(one["unique_id"].split(".")[0], one["status"]) for one in results]
    assert set(found) == {("model", "success"), ("test", "pass")}
    assert sum(kind == "model" for kind, _ in found) == len(SHOWN)
    assert sum(kind == "test" for kind, _ in found) > 50


def columns_of(mart: str) -> str:
    return ", ".join(f'"{column.name}"' for column in tables.MARTS[mart])


def differing(mart: str, one: str, other: str) -> str:
    """Return the SELECT that counts the rows of one and the rows that are in one of the two only."""
    columns = columns_of(mart)
    return (
        f"SELECT (SELECT count(*) FROM {one}) AS n, "
        f"(SELECT count(*) FROM (SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other}) AS a), "
        f"(SELECT count(*) FROM (SELECT {columns} FROM {other} EXCEPT ALL SELECT {columns} FROM {one}) AS b)"
    )


def assert_equal(counted: dict[str, Any]) -> None:
    assert {mart: found[1:] for mart, found in counted.items() if any(found[1:])} == {}
    assert [mart for mart, found in counted.items() if not found[0]] == []


def test_on_duckdb_its_models_are_the_marts(found: Any, dbt: Dbt) -> None:
    company = found(accounts=12)
    filled(company)
    done = company.shell.run("marts", "export-dbt", "project")
    assert done.returncode == 0, done.stderr
    project = company.folder / "project"
    built(dbt, project)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{company.settings.store_path}' AS kept (READ_ONLY)")
        con.execute(f"ATTACH '{project / 'dbt.duckdb'}' AS built (READ_ONLY)")
        assert_equal(
            {
                mart: con.execute(differing(mart, f"kept.main.{mart}", f"built.main.{mart}")).fetchone()
                for mart in (one.name for one in SHOWN)
            }
        )


@pytest.fixture
def database(postgres: Any) -> str:
    return str(postgres.emptied())


def test_on_postgresql_its_models_are_the_marts(found: Any, dbt: Dbt, database: str, postgres: Any) -> None:
    company = found(accounts=12, HEADRACE_STORE__URL=database)
    filled(company)
    done = company.shell.run("marts", "export-dbt", "project")
    assert done.returncode == 0, done.stderr
    user = psycopg.conninfo.conninfo_to_dict(database)["user"]
    login = {"PGHOST": str(postgres.folder), "PGUSER": str(user), "PGDATABASE": name_of(database)}
    try:
        built(dbt, company.folder / "project", **login)
        with psycopg.connect(database) as con:
            assert_equal(
                {
                    mart: con.execute(differing(mart, f"public.{mart}", f"dbt.{mart}")).fetchone()
                    for mart in (one.name for one in SHOWN)
                }
            )
    finally:
        postgres.sql("DROP SCHEMA IF EXISTS dbt CASCADE", database=name_of(database))
