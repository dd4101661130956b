"""Opportunities and what happened before them, written straight into the tables of a store."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from integration.core.columns import Column, ColumnType
from integration.store import tables
from integration.store.attribution import Attribution
from integration.store.projection import Shape
from integration.store.protocol import Store

WON_AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When opportunities are created, unless a test says otherwise."""
_KINDS: Mapping[str, ColumnType] = {
    "amount": ColumnType.DECIMAL,
    "createddate": ColumnType.TIMESTAMP,
    "converteddate": ColumnType.DATE,
    "firstrespondeddate": ColumnType.DATE,
    "closedate": ColumnType.DATE,
    "activitydate": ColumnType.DATE,
    "completeddatetime": ColumnType.TIMESTAMP,
    "startdatetime": ColumnType.TIMESTAMP,
} | dict.fromkeys(("is_deleted", "iswon", "isclosed", "isconverted", "hasresponded"), ColumnType.BOOLEAN)
_FIELDS: Mapping[str, str] = {
    "Account": "id masterrecordid name website is_deleted",
    "Opportunity": "id accountid amount createddate leadsource campaignid iswon isclosed is_deleted "
    "ownerid stagename closedate",
    "OpportunityContactRole": "id opportunityid contactid is_deleted",
    "Contact": "id accountid leadsource createddate is_deleted email",
    "Lead": "id leadsource createddate isconverted converteddate convertedaccountid convertedcontactid "
    "convertedopportunityid is_deleted email company",
    "CampaignMember": "id campaignid contactid leadid createddate hasresponded firstrespondeddate is_deleted",
    "Task": "id whoid type tasksubtype subject isclosed completeddatetime activitydate createddate is_deleted",
    "Event": "id whoid startdatetime activitydate createddate is_deleted",
}
COLUMNS = {
    name: [Column(field, _KINDS.get(field, ColumnType.TEXT)) for field in fields.split()]
    for name, fields in _FIELDS.items()
}
SHAPE = Shape({name: frozenset(fields.split()) for name, fields in _FIELDS.items()})


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def before(days: float, since: datetime = WON_AT, *, seconds: float = 0) -> str:
    """Return the moment so many days, and seconds, before another one."""
    return stamp(since - timedelta(days=days, seconds=seconds))


class Crm:
    """Rows that a test makes up: raw records under their ids, who is whom, and how they came."""

    def __init__(self) -> None:
        self.raw: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.users: list[dict[str, Any]] = []
        self.identities: list[dict[str, Any]] = []
        self.touches: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.changes: list[dict[str, Any]] = []

    def add(self, object_name: str, record_id: str, **fields: Any) -> str:
        """Add a record, created with the opportunities unless told otherwise; return its id."""
        blank: dict[str, Any] = dict.fromkeys(_FIELDS[object_name].split())
        known = {"id": record_id, "createddate": stamp(WON_AT), "is_deleted": False}
        self.raw[object_name].append(blank | known | fields)
        return record_id

    def deal(self, record_id: str, *contacts: str, **fields: Any) -> str:
        """Add an opportunity in which these contacts have a role."""
        for contact in contacts:
            self.add("OpportunityContactRole", f"{record_id}-{contact}", opportunityid=record_id, contactid=contact)
        return self.add("Opportunity", record_id, **{"iswon": False, "isclosed": False, **fields})

    def person(self, user_id: str, *aliases: str, **fields: Any) -> str:
        """Add a person who goes by these ids too."""
        self.users.append({"user_id": user_id, "is_deleted": False, **fields})
        self.identities += [{"alias": alias, "user_id": user_id} for alias in (user_id, *aliases)]
        return user_id

    def touch(self, touch_id: str, user_id: str, at: str, channel: str = "email", **fields: Any) -> None:
        """Add a visit."""
        self.touches.append({"touch_id": touch_id, "user_id": user_id, "time": at, "channel": channel, **fields})

    def changed(self, of: str, record_id: str, at: str, field: str, old: str | None, new: str | None) -> None:
        """Add a change of one field."""
        told = {"object": of, "record_id": record_id, "time": at, "origin": "poll"}
        number = len(self.changes)
        self.changes.append({**told, "event_id": f"c-{number}", "field": field, "old_value": old, "new_value": new})

    def happened(self, of: str, record_id: str, at: str, what: str) -> None:
        """Add an event of a record, such as its deletion."""
        told = {"object": of, "record_id": record_id, "time": at, "origin": "poll", "properties": b"{}"}
        self.events.append({**told, "event_id": f"e-{len(self.events)}", "name": f"{of} {what}"})

    def write(self, store: Store) -> None:
        """Write everything in one transaction."""
        with store.transaction() as tx:
            for name, columns in COLUMNS.items():
                tx.ensure_columns(f"salesforce.{name.lower()}", columns)
                tx.append(f"salesforce.{name.lower()}", columns, self.raw[name])
            for table in ("users", "identities", "touches", "events", "changes"):
                tx.append(table, tables.FIXED[table], [_filled(table, row) for row in getattr(self, table)])
            for view, select in tables.OF_THE_ORG.items():
                if view != "accounts":
                    tx.ensure_view(view, select(SHAPE), own=True)
            for view, drawn in tables.OF_THE_RULES.items():
                tx.ensure_view(view, drawn(SHAPE, Attribution()), own=True)


def _filled(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {column.name: row.get(column.name) for column in tables.FIXED[table]}
