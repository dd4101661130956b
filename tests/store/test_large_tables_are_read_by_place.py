"""Rows of large tables are held back and read by their places: nobody who reads sees any of it."""

import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from integration.core.columns import Column, ColumnType
from integration.store import tables
from integration.store.duckdb.held import only_table_of
from integration.store.duckdb.store import DuckDBStore
from integration.store.protocol import Transaction

CONTACT = "salesforce.contact"
NARROW = (Column("id", ColumnType.TEXT), Column("email", ColumnType.TEXT), Column("amount", ColumnType.DECIMAL))
WIDE = (*NARROW, Column("masterrecordid", ColumnType.TEXT), Column("accountid", ColumnType.TEXT))
TABLES = (CONTACT, "headrace.states", "headrace.people", "headrace.meta")
VERSION = "2026-03-01T00:00:00Z"

Step = Callable[[Transaction], Any]


class Dice:
    """Makes steps of transactions, and what is read between them."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def steps(self) -> Iterator[Step]:
        for _ in range(self._dice.randint(1, 9)):
            yield self._dice.choice([
                self._contacts, self._contacts, self._states, self._states, self._people, self._delete, self._equal,
                self._read_states, self._read_facts, self._read_facts, self._read_rows, self._read_rows,
            ])()  # fmt: skip

    def commits(self) -> bool:
        return self._dice.random() < 0.7

    def _ids(self, most: int = 4) -> list[str]:
        return [f"c{n}" for n in self._dice.sample(range(9), self._dice.randint(1, most))]

    def _contacts(self) -> Step:
        columns = self._dice.choice([NARROW, WIDE])
        emails = [
            None,
            "",
            "A@Example.com",
            " a@example.com",
            "b@example.com\u00a0",
            "\tB@example.com",
            "é@example.com",
        ]
        rows = [
            {
                "id": one,
                "email": self._dice.choice(emails),
                "amount": self._dice.choice([None, 1, 10**12, Decimal("0.125")]),
                "masterrecordid": self._dice.choice([None, "c1"]),
                "accountid": self._dice.choice([None, "a1"]),
            }
            for one in self._ids()
        ]
        fresh = self._dice.random() < 0.2

        def step(tx: Transaction) -> None:
            tx.ensure_columns(CONTACT, columns)
            if fresh:  # as of records that the store does not know
                tx.delete(CONTACT, "id", [row["id"] for row in rows])
                tx.append(CONTACT, columns, rows)
            else:
                tx.upsert(CONTACT, ("id",), columns, rows)

        return step

    def _states(self) -> Step:
        rows = [
            {
                "object": self._dice.choice(["Contact", "Contact", "Lead"]),
                "record_id": one,
                "version": VERSION,
                "is_deleted": self._dice.random() < 0.3,
                "schema_id": "s",
                "payload": f'{{"n":{self._dice.randint(1, 99)}}}'.encode(),
            }
            for one in self._ids()
        ]
        return lambda tx: tx.upsert("headrace.states", ("object", "record_id"), tables.STATES, rows)

    def _people(self) -> Step:
        rows = [{"user_id": one, "account_id": self._dice.choice([None, "a1"])} for one in self._ids()]
        return lambda tx: tx.upsert("headrace.people", ("user_id",), tables.PEOPLE, rows)

    def _delete(self) -> Step:
        table, column = self._dice.choice([("headrace.people", "user_id"), ("headrace.states", "record_id")])
        ids = self._ids()
        return lambda tx: tx.delete(table, column, ids)

    def _equal(self) -> Step:
        keys = self._ids()
        rows = [{"user_id": one, "email": self._dice.choice([None, "x"])} for one in keys[:2]]
        return lambda tx: sorted(tx.make_equal("headrace.people", "user_id", keys, tables.PEOPLE, rows))

    def _read_states(self) -> Step:
        name, ids = self._dice.choice(["Contact", "Lead"]), self._ids(9)
        if self._dice.random() < 0.3:
            return lambda tx: tx.known_ids(name, limit=99)
        return lambda tx: sorted(tx.states(name, ids))

    def _read_facts(self) -> Step:
        ways = {
            "Id": self._ids(),
            "MasterRecordId": ["c1"],
            "AccountId": ["a1"],
            "Email": ["a@example.com", "b@example.com"],
            "Nothing__c": ["x"],
        }
        some = {name: ways[name] for name in self._dice.sample(sorted(ways), self._dice.randint(1, 4))}
        fields = self._dice.sample(["Email", "Amount", "AccountId", "Nothing__c"], 2)
        return lambda tx: sorted(repr(sorted(row.items())) for row in tx.facts("Contact", some, fields))

    def _read_rows(self) -> Step:
        sql = self._dice.choice([
            "SELECT user_id FROM headrace.people WHERE account_id = 'a1'",
            "SELECT count(*) AS n FROM headrace.states",
            "SELECT p.user_id, s.payload FROM headrace.people AS p JOIN headrace.states AS s ON s.record_id = p.user_id",
            "SELECT value FROM headrace.meta WHERE key = 'schema_version'",
            "SELECT (SELECT count(*) FROM headrace.people) AS n",
        ])  # fmt: skip
        return lambda tx: sorted(repr(row) for row in tx.rows(sql))


class RolledBackError(Exception):
    """The transaction is to be undone."""


def lived(path: Path, seed: int) -> list[Any]:
    """Return what was read in a random life of a store, and what is in its tables at the end of each transaction."""
    dice, read = Dice(seed), []
    store = DuckDBStore(path, threads=2)
    with store.transaction() as tx:
        tx.ensure_columns(CONTACT, NARROW)
    for _ in range(12):
        commits, steps = dice.commits(), list(dice.steps())
        try:
            with store.transaction() as tx:
                read += [step(tx) for step in steps]
                if not commits:
                    raise RolledBackError
        except RolledBackError:
            pass
        read += [store.query(f"SELECT * FROM {table} ORDER BY ALL").to_pylist() for table in TABLES]
    store.close()
    return read


@pytest.mark.parametrize("seed", range(25))
def test_a_large_table_answers_as_a_small_one(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = lived(tmp_path / "small.duckdb", seed)
    monkeypatch.setattr("integration.store.duckdb.held._LARGE", 0)
    assert lived(tmp_path / "large.duckdb", seed) == expected


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("SELECT alias FROM identities WHERE user_id = any(?) AND kind <> 'email'", "identities"),
        ("SELECT * FROM headrace.people WHERE user_id = any(?)", "headrace.people"),
        ("SELECT id FROM salesforce.contact", "salesforce.contact"),
        ("SELECT * FROM accounts WHERE account_id = any(?)", None),
        ("SELECT * FROM headrace.people, headrace.states WHERE true", None),
        ("SELECT alias FROM identities WHERE user_id IN (SELECT user_id FROM headrace.people)", None),
        ("SELECT count(*) AS n FROM headrace.people", None),
        ("WITH p AS (SELECT * FROM headrace.people) SELECT * FROM p", None),
        ("SELECT user_id FROM identities JOIN headrace.people USING (user_id) WHERE true", None),
    ],
)
def test_a_statement_that_may_read_more_than_one_table_is_not_taken_for_one_that_does_not(
    sql: str, table: str | None
) -> None:
    assert only_table_of(sql) == table
