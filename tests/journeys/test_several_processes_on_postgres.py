"""One store in PostgreSQL, several processes: one works, one stands by, and analysts read as they like."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from compare import assert_state_equal
from ports import free_port
from shell import Shell, refusal

Found = Callable[..., Any]


@pytest.fixture
def company(found: Found, postgres: Any) -> Any:
    quick = {"HEADRACE_WEB__PORT": "0", "HEADRACE_POLL__INTERVAL_SECONDS": "1"}
    return found(accounts=6, HEADRACE_STORE__URL=postgres.emptied(), **quick)


def beside(company: Any, name: str) -> Shell:
    """Another terminal with the same settings, in a folder of its own."""
    folder: Path = company.folder / name
    folder.mkdir()
    return Shell(folder, company.env)


def people(company: Any) -> int:
    return int(company.query("SELECT count(*) AS n FROM users")[0]["n"])


def newest_title(company: Any, title: str) -> bool:
    return bool(company.query(f"SELECT 1 AS found FROM users WHERE sfdc_contact_title = '{title}'"))


def rename(company: Any, title: str) -> None:
    contact = next(iter(company.org.records("Contact")))
    company.clock.advance(5)
    company.org.update("Contact", contact["Id"], {"Title": title})


def metrics(port: str) -> str:
    return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text


def test_a_worker_writes_while_analysts_read(company: Any) -> None:
    with company.shell.start("run") as worker:
        worker.ready()
        worker.until(lambda: people(company) > 0)
        analyst = beside(company, "analyst")
        told = analyst.run("sql", "SELECT count(*) AS n FROM users", "--json")
        assert told.returncode == 0, told.stderr
        with psycopg.connect(company.settings.store.url) as con:
            con.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            before = con.execute("SELECT count(*) FROM events").fetchall()
            rename(company, "Chief Miller")
            worker.until(lambda: newest_title(company, "Chief Miller"))
            assert con.execute("SELECT count(*) FROM events").fetchall() == before  # a report sees one moment
        assert worker.end(signal.SIGTERM) == 0


def test_commands_ask_the_worker_and_a_second_worker_is_told_of_the_first(company: Any) -> None:
    with company.shell.start("run") as worker:
        worker.ready()
        worker.until(lambda: people(company) > 0)
        other = beside(company, "other")
        said = refusal(other.run("run"), 3)
        assert f"is in use by process {worker.process.pid} on " in said
        assert said.endswith("Or start this one with --standby to have it take over then.")
        assert f"process {worker.process.pid}" in refusal(other.run("sync"), 3)
        swept = other.run("sweep", "--json")
        assert swept.returncode == 0, swept.stderr
        assert f'"open_in_process":{worker.process.pid}' in other.run("status", "--json").stdout
        assert worker.end(signal.SIGTERM) == 0


def test_two_consumers_give_the_tables_of_one_however_they_are_killed(company: Any) -> None:
    second, port = beside(company, "second"), str(free_port())
    logged = {"HEADRACE_WEB__PORT": port, "HEADRACE_LOG__LEVEL": "info"}
    with ExitStack() as both:
        active = both.enter_context(company.shell.start("run"))
        active.ready()
        idle = both.enter_context(second.start("run", "--standby", **logged))
        idle.until(lambda: "standing by" in idle.notes)
        assert 'headrace_paused{reason="standby"} 1.0' in metrics(port)
        active.until(lambda: people(company) > 0)
        company.live(15)
        rename(company, "Head of Water")
        os.kill(active.process.pid, signal.SIGKILL)
        idle.until(lambda: "Running (" in idle.notes, seconds=60)
        idle.until(lambda: newest_title(company, "Head of Water"), seconds=60)
        assert 'headrace_paused{reason="standby"} 0.0' in metrics(port)
        assert idle.end(signal.SIGTERM) == 0
    company.sync()
    assert_state_equal(company)
    twice = "SELECT event_id FROM events GROUP BY event_id HAVING count(*) > 1"
    assert company.query(twice) == []
