"""Formulas and roll-ups move without a stamp: they are read again and again, a little at a time; and a worker's sweeps."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from compare import state_differences

from integration.stream.connection import connect
from integration.wiring import owner, parts, pipeline
from integration.wiring.pipeline import Polling, Progress
from integration.wiring.reread import rereads
from integration.wiring.streams import open_streams
from integration.wiring.sweep import Sweeper, tools_for

Found = Callable[..., Any]


def at_work(
    company: Any, work: Callable[[Sweeper], None], *, range_size: int = 1_800, keep_polling: bool = False
) -> None:
    """Do something with a sweeper beside a consumer that stores what it publishes, as in a worker's poller thread."""
    settings, progress = company.settings, Progress()
    source = parts.salesforce(settings)
    with (
        parts.open_store(settings) as store,
        owner.answering_queries(settings, store, port=0),
        open_streams(settings) as streams,
    ):
        polling = Polling(settings, source, streams, progress)
        consumer = pipeline.consumer(settings, store, streams, progress, polling.describe())

        def run(should_stop: Callable[[], bool]) -> None:
            tools = tools_for(
                settings, source, streams.client, store, polling, should_stop=should_stop, keep_polling=keep_polling
            )
            tools.catch_up(deleted=True)
            work(Sweeper(settings, replace(tools, range_size=range_size), counts=progress.totals))

        asyncio.run(pipeline.drain_while(consumer, streams, progress, run))


def begin(company: Any) -> None:
    """Let the time of rounds and sweeps begin to run, as the first beat of a worker does: nothing is due yet."""
    at_work(company, lambda sweeper: sweeper.beat(10, 99))


def assert_done(done: Any) -> None:
    """See that a round was made, to its end."""
    assert done is not None
    assert done.is_round_over
    assert done.rows_read > 0


def let_formulas_move(company: Any) -> int:
    """Change what formulas of other records look at; return how many live contacts show it."""
    company.clock.advance(3_600)
    accounts = company.org.records("Account")[:3]
    for number, account in enumerate(accounts):
        company.org.update("Account", account["Id"], {"MRR__c": 1_000 + number, "Type": "Partner"})
    company.clock.advance(3_600)
    company.watcher.ignored.clear()
    return len([c for c in company.org.records("Contact") if c["AccountId"] in {a["Id"] for a in accounts}])


def test_a_round_brings_formulas_up_to_date_when_it_is_time(found: Found) -> None:
    company = found(accounts=10)
    company.sync()
    begin(company)
    moved = let_formulas_move(company)
    rounds: list[Any] = []

    def twice(sweeper: Sweeper) -> None:
        rounds.extend([sweeper.round(), sweeper.round()])

    at_work(company, twice)

    assert rounds[0].drifted >= moved > 0
    assert rounds[1] is None, "not so soon again"
    company.watcher.observe(company.org)
    assert state_differences(company) == []
    kept = company.query("SELECT * FROM reconciliations WHERE kind = 'reread' AND object = 'Contact'")
    assert [(r["stale"] >= moved, r["stale"] == r["repaired"]) for r in kept] == [(True, True)]
    assert company.query("SELECT DISTINCT origin FROM captures ORDER BY 1") == [{"origin": "poll"}, {"origin": "sweep"}]
    with connect(company.settings.redis.url) as client:
        known = rereads(client)
    assert {"Account", "Contact", "Opportunity"} <= known.keys()
    assert all(one["started"] <= one["ended"] for one in known.values())


def test_a_round_sees_what_data_services_and_activities_wrote_without_a_stamp(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    [enriched, *_] = company.org.records("cbit__Clearbit__c")
    [contact, *_] = company.org.records("Contact")
    company.org.drift("cbit__Clearbit__c", enriched["Id"], {"cbit__Company_Size__c": 4321.0})
    company.org.drift("Contact", contact["Id"], {"LastActivityDate": "2026-02-27"})
    company.clock.advance(3_700)

    company.sync()

    size = f"SELECT cbit__company_size__c AS size FROM salesforce.cbit__clearbit__c WHERE id = '{enriched['Id']}'"
    assert company.query(size) == [{"size": 4321}]
    day = f"SELECT lastactivitydate AS day FROM salesforce.contact WHERE id = '{contact['Id']}'"
    assert str(company.query(day)[0]["day"]) == "2026-02-27"


@pytest.mark.slow
def test_a_round_goes_on_where_it_was_left_even_by_another_process(found: Found) -> None:
    company = found(accounts=10)
    company.sync()
    begin(company)
    let_formulas_move(company)
    steps: list[Any] = []

    def some(sweeper: Sweeper) -> None:
        steps.append(sweeper.step(1))

    while not steps or not steps[-1].is_round_over:
        at_work(company, some, range_size=6)
        assert len(steps) < 30

    assert len(steps) > 2
    assert sum(step.rows_read for step in steps) == sum(
        len(company.org.records(name, include_deleted=True))
        for name in {name for step in steps for name in step.finished}
    )
    company.watcher.observe(company.org)
    assert state_differences(company) == []
    at_work(company, some, range_size=6)
    assert (steps[-1].rows_read, steps[-1].calls) == (0, 0)


@pytest.mark.slow
def test_what_has_a_new_stamp_is_left_to_the_poll(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    begin(company)
    company.clock.advance(7_200)
    contact = next(c for c in company.org.records("Contact") if c["AccountId"])
    company.org.update("Account", contact["AccountId"], {"MRR__c": 77})
    saved = [c["Id"] for c in company.org.records("Contact") if c["AccountId"] == contact["AccountId"]]
    for record_id in saved:
        company.org.update("Contact", record_id, {"Title": "Saved a moment ago"})

    at_work(company, lambda sweeper: assert_done(sweeper.round()))

    read_again = company.query("SELECT record_id FROM captures WHERE origin = 'sweep'")
    assert not {row["record_id"] for row in read_again} & set(saved)
    company.sync()
    company.watcher.observe(company.org)
    company.watcher.ignored.clear()
    assert state_differences(company) == []


@pytest.mark.slow
def test_a_sweep_counts_as_a_round_and_0_means_never(found: Found) -> None:
    company = found(accounts=3, HEADRACE_POLL__REREAD_SECONDS="3600")
    company.sync()
    rounds: list[Any] = []

    def sweep_then_round(sweeper: Sweeper) -> None:
        sweeper.run()
        rounds.append(sweeper.round())

    at_work(company, sweep_then_round)
    assert rounds == [None]
    company.clock.advance(3_601)
    company.settings = company.settings.model_copy(
        update={"poll": company.settings.poll.model_copy(update={"reread_seconds": 0})}
    )
    at_work(company, lambda sweeper: rounds.append(sweeper.round()))
    assert rounds == [None, None]


def test_a_worker_sweeps_by_itself_when_it_is_time(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    begin(company)
    assert company.query("SELECT * FROM reconciliations") == []
    company.clock.advance(24 * 3_600 + 1)

    def twice(sweeper: Sweeper) -> None:
        sweeper.beat(10, 99)
        sweeper.beat(10, 99)

    at_work(company, twice)

    runs = company.query("SELECT run_id, outcome FROM sync_runs WHERE kind = 'sweep'")
    assert [run["outcome"] for run in runs] == ["ok"]
    assert company.query("SELECT DISTINCT run_id FROM reconciliations WHERE kind = 'sweep'") == [
        {"run_id": runs[0]["run_id"]}
    ]


def test_a_sweep_through_the_process_that_owns_the_store(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    company.clock.advance(60)
    contact = company.org.records("Contact")[0]
    record = {k: v for k, v in company.org.get("Contact", contact["Id"]).items() if v is not None}
    company.org.load("Contact", {**record, "Title": "Rewritten by a job"})
    asked: list[Any] = []
    done = threading.Event()

    def ask() -> None:
        asked.extend([company.shell.run("sweep", "--json"), company.shell.run("sweep", "Nothing__c")])
        done.set()

    def answer(sweeper: Sweeper) -> None:
        sweeper.announce()
        thread = threading.Thread(target=ask)
        thread.start()
        while not done.wait(0.02):
            sweeper.answer()
        thread.join()
        sweeper.withdraw()

    at_work(company, answer)

    first, second = asked
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert [(o["object"], o["stale"], o["repaired"]) for o in told["objects"] if o["stale"]] == [("Contact", 1, 1)]
    assert (second.returncode, second.stdout) == (2, "")
    assert "headrace does not read an object 'Nothing__c'." in second.stderr
    [run] = company.query("SELECT run_id FROM sync_runs WHERE kind = 'sweep'")
    assert run["run_id"] == told["run_id"]


@pytest.mark.slow
def test_a_long_sweep_lets_the_poll_go_on(found: Found) -> None:
    company = found(accounts=12, HEADRACE_POLL__INTERVAL_SECONDS="0.1")
    company.sync()
    company.clock.advance(60)
    contact = company.org.records("Contact")[0]["Id"]
    calls: list[str] = []
    reports: list[Any] = []

    def live(path: str) -> None:
        if "composite" in path:
            calls.append(path)
            if len(calls) == 2:
                company.org.update("Contact", contact, {"Title": "Changed while it sweeps"})

    def sweep(sweeper: Sweeper) -> None:
        company.server.faults.hook = live
        reports.append(sweeper.run(on_change=lambda _: time.sleep(0.01)))
        company.server.faults.hook = None

    at_work(company, sweep, range_size=8, keep_polling=True)

    assert len(calls) > 15
    [change] = company.query(f"SELECT origin FROM changes WHERE record_id = '{contact}' AND field = 'Title'")
    assert change["origin"] == "poll"
    assert reports[0].is_equal
    assert reports[0].differing == 0


@pytest.mark.slow
def test_a_worker_under_traffic_sweeps_when_asked_and_finds_nothing_false(found: Found) -> None:
    company = found(accounts=6, HEADRACE_POLL__INTERVAL_SECONDS="0.2", HEADRACE_WEB__PORT="0")
    company.sync()
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.5):
            company.live(1)

    with company.shell.start("run") as running:
        running.ready()
        thread = threading.Thread(target=live)
        thread.start()
        try:
            done = [company.shell.run("sweep", "--json") for _ in range(2)]
        finally:
            stop.set()
            thread.join()
        assert running.end(signal.SIGTERM) == 0, running.notes
        assert "Traceback" not in running.notes

    for one in done:
        assert one.returncode == 0, one.stderr
        told = json.loads(one.stdout)
        assert told["equal"]
        for ledger in told["objects"]:
            alone = {f.name for f in company.org.objects[ledger["object"]].fields if f.moves_alone}
            assert all(f["kind"] == "stale" and set(f["fields"]) <= alone for f in ledger["findings"]), ledger
    assert company.query("SELECT count(DISTINCT run_id) AS n FROM reconciliations WHERE kind = 'sweep'") == [{"n": 2}]
    company.sync()
    assert state_differences(company) == []


def test_a_process_that_owns_the_store_and_does_not_sweep_is_named(found: Found) -> None:
    company = found(accounts=1)
    company.sync()
    asked: list[Any] = []

    at_work(company, lambda _: asked.append(company.shell.run("sweep")))

    assert asked[0].returncode == 3
    assert "which does not sweep" in asked[0].stderr
