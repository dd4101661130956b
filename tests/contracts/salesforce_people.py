"""A company in a store: people who work in Salesforce, what they have done there, and the pack that tells what they
are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from defined import SHAPE, World

import integration
from consumers.members import Members
from integration.core.columns import Column, ColumnType
from integration.core.naming import table_of
from integration.store import tables
from integration.store.definitions.conditions import Ref
from integration.store.projection import Shape
from integration.store.protocol import Store
from integration.wiring.definitions import read_folder
from schemas.definitions import Definition

PACK = Path(integration.__path__[0]) / "packs" / "salesforce_users"
NOW = "2026-03-01T00:00:00Z"
THEN = "2026-02-10T09:00:00Z"
"""When all of it happened: within the 90 days that count."""
KINDS = {"closedate": ColumnType.DATE} | dict.fromkeys(
    ("iswon", "isclosed", "isescalated", "isactive", "is_deleted"), ColumnType.BOOLEAN
)
SALES = {
    "Account": "ownerid",
    "Contact": "ownerid",
    "Lead": "ownerid",
    "Opportunity": "ownerid accountid iswon isclosed closedate",
    "Task": "",
    "Event": "subject",
    "Campaign": "ownerid type",
    "CampaignMember": "",
    "User": "name isactive usertype title profileid managerid",
}
"""The objects that are watched unless somebody says otherwise, with the fields that the pack looks at."""
EVERYTHING = {
    **SALES,
    "Case": "ownerid status isescalated",
    "Profile": "name",
    "ForecastingQuota": "quotaownerid",
    **dict.fromkeys(
        ("Report", "Dashboard", "SetupAuditTrail", "Knowledge__kav", "CaseComment", "ListEmail", "EmailTemplate",
         "ContentVersion", "ProcessInstance", "ProcessInstanceStep", "ApexClass", "NamedCredential"), ""
    ),
}  # fmt: skip
"""An org that shows all that can be seen of somebody: all but who reads which report."""


def pack() -> dict[Ref, Definition]:
    """Return what the pack defines."""
    read = read_folder(PACK)
    assert not read.problems
    return dict(read.definitions)


class Company(World):
    """A world of people who work in Salesforce, in an org that has these objects (name -> fields, by their columns)."""

    def __init__(self, store: Store, objects: Mapping[str, str] = EVERYTHING) -> None:
        super().__init__(store)
        self.now = NOW
        self.definitions = dict(pack())
        self._columns = {name: _columns(fields) for name, fields in objects.items()}
        with store.transaction() as tx:
            for name, columns in self._columns.items():
                tx.ensure_columns(table_of(name), columns)
        there = {name: frozenset(c.name for c in columns) for name, columns in self._columns.items()}
        shape = Shape(columns=there, parts=SHAPE.parts)
        self._members = Members(store.transaction, shape, lambda: self.now)

    def have(self, object_name: str, *rows: Mapping[str, Any]) -> None:
        """Have these records be there."""
        columns = self._columns[object_name]
        with self.store.transaction() as tx:
            tx.upsert(table_of(object_name), ("id",), columns, [{"is_deleted": False, **row} for row in rows])

    def keep(self, *personas: str) -> None:
        """Have no other personas than these: the fewer, the sooner the test is done."""
        for ref in [ref for ref in self.definitions if ref.kind == "persona" and ref.name not in personas]:
            del self.definitions[ref]

    def salesforce_users(self, *rows: Mapping[str, Any]) -> None:
        """Have these work in Salesforce."""
        self.have("User", *({"isactive": True, **row} for row in rows))

    def did(self, who: str, times: int, name: str, object_name: str, record: str = "", **more: Any) -> None:
        """Have somebody do something so many times. `fields`: what changed, each time."""
        fields: Sequence[str] = more.pop("fields", ())
        at = {"time": THEN, "object": object_name, "record_id": record or f"{who}s", "actor_id": who, "origin": "poll"}
        properties = orjson.dumps({"changes": [{"field": field} for field in fields]})
        events, changes = [], []
        for _ in range(times):
            self._events += 1
            one = {**at, "event_id": f"e{self._events}", "name": name, "properties": properties, **more}
            events.append(one)
            changes += [
                {**{k: v for k, v in one.items() if k not in ("name", "properties")}, "field": field}
                for field in fields
            ]
        with self.store.transaction() as tx:
            tx.append("events", tables.EVENTS, events)
            if changes:
                tx.append("changes", tables.CHANGES, changes)

    def personas(self) -> dict[str, dict[str, float]]:
        """Return who is of which persona, and how surely, after a run in which nothing went wrong."""
        assert self.run().problems == {}
        found: dict[str, dict[str, float]] = {}
        for row in self.ask("SELECT member_id, persona, confidence FROM persona_members ORDER BY confidence DESC"):
            found.setdefault(row["member_id"], {})[row["persona"]] = float(row["confidence"])
        return found

    def notice(self, persona: str) -> str:
        """Return what is to be known of a persona."""
        where = f"kind = 'persona' AND name = '{persona}' AND until IS NULL"
        return str(self.ask(f"SELECT notice FROM definitions WHERE {where}")[0]["notice"])


def _columns(fields: str) -> list[Column]:
    names = ["id", *fields.split(), "is_deleted"]
    return [Column(name, KINDS.get(name, ColumnType.TEXT)) for name in names]
