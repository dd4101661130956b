"""A backfill reads every row, whichever way, whatever comes in between: from the sandbox org over HTTP."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.core import exactjson
from integration.core.catalog import schema_from_describe
from integration.core.chunks import Course, Sizes, Way
from integration.errors import UnreachableError
from integration.sandbox import faults
from integration.sandbox.clock import VirtualClock
from integration.sandbox.fields import text
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.world import build_world
from integration.source.backfill import Backfill
from integration.source.bulk import BulkLimitError, why_not_bulk
from integration.source.client import SalesforceClient
from integration.source.counting import count_windows, sizes_of
from integration.source.credentials import Connection
from integration.source.session import patient_retry, session_for
from schemas import Capture

NOON = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
SMALL = Sizes(bulk_from=0, chunk=10, rest_page=200, bulk_page=4)


class KilledError(Exception):
    """What ends a process in the middle."""


class Shelf:
    """Keeps what is published and how far each object is, as a process that can be killed leaves it."""

    def __init__(self, client: SalesforceClient) -> None:
        self.client = client
        self.captures: list[dict] = []
        self.courses: dict[str, bytes] = {}
        self.finished: list[str] = []
        self.steps_left = -1
        self.on_save: Callable[[Course], None] = lambda _course: None

    def publish(self, schema, captures) -> None:
        self._step()
        self.captures += captures
        self._step()

    def save(self, course) -> None:
        self._step()
        self.courses[course.object] = course.to_json()
        self.on_save(course)

    def finish(self, course, schema) -> None:
        course.is_done = True
        self.save(course)
        self.finished.append(course.object)

    def refresh(self, name):
        return schema_of(self.client, name)

    def _step(self) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            raise KilledError

    def ids(self, name: str = "Account") -> list[str]:
        return [c["record_id"] for c in self.captures if c["object"] == name]

    @property
    def names(self) -> dict[str, str]:
        """The last name published of each account."""
        return {c["record_id"]: c["fields"]["Name"] for c in self.captures if c["object"] == "Account"}


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def org():
    return Org(clock=VirtualClock(NOON))


@pytest.fixture
def server(org):
    with SandboxServer(org) as running:
        yield running


@pytest.fixture
def client(server):
    made = client_of(server.url)
    yield made
    made.close()


@pytest.fixture
def shelf(client):
    return Shelf(client)


def client_of(url: str) -> SalesforceClient:
    connection = Connection(base_url=url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
    return SalesforceClient(connection, session=session_for(connection, retry=patient_retry(0)), sleep=lambda _s: None)


def schema_of(client, name):
    return schema_from_describe(client.describe(name))


def course_of(client, name: str, way: Way, *, windows: int = 1, since: str | None = None) -> Course:
    (size,) = sizes_of(client, [(schema_of(client, name), since)])
    course = Course(name, "backfill-1", way, since=since, total=size.rows)
    if windows > 1:
        stamps = [f"2026-03-02T12:00:{second:02d}Z" for second in range(10, 10 * windows, 10)]
        course.windows = list(zip([None, *stamps], [*stamps, None], strict=True))
    return course


def work(client, shelf, names, *, sizes: Sizes = SMALL, clock: Clock | None = None, between=lambda: None) -> Backfill:
    clock = clock or Clock()
    schemas = {name: schema_of(client, name) for name in names}
    return Backfill(
        client, shelf, schemas, history={}, sizes=sizes, between=between, clock=clock, wait=clock.wait
    )  # fmt: skip


def read(client, shelf, course: Course, **more) -> Backfill:
    made = work(client, shelf, [course.object], **more)
    made.run([course])
    return made


def some_accounts(org, count: int) -> list[str]:
    """Accounts with stamps a second apart."""
    made = []
    for number in range(count):
        made.append(org.insert("Account", {"Name": f"A{number}"}))
        org.clock.advance(1)
    return made


# --- the same captures ---


def without_time(capture: dict) -> bytes:
    return exactjson.dumps({**capture, "seen_at": None})


def test_captures_are_the_same_byte_for_byte_through_rest_and_through_bulk(client, org):
    build_world(org, accounts=20, ends_at=NOON)
    org.delete("Contact", org.records("Contact")[0]["Id"])
    compared = []
    for name in org.objects:
        schema = schema_of(client, name) if client.describe(name)["queryable"] else None
        if schema is None or why_not_bulk(schema) is not None:
            continue
        shelves = {}
        for way in (Way.REST, Way.BULK):
            shelves[way] = Shelf(client)
            read(client, shelves[way], course_of(client, name, way), sizes=Sizes(chunk=10, rest_page=300, bulk_page=37))
        rest, bulk = (sorted(map(without_time, one.captures)) for one in shelves.values())
        assert rest == bulk, name
        assert len(rest) == len(org.records(name, include_deleted=True))
        for capture in shelves[Way.BULK].captures:
            Capture.model_validate_json(exactjson.dumps(capture))
            assert capture["origin"] == "backfill"
        compared.append(name)
    assert {"Account", "Contact", "Lead", "Task", "cbit__Clearbit__c", "OpportunityHistory"} <= set(compared)


ODD = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.sampled_from(
        ["null", "NULL", "007", "00", "1e5", '"', '""', ",", "=1+1", "\\N", "a\r\nb", "\n", "\u2028", "🎉"]
    ),
)
MONEY = st.one_of(
    st.floats(-1e12, 1e12).map(lambda x: round(x, 2)),
    st.sampled_from([0.0, 1e7, 1.395e8, 123456789012345.67, 0.1, 1 / 3, 1e-4]),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=st.lists(
        st.fixed_dictionaries({"Name": ODD}, optional={"Description": ODD, "Type": ODD, "AnnualRevenue": MONEY}),
        min_size=1,
        max_size=8,
    )
)
def test_any_record_is_the_same_capture_through_rest_and_through_bulk(records):
    org = Org(clock=VirtualClock(NOON))
    with SandboxServer(org) as server:
        client = client_of(server.url)
        for record in records:
            org.insert("Account", record)
        shelves = [Shelf(client), Shelf(client)]
        read(client, shelves[0], course_of(client, "Account", Way.REST))
        read(client, shelves[1], course_of(client, "Account", Way.BULK))
        rest, bulk = (sorted(map(without_time, one.captures)) for one in shelves)
        assert rest == bulk
        client.close()


def test_ids_tell_the_content_so_that_what_the_poll_saw_is_not_the_same_entry_twice(client, org, shelf):
    (key,) = some_accounts(org, 1)
    read(client, shelf, course_of(client, "Account", Way.REST))
    (first,) = shelf.captures
    assert first["id"].startswith(f"{client.org_id}:Account:{key}:2026-03-02T12:00:00Z:")
    org.drift("Account", key, {"Name": "moved alone"})
    read(client, shelf, course_of(client, "Account", Way.REST))
    assert shelf.captures[1]["id"] != first["id"]
    assert shelf.captures[1]["system_modstamp"] == first["system_modstamp"]


# --- moving rows ---


def test_rows_that_move_while_the_windows_are_read_are_not_missed(client, org, shelf, server):
    keys = some_accounts(org, 30)
    course = course_of(client, "Account", Way.BULK, windows=3)

    def move(saved: Course) -> None:
        if saved.chunk == 1 and saved.job_id is None:
            org.clock.advance(60)
            org.update("Account", keys[15], {"Name": "moved"})

    shelf.on_save = move
    read(client, shelf, course)
    assert set(shelf.ids()) == set(keys)
    assert shelf.names[keys[15]] == "moved"
    assert server.rest.bulk.created == 3


def test_rows_of_a_job_are_as_old_as_the_job(client, org, shelf):
    some_accounts(org, 5)
    course = course_of(client, "Account", Way.BULK)

    def later(saved: Course) -> None:
        if saved.job_id is not None:
            org.clock.advance(600)

    shelf.on_save = later
    asked_at = client.server_time
    read(client, shelf, course)
    assert {c["seen_at"] for c in shelf.captures} == {asked_at}


def test_only_what_changed_since_is_read(client, org, shelf):
    keys = some_accounts(org, 20)
    for way in Way:
        shelf.captures.clear()
        read(client, shelf, course_of(client, "Account", way, since="2026-03-02T12:00:12Z"))
        assert sorted(shelf.ids()) == sorted(keys[12:])


# --- killed and gone on with ---


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 9, 12])
def test_killed_at_any_step_it_goes_on_and_reads_every_row(client, org, shelf, server, way, steps):
    keys = some_accounts(org, 30)
    course = course_of(client, "Account", way, windows=3)
    kills = 0
    while not shelf.finished:
        shelf.steps_left = steps
        try:
            read(client, shelf, course, sizes=Sizes(rest_page=7, bulk_page=4))
        except KilledError:
            kills += 1
            assert kills < 100
            saved = shelf.courses.get("Account")
            course = Course.from_json(saved) if saved else course_of(client, "Account", way, windows=3)
            steps += 1  # luck changes: else a kill between a page and its saving would come every time
    assert kills
    assert set(shelf.ids()) == set(keys)
    # Only a job that was made, and not saved, is left for Salesforce to drop.
    assert len(client.rest("jobs/query", about="jobs")["records"]) <= kills


def test_a_page_is_saved_with_its_locator_and_goes_on_there(client, org, shelf, server):
    some_accounts(org, 10)
    # Began, job, two looks, the first page published (2) and saved: the publishing of the second page is too much.
    shelf.steps_left = 8
    with pytest.raises(KilledError):
        read(client, shelf, course_of(client, "Account", Way.BULK))
    saved = Course.from_json(shelf.courses["Account"])
    assert saved.rows == 4
    assert saved.locator is not None
    shelf.steps_left = -1
    read(client, shelf, saved)
    assert server.rest.bulk.created == 1
    assert len(set(shelf.ids())) == 10
    assert server.requests["bulk_results"] == 4  # of which one for the page that was not saved


def test_a_job_that_is_gone_is_made_anew_for_its_chunk(client, org, shelf, server):
    keys = some_accounts(org, 30)

    def expire(saved: Course) -> None:
        if saved.chunk == 1 and saved.locator is not None and server.rest.bulk.created == 2:
            server.rest.bulk.forget()

    shelf.on_save = expire
    made = read(client, shelf, course_of(client, "Account", Way.BULK, windows=3))
    assert set(shelf.ids()) == set(keys)
    assert server.rest.bulk.created == 4
    assert any("made anew" in note for note in made.told.notes)


@pytest.mark.parametrize("message", ["", "InternalServerError : Try it again.", "QUERY_TIMEOUT: too slow"])
def test_a_job_that_fails_or_is_aborted_is_made_anew(client, org, shelf, server, message):
    keys = some_accounts(org, 5)
    server.rest.bulk.failing.extend([message] * 2)
    made = read(client, shelf, course_of(client, "Account", Way.BULK))
    assert sorted(shelf.ids()) == sorted(keys)
    assert server.rest.bulk.created == 3
    assert len(made.told.notes) == 2


def test_jobs_that_come_to_nothing_again_and_again_leave_it_to_rest(client, org, shelf, server):
    keys = some_accounts(org, 5)
    server.rest.bulk.failing.extend(["InternalServerError : Try it again."] * 3)
    course = course_of(client, "Account", Way.BULK)
    made = read(client, shelf, course)
    assert sorted(shelf.ids()) == sorted(keys)
    assert course.way is Way.REST
    assert "REST has to read it" in made.told.notes[-1]
    assert made.told.skipped == {}


# --- refused ---


def test_what_bulk_refuses_is_read_through_rest_and_said(client, org, shelf, server):
    keys = some_accounts(org, 5)
    server.rest.bulk.refused.add("Account")
    made = read(client, shelf, course_of(client, "Account", Way.BULK))
    assert sorted(shelf.ids()) == sorted(keys)
    assert "REST has to do it" in made.told.notes[0]


def test_a_login_without_bulk_reads_through_rest(client, org, shelf, server):
    keys = some_accounts(org, 5)
    server.faults.push(faults.refuse(403, "API_DISABLED_FOR_ORG", "Bulk API is not enabled"), where="jobs/query")
    made = read(client, shelf, course_of(client, "Account", Way.BULK))
    assert sorted(shelf.ids()) == sorted(keys)
    assert made.told.notes


def test_jobs_that_are_used_up_for_the_day_stop_it_and_what_was_read_stays(client, org, shelf, server):
    keys = some_accounts(org, 30)
    server.rest.bulk.allowed = 1
    with pytest.raises(BulkLimitError, match="used up"):
        read(client, shelf, course_of(client, "Account", Way.BULK, windows=3))
    saved = Course.from_json(shelf.courses["Account"])
    assert (saved.chunk, saved.rows) == (1, 10)
    server.rest.bulk.allowed = 10
    read(client, shelf, saved)
    assert set(shelf.ids()) == set(keys)
    assert len(shelf.ids()) == 30


@pytest.mark.parametrize("way", list(Way))
def test_a_session_that_ends_in_the_middle_is_renewed(client, org, shelf, server, way):
    keys = some_accounts(org, 30)
    shelf.on_save = lambda _course: server.expire_tokens()
    read(client, shelf, course_of(client, "Account", way, windows=3), sizes=Sizes(rest_page=7, bulk_page=4))
    assert set(shelf.ids()) == set(keys)
    assert client.logins > 3


@pytest.mark.parametrize("way", list(Way))
def test_a_field_that_vanishes_is_described_away(client, org, shelf, way):
    org.add_field("Account", text("Mood__c"))
    keys = some_accounts(org, 30)
    course = course_of(client, "Account", way, windows=3)

    def hide(saved: Course) -> None:
        if saved.rows and org.visible_field("Account", "Mood__c"):
            org.hide_field("Account", "Mood__c")

    shelf.on_save = hide
    made = read(client, shelf, course, sizes=Sizes(rest_page=7, bulk_page=50))
    assert set(shelf.ids()) == set(keys)
    assert made.told.skipped == {}
    assert "Mood__c" in shelf.captures[0]["fields"]
    assert "Mood__c" not in shelf.captures[-1]["fields"]


def test_a_job_of_another_description_is_not_gone_on_with(client, org, shelf, server):
    org.add_field("Account", text("Mood__c"))
    keys = some_accounts(org, 10)
    shelf.steps_left = 7
    with pytest.raises(KilledError):
        read(client, shelf, course_of(client, "Account", Way.BULK))
    shelf.steps_left = -1
    org.add_field("Account", text("Colour__c"))
    shelf.captures.clear()
    read(client, shelf, Course.from_json(shelf.courses["Account"]))
    assert set(shelf.ids()) == set(keys)
    assert all("Colour__c" in capture["fields"] for capture in shelf.captures)
    assert server.rest.bulk.created == 2


@pytest.mark.parametrize("way", list(Way))
def test_an_object_that_vanishes_is_said_and_keeps_no_other_from_being_read(client, org, shelf, way):
    some_accounts(org, 30)
    contact = org.insert("Contact", {"LastName": "C"})
    courses = [course_of(client, name, way, windows=3) for name in ("Account", "Contact")]

    def hide(saved: Course) -> None:
        if saved.object == "Account" and saved.rows and "Account" in org.objects:
            org.hide_object("Account")

    shelf.on_save = hide
    made = work(client, shelf, ["Account", "Contact"], sizes=Sizes(rest_page=7, bulk_page=50))
    made.run(courses)
    assert list(made.told.skipped) == ["Account"]
    assert shelf.ids("Contact") == [contact]
    assert shelf.finished == ["Contact"]


def test_queries_that_run_too_long_are_asked_for_less_and_at_last_left_to_bulk(client, org, shelf, server):
    keys = some_accounts(org, 5)
    answered = 0

    def time_out(path: str) -> None:
        nonlocal answered
        if "composite" in path:
            answered += 1
            org.query_to_time_out = 1

    course = course_of(client, "Account", Way.REST)
    schemas = work(client, shelf, ["Account"], sizes=Sizes(rest_page=800))
    server.faults.hook = time_out
    schemas.run([course])
    server.faults.hook = None
    assert answered == 3  # 800, 400, 200
    assert course.way is Way.BULK
    assert sorted(shelf.ids()) == sorted(keys)


def test_what_is_to_end_the_work_ends_it_between_two_calls(client, org, shelf):
    some_accounts(org, 30)
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise UnreachableError("The budget is used up.")

    with pytest.raises(UnreachableError):
        read(client, shelf, course_of(client, "Account", Way.REST), sizes=Sizes(rest_page=7), between=between)
    assert Course.from_json(shelf.courses["Account"]).rows == 14
    assert len(shelf.captures) == 14


# --- several objects ---


def test_five_objects_share_a_call_and_three_have_a_job_at_a_time(client, org, shelf, server):
    build_world(org, accounts=10, ends_at=NOON)
    names = ["Account", "Contact", "Lead", "Opportunity", "Task"]
    courses = [course_of(client, name, Way.REST) for name in names]
    made = work(client, shelf, names)
    before = client.calls
    made.run(courses)
    assert client.calls == before + 1

    jobs: set[str] = set()
    most = 0

    def count(saved: Course) -> None:
        nonlocal most
        jobs.add(saved.object) if saved.job_id else jobs.discard(saved.object)
        most = max(most, len(jobs))

    shelf.on_save = count
    shelf.captures.clear()
    work(client, shelf, names, sizes=Sizes(bulk_page=1_000)).run([course_of(client, name, Way.BULK) for name in names])
    assert most == 3
    for name in names:
        assert set(shelf.ids(name)) == {r["Id"] for r in org.records(name, include_deleted=True)}


def test_jobs_are_looked_at_with_growing_pauses(client, org, shelf, server):
    some_accounts(org, 3)
    server.rest.bulk.polls = 5
    clock = Clock()
    read(client, shelf, course_of(client, "Account", Way.BULK), clock=clock)
    assert clock.waits == [1, 2, 4, 8, 16]
    assert server.requests["bulk_look"] == 5


# --- counting ---


def test_rows_are_counted_five_objects_in_a_call_deleted_ones_included(client, org):
    keys = some_accounts(org, 12)
    org.delete("Account", keys[0])
    schemas = [(schema_of(client, name), None) for name in ("Account", "Contact", "Lead", "Task", "Event")]
    before = client.calls
    sizes = sizes_of(client, schemas)
    assert client.calls == before + 1
    assert (sizes[0].rows, sizes[1].rows) == (12, 0)
    assert (sizes[0].low, sizes[0].high) == ("2026-03-02T12:00:01Z", "2026-03-02T12:00:12Z")
    (since,) = sizes_of(client, [(schemas[0][0], "2026-03-02T12:00:06Z")])
    assert since.rows == 7
    windows = [(None, "2026-03-02T12:00:04Z"), ("2026-03-02T12:00:04Z", None)]
    assert count_windows(client, schemas[0][0], windows) == [3, 9]


def test_what_can_not_be_counted_is_unknown_and_not_none(client, org):
    some_accounts(org, 1)
    schema = schema_of(client, "Account")
    org.query_to_time_out = 1
    assert [size.rows for size in sizes_of(client, [(schema, None)])] == [None]
    org.query_to_time_out = 1
    assert count_windows(client, schema, [(None, None)]) == [None]


def test_a_course_says_in_redis_what_it_is(client, org, shelf):
    some_accounts(org, 3)
    read(client, shelf, course_of(client, "Account", Way.REST))
    told = json.loads(shelf.courses["Account"])
    assert (told["object"], told["way"], told["rows"], told["is_done"]) == ("Account", "rest", 3, True)
    assert told["newest"][0] == "2026-03-02T12:00:02Z"
