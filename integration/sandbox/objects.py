"""The objects that every sandbox org starts with."""

from integration.sandbox.model import FieldDef, Formula, ObjectDef, SaveHook
from integration.sandbox.objects_people import ACCOUNT, CLEARBIT_RECORD, CONTACT, LEAD, USER
from integration.sandbox.objects_sales import (
    CAMPAIGN,
    EVENT,
    HISTORIES,
    MEMBER,
    OPPORTUNITY,
    ORGANIZATION,
    ROLE,
    TASK,
)

__all__ = ["STANDARD_OBJECTS", "FieldDef", "Formula", "ObjectDef", "SaveHook"]

STANDARD_OBJECTS: tuple[ObjectDef, ...] = (
    USER,
    ORGANIZATION,
    ACCOUNT,
    CONTACT,
    LEAD,
    OPPORTUNITY,
    ROLE,
    TASK,
    EVENT,
    CAMPAIGN,
    MEMBER,
    CLEARBIT_RECORD,
    *HISTORIES,
)
