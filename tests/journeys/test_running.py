"""Workers at work: what changes in the org can be asked for beside them, from other processes."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from compare import assert_state_equal
from following import polled_and_stored
from shell import Done, refusal

from integration.stream.connection import connect

Found = Callable[..., Any]

QUICK = {"HEADRACE_POLL__INTERVAL_SECONDS": "0.2", "HEADRACE_WEB__PORT": "0"}


@contextmanager
def traffic(company: Any) -> Iterator[None]:
    """Let things happen in the org all the while, and time pass."""
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.2):
            company.live(1)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def told(done: Done) -> Any:
    """Return the JSON document of a command that went well."""
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_changes_can_be_asked_for_while_the_worker_owns_the_store(found: Found) -> None:
    company = found(accounts=4, **QUICK)
    contact = company.org.insert("Contact", {"LastName": "Reyes", "Email": "Bea.Reyes@Example.com", "Title": "CTO"})
    ask = ("sql", "--json", f"SELECT identity, sfdc_contact_title AS title FROM users WHERE contact_id = '{contact}'")
    with company.shell.start("run") as running:
        running.ready()
        running.until(lambda: told(company.shell.run(*ask)) == [{"identity": "bea.reyes@example.com", "title": "CTO"}])
        company.clock.advance(5)
        company.org.update("Contact", contact, {"Title": "CEO"})
        running.until(lambda: told(company.shell.run(*ask))[0]["title"] == "CEO")
        changes = told(
            company.shell.run(
                "sql", "--json",
                f"SELECT old_value, new_value FROM changes WHERE record_id = '{contact}' AND field = 'Title'",
            )
        )  # fmt: skip
        assert changes == [{"old_value": "CTO", "new_value": "CEO"}]
        company.watcher.observe(company.org)
        running.until(polled_and_stored(company))
        assert running.end(signal.SIGTERM) == 0, running.notes
        assert "Traceback" not in running.notes
    assert_state_equal(company)


def test_everything_that_looks_works_beside_a_worker(found: Found) -> None:
    company = found(accounts=4, **QUICK)
    shell = company.shell
    with shell.start("run") as running, traffic(company):
        running.ready()
        running.until(lambda: told(shell.run("status", "--json"))["store"].get("users", 0) > 10)

        status = told(shell.run("status", "--json"))
        assert {o["object"]: o["state"] for o in status["objects"]}["Contact"] in ("ok", "reading")
        assert status["redis"].get("error") is None
        streams = {s["name"]: s for s in told(shell.run("streams", "ls", "--json"))}
        assert streams["crm.contact"]["length"] >= 16
        assert streams["crm.contact"]["groups"][0]["name"] == "store"
        assert {row["stream"] for row in told(shell.run("streams", "lag", "--json"))} == streams.keys()
        tailed = shell.run("streams", "tail", "--count", "3", "--jsonl")
        assert [json.loads(line)["ours"] for line in tailed.stdout.splitlines()] == [True] * 3
        [peeked] = told(shell.run("streams", "peek", "crm.contact", "--json"))
        assert peeked["data"]["object"] == "Contact"
        doctor = told(shell.run("doctor", "--json"))
        assert doctor["ok"], doctor
        assert len(told(shell.run("schema", "--json"))) > 300
        assert shell.run("query", "-", "--csv", stdin="SELECT 1 AS one").stdout == "one\n1\n"
        assert "is in use by process" in refusal(shell.run("sync"), 3)
        assert running.process.poll() is None


def test_poller_and_consumer_can_be_two_processes(found: Found) -> None:
    company = found(accounts=4, **QUICK)
    company.watcher.observe(company.org)
    other = company.shell
    other.folder = company.folder / "other"
    other.folder.mkdir()
    with company.shell.start("run", "consumer") as consumer, other.start("run", "poller") as poller:
        consumer.ready()
        poller.ready()
        poller.until(polled_and_stored(company))
        company.live(20)
        company.watcher.observe(company.org)
        poller.until(polled_and_stored(company))
        assert poller.end(signal.SIGTERM) == 0, poller.notes
        assert consumer.end(signal.SIGTERM) == 0, consumer.notes
    assert_state_equal(company)


@pytest.mark.slow
def test_the_two_find_each_other_through_the_embedded_server(found: Found) -> None:
    company = found(accounts=2, **QUICK, HEADRACE_REDIS__URL="")
    company.watcher.observe(company.org)
    other = company.shell
    other.folder = company.folder / "other"
    other.folder.mkdir()
    with company.shell.start("run", "consumer") as consumer, other.start("run", "poller") as poller:
        consumer.until(polled_and_stored(company))
        assert poller.end(signal.SIGINT) == 130, poller.notes
        assert consumer.end(signal.SIGINT) == 130, consumer.notes
    assert_state_equal(company)


@pytest.mark.slow
def test_a_lookup_s_object_is_taken_up_by_a_consumer_that_runs_already(found: Found) -> None:
    plain = {"HEADRACE_OBJECTS__Contact__ENRICH": "", "HEADRACE_OBJECTS__Account__ENRICH": ""}
    company = found(accounts=3, **QUICK)
    company.watcher.observe(company.org)
    other = company.shell
    other.folder = company.folder / "other"
    other.folder.mkdir()
    with company.shell.start("run", "consumer") as consumer:
        consumer.ready()
        with other.start("run", "poller", **plain) as poller:
            poller.until(polled_and_stored(company, lookups=()))
            assert poller.end(signal.SIGTERM) == 0, poller.notes
        assert not exists(company, "crm.cbit__clearbit__c")
        with other.start("run", "poller") as poller:
            poller.until(polled_and_stored(company))
            assert poller.end(signal.SIGTERM) == 0, poller.notes
        assert consumer.end(signal.SIGTERM) == 0, consumer.notes
    assert_state_equal(company)
    roles = company.query("SELECT count(sfdc_contact_cbit_role) AS n FROM users")
    assert roles[0]["n"] > 0


def exists(company: Any, stream: str) -> bool:
    with connect(company.settings.redis.url) as client:
        return bool(client.exists(stream))
