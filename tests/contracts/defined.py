"""People, accounts and events written straight into a store, and definitions worked out over them at any time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from consumers.members import Defined, Members, Ran
from integration.core.columns import Column, ColumnType
from integration.store import tables
from integration.store.answers import ask
from integration.store.definitions.conditions import Ref
from integration.store.projection import Part, Shape
from integration.store.protocol import Store
from schemas.definitions import KINDS

TEXT = ColumnType.TEXT
PROPERTIES: Mapping[str, ColumnType] = {
    "sfdc_account_plan": TEXT,
    "sfdc_contact_cbit_role": TEXT,
    "sfdc_contact_title": TEXT,
    "usage_percent": ColumnType.INTEGER,
}
ACCOUNT = [
    Column("id", TEXT), Column("name", TEXT), Column("systemmodstamp", ColumnType.TIMESTAMP),
    Column("ownerid", TEXT), Column("plan__c", TEXT), Column("arr__c", ColumnType.DECIMAL),
    Column("is_deleted", ColumnType.BOOLEAN),
]  # fmt: skip
USER = [
    Column("id", TEXT), Column("name", TEXT), Column("isactive", ColumnType.BOOLEAN),
    Column("is_deleted", ColumnType.BOOLEAN),
]  # fmt: skip
SHAPE = Shape(
    columns={
        "Account": frozenset(c.name for c in ACCOUNT),
        "User": frozenset(c.name for c in USER),
    },
    parts={"Account": Part((("plan__c", "sfdc_account_plan"), ("arr__c", "sfdc_account_arr")))},
)
"""What the raw tables have."""


class World:
    """A store with people in it, and a folder of definitions that is no folder."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = "2026-03-01T00:00:00Z"
        self.lists: dict[str, Sequence[tuple[str, str]]] = {}
        self.definitions: dict[Ref, Any] = {}
        self.problems: dict[Ref, str] = {}
        self._events = 0
        self._members = Members(store.transaction, SHAPE, lambda: self.now)
        properties = [Column(name, kind) for name, kind in PROPERTIES.items()]
        with store.transaction() as tx:
            tx.ensure_columns("users", properties)
            tx.ensure_columns("salesforce.account", ACCOUNT)
            tx.ensure_columns("salesforce.user", USER)
            tx.ensure_view("accounts", tables.accounts_view(SHAPE), own=True)

    def people(self, *rows: Mapping[str, Any]) -> None:
        """Have these people be so: rows of `users`."""
        columns = [*tables.USERS, *(Column(name, kind) for name, kind in PROPERTIES.items())]
        with self.store.transaction() as tx:
            tx.upsert("users", ("user_id",), columns, [{"is_deleted": False, **row} for row in rows])

    def accounts(self, *rows: Mapping[str, Any]) -> None:
        """Have these accounts be so: rows of the raw table."""
        given = {"is_deleted": False, "systemmodstamp": "2026-01-01T00:00:00Z"}
        with self.store.transaction() as tx:
            tx.upsert("salesforce.account", ("id",), ACCOUNT, [{**given, **row} for row in rows])

    def salesforce_users(self, *rows: Mapping[str, Any]) -> None:
        """Have these work in Salesforce."""
        with self.store.transaction() as tx:
            tx.upsert(
                "salesforce.user", ("id",), USER, [{"is_deleted": False, "isactive": True, **row} for row in rows]
            )

    def happened(self, *events: tuple[str, str, str], **more: Any) -> None:
        """Have (user id, name, time) happen in the product, or wherever `more` says."""
        rows = []
        for user, name, time in events:
            self._events += 1
            row = {"event_id": f"e{self._events}", "user_id": user, "name": name, "time": time, "origin": "product"}
            rows.append({"properties": b"{}", **row, **more})
        with self.store.transaction() as tx:
            tx.append("events", tables.EVENTS, rows)

    def define(self, kind: str, name: str, **told: Any) -> None:
        """Define something, as its file would."""
        self.definitions[Ref(kind, name)] = KINDS[kind].model_validate({"title": name, **told})

    def forget(self, kind: str, name: str) -> None:
        """Take a definition away."""
        del self.definitions[Ref(kind, name)]

    def run(self, now: str | None = None) -> Ran:
        """Work everything out at a time."""
        self.now = now or self.now
        return self._members.refresh(Defined(dict(self.definitions), dict(self.lists), dict(self.problems)))

    def members(self, kind: str, name: str) -> dict[str, Any]:
        """Return of whom it is true now, with the value or the score."""
        sql = f"SELECT * FROM members WHERE kind = '{kind}' AND name = '{name}' AND until IS NULL"
        rows = ask(self.store, sql)
        assert len({row["member_id"] for row in rows}) == len(rows)
        return {row["member_id"]: row["value"] if row["value"] is not None else row["score"] for row in rows}

    def stays(self, kind: str, name: str, member_id: str) -> list[dict[str, Any]]:
        """Return whatever was ever stored of somebody, in order."""
        where = f"kind = '{kind}' AND name = '{name}' AND member_id = '{member_id}'"
        return self.ask(f"SELECT * FROM members WHERE {where} ORDER BY since")

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask the store. JSON is read, which some stores show as text."""
        rows = ask(self.store, sql)
        told = ("reasons", "contributions")
        return [{k: orjson.loads(v) if k in told and isinstance(v, str) else v for k, v in row.items()} for row in rows]


def person(user_id: str, **told: Any) -> dict[str, Any]:
    """Return a row of a person."""
    return {"user_id": user_id, "email": f"{user_id}@example.com", **told}


def only(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the one row there is."""
    (row,) = rows
    return row


def one_group(*metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the groups of a health that has one, `adoption`."""
    return [{"name": "adoption", "metrics": metrics}]
