"""What changed between two images of one record. Pure; sorted by field, so that golden files hold."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from integration.core import values
from integration.core.catalog import BOOKKEEPING
from integration.core.columns import ColumnType

# Not information about the record but about its life: an event's name tells it.
_LIFE = frozenset({"IsDeleted", "MasterRecordId"})


class Difference(NamedTuple):
    """A field with its value before and after, as Salesforce's JSON has them."""

    field: str
    old: Any
    new: Any


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """List the fields of `after` whose value differs; a field that `before` lacks was null.

    Fields that `after` lacks are unknown now (hidden, or no longer selected), which is no change. Bookkeeping
    fields (stamps of the last save or view) never count.
    """
    if before == after:
        return []
    return sorted(_differences(before, after), key=lambda d: d.field)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for name, new in after.items():
        old = before.get(name)
        if old == new or name in BOOKKEEPING or name in _LIFE or values.same(old, new) or _reads_the_same(old, new):
            continue
        yield Difference(name, old, new)


def _reads_the_same(old: Any, new: Any) -> bool:
    """Tell whether a field has changed its type and nothing else: "5", once it is a number, is 5."""
    if isinstance(old, str) and isinstance(new, bool | int | float | Decimal):
        return old == values.text(ColumnType.TEXT, new)
    if isinstance(new, str) and isinstance(old, bool | int | float | Decimal):
        return new == values.text(ColumnType.TEXT, old)
    return False
