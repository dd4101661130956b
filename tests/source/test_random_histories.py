"""Whatever happens in the org, and whenever the poller dies: each version that stays visible for a whole cycle is
published exactly once, and none twice."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.source.poll import Poller, WatchedObject

OVERLAP = 60
RECORDS = 6

saves = st.tuples(
    st.just("save"), st.integers(0, RECORDS - 1), st.sampled_from([0, 0, 0, 1, 7, OVERLAP]), st.booleans()
)
waits = st.tuples(st.just("wait"), st.sampled_from([0, 1, 1, 5, 30, OVERLAP, 200]))
happenings = st.one_of(saves, saves, waits)
cycles = st.tuples(st.just("cycle"), st.integers(1, 5), st.lists(happenings, max_size=4))
crashes = st.tuples(st.just("crash"), st.integers(1, 3), st.integers(0, 2), st.booleans())
restarts = st.tuples(st.just("restart"))
histories = st.lists(st.one_of(happenings, happenings, happenings, cycles, crashes, restarts), max_size=40)


class History:
    def __init__(self, little) -> None:
        self.little = little
        self.org, self.sink = little.Org(), little.Sink()
        self.log = little.Log()
        self.poller: Poller | None = None
        self.page_size = 5

    def do(self, step) -> None:
        match step:
            case ("save", number, open_for, deleted):
                self.org.save(number, open_for=open_for, deleted=deleted)
            case ("wait", seconds):
                self.org.wait(seconds)
            case ("restart",):
                self.poller = None
            case ("crash", page_size, page, after_keeping):
                self.sink.crash_in, self.sink.crash_after_keeping = page, after_keeping
                try:
                    self.cycle(page_size)
                except self.little.Crash:
                    self.poller = None
                self.sink.crash_in = None
            case ("cycle", page_size, meanwhile):
                # what happens while the pages are being read, one thing after each of them
                todo = list(meanwhile)
                self.org.between = lambda: todo and self.do(todo.pop(0))
                self.cycle(page_size)
                self.org.between = lambda: None

    def cycle(self, page_size: int) -> None:
        if self.poller is None or page_size != self.page_size:
            self.page_size = page_size
            self.poller = Poller(
                self.org,
                self.sink,
                objects=[WatchedObject("Contact")],
                overlap_seconds=OVERLAP,
                page_size=page_size,
                log=self.log,
            )
        visible = {row["Name"] for row in self.org.tables["Contact"].values()}
        self.poller.cycle()
        still_visible = {row["Name"] for row in self.org.tables["Contact"].values()}
        missed = (visible & still_visible) - set(self.sink.names)
        assert not missed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories)
def test_every_visible_version_is_published_once_and_none_twice(little, history):
    told = History(little)
    for step in history:
        told.do(step)
    # everything open is committed, and the poller has the time of a normal interval to see it
    for _ in range(3):
        told.org.wait(OVERLAP)
        told.cycle(3)
    names = told.sink.names
    assert {row["Name"] for row in told.org.tables["Contact"].values()} <= set(names)
    assert len(names) == len(set(names))
    ids = [capture["id"] for capture in told.sink.captures]
    assert len(ids) == len(set(ids))
    assert told.log.told == []


@settings(max_examples=100, deadline=None)
@given(history=histories)
def test_the_versions_of_a_record_are_published_in_their_order(little, history):
    told = History(little)
    for step in [*history, ("wait", OVERLAP), ("cycle", 3, [])]:
        told.do(step)
    by_record: dict[str, list[int]] = {}
    for capture in told.sink.captures:
        number = int(capture["fields"]["Name"].removeprefix("version "))
        by_record.setdefault(capture["record_id"], []).append(number)
    for numbers in by_record.values():
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("overlap", [0, 5])
def test_the_property_can_fail_where_the_overlap_is_too_short(little, overlap):
    org, sink = little.Org(), little.Sink()
    poller = Poller(org, sink, objects=[WatchedObject("Contact")], overlap_seconds=overlap, log=little.Log())
    org.save(1, open_for=OVERLAP)
    org.wait(OVERLAP - 1)
    org.save(2)
    poller.cycle()
    org.wait(1)
    poller.cycle()
    assert sink.names == ["version 2"]
