"""Two batches in which everything happens that can happen to a record: for tests that hold one store against another,
or a store against itself after a crash."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.core import catalog, exactjson
from integration.core.catalog import ObjectSchema
from integration.store import tables
from integration.store.answers import ask
from integration.store.protocol import Store

ORG = "00D000000000001EAA"
NOW = "2026-03-01T00:00:00Z"
LONG = "acme_relationship_management__An_Uncommonly_Long_Name_Of_A_Field__c"
"""With a namespace: as a property it is longer than some stores' names may be."""
EVERYWHERE = {
    "Id": "id", "IsDeleted": "boolean", "OwnerId": "reference", "CreatedDate": "datetime", "SystemModstamp": "datetime",
    "LastModifiedById": "reference",
}  # fmt: skip
OBJECTS: Mapping[str, Mapping[str, str]] = {
    "Account": {"MasterRecordId": "reference", "Name": "string", "Type": "picklist", "Industry": "picklist", "ARR__c": "currency"},
    "Contact": {
        "MasterRecordId": "reference", "AccountId": "reference", "Name": "string", "Title": "string", "Email": "email",
        "Birthdate": "date", "Score__c": "double", "DoNotCall": "boolean", "LastSeen__c": "datetime", LONG: "string",
    },
    "Lead": {
        "MasterRecordId": "reference", "Email": "email", "Company": "string", "IsConverted": "boolean",
        "ConvertedContactId": "reference", "ConvertedAccountId": "reference", "Visits__c": "int",
    },
    "Opportunity": {
        "AccountId": "reference", "Name": "string", "StageName": "picklist", "Amount": "currency", "CloseDate": "date",
        "IsClosed": "boolean", "IsWon": "boolean",
    },
    "OpportunityContactRole": {"OpportunityId": "reference", "ContactId": "reference", "IsPrimary": "boolean"},
    "Task": {"WhoId": "reference", "WhatId": "reference", "AccountId": "reference", "Subject": "string"},
}  # fmt: skip
LATER: Mapping[str, Mapping[str, str]] = {
    # Score__c is text by now, and there is a field that was not there before.
    "Contact": {**OBJECTS["Contact"], "Score__c": "string", "Nickname__c": "string"},
}
PREFIXES = {
    "Account": "001",
    "Contact": "003",
    "ContactHistory": "017",
    "Lead": "00Q",
    "Opportunity": "006",
    "OpportunityContactRole": "00K",
    "Task": "00T",
    "Event": "00U",
    "CampaignMember": "00v",
}


def schema_of(name: str, fields: Mapping[str, str]) -> ObjectSchema:
    described = [
        {"name": one, "type": kind, "precision": 18, "scale": 2 if kind in ("currency", "double") else 0}
        for one, kind in (EVERYWHERE | dict(fields)).items()
    ]
    found = catalog.schema_from_describe({"name": name, "fields": described})
    assert found is not None
    return found


FIRST = {name: schema_of(name, fields) for name, fields in OBJECTS.items()}
SECOND = FIRST | {name: schema_of(name, fields) for name, fields in LATER.items()}
BODIES = {one.schema_id: catalog.to_json(one) for one in (*FIRST.values(), *SECOND.values())}


def record(name: str, number: int) -> str:
    return f"{PREFIXES[name]}{number:012d}AAA"


class Stream:
    """Entries of one batch after the other."""

    def __init__(self) -> None:
        self._offset = 0

    def entry(self, schemas: Mapping[str, ObjectSchema], name: str, number: int, at: str, **fields: Any) -> Entry:
        self._offset += 1
        record_id, deleted = record(name, number), fields.pop("IsDeleted", False)
        stamp = f"2026-{at}Z"
        shown = {
            "Id": record_id, "IsDeleted": deleted, "OwnerId": "005000000000001AAA",
            "LastModifiedById": "005000000000002AAA", "CreatedDate": f"2026-01-{number:02d}T08:00:00.000+0000",
            "SystemModstamp": f"2026-{at}.000+0000",
        }  # fmt: skip
        capture = {
            "id": f"{ORG}:{name}:{record_id}:{stamp}", "org": ORG, "object": name, "record_id": record_id,
            "system_modstamp": stamp, "is_deleted": deleted, "fields": shown | fields,
            "schema_id": schemas[name].schema_id, "origin": "poll", "seen_at": "2026-02-20T00:00:00Z",
        }  # fmt: skip
        return Entry(f"crm.{name.lower()}", f"{self._offset}-0", {b"data": exactjson.dumps(capture)})


def product_event(number: int, at: str, kind: str = "track", name: str | None = None, **told: Any) -> Entry:
    """Return the entry of a product event."""
    data = {
        "id": f"product:m{number}", "message_id": f"m{number}", "type": kind, "name": name, "user_id": None,
        "anonymous_id": None, "previous_id": None, "group_id": None, "time": f"2026-{at}.000Z",
        "received_at": f"2026-{at}.250Z", "sent_at": None, "original_time": None, "properties": {}, "traits": {},
        "context": {},
    }  # fmt: skip
    return Entry("product.events", f"{number}-0", {b"data": exactjson.dumps(data | told)})


def batches() -> tuple[list[Entry], list[Entry]]:
    """Return the org as it was first seen, and what happened in it since."""
    stream = Stream()
    at = "01-20T10:00:00"

    def first(name: str, number: int, **fields: Any) -> Entry:
        return stream.entry(FIRST, name, number, at, **fields)

    def later(name: str, number: int, minute: int = 0, **fields: Any) -> Entry:
        return stream.entry(SECOND, name, number, f"02-10T12:{minute:02d}:00", **fields)

    account: dict[str, Any] = {"Name": "Acme 😀", "Type": "Customer", "Industry": "Energy", "ARR__c": 139_500.5}
    contact: dict[str, Any] = {
        "AccountId": record("Account", 1), "Name": "null", "Title": "CTO", "Email": "Ann@Example.com ",
        "Birthdate": "1980-02-29", "Score__c": 0.1, "DoNotCall": True,
        "LastSeen__c": "2026-01-19T23:59:59.000+0000", LONG: "long",
    }  # fmt: skip
    other: dict[str, Any] = {
        "AccountId": record("Account", 1),
        "Name": "Ben",
        "Email": "ben@example.com",
        "Title": 'a "b", \\c\n',
        LONG: "",
    }
    deal: dict[str, Any] = {
        "AccountId": record("Account", 1), "Name": "Big", "StageName": "Prospecting", "Amount": 12345678901234.56,
        "CloseDate": "2026-06-30", "IsClosed": False, "IsWon": False,
    }  # fmt: skip
    lead: dict[str, Any] = {"Email": "ann@example.com", "Company": "Acme", "IsConverted": False, "Visits__c": 2**40}
    role: dict[str, Any] = {
        "OpportunityId": record("Opportunity", 1),
        "ContactId": record("Contact", 1),
        "IsPrimary": True,
    }
    before = [
        first("Account", 1, **account), first("Account", 2, Name="Zenith", ARR__c=0), first("Account", 3, Name="Third"),
        first("Contact", 1, **contact), first("Contact", 2, **other), first("Contact", 3, Email="gone@example.com"),
        first("Contact", 4, Name="Dora", Email="dora@example.com", AccountId=record("Account", 2)),
        first("Lead", 1, **lead), first("Lead", 2, Email="solo@example.com", Company="Solo"),
        first("Opportunity", 1, **deal), first("Opportunity", 2, **{**deal, "Amount": None, "StageName": None}),
        first("OpportunityContactRole", 1, **role), first("Task", 1, WhoId=record("Contact", 2), AccountId=record("Account", 1)),
        product_event(1, "01-18T09:00:00", "page", "Pricing", anonymous_id="a-1", context={"campaign": {"name": "spring"}}),
        product_event(2, "01-18T09:01:00", name="Sign Up", anonymous_id="a-1", user_id="u-1", properties={"plan": "free 😀"}),
        product_event(3, "01-18T09:05:00", name="Sign Up", user_id=record("Contact", 4), anonymous_id="a-2"),
        product_event(4, "01-18T09:06:00", "page", anonymous_id="a-3"),
    ]  # fmt: skip
    since = [
        # Cleared, text where a number was, a new field, a number with more decimals than its column has had.
        later("Contact", 1, **(contact | {"Title": None, "Score__c": "high", "Nickname__c": "Annie 馬"})),
        later("Account", 1, **(account | {"ARR__c": 0.1234567, "Industry": None})),
        # Merged: the loser is deleted and names its winner.
        later("Contact", 2, IsDeleted=True, MasterRecordId=record("Contact", 1), **other),
        later("Contact", 3, IsDeleted=True, Email="gone@example.com"),
        later("Contact", 4, AccountId=record("Account", 1), Name="Dora", Email="ann@example.com"),
        later("Lead", 2, Email="solo@example.com", Company="Solo", IsConverted=True, ConvertedContactId=record("Contact", 5)),
        later("Contact", 5, Email="solo@example.com", Name="Solo", AccountId=record("Account", 2), LastSeen__c=None),
        later("Opportunity", 1, **(deal | {"StageName": "Closed Won", "IsClosed": True, "IsWon": True})),
        later("Opportunity", 1, 5, **(deal | {"StageName": "Closed Won", "IsClosed": True, "IsWon": True, "Amount": 1e-7})),
        later("OpportunityContactRole", 1, IsDeleted=True, **role),
        later("Account", 3, IsDeleted=True, Name="Third"),
        product_event(5, "02-10T12:30:00", "identify", user_id="u-1", traits={"email": "Ann@example.com", "seats": 3}),
        product_event(6, "02-10T12:31:00", "alias", previous_id="a-3", user_id="u-2"),
        product_event(7, "02-10T12:32:00", name="Run Query", user_id="u-2", properties={"rows": 12345678901234567890}),
        product_event(2, "01-18T09:01:00", name="Sign Up", anonymous_id="a-1", user_id="u-1", properties={"plan": "free 😀"}),
    ]  # fmt: skip
    return before, since


def numbered(entries: Iterable[Entry]) -> list[Entry]:
    """Give entries the offsets of the order in which they come."""
    return [entry._replace(offset=f"{number}-0") for number, entry in enumerate(entries, 1)]


def flattener(store: Store) -> Flattener:
    return Flattener(store, Rules({}, {}), now=lambda: NOW, fetch_schema=BODIES.get)


EVERYTHING = (
    # What is still to be done for the marts is no content: the same key may stand there twice.
    *(name for name in tables.FIXED if name != "headrace.stale"),
    *tables.VIEWS,
    *(f"salesforce.{name.lower()}" for name in OBJECTS),
    "headrace.users_defined",
)


def told(store: Store, names: Iterable[str] = EVERYTHING) -> dict[str, list[str]]:
    """Return every row of tables and views as JSON, but for how often the store was taken over."""
    found = {name: sorted(written(row) for row in ask(store, f"SELECT * FROM {name}")) for name in names}
    return {name: [row for row in rows if '"key":"epoch"' not in row] for name, rows in found.items()}


def written(row: Mapping[str, Any]) -> str:
    """Return a row as text: equal rows have equal texts."""
    return exactjson.dumps({name: _plain(row[name]) for name in sorted(row)}).decode()


def _plain(value: Any) -> Any:
    # How many zeros a number ends in is the store's affair: 1.50 where the column has two decimals, or 1.5.
    return exactjson.plain(value) if isinstance(value, Decimal | int) and not isinstance(value, bool) else value
