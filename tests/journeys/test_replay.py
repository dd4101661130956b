"""A replay ends in the tables that the same captures would have made under the settings of now, whatever was there."""

import json
import shutil
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from compare import assert_equal, assert_state_equal
from shell import Shell, sentence

from consumers.apply import Flattener
from consumers.batch import Entry
from integration import settings as settings_module
from integration.errors import ConfigError, UsageError
from integration.sandbox.traffic import Traffic
from integration.settings import Settings
from integration.store.answers import ask
from integration.store.duckdb.store import DuckDBStore
from integration.store.last_images import read_images
from integration.store.opening import open_reader
from integration.stream.connection import connect
from integration.stream.names import REPLAYER_KEY, offset_key
from integration.wiring import parts, replaying
from integration.wiring.replay import Asked, ReplayReport, replay
from integration.wiring.run import run
from integration.wiring.sweep import sweep

Found = Callable[..., Any]
Rows = list[dict[str, Any]]


@dataclass
class Copy:
    """A store of its own with the same archive, and the settings to replay it under."""

    path: Path
    env: dict[str, str]

    @property
    def settings(self) -> Settings:
        return settings_module.load(None, self.env)

    @property
    def shell(self) -> Shell:
        return Shell(self.path.parent, self.env)

    def replay(self, *words: str, **choice: Any) -> ReplayReport:
        report = replay(self.settings, Asked(objects=words, **choice.pop("asked", {})), **choice)
        assert report is not None
        return report

    def query(self, sql: str) -> Rows:
        with open_reader(self.path) as store:
            return ask(store, sql)

    def tables(self) -> dict[str, Rows]:
        """Return everything there is, but what tells of runs and not of data."""
        with open_reader(self.path) as store:
            return tables(lambda sql: ask(store, sql))

    def damage(self, *statements: str) -> None:
        """Change the file behind headrace's back."""
        with duckdb.connect() as con:
            con.execute(f"ATTACH '{self.path}' AS store")
            con.execute("USE store")
            for statement in statements:
                con.execute(statement)

    def under(self, **env: str) -> "Copy":
        """Return the same store under other settings."""
        return replace(self, env=self.env | env)


def tables(query: Callable[[str], Rows]) -> dict[str, Rows]:
    """Read every table of a store that is made from captures."""
    raw = query("SELECT table_name AS name FROM duckdb_tables() WHERE schema_name = 'salesforce'")
    names = [f"salesforce.{row['name']}" for row in raw]
    names += ["users", "accounts", "events", "changes", "identities", "user_events", "captures"]
    names += ["headrace.states", "headrace.memberships", "headrace.people"]
    return {name: query(f"SELECT * FROM {name} ORDER BY ALL") for name in names}


def as_told(found: dict[str, Rows]) -> dict[str, Rows]:
    """Leave out when history events were stored: worked out anew, they tell of now."""

    def without(row: dict[str, Any]) -> dict[str, Any]:
        told_late = row.get("origin") == "history" and "stored_at" in row
        return row | {"stored_at": None} if told_late else row

    return {
        name: sorted((without(row) for row in mine), key=lambda r: json.dumps(r, default=str, sort_keys=True))
        for name, mine in found.items()
    }


def undated(found: dict[str, Rows]) -> dict[str, Rows]:
    """Leave out when anything was stored."""
    return {n: [row | {"stored_at": None} if "stored_at" in row else row for row in t] for n, t in found.items()}


def made_of(captures: Rows, schemas: Rows, copy: Copy, file: Path) -> dict[str, Rows]:
    """Let captures arrive once more in an empty store, under the settings of now, and return its tables."""
    moments: dict[str, list[Entry]] = defaultdict(list)
    for row in sorted(captures, key=lambda r: (r["stored_at"], offset_key(r["offset"]), r["stream"])):
        moments[row["stored_at"]].append(Entry(row["stream"], row["offset"], {b"data": row["payload"].encode()}))
    bodies = {row["schema_id"]: row["body"].encode() for row in schemas}
    clock = [""]
    store = DuckDBStore(file)
    try:
        flattener = Flattener(store, parts.rules(copy.settings), now=lambda: clock[0], fetch_schema=bodies.get)
        for moment, entries in moments.items():
            clock[0] = moment
            for start in range(0, len(entries), 1_000):
                assert not flattener.apply(entries[start : start + 1_000]).rejects
        return tables(lambda sql: ask(store, sql))
    finally:
        store.close()


def assert_same(found: dict[str, Rows], wanted: dict[str, Rows]) -> None:
    """Fail with the first rows that differ. Columns that only `found` has must be empty."""
    assert found.keys() == wanted.keys()
    for name, mine in wanted.items():
        columns = set(mine[0]) if mine else set()
        more = {c for row in found[name] for c in row} - columns if mine else set()
        filled = {c for row in found[name] for c in more if row[c] is not None}
        assert not filled, f"{name} has {filled}"
        shown = [{c: row[c] for c in row if c in columns} for row in found[name]] if mine else found[name]
        if name == "captures":
            shown, mine = ([{**row, "payload": None} for row in one] for one in (shown, mine))
        left, right = (Counter(json.dumps(row, default=str, sort_keys=True) for row in one) for one in (shown, mine))
        lost, extra = list((right - left).elements()), list((left - right).elements())
        assert (lost[:2], extra[:2]) == ([], []), f"{name}: {len(lost)} lost, {len(extra)} too many"


@pytest.fixture(scope="module")
def lived(found_for_all: Found) -> Any:
    """A company with merges, conversions, deletes and field history, as headrace has seen it in several syncs."""
    company = found_for_all(accounts=2, seed=23)
    for name in ("Ada", "Bea", "Cy", "Eve", "Flo", "Gus"):
        company.org.insert("Contact", {"LastName": name, "Email": "We@Example.com", "Title": "CTO"})
    company.org.insert("Lead", {"LastName": "Di", "Company": "Us", "Email": "we@example.com "})
    company.sync()
    for _ in range(3):
        company.live(30)
        company.sync()
    return company


@pytest.fixture
def copy(lived: Any, tmp_path: Path) -> Copy:
    """Its store, for the test alone."""
    path = tmp_path / "headrace.duckdb"
    shutil.copy(lived.settings.store_path, path)
    return Copy(path, lived.env | {"HEADRACE_STORE__URL": f"duckdb:///{path}"})


@pytest.fixture
def in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay some records at a time."""
    monkeypatch.setattr(replaying, "RECORDS_AT_ONCE", 16)


def test_a_life_has_what_makes_a_replay_hard(lived: Any) -> None:
    told = {row["name"] for row in lived.query("SELECT DISTINCT name FROM events")}
    assert {"Lead Converted", "Contact Merged", "Contact Deleted", "Opportunity Stage Changed"} <= told
    assert lived.query("SELECT count(*) AS n FROM events WHERE origin = 'history'")[0]["n"] > 20
    assert lived.query("SELECT count(*) AS n FROM captures GROUP BY record_id ORDER BY n DESC LIMIT 1")[0]["n"] > 3


def test_under_the_same_settings_nothing_is_different_and_nothing_is_written(copy: Copy) -> None:
    before = copy.tables()

    report = copy.replay()

    assert report.sentence.endswith(": nothing was different.")
    assert report.records == copy.query("SELECT count(DISTINCT record_id) AS n FROM captures")[0]["n"]
    assert report.captures == len(before["captures"])
    assert copy.tables() == before
    [run] = copy.query(f"SELECT * FROM sync_runs WHERE run_id = '{report.run_id}'")
    assert (run["kind"], run["outcome"], run["events_written"], run["users_written"]) == ("replay", "ok", 0, 0)
    assert run["records_read"] == report.records


CHANGES = {
    "named, enriched and matched otherwise": {
        "HEADRACE_OBJECTS__Contact__NAMES": '{"Title": "job", "cbit__Clearbit__c": "firmographics"}',
        "HEADRACE_OBJECTS__Contact__ENRICH": "cbit__Clearbit__c,OwnerId",
        "HEADRACE_OBJECTS__Account__ENRICH": "",
        "HEADRACE_OBJECTS__Account__EXCLUDE": "Billing*",
        "HEADRACE_IDENTITY__MATCH_EMAIL": "false",
    },
    "other names": {
        "HEADRACE_OBJECTS__Opportunity__NAMES": '{"StageName": "phase"}',
        "HEADRACE_OBJECTS__cbit__Clearbit__c__NAMES": '{"cbit__Employment_Role__c": "role_at_work"}',
    },
    "fields left out": {
        "HEADRACE_OBJECTS__Contact__EXCLUDE": "Title,Mailing*",
        "HEADRACE_PRIVACY__EXCLUDE": "Lead.Company",
    },
    "e-mails left out": {"HEADRACE_PRIVACY__EXCLUDE": "Email"},
    "no matching by e-mail": {"HEADRACE_IDENTITY__MATCH_EMAIL": "false"},
    "small clusters": {"HEADRACE_IDENTITY__MAX_CLUSTER": "2"},
    "nothing enriched": {"HEADRACE_OBJECTS__Contact__ENRICH": "", "HEADRACE_OBJECTS__Account__ENRICH": ""},
    "more enriched": {"HEADRACE_OBJECTS__Contact__ENRICH": "cbit__Clearbit__c,OwnerId"},
}
FIRST, *MORE = CHANGES


@pytest.mark.parametrize("change", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_under_other_settings_the_tables_are_those_the_same_captures_would_have_made(
    change: str, copy: Copy, tmp_path: Path
) -> None:
    changed = copy.under(**CHANGES[change])
    captures = copy.query("SELECT * FROM captures")
    schemas = copy.query("SELECT schema_id, body::VARCHAR AS body FROM headrace.schemas")
    before = copy.tables()

    changed.replay()

    after = changed.tables()
    assert after["users"] != before["users"]
    assert_same(as_told(after), as_told(made_of(captures, schemas, changed, tmp_path / "anew.duckdb")))
    # And back: the first names are there again, and nothing is left of the others.
    copy.replay()
    assert_same(as_told(copy.tables()), as_told(before))


def test_a_property_gets_its_new_name_and_the_old_one_is_kept_for_it(copy: Copy) -> None:
    changed = copy.under(HEADRACE_OBJECTS__Contact__NAMES='{"Title": "job"}')
    before = copy.query("SELECT user_id, sfdc_contact_title AS title FROM users ORDER BY 1")

    changed.replay("Contact")
    assert copy.query("SELECT user_id, sfdc_contact_title AS title FROM users ORDER BY 1") == before
    changed.replay()

    assert changed.query("SELECT user_id, sfdc_contact_job AS title FROM users ORDER BY 1") == before
    assert changed.query("SELECT count(sfdc_contact_title) AS n FROM users") == [{"n": 0}]
    [named] = changed.query("SELECT property FROM headrace.properties WHERE object = 'Contact' AND field = 'Title'")
    [logged] = changed.query("SELECT object, field, property, note FROM schema_log WHERE kind = 'renamed'")
    assert named == {"property": "sfdc_contact_job"}
    assert logged == {
        "object": "Contact", "field": "Title", "property": "sfdc_contact_job", "note": "was sfdc_contact_title",
    }  # fmt: skip
    assert "sfdc_contact_title" not in str(changed.query("SELECT properties FROM events"))


class Interruption(Exception):  # noqa: N818 - stands for whatever it was
    """Comes in the middle."""


def interrupted(copy: Copy, *words: str, after: int, asked: dict[str, Any] | None = None) -> None:
    """Begin a replay, and break it off after some steps."""
    steps = 0

    def stop(_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == after:
            raise Interruption

    with pytest.raises(Interruption):
        copy.replay(*words, on_change=stop, asked=asked or {})


@pytest.mark.usefixtures("in_small_batches")
@pytest.mark.slow
def test_one_that_is_broken_off_goes_on_where_it_was_and_ends_in_the_same_tables(copy: Copy, tmp_path: Path) -> None:
    changed = copy.under(**CHANGES[FIRST])
    whole = replace(changed, path=tmp_path / "whole" / "headrace.duckdb")
    whole.path.parent.mkdir()
    shutil.copy(copy.path, whole.path)
    whole = whole.under(HEADRACE_STORE__URL=f"duckdb:///{whole.path}")
    wanted = whole.replay()
    plans: list[Any] = []

    interrupted(changed, after=14)
    [first] = copy.query("SELECT run_id, outcome FROM sync_runs WHERE kind = 'replay'")
    interrupted(changed, after=3)
    report = changed.replay(on_plan=plans.append)

    assert report.resumed
    assert plans[0].goes_on
    assert report.run_id == first["run_id"]
    assert first["outcome"] == "failed: Interruption"
    assert (report.records, report.captures) == (wanted.records, wanted.captures)
    assert report.events_after == wanted.events_after
    assert as_told(changed.tables()) == as_told(whole.tables())
    assert copy.query("SELECT outcome FROM sync_runs WHERE kind = 'replay'") == [{"outcome": "ok"}]
    assert changed.replay().resumed is False


@pytest.mark.slow
@pytest.mark.usefixtures("in_small_batches")
def test_one_that_was_begun_in_other_words_or_under_other_settings_is_begun_anew(copy: Copy) -> None:
    whole = copy.query("SELECT count(*) AS n FROM captures WHERE object = 'Contact'")[0]["n"]

    interrupted(copy, "Contact", after=2)
    assert not copy.replay("Lead").resumed
    interrupted(copy, "Contact", after=2)
    assert not copy.under(HEADRACE_IDENTITY__MATCH_EMAIL="false").replay("Contact").resumed
    interrupted(copy, "Contact", after=2)
    report = copy.replay("Contact", restart=True)

    assert (report.resumed, report.captures) == (False, whole)
    interrupted(copy, "Contact", after=2)
    report = copy.replay("Contact")
    assert (report.resumed, report.captures) == (True, whole)


DAMAGE = (
    "DELETE FROM users WHERE user_id IN (SELECT user_id FROM users ORDER BY user_id LIMIT 3)",
    "UPDATE users SET sfdc_contact_title = 'King', sfdc_opportunity_count = 99",
    "INSERT INTO users (user_id, identity) VALUES ('003000000000999AAA', 'nobody@example.com')",
    "INSERT INTO users SELECT * FROM users LIMIT 2",
    "UPDATE events SET user_id = '003000000000999AAA', name = 'Nonsense' WHERE origin = 'poll' AND hash(event_id) % 5 = 0",
    "DELETE FROM events WHERE origin = 'poll' AND hash(event_id) % 5 = 1",
    "UPDATE events SET user_id = NULL WHERE origin = 'history'",
    "DELETE FROM changes WHERE hash(event_id) % 3 = 0",
    "INSERT INTO changes SELECT * FROM changes WHERE hash(event_id) % 7 = 1",
    "UPDATE changes SET property = 'sfdc_x', new_value = 'y' WHERE hash(event_id) % 11 = 1",
    "UPDATE salesforce.contact SET email = 'x@example.com', accountid = NULL WHERE hash(id) % 3 = 0",
    "DELETE FROM salesforce.lead",
    "UPDATE salesforce.opportunity SET amount = 1, accountid = '001000000000999AAA'",
    "DELETE FROM headrace.states WHERE hash(record_id) % 4 = 0",
    "UPDATE headrace.states SET payload = replace(payload, 'a', 'b') WHERE hash(record_id) % 9 = 1 AND false",
    "DELETE FROM headrace.memberships WHERE hash(record_id) % 2 = 0",
    "UPDATE headrace.memberships SET until = since WHERE hash(record_id) % 3 = 1",
    "DELETE FROM headrace.people WHERE hash(user_id) % 2 = 0",
    "DELETE FROM identities WHERE hash(alias) % 2 = 0",
    "UPDATE identities SET user_id = '003000000000999AAA' WHERE hash(alias) % 3 = 0",
    "INSERT INTO identities VALUES ('gone@example.com', 'email', '003000000000999AAA', now(), 'nobody knows')",
)


def test_damaged_tables_are_whole_again(copy: Copy) -> None:
    before = copy.tables()
    copy.damage(*DAMAGE)
    assert copy.tables() != before

    report = copy.replay()

    assert_same(as_told(copy.tables()), as_told(before))
    assert min(report.records_rewritten, report.events_after, report.users_written) > 0
    assert copy.replay().sentence.endswith("nothing was different.")


def test_damaged_records_of_one_object_are_whole_again_with_the_people_they_reach(copy: Copy) -> None:
    before = copy.tables()
    copy.damage(
        "UPDATE salesforce.contact SET email = 'x@example.com', title = 'King' WHERE hash(id) % 2 = 0",
        "UPDATE users SET sfdc_contact_title = 'King' WHERE contact_id IS NOT NULL",
        "DELETE FROM events WHERE object = 'Contact' AND origin = 'poll'",
    )

    copy.replay("contact")

    assert copy.tables() == before


def test_only_records_with_a_capture_of_that_time_are_replayed_and_they_are_whole(copy: Copy) -> None:
    before = copy.tables()
    times = sorted({row["stored_at"] for row in before["captures"]})
    since, until = times[len(times) // 2], times[-1]
    mine = {r["record_id"] for r in before["captures"] if since <= r["stored_at"] < until}
    copy.damage("DELETE FROM events WHERE origin = 'poll'", "DELETE FROM changes WHERE origin = 'poll'")

    report = copy.replay(asked={"since": since, "until": until})

    assert (report.since, report.until, report.records) == (since, until, len(mine))
    assert report.captures == sum(row["record_id"] in mine for row in before["captures"])
    told = [row for row in copy.tables()["events"] if row["origin"] != "history"]
    assert told == [row for row in before["events"] if row["record_id"] in mine and row["origin"] != "history"]


@pytest.mark.slow
def test_what_the_archive_has_forgotten_stays_told(copy: Copy) -> None:
    before = copy.tables()
    times = sorted({row["stored_at"] for row in before["captures"]})
    cut = times[len(times) // 2]
    copy.damage(f"DELETE FROM captures WHERE stored_at < '{cut}'")
    left = copy.tables()["captures"]
    assert 0 < len(left) < len(before["captures"])

    report = copy.replay()

    assert report.sentence.endswith(": nothing was different."), report
    assert copy.tables() == before | {"captures": left}
    changed = copy.under(**CHANGES[FIRST], HEADRACE_OBJECTS__Opportunity__EXCLUDE="StageName")
    changed.replay()
    told = {row["property"] for row in changed.query("SELECT DISTINCT property FROM changes WHERE property NOT NULL")}
    assert not told & {"sfdc_contact_title", "sfdc_opportunity_stage"}
    assert "StageName" not in str(changed.query("SELECT properties FROM events WHERE object = 'Opportunity'"))
    assert changed.query("SELECT count(stagename) AS n FROM salesforce.opportunity") == [{"n": 0}]
    states = changed.query("SELECT payload FROM headrace.states WHERE object = 'Opportunity'")
    assert states
    images = read_images((row["payload"] for row in states), changed.query)
    assert not [one for one in images if "StageName" in one.fields]
    assert changed.query("SELECT count(*) AS n FROM users") == changed.query(
        "SELECT count(*) AS n FROM headrace.users_defined"
    )


@pytest.mark.slow
def test_the_streams_give_a_store_restored_from_a_copy_what_it_lacks(found: Found, tmp_path: Path) -> None:
    company = found(accounts=3, seed=4)
    company.sync()
    file, asked = company.settings.store_path, {"source": "stream"}
    positions = company.query('SELECT stream, "offset" FROM headrace.positions ORDER BY 1')
    shutil.copy(file, tmp_path / "backup.duckdb")
    company.live(20)
    company.sync()
    with open_reader(file) as store:
        wanted = tables(lambda sql: ask(store, sql))
    again = Copy(file, company.env)
    assert again.replay(asked=asked).sentence.endswith(": nothing was different.")
    shutil.copy(tmp_path / "backup.duckdb", file)

    report = again.replay(asked=asked)

    assert report.records > 0
    assert_same(undated(again.tables()), undated(wanted))
    assert again.query('SELECT stream, "offset" FROM headrace.positions ORDER BY 1') == positions
    company.sync()
    assert_equal(company)


@contextmanager
def at_work(company: Any) -> Iterator[None]:
    """Have a worker work in this process, and things happen in the org, until the block ends."""
    stop, ready, failed = threading.Event(), threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            run(company.settings, on_ready=lambda _url: ready.set(), stop=stop)
        except BaseException as error:
            failed.append(error)
            ready.set()

    def live() -> None:
        while not stop.wait(0.5):
            company.live(1)

    threads = [threading.Thread(target=work), threading.Thread(target=live)]
    for thread in threads:
        thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed


def test_beside_a_worker_the_worker_replays_while_changes_flow(found: Found) -> None:
    company = found(accounts=3, seed=9, HEADRACE_POLL__INTERVAL_SECONDS="0.2", HEADRACE_WEB__PORT="0")
    company.sync()
    copy = Copy(company.settings.store_path, company.env)
    with at_work(company):
        first = copy.replay()
        with pytest.raises(UsageError, match="runs with other settings"):
            copy.under(HEADRACE_IDENTITY__MATCH_EMAIL="false").replay()
        report = copy.replay("Contact", "Opportunity")

    assert first.records > 0
    assert first.outcome == report.outcome == "ok"
    assert not first.users_written
    company.sync()
    assert_state_equal(company)
    runs = company.query("SELECT run_id, outcome FROM sync_runs WHERE kind = 'replay'")
    assert {(r["run_id"], r["outcome"]) for r in runs} == {(first.run_id, "ok"), (report.run_id, "ok")}
    with connect(company.settings.redis.url) as client:
        assert client.get(REPLAYER_KEY) is None


@pytest.mark.slow
def test_killed_at_any_moment_the_next_one_makes_the_tables_whole(copy: Copy, tmp_path: Path) -> None:
    changed = copy.under(**CHANGES[FIRST])
    captures = copy.query("SELECT * FROM captures")
    schemas = copy.query("SELECT schema_id, body::VARCHAR AS body FROM headrace.schemas")
    for wait in (0.0, 0.4, 0.8, 1.2):
        with changed.shell.start("replay") as running:
            running.until(lambda r=running: "captures in all" in r.notes)
            with_deadline = threading.Event()
            with_deadline.wait(wait)
            running.process.kill()
            running.process.wait(timeout=30)

    done = changed.shell.run("replay")

    assert done.returncode == 0, done.stderr
    assert_same(as_told(changed.tables()), as_told(made_of(captures, schemas, changed, tmp_path / "anew.duckdb")))


@pytest.mark.slow
def test_interrupted_it_ends_with_130_and_says_how_to_go_on(copy: Copy) -> None:
    with copy.shell.start("replay") as running:
        running.until(lambda: "captures in all" in running.notes)
        code = running.end(signal.SIGINT)
        said = running.notes

    if code:  # it was not done yet
        assert (code, "Traceback" in said) == (130, False), said
        assert "Interrupted. What was finished is saved; the same command goes on from there." in said
    assert copy.replay().sentence.endswith(": nothing was different.")


@pytest.mark.slow
def test_of_two_at_once_the_second_is_told_of_the_first(copy: Copy) -> None:
    before = copy.tables()
    with copy.shell.start("replay") as running:
        running.until(lambda: "captures in all" in running.notes)
        second = copy.shell.run("replay")
        assert running.process.wait(timeout=60) == 0, running.notes

    assert second.returncode in (0, 3), second.stderr
    if second.returncode == 3:
        assert f"{running.process.pid}" in sentence(second)
    assert copy.tables() == before


def test_the_command_shows_its_plan_and_says_what_was_different(copy: Copy) -> None:
    dry = copy.shell.run("replay", "--dry-run", "--object", "contact", "--from", "2026-01-01T00:00Z")
    assert dry.returncode == 0, dry.stderr
    assert "Contact" in dry.stdout
    assert "Lead" not in dry.stdout
    assert "from 2026-01-01T00:00:00Z" in dry.stdout
    assert copy.query("SELECT count(*) AS n FROM sync_runs WHERE kind = 'replay'") == [{"n": 0}]
    [one] = copy.query("SELECT record_id FROM captures WHERE object = 'Contact' ORDER BY record_id LIMIT 1")
    copy.damage(f"UPDATE captures SET payload = '{{}}' WHERE record_id = '{one['record_id']}'")

    done = copy.shell.run("replay", "--json", "--object", "Contact")

    assert done.returncode == 4, done.stderr
    assert "1 record was left as it is" in sentence(done)
    report = json.loads(done.stdout)
    assert report["records"] == copy.query("SELECT count(*) AS n FROM salesforce.contact")[0]["n"] - 1
    assert report["sentence"].endswith("nothing was different.")


def test_a_capture_that_nobody_can_read_leaves_its_record_as_it_is(copy: Copy) -> None:
    before = copy.tables()
    [one] = copy.query("SELECT record_id FROM captures WHERE object = 'Contact' ORDER BY record_id LIMIT 1")
    copy.damage(f"UPDATE captures SET payload = '{{}}' WHERE record_id = '{one['record_id']}'")

    report = copy.replay("Contact")

    [reason] = report.skipped
    assert reason.startswith(f"Contact {one['record_id']} was left as it is: a capture in the archive can't be read: ")
    after = copy.tables()
    assert {n: t for n, t in after.items() if n != "captures"} == {n: t for n, t in before.items() if n != "captures"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(objects=["Contcat"]), "The archive has no captures of Contcat. Did you mean Contact?"),
        (Asked(since="soon"), "--from: 'soon' is not a time"),
        (Asked(since="2026-02-01", until="2026-01-01"), "is not before --to 2026-01-01"),
        (Asked("stream", objects=["Contcat"]), "There is no stream crm.contcat"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(asked: Asked, said: str, copy: Copy) -> None:
    with pytest.raises(UsageError) as refused:
        replay(copy.settings, asked)

    assert said in str(refused.value)


def test_where_nothing_was_captured_there_is_nothing_to_replay(copy: Copy, tmp_path: Path) -> None:
    copy.damage("DELETE FROM captures")
    with pytest.raises(ConfigError, match=r"The archive \(table captures\) is empty"):
        copy.replay()
    with pytest.raises(ConfigError, match="There is no store at"):
        copy.under(HEADRACE_STORE__URL=f"duckdb:///{tmp_path}/none.duckdb").replay()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_whatever_happened_a_replay_finds_nothing_to_change(seed: int, found: Found) -> None:
    company = found(accounts=3, seed=seed)
    company.traffic = Traffic(company.org, company.world, seed=seed, nasty=True)
    company.sync()
    for pace in (1, 300, 7, 40):
        company.live(25, every_seconds=pace)
        company.sync()
        sweep(company.settings)
    copy = Copy(company.settings.store_path, company.env)
    before = copy.tables()

    assert copy.replay().sentence.endswith(": nothing was different.")

    assert copy.tables() == before
