"""What the store knows of objects and fields: what `headrace schema` lists, and the raw columns there are."""

from collections.abc import Mapping
from typing import Any

from integration.settings import Settings
from integration.store.answers import ask
from integration.store.protocol import Reader
from integration.wiring import reading

_NAMES = """
SELECT object, field, prefix_object, CASE WHEN field = 'IsDeleted' THEN NULL ELSE property END AS property,
       CASE WHEN prefix_object = object THEN 'salesforce.' || lower(object) || '.' || column_name END AS raw_column,
       type, since
FROM headrace.properties ORDER BY prefix_object, object, place
"""
_COLUMNS = """
SELECT DISTINCT object, column_name FROM headrace.properties
WHERE prefix_object = object AND column_name IS NOT NULL AND object IN (SELECT object FROM headrace.schemas)
"""


def catalog(settings: Settings) -> list[dict[str, Any]]:
    """List every field with its property, its raw column and its type.

    `prefix_object` differs from `object` where a lookup flattens the field in. IsDeleted is no property: every table
    has the column `is_deleted`. Raises ConfigError before the first
    sync: names are given when fields are first read.
    """
    with reading.reader(settings) as store:
        return ask(store, _NAMES)


def raw_columns(store: Reader) -> Mapping[str, frozenset[str]]:
    """Return the columns of the table of each object of Salesforce that has been read, by its API name."""
    found: dict[str, set[str]] = {}
    for row in ask(store, _COLUMNS):
        found.setdefault(row["object"], set()).add(row["column_name"])
    return {name: frozenset(columns) for name, columns in found.items()}
