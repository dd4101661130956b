import pytest
from postgres import GUARDED, Cluster, name_of

from integration.errors import ConfigError, HeadraceError, UnreachableError
from integration.store import tables
from integration.store.answers import ask
from integration.store.opening import open_reader, open_store
from integration.store.postgres.names import short
from integration.store.postgres.store import PostgresReader, PostgresStore

SECRET = "not to be told"


def refusal(url: str, password: str | None = None) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        open_store(url, password=password)
    assert "\n" not in str(caught.value)
    assert SECRET not in repr(caught.getrepr(style="long"))
    return caught.value


def test_addresses_open_stores_and_readers(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^There is no store in .* yet: run headrace sync first\.$"):
        open_reader(url)
    open_store(url.replace("postgresql://", "postgres://")).close()
    with open_reader(url) as reader:
        assert ask(reader, "SELECT count(*) AS n FROM users") == [{"n": 0}]


def test_a_server_that_does_not_answer_is_unreachable() -> None:
    error = refusal(f"postgresql://headrace:{SECRET.replace(' ', '%20')}@127.0.0.1:1/headrace")
    assert isinstance(error, UnreachableError)
    assert str(error) == "PostgreSQL at 127.0.0.1:1/headrace does not answer: start it, or correct store.url."


def test_a_database_that_is_not_there_is_named(postgres: Cluster) -> None:
    assert isinstance(error := refusal(postgres.url("nowhere")), ConfigError)
    assert str(error).startswith("There is no database nowhere at ")


def test_an_unknown_role_is_named(postgres: Cluster) -> None:
    assert isinstance(error := refusal(postgres.url("postgres", "nobody_here")), ConfigError)
    assert "as nobody_here" in str(error)


def test_a_wrong_password_is_refused_without_being_told(url: str, postgres: Cluster) -> None:
    postgres.sql(f"DROP ROLE IF EXISTS {GUARDED}", f"CREATE ROLE {GUARDED} LOGIN SUPERUSER PASSWORD 'right'")
    guarded = postgres.url(name_of(url), GUARDED)
    for password in (SECRET, None):
        error = refusal(guarded, password)
        assert isinstance(error, ConfigError)
        assert f"refuses the password as {GUARDED}: correct store.password." in str(error) or password is None
    assert SECRET not in repr(refusal(guarded.replace("@", f":{SECRET.replace(' ', '%20')}@")))
    store = open_store(guarded, password="right")
    assert "right" not in repr(store)
    store.close()
    # One in the settings goes before one in the address.
    open_store(guarded.replace("@", ":wrong@"), password="right").close()


def test_an_address_that_can_not_be_read_is_not_repeated() -> None:
    error = refusal(f"postgresql://headrace:{SECRET}@host/headrace?sslmod=1")
    assert isinstance(error, ConfigError)
    assert error.__cause__ is None
    assert "postgresql://headrace@db.example.com/headrace" in str(error)


def test_a_database_that_can_not_hold_every_text_is_refused(postgres: Cluster) -> None:
    error = refusal(postgres.database("ENCODING 'LATIN1'"))
    assert isinstance(error, ConfigError)
    assert "has the encoding LATIN1" in str(error)


def test_a_store_of_a_newer_headrace_is_left_alone(url: str) -> None:
    store = PostgresStore(url)
    with store.transaction() as tx:
        newer = {"key": "schema_version", "value": str(tables.SCHEMA_VERSION + 1)}
        tx.upsert("headrace.meta", ("key",), tables.META, [newer])
    store.close()
    for opened in (open_store, open_reader):
        with pytest.raises(ConfigError, match="was written by a newer headrace"):
            opened(url)


def test_a_role_that_may_not_make_tables_is_told_what_it_needs(url: str, postgres: Cluster) -> None:
    postgres.sql("DROP ROLE IF EXISTS weak", "CREATE ROLE weak LOGIN")
    error = refusal(postgres.url(name_of(url), "weak"))
    assert isinstance(error, ConfigError)
    assert "GRANT CREATE ON DATABASE" in str(error)


def test_the_rights_that_the_sentence_names_are_enough(url: str, postgres: Cluster) -> None:
    name = name_of(url)
    postgres.sql(
        "DROP ROLE IF EXISTS granted",
        "CREATE ROLE granted LOGIN",
        f"GRANT CREATE ON DATABASE {name} TO granted",
        "GRANT CREATE, USAGE ON SCHEMA public TO granted",
        database=name,
    )
    open_store(postgres.url(name, "granted")).close()
    open_store(postgres.url(name, "granted")).close()
    postgres.sql("DROP OWNED BY granted", "DROP ROLE granted", database=name)


def test_a_role_that_reads_sees_new_tables_too(url: str, postgres: Cluster) -> None:
    name = name_of(url)
    store = PostgresStore(url)
    postgres.sql("DROP ROLE IF EXISTS analyst", "CREATE ROLE analyst LOGIN", database=name)
    with pytest.raises(ConfigError, match="GRANT pg_read_all_data"):
        open_reader(postgres.url(name, "analyst"))
    postgres.sql("GRANT pg_read_all_data TO analyst", database=name)
    with store.transaction() as tx:
        tx.ensure_columns("salesforce.contact", [tables.META[0]])
    with open_reader(postgres.url(name, "analyst")) as reader:
        assert ask(reader, "SELECT * FROM salesforce.contact") == []
    with pytest.raises(ConfigError, match="lacks rights"):
        open_store(postgres.url(name, "analyst"))
    store.close()


def test_a_role_named_as_a_schema_finds_peoples_tables_in_public(url: str) -> None:
    """The role of the tests is called headrace, as the schema of headrace's own bookkeeping is."""
    store = PostgresStore(url)
    assert {"users", "events", "headrace.states"} <= {*store.table_names()}
    store.close()
    with PostgresReader(url) as reader:
        assert repr(reader) == f"PostgresReader({reader.place})"


def test_a_name_of_63_bytes_stays_and_a_longer_one_gets_a_mark_of_its_own() -> None:
    assert short("a" * 63) == "a" * 63
    names = {short("a" * 64), short("a" * 65), short("a" * 63 + "b"), short("é" * 40)}
    assert len(names) == 4
    assert all(len(name.encode()) <= 63 for name in names)
    assert short("a" * 64) == "a" * 54 + "_ffe054fe"
