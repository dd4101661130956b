"""Field history: Salesforce's own diary of tracked fields, and how it completes what polling saw.

`AccountHistory`, `ContactHistory`, `LeadHistory`, `X__History` and `OpportunityFieldHistory` hold a row for each
tracked field that changed; `OpportunityHistory` holds a row for each stage, amount or close date an opportunity has
had. History objects have no SystemModstamp: CreatedDate and Id are their cursor.
"""

_SNAPSHOTS = "OpportunityHistory"
_SUFFIX = "History"
_CUSTOM = "__c"
_CUSTOM_HISTORY = "__History"


def histories_of(object_name: str) -> tuple[str, ...]:
    """Name the objects that may hold the history of an object; an org shows them or not."""
    if object_name == "Opportunity":
        return ("OpportunityFieldHistory", _SNAPSHOTS)
    if object_name.endswith(_CUSTOM):
        return (object_name.removesuffix(_CUSTOM) + _CUSTOM_HISTORY,)
    return (object_name + _SUFFIX,)


def parent_of(object_name: str) -> str | None:
    """Return the object whose history this object holds, by its name; None for any other object."""
    if object_name == "OpportunityFieldHistory":
        return "Opportunity"
    if object_name.endswith(_CUSTOM_HISTORY):
        return object_name.removesuffix(_CUSTOM_HISTORY) + _CUSTOM
    if object_name.endswith(_SUFFIX) and len(object_name) > len(_SUFFIX) and "__" not in object_name:
        return object_name.removesuffix(_SUFFIX)
    return None


def parent_key(object_name: str) -> str:
    """Return the field by which a history object names the record it is about."""
    if object_name.endswith(_CUSTOM_HISTORY):
        return "ParentId"
    return f"{parent_of(object_name)}Id"
