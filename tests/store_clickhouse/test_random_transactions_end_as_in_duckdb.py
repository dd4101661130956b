"""The same transactions, some of them broken off or killed, give the same tables on ClickHouse as on DuckDB."""

import contextlib
import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from chdb_engine import Engine

from integration.core.columns import Column, ColumnType
from integration.store import tables
from integration.store.clickhouse.connecting import Session
from integration.store.clickhouse.store import ClickHouseStore
from integration.store.duckdb.store import DuckDBStore
from integration.store.protocol import Transaction

CONTACT = "salesforce.contact"
WIDTHS = [
    (Column("id", ColumnType.TEXT), Column("amount", ColumnType.DECIMAL), Column("email", ColumnType.TEXT)),
    (Column("id", ColumnType.TEXT), Column("amount", ColumnType.DECIMAL, 24, 6), Column("at", ColumnType.TIMESTAMP)),
]
LOG = tuple(c for c in tables.SCHEMA_LOG if c.name in ("at", "object", "field"))
READ = ("salesforce.contact", "events", "changes", "identities", "headrace.meta", "schema_log", "headrace.memberships")

Step = Callable[[Transaction], Any]


class BrokenOffError(Exception):
    """The transaction is to be rolled back."""


class KilledError(BaseException):
    """The process is no more."""


class Chance:
    """Makes steps of transactions; each step is the same for every store it is run on."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._number = 0

    def transaction(self) -> list[Step]:
        return [self._dice.choice(self._kinds())() for _ in range(self._dice.randint(1, 6))]

    def outcome(self) -> str:
        return self._dice.choices(["commit", "break off", "kill"], [6, 2, 2])[0]

    def death(self) -> int:
        return self._dice.randint(1, 12)

    def _kinds(self) -> list[Callable[[], Step]]:
        return [
            self._contacts,
            self._events,
            self._people,
            self._delete,
            self._equal,
            self._meta,
            self._log,
            self._stays,
        ]

    def _ids(self, prefix: str, most: int = 4) -> list[str]:
        return [f"{prefix}{n}" for n in self._dice.sample(range(8), self._dice.randint(1, most))]

    def _maybe(self, *values: Any) -> Any:
        return self._dice.choice([None, "", "null", *values])

    def _contacts(self) -> Step:
        columns = self._dice.choice(WIDTHS)
        amounts = [None, 1, Decimal("12.5"), Decimal("0.123"), 10**9, Decimal("-3.1415926")]
        rows = [
            {"id": i, "amount": self._dice.choice(amounts), "email": self._maybe("x@example.com"), "at": self._time()}
            for i in [*self._ids("c"), *self._ids("c", 1)]
        ]

        def step(tx: Transaction) -> None:
            tx.ensure_columns(CONTACT, columns)
            tx.upsert(CONTACT, ("id",), columns, rows)

        return step

    def _events(self) -> Step:
        self._number += 1
        mine = [f"e{self._number}-{n}" for n in range(self._dice.randint(1, 3))]
        events = [{"event_id": e, "name": "X", "alias": self._dice.choice("abc"), "time": self._time()} for e in mine]
        changes = [{"event_id": e, "field": f, "new_value": self._maybe("1")} for e in mine for f in ("F", None)]

        def step(tx: Transaction) -> None:
            tx.append("events", tables.EVENTS, events)
            tx.append("changes", tables.CHANGES, changes)

        return step

    def _people(self) -> Step:
        moved = {alias: self._maybe("u1", "u2") for alias in self._dice.sample("abc", 2)}

        def step(tx: Transaction) -> None:
            tx.update("events", "alias", "user_id", moved)
            rows = [{"alias": a, "kind": "email", "user_id": u} for a, u in moved.items()]
            tx.upsert("identities", ("alias",), tables.IDENTITIES, rows)

        return step

    def _delete(self) -> Step:
        table, column, values = self._dice.choice(
            [
                (CONTACT, "id", self._ids("c")),
                ("events", "alias", ["a"]),
                ("identities", "alias", ["b", "zz"]),
                ("schema_log", "object", ["Contact"]),
            ]
        )

        def step(tx: Transaction) -> None:
            if table == CONTACT:
                tx.ensure_columns(CONTACT, WIDTHS[0])
            tx.delete(table, column, values)

        return step

    def _equal(self) -> Step:
        keys = ["never", *(f"e{n}-0" for n in range(1, self._number + 1))][-3:]
        rows = [{"event_id": k, "field": self._maybe("F", "G"), "new_value": self._maybe("2")} for k in keys[:2]]
        return lambda tx: (
            tx.differing("changes", "event_id", keys, tables.CHANGES, rows),
            tx.make_equal("changes", "event_id", keys, tables.CHANGES, rows),
        )

    def _meta(self) -> Step:
        rows = [{"key": k, "value": self._maybe("v", "w")} for k in self._ids("m")]
        return lambda tx: tx.upsert("headrace.meta", ("key",), tables.META, rows)

    def _log(self) -> Step:
        rows = [{"at": self._time(), "object": self._maybe("Contact"), "field": f} for f in self._ids("f")]
        before = self._time() or "2026-01-01T00:00:00Z"

        def step(tx: Transaction) -> None:
            tx.append("schema_log", LOG, [*rows, rows[0]])
            tx.forget_before("schema_log", "at", before)

        return step

    def _stays(self) -> Step:
        ids = self._ids("r")
        rows = [{"record_id": i, "alias": "a", "since": self._time(), "until": self._time()} for i in ids]
        return lambda tx: tx.make_equal("headrace.memberships", "record_id", ids, tables.MEMBERSHIPS, rows)

    def _time(self) -> str | None:
        return self._dice.choice([None, *(f"2026-01-{day:02}T00:00:00.25Z" for day in (1, 10, 20))])


def contents(read: Callable[[str], list[dict[str, Any]]], there: set[str]) -> Mapping[str, Any]:
    return {
        n: sorted((sorted(r.items(), key=str) for r in read(f"SELECT * FROM {n}")), key=str) for n in READ if n in there
    }


def run(tx: Transaction, steps: list[Step]) -> list[Any]:
    return [*(step(tx) for step in steps), contents(tx.rows, {*READ} - {CONTACT})]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_random_transactions_end_as_in_duckdb(seed: int, engine: Engine, tmp_path: Path) -> None:
    chance = Chance(seed)
    duck, click = DuckDBStore(tmp_path / "x.duckdb", threads=1), ClickHouseStore(engine)
    for _ in range(10):
        steps, outcome = chance.transaction(), chance.outcome()
        before, told = everything(click), None
        if outcome == "kill":
            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError):
                _die_at_insert(patch, chance.death())
                with click.transaction() as tx:
                    run(tx, steps)
            click.close()
            click = ClickHouseStore(engine)
            # Whole or absent: which of the two, DuckDB is told.
            outcome = "break off" if everything(click) == before else "commit"
        else:
            with contextlib.suppress(BrokenOffError), click.transaction() as tx:
                told = run(tx, steps)
                if outcome == "break off":
                    raise BrokenOffError
        with contextlib.suppress(BrokenOffError), duck.transaction() as tx:
            expected = run(tx, steps)
            if outcome == "break off":
                raise BrokenOffError
        assert told in (None, expected)
        assert everything(click) == everything(duck)
    duck.close()
    click.close()


def everything(store: DuckDBStore | ClickHouseStore) -> Mapping[str, Any]:
    there = {*store.table_names()}
    with store.reading() as reading:
        return contents(reading.rows, there)


def _die_at_insert(patch: pytest.MonkeyPatch, number: int) -> None:
    real, left = Session.insert, [number]

    def dying(self: Session, *args: Any, **more: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        real(self, *args, **more)

    patch.setattr(Session, "insert", dying)
