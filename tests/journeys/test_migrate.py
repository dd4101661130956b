"""A store that has moved to another kind of store is the same store, and everything goes on there."""

import json
import logging
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import chdb_http
import duckdb
import pytest
import structlog
from compare import assert_equal

from consumers.apply import Flattener
from integration import settings as settings_module
from integration.cli.app import run
from integration.core.segment import read_call
from integration.errors import ConfigError, RunError, UnreachableError, UsageError
from integration.settings import Settings
from integration.store import opening, tables
from integration.store.answers import ask
from integration.store.opening import open_reader
from integration.stream.connection import connect
from integration.stream.product import publish
from integration.wiring import migrate_tables, owner, parts, reading
from integration.wiring.clock import now
from integration.wiring.migrate import MigrateReport, migrate, target_of
from integration.wiring.migrate_mark import refuse_unfinished
from integration.wiring.replay import Asked, replay
from integration.wiring.sweep import sweep

Found = Callable[..., Any]

# One process runs them all: the store that is moved takes a while to make.
pytestmark = pytest.mark.xdist_group("migrate")

RENAMED = {"HEADRACE_OBJECTS__Contact__NAMES": '{"Phone": "call_me"}'}
NOT_THESE = (
    *("Task", "Event", "Campaign", "CampaignMember", "User", "Opportunity", "OpportunityContactRole"),
    *("AccountHistory", "ContactHistory", "LeadHistory", "OpportunityFieldHistory", "OpportunityHistory"),
)
VIEWS = ("accounts", "user_events", "headrace.users_defined", "contact_created", "account_changed")


@pytest.fixture(scope="module")
def lived(found_for_all: Found) -> Any:
    """A company with merges, conversions, deletions, field history, a dead letter and a property that was renamed."""
    company = found_for_all(accounts=2, seed=23)
    for name in ("Ada", "Bea", "Cy", "Eve", "Flo", "Gus"):
        company.org.insert("Contact", {"LastName": name, "Email": "We@Example.com", "Title": "CTO", "Phone": "1"})
    di = company.org.insert("Lead", {"LastName": "Di", "Company": "Us", "Email": "di@example.com"})
    company.sync()
    for operation in ("lead_converted", "contact_merged", "contact_deleted", "field_added", "field_retyped"):
        company.traffic.do(operation)
    company.live(40)
    with connect(company.settings.redis.url) as client:
        client.xadd("crm.contact", {"data": "nonsense \0"})
        call = {"type": "identify", "userId": di, "traits": {"plan": "pro", "company": {"seats": 3}}}
        publish(client, read_call(None, call, datetime(2026, 2, 1, tzinfo=UTC), str).events)
    assert company.sync().dead_letters == 1
    company.env |= RENAMED
    company.settings = settings_module.load(None, company.env)
    replay(company.settings, Asked())
    return company


@pytest.fixture
def home(lived: Any, tmp_path: Path) -> Settings:
    """Its settings, with a copy of its store for the test alone."""
    path = tmp_path / "headrace.duckdb"
    shutil.copy(lived.settings.store_path, path)
    return target_of(lived.settings, f"duckdb:///{path}")


@pytest.fixture(scope="module")
def moved(lived: Any, postgres: Any) -> tuple[Settings, MigrateReport]:
    """The same store in PostgreSQL, and what was said of the move."""
    target = target_of(lived.settings, postgres.database())
    return target, moving(lived.settings, target)


def moving(settings: Settings, target: Settings, **options: Any) -> MigrateReport:
    free(target)
    report = migrate(settings, target, **options)
    assert report is not None
    return report


def free(settings: Settings) -> None:
    """Wait until a server has noticed that its last owner is gone."""
    deadline = time.monotonic() + 10
    while reading.find_owner(settings) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def query(settings: Settings, sql: str) -> list[dict[str, Any]]:
    with open_reader(settings.store.url) as reader:
        return ask(reader, sql)


def contents(settings: Settings, names: list[str]) -> dict[str, Counter[str]]:
    """Every row of these tables and views as a text, empty columns left out, numbers without trailing zeros."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list):
            return [plain(one) for one in value]
        is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        return str(Decimal(str(value)).normalize()) if is_number else value

    def text(row: dict[str, Any]) -> str:
        return json.dumps({k: plain(v) for k, v in row.items() if v is not None}, sort_keys=True).replace(
            "\\u0000", "\\ufffd"
        )

    own = ("epoch", "schema_version", "mart ")
    with open_reader(settings.store.url) as reader:
        rows = {name: ask(reader, f"SELECT * FROM {name}") for name in names}
    return {
        name: Counter(text(row) for row in found if not str(row.get("key")).startswith(own))
        for name, found in rows.items()
    }


def everything(lived: Any) -> list[str]:
    raw = lived.query("SELECT table_name AS name FROM duckdb_tables() WHERE schema_name = 'salesforce'")
    # Marts are worked out by whoever works in a store next.
    fixed = [name for name in tables.FIXED if name not in (*tables.MARTS, "headrace.stale")]
    return [*fixed, *VIEWS, *(f"salesforce.{row['name']}" for row in raw)]


def assert_same(lived: Any, one: Settings, other: Settings) -> None:
    names = everything(lived)
    left, right = contents(one, names), contents(other, names)
    assert [n for n in names if left[n] != right[n]] == []


def damage(settings: Settings, *statements: str) -> None:
    """Change a DuckDB file behind headrace's back."""
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{settings.store_path}' AS store")
        con.execute("USE store")
        for statement in statements:
            con.execute(statement)


def test_a_life_has_what_makes_a_move_hard(lived: Any) -> None:
    told = {row["name"] for row in lived.query("SELECT DISTINCT name FROM events")}
    assert {"Lead Converted", "Contact Merged", "Contact Deleted", "Opportunity Stage Changed"} <= told
    assert lived.query("SELECT count(*) AS n FROM events WHERE origin = 'history'")[0]["n"] > 10
    assert lived.query("SELECT count(*) AS n FROM dead_letters")[0]["n"] == 1
    assert lived.query("SELECT count(*) AS n FROM users WHERE sfdc_contact_cbit_role IS NOT NULL")[0]["n"] > 0
    assert lived.query("SELECT 1 AS n FROM headrace.meta WHERE key = 'name:sfdc_contact_phone'")
    traits = lived.query("SELECT plan, company_seats FROM users WHERE plan IS NOT NULL")
    assert traits == [{"plan": "pro", "company_seats": "3"}]


def test_a_store_moved_to_postgresql_is_the_same(lived: Any, moved: Any) -> None:
    target, report = moved
    assert_same(lived, lived.settings, target)
    assert report.equal
    assert report.rows_copied == sum(one.source_rows for one in report.tables) > 1_000
    assert [one for one in report.tables if one.source_rows != one.target_rows or one.differing] == []
    assert report.captures_replayed == lived.query("SELECT count(*) AS n FROM captures")[0]["n"]
    assert (report.records_changed, report.events_changed, report.users_changed, report.skipped) == (0, 0, 0, [])
    assert "changed nothing: point store.url at postgresql://********@" in report.sentence
    with open_reader(target.store.url) as reader:
        refuse_unfinished(reader, "there")


@pytest.mark.slow
def test_a_store_moved_back_is_the_same_though_it_was_written_to_in_between(
    lived: Any, moved: Any, tmp_path: Path
) -> None:
    source, back = moved[0], target_of(lived.settings, f"duckdb:///{tmp_path}/back.duckdb")

    def meddle(progress: Any) -> None:
        if progress.phase == "headrace.positions":
            with parts.open_store(source) as store:
                flattener = Flattener(store, parts.rules(source), now=now, fetch_schema=lambda _id: None)
                with flattener.transaction() as tx:
                    run_row = {"run_id": "sync-meanwhile", "kind": "sync", "started_at": now()}
                    tx.upsert("sync_runs", ("run_id",), tables.SYNC_RUNS, [run_row])

    with pytest.raises(RunError, match=r"was written to while it was copied: stop what writes to it"):
        migrate(source, back, on_change=meddle)
    with open_reader(back.store.url) as reader, pytest.raises(ConfigError, match="not proved to be equal yet"):
        refuse_unfinished(reader, "there")

    report = moving(source, back)
    assert report.equal
    assert report.resumed
    assert 0 < report.rows_copied < 50, "only what has changed was written"
    assert_same(lived, source, back)


def test_work_goes_on_in_the_new_store(lived: Any, home: Settings, postgres: Any) -> None:
    target = target_of(lived.settings, postgres.emptied())
    assert moving(home, target).equal
    old, lived.settings = lived.settings, target
    free(target)
    try:
        lived.live(10)
        report = lived.sync()
        assert report.captures_stored > 0
        assert report.events_written > 0
        assert_equal(lived)
        assert sweep(target).is_equal
        assert sweep(target).is_equal
    finally:
        lived.settings = old


@pytest.fixture
def clickhouse_url(clickhouse: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # Else each answer waits 40 ms for the last one to be acknowledged.
    monkeypatch.setattr(chdb_http._Handler, "disable_nagle_algorithm", True)
    with chdb_http.serving(clickhouse.emptied(), password="") as server:
        yield server.url


@pytest.mark.slow
def test_a_store_moves_to_clickhouse_and_back(found: Found, clickhouse_url: str, tmp_path: Path) -> None:
    off = {f"HEADRACE_OBJECTS__{name}__ENABLED": "false" for name in NOT_THESE}
    company = found(accounts=1, seed=3, **off)
    company.sync()
    target = target_of(company.settings, clickhouse_url)
    report = moving(company.settings, target)
    assert report.equal, report.sentence
    assert contents(company.settings, ["users"])["users"]
    assert_same(company, company.settings, target)
    back = target_of(company.settings, f"duckdb:///{tmp_path}/back.duckdb")
    assert moving(target, back).equal
    assert_same(company, company.settings, back)


class Killer:
    """Ends a migration at the nth sign of life that it gives in one of its stages: Ctrl-C, or sudden death."""

    def __init__(self, stage: str, beats: int, how: type[BaseException]) -> None:
        self.stage, self.beats, self.how = stage, beats, how

    def __call__(self, progress: Any) -> None:
        self.beats -= progress.stage == self.stage
        if self.beats:
            return
        if self.how is KeyboardInterrupt:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            raise self.how("killed")


@pytest.mark.slow
def test_a_move_that_is_killed_goes_on_where_it_was(
    lived: Any, home: Settings, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate_tables, "ROWS_AT_ONCE", 40)
    target = target_of(home, postgres.emptied())
    counts = []
    for stage, beats, how in (
        ("copy", 25, KeyboardInterrupt),
        ("copy", 25, SystemError),
        ("replay", 7, SystemError),
    ):
        with pytest.raises(how):
            moving(home, target, on_change=Killer(stage, beats, how))
        with open_reader(target.store.url) as reader, pytest.raises(ConfigError, match="being filled"):
            refuse_unfinished(reader, "there")
        counts.append(sum(sum(one.values()) for one in contents(target, everything(lived)).values()))
    assert counts[0] < counts[1] < counts[2]

    plans: list[Any] = []
    report = moving(home, target, on_plan=plans.append)
    assert plans[0].goes_on == "the proof"
    assert (report.equal, report.resumed, report.rows_copied) == (True, True, 0)
    assert_same(lived, home, target)


@pytest.fixture
def typed(
    home: Settings, lived: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Type a command with these settings: exit code, standard output, standard error. Logging is as before after it."""
    for name, value in (lived.env | {"HEADRACE_STORE__URL": home.store.url, "HEADRACE_SECRETS_DIR": ""}).items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def type_(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        told = capsys.readouterr()
        return code, told.out, told.err

    yield type_
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_what_differs_is_named_and_written_anew(
    home: Settings, postgres: Any, typed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(home, postgres.emptied())
    email = query(home, "SELECT alias FROM identities WHERE kind = 'email' ORDER BY 1 LIMIT 1")[0]["alias"]
    opened: list[Any] = []
    real = opening.open_store
    monkeypatch.setattr(opening, "open_store", lambda *a, **k: opened.append(real(*a, **k)) or opened[-1])
    counted = migrate_tables.counted

    def damaged(store: Any, names: Any) -> Any:
        # The new store's rows are counted in whole when the comparison begins.
        if opened and store is opened[-1] and "users" in names:
            with store.transaction() as tx:
                [person] = tx.rows("SELECT user_id FROM users ORDER BY user_id LIMIT 1")
                tx.update("users", "user_id", "email", {person["user_id"]: "somebody@example.org"})
                tx.delete("identities", "alias", [email])
        return counted(store, names)

    monkeypatch.setattr(migrate_tables, "counted", damaged)
    words = ("migrate", "--to", target.store.url)
    code, out, err = typed(*words)
    monkeypatch.undo()

    first = query(home, "SELECT user_id FROM users ORDER BY user_id LIMIT 1")[0]["user_id"]
    assert code == 5
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["users"][2] == rows["identities"][2] == "1"
    assert int(rows["identities"][0]) == int(rows["identities"][1]) + 1
    assert rows["events"][2] == "0"
    assert f"users (1: {first})" in err
    assert f"identities (1: ***@{email.partition('@')[2]})" in err
    assert email not in out + err
    assert "somebody" not in out + err
    assert query(target, "SELECT 1 AS n FROM headrace.meta WHERE key = 'migrating'")

    report = moving(home, target)
    assert (report.equal, report.rows_copied) == (True, 2)


def test_a_dry_run_makes_nothing(home: Settings, typed: Any, tmp_path: Path) -> None:
    code, out, _ = typed("migrate", "--to", f"duckdb:///{tmp_path}/new.duckdb", "--dry-run")
    people = query(home, "SELECT count(*) AS n FROM users")[0]["n"]
    assert code == 0
    assert f"users{people:>5}" in out.replace(" " * 20, " ").replace("  ", "") or str(people) in out
    assert f"to {tmp_path}/new.duckdb." in out
    assert not (tmp_path / "new.duckdb").exists()


def test_the_password_of_the_new_store_comes_from_a_file(
    home: Settings, typed: Any, postgres: Any, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    url = postgres.emptied()
    for content, wanted in ((None, "can't be read: No such file"), ("", "nothing else"), ("a\nb", "nothing else")):
        if content is not None:
            file.write_text(content)
        code, _, err = typed("migrate", "--to", url, "--to-password-file", str(file))
        assert code == 2
        assert wanted in err
    file.write_text("a-secret-nobody-may-see\n")
    secret = url.replace("headrace@", "headrace:another-secret@") + "&sslpassword=a-third-secret"
    code, out, err = typed("migrate", "--to", secret, "--to-password-file", str(file), "--dry-run")
    assert code == 0, err
    assert "secret" not in out + err


def test_a_target_that_is_none_is_refused(home: Settings, moved: Any, lived: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--to needs an address such as duckdb:///headrace.duckdb or"):
        target_of(home, "mysql://db/x")
    with pytest.raises(UsageError, match="names the store that is there already"):
        migrate(home, target_of(home, f"duckdb:///{tmp_path}/../{tmp_path.name}/headrace.duckdb"))
    with pytest.raises(ConfigError, match="There is no store at"):
        migrate(target_of(home, f"duckdb:///{tmp_path}/none.duckdb"), home)
    with pytest.raises(ConfigError, match="holds rows of its own: name a new file or an empty database"):
        migrate(home, moved[0])
    assert query(moved[0], "SELECT count(*) AS n FROM users") == lived.query("SELECT count(*) AS n FROM users")


def test_a_store_that_is_being_filled_from_another_one_is_refused(home: Settings, lived: Any, tmp_path: Path) -> None:
    target = target_of(home, f"duckdb:///{tmp_path}/new.duckdb")

    def stop(progress: Any) -> None:
        if progress.phase == "salesforce.contact":
            raise SystemError("killed")

    with pytest.raises(SystemError):
        migrate(home, target, on_change=stop)
    with pytest.raises(ConfigError, match=rf"is being filled from {home.store_path}: name another one"):
        migrate(lived.settings, target)
    with pytest.raises(ConfigError, match="not proved to be equal yet: run the same headrace migrate again"):
        migrate(target, target_of(home, f"duckdb:///{tmp_path}/third.duckdb"))
    assert not (tmp_path / "third.duckdb").exists()


def test_a_store_of_an_older_headrace_is_brought_up_to_date_first(home: Settings, tmp_path: Path) -> None:
    target = target_of(home, f"duckdb:///{tmp_path}/new.duckdb")
    with parts.open_store(home) as store, store.transaction() as tx:
        tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "schema_version", "value": "1"}])

    older = r"is as an older headrace keeps one: run headrace replay, which brings all of it up to date, then migrate"
    with pytest.raises(ConfigError, match=older):
        migrate(home, target)

    with parts.open_store(home) as store, store.transaction() as tx:  # the tables are up to date with that, images not
        [state] = tx.rows("SELECT * FROM headrace.states ORDER BY record_id LIMIT 1")
        [capture] = tx.rows(
            "SELECT payload FROM captures WHERE record_id = ? ORDER BY version DESC LIMIT 1", [state["record_id"]]
        )
        tx.upsert("headrace.states", ("object", "record_id"), tables.STATES, [state | capture])
    with pytest.raises(ConfigError, match=older):
        migrate(home, target)
    assert not (tmp_path / "new.duckdb").exists()

    replay(home, Asked())
    assert moving(home, target).equal


def test_a_worker_has_to_be_stopped_first(home: Settings, moved: Any, tmp_path: Path) -> None:
    new = target_of(home, f"duckdb:///{tmp_path}/new.duckdb")
    with parts.open_store(home) as store, owner.answering_queries(home, store, port=0):
        with pytest.raises(UnreachableError, match=r"goes on writing: stop it first; migrate, then point store.url"):
            migrate(home, new)
        with pytest.raises(UnreachableError, match=r"has the store at .* open: stop it first\.$"):
            migrate(moved[0], home)
    assert not (tmp_path / "new.duckdb").exists()


@pytest.mark.parametrize("change", [{"Contact__NAMES": ""}, {"Contact__ENRICH": "cbit__Clearbit__c,OwnerId"}])
def test_settings_that_name_fields_otherwise_are_refused(
    home: Settings, lived: Any, tmp_path: Path, change: dict[str, str]
) -> None:
    env = lived.env | {f"HEADRACE_OBJECTS__{name}": value for name, value in change.items()}
    env["HEADRACE_STORE__URL"] = home.store.url
    settings = settings_module.load(None, {name: value for name, value in env.items() if value})
    target = target_of(home, f"duckdb:///{tmp_path}/new.duckdb")
    with pytest.raises(ConfigError, match="run headrace replay, so that it follows them, then migrate"):
        migrate(settings, target)
    assert query(target, "SELECT count(*) AS n FROM headrace.schemas")[0]["n"] == 0


def test_a_store_that_is_not_as_its_captures_say_is_told_of(home: Settings, postgres: Any) -> None:
    damage(home, "UPDATE users SET email = 'somebody@example.org' WHERE user_id = (SELECT min(user_id) FROM users)")
    report = moving(home, target_of(home, postgres.emptied()))
    assert (report.equal, report.users_changed, report.records_changed) == (False, 1, 0)
    assert (
        "the old one is not as its captures and these settings say. Run headrace replay on it first." in report.sentence
    )
    assert "users (1: " in report.sentence


def test_a_record_that_can_not_be_derived_is_told_of(home: Settings, postgres: Any, typed: Any) -> None:
    damage(home, "UPDATE captures SET payload = '{' WHERE record_id = (SELECT min(id) FROM salesforce.contact)")
    code, out, err = typed("migrate", "--to", postgres.emptied(), "--json")
    report = json.loads(out)
    assert code == 4
    assert report["equal"]
    assert len(report["skipped"]) == 1
    assert "(1 could not be derived, and are compared only)" in report["sentence"]
    assert "The stores are equal, but the replay left 1 record as it is" in err


@pytest.mark.slow
def test_an_archive_that_was_cut_moves_too(lived: Any, home: Settings, postgres: Any) -> None:
    [row] = query(home, "SELECT stored_at FROM captures ORDER BY stored_at DESC LIMIT 1")
    cut = row["stored_at"]
    damage(
        home,
        f"DELETE FROM captures WHERE stored_at < TIMESTAMPTZ '{cut}'",
        f"INSERT INTO headrace.meta VALUES ('archive_from', '{cut}')",
    )
    target = target_of(home, postgres.emptied())
    report = moving(home, target)
    assert report.equal, report.sentence
    assert report.archive_from == cut
    assert f"what was captured before {cut} is compared only" in report.sentence
    assert report.captures_replayed < report.records_replayed
    assert_same(lived, home, target)


def test_what_a_store_has_no_room_for_is_named(home: Settings, postgres: Any, tmp_path: Path) -> None:
    [contact] = query(home, "SELECT id FROM salesforce.contact ORDER BY id LIMIT 1")
    [event] = query(home, "SELECT event_id FROM events ORDER BY event_id LIMIT 1 OFFSET 7")
    target = target_of(home, postgres.emptied())

    damage(home, f"UPDATE salesforce.contact SET title = 'a' || chr(0) WHERE id = '{contact['id']}'")
    with pytest.raises(
        RunError, match=rf"no room for rows of salesforce.contact: .*title holds .*\(id {contact['id']}\)"
    ):
        migrate(home, target)
    damage(
        home,
        f"UPDATE salesforce.contact SET title = 'a' WHERE id = '{contact['id']}'",
        f"""UPDATE events SET properties = '{{"a": "\\u0000"}}' WHERE event_id = '{event["event_id"]}'""",
    )
    with pytest.raises(RunError, match=rf"no room for rows of events: .*\(event_id {event['event_id']}\)"):
        moving(home, target)
    assert query(target, "SELECT count(*) AS n FROM events")[0]["n"] == 0


@pytest.fixture(autouse=True)
def nothing_is_left_open(lived: Any) -> Iterator[None]:
    yield
    assert reading.find_owner(lived.settings) is None
