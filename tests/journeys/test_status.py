"""`headrace status`: what it adds up, and when it calls an object late."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from shell import sentence

from consumers.marts import note_stale
from integration.store.opening import open_store
from integration.stream import metrics
from integration.stream.connection import connect
from integration.stream.metrics import PollerMetrics
from integration.stream.names import cursor_key
from integration.wiring.status import status

Found = Callable[..., Any]


@pytest.fixture(scope="module")
def company(found_for_all: Found) -> Any:
    """A company that was synced once."""
    company = found_for_all(accounts=3)
    company.sync()
    return company


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def polled(company: Any, **changes: Any) -> None:
    """Let the poller have said something else."""
    told = {"by": "run", "state": "waiting", "started_at": ago(hours=2), "at": ago(seconds=5), "asked_seconds": 10}
    with connect(company.settings.redis.url) as client:
        metrics.write(client, PollerMetrics(**({"interval_seconds": 10, "next_at": ago(seconds=-5)} | told | changes)))


def objects(company: Any) -> dict[str, dict[str, Any]]:
    return {one["object"]: one for one in status(company.settings)[0]["objects"]}


def test_objects_tell_how_much_of_them_happened_in_a_day(company: Any) -> None:
    counted = company.query(
        "SELECT object, count(*) AS n FROM events WHERE time > now() - INTERVAL 24 HOUR GROUP BY 1 ORDER BY 1"
    )
    shown = objects(company)
    assert {name: one["changes_24h"] for name, one in shown.items() if one["changes_24h"]} == {
        row["object"]: row["n"] for row in counted
    }
    assert shown["Contact"]["records"] > 0


def test_a_worker_that_keeps_its_pace_is_late_with_nothing(company: Any) -> None:
    polled(company)
    assert {one["state"] for one in objects(company).values()} == {"ok"}
    assert status(company.settings)[0]["summary"]["sentence"] == "no object late, nothing waiting, no dead letters"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ({"at": ago(minutes=20), "next_at": ago(minutes=19)}, "start headrace run"),
        ({"at": ago(minutes=20), "state": "failed"}, "the last poll failed: see problem under API"),
        (
            {"at": ago(minutes=20), "state": "paused", "reason": "the budget is used up"},
            "paused because the budget is used up",
        ),
        ({"at": ago(minutes=20), "state": "polling"}, "the log of the worker says why"),
        ({"at": ago(hours=30), "by": "sync"}, "run headrace sync, or start headrace run"),
    ],
)
def test_an_object_that_was_not_polled_for_long_is_late_with_a_hint(
    said: dict[str, Any], hint: str, company: Any
) -> None:
    polled(company, **said)
    shown = objects(company)
    assert {(one["state"], one["hint"]) for name, one in shown.items() if name in company.settings.watched} == {
        ("late", hint)
    }


def test_a_sync_of_this_morning_is_not_late(company: Any) -> None:
    polled(company, by="sync", at=ago(hours=9))
    assert {one["state"] for one in objects(company).values()} == {"ok"}


def test_one_object_can_be_late_alone(company: Any) -> None:
    polled(company)
    with connect(company.settings.redis.url) as client:
        before = client.get(cursor_key("Lead"))
        cursor = json.loads(before)  # type: ignore[arg-type]
        early = (
            (datetime.fromisoformat(cursor["covered_until"]) - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        )
        client.set(cursor_key("Lead"), json.dumps(cursor | {"covered_until": early, "passed_until": early}))
        try:
            report, problem = status(company.settings)
            done = company.shell.run("status", "--fail-on", "late")
        finally:
            client.set(cursor_key("Lead"), before)  # type: ignore[arg-type]
    assert problem is None
    assert report["summary"]["late"] == ["Lead"]
    assert done.returncode == 5
    assert sentence(done) == "Late: Lead. What to do: the log of the worker says why."
    assert done.stdout.splitlines()[-1] == "1 object late, nothing waiting, no dead letters."


def test_streams_tell_since_when_something_waits_and_where_to_see_dead_letters(company: Any) -> None:
    polled(company)
    with connect(company.settings.redis.url) as client:
        waiting = client.xadd("crm.lead", {"data": "x"})
        client.xadd("crm.lead", {"data": "y"})
        dead = client.xadd("crm.task.dead", {"reason": "z"})
        try:
            report, _ = status(company.settings)
            late, given_up = (company.shell.run("status", "--fail-on", what) for what in ("late", "dead"))
        finally:
            client.xtrim("crm.lead", maxlen=0)
            client.xdel("crm.task.dead", dead)
    streams = {one["stream"]: one for one in report["streams"]}
    at = datetime.fromtimestamp(int(waiting.split(b"-")[0]) / 1000, UTC)  # type: ignore[union-attr]
    assert datetime.fromisoformat(streams["crm.lead"]["oldest"]) == at
    assert streams["crm.lead"]["lag"] == 2
    assert (streams["crm.task"]["dead"], streams["crm.task"]["hint"]) == (1, "headrace dlq ls crm.task")
    assert streams["crm.account"]["oldest"] is None
    assert report["summary"]["sentence"] == "no object late, 2 entries waiting, 1 dead letter"
    assert late.returncode == 0
    assert late.stdout.endswith("\n\nNo object late, 2 entries waiting, 1 dead letter.\n")
    assert given_up.returncode == 5
    assert sentence(given_up) == "Dead letters: 1. headrace dlq ls shows them."


def test_a_word_that_is_no_problem_is_refused(company: Any) -> None:
    done = company.shell.run("status", "--fail-on", "everything")
    assert done.returncode == 2
    assert sentence(done).startswith("Invalid value for '--fail-on'")


def test_it_tells_how_many_keys_wait_for_the_marts_and_since_when(company: Any) -> None:
    shown = status(company.settings)[0]["marts"]
    assert shown == {"waiting": 0, "oldest": None}  # a sync leaves nothing over
    since = ago(minutes=3)
    keys = [("person", "a", since), ("Contact", "a", ago(minutes=1)), ("Contact", "b", ago(minutes=2))]
    with closing(open_store(company.settings.store.url)) as store, store.transaction() as tx:
        for kind, key, at in keys:
            note_stale(tx, {kind: [key]}, at)
    try:
        report, problem = status(company.settings)
        done = company.shell.run("status")
    finally:
        with closing(open_store(company.settings.store.url)) as store, store.transaction() as tx:
            tx.delete("headrace.stale", "key", ["a", "b"])
    assert problem is None
    assert report["marts"] == {"waiting": 2, "oldest": since}
    assert "\n\nMARTS\nwaiting  2\noldest   3m ago\n" in done.stdout
