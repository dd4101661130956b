"""Transactions that stay open for longer than the overlap: the delete log tells of them, and nothing of theirs is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.poll import Poller, WatchedObject

HOUR = 3600
LOG_EVERY = 300


@pytest.fixture
def org(little):
    return little.Org(("Contact", "ContactHistory"))


@pytest.fixture
def sink(little):
    return little.Sink()


def poller_of(org, sink, little, log=None, **more):
    objects = [WatchedObject(name) for name in org.tables]
    return Poller(org, sink, objects=objects, log=log or little.Log(), **more)


def live(org, poller, seconds: int, every: int = 30) -> None:
    """Poll on, as a worker does: the log every five minutes."""
    for _ in range(0, seconds, every):
        org.wait(every)
        org.look()
        if org.second % LOG_EVERY < every:
            poller.deleted()
        poller.cycle()


def test_what_two_hours_of_one_transaction_saved_is_all_published(org, sink, little):
    log = little.Log()
    poller = poller_of(org, sink, little, log)
    poller.cycle()
    began = org.second
    for number in range(8):
        org.save(number, open_for=2 * HOUR - org.second, began=began)
        live(org, poller, 600)
    live(org, poller, 2 * HOUR)
    assert sorted(sink.names) == [f"version {n}" for n in range(1, 9)]
    assert not sink.cursors["Contact"].late_seen
    assert log.told == []


def test_passes_begin_where_the_transaction_began_until_one_pass_after_it(org, sink, little):
    poller = poller_of(org, sink, little)
    live(org, poller, HOUR)
    org.save(1, open_for=HOUR, began=(began := org.second))
    live(org, poller, 1800)
    cursor = sink.cursors["Contact"]
    assert (cursor.open_since, cursor.still_open) == (little.stamp(began), little.stamp(began))
    org.wait(1800)
    org.look()
    poller.deleted()
    cursor = sink.cursors["Contact"]
    assert (cursor.open_since, cursor.still_open) == (little.stamp(began), None)
    poller.cycle()
    assert sink.names == ["version 1"]
    assert sink.cursors["Contact"].open_since is None


def test_a_second_transaction_is_followed_when_the_first_is_over(org, sink, little):
    poller = poller_of(org, sink, little)
    live(org, poller, HOUR)
    org.save(1, open_for=HOUR)
    live(org, poller, 1800)
    second = org.second
    org.save(2, open_for=2 * HOUR)
    live(org, poller, 2400)
    assert sink.names == ["version 1"]
    assert sink.cursors["Contact"].open_since == little.stamp(second)
    live(org, poller, 2 * HOUR)
    assert sink.names == ["version 1", "version 2"]


def test_a_short_transaction_is_left_to_the_overlap(org, sink, little):
    poller = poller_of(org, sink, little)
    poller.cycle()
    org.save(1, open_for=80)
    org.wait(60)
    org.look()
    report = poller.deleted()
    assert sink.cursors["Contact"].open_since is None
    assert report.notes == []


def test_the_operator_is_told_once_that_polls_read_back(org, sink, little):
    poller = poller_of(org, sink, little)
    poller.cycle()
    org.save(1, open_for=HOUR)
    notes = []
    for _ in range(5):
        org.wait(LOG_EVERY)
        org.look()
        notes += poller.deleted().notes
    (note,) = notes
    assert little.stamp(0) in note


def test_objects_without_a_delete_log_go_by_those_that_have_one(org, sink, little):
    poller = poller_of(org, sink, little)
    live(org, poller, HOUR)
    org.save(1, name="ContactHistory", open_for=HOUR, began=(began := org.second))
    live(org, poller, 1800)
    assert sink.cursors["ContactHistory"].still_open == little.stamp(began)
    org.save(1)
    live(org, poller, HOUR)
    org.save(2)
    live(org, poller, 600)
    assert "version 1" in sink.names
    assert sink.cursors["ContactHistory"].open_since is None


def test_a_one_shot_that_reads_the_log_first_loses_nothing_between_two_runs(org, sink, little):
    poller_of(org, sink, little).cycle()
    org.wait(600)
    org.save(1, open_for=HOUR)
    for _ in range(4):
        org.wait(1799)
        org.look()
        poller = poller_of(org, sink, little)
        poller.describe()
        poller.deleted()
        # committed between the log and the poll, or between the poll and the next log
        org.wait(2)
        poller.cycle()
    assert sink.names == ["version 1"]


def test_a_worker_restarted_in_the_middle_remembers(org, sink, little):
    poller = poller_of(org, sink, little)
    live(org, poller, HOUR)
    org.save(1, open_for=HOUR)
    live(org, poller, 1800)
    live(org, poller_of(org, sink, little), HOUR)
    assert sink.names == ["version 1"]


opened = st.tuples(st.just("open"), st.integers(0, 7), st.sampled_from([1, 30, 300, 590, 700, 1500, HOUR, 2 * HOUR]))
happenings = st.one_of(
    opened,
    st.tuples(st.just("save"), st.integers(0, 7)),
    st.tuples(st.just("live"), st.sampled_from([30, 300, 900, 3000])),
    st.tuples(st.just("restart")),
)


@settings(max_examples=60, deadline=None)
@given(history=st.lists(happenings, min_size=3, max_size=15), phase=st.integers(0, LOG_EVERY))
def test_no_version_that_stays_is_lost_however_long_it_was_open(little, history, phase):
    org, sink, log = little.Org(), little.Sink(), little.Log()
    org.wait(phase)
    org.look()
    poller = poller_of(org, sink, little, log)
    poller.describe()
    poller.cycle()
    for step in [*history, ("live", 2 * HOUR), ("live", 900)]:
        match step:
            case ("open", number, seconds):
                org.save(number, open_for=seconds)
            case ("save", number):
                org.save(number)
            case ("live", seconds):
                live(org, poller, seconds)
            case ("restart",):
                poller = poller_of(org, sink, little, log)
                poller.describe()
    assert org.pending == []
    assert {row["Name"] for row in org.tables["Contact"].values()} <= set(sink.names)
    assert len(sink.names) == len(set(sink.names))
    assert log.told == []
    cursor = sink.cursors["Contact"]
    assert (cursor.open_since, cursor.late_seen) == (None, False)


def test_the_property_can_fail_where_nobody_reads_the_log(org, sink, little):
    poller = poller_of(org, sink, little)
    poller.cycle()
    org.save(1, open_for=HOUR)
    for _ in range(2 * HOUR // 60):
        org.wait(60)
        org.save(2)
        org.look()
        poller.cycle()
    assert "version 1" not in sink.names


def test_in_the_sandbox_a_long_transaction_and_its_history_arrive_whole(little):
    from datetime import UTC, datetime

    org = Org(clock=VirtualClock(datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)))
    sink = little.Sink()
    keys = [org.insert("Contact", {"LastName": f"Name {n}"}) for n in range(5)]
    objects = [WatchedObject("Contact"), WatchedObject("ContactHistory", quiet=True)]
    with SandboxServer(org) as server:
        connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
        poller = Poller(SalesforceClient(connection), sink, objects=objects, log=little.Log())
        poller.cycle()
        transaction = org.begin()
        for key in keys:
            transaction.update("Contact", key, {"Title": "Late", "LastName": "Late"})
            org.clock.advance(400)
            org.insert("Contact", {"LastName": "In between"})
            poller.deleted()
            poller.cycle()
        transaction.commit()
        org.clock.advance(300)
        poller.deleted()
        poller.cycle()
    last = {c["record_id"]: c["fields"] for c in sink.captures if c["object"] == "Contact"}
    assert all(last[key]["Title"] == "Late" for key in keys)
    told = {c["record_id"] for c in sink.captures if c["object"] == "ContactHistory"}
    wanted = {r["Id"] for r in org.records("ContactHistory") if r["Field"] != "created"}
    assert told == wanted
