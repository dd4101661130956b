from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from integration.errors import RunError, UsageError
from integration.store import tables
from integration.store.answers import plain_rows
from integration.store.projection import Part, Shape
from integration.store.protocol import Column, ColumnType, Misfit, State, Store, Transaction

TEXT, DECIMAL = ColumnType.TEXT, ColumnType.DECIMAL
PEOPLE = (
    Column("id", TEXT, source="Id"),
    Column("email", TEXT, source="Email"),
    Column("accountid", TEXT, source="AccountId"),
    Column("amount", DECIMAL, source="Amount"),
    Column("is_deleted", ColumnType.BOOLEAN, source="IsDeleted"),
)
CONTACT = "salesforce.contact"


def write(store: Store, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column] = PEOPLE) -> None:
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, columns)
        tx.upsert(CONTACT, ("id",), columns, rows)


def misfit_of(store: Store, rows: Sequence[Mapping[str, Any]]) -> Misfit | None:
    """Write rows of which a store may have no room for one; return what it says then."""
    try:
        write(store, rows)
    except Misfit as misfit:
        return misfit
    return None


def read(store: Store, sql: str = f"SELECT * FROM {CONTACT} ORDER BY id") -> list[dict[str, Any]]:
    return plain_rows(store.query(sql))


def state(record_id: str, payload: bytes = b"{}", object_name: str = "Contact") -> dict[str, Any]:
    version = "2024-01-22T16:26:15Z"
    return {"object": object_name, "record_id": record_id, "version": version, "is_deleted": False, "payload": payload}


def write_states(tx: Transaction, *states: Mapping[str, Any]) -> None:
    tx.upsert("headrace.states", ("object", "record_id"), tables.STATES, states)


@pytest.mark.parametrize("table", sorted(tables.FIXED))
def test_every_fixed_table_is_there_with_its_columns(store: Store, table: str) -> None:
    assert store.query(f"SELECT * FROM {table}").column_names == [c.name for c in tables.FIXED[table]]


def test_a_batch_that_comes_twice_is_stored_once(store: Store) -> None:
    rows: list[dict[str, Any]] = [{"Id": "a", "Amount": 1.5}, {"Id": "b", "Email": "b@example.com"}]
    write(store, rows)
    once = read(store)
    write(store, rows)
    assert read(store) == once
    assert [row["id"] for row in once] == ["a", "b"]


def test_the_last_row_wins_where_a_key_comes_twice_in_a_batch(store: Store) -> None:
    for _ in range(2):  # into an empty table, and into one that has the key
        write(store, [{"Id": "a", "Amount": 1}, {"Id": "b", "Amount": 2}, {"Id": "a", "Amount": 3}])
        assert [(r["id"], r["amount"]) for r in read(store)] == [("a", 3), ("b", 2)]


def test_a_key_of_several_columns_replaces_only_its_own_row(store: Store) -> None:
    with store.transaction() as tx:
        write_states(tx, state("a", b"1"), state("a", b"2", "Lead"))
        write_states(tx, state("a", b"3", "Lead"))
        assert tx.states("Contact", ["a"]) == [State("a", b"1")]
        assert tx.states("Lead", ["a"]) == [State("a", b"3")]


def test_a_row_without_its_key_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="no id"):
        write(store, [{"Id": "a"}, {"Email": "a@example.com"}])


def test_a_field_that_is_cleared_becomes_null(store: Store) -> None:
    write(store, [{"Id": "a", "Email": "a@example.com", "Amount": 5, "IsDeleted": True}])
    write(store, [{"Id": "a", "Email": None}])
    assert read(store) == [{"id": "a", "email": None, "accountid": None, "amount": None, "is_deleted": None}]


def test_null_and_the_text_null_and_the_empty_text_stay_apart(store: Store) -> None:
    write(store, [{"Id": "a", "Email": None}, {"Id": "b", "Email": "null"}, {"Id": "c", "Email": ""}])
    assert [row["email"] for row in read(store)] == [None, "null", ""]


@pytest.mark.parametrize(
    "text",
    [
        "😀 Žluťoučký 馬",
        'it\'s "quoted" \\ ; --',
        "two\nlines\ttab",
        "\r\n",
        "\\N",
        "\\.",
        '"',
        ",",
        " ",
        "x" * 200_000,
    ],
)
def test_text_comes_back_as_it_was(store: Store, text: str) -> None:
    write(store, [{"Id": "a", "Email": text}])
    assert read(store)[0]["email"] == text


def test_the_character_nul_is_kept_or_is_a_misfit(store: Store) -> None:
    misfit = misfit_of(store, [{"Id": "a", "Email": "x"}, {"Id": "b", "Email": "a\x00b"}])
    if misfit is None:
        assert read(store)[1]["email"] == "a\x00b"
    else:
        assert (misfit.table, misfit.column, misfit.rows) == (CONTACT, "email", (1,))
        with pytest.raises(UsageError):
            read(store)


@pytest.mark.parametrize(
    "amount",
    [Decimal("12345678901234567.89"), 0.1, 1e-7, 1.395e8, -0.01, 0, 2**62, 1e22, Decimal("0.1234567890123456789"), Decimal("9" * 36)],
)  # fmt: skip
def test_an_amount_keeps_every_digit(store: Store, amount: float | Decimal) -> None:
    write(store, [{"Id": "a", "Amount": amount}])
    assert read(store)[0]["amount"] == (Decimal(repr(amount)) if isinstance(amount, float) else amount)


def test_amounts_of_different_widths_keep_every_digit_together(store: Store) -> None:
    amounts = [Decimal("12345678901234567.89"), 0.1, 1e-7, 3, None]
    write(store, [{"Id": "a", "Amount": 1.25}])
    write(store, [{"Id": f"b{place}", "Amount": amount} for place, amount in enumerate(amounts)])
    found = [row["amount"] for row in read(store)]
    assert found == [Decimal("1.25"), Decimal("12345678901234567.89"), Decimal("0.1"), Decimal("1E-7"), 3, None]
    assert read(store, f"SELECT sum(amount) = 12345678901234572.2400001 AS exact FROM {CONTACT}") == [{"exact": True}]


def test_a_column_widens_in_the_middle_of_a_transaction_that_has_written_it(store: Store) -> None:
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, PEOPLE)
        tx.append(CONTACT, PEOPLE, [{"Id": "a", "Amount": 1.25}])
        tx.upsert(CONTACT, ("id",), PEOPLE, [{"Id": "b", "Amount": 0.12345}])
        tx.upsert(CONTACT, ("id",), PEOPLE, [{"Id": "b", "Amount": 0.1234567}, {"Id": "c", "Amount": 10**20}])
        tx.ensure_columns(CONTACT, [Column("amount", DECIMAL, 30, 9)])
        tx.append(CONTACT, PEOPLE, [{"Id": "d", "Amount": 1e-9}])
    amounts = [Decimal("1.25"), Decimal("0.1234567"), Decimal(10**20), Decimal("1E-9")]
    assert [row["amount"] for row in read(store)] == amounts


def test_a_wide_type_does_not_hinder_small_numbers_with_many_decimals(store: Store) -> None:
    write(store, [{"Id": "a", "Amount": 5}], [PEOPLE[0], Column("amount", DECIMAL, 38, 2, source="Amount")])
    write(store, [{"Id": "b", "Amount": 1e-30}])
    write(store, [{"Id": "c", "Amount": 12345678}])
    assert [row["amount"] for row in read(store)] == [5, Decimal("1E-30"), 12345678]


def test_a_number_that_has_no_room_beside_the_others_is_a_misfit_and_never_rounded(store: Store) -> None:
    write(store, [{"Id": "a", "Amount": 1e-30}])
    misfit = misfit_of(store, [{"Id": "b", "Amount": 7}, {"Id": "c", "Amount": 1e12}, {"Id": "d", "Amount": 8}])
    if misfit is None:
        assert [row["amount"] for row in read(store)] == [Decimal("1E-30"), 7, 10**12, 8]
    else:
        assert (misfit.table, misfit.column, misfit.rows) == (CONTACT, "amount", (1,))
        assert [row["id"] for row in read(store)] == ["a"]


def test_new_columns_are_added_and_old_rows_have_null_there(store: Store) -> None:
    write(store, [{"Id": "a"}])
    title = Column("title", TEXT, source="Title")
    write(store, [{"Id": "b", "Title": "CTO"}], [*PEOPLE, title])
    assert [row["title"] for row in read(store)] == [None, "CTO"]
    assert read(store, f"SELECT * FROM {CONTACT} WHERE title IS NULL")[0]["id"] == "a"


def test_a_column_that_is_there_is_never_retyped(store: Store) -> None:
    write(store, [{"Id": "a", "Email": "007"}])
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, [Column("email", ColumnType.INTEGER), Column("AMOUNT", DECIMAL, 10, 1)])
    assert read(store)[0]["email"] == "007"


def test_names_of_columns_may_be_words_of_sql_and_hold_quotes(store: Store) -> None:
    columns = [Column(name, TEXT) for name in ("id", "select", 'a"b', "with space", "Ünïcode", "group", "order")]
    row = {c.name: f"<{c.name}>" for c in columns}
    for _ in range(2):
        write(store, [row], columns)
    assert read(store) == [row]


def test_three_hundred_columns_are_created_filled_and_widened(store: Store) -> None:
    columns = [PEOPLE[0], *(Column(f"n{i}", DECIMAL if i % 2 else TEXT) for i in range(300))]
    write(store, [], columns[:150])
    rows = [{"Id": f"r{r}", **{f"n{i}": r + 0.125 if i % 2 else f"{r}/{i}" for i in range(300)}} for r in range(20)]
    write(store, rows, columns)
    found = read(store, f"SELECT * FROM {CONTACT} WHERE id = 'r7'")[0]
    assert (found["n299"], found["n298"], len(found)) == (Decimal("7.125"), "7/298", 301)


def test_two_thousand_rows_are_replaced_among_twenty_thousand_of_a_hundred_columns(store: Store) -> None:
    columns = [PEOPLE[0], *(Column(f"n{i}", DECIMAL if i % 4 == 0 else TEXT) for i in range(99))]

    def rows(ids: range, mark: int) -> list[dict[str, Any]]:
        return [{"Id": f"{i:06}", **{f"n{c}": mark if c % 4 == 0 else f"{mark}" for c in range(99)}} for i in ids]

    write(store, rows(range(20_000), 1), columns)
    write(store, rows(range(19_000, 21_000), 2), columns)
    counted = read(store, f"SELECT n98, count(*) AS n, sum(n96) AS s FROM {CONTACT} GROUP BY 1 ORDER BY 1")
    assert counted == [{"n98": "1", "n": 19_000, "s": 19_000}, {"n98": "2", "n": 2_000, "s": 4_000}]


def test_rows_are_updated_and_deleted_by_key(store: Store) -> None:
    write(store, [{"Id": i, "AccountId": a} for i, a in (("a", "1"), ("b", "1"), ("c", "2"), ("d", "3"))])
    with store.transaction() as tx:
        tx.update(CONTACT, "accountid", "email", {"1": "one@example.com", "3": None, "9": "nobody"})
        tx.delete(CONTACT, "id", ["d", "x"])
        tx.delete(CONTACT, "id", [])
        tx.update(CONTACT, "id", "email", {})
    emails = [(row["id"], row["email"]) for row in read(store)]
    assert emails == [("a", "one@example.com"), ("b", "one@example.com"), ("c", None)]


def test_an_error_leaves_nothing_of_the_whole_batch(store: Store) -> None:
    write(store, [{"Id": "a", "Amount": 1}])

    def batch() -> None:
        with store.transaction() as tx:
            tx.ensure_columns(CONTACT, [Column("title", TEXT)])
            tx.ensure_columns("salesforce.lead", PEOPLE)
            tx.upsert(CONTACT, ("id",), PEOPLE, [{"Id": "a", "Amount": 0.12345}, {"Id": "b"}])
            tx.ensure_view("an_event", f"SELECT * FROM {CONTACT}")
            write_states(tx, state("a"))
            raise KeyError("broken in the middle")

    for _ in range(2):
        with pytest.raises(KeyError):
            batch()
    assert read(store) == [{"id": "a", "email": None, "accountid": None, "amount": 1, "is_deleted": None}]
    for gone in ("salesforce.lead", "an_event"):
        with pytest.raises(UsageError):
            store.query(f"SELECT * FROM {gone}")
    write(store, [{"Id": "b", "Amount": 0.123456}])
    with store.transaction() as tx:
        assert tx.known_ids("Contact", limit=9) == []
        tx.ensure_columns("salesforce.lead", PEOPLE)
        tx.ensure_view("an_event", f"SELECT id FROM {CONTACT}")
    assert read(store, "SELECT * FROM an_event ORDER BY 1") == [{"id": "a"}, {"id": "b"}]


def test_a_value_of_the_wrong_kind_is_a_misfit_that_names_column_and_rows_but_not_the_value(store: Store) -> None:
    with pytest.raises(Misfit) as caught:
        write(store, [{"Id": "a", "Amount": 1}, {"Id": "b", "Amount": "secret"}, {"Id": "c", "Amount": "secret"}])
    misfit = caught.value
    assert (misfit.table, misfit.column, misfit.rows) == (CONTACT, "amount", (1, 2))
    assert misfit.reason == "text instead of a number"
    assert "secret" not in str(misfit)


def test_a_text_column_takes_any_value_in_a_plain_form(store: Store) -> None:
    values = [True, 7, 1.395e8, Decimal("0.10"), {"a": [1]}, "x"]
    write(store, [{"Id": f"{i}", "Email": v} for i, v in enumerate(values)])
    assert [row["email"] for row in read(store)] == ["true", "7", "139500000", "0.1", '{"a":[1]}', "x"]


def test_times_and_dates_come_back_in_utc(store: Store) -> None:
    columns = [PEOPLE[0], Column("at", ColumnType.TIMESTAMP), Column("day", ColumnType.DATE)]
    stamps = ["2024-01-22T16:26:15.000+0000", "2024-01-22T16:26:15.25Z", "2024-01-22T01:00:00+02:00", None]
    write(store, [{"Id": f"{i}", "at": at, "day": "2024-02-29"} for i, at in enumerate(stamps)], columns)
    found = read(store)
    assert [r["at"] for r in found] == ["2024-01-22T16:26:15Z", "2024-01-22T16:26:15.25Z", "2024-01-21T23:00:00Z", None]
    assert found[0]["day"] == "2024-02-29"


def test_json_is_queryable_and_kept_to_the_letter(store: Store) -> None:
    body = b'{"changes":[{"field":"Title","new":"\xc3\xa9"}],"amount":12345678901234567.89}'
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "e", "properties": body}])
    sql = "SELECT properties->'changes'->0->>'new' AS new FROM events"
    assert read(store, store.compiled(sql)) == [{"new": "é"}]
    with store.transaction() as tx:
        assert tx.rows("SELECT properties FROM events") == [{"properties": body.decode()}]


def test_reads_in_a_transaction_see_its_own_writes_and_nobody_else_does(store: Store) -> None:
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, PEOPLE)
        tx.upsert(CONTACT, ("id",), PEOPLE, [{"Id": "a", "AccountId": "1", "Email": "  A@Example.com "}])
        write_states(tx, state("a", b'{"v":1}'))
        write_states(tx, state("a", '{"v":"é"}'.encode()), state("b", b"{}", "Lead"))
        assert tx.states("Contact", ["a", "zz", "a"]) == [State("a", '{"v":"é"}'.encode())]
        assert [f["Id"] for f in tx.facts("Contact", {"AccountId": ["1", "2"]}, ())] == ["a"]
        assert [f["Id"] for f in tx.facts("Contact", {"Email": ["a@example.com"]}, ())] == ["a"]
        assert tx.rows("SELECT count(*) AS n FROM headrace.states") == [{"n": 2}]
        assert read(store, "SELECT count(*) AS n FROM headrace.states") == [{"n": 0}]
    assert read(store, "SELECT count(*) AS n FROM headrace.states") == [{"n": 2}]


def test_states_are_found_by_id_and_facts_by_any_of_several_fields(store: Store) -> None:
    people = [("a", "1", "x@example.com"), ("b", "1", None), ("c", "2", "X@EXAMPLE.COM"), ("d", None, "y@example.com")]
    write(store, [{"Id": i, "AccountId": a, "Email": e} for i, a, e in people])
    with store.transaction() as tx:
        write_states(tx, *(state(i, i.encode()) for i, _, _ in people), state("a", b"lead", "Lead"))

        def ids(found: list[State]) -> list[str]:
            return sorted(one.record_id for one in found)

        assert ids(tx.states("Contact", iter(["d", "a", "nobody"]))) == ["a", "d"]
        assert tx.states("Contact", []) == []

        def found(**any_of: list[str]) -> list[str]:
            return sorted(f["Id"] for f in tx.facts("Contact", any_of, ("AccountId",)))

        assert found(AccountId=["1", "9"]) == ["a", "b"]
        assert found(Id=["c"]) == ["c"]
        assert found(Email=["x@example.com"]) == ["a", "c"]
        assert found(Id=["d", "a"], Email=["x@example.com"], AccountId=[]) == ["a", "c", "d"]
        assert found(Id=[], Email=[]) == []
        assert [record_id for record_id, _ in tx.known_ids("Contact", limit=9)] == ["a", "b", "c", "d"]


def test_a_field_or_an_object_without_a_column_finds_nothing(store: Store) -> None:
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, [PEOPLE[0]])
        write_states(tx, state("a"))
        tx.upsert(CONTACT, ("id",), [PEOPLE[0]], [{"Id": "a"}])
        assert tx.facts("Contact", {"Unheard_Of__c": ["1"], "Email": ["x@example.com"]}, ()) == []
        assert tx.facts("Nothing__c", {"Id": ["a"]}, ()) == []
        [fact] = tx.facts("Contact", {"Id": ["a"]}, ("Email", "Unheard_Of__c"))
        assert (fact["Id"], fact["is_deleted"], fact.get("Email"), fact.get("Unheard_Of__c")) == (
            "a",
            False,
            None,
            None,
        )


SHAPE = Shape(
    {"Contact": frozenset({"id", "title", "score"})},
    {"Contact": Part([("title", "sfdc_contact_title"), ("score", "sfdc_contact_score")])},
)
RAW = [
    PEOPLE[0],
    Column("title", TEXT),
    Column("score", DECIMAL, 18, 2),
    Column("systemmodstamp", ColumnType.TIMESTAMP),
]
WIDE = [*tables.USERS, Column("sfdc_contact_title", TEXT), Column("sfdc_contact_score", DECIMAL), *tables.ROLL_UPS]


def person(user_id: str, contact_id: str | None) -> dict[str, Any]:
    return {"user_id": user_id, "contact_id": contact_id, "is_deleted": False, "updated_at": "2026-01-01T00:00:00Z"}


def test_users_are_copied_from_the_raw_tables_and_only_rows_that_differ_are_written(store: Store) -> None:
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, RAW)
        tx.ensure_columns("users", WIDE)
        tx.append(CONTACT, RAW, [{"id": i, "Id": i, "title": t} for i, t in (("a", "CEO"), ("b", "CFO"))])
        tx.upsert(
            "headrace.people", ("user_id",), tables.PEOPLE, [person("a", "a"), person("b", "b"), person("c", None)]
        )
        assert tx.project_users(SHAPE, ["a", "b", "c"]) == 3
        assert tx.project_users(SHAPE, ["a", "b", "c", "nobody"], only_differing=True) == 0
        tx.upsert(CONTACT, ("id",), RAW, [{"Id": "a", "title": None, "score": Decimal("1.23456")}])
        tx.delete("headrace.people", "user_id", ["b"])
        assert tx.project_users(SHAPE, ["a", "b", "c"], only_differing=True) == 2
    found = read(
        store, "SELECT user_id, sfdc_contact_title AS title, sfdc_contact_score AS score FROM users ORDER BY 1"
    )
    assert found == [
        {"user_id": "a", "title": None, "score": Decimal("1.23456")},
        {"user_id": "c", "title": None, "score": None},
    ]


def test_rows_older_than_a_time_are_forgotten(store: Store) -> None:
    with store.transaction() as tx:
        at = [("old", "2026-01-01T00:00:00Z"), ("new", "2026-02-01T00:00:00Z")]
        tx.append("captures", tables.CAPTURES, [{"capture_id": i, "stored_at": t} for i, t in at])
        tx.forget_before("captures", "stored_at", "2026-01-15T00:00:00Z")
        assert tx.rows("SELECT capture_id FROM captures") == [{"capture_id": "new"}]


def test_nothing_is_known_of_an_object_never_seen(store: Store) -> None:
    with store.transaction() as tx:
        assert tx.known_ids("Nothing__c", limit=9) == []


def test_known_ids_come_in_the_order_of_their_characters_some_at_a_time(store: Store) -> None:
    ids = ["003Z", "003a", "0030", "003A", "003_"]
    with store.transaction() as tx:
        write_states(tx, *[{**state(i), "is_deleted": i == "003A"} for i in ids], state("003B", object_name="Lead"))
    with store.reading() as reading:
        assert reading.known_ids("Contact", limit=3) == [("0030", False), ("003A", True), ("003Z", False)]
        assert reading.known_ids("Contact", after="003Z", limit=3) == [("003_", False), ("003a", False)]
        assert reading.known_ids("Contact", after="003a", limit=3) == []


def test_reading_sees_every_commit_and_waits_for_no_transaction(store: Store) -> None:
    with store.reading() as reading:
        assert reading.states("Contact", ["a"]) == []
        with store.transaction() as tx:
            write_states(tx, state("a", b"1"))
            assert reading.states("Contact", ["a"]) == []
        assert reading.states("Contact", ["a", "b"]) == [State("a", b"1")]
        assert reading.rows("SELECT record_id FROM headrace.states WHERE object = ?", ["Contact"]) == [
            {"record_id": "a"}
        ]


def test_reading_that_fails_is_told_in_a_sentence_and_leaves_the_store_usable(store: Store) -> None:
    with pytest.raises(RunError, match=r"^The store could not be read: .*nowhere"), store.reading() as reading:
        reading.rows("SELECT * FROM nowhere")
    with store.reading() as reading:
        assert reading.known_ids("Contact", limit=1) == []


def test_rows_takes_parameters_and_lists(store: Store) -> None:
    write(store, [{"Id": "a", "Amount": 1.5}, {"Id": "b"}, {"Id": "c'"}])
    with store.transaction() as tx:
        sql = f"SELECT id, amount FROM {CONTACT} WHERE id = any(?) AND id <> ? ORDER BY id"
        assert tx.rows(sql, [["a", "c'", "x"], "b"]) == [
            {"id": "a", "amount": Decimal("1.50")},
            {"id": "c'", "amount": None},
        ]
        assert tx.rows(sql, [[], "b"]) == []


def test_what_rows_returns_can_be_written_back(store: Store) -> None:
    stay = {
        "record_id": "r",
        "alias": "003",
        "kind": "account",
        "target_id": "001",
        "since": "2024-01-22T16:26:15Z",
        "until": None,
    }
    with store.transaction() as tx:
        tx.append("headrace.memberships", tables.MEMBERSHIPS, [stay])
        before = tx.rows("SELECT * FROM headrace.memberships")
        tx.upsert("headrace.memberships", ("record_id", "since"), tables.MEMBERSHIPS, before)
        assert tx.rows("SELECT * FROM headrace.memberships") == before == [stay]


def test_a_view_per_event_name_shows_its_events(store: Store) -> None:
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, [{"event_id": "1", "name": "Sign Up"}, {"event_id": "2", "name": "Other"}])
        tx.ensure_view("sign_up", "SELECT * FROM events WHERE name = 'Sign Up'")
        tx.ensure_view("sign_up", "SELECT * FROM events WHERE name = 'Sign Up'")
        tx.append("events", tables.EVENTS, [{"event_id": "3", "name": "Sign Up"}])
    assert [r["event_id"] for r in read(store, "SELECT * FROM sign_up ORDER BY 1")] == ["1", "3"]
    with store.transaction() as tx:
        tx.ensure_view("sign_up", "SELECT event_id AS e FROM events WHERE name = 'Other'")
    assert read(store, "SELECT * FROM sign_up") == [{"e": "2"}]


@pytest.mark.parametrize("name", ["users", "Events", "user_events", "salesforce.contact"])
def test_a_view_can_not_take_the_name_of_a_table(store: Store, name: str) -> None:
    write(store, [{"Id": "a"}])
    with pytest.raises(ValueError, match="name of a table"), store.transaction() as tx:
        tx.ensure_view(name, "SELECT 1 AS x")


def test_the_users_table_takes_properties_beside_its_fixed_columns(store: Store) -> None:
    columns = [*tables.USERS, Column("sfdc_account_arr", DECIMAL), *tables.ROLL_UPS]
    row = {"user_id": "u", "sfdc_account_arr": 139_500.5, "sfdc_opportunity_count": 2, "is_deleted": False}
    with store.transaction() as tx:
        tx.ensure_columns("users", columns)
        tx.upsert("users", ("user_id",), columns, [row])
    sql = "SELECT user_id, sfdc_account_arr, sfdc_opportunity_count, is_deleted FROM users"
    assert read(store, sql) == [row | {"sfdc_account_arr": Decimal("139500.50")}]
