"""Random lives of contacts, leads and accounts, held against their captures at every moment of theirs."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batches import FIRST, Stream, flattener, record
from known_then import Oracle, at_moments

from consumers.batch import Entry
from integration.store.answers import ask
from integration.store.duckdb.store import DuckDBStore
from integration.store.then import users_as_of
from integration.wiring.as_of import asked

pytestmark = pytest.mark.slow_on("clickhouse")

PEOPLE, ACCOUNTS, EDITS = 14, 4, 90
LATEST = "2031-01-01T00:00:00Z"


class World:
    """Records that live at random: edited, moved, merged, converted, deleted and restored."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._stream = Stream()
        self._second = 0
        self._fields: dict[tuple[str, int], dict[str, Any]] = {}

    def begun(self) -> Iterator[Entry]:
        """Give everybody as they are first seen."""
        for number in range(1, ACCOUNTS + 1):
            yield self._shown("Account", number, Name=f"A{number}", Industry=None, ARR__c=number)
        for number in range(1, PEOPLE + 1):
            account = record("Account", self._random.randint(1, ACCOUNTS))
            yield self._shown("Contact", number, Name=f"C{number}", Email=self._email(), AccountId=account, Title=None)
            yield self._shown("Lead", number, Email=self._email(), Company="L", IsConverted=False, Visits__c=number)

    def lived(self) -> Iterator[Entry]:
        """Give what happens then, each a new version of a record."""
        for _ in range(EDITS):
            name = self._random.choice(("Account", "Contact", "Contact", "Lead"))
            number = self._random.randint(1, ACCOUNTS if name == "Account" else PEOPLE)
            fields = self._fields[name, number]
            if fields["IsDeleted"]:
                yield self._shown(name, number, IsDeleted=False, MasterRecordId=None)
            elif name != "Account" and self._random.random() < 0.25:
                yield self._shown(name, number, IsDeleted=True, MasterRecordId=self._winner(name, number))
            elif name == "Lead" and not fields["IsConverted"] and self._random.random() < 0.5:
                contact, account = self._random.randint(1, PEOPLE), self._random.randint(1, ACCOUNTS)
                ends = {
                    "ConvertedContactId": record("Contact", contact),
                    "ConvertedAccountId": record("Account", account),
                }
                yield self._shown(name, number, IsConverted=True, **ends)
            else:
                yield self._shown(name, number, **self._edit(name))

    def _edit(self, name: str) -> dict[str, Any]:
        some = self._random.randint(0, 2)
        if name == "Account":
            return self._random.choice([{"Industry": f"I{some}"}, {"ARR__c": some / 8}, {"Name": None}])
        if name == "Lead":
            return self._random.choice([{"Visits__c": some}, {"Email": self._email()}])
        account = self._random.choice([None, record("Account", self._random.randint(1, ACCOUNTS))])
        return self._random.choice([{"Title": f"T{some}"}, {"AccountId": account}, {"Email": self._email()}])

    def _winner(self, name: str, number: int) -> str | None:
        other = self._random.randint(1, PEOPLE)
        return record(name, other) if other != number and self._random.random() < 0.5 else None

    def _email(self) -> str | None:
        return self._random.choice([None, *(f"p{n}@example.com" for n in range(6))])

    def _shown(self, name: str, number: int, **fields: Any) -> Entry:
        self._second += self._random.randint(1, 3)
        known = {"IsDeleted": False, "MasterRecordId": None, **self._fields.get((name, number), {}), **fields}
        self._fields[name, number] = known
        minute, second = divmod(self._second, 60)
        return self._stream.entry(FIRST, name, number, f"02-10T10:{minute:02d}:{second:02d}", **known)


@pytest.mark.parametrize("seed", range(4))
def test_a_random_past_is_what_its_captures_show_at_every_moment(seed: int, tmp_path: Path) -> None:
    world = World(seed)
    store = DuckDBStore(tmp_path / "headrace.duckdb", threads=1)
    flattening = flattener(store)
    flattening.apply([*world.begun()])
    lived = [*world.lived()]
    for begin in range(0, EDITS, 30):
        assert flattening.apply(lived[begin : begin + 30]).rejects == []
    oracle = Oracle(store)
    moments = oracle.moments()
    records = at_moments(ask(store, "SELECT * FROM user_records"), moments)
    told = at_moments(ask(store, "SELECT * FROM user_values"), moments)
    for at in moments:
        found: dict[str, dict[str, str]] = {}
        for row in records[at]:
            assert found.setdefault(row["user_id"], {}).setdefault(row["object"], row["record_id"]) == row["record_id"]
        assert found == oracle.records_of(at), at
        known = {(r["user_id"], r["property"]): r["value"] for r in told[at]}
        assert len(known) == len(told[at]), at
        assert known == {(u, p): v for u, values in oracle.of_people(at).items() for p, v in values.items()}, at
    users = {row["user_id"]: row for row in ask(store, "SELECT * FROM users")}
    now = ask(store, users_as_of(LATEST, asked(store)))
    assert now == [{name: users[user_id][name] for name in now[0]} for user_id in sorted(users)]
    store.close()
