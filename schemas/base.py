from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

RecordId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9]{18}$")]
"""A Salesforce record id in its 18-character form (15 case-sensitive characters and 3 that encode the case)."""

Stamp = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")]
"""A point in time as ISO 8601 text in UTC with `Z`. Salesforce stamps have a resolution of one second."""

ObjectName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""The API name of a Salesforce object, e.g. `Contact` or `cbit__Clearbit__c`."""


class Frozen(BaseModel):
    """A value: it never changes, and it takes no field it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
