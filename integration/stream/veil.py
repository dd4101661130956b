"""Entries without their values: what can be shown of a dead letter without showing personal data. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from integration.core.ids import long_id
from integration.core.segment import TYPES
from schemas.capture import Origin

VEIL: Final = "********"

_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}", re.ASCII)
_OBJECT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)
_SUBJECT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}/([a-zA-Z0-9]{18})", re.ASCII)
_CAPTURE_ID: Final = re.compile(
    r"[A-Za-z0-9.:-]{1,120}:[A-Za-z][A-Za-z0-9_]*:([a-zA-Z0-9]{18}):[0-9TZ:.-]{20,27}(:[0-9a-f]+)?", re.ASCII
)
# What stands under these names is headrace's own, as long as it looks like it: anybody may have written the entry.
_OWN: Final[Mapping[str, re.Pattern[str]]] = {
    "specversion": re.compile(r"1\.0"),
    "type": re.compile(
        rf"com\.(salesforce\.[a-z0-9_]{{1,80}}\.[a-z]{{1,20}}|headrace\.product\.({'|'.join(TYPES)}))\.v\d+", re.ASCII
    ),
    "source": re.compile(r"/salesforce/[A-Za-z0-9.:-]{1,120}|/product", re.ASCII),
    "datacontenttype": re.compile(r"application/json"),
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    "origin": re.compile("|".join(Origin)),
    "object": _OBJECT,
    "org": re.compile(r"00D[A-Za-z0-9]{15}", re.ASCII),
    "schema_id": re.compile(r"[0-9a-f]{1,64}", re.ASCII),
}
# Not among the fields of the record, or what a product event tells: there a field may have such a name, with anything
# in it.
_RECORDS: Final = frozenset({"fields", "properties", "traits", "context"})


def veiled(value: Any, name: str = "", *, is_record: bool = False) -> Any:
    """Return a JSON value with ******** for everything that may be personal, in the same form.

    What stays: null, booleans, Salesforce ids of 18 characters whose check characters are right, times of day with
    their date (a date alone may be a birthday), and, outside of a record's `fields` and the like, what headrace itself
    wrote about the record: object, origin, type and so on. Names of fields stay too; what can't be one does not.
    """
    if isinstance(value, Mapping):
        keys = _keys(value)
        return {keys[k]: veiled(v, str(k), is_record=is_record or k in _RECORDS) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [veiled(one, is_record=True) for one in value]
    if value is None or isinstance(value, bool):
        return value
    return value if isinstance(value, str) and _is_harmless(value, name, is_record) else VEIL


def veiled_subject(subject: str | None) -> str | None:
    """Return which record an entry is about if it says so as headrace does (`Contact/003...`), else ********."""
    return subject if subject is None or _is_subject(subject) else VEIL


def _is_harmless(text: str, name: str, is_record: bool) -> bool:
    if _is_id(text) or _STAMP.fullmatch(text):
        return True
    if is_record:
        return False
    if name == "subject":
        return _is_subject(text)
    if name == "id":
        found = _CAPTURE_ID.fullmatch(text)
        return found is not None and _is_id(found[1])
    return name in _OWN and _OWN[name].fullmatch(text) is not None


def _is_subject(text: str) -> bool:
    found = _SUBJECT.fullmatch(text)
    return found is not None and _is_id(found[1])


def _is_id(text: str) -> bool:
    return len(text) == 18 and text.isascii() and text.isalnum() and long_id(text[:15]) == text


def _keys(value: Mapping[Any, Any]) -> dict[Any, str]:
    """Return what each key is shown as; several that can't be names are numbered, so that none is lost."""
    shown: dict[Any, str] = {}
    for key in value:
        is_name = isinstance(key, str) and _NAME.fullmatch(key)
        shown[key] = str(key) if is_name else f"{VEIL}{len(shown) or ''}"
    return shown
