"""The type of a column nobody described, told from its name and its values.

The rules, first match wins (``values`` are the cells that are not empty):

==============  ==================================================================================
type            when
==============  ==================================================================================
id              the column is called ``Id``
boolean         every value is true/false; or the name starts with Is, Has, Can or Do and a capital
                letter follows, and every value is 0, 1, true or false (or there is none)
address         the name ends in ``Address`` and every value is a JSON object with a ``city``
reference       every value is a record id with right check characters, of an object that is known
datetime        every value is ``2024-01-22T16:26:15.000+0000`` or ``2024-01-22 16:26:15``;
                an empty column that the platform always has as a stamp (``LastViewedDate``, ...)
date            every value is ``2024-01-22``; an empty column whose name ends in Date
time            every value is ``07:00:00`` with or without ``.000Z``
phone, email,   the name says so (Phone, Fax; Email; Website, Url) or, for e-mails, every value does
url
int, currency,  every value is a plain decimal number without leading zeros, and the name is not that
double          of a code (Zip, Postal, Code, Number at the end, External, ...); ``__c`` columns are
                never int, as on the platform; currency if the name speaks of money
textarea        a value is longer than 255 characters or has a line break, or the name is Description
picklist        at least 5 values, short, each seen three times on average; no codes and no ids
string          everything else
==============  ==================================================================================
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date

from integration.sandbox.ids import is_id, to18
from integration.sandbox.model import FieldDef

NULL_REFERENCES = frozenset({"000000000000000", "000000000000000AAA"})
"""What the Data Export Service writes for an empty reference."""

ADDRESS_KEYS = {
    "street": "Street",
    "city": "City",
    "state": "State",
    "postalCode": "PostalCode",
    "country": "Country",
    "latitude": "Latitude",
    "longitude": "Longitude",
    "geocodeAccuracy": "GeocodeAccuracy",
}
"""Key of a compound address -> what follows the prefix in the name of the part's own column."""

DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?Z?")
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")

_FLAG_NAME = re.compile(r"(Is|Has|Can|Do)[A-Z]\w*")
_STAMP_NAMES = frozenset({
    "CreatedDate", "LastModifiedDate", "SystemModstamp", "LastViewedDate", "LastReferencedDate", "ReminderDateTime",
    "EmailBouncedDate", "ClosedDate", "LastCURequestDate", "LastCUUpdateDate", "SlaStartDate", "SlaExitDate",
    "StopStartDate",
})  # fmt: skip
_READ_ONLY = frozenset({
    "Id", "IsDeleted", "MasterRecordId", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById",
    "SystemModstamp",
})  # fmt: skip
_CODE_NAME = re.compile(r"zip|postal|code|external_?id|number(__c)?$", re.IGNORECASE)
_MONEY_NAME = re.compile(r"amount|revenue|income|cost|price|salary|budget|mrr|arr(?=_|$)|balance", re.IGNORECASE)


def guess_field(name: str, cells: Sequence[str], prefixes: Mapping[str, str]) -> FieldDef:
    """Return the definition of a column from its name and cells.

    ``prefixes`` maps the three characters that ids begin with to object names, for references.
    """
    values = [cell for cell in cells if cell not in NULL_REFERENCES and cell != ""]
    fixed = name in _READ_ONLY
    kind = _kind(name, values, prefixes)
    return FieldDef(
        name,
        kind,
        length=_length(kind, values),
        precision=18 if kind in ("currency", "double", "percent") else 0,
        scale=_scale(values) if kind in ("currency", "double") else 0,
        reference_to=_targets(values, prefixes) if kind == "reference" else (),
        picklist=tuple(sorted(set(values))) if kind == "picklist" else (),
        createable=not fixed,
        updateable=not fixed,
        nillable=name != "Id",
        external_id=name.lower() == "external_id__c",
        name_field=name == "Name",
    )


def is_address(name: str, values: Sequence[str]) -> bool:
    """Tell whether a column holds compound addresses: JSON objects that have a city."""
    return name.endswith("Address") and bool(values) and all(_json_address(value) for value in values)


def _kind(name: str, values: Sequence[str], prefixes: Mapping[str, str]) -> str:
    if name == "Id":
        return "id"
    if _is_flag(name, values):
        return "boolean"
    if is_address(name, values):
        return "address"
    if values and _targets(values, prefixes):
        return "reference"
    return _temporal(name, values) or _contact(name, values) or _numeric(name, values) or _text(name, values)


def _is_flag(name: str, values: Sequence[str]) -> bool:
    words = {value.lower() for value in values}
    if words and words <= {"true", "false"}:
        return True
    return bool(_FLAG_NAME.fullmatch(name)) and words <= {"0", "1", "true", "false"}


def _json_address(value: str) -> bool:
    try:
        address = json.loads(value)
    except ValueError:
        return False
    return isinstance(address, dict) and "city" in address


def _targets(values: Sequence[str], prefixes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the objects the values point to, none unless every value is a sound id of a known object."""
    found: set[str] = set()
    for value in values:
        if not is_id(value) or to18(value[:15])[: len(value)] != value or value[:3] not in prefixes:
            return ()
        found.add(prefixes[value[:3]])
    return tuple(sorted(found))


def _temporal(name: str, values: Sequence[str]) -> str | None:
    if not values:
        if name in _STAMP_NAMES:
            return "datetime"
        return "date" if name.removesuffix("__c").endswith(("Date", "_date")) else None
    if all(DATETIME.fullmatch(value) for value in values):
        return "datetime"
    if all(DATE.fullmatch(value) and _is_day(value) for value in values):
        return "date"
    return "time" if all(TIME.fullmatch(value) for value in values) else None


def _is_day(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _contact(name: str, values: Sequence[str]) -> str | None:
    plain = name.removesuffix("__c").lower()
    if plain.endswith(("phone", "fax", "mobile")):
        return "phone"
    if plain.endswith("email") or (values and all("@" in value and " " not in value for value in values)):
        return "email"
    return "url" if plain.endswith(("website", "url")) else None


def _numeric(name: str, values: Sequence[str]) -> str | None:
    if not values or _CODE_NAME.search(name) or not all(NUMBER.fullmatch(value) for value in values):
        return None
    if _MONEY_NAME.search(name):
        return "currency"
    whole = not name.endswith("__c") and all(re.fullmatch(r"-?\d{1,9}", value) for value in values)
    return "int" if whole else "double"


def _text(name: str, values: Sequence[str]) -> str:
    if name.startswith("Description") or any(len(value) > 255 or "\n" in value for value in values):
        return "textarea"
    different = set(values)
    often = len(values) >= 5 and len(values) >= 3 * len(different)
    often = often and not _CODE_NAME.search(name) and not all(is_id(value) for value in different)
    return "picklist" if often and name != "Name" and max(map(len, different)) <= 40 else "string"


def _length(kind: str, values: Sequence[str]) -> int:
    if kind in ("id", "reference"):
        return 18
    longest = max(map(len, values), default=0)
    if kind == "textarea":
        return max(32_000, longest)
    return max(255, longest) if kind in ("string", "picklist", "url") else max(80, longest)


def _scale(values: Sequence[str]) -> int:
    return max((len(value.partition(".")[2]) for value in values if "e" not in value.lower()), default=0)
