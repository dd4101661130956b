from typing import Any

import pytest
from batches import FIRST, Stream, flattener, told
from postgres import Cluster, name_of

from integration.core.columns import Column, ColumnType
from integration.errors import RunError, UsageError
from integration.store import tables
from integration.store.answers import ask
from integration.store.postgres.names import short
from integration.store.postgres.store import PostgresReader, PostgresStore
from integration.store.projection import Part, Shape
from integration.store.protocol import Misfit, RefusedError

TEXT = ColumnType.TEXT
CONTACT = "salesforce.contact"
ID = Column("id", TEXT)
LONG = "sfdc_contact_" + "long_" * 12 + "name"
OTHER = LONG + "_too"


def test_long_names_are_whole_wherever_headrace_shows_them(store: PostgresStore, url: str) -> None:
    columns = [ID, Column(LONG, TEXT), Column(OTHER, ColumnType.INTEGER)]
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, columns)
        tx.upsert(CONTACT, ("id",), columns, [{"id": "a", LONG: "x", OTHER: 7}])
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, columns)
        tx.upsert(CONTACT, ("id",), columns, [{"id": "a", LONG: "y", OTHER: 8}])
        assert tx.rows(f"SELECT {LONG} FROM {CONTACT} WHERE {OTHER} > ?", [7]) == [{LONG: "y"}]
        assert tx.differing(CONTACT, "id", ["a"], columns, [{"id": "a", LONG: "y", OTHER: 8}]) == set()
    with PostgresReader(url) as reader:
        assert ask(reader, f"SELECT * FROM {CONTACT}") == [{"id": "a", LONG: "y", OTHER: 8}]
        own = f"SELECT {LONG.upper()}, c.\"{OTHER}\" FROM {CONTACT} AS c WHERE {LONG} <> '{LONG}'"
        assert reader.query(own).to_pylist() == [{LONG: "y", OTHER: 8}]
        # Who looks at the database past headrace finds the whole name beside the short one.
        told_by = "SELECT col_description('salesforce.contact'::regclass, 2) AS whole"
        assert reader.query(told_by).to_pylist() == [{"whole": LONG}]
        assert reader.query(f"SELECT {short(LONG)} AS x FROM {CONTACT}").to_pylist() == [{"x": "y"}]


def test_long_properties_are_projected(store: PostgresStore) -> None:
    shape = Shape({"Contact": frozenset({"id", "title"})}, {"Contact": Part([("title", LONG)])})
    raw = [ID, Column("title", TEXT), Column("createddate", ColumnType.TIMESTAMP)]
    person = {"user_id": "a", "contact_id": "a", "is_deleted": False, "updated_at": "2026-01-01T00:00:00Z"}
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, raw)
        tx.ensure_columns("users", [*tables.USERS, Column(LONG, TEXT)])
        tx.append(CONTACT, raw, [{"id": "a", "title": "CEO"}])
        tx.upsert("headrace.people", ("user_id",), tables.PEOPLE, [person])
        assert tx.project_users(shape, ["a"]) == 1
        assert tx.project_users(shape, ["a"]) == 0
    assert ask(store, "SELECT * FROM users")[0][LONG] == "CEO"


def test_a_column_that_nothing_fills_any_more_becomes_null_with_the_next_change(store: PostgresStore) -> None:
    full = Shape({"Contact": frozenset({"id", "title"})}, {"Contact": Part([("title", "sfdc_contact_title")])})
    raw = [ID, Column("title", TEXT)]
    person = {"user_id": "a", "contact_id": "a", "is_deleted": False}
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, raw)
        tx.ensure_columns("users", [*tables.USERS, Column("sfdc_contact_title", TEXT)])
        tx.append(CONTACT, raw, [{"id": "a", "title": "CEO"}])
        tx.upsert("headrace.people", ("user_id",), tables.PEOPLE, [person])
        tx.project_users(full, ["a"])
        tx.upsert("headrace.people", ("user_id",), tables.PEOPLE, [person | {"email": "a@example.com"}])
        assert tx.project_users(Shape(), ["a"]) == 1
    assert ask(store, "SELECT email, sfdc_contact_title AS title FROM users") == [
        {"email": "a@example.com", "title": None}
    ]


@pytest.mark.parametrize(
    ("table", "columns", "row"),
    [
        ("events", tables.EVENTS, {"event_id": "e", "actor_id": "a\x00b"}),
        ("events", tables.EVENTS, {"event_id": "e", "properties": '{"a": "x\\u0000y"}'}),
        ("captures", tables.CAPTURES, {"capture_id": "a\x00"}),
    ],
)
def test_the_character_nul_beside_raw_rows_refuses_the_batch(
    store: PostgresStore, table: str, columns: Any, row: Any
) -> None:
    """Then it is halved until the entry is found that brings it."""
    with pytest.raises(RefusedError, match=r"U\+0000"), store.transaction() as tx:
        tx.append(table, columns, [{**row, columns[0].name: "good"}, row] if columns[0].name not in row else [row])
    assert ask(store, f"SELECT count(*) AS n FROM {table}") == [{"n": 0}]


def test_a_dead_letter_can_hold_anything(store: PostgresStore) -> None:
    entry = '{"data": "a\\u0000b", "odd": "c:\\\\\\\\u0000", "back": "\\\\u0000"}'
    with store.transaction() as tx:
        tx.append("dead_letters", tables.DEAD_LETTERS, [{"stream": "s", "reason": "no\x00thing", "entry": entry}])
    [row] = ask(store, "SELECT reason, entry, entry->>'$.data' AS data FROM dead_letters")
    assert row["reason"] == "no\ufffdthing"
    assert row["entry"] == {"data": "a\ufffdb", "odd": "c:\\\\u0000", "back": "\\u0000"}
    assert row["data"] == "a\ufffdb"


def test_json_that_speaks_of_nul_is_taken(store: PostgresStore) -> None:
    body = '{"a":"\\\\u0000"}'
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "e", "properties": body}])
        assert tx.rows("SELECT properties FROM events") == [{"properties": body}]


def test_a_capture_with_nul_in_a_field_is_given_up_and_the_rest_is_stored(store: PostgresStore) -> None:
    stream = Stream()
    good = stream.entry(FIRST, "Contact", 1, "01-20T10:00:00", Name="Ann")
    bad = stream.entry(FIRST, "Contact", 2, "01-20T10:00:00", Name="a\x00b")
    [reject] = flattener(store).apply([good, bad]).rejects
    assert reject.entry == bad
    assert "salesforce.contact.name holds text with the character U+0000" in reject.reason
    assert len(told(store, ["captures"])["captures"]) == 1


def test_more_columns_than_a_table_may_have_are_refused_in_a_sentence(store: PostgresStore) -> None:
    columns = [ID, *(Column(f"c{i}", ColumnType.INTEGER) for i in range(1700))]

    def ensure() -> None:
        with store.transaction() as tx:
            tx.ensure_columns(CONTACT, columns[:800])
            tx.ensure_columns(CONTACT, columns)

    for _ in range(2):
        with pytest.raises(RunError, match=r"more than the 1,600 columns"):
            ensure()
    with pytest.raises(UsageError):
        store.query(f"SELECT * FROM {CONTACT}")


def test_a_row_that_is_too_large_is_refused_for_what_is_in_it(store: PostgresStore) -> None:
    columns = [ID, *(Column(f"c{i}", TEXT) for i in range(1500))]
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, columns)
    with pytest.raises(RefusedError, match="a row is larger"), store.transaction() as tx:
        tx.append(CONTACT, columns, [{"id": "a", **{f"c{i}": "x" * 40 for i in range(1500)}}])


def test_a_value_that_a_column_does_not_take_is_not_told(store: PostgresStore) -> None:
    """The column has another type than was thought: somebody has changed it."""
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, [ID, Column("age", ColumnType.INTEGER)])
    with pytest.raises(RefusedError, match=r"a value does not fit age\.$"), store.transaction() as tx:
        tx.append(CONTACT, [ID, Column("age", TEXT)], [{"id": "a", "age": "secret"}])


def test_an_event_can_not_be_stored_twice(store: PostgresStore) -> None:
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "e"}])
    with pytest.raises(RefusedError, match="events_pkey"), store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "e"}])


def test_a_view_changes_under_the_views_that_others_have_built_on_it(
    store: PostgresStore, url: str, postgres: Cluster
) -> None:
    name = name_of(url)

    def ensure(sql: str) -> None:
        with store.transaction() as tx:
            tx.ensure_view("seen", sql)

    ensure("SELECT event_id AS a, name AS b FROM events")
    postgres.sql("CREATE VIEW public.theirs AS SELECT a FROM public.seen", database=name)
    ensure("SELECT event_id AS a, time AS t, name AS b FROM events")  # a new one in the middle
    assert store.query("SELECT * FROM seen").column_names == ["a", "b", "t"]
    assert store.query("SELECT * FROM theirs").column_names == ["a"]
    with pytest.raises(RunError, match=r"public\.seen has lost a column that another view needs \(view theirs depends"):
        ensure("SELECT name AS b FROM events")
    postgres.sql("DROP VIEW public.theirs", database=name)
    ensure("SELECT name AS b FROM events")
    assert store.query("SELECT * FROM seen").column_names == ["b"]
    ensure("SELECT now() AS b, record_id FROM events")  # another type
    assert store.query("SELECT * FROM seen").column_names == ["b", "record_id"]


def test_texts_are_ordered_by_their_characters_and_know_capitals_beyond_ascii(store: PostgresStore) -> None:
    people = [ID, Column("email", TEXT)]
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, people)
        rows = [
            {"id": i, "email": e} for i, e in (("b", "\u00a0ÉVA@example.com\t"), ("B", "x"), ("_", "y"), ("é", "z"))
        ]
        tx.append(CONTACT, people, rows)
        states = [{"object": "Contact", "record_id": row["id"], "is_deleted": False} for row in rows]
        tx.append("headrace.states", tables.STATES, states)
        assert [fact["Id"] for fact in tx.facts("Contact", {"Email": ["éva@example.com"]}, ())] == ["b"]
        assert [row["id"] for row in tx.rows(f"SELECT id FROM {CONTACT} ORDER BY id")] == ["B", "_", "b", "é"]
    assert ask(store, f"SELECT id FROM {CONTACT} WHERE email ILIKE '%éva%'") == [{"id": "b"}]


def test_lookups_get_an_index_when_they_are_first_asked_by(store: PostgresStore, url: str, postgres: Cluster) -> None:
    people = [ID, Column("email", TEXT), Column("accountid", TEXT)]
    for _ in range(2):
        with store.transaction() as tx:
            tx.ensure_columns(CONTACT, people)
            tx.facts("Contact", {"Id": ["a"], "Email": ["x"], "AccountId": ["y"]}, ())
    found = postgres.sql(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'contact' ORDER BY 1", database=name_of(url)
    )
    assert [name for (name,) in found] == ["contact_accountid_lookup", "contact_email_lookup", "contact_pkey"]


def test_a_misfit_names_the_rows_that_were_handed_over(store: PostgresStore) -> None:
    people = [ID, Column("email", TEXT)]
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, people)
    with pytest.raises(Misfit) as caught, store.transaction() as tx:
        tx.upsert(CONTACT, ("id",), people, [{"id": "a", "email": "\x00"}, {"id": "b"}, {"id": "a", "email": "\x00"}])
    assert caught.value.rows == (0, 2)
