from collections.abc import Callable
from typing import Any

import pytest

from integration.core import catalog, exactjson, image
from integration.core.image import Image
from integration.core.registry import Registry

DESCRIBES: dict[str, dict[str, str]] = {
    "Contact": {
        "Id": "id", "IsDeleted": "boolean", "MasterRecordId": "reference", "AccountId": "reference",
        "Name": "string", "Title": "string", "Email": "email", "OwnerId": "reference", "Birthdate": "date",
        "Score__c": "double", "CreatedDate": "datetime", "CreatedById": "reference", "LastModifiedDate": "datetime",
        "LastModifiedById": "reference", "SystemModstamp": "datetime", "LastViewedDate": "datetime",
        "DoNotCall": "boolean", "LastActivityAt__c": "datetime",
    },
    "Lead": {
        "Id": "id", "IsDeleted": "boolean", "MasterRecordId": "reference", "Email": "email", "OwnerId": "reference",
        "Company": "string", "IsConverted": "boolean", "ConvertedContactId": "reference",
        "ConvertedAccountId": "reference", "CreatedDate": "datetime", "SystemModstamp": "datetime",
    },
    "Account": {
        "Id": "id", "IsDeleted": "boolean", "MasterRecordId": "reference", "Name": "string", "Type": "picklist",
        "ARR__c": "currency", "OwnerId": "reference", "CreatedDate": "datetime", "SystemModstamp": "datetime",
    },
    "Opportunity": {
        "Id": "id", "IsDeleted": "boolean", "AccountId": "reference", "Name": "string", "StageName": "picklist",
        "Amount": "currency", "CloseDate": "date", "IsClosed": "boolean", "IsWon": "boolean", "OwnerId": "reference",
        "CreatedDate": "datetime", "SystemModstamp": "datetime",
    },
    "OpportunityContactRole": {
        "Id": "id", "IsDeleted": "boolean", "OpportunityId": "reference", "ContactId": "reference",
        "IsPrimary": "boolean", "CreatedDate": "datetime", "SystemModstamp": "datetime",
    },
    "Task": {
        "Id": "id", "IsDeleted": "boolean", "WhoId": "reference", "WhatId": "reference", "Subject": "string",
        "IsClosed": "boolean", "OwnerId": "reference", "CreatedDate": "datetime", "SystemModstamp": "datetime",
    },
    "CampaignMember": {
        "Id": "id", "IsDeleted": "boolean", "ContactId": "reference", "LeadId": "reference",
        "HasResponded": "boolean", "CreatedDate": "datetime", "SystemModstamp": "datetime",
    },
}  # fmt: skip


def record_id(prefix: str, number: int) -> str:
    return f"{prefix}{number:012d}AAA"


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The names of a small org's fields."""
    registry = Registry()
    for name, fields in DESCRIBES.items():
        described = {"name": name, "fields": [{"name": f, "type": t, "scale": 2} for f, t in fields.items()]}
        schema = catalog.schema_from_describe(described)
        assert schema is not None
        registry.register(schema)
    return registry


@pytest.fixture(scope="session")
def image_of() -> Callable[..., Image]:
    """Build a record's image: image_of("Contact", id, "2026-01-02T03:04:05Z", Title="CEO", deleted=True)."""

    def build(object_name: str, record: str, version: str, *, deleted: bool = False, **fields: Any) -> Image:
        raw = version[:-1] + ".000+0000"
        values = {"Id": record, "IsDeleted": deleted, "CreatedDate": "2025-01-01T00:00:00.000+0000", **fields}
        values.setdefault("SystemModstamp", raw)
        capture = {
            "id": f"00D:{object_name}:{record}:{version}",
            "org": "00D000000000001EAA",
            "object": object_name,
            "record_id": record,
            "system_modstamp": version,
            "is_deleted": deleted,
            "fields": values,
            "schema_id": "s",
            "origin": "poll",
            "seen_at": version,
        }
        return image.read(exactjson.dumps(capture))

    return build
