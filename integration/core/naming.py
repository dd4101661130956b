"""Names people see: properties, columns, events and views. Pure functions of Salesforce's API names."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache

# What people already call these two (see docs/glossary.md).
BUILT_IN_ALIASES: Mapping[tuple[str, str], str] = {
    ("Account", "Type"): "account_type",
    ("Opportunity", "StageName"): "stage",
}

_SUFFIX = re.compile(r"__(c|r|s|pc|x|e|b|mdt|kav)$", re.IGNORECASE)
_NAMESPACE = re.compile(r"^[A-Za-z][A-Za-z0-9]*__(?=.)")
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_A_WORD = re.compile(r"[^A-Za-z0-9]+")
_NAMES_KEPT = 50_000
"""More than an org has fields; names that clients of the product make up have no end."""


@lru_cache(_NAMES_KEPT)
def snake(api_name: str) -> str:
    """Turn an API name into snake case: `AnnualRevenue` -> `annual_revenue`, `cbit__Role__c` -> `cbit_role`."""
    bare = _SUFFIX.sub("", api_name)
    return _NOT_A_WORD.sub("_", _WORD_STARTS.sub("_", bare)).strip("_").lower()


@cache
def words(object_name: str) -> str:
    """Say an object's API name in words, without namespace: `OpportunityContactRole` -> `Opportunity Contact Role`."""
    bare = _SUFFIX.sub("", object_name)
    if _SUFFIX.search(object_name):
        bare = _NAMESPACE.sub("", bare)
    spaced = _NOT_A_WORD.sub(" ", _WORD_STARTS.sub(" ", bare)).strip()
    return " ".join(word[:1].upper() + word[1:] for word in spaced.split())


def property_name(prefix_object: str, field_object: str, field: str) -> str:
    """Name the property of a field: `sfdc_<object>_<field>`.

    Where `field_object` differs, the field belongs to a looked-up record and takes the looking-up object's prefix;
    its standard fields (Name, CreatedDate, ...) then keep the looked-up object's name, or they would hide the
    looking-up record's own.
    """
    alias = BUILT_IN_ALIASES.get((field_object, field))
    part = alias or snake(field)
    if prefix_object != field_object and not _SUFFIX.search(field):
        part = f"{snake(field_object)}_{part}"
    return f"sfdc_{snake(prefix_object)}_{part}"


def column_name(field: str) -> str:
    """Name the raw column of a field: its API name in lower case."""
    return field.lower()


def table_of(object_name: str) -> str:
    """Name the raw table of an object: `salesforce.contact`."""
    return f"salesforce.{object_name.lower()}"


def view_name(event_name: str) -> str:
    """Name the view of an event: `Opportunity Stage Changed` -> `opportunity_stage_changed`."""
    name = snake(event_name)
    return f"event_{name}" if not name or name[0].isdigit() else name
