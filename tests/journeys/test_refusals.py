"""Everything the API refuses, on the way of a whole system; and an allowance that is nearly used up."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from compare import assert_equal

from integration.errors import UnreachableError
from integration.sandbox import faults as trouble
from integration.source.client import SalesforceClient
from integration.source.faults import BusyError, DailyLimitError
from integration.stream import metrics
from integration.stream.names import POLLER_KEY, REREAD_KEY
from integration.wiring import parts
from integration.wiring.governor import Governor
from integration.wiring.pipeline import Polling, Progress
from integration.wiring.status import api, status
from integration.wiring.streams import open_streams

Found = Callable[..., Any]


class Worker:
    """A poller with its governor, under the company's own clock: no time passes but what the test lets pass."""

    def __init__(self, company: Any, streams: Any, source: SalesforceClient) -> None:
        self.company, self.client, self.source = company, streams.client, source
        self.progress = Progress()
        self.polling = Polling(company.settings, source, streams, self.progress)
        self.governor = Governor(
            company.settings, source, streams.client, clock=lambda: company.clock.now().timestamp(), chance=lambda: 0.5
        )
        self.polls = 0

    def beat(self) -> float:
        """One turn of the loop: the seconds it wants to wait."""
        try:
            if self.governor.may_poll():
                self.polls += 1
                self.polling.poll(deleted=False, should_stop=lambda: False)
            return self.governor.cycled(self.progress.published)
        except UnreachableError as error:
            return self.governor.failed(error)

    def live(self, hours: float) -> None:
        """Beat for so many hours of the company's time."""
        start = self.company.clock.now()
        while (self.company.clock.now() - start).total_seconds() < hours * 3600:
            self.company.clock.advance(self.beat())

    @property
    def api(self) -> dict[str, Any]:
        """What `headrace status` would say of it, at the company's time."""
        told = metrics.read(self.client)
        assert told is not None
        return api(told, self.company.clock.now())


@contextmanager
def working(company: Any) -> Iterator[Worker]:
    with open_streams(company.settings) as streams:
        source = parts.salesforce(company.settings)
        try:
            yield Worker(company, streams, source)
        finally:
            source.close()


# --- refusals on the way of a sync ---


def every(number: int, *mishaps: Any) -> Callable[[str], Any]:
    """A hook that lets every nth request meet the next mishap: a fault, or something to be done before the answer."""
    left, seen = list(mishaps), [0]

    def hook(path: str) -> Any:
        seen[0] += 1
        if not left or seen[0] % number or "/services/data" not in path:
            return None
        mishap = left.pop(0)
        return mishap() if callable(mishap) else mishap

    return hook


@pytest.mark.slow
def test_a_sync_through_every_passing_trouble_leaves_the_store_equal_to_the_org(found: Found) -> None:
    company = found(accounts=6)
    mishaps = [
        trouble.TRUNCATED, company.server.expire_tokens, trouble.MAINTENANCE_PAGE, trouble.RESET,
        trouble.TOO_MANY_LONG_REQUESTS, trouble.SERVER_ERROR, trouble.UNAVAILABLE_HTML, company.server.expire_tokens,
    ]  # fmt: skip
    company.server.faults.hook = every(2, *mishaps)

    report = company.sync()
    company.live(15)
    company.sync()

    assert report.outcome == "ok"
    assert company.server.requests["login"] == 1 + 2 + 1  # one each sync, and one for each session that was ended
    assert_equal(company)


def test_a_sync_that_runs_out_of_calls_says_so_and_the_next_one_goes_on(found: Found) -> None:
    company = found(accounts=6)
    company.sync()
    company.live(15)
    company.server.faults.push(trouble.LIMIT_EXCEEDED, times=50, where="composite")

    with pytest.raises(DailyLimitError, match="daily API calls are used up"):
        company.sync()
    assert len(company.server.faults) == 49  # asked once

    company.server.faults.clear()
    company.sync()
    assert_equal(company)


# --- the beat ---


def test_a_developer_edition_org_is_not_emptied_by_a_day_of_polling(found: Found) -> None:
    company = found(accounts=1, HEADRACE_POLL__INTERVAL_SECONDS="10")
    company.server.daily_limit = 15_000
    with working(company) as worker:
        for _ in range(8):
            company.clock.advance(worker.beat())
        assert worker.api["pace"] == "every 10 s"  # there is plenty as yet
        company.server.api_used = 8_300  # four fifths of what it may use
        company.clock.advance(worker.beat())
        used, polls = company.server.api_used, worker.polls
        worker.live(0.5)
        rate = (company.server.api_used - used) * 48
        assert 5_000 < rate <= 10_500 * 1.1
        assert worker.polls - polls > 30
        shown = worker.api
        assert shown["pace"].startswith("slowed to every ")
        assert "salesforce.api_budget_percent allows" in shown["pace"]
        assert shown["calls_a_day"] <= 10_500
        assert not shown["paused"]


def test_others_calls_slow_polling_down_then_pause_it_and_free_calls_wake_it_again(found: Found) -> None:
    company = found(accounts=1, HEADRACE_POLL__INTERVAL_SECONDS="10", HEADRACE_SALESFORCE__API_BUDGET_PERCENT="50")
    server = company.server
    server.daily_limit = 1_000_000
    with working(company) as worker:
        assert worker.beat() == 10
        assert worker.api["pace"] == "every 10 s"

        server.api_used = 450_000
        worker.beat()  # learns of it
        assert 25 < worker.beat() < 40
        assert worker.api["pace"].startswith("slowed to every 31.6 s because the org has used 450,0")
        assert worker.api["used_percent_of_budget"] == 90

        server.api_used = 500_000
        worker.beat()
        polls, used = worker.polls, server.api_used
        assert worker.beat() == 600
        worker.live(5)
        assert worker.polls == polls
        assert server.api_used - used == 31  # one call every ten minutes
        shown = worker.api
        assert shown["pace"].startswith("paused because the org has used 500,0")
        assert (shown["paused"], shown["budget_reached_in_seconds"]) == (True, 0)
        assert shown["forecast"].endswith("the budget is used up")

        server.api_used = 1_000
        worker.beat()
        assert worker.polls == polls + 1
        assert worker.beat() == 10
        assert worker.api["pace"] == "every 10 s"


def test_how_long_to_wait_follows_what_went_wrong(found: Found) -> None:
    company = found(accounts=1, HEADRACE_POLL__INTERVAL_SECONDS="10")
    company.server.daily_limit = 1_000_000
    with working(company) as worker:
        worker.beat()
        assert worker.governor.failed(BusyError("busy")) == 30
        assert worker.api["problem"] == "busy"
        assert worker.api["pace"] == "waiting after a failure"
        waits = [worker.governor.failed(UnreachableError("silence")) for _ in range(4)]
        assert waits == sorted(waits)
        assert waits[-1] <= 60

        company.server.faults.push(trouble.LIMIT_EXCEEDED, times=1, where="composite")
        assert worker.beat() == 600
        assert worker.api["problem"].startswith("The org's daily API calls are used up")
        assert worker.beat() == 10
        assert worker.api["problem"] is None


# --- what can be seen of it ---


def test_status_shows_what_the_calls_came_to(found: Found) -> None:
    company = found(accounts=2, HEADRACE_POLL__INTERVAL_SECONDS="10")
    company.sync()
    with working(company) as worker:
        for _ in range(7):
            company.live(3)
            company.clock.advance(worker.beat())
        shown = worker.api
        # The first round also describes the objects; the others are a few calls each.
        assert shown["calls"] == worker.source.calls
        assert shown["captures_published"] == worker.progress.published > 0
        assert shown["calls_per_1000_changes"] == round(shown["calls"] * 1000 / shown["captures_published"], 1)
        assert 1 <= shown["last_cycle_calls"] <= 6
        assert shown["cycles"] == 7
        assert (shown["used"], shown["total"]) == (company.server.api_used, 100_000)
        assert "calls a day" in shown["forecast"]

    done = company.shell.run("status", "--json")
    assert json.loads(done.stdout)["api"]["cycles"] == 7
    printed = company.shell.run("status").stdout
    assert "\nAPI\n" in printed
    assert "calls_per_1000_changes" in printed


def test_a_worker_that_polls_no_more_is_not_shown_as_polling(found: Found) -> None:
    company = found(accounts=1)
    with working(company) as worker:
        worker.beat()
        told = metrics.read(worker.client)
        assert told is not None
        metrics.write(worker.client, told.model_copy(update={"next_at": "2020-01-01T00:00:00Z"}))
        assert status(company.settings)[0]["api"]["pace"] == "no worker polls: start headrace run"


def test_status_shows_since_when_formulas_are_known_and_what_the_last_sweep_found(found: Found) -> None:
    from integration.store import tables
    from integration.store.duckdb.store import DuckDBStore

    company = found(accounts=1)
    company.sync()
    row = {"run_id": "sweep-1", "object": "Contact", "source_count": 5, "store_count": 5, "missing": 1, "stale": 2}
    row |= {"ghosts": 0, "repaired": 3, "api_calls": 4}
    store = DuckDBStore(company.settings.store_path)
    with store.transaction() as tx:
        for day in ("01", "02"):
            times = {"started_at": f"2026-03-{day}T09:00:00Z", "ended_at": f"2026-03-{day}T09:01:00Z"}
            tx.append("reconciliations", tables.RECONCILIATIONS, [row | times | {"missing": int(day)}])
    store.close()
    with open_streams(company.settings) as streams:
        complete = {"started": "2026-03-02T08:00:00Z", "ended": "2026-03-02T08:30:00Z"}
        streams.client.hset(REREAD_KEY, "Account", json.dumps(complete))
        streams.client.hset(REREAD_KEY, "Contact", json.dumps({"started": "2026-03-02T08:00:00Z", "ended": None}))
        streams.client.hset(REREAD_KEY, "position", "no JSON")
        streams.client.hset(REREAD_KEY, "began", json.dumps("2026-03-02T08:00:00Z"))

    checked = {one["object"]: one for one in status(company.settings)[0]["checked"]}

    assert set(checked) == {"Account", "Contact"}
    assert checked["Account"]["calculated_as_of"] == "2026-03-02T08:00:00Z"
    assert checked["Account"]["swept_at"] is None
    assert (checked["Contact"]["differences"], checked["Contact"]["repaired"]) == (4, 3)
    assert checked["Contact"]["calculated_as_of"] is None


@pytest.mark.parametrize("content", [{"by": "run"}, {"used": "many"}, {}, None])
def test_a_hash_that_is_not_the_pollers_is_no_trouble_for_status(found: Found, content: Any) -> None:
    company = found(accounts=1, build=False)
    with open_streams(company.settings) as streams:
        if content is None:
            streams.client.set(POLLER_KEY, "no hash")
        elif content:
            streams.client.hset(POLLER_KEY, mapping=content)
    report, problem = status(company.settings)
    assert (report["api"], problem) == ({}, None)
