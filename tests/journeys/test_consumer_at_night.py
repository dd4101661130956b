"""What happens to a consumer when nobody looks: thieves, poison, deleted streams, a full Redis. Nothing is lost."""

import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from compare import assert_equal, assert_state_equal
from following import polled_and_stored
from night import capture_of_unknown_kind, consuming, intake, night_shift, store_of, stored

from consumers import app
from consumers.intake import CONSUMER
from integration.core.segment import read_call
from integration.errors import RunError, UnreachableError
from integration.store.duckdb.store import DuckDBStore
from integration.stream import dead, groups, names, product
from integration.stream.connection import Client, connect
from integration.wiring import parts

Found = Callable[..., Any]

POISON = "deadbeef"
STREAM = "crm.contact"


@pytest.fixture(autouse=True)
def _wakeful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_WATCH_SECONDS", 0.05)


def poisonous(schema_id: str) -> bytes | None:
    """Fail as no code expects it, for captures of one description."""
    if schema_id == POISON:
        raise ZeroDivisionError
    return None


def assert_once(company: Any) -> None:
    """See that the store equals the org, with every capture once."""
    assert_equal(company)
    [counted] = company.query("SELECT count(*) AS n, count(DISTINCT capture_id) AS m FROM captures")
    assert counted["n"] == counted["m"]


# --- entries that never come


@pytest.mark.slow
def test_what_somebody_else_reads_is_stored_all_the_same_in_order_and_once(found: Found) -> None:
    company = found(accounts=3)
    with night_shift(company) as shift:
        came = shift.polled()
        with consuming(shift) as worker:
            stolen = shift.publish_past_a_thief(came)
            for _ in range(3):
                company.live(10)
                stolen += shift.publish_past_a_thief(shift.polled(), to_the_end=True)
            assert stolen > 10
            worker.until(stored(shift, worker), "all is stored, what nobody follows too")
            assert worker.query("SELECT count(*) AS n FROM dead_letters") == [{"n": 0}]
    assert_once(company)


def test_after_a_start_nothing_stays_pending_and_dead_consumers_are_gone(found: Found) -> None:
    company = found(accounts=2)
    with night_shift(company) as shift:
        came = shift.polled()
        shift.publish(came)
        for number, stream in enumerate(came):
            groups.ensure_group(shift.client, stream, "")
            for name in ("long-dead", CONSUMER, f"dead-{number}"):
                shift.client.xreadgroup(names.GROUP, name, {stream: ">"}, count=2)
        assert shift.pending() > 10
        with consuming(shift) as worker:
            worker.until(stored(shift, worker), "all is stored")
            for stream in came:
                assert [one["name"] for one in shift.client.xinfo_consumers(stream, names.GROUP)] == [CONSUMER.encode()]
    assert_once(company)


def test_a_batch_acknowledged_by_a_stale_worker_is_stored_by_the_next(found: Found) -> None:
    company = found(accounts=2)
    with night_shift(company) as shift:
        came = shift.polled()
        shift.publish(came)
        for stream in came:
            groups.ensure_group(shift.client, stream, "")
            reply: Any = shift.client.xreadgroup(names.GROUP, "stale", {stream: ">"}, count=3)
            groups.ack(shift.client, stream, [offset.decode() for offset, _ in reply[0][1][1:]])
        with consuming(shift) as worker:
            worker.until(stored(shift, worker), "all is stored")
    assert_once(company)


# --- entries that make it fail


def test_an_entry_that_makes_the_flattener_fail_is_found_and_all_others_are_stored(found: Found) -> None:
    company = found(accounts=4)
    with night_shift(company) as shift:
        came = shift.polled()
        bad = capture_of_unknown_kind(came[STREAM][3], POISON)
        came[STREAM][3:3] = [bad, bad]
        came["crm.account"].append(capture_of_unknown_kind(came["crm.account"][0], POISON))
        shift.publish(came)
        with consuming(shift, fetch=poisonous) as worker:
            worker.until(stored(shift, worker), "all is stored")
            told = [
                (one["stream"], one["reason"]) for one in worker.query("SELECT * FROM dead_letters ORDER BY stream")
            ]
            assert told == [
                (stream, "The entry makes the flattener fail (ZeroDivisionError).")
                for stream in ("crm.account", STREAM, STREAM)
            ]
            assert sum(len(applied.rejects) for applied in worker.applied) == 3
        assert dead.dead_count(shift.client, STREAM) == 2
    assert_once(company)


@pytest.mark.slow
def test_a_value_that_the_store_refuses_costs_one_record_and_not_the_batch(found: Found) -> None:
    company = found(accounts=4)
    with night_shift(company) as shift:
        came = shift.polled()
        sites = {row["Id"]: row["Site"] for row in company.org.records("Account")}
        [changed, *_] = [record_id for record_id, site in sites.items() if site is None]
        with consuming(shift) as worker:
            with worker.store.transaction() as tx:
                # As if somebody had been at the table by hand.
                tx._con.execute("ALTER TABLE salesforce.account ALTER site TYPE INTEGER")
            company.clock.advance(5)
            company.org.update("Account", changed, {"Site": "the old brewery"})
            company.watcher.observe(company.org)
            shift.publish(came)
            shift.publish(shift.polled())
            worker.until(stored(shift, worker), "all is stored")
            letters = worker.query("SELECT * FROM dead_letters")
            assert {one["reason"] for one in letters} == {"The entry makes the flattener fail (ConversionException)."}
            odd = {record_id for record_id, site in sites.items() if site is not None}
            assert {one["entry"]["subject"] for one in letters} == {f"Account/{i}" for i in (changed, *odd)}
            assert {one["id"] for one in worker.query("SELECT id FROM salesforce.account")} == sites.keys() - odd


def test_a_failure_that_meets_every_entry_stops_the_consumer_and_buries_nothing_more(found: Found) -> None:
    company = found(accounts=4)
    with night_shift(company) as shift:
        came = shift.polled()
        good, bad = came[STREAM][:1], [capture_of_unknown_kind(came[STREAM][1], POISON)]
        shift.publish({STREAM: good + bad * 4})
        with consuming(shift, fetch=poisonous, max_dead_in_a_row=6) as worker:
            worker.until(stored(shift, worker), "four in a row are given up")
            shift.publish({STREAM: bad * 3})
            said = str(worker.until_failed())
            assert "6 entries of crm.contact in a row can't be used, up to " in said
            assert "(The entry makes the flattener fail (ZeroDivisionError))" in said
            assert said.endswith(
                "look at them with headrace dlq ls crm.contact and headrace streams peek crm.contact; "
                "raise streams.max_dead_in_a_row to go on."
            )
            assert worker.query("SELECT count(*) AS n FROM dead_letters") == [{"n": 4}]
            assert (worker.consumer.healthy() or "").startswith("The consumer has stopped: 6 entries of crm.contact ")
        # Who only starts it again finds it where it was.
        for _ in range(2):
            with (
                pytest.raises(RunError, match="6 entries of crm"),
                consuming(shift, fetch=poisonous, max_dead_in_a_row=6),
            ):
                pass
        assert dead.dead_count(shift.client, STREAM) == 4
        shift.publish({STREAM: came[STREAM][1:]})
        with consuming(shift, fetch=poisonous, max_dead_in_a_row=20) as worker:
            worker.until(stored(shift, worker), "it goes on")
            assert worker.query("SELECT count(*) AS n FROM dead_letters") == [{"n": 7}]
        shift.publish({STREAM: bad * 4})
        with consuming(shift, fetch=poisonous, max_dead_in_a_row=6) as worker:
            worker.until(stored(shift, worker), "an entry that can be used begins a new count")


def test_letters_that_are_no_captures_count_as_well(found: Found) -> None:
    company = found(accounts=1)
    with night_shift(company) as shift:
        came = shift.polled()
        shift.publish({STREAM: [{b"foo": b"bar"}] * 3 + came[STREAM] + [{b"foo": b"bar"}] * 4})
        with (
            pytest.raises(RunError, match=r"4 entries of crm.contact in a row .* no field data"),
            consuming(shift, max_dead_in_a_row=4) as worker,
        ):
            raise worker.until_failed()
        with DuckDBStore(company.settings.store_path).reading() as tx:
            assert tx.rows("SELECT count(*) AS n FROM dead_letters") == [{"n": 0}]


# --- entries that kill


class KilledError(BaseException):
    """Stands for a process that ends on the spot: nobody cleans up after it."""


def deadly(schema_id: str) -> bytes | None:
    if schema_id == POISON:
        raise KilledError
    return None


def test_an_entry_that_kills_the_consumer_again_and_again_is_given_up_and_no_other(found: Found) -> None:
    company = found(accounts=4)
    with night_shift(company) as shift:
        came = shift.polled()
        came[STREAM].insert(7, capture_of_unknown_kind(came[STREAM][3], POISON))
        shift.publish(came)
        groups.ensure_group(shift.client, STREAM, "")
        shift.client.xreadgroup(names.GROUP, CONSUMER, {STREAM: ">"})
        deaths = 1
        with store_of(shift) as store:
            for _ in range(10):
                with suppress(KilledError):
                    intake(shift, store, deadly).recover(STREAM)
                    break
                deaths += 1
            [letter] = store.query("SELECT * FROM dead_letters").to_pylist()
        assert letter["reason"] == f"The consumer died {deaths} times with this entry in hand."
        assert POISON in letter["entry"]
        assert letter["deliveries"] == deaths + 1 == 7
        [buried] = dead.list_dead(shift.client, STREAM)
        assert buried.letter.deliveries == 7
        with consuming(shift) as worker:
            worker.until(stored(shift, worker), "all others are stored")
    assert_once(company)


def test_a_store_or_redis_that_is_away_for_long_is_held_against_no_entry(found: Found) -> None:
    company = found(accounts=2)
    with night_shift(company) as shift:
        came = shift.polled()
        came[STREAM].insert(2, capture_of_unknown_kind(came[STREAM][0], POISON))
        shift.publish(came)
        groups.ensure_group(shift.client, STREAM, "")
        shift.client.xreadgroup(names.GROUP, CONSUMER, {STREAM: ">"})

        def away(_: str) -> bytes | None:
            raise UnreachableError("The disk is full.")

        with store_of(shift) as store:
            for _ in range(10):
                with pytest.raises(UnreachableError):
                    intake(shift, store, away).recover(STREAM)
            held = groups.pending(shift.client, STREAM)
            assert {one.deliveries for one in held} == {1}
            intake(shift, store).recover(STREAM)
            [letter] = store.query("SELECT reason FROM dead_letters").to_pylist()
            assert letter["reason"].startswith(f"No description {POISON} of Contact is known")


# --- dead letters


def test_letters_that_redis_has_lost_are_buried_again_at_the_next_start(found: Found) -> None:
    company = found(accounts=1)
    with night_shift(company) as shift:
        shift.polled()
        shift.publish({STREAM: [{b"n": str(n).encode()} for n in range(3)]})
        with consuming(shift) as worker:
            worker.until(lambda: dead.dead_count(shift.client, STREAM) == 3, "three are given up")
        before = [one.letter for one in dead.list_dead(shift.client, STREAM)]
        shift.client.delete(names.dead_of(STREAM), names.buried_key(STREAM))
        with consuming(shift):
            assert [one.letter for one in dead.list_dead(shift.client, STREAM)] == before
        with consuming(shift):
            assert dead.dead_count(shift.client, STREAM) == 3


def test_a_full_redis_keeps_no_letter_from_the_store_and_shows_it_when_there_is_room(found: Found) -> None:
    company = found(accounts=1)
    with night_shift(company) as shift:
        shift.polled()
        shift.publish({STREAM: [{b"foo": b"bar"}]})
        groups.ensure_group(shift.client, STREAM, "")
        shift.client.config_set("maxmemory", "1mb")
        try:
            with consuming(shift) as worker:
                worker.until(lambda: worker.query("SELECT 1 FROM dead_letters"), "it is in the store")
                worker.until(lambda: not groups.pending(shift.client, STREAM), "and finished")
                assert dead.dead_count(shift.client, STREAM) == 0
                worker.until(lambda: " is full " in (worker.consumer.healthy() or ""), "others have no group yet")
                worker.do(worker.consumer.tidy())
                assert dead.dead_count(shift.client, STREAM) == 0
                shift.client.config_set("maxmemory", 0)
                worker.do(worker.consumer.tidy())
                assert dead.dead_count(shift.client, STREAM) == 1
                worker.until(lambda: worker.consumer.healthy() is None, "the other streams are consumed now")
        finally:
            shift.client.config_set("maxmemory", 0)


def test_what_became_of_a_letter_is_noted_in_the_store(found: Found) -> None:
    company = found(accounts=1)
    with night_shift(company) as shift:
        came = shift.polled()
        early = capture_of_unknown_kind(came[STREAM][0], shift.schemas[0].schema_id)
        shift.publish({STREAM: [{b"foo": b"bar"}, {b"foo": b"baz"}, early, {b"foo": b"qux"}]})
        with consuming(shift) as worker:
            worker.until(lambda: dead.dead_count(shift.client, STREAM) == 4, "four are given up")
            one, two, three, _ = dead.list_dead(shift.client, STREAM)
            dead.drop_dead(shift.client, [one])
            dead.retry_dead(shift.client, [two, three])
            worker.until(stored(shift, worker), "what was retried has come again")
            worker.do(worker.consumer.tidy())
            told = worker.query('SELECT settled, settled_at IS NOT NULL AS at FROM dead_letters ORDER BY "offset"')
            assert [(row["settled"], row["at"]) for row in told[:4]] == [
                ("dropped", True), ("retried", True), ("retried", True), (None, False),
            ]  # fmt: skip
            assert [row["settled"] for row in told[4:]] == [None, None], "they fail again, as new letters"
            assert shift.client.exists(names.settled_key(STREAM)) == 0
        # The stream is read again from its beginning: what was settled stays so.
        shift.client.xgroup_destroy(STREAM, names.GROUP)
        before = dead.dead_count(shift.client, STREAM)
        with consuming(shift) as worker:
            worker.until(stored(shift, worker), "all is stored")
            again = worker.query('SELECT settled FROM dead_letters ORDER BY "offset"')
            assert [row["settled"] for row in again] == [row["settled"] for row in told]
        assert dead.dead_count(shift.client, STREAM) == before


def test_an_older_store_gets_the_new_columns(found: Found) -> None:
    company = found(accounts=1)
    store = DuckDBStore(company.settings.store_path)
    with store.transaction() as tx:
        for column in ("settled", "settled_at"):
            tx._con.execute(f"ALTER TABLE dead_letters DROP COLUMN {column}")
    store.close()
    with night_shift(company) as shift:
        shift.polled()
        shift.publish({STREAM: [{b"foo": b"bar"}]})
        with consuming(shift) as worker:
            worker.until(lambda: dead.dead_count(shift.client, STREAM) == 1, "it is given up")
            dead.drop_dead(shift.client, dead.list_dead(shift.client, STREAM))
            worker.do(worker.consumer.tidy())
            assert worker.query("SELECT settled FROM dead_letters") == [{"settled": "dropped"}]


# --- streams that go away


def test_a_consumer_says_that_it_is_well_or_what_is_wrong(found: Found) -> None:
    company = found(accounts=1)
    with night_shift(company) as shift:
        shift.publish(shift.polled())
        with consuming(shift) as worker:
            assert worker.consumer.healthy() is None
            assert worker.consumer.failed is not None
            worker.loop.call_soon_threadsafe(worker.consumer.failed.set_exception, RunError("It broke."))
            worker.until_failed()
            assert worker.consumer.healthy() == "The consumer has stopped: It broke."


@pytest.mark.parametrize("everything", [False, True], ids=["a stream", "everything"])
def test_a_consumer_goes_on_when_streams_are_deleted_under_it(everything: bool, found: Found) -> None:
    company = found(accounts=2)
    with night_shift(company) as shift:
        shift.publish(shift.polled())
        shift.publish({STREAM: [{b"foo": b"bar"}]})
        with consuming(shift) as worker:
            worker.until(stored(shift, worker), "all is stored")
            for _ in range(2):
                if everything:
                    shift.client.flushdb()
                    worker.until(lambda: shift.client.exists(names.dead_of(STREAM)), "the dead letter is back")
                else:
                    shift.client.delete(STREAM)
                company.live(8)
                shift.publish(shift.polled())
                worker.until(stored(shift, worker), "what came since is stored")
                worker.until(lambda: worker.consumer.healthy() is None, "all streams are consumed")
    assert_once(company)


def delete_streams(client: Client, company: Any) -> None:
    for _ in range(3):
        company.live(4)
        client.delete(STREAM, "crm.account")


def delete_everything(client: Client, company: Any) -> None:
    company.live(8)  # the cursors go with the entries that nobody has stored yet
    client.flushall()


@pytest.mark.parametrize(
    "accident", [pytest.param(delete_streams, marks=pytest.mark.slow), delete_everything], ids=["DEL", "FLUSHALL"]
)
def test_a_worker_outlives_the_loss_of_its_streams(accident: Callable[[Client, Any], None], found: Found) -> None:
    company = found(accounts=3, HEADRACE_POLL__INTERVAL_SECONDS="0.2", HEADRACE_WEB__PORT="0")
    with company.shell.start("run") as running, connect(company.settings.redis.url) as client:
        running.ready()
        running.until(polled_and_stored(company))
        accident(client, company)
        for _ in range(2):
            company.live(8)
            company.watcher.observe(company.org)
            running.until(polled_and_stored(company))
        assert running.end(signal.SIGTERM) == 0, running.notes
        assert "Traceback" not in running.notes
    assert_state_equal(company)


def test_what_is_stored_and_was_not_acknowledged_does_not_stay_pending(found: Found) -> None:
    company = found(accounts=3)
    with night_shift(company) as shift:
        shift.publish(shift.polled())
        with consuming(shift) as worker:
            worker.until(stored(shift, worker), "all is stored")
            length = shift.client.xlen(STREAM)
            # As if the answer to each acknowledgement had been lost together with the acknowledgement.
            shift.client.xgroup_setid(STREAM, names.GROUP, "0")
            shift.client.xreadgroup(names.GROUP, CONSUMER, {STREAM: ">"})
            assert shift.client.xpending(STREAM, names.GROUP)["pending"] == length
            worker.until(lambda: not shift.client.xpending(STREAM, names.GROUP)["pending"], "nothing is pending")
    assert_once(company)


@pytest.mark.slow
def test_what_was_deleted_with_its_stream_before_it_was_stored_is_read_again(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    company.live(30)
    company.clock.advance(7_200)
    with connect(company.settings.redis.url) as client:
        poller, _ = parts.poller(company.settings, parts.salesforce(company.settings), client)
        assert poller.cycle().published
        company.clock.advance(7_200)
        assert not poller.cycle().published
        client.delete(STREAM, "crm.account", "crm.opportunity")

    company.sync()

    assert_state_equal(company)
    [counted] = company.query("SELECT count(*) AS n, count(DISTINCT event_id) AS m FROM events")
    assert counted["n"] == counted["m"]


def test_streams_are_trimmed_behind_the_store(found: Found) -> None:
    company = found(accounts=12)
    with night_shift(company) as shift:
        shift.client.config_set("stream-node-max-entries", 5)
        try:
            shift.publish(shift.polled())
            before = {stream: shift.client.xlen(stream) for stream in shift.streams()}
            with consuming(shift, keep=10, max_records=7) as worker:
                worker.until(stored(shift, worker), "all is stored")
                worker.do(worker.consumer.tidy())
                after = {stream: shift.client.xlen(stream) for stream in shift.streams()}
        finally:
            shift.client.config_set("stream-node-max-entries", 100)
        assert before[STREAM] > 40
        assert 10 <= after[STREAM] < 30
        assert all(after[stream] >= min(10, length) for stream, length in before.items())
    assert_once(company)


def test_the_position_is_asked_for_once_for_a_batch_of_all_streams(found: Found) -> None:
    company = found(accounts=2)
    with night_shift(company) as shift:
        shift.publish(shift.polled())
        with consuming(shift) as worker:
            worker.until(stored(shift, worker), "all is stored")
            company.live(5)
            came = shift.polled()
            before = shift.client.info("commandstats")
            shift.publish(came)
            worker.until(stored(shift, worker), "what came since is stored")
            asked = _calls(shift.client.info("commandstats"), "xrange") - _calls(before, "xrange")
            assert asked <= len(came) * 2
    assert_once(company)


def _calls(stats: Any, command: str) -> int:
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_product_events_that_trickle_in_are_stored_together_and_the_first_at_once(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app._GATHER_SECONDS, names.PRODUCT_STREAM, 2.0)
    company = found(accounts=1)

    def tell(number: int) -> None:
        body = {"type": "track", "userId": "u1", "event": "Sign Up", "messageId": f"m{number}"}
        product.publish(shift.client, read_call(None, body, datetime.now(UTC), str).events)

    with night_shift(company) as shift:
        shift.polled()
        tell(1)
        with consuming(shift) as worker:
            worker.until(lambda: worker.query("SELECT 1 FROM events"), "the first is stored")
            for number in range(2, 6):
                tell(number)
            worker.until(lambda: len(worker.query("SELECT 1 FROM events")) == 5, "the others are too")
            assert [applied.stored for applied in worker.applied] == [1, 4]
