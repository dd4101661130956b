"""Reading rows: one getter per field, whether it is stored, calculated or put together from parts."""

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from integration.sandbox.fields import ADDRESS_PARTS
from integration.sandbox.model import FieldDef
from integration.sandbox.table import Row, RowView, Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org

Getter = Callable[[Row], Any]


def getter(org: "Org", table: Table, field: FieldDef) -> Getter:
    """Return a function from a row to the field's value as the REST JSON shows it."""
    if field.formula is not None:
        return _formula(org, table, field)
    if field.type == "address":
        names = [part[0].lower() + part[1:] for part in ADDRESS_PARTS]
        return _compound(table, dict(zip(names, field.parts, strict=True)))
    if field.type == "location":
        return _compound(table, dict(zip(("latitude", "longitude"), field.parts, strict=True)))
    return itemgetter(table.at[field.name])


def plain_reader(org: "Org", table: Table, fields: tuple[FieldDef, ...]) -> Callable[[Row], dict[str, Any]]:
    """Return a function from a row to a dict of these fields, in their order."""
    names = tuple(f.name for f in fields)
    # Calculated fields borrow the first column for a moment: one C-level call then fetches a whole row.
    fetch = itemgetter(*[table.at.get(name, 0) for name in (*names, "Id")])
    computed = [(f.name, getter(org, table, f)) for f in fields if not f.stored]

    def read(row: Row) -> dict[str, Any]:
        record = dict(zip(names, fetch(row), strict=False))
        for name, get in computed:
            record[name] = get(row)
        return record

    return read


def _formula(org: "Org", table: Table, field: FieldDef) -> Getter:
    compute, at = field.formula, table.at
    assert compute is not None  # noqa: S101 - asked by the caller

    def read(row: Row) -> Any:
        try:
            return compute(RowView(at, row), org)
        except (TypeError, ValueError):
            return None  # a field it reads was retyped: Salesforce shows #Error!, which the API gives as null

    return read


def _compound(table: Table, parts: dict[str, str]) -> Getter:
    places = [(key, table.at[name]) for key, name in parts.items()]

    def read(row: Row) -> dict[str, Any] | None:
        value = {key: row[place] for key, place in places}
        return value if any(part is not None for part in value.values()) else None

    return read
