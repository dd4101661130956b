"""Backfills as a whole: as a first load, over what is known, beside a worker, killed and gone on with, refused."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from compare import assert_equal, assert_state_equal
from following import polled_and_stored
from oracle import WATCHED
from shell import sentence

from integration.core.catalog import schema_from_describe
from integration.core.chunks import Course
from integration.errors import RunError, UnreachableError, UsageError
from integration.source.backfill import Backfill
from integration.stream import groups, inspect
from integration.stream.connection import connect
from integration.stream.publish import Publisher
from integration.wiring import parts
from integration.wiring.backfill import Asked, Sizes, Way, backfill
from integration.wiring.backfill_plan import BACKFILL_KEY

Found = Callable[..., Any]

QUICK = Sizes(bulk_from=30, chunk=20, bulk_page=7, first_look=0.01)
ALL_REST = Sizes(bulk_from=10**9)

_TOLD = {
    "users": "* EXCLUDE (updated_at)",
    "accounts": "* EXCLUDE (updated_at)",
    "identities": "*",
    "events": "* EXCLUDE (stored_at, seen_at)",
    "changes": "*",
}


def first_load(company: Any, sizes: Sizes = QUICK, **asked: Any) -> Any:
    """Backfill in this process, the oracle looking at the org at the same moment."""
    company.watcher.observe(company.org)
    return backfill(company.settings, Asked(**asked), sizes=sizes)


def tables(company: Any) -> dict[str, list[str]]:
    """Everything people see, as sorted rows."""
    with company.asking():
        raw = {f"salesforce.{name.lower()}": "*" for name in (*WATCHED, "cbit__Clearbit__c")}
        known = {row["column_name"] for row in company.query("DESCRIBE accounts")}
        told = _TOLD | ({"accounts": "*"} if "updated_at" not in known else {})
        return {
            name: sorted(repr(sorted(row.items())) for row in company.query(f"SELECT {columns} FROM {name}"))
            for name, columns in (told | raw).items()
        }


@contextmanager
def redis_of(company: Any) -> Iterator[Any]:
    with connect(company.settings.redis.url) as client:
        yield client


def unfinished(company: Any) -> dict[str, Course]:
    with redis_of(company) as client:
        found = [Course.from_json(text) for text in client.hgetall(BACKFILL_KEY).values()]
    return {course.object: course for course in found if course is not None}


def assert_nothing_waits_or_stands_twice(company: Any) -> None:
    counted = company.query("SELECT count(*) AS n, count(DISTINCT capture_id) AS m FROM captures")[0]
    assert counted["n"] == counted["m"]
    assert company.query("SELECT count(*) AS n FROM dead_letters")[0]["n"] == 0
    with redis_of(company) as client:
        assert groups.caught_up(client, [stream.name for stream in inspect.streams(client)])
        assert client.exists(BACKFILL_KEY) == 0


# --- first load -------------------------------------------------------------------------------------------------------


def test_a_backfill_is_a_first_load_and_polling_goes_on_from_there(found: Found) -> None:
    company = found(accounts=12)
    report = first_load(company)
    assert (report.outcome, report.stored_by) == ("ok", "here")
    assert {one.via for one in report.objects} == {"rest", "bulk"}
    assert report.captures_new == report.captures_published > 300
    assert_equal(company)
    company.live(10)
    gone = company.org.records("Task")[0]["Id"]
    company.org.delete("Task", gone)
    company.org.purge("Task", gone)

    synced = company.sync()

    assert synced.records_read < 90
    assert_equal(company)
    assert_nothing_waits_or_stands_twice(company)
    (run,) = company.query("SELECT * FROM sync_runs WHERE kind = 'backfill'")
    assert (run["run_id"], run["records_read"]) == (report.run_id, report.records_read)
    assert (run["events_written"], run["outcome"]) == (report.events_written, "ok")


@pytest.mark.slow
def test_what_happens_between_the_reading_and_the_first_poll_is_not_lost(found: Found) -> None:
    company = found(accounts=6)
    steps = iter(range(1_000))

    def happen(path: str) -> None:
        if "composite" in path or "results" in path:
            next(steps)
            company.live(1)

    company.server.faults.hook = happen
    backfill(company.settings, Asked(), sizes=QUICK)
    company.server.faults.hook = None
    assert next(steps) > 10
    company.sync()
    assert_state_equal(company)


def test_a_transaction_that_was_open_at_the_beginning_is_not_missed(found: Found) -> None:
    company = found(accounts=2)
    company.clock.advance(3_600)
    with company.org.begin() as pending:
        key = pending.insert("Lead", {"LastName": "Late", "Company": "Acme"})
        company.clock.advance(3_600)
        backfill(company.settings, Asked(), sizes=ALL_REST)
    company.sync()
    assert company.query(f"SELECT count(*) AS n FROM users WHERE lead_id = '{key}'")[0]["n"] == 1
    assert_state_equal(company)


@pytest.mark.slow
def test_a_part_of_the_past_makes_no_cursor(found: Found) -> None:
    company = found(accounts=3)
    company.clock.advance(60)
    company.live(5)
    report = first_load(company, since="-1h")
    assert 0 < report.records_read < 60
    with redis_of(company) as client:
        assert Publisher(client).cursor("Account") is None
    company.sync()
    assert_equal(company)


@pytest.mark.slow
def test_rest_and_bulk_give_the_same_tables(found: Found) -> None:
    seen = []
    for way in (Way.REST, Way.BULK):
        company = found(accounts=4, seed=5)
        first_load(company, via=way)
        seen.append(tables(company))
    for name in seen[0]:
        assert seen[0][name] == seen[1][name], name


# --- over what is known -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_known_changes_nothing_whichever_way_it_is_read_again(found: Found) -> None:
    company = found(accounts=5)
    company.sync()
    company.live(20)
    company.sync()
    company.clock.advance(5)
    backfill(company.settings, Asked(), sizes=ALL_REST)  # formulas that have moved with those changes are news
    with redis_of(company) as client:
        cursors = {name: Publisher(client).cursor(name) for name in WATCHED}
    before = tables(company)
    for way in (Way.REST, Way.BULK):
        report = backfill(company.settings, Asked(via=way), sizes=QUICK)
        assert (report.captures_new, report.events_written, report.users_written) == (0, 0, 0)
        assert report.captures_known == report.captures_published > 200
    assert tables(company) == before
    with redis_of(company) as client:
        assert {name: Publisher(client).cursor(name) for name in WATCHED} == cursors
    assert_equal(company)
    assert_nothing_waits_or_stands_twice(company)


@contextmanager
def read_and_kept_back(company: Any, *names: str) -> Iterator[None]:
    """Read objects as a backfill does, but publish what was read only at the end of the block."""
    source = parts.salesforce(company.settings)
    held: list[tuple[Any, list[Any]]] = []

    class Held:
        def publish(self, schema: Any, captures: Any) -> None:
            held.append((schema, list(captures)))

        def save(self, course: Course) -> None: ...

        def finish(self, course: Course, schema: Any) -> None: ...

        def refresh(self, object_name: str) -> None: ...

    schemas = {name: schema_from_describe(source.describe(name)) for name in names}
    work = Backfill(source, Held(), schemas, history={}, sizes=Sizes(), between=lambda: None)  # type: ignore[arg-type]
    work.run([Course(name, "backfill-x", Way.REST) for name in names])
    yield
    with redis_of(company) as client:
        for schema, captures in held:
            Publisher(client).publish_more(captures, schema)


@pytest.mark.slow
def test_a_row_that_is_stored_after_a_later_poll_sets_nothing_back(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    with read_and_kept_back(company, "Account", "Contact", "Opportunity"):
        company.live(40)
        company.sync()
    company.sync()
    assert_equal(company)
    assert_nothing_waits_or_stands_twice(company)


@pytest.mark.slow
def test_a_formula_that_moved_since_is_not_set_back(found: Found) -> None:
    company = found(accounts=4, HEADRACE_POLL__REREAD_SECONDS="600")
    company.sync()
    company.watcher.ignored.clear()
    account = company.org.records("Account")[0]["Id"]
    with read_and_kept_back(company, "Contact", "Opportunity"):
        company.clock.advance(3_600)
        company.org.update("Account", account, {"MRR__c": 4_321, "Type": "Partner"})
        company.clock.advance(3_600)
        company.sync()
        company.clock.advance(3_600)
        company.sync()
        assert_state_equal(company)
        events = company.query("SELECT count(*) AS n FROM events")
    with company.asking():
        assert company.query("SELECT count(*) AS n FROM events") == events
    company.sync()
    assert company.query("SELECT count(*) AS n FROM events") == events
    assert_state_equal(company)


# --- beside a worker --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_beside_a_worker_that_polls_living_traffic_the_store_equals_the_org(found: Found) -> None:
    company = found(accounts=4, HEADRACE_POLL__INTERVAL_SECONDS="0.3", HEADRACE_WEB__PORT="0")
    turn, steps = threading.Lock(), iter(range(40))

    def happen(path: str) -> None:
        if "composite" in path or "jobs" in path:
            with turn:
                company.live(next(steps, None) is not None)

    with company.shell.start("run") as running:
        running.ready()
        company.server.faults.hook = happen
        report = backfill(company.settings, Asked(), sizes=QUICK)
        company.server.faults.hook = None
        assert report.stored_by == f"process {running.process.pid}"
        assert report.captures_new is not None
        assert report.captures_known is not None
        assert report.captures_known + report.captures_new == report.captures_published
        company.watcher.observe(company.org)
        running.until(polled_and_stored(company), seconds=60)
        assert running.end(signal.SIGTERM) == 0, running.notes
    company.sync()  # which reads the delete log: a worker does so every five minutes
    assert_state_equal(company)
    assert_nothing_waits_or_stands_twice(company)


@pytest.mark.slow
def test_what_a_worker_leaves_behind_is_stored_here(found: Found) -> None:
    company = found(accounts=2, HEADRACE_WEB__PORT="0")
    company.watcher.observe(company.org)
    ended: list[int] = []
    with company.shell.start("run", "web") as running:
        running.ready()

        def end(progress: Any) -> None:
            if progress.is_read and not ended:
                ended.append(running.end(signal.SIGTERM))

        report = backfill(company.settings, Asked(), sizes=ALL_REST, on_change=end)
    assert ended == [0]
    assert report.stored_by == "here"
    assert_equal(company)


# --- killed, interrupted, refused -------------------------------------------------------------------------------------


def test_killed_at_any_moment_it_goes_on_and_loses_and_doubles_nothing(found: Found) -> None:
    luck = Random(3)
    company = found(accounts=3)
    company.watcher.observe(company.org)
    words = ("backfill", "--via", "bulk", "Account", "Contact", "Lead")
    for _ in range(2):
        paths: list[str] = []
        company.server.faults.hook = paths.append
        wanted = luck.randint(5, 16)
        with company.shell.start(*words) as running:
            running.until(lambda paths=paths, wanted=wanted: len(paths) >= wanted)
            running.process.kill()
            running.process.wait(timeout=30)
        company.server.faults.hook = None
    assert set(unfinished(company)) == {"Account", "Contact", "Lead"}
    done = company.shell.run(*words)
    assert done.returncode == 0, done.stderr
    assert "Going on with the backfill" in done.stderr
    assert unfinished(company) == {}
    company.sync()
    assert_equal(company)
    assert_nothing_waits_or_stands_twice(company)


@pytest.mark.slow
def test_an_interrupted_backfill_ends_with_130_and_says_how_to_go_on(found: Found) -> None:
    company = found(accounts=4)
    company.server.rest.bulk.polls = 1_000
    with company.shell.start("backfill", "Account", "--via", "bulk") as running:
        running.until(lambda: unfinished(company).get("Account", Course("", "", Way.REST)).job_id is not None)
        assert running.end(signal.SIGINT) == 130, running.notes
        assert "the same command goes on from there" in running.notes
    company.server.rest.bulk.polls = 2
    with pytest.raises(UsageError, match="--restart"):
        backfill(company.settings, Asked(("Account",), since="-3d"))
    with pytest.raises(UsageError, match="begun with --via bulk"):
        backfill(company.settings, Asked(("Account",), via=Way.REST))
    report = backfill(company.settings, Asked(("account",)), sizes=QUICK)
    assert (report.is_resumed, report.objects[0].via, report.records_read) == (True, "bulk", 4)
    assert company.server.rest.bulk.created == 1
    assert company.query("SELECT outcome FROM sync_runs WHERE kind = 'backfill' ORDER BY outcome") == [
        {"outcome": "interrupted"},
        {"outcome": "ok"},
    ]


def test_what_was_read_and_not_seen_stored_is_only_stored(found: Found) -> None:
    company = found(accounts=2)
    with redis_of(company) as client:
        read = Course("Account", "backfill-old", Way.REST, started_at="2026-03-01T00:00:00Z", rows=2, is_done=True)
        client.hset(BACKFILL_KEY, "Account", read.to_json())
    report = backfill(company.settings, Asked(("Account",)), sizes=QUICK)
    assert (report.is_resumed, report.records_read, report.objects) == (True, 0, [])
    assert backfill(company.settings, Asked(("Account",)), sizes=QUICK).records_read == 2


def test_restart_forgets_what_was_begun(found: Found) -> None:
    company = found(accounts=4)
    with redis_of(company) as client:
        begun = Course("Account", "backfill-old", Way.REST, "-3d", started_at="2026-03-01T00:00:00Z", rows=2)
        client.hset(BACKFILL_KEY, "Account", begun.to_json())
    report = backfill(company.settings, Asked(("Account",), restart=True), sizes=QUICK)
    assert (report.is_resumed, report.records_read) == (False, 4)
    assert report.run_id != "backfill-old"
    assert unfinished(company) == {}


def test_a_second_backfill_at_the_same_time_is_refused(found: Found) -> None:
    company = found(accounts=2)
    refused: list[str] = []

    def second(_report: Any) -> None:
        with pytest.raises(RunError) as error:
            backfill(company.settings, Asked(("Account",)), sizes=QUICK)
        refused.append(str(error.value))

    backfill(company.settings, Asked(("Account",)), sizes=QUICK, on_plan=second)
    assert len(refused) == 1
    assert "at work" in refused[0]
    backfill(company.settings, Asked(("Account",)), sizes=QUICK)


def test_what_the_budget_does_not_allow_is_refused_before_anything_is_read(found: Found) -> None:
    company = found(accounts=2, HEADRACE_SALESFORCE__API_BUDGET_PERCENT="10")
    company.server.daily_limit = 200
    done = company.shell.run("backfill")
    assert done.returncode == 3
    assert "would take about" in sentence(done)
    assert "Account: 2 rows, through REST" in done.stderr
    assert company.server.requests["bulk_create"] == 0
    assert unfinished(company) == {}


@pytest.mark.slow
def test_a_budget_that_is_reached_in_the_middle_pauses_the_backfill(found: Found) -> None:
    company = found(accounts=4)

    def use_up(path: str) -> None:
        if path.endswith("/results"):
            company.server.api_used = 80_000

    company.watcher.observe(company.org)
    company.server.faults.hook = use_up
    with pytest.raises(UnreachableError, match="pauses"):
        backfill(company.settings, Asked(("Task", "Contact"), via=Way.BULK), sizes=QUICK)
    company.server.faults.hook = None
    assert sum(course.rows for course in unfinished(company).values()) > 0
    company.server.api_used = 100
    report = backfill(company.settings, Asked(("Task", "Contact"), via=Way.BULK), sizes=QUICK)
    assert report.is_resumed
    company.sync()
    assert_equal(company)


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing_behind(found: Found) -> None:
    company = found(accounts=4, HEADRACE_REDIS__URL="")
    before = sorted(path.name for path in company.folder.iterdir())
    done = company.shell.run("backfill", "account", "contact", "--via", "bulk", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["OBJECT", "ROWS", "VIA", "WHY", "CHUNKS", "CALLS"]
    assert done.stdout.splitlines()[1].split()[:3] == ["Account", "4", "bulk"]
    assert "of the day's API budget" in done.stdout
    left = sorted(path.name for path in company.folder.iterdir())
    assert left == before
    assert company.server.requests["bulk_create"] == 0


def test_words_that_make_no_sense_are_told_in_a_sentence(found: Found) -> None:
    company = found(accounts=1)
    with pytest.raises(UsageError, match="Did you mean Account"):
        backfill(company.settings, Asked(("Acount",)))
    with pytest.raises(UsageError, match="is not a time"):
        backfill(company.settings, Asked(since="whenever"))
    with pytest.raises(UsageError, match="future"):
        backfill(company.settings, Asked(since="2999-01-01"))


def test_what_can_not_be_used_ends_with_4_and_json_tells_all(found: Found) -> None:
    company = found(accounts=3)
    with redis_of(company) as client:
        client.xadd("crm.account", {"data": "nonsense"})
    done = company.shell.run("backfill", "Account", "--json")
    assert done.returncode == 4, done.stderr
    assert "headrace dlq ls crm.account" in sentence(done)
    told = json.loads(done.stdout)
    assert (told["records_read"], told["captures_new"], told["captures_known"], told["dead_letters"]) == (3, 3, 0, 1)
    assert (told["outcome"], told["objects"][0]["via"]) == ("dead letters", "rest")
