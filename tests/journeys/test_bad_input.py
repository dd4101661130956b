"""Whatever is wrong, a user gets one clear sentence and the right exit code, and never a traceback."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from compare import assert_equal
from shell import Shell, refusal, sentence

from integration.core import exactjson
from integration.sandbox.faults import MAINTENANCE_PAGE, TRUNCATED, UNAVAILABLE_HTML
from integration.store.duckdb import owner
from integration.store.duckdb.store import DuckDBStore
from integration.store.opening import open_reader
from integration.stream.connection import Client, connect

Found = Callable[..., Any]

NO_ORG = {
    "HEADRACE_SALESFORCE__BASE_URL": "http://127.0.0.1:9",
    "HEADRACE_SALESFORCE__CONSUMER_KEY": "k",
    "HEADRACE_SALESFORCE__CONSUMER_SECRET": "a-secret-nobody-may-see",
}


@contextmanager
def taken_port(answer: bytes | None = None) -> Iterator[int]:
    """Listen on a port without being what is expected there; `answer` is sent to whoever says something."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                    caller.recv(4096)
                    caller.sendall(answer or b"")
                    caller.close()
                except OSError:
                    return

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield port
        if answer is not None:
            # close() alone leaves a thread that sits in accept() sitting there
            listening.shutdown(socket.SHUT_RDWR)


# --- settings


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[poll]\ninterval = 5\n", "poll.interval is not a setting (from headrace.toml): did you mean poll.interval_seconds?"),
        ("[poll]\ninterval_seconds = 'often'\n", 'poll.interval_seconds is "often" (from headrace.toml): expected a number'),
        ("[poll\ninterval_seconds = 5\n", "headrace.toml is not valid TOML at line 1, column 6: "),
        ("[web]\nhost = '0.0.0.0'\n", "web.host 0.0.0.0 is open to other machines: set web.token"),
        ("[salesforce]\nconsumer_secret = 7\n", "salesforce.consumer_secret is int (not shown) (from headrace.toml): expected text"),
        ("[salesforce]\nbase_url = 'http://acme.example.com'\n", "salesforce.base_url is "),
        ("[store]\nurl = 'oracle://x'\n", 'store.url is "oracle://x"'),
        ("[redis]\nurl = 'http://127.0.0.1'\n", 'redis.url is "http://127.0.0.1"'),
        ("[objects.Contact]\nenrich = 'cbit__Clearbit__c'\n", 'objects.Contact.enrich is "cbit__Clearbit__c"'),
    ],
    ids=["unknown key", "wrong type", "broken TOML", "open to others without a token", "wrong type of a secret",
         "http to another machine", "unknown store", "no redis address", "text for a list"],
)  # fmt: skip
def test_a_bad_settings_file_is_refused_in_one_sentence(toml: str, says: str, shell: Shell) -> None:
    (shell.folder / "headrace.toml").write_text(toml)

    said = refusal(shell.run("sync"), 2)

    assert said.startswith(says), said
    assert [p.name for p in shell.folder.iterdir()] == ["headrace.toml"]


def test_a_settings_file_that_is_not_there_is_named(shell: Shell) -> None:
    said = refusal(shell.run("sync", "--config", "acme.toml"), 2)
    assert said == "There is no settings file acme.toml (--config): check the name."


def test_a_login_without_all_its_parts_names_what_is_missing(shell: Shell) -> None:
    for command in ("sync", "run"):
        said = refusal(shell.run(command, HEADRACE_SALESFORCE__CONSUMER_KEY="k"), 2)
        assert (
            "needs domain and consumer_secret: set salesforce.domain (environment HEADRACE_SALESFORCE__DOMAIN)" in said
        )
    assert list(shell.folder.iterdir()) == []


def test_debug_shows_the_traceback_and_the_sentence_last(shell: Shell) -> None:
    done = shell.run("sync", "--debug", **NO_ORG, HEADRACE_REDIS__URL="redis://127.0.0.1:1")
    assert done.returncode == 3
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("headrace: Can't reach 127.0.0.1:9: ")
    assert "secret-nobody" not in done.stderr


# --- Salesforce


def test_an_org_that_nobody_answers_for_ends_with_3(shell: Shell) -> None:
    said = refusal(shell.run("sync", **NO_ORG), 3)
    assert said.startswith("Can't reach 127.0.0.1:9: nothing listens there; check the address")
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"HEADRACE_SALESFORCE__CONSUMER_SECRET": "not-the-secret-nobody-knows"}, "Salesforce refused the login (invalid_client"),
        ({"HEADRACE_SALESFORCE__CONSUMER_KEY": "another-key"}, "Salesforce refused the login (invalid_client"),
        ({"HEADRACE_OBJECTS__Foo__c__ENABLED": "true"}, "The org has no object 'Foo__c' that this login may read"),
        ({"HEADRACE_OBJECTS__Accounts__ENABLED": "true"}, "The org has no object 'Accounts' that this login may read (did you mean Account?)"),
        ({"HEADRACE_OBJECTS__Contcat__EXCLUDE": "Fax"}, "objects.Contcat has settings, but Contcat is not watched. Did you mean objects.Contact"),
        ({"HEADRACE_OBJECTS__Contact__ENRICH": "Title"}, "objects.Contact.enrich names Title, which is not a lookup field"),
        ({"HEADRACE_OBJECTS__Contact__ENRICH": "cbit__Clearbitt__c"}, "objects.Contact.enrich names cbit__Clearbitt__c, which is not a lookup"),
        ({"HEADRACE_PRIVACY__HASH": "Contact.Email"}, "privacy.hash is not in this version yet"),
    ],
    ids=["wrong secret", "unknown client", "unknown object", "object with a slip", "settings for no object",
         "a field that is no lookup", "a lookup with a slip", "not yet there"],
)  # fmt: skip
def test_what_the_org_does_not_know_ends_with_2(variables: dict[str, str], says: str, found: Found) -> None:
    company = found(accounts=1)

    said = refusal(company.shell.run("sync", **variables), 2)

    assert said.startswith(says), said


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (MAINTENANCE_PAGE, "Salesforce answered with a web page instead of data: maintenance"),
        # These are asked again several times, with growing pauses.
        pytest.param(TRUNCATED, "Salesforce's answer was cut short: try again.", marks=pytest.mark.slow),
        pytest.param(UNAVAILABLE_HTML, "Salesforce is not available now (HTTP 503", marks=pytest.mark.slow),
    ],
    ids=["a web page", "half an answer", "503"],
)
def test_an_org_under_maintenance_ends_with_3(fault: Any, says: str, found: Found) -> None:
    company = found(accounts=1)
    company.server.faults.push(fault, times=500, where="/services/data")

    said = refusal(company.shell.run("sync"), 3)

    assert said.startswith(says), said


# --- Redis


@pytest.mark.parametrize("command", ["sync", "run", "status", "streams ls"])
def test_a_redis_that_does_not_answer_ends_with_3(command: str, found: Found) -> None:
    company = found(accounts=1, HEADRACE_WEB__PORT="0")
    done = company.shell.run(*command.split(), HEADRACE_REDIS__URL="redis://me:a-secret-nobody-may-see@127.0.0.1:1/0")
    assert done.returncode == 3
    assert sentence(done).startswith("Redis at 127.0.0.1:1 does not answer: start it, or set redis.url")


def test_what_is_not_a_redis_is_called_so(found: Found) -> None:
    company = found(accounts=1)
    with taken_port(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        said = refusal(company.shell.run("sync", HEADRACE_REDIS__URL=f"redis://127.0.0.1:{port}"), 2)
    assert said == (
        f"What answers at 127.0.0.1:{port} does not speak the Redis protocol: change redis.url (HEADRACE_REDIS__URL)."
    )


def test_a_redis_that_refuses_the_login_ends_with_2(found: Found, redis_url: str) -> None:
    company = found(accounts=1)
    place = redis_url.rpartition("@")[2]
    said = refusal(company.shell.run("sync", HEADRACE_REDIS__URL=f"redis://:a-secret-nobody-may-see@{place}"), 2)
    assert said.startswith("Redis at 127.0.0.1:")
    assert "refuses the login: set the user name and password in redis.url (HEADRACE_REDIS__URL)" in said


def test_a_full_redis_ends_with_3_and_the_next_sync_goes_on(found: Found, redis_url: str) -> None:
    company = found(accounts=2)
    company.watcher.observe(company.org)
    with connect(redis_url) as server:
        server.config_set("maxmemory", "1")
        try:
            said = refusal(company.shell.run("sync"), 3)
        finally:
            server.config_set("maxmemory", "0")
    assert "is full and wrote nothing of it: raise its maxmemory, or let the consumers catch up" in said
    assert company.shell.run("sync").returncode == 0
    assert_equal(company)


# --- the store


def test_a_damaged_store_ends_with_3_and_says_what_to_do(found: Found) -> None:
    company = found(accounts=1)
    company.settings.store_path.write_bytes(b"this is no database " * 500)
    for words in (("sync",), ("sql", "select 1")):
        said = refusal(company.shell.run(*words), 3)
        assert said.startswith(f"{company.settings.store_path} can't be used as a store (")
        assert said.endswith(
            "restore it from a copy, or move it away and run headrace sync: the streams and Salesforce fill a new one."
        )


def test_a_store_in_a_folder_that_is_not_there_ends_with_2(found: Found) -> None:
    company = found(accounts=1)
    said = refusal(company.shell.run("sync", HEADRACE_STORE__URL="duckdb:///nowhere/headrace.duckdb"), 2)
    assert said == f"The directory {company.folder}/nowhere does not exist: create it, or change store.url."


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_store_in_a_folder_that_is_not_ours_ends_with_3(found: Found) -> None:
    company = found(accounts=1)
    company.folder.chmod(0o500)
    try:
        assert "give this user the right" in refusal(company.shell.run("sync"), 3)
    finally:
        company.folder.chmod(0o700)


def test_a_store_that_another_process_owns_ends_with_3(found: Found) -> None:
    company = found(accounts=1)
    path = company.settings.store_path
    with closing(DuckDBStore(path)):
        owner.announce(path, url="http://127.0.0.1:9", token="", started_at="2026-03-02T09:00:00Z")
        in_use = f"{path} is in use by process {os.getpid()}: wait until it ends, or stop it."
        hint = " Or start this one with --standby to have it take over then."
        for command, sentence_of_it in (("sync", in_use), ("run", in_use + hint)):
            assert refusal(company.shell.run(command, HEADRACE_WEB__PORT="0"), 3) == sentence_of_it
        said = refusal(company.shell.run("sql", "select 1"), 3)
        assert said == (
            f"Process {os.getpid()} owns the store but does not answer at http://127.0.0.1:9: look at its log, or restart it."
        )
        owner.withdraw(path)


def test_a_store_that_stays_locked_by_somebody_who_answers_nothing_ends_with_3(found: Found) -> None:
    company = found(accounts=1)
    path = company.settings.store_path
    with closing(DuckDBStore(path)):
        said = refusal(company.shell.run("sql", "select 1"), 3)
    assert said.startswith(f"{path} is in use by process {os.getpid()}: wait until it ends, or stop it.")


def test_a_sync_waits_for_one_who_only_reads_for_a_moment(found: Found) -> None:
    company = found(accounts=2)
    company.sync()
    reader = open_reader(company.settings.store_path)
    asked: list[str] = []
    company.server.faults.hook = asked.append
    with company.shell.start("sync") as running:
        running.until(lambda: bool(asked))  # it has logged in, and opens the store next
        leaving = threading.Timer(1.0, reader.close)
        leaving.start()
        assert running.process.wait(timeout=30) == 0, running.notes
        leaving.join()


def test_a_port_that_is_taken_ends_with_2(found: Found) -> None:
    company = found(accounts=1)
    with taken_port() as port:
        said = refusal(company.shell.run("run", HEADRACE_WEB__PORT=str(port)), 2)
    assert said == (
        f"127.0.0.1:{port} can't be listened on (Address already in use): set web.host and web.port to a free address."
    )


# --- SQL


def test_sql_before_the_first_sync_says_what_to_do_first(shell: Shell) -> None:
    for words in (("sql", "select 1"), ("schema",)):
        said = refusal(shell.run(*words), 2)
        assert said == (
            f"There is no store at {shell.folder}/headrace.duckdb yet: run headrace sync (or headrace demo) first."
        )
    assert list(shell.folder.iterdir()) == []


def test_a_query_file_that_is_not_there_ends_with_2(shell: Shell) -> None:
    said = refusal(shell.run("query", "personas.sql"), 2)
    assert said == "The file personas.sql can't be read: No such file or directory."


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A terminal beside a store that has its tables."""
    folder = tmp_path_factory.mktemp("filled")
    DuckDBStore(folder / "headrace.duckdb").close()
    return Shell(folder, {})


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", 'The SQL does not parse: syntax error at or near "selec".'),
        ("select * from user", "There is no table or view user. Did you mean users?"),
        ("select emial from users", 'The SQL does not fit the tables: Referenced column "emial" not found'),
        ("delete from users", "DELETE is not possible. Only reading is possible here: SELECT, "),
        ("create table x as select 1", "CREATE is not possible. Only reading is possible here: "),
        ("select 1; select 2", "These are 2 statements; give one at a time."),
        ("select * from read_csv('/etc/passwd')", "read_csv() can't be used here: only tables and views can be read"),
        ("select * from '/etc/passwd'", "There is no table or view /etc/passwd."),
        ("copy users to '/tmp/users.csv'", "COPY is not possible. "),
        ("attach '/tmp/other.duckdb'", "ATTACH is not possible. "),
        ("set memory_limit = '1TB'", "SET is not possible. "),
        ("/* nothing */", "There is no SQL to run: give one statement, "),
    ],
)
def test_sql_that_can_not_run_ends_with_2(sql: str, says: str, filled: Shell) -> None:
    said = refusal(filled.run("sql", sql), 2)
    assert said.startswith(says), said
    assert not Path("/tmp/users.csv").exists()


def test_an_unknown_column_is_followed_by_the_ones_that_could_be_meant(filled: Shell) -> None:
    assert '"email"' in refusal(filled.run("sql", "select emial from users"), 2)


def test_a_query_that_takes_too_long_ends_with_1(filled: Shell) -> None:
    said = refusal(filled.run("sql", "--timeout", "0.2", "select count(*) from range(1e12::bigint)"), 1)
    assert said == "The query was stopped after 0.2 s: narrow it with WHERE, or allow it more time."


def test_sql_from_standard_input_fails_like_any_other(filled: Shell) -> None:
    assert "does not parse" in refusal(filled.run("sql", "-", stdin="selec 1"), 2)
    assert "does not parse" in refusal(filled.run("query", "-", stdin="selec 1"), 2)


# --- entries nobody can use


def newest(server: Client, stream: str) -> dict[str, Any]:
    """Return the capture of the newest entry of a stream."""
    ((_, fields),) = server.xrevrange(stream, count=1)
    return exactjson.loads(fields[b"data"])


def put(server: Client, stream: str, data: Any) -> None:
    """Write an entry that looks like one of headrace's."""
    text = data if isinstance(data, bytes) else exactjson.dumps(data)
    server.xadd(stream, {"specversion": "1.0", "id": "1", "type": "com.salesforce.x", "source": "/x", "data": text})


def bad_captures(server: Client) -> list[tuple[str, Any, str]]:
    """List (stream, data, what the reason must say) of captures that are wrong in one thing each."""
    account, contact = newest(server, "crm.account"), newest(server, "crm.contact")
    later = {"system_modstamp": "2031-01-01T00:00:00Z"}

    def changed(capture: dict[str, Any], number: int, fields: dict[str, Any] | None = None, **other: Any) -> Any:
        return {
            **capture,
            **later,
            "id": f"bad-{capture['object']}-{number}",
            "fields": {**capture["fields"], "SystemModstamp": "2031-01-01T00:00:00.000+0000", **(fields or {})},
            **other,
        }

    def without(capture: dict[str, Any], number: int, name: str) -> Any:
        return {k: v for k, v in changed(capture, number).items() if k != name}

    return [
        ("crm.contact", b"notjson", "data is not JSON"),
        ("crm.contact", b"", "data is not JSON"),
        ("crm.contact", b"\xff\xfe\x00", "data is not JSON"),
        ("crm.contact", b"[1]", "data is not a JSON object"),
        ("crm.contact", b"[" * 200_000, "data is not JSON"),
        ("crm.contact", b"[" * 200_000 + b"12345678901234567.89", "data is not JSON"),
        ("crm.contact", {}, "id is missing or not text"),
        ("crm.contact", without(contact, 1, "record_id"), "record_id is missing"),
        ("crm.contact", without(contact, 2, "system_modstamp"), "system_modstamp is missing"),
        ("crm.contact", without(contact, 3, "is_deleted"), "is_deleted is missing"),
        ("crm.contact", without(contact, 4, "fields"), "fields are missing from a record that is not deleted"),
        ("crm.contact", changed(contact, 5, record_id="003"), "record_id is not an 18-character Salesforce id"),
        ("crm.contact", changed(contact, 6, schema_id="0000"), "No description 0000 of Contact is known"),
        ("crm.contact", {**changed(contact, 7), "fields": [1]}, "fields is not a JSON object"),
        ("crm.account", changed(account, 8, {"AnnualRevenue": "a lot"}), "annualrevenue"),
        ("crm.account", changed(account, 9, {"NumberOfEmployees": "12 or so"}), "numberofemployees"),
        ("crm.account", changed(account, 10, {"NumberOfEmployees": {"no": "number"}}), "numberofemployees holds"),
        ("crm.account", changed(account, 12, {"CreatedDate": "yesterday"}), "createddate holds"),
        ("crm.contact", changed(contact, 13, object='x"; DROP TABLE users; --'), "object is not the API name of an object"),
        ("crm.contact", changed(contact, 14, {"Id": None}), "the field Id is not the record_id"),
        ("crm.contact", changed(contact, 15, {"Id": "003000000000000AAA"}), "the field Id is not the record_id"),
        ("crm.contact", changed(contact, 16, system_modstamp="2031-99-99T00:00:00Z"), "system_modstamp is not a time"),
        ("crm.contact", changed(contact, 17, seen_at="soon"), "seen_at is not a time"),
        ("crm.contact", changed(contact, 18, {"MasterRecordId": 7}, is_deleted=True), "the field MasterRecordId is not text"),
        ("crm.contact", changed(contact, 19, {"AccountId": {"a": 1}}), "the field AccountId is not text"),
        ("crm.contact", changed(contact, 21, {"DoNotCall": "maybe"}), "donotcall holds"),
        ("crm.foo__c", {**changed(contact, 11), "object": "Foo__c", "schema_id": "1111"}, "No description 1111 of Foo__c"),
    ]  # fmt: skip


def test_entries_that_can_not_be_used_become_dead_letters_and_all_others_are_stored(
    found: Found, redis_url: str
) -> None:
    company = found(accounts=4)
    company.sync()
    company.live(10)
    company.watcher.observe(company.org)
    with connect(redis_url) as server:
        wrong = bad_captures(server)
        for stream, data, _ in wrong:
            put(server, stream, data)
        server.xadd("crm.contact", {"foo": "bar"})
        server.xadd("crm.foo__c", {"foo": "bar"})

        done = company.shell.run("sync")

        said = sentence(done)
        assert done.returncode == 4, done.stderr
        assert said.startswith(f"Finished, but {len(wrong) + 2} records could not be used: `headrace dlq ls crm.")
        for stream in ("crm.contact", "crm.account", "crm.foo__c"):
            assert f"`headrace dlq ls {stream}`" in said
        assert server.xlen("crm.foo__c.dead") == 2
        assert all(not server.xpending(s, "store")["pending"] for s in ("crm.contact", "crm.account", "crm.foo__c"))
    assert_equal(company)
    reasons = [row["reason"] for row in company.query('SELECT * FROM dead_letters ORDER BY stream, "offset"')]
    assert len(reasons) == len(wrong) + 2
    for _, _, words in wrong:
        assert any(words in reason for reason in reasons), (words, reasons)
    assert sum("has no field data" in reason for reason in reasons) == 2
    again = company.shell.run("sync")
    assert (again.returncode, again.stderr) == (0, "")


def test_the_command_named_for_dead_letters_shows_their_reasons(found: Found, redis_url: str) -> None:
    company = found(accounts=1)
    with connect(redis_url) as server:
        server.xadd("crm.contact", {"foo": "bar"})

    said = sentence(company.shell.run("sync"))

    command = said.split("`")[1]
    assert command == "headrace dlq ls crm.contact"
    shown = company.shell.run(*command.split()[1:])
    assert "The entry has no field data, so it is not a capture." in shown.stdout
    assert shown.returncode == 0
