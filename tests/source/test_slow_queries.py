"""Queries that run too long are made lighter step by step, and the last step is the Bulk API."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.core.catalog import schema_from_describe
from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.source.answers import Answer
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.faults import QueryTimeoutError
from integration.source.passes import Pass
from integration.source.poll import Poller, WatchedObject
from integration.source.walk import Ease, Walk

NEVER = 10**12


@pytest.fixture
def org(little):
    return little.Org()


@pytest.fixture
def sink(little):
    return little.Sink()


def poller_of(org, sink, little, **more):
    return Poller(org, sink, objects=[WatchedObject(name) for name in org.tables], log=little.Log(), **more)


def test_pages_get_smaller_then_the_keyset_is_split_then_time_is_cut(org, little):
    schema = schema_from_describe(org.describe("Contact"))
    position = (little.stamp(0), little.record_id(7))
    walk = Walk(schema, Pass(little.stamp(100_000), "", after=position), Ease(800))
    said = [walk.eased()]
    said.append(walk.eased())
    assert said == ["its pages are now 400 rows", "its pages are now 200 rows"]
    assert "split" in walk.eased()
    assert f"= {position[0]} AND Id > '{position[1]}' ORDER BY Id LIMIT 200" in walk.query()
    assert not walk.moved(None, is_exhausted=True)
    assert f"WHERE SystemModstamp > {position[0]} ORDER BY SystemModstamp, Id" in walk.query()
    assert "50,000 seconds" in walk.eased()
    assert f"> {position[0]} AND SystemModstamp <= {little.stamp(50_000)} ORDER" in walk.query()
    while walk.eased() is not None:
        walk.query()
    assert walk.ask_in_bulk() == (position[0], little.stamp(86_400))


def test_a_window_grows_again_once_queries_are_answered(org, little):
    schema = schema_from_describe(org.describe("Contact"))
    walk = Walk(schema, Pass(little.stamp(10**7), "", since=little.stamp(0)), Ease(200, window=60))
    ends = []
    for _ in range(200):
        ends.append(re.search(r"<= (\S+) ORDER", walk.query()))
        if walk.moved(None, is_exhausted=True):
            break
    assert ends[-1] is None
    assert len(ends) < 60
    assert (walk.ease.window, walk.ease.is_split) == (None, False)


@pytest.mark.parametrize("seconds", [60, 1000, 100_000])
def test_an_org_that_answers_for_short_times_only_is_read_whole(org, sink, little, seconds):
    org.wait(10**6)
    for number in range(150):
        org.save(number)
        org.wait(997 if number % 10 else 0)
    org.look()
    org.patience = (seconds, NEVER)
    report = poller_of(org, sink, little, page_size=400).cycle()
    assert len(sink.names) == len(set(sink.names)) == 150
    assert report.skipped == {}
    assert any("seconds at a time" in note for note in report.notes)


def test_a_cycle_that_was_interrupted_between_two_windows_goes_on_there(org, sink, little):
    org.wait(10**6)
    for number in range(60):
        org.save(number)
        org.wait(997)
    org.look()
    org.patience = (5000, NEVER)
    for _ in range(100):
        pages = len(sink.pages)
        if (
            poller_of(org, sink, little, page_size=200)
            .cycle(should_stop=lambda: len(sink.pages) >= pages + 2)  # noqa: B023
            .is_complete
        ):
            break
    assert len(sink.names) == len(set(sink.names)) == 60


saves = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 0, 0, 1, 59, 3600, 86_400])), max_size=60)


@settings(max_examples=100, deadline=None)
@given(history=saves, more=saves, seconds=st.sampled_from([60, 300, 5000]))
def test_whatever_the_times_between_the_rows_none_is_lost_and_none_read_twice(little, history, more, seconds):
    org, sink = little.Org(), little.Sink()
    org.patience = (seconds, NEVER)
    poller = poller_of(org, sink, little, page_size=200)
    for part in (history, more):
        for number, wait in part:
            org.save(number)
            org.wait(wait)
        org.look()
        assert poller.cycle().skipped == {}
        assert {row["Name"] for row in org.tables["Contact"].values()} <= set(sink.names)
    assert len(sink.names) == len(set(sink.names))


# --- the Bulk API ---


class Impatient(SalesforceClient):
    """A client whose org times out every query of REST that would bring more than so many rows of an object."""

    most = 0

    def query_pages(self, requests):
        return [
            Answer(problem=QueryTimeoutError("The query ran too long.")) if len(a.records) > self.most else a
            for a in super().query_pages(requests)
        ]


@pytest.mark.parametrize("rows", [1, 250, 450])
def test_what_no_query_brings_comes_through_the_bulk_api(little, rows):
    org = Org(clock=VirtualClock(datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)))
    sink = little.Sink()
    for number in range(rows):
        org.insert("Contact", {"LastName": f"Name {number}", "Title": 'a, "b"\nc' if number % 7 else None})
    org.clock.advance(30)
    with SandboxServer(org) as server:
        connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
        poller = Poller(
            Impatient(connection),
            sink,
            objects=[WatchedObject("Contact")],
            page_size=200,
            wait=lambda _s: None,
            log=little.Log(),
        )
        report = poller.cycle()
        assert report.skipped == {}
        assert "through the Bulk API" in report.notes[-1]
        org.clock.advance(3600)
        org.update("Contact", sink.captures[0]["record_id"], {"Title": "New"})
        poller.cycle()
        poller.cycle()
    last = {c["record_id"]: c["fields"] for c in sink.captures}
    for record in org.records("Contact"):
        assert last[record["Id"]] == {name: record[name] for name in last[record["Id"]]}
    assert len(sink.captures) == rows + 1
    positions = [(c["system_modstamp"], c["record_id"]) for c in sink.captures]
    assert positions == sorted(positions)


def test_a_tie_that_no_query_brings_comes_through_the_bulk_api(little):
    org = Org(clock=VirtualClock(datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)))
    sink = little.Sink()
    for number in range(600):
        org.insert("Contact", {"LastName": f"Name {number}"})
    with SandboxServer(org) as server:
        connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
        client = Impatient(connection)
        client.most = 10**6
        poller = Poller(
            client, sink, objects=[WatchedObject("Contact")], page_size=200, wait=lambda _s: None, log=little.Log()
        )
        poller.cycle(should_stop=lambda: len(sink.pages) >= 1)
        client.most = 0
        assert poller.cycle().skipped == {}
    assert len(sink.captures) == len({c["record_id"] for c in sink.captures}) == 600


def test_what_not_even_the_bulk_api_can_read_is_told(little):
    org = Org(clock=VirtualClock(datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)))
    sink = little.Sink()
    key = org.insert("Contact", {"LastName": "One", "Title": "CEO"})
    org.update("Contact", key, {"Title": "CTO"})
    with SandboxServer(org) as server:
        connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
        objects = [WatchedObject("Contact"), WatchedObject("ContactHistory")]
        poller = Poller(
            Impatient(connection), sink, objects=objects, page_size=200, wait=lambda _s: None, log=little.Log()
        )
        report = poller.cycle()
    assert "Bulk API can't read ContactHistory" in report.skipped["ContactHistory"]
    assert [c["object"] for c in sink.captures] == ["Contact"]
