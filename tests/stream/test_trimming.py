"""What is stored and finished leaves the streams; what anyone still needs never does."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.errors import UnreachableError
from integration.stream.connection import Client, connect
from integration.stream.groups import ack, ensure_group, lag
from integration.stream.names import GROUP
from integration.stream.trim import Trimmer, trim_all

STREAM = "crm.contact"
OTHER = "somebody_else"


@pytest.fixture
def client(redis_client: Client) -> Iterator[Client]:
    """A client of a server that frees entries one by one (and a hundred at a time), instead of a hundred together."""
    before = int(redis_client.config_get("stream-node-max-entries")["stream-node-max-entries"] or 100)
    redis_client.config_set("stream-node-max-entries", 1)
    yield redis_client
    redis_client.config_set("stream-node-max-entries", before)


def add(client: Client, count: int, stream: str = STREAM) -> list[str]:
    pipe = client.pipeline()
    for n in range(count):
        pipe.xadd(stream, {"n": n})
    return [offset.decode() for offset in pipe.execute()]


def read(client: Client, count: int | None = None, group: str = GROUP, stream: str = STREAM) -> list[str]:
    reply: Any = client.xreadgroup(group, "worker", {stream: ">"}, count=count)
    return [offset.decode() for _, entries in reply for offset, _ in entries]


def left(client: Client, stream: str = STREAM) -> list[str]:
    return [offset.decode() for offset, _ in client.xrange(stream) or []]  # type: ignore[union-attr]


def store(client: Client, trimmer: Trimmer, count: int, stream: str = STREAM) -> list[str]:
    """Do as the consumer does: read, commit, acknowledge."""
    offsets = read(client, count, stream=stream)
    trimmer.note(stream, offsets[-1], len(offsets))
    ack(client, stream, offsets)
    return offsets


def test_the_newest_finished_entries_and_all_unread_ones_stay(client: Client) -> None:
    ensure_group(client, STREAM, "")
    offsets = add(client, 100)
    trimmer = Trimmer(client, keep=30)
    for _ in range(8):
        store(client, trimmer, 10)
    assert trimmer.trim() == 49
    assert left(client) == offsets[49:], "thirty that are finished, the one before them, and twenty unread"
    assert trimmer.trim() == 0
    assert lag(client, STREAM).lag == 20


def test_before_enough_have_gone_by_nothing_is_trimmed(client: Client) -> None:
    ensure_group(client, STREAM, "")
    add(client, 60)
    trimmer = Trimmer(client, keep=50)
    store(client, trimmer, 50)
    assert trimmer.trim() == 0
    store(client, trimmer, 9)
    assert trimmer.trim() == 0, "a batch goes as a whole"


def test_nothing_is_kept_where_nothing_is_to_be_kept(client: Client) -> None:
    ensure_group(client, STREAM, "")
    offsets = add(client, 60)
    trimmer = Trimmer(client, keep=0)
    store(client, trimmer, 40)
    assert trimmer.trim() == 39
    assert left(client) == offsets[39:]


def test_what_is_not_committed_stays_whatever_redis_thinks(client: Client) -> None:
    ensure_group(client, STREAM, "")
    offsets = add(client, 60)
    ack(client, STREAM, read(client))
    trimmer = Trimmer(client, keep=0)
    trimmer.note(STREAM, offsets[20], 21)
    trimmer.trim()
    assert left(client) == offsets[20:]


def test_what_was_committed_and_is_still_pending_stays_until_it_is_acknowledged(client: Client) -> None:
    ensure_group(client, STREAM, "")
    offsets = add(client, 60)
    read(client)
    trimmer = Trimmer(client, keep=0)
    trimmer.note(STREAM, offsets[-1], 60)
    assert trimmer.trim() == 0
    ack(client, STREAM, offsets[:10] + offsets[11:])
    trimmer.trim()
    assert left(client) == offsets[10:]
    ack(client, STREAM, [offsets[10]])
    trimmer.trim()
    assert left(client) == offsets[-1:], "and what was held back needs no new note"


def test_another_group_that_is_slower_is_waited_for(client: Client) -> None:
    ensure_group(client, STREAM, "")
    client.xgroup_create(STREAM, OTHER, id="0")
    offsets = add(client, 60)
    trimmer = Trimmer(client, keep=0)
    store(client, trimmer, 60)
    assert trimmer.trim() == 0, "it has read nothing yet"
    read(client, 30, OTHER)
    assert trimmer.trim() == 0, "what it has read is not yet done"
    client.xack(STREAM, OTHER, *offsets[:30])
    trimmer.trim()
    assert left(client) == offsets[29:]
    client.xgroup_destroy(STREAM, OTHER)
    trimmer.trim()
    assert left(client) == offsets[59:]


def test_without_our_group_nothing_is_trimmed(client: Client) -> None:
    ensure_group(client, STREAM, "")
    offsets = add(client, 60)
    trimmer = Trimmer(client, keep=0)
    store(client, trimmer, 60)
    client.xgroup_destroy(STREAM, GROUP)
    client.xgroup_create(STREAM, OTHER, id="$")
    assert trimmer.trim() == 0
    assert trim_all(client, STREAM, offsets[-1]) == 0
    ensure_group(client, STREAM, offsets[-1])
    assert trimmer.trim() == 59


def test_a_stream_that_is_gone_is_no_trouble(client: Client) -> None:
    ensure_group(client, STREAM, "")
    add(client, 60)
    trimmer = Trimmer(client, keep=0)
    store(client, trimmer, 60)
    client.flushall()
    assert trimmer.trim() == 0
    assert trim_all(client, STREAM, "5-0") == 0
    ensure_group(client, STREAM, "")
    add(client, 20)
    store(client, trimmer, 20)
    assert trimmer.trim() == 19


def test_a_store_that_was_set_back_counts_anew(client: Client) -> None:
    ensure_group(client, STREAM, "")
    offsets = add(client, 60)
    trimmer = Trimmer(client, keep=20)
    ack(client, STREAM, read(client))
    trimmer.note(STREAM, offsets[29], 30)
    trimmer.note(STREAM, offsets[29], 30)
    trimmer.note(STREAM, offsets[9], 10)
    trimmer.note(STREAM, offsets[19], 10)
    assert trimmer.trim() == 0, "twenty are committed now, and twenty are to be kept"
    trimmer.note(STREAM, offsets[39], 20)
    trimmer.trim()
    assert left(client) == offsets[19:]


def test_streams_are_trimmed_each_by_its_own(client: Client) -> None:
    trimmer = Trimmer(client, keep=10)
    offsets = {}
    for n, stream in enumerate(("crm.account", "crm.contact", "crm.lead")):
        ensure_group(client, stream, "")
        offsets[stream] = add(client, 40, stream)
        for _ in range(n + 2):
            store(client, trimmer, 10, stream)
    assert trimmer.trim() == 9 + 19 + 29
    assert left(client, "crm.lead") == offsets["crm.lead"][29:]


def test_what_earlier_runs_left_goes_too_a_thousand_at_a_time(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 3_500)
    ack(redis_client, STREAM, read(redis_client))
    trimmer = Trimmer(redis_client, keep=1_000)
    lengths = []
    for _ in range(5):
        add(redis_client, 1)
        store(redis_client, trimmer, 1)
        trimmer.trim()
        lengths.append(redis_client.xlen(STREAM))
    assert 2_500 <= lengths[0] <= 2_700
    assert 1_000 <= lengths[-1] < 1_300, "the last few are not worth the reading"
    assert left(redis_client)[-1_000:-5] == offsets[-995:]


def test_what_earlier_runs_left_goes_only_as_far_as_the_store_is(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 1_500)
    ack(redis_client, STREAM, read(redis_client))
    trimmer = Trimmer(redis_client, keep=100)
    trimmer.note(STREAM, offsets[49], 1)  # as of a store that was restored from a copy
    trimmer.trim()
    assert offsets[49] in left(redis_client)


def test_short_runs_do_not_let_a_stream_grow(client: Client) -> None:
    ensure_group(client, STREAM, "")
    longest = 0
    for _ in range(30):
        add(client, 50)
        trimmer = Trimmer(client, keep=200)
        store(client, trimmer, 50)
        trimmer.trim()
        longest = max(longest, client.xlen(STREAM))
    assert 200 <= longest < 400


def test_under_pressure_all_that_is_finished_goes(client: Client) -> None:
    ensure_group(client, STREAM, "")
    offsets = add(client, 500)
    ack(client, STREAM, read(client, 400)[:300])
    assert trim_all(client, STREAM, offsets[99]) == 99
    assert trim_all(client, STREAM, offsets[-1]) == 201
    assert left(client) == offsets[300:]


def test_usual_nodes_are_freed_as_a_whole(redis_client: Client) -> None:
    ensure_group(redis_client, STREAM, "")
    offsets = add(redis_client, 1_000)
    trimmer = Trimmer(redis_client, keep=100)
    for _ in range(10):
        store(redis_client, trimmer, 100)
    assert 700 < trimmer.trim() <= 899
    assert left(redis_client)[-101:] == offsets[-101:]


def test_a_long_stream_is_trimmed_bit_by_bit(client: Client) -> None:
    ensure_group(client, STREAM, "")
    add(client, 450)
    trimmer = Trimmer(client, keep=0)
    store(client, trimmer, 450)
    removed = [trimmer.trim() for _ in range(6)]
    assert sum(removed) == 449
    assert max(removed) < 449, "others are served in between"
    assert removed[-1] == 0


def test_a_redis_that_is_gone_is_one_sentence() -> None:
    trimmer = Trimmer(connect("redis://127.0.0.1:1"), keep=0)
    assert trimmer.trim() == 0, "nothing to trim, nothing to ask"
    trimmer.note(STREAM, "5-0", 1)
    with pytest.raises(UnreachableError, match=r"^Redis at 127\.0\.0\.1:1 does not answer: .*\.$"):
        trimmer.trim()


GROUPS = st.sampled_from([GROUP, OTHER])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 12)),
        st.tuples(st.just("store"), st.integers(1, 12)),
        st.tuples(st.just("work"), st.integers(1, 12)),
        st.tuples(st.just("read"), GROUPS, st.integers(1, 8)),
        st.tuples(st.just("finish"), GROUPS, st.integers(1, 8), st.randoms(use_true_random=False)),
        st.tuples(st.just("commit")),
        st.tuples(st.just("trim")),
        st.tuples(st.just("trim all")),
        st.tuples(st.just("restart")),
    ),
    min_size=5,
    max_size=40,
)


class Model:
    """A stream with two readers, and what each of them still needs."""

    def __init__(self, client: Client, keep: int) -> None:
        self.client = client
        self.keep = keep
        self.trimmer = Trimmer(client, keep=keep)
        self.published: list[str] = []
        self.unfinished: dict[str, set[str]] = {GROUP: set(), OTHER: set()}
        self.held: dict[str, list[str]] = {GROUP: [], OTHER: []}
        self.given: list[str] = []
        self.committed = 0
        self.pressed = False
        client.delete(STREAM)
        for group in self.held:
            client.xgroup_create(STREAM, group, id="0", mkstream=True)

    def publish(self, count: int) -> None:
        offsets = add(self.client, count)
        self.published += offsets
        for unfinished in self.unfinished.values():
            unfinished.update(offsets)

    def read(self, group: str, count: int) -> None:
        offsets = read(self.client, count, group)
        self.held[group] += offsets
        if group == GROUP:
            self.given += offsets

    def finish(self, group: str, count: int, random: Any) -> None:
        held = self.held[group]
        if group == GROUP:  # only what is committed is acknowledged
            held = [offset for offset in held if offset in self.given[: self.committed]]
        for offset in random.sample(held, min(count, len(held))):
            self.client.xack(STREAM, group, offset)
            self.held[group].remove(offset)
            self.unfinished[group].discard(offset)

    def store(self, count: int) -> None:
        """Read, commit and acknowledge, as the consumer does when nothing goes wrong."""
        self.read(GROUP, count)
        self.commit()
        self.finish(GROUP, count, _InOrder())

    def work(self, count: int) -> None:
        """The same for the other group, which has nothing to commit."""
        self.read(OTHER, count)
        self.finish(OTHER, count, _InOrder())

    def commit(self) -> None:
        if len(self.given) > self.committed:
            self.trimmer.note(STREAM, self.given[-1], len(self.given) - self.committed)
            self.committed = len(self.given)

    def trim(self) -> None:
        before = len(left(self.client))
        removed = self.trimmer.trim()
        self.check(before - removed)

    def trim_all(self) -> None:
        if self.committed:
            before = len(left(self.client))
            self.pressed = True
            self.check(before - trim_all(self.client, STREAM, self.given[self.committed - 1]))

    def restart(self) -> None:
        self.trimmer = Trimmer(self.client, keep=self.keep)

    def check(self, expected_length: int) -> None:
        there = left(self.client)
        assert len(there) == expected_length, "as many went as were told"
        assert there == self.published[len(self.published) - len(there) :], "only the oldest go"
        assert set().union(*self.unfinished.values()) <= set(there)
        assert set(self.given[self.committed :]) <= set(there)
        if not self.pressed:
            stored = set(self.given[: self.committed])
            assert len(stored & set(there)) >= min(self.keep, len(stored))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.integers(0, 12), steps=STEPS)
def test_whatever_is_published_read_and_finished_nothing_goes_that_a_group_needs(
    client: Client, keep: int, steps: list[tuple[Any, ...]]
) -> None:
    model = Model(client, keep)
    for name, *rest in steps:
        getattr(model, name.replace(" ", "_"))(*rest)
    model.commit()
    model.trim()


def test_in_the_end_of_such_a_history_only_what_is_kept_is_left(client: Client) -> None:
    model = Model(client, keep=5)
    for _ in range(6):
        model.publish(10)
        for group in (GROUP, OTHER):
            model.read(group, 10)
        model.commit()
        for group in (GROUP, OTHER):
            model.finish(group, 10, _InOrder())
        model.trim()
    assert len(left(client)) == 11, "a batch of ten, and the entry before it"


class _InOrder:
    def sample(self, items: list[str], count: int) -> list[str]:
        return items[:count]
