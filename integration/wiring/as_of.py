"""`headrace users`: people as they were, at one time or at each event of the product."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from integration.core import catalog, values
from integration.core.columns import ColumnType
from integration.core.project import PERSON_OBJECTS
from integration.errors import ConfigError, UsageError
from integration.settings import Settings
from integration.store.answers import ask, columns
from integration.store.hints import did_you_mean
from integration.store.past import UNTOLD
from integration.store.protocol import Reader
from integration.store.then import Asked, users_as_of, users_at_events
from integration.wiring import reading
from integration.wiring.clock import stamp

_NAMES = "SELECT object, field, prefix_object, property, type FROM headrace.properties ORDER BY place"
_SCHEMAS = """
SELECT s.object, s.body::VARCHAR AS body FROM headrace.schemas AS s
JOIN headrace.meta AS m ON m.key = 'schema:' || s.object AND m.value = s.schema_id
"""
_DECIMALS = 9
"""Where a store knows no limit of them, and this one is not heeded."""
_DIGITS = re.compile(r"Decimal\(\d+, *(\d+)\)", re.IGNORECASE)


def as_of(settings: Settings, moment: datetime, wanted: Sequence[str] | None = None) -> str:
    """Return the SELECT, in DuckDB's dialect, of everybody as they were then; `wanted` are properties, None for all.

    Raises UsageError for a property whose past is not known, ConfigError for a store that knows no person.
    """
    with reading.reader(settings) as store:
        return users_as_of(stamp(moment), asked(store, wanted))


def at_events(settings: Settings, name: str | None = None, wanted: Sequence[str] | None = None) -> str:
    """Return the SELECT of each product event (of this name) with its person as they were then. Raises as `as_of`."""
    with reading.reader(settings) as store:
        return users_at_events(asked(store, wanted), name)


def asked(store: Reader, wanted: Sequence[str] | None = None) -> list[Asked]:
    """Return these properties with their types, or all whose past is known. Raises as `as_of`."""
    names = ask(store, _NAMES)
    known = _newest(store, [row for row in names if _is_told(row)])
    if not known:
        raise ConfigError("No contact, lead or account has been read yet: run headrace sync first.")
    for name in wanted or ():
        if name not in known:
            raise UsageError(_unknown(name, known, {row["property"] for row in names}))
    digits = {one["name"]: one["type"] for one in columns(store.query("SELECT * FROM users", limit=0))}
    return [Asked(name, known[name], _decimal(digits.get(name, ""))) for name in (known if wanted is None else wanted)]


def _is_told(row: Mapping[str, Any]) -> bool:
    return row["prefix_object"] == row["object"] and row["object"] in PERSON_OBJECTS and row["field"] not in UNTOLD


def _newest(store: Reader, rows: Sequence[Mapping[str, Any]]) -> dict[str, ColumnType]:
    """Return property -> type; of a field that has had several types the property of the present one."""
    schemas = {row["object"]: catalog.from_json(row["body"]) for row in ask(store, _SCHEMAS)}
    found: dict[tuple[str, str], tuple[str, ColumnType]] = {}
    for row in rows:
        key, kind = (row["object"], row["field"]), ColumnType(row["type"])
        schema = schemas.get(row["object"])
        described = schema.field(row["field"]) if schema is not None else None
        if key not in found or described is None or values.column_type(described) is kind:
            found[key] = row["property"], kind
    return dict(found.values())


def _decimal(kind: str) -> str:
    """Say in which type all digits have room that the column of `users` has room for."""
    digits = _DIGITS.search(kind)
    return f"DECIMAL(38, {digits[1] if digits else _DECIMALS})"


def _unknown(name: str, known: Mapping[str, ColumnType], named: set[str]) -> str:
    if name in named:
        return f"The past of {name} is not kept: docs/time-machine.md says of which properties it is."
    return f"There is no property {name} of people.{did_you_mean(name, [*known])} headrace schema lists them all."
