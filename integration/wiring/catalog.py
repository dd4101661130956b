"""`headrace schema`: objects and fields, and what became of them."""

from typing import Any

from integration.settings import Settings
from integration.store.answers import ask
from integration.wiring import reading

_NAMES = """
SELECT object, field, prefix_object, CASE WHEN field = 'IsDeleted' THEN NULL ELSE property END AS property,
       CASE WHEN prefix_object = object THEN 'salesforce.' || lower(object) || '.' || column_name END AS raw_column,
       type, since
FROM headrace.properties ORDER BY prefix_object, object, place
"""


def catalog(settings: Settings) -> list[dict[str, Any]]:
    """List every field with its property, its raw column and its type.

    `prefix_object` differs from `object` where a lookup flattens the field in. IsDeleted is no property: every table
    has the column `is_deleted`. Raises ConfigError before the first
    sync: names are given when fields are first read.
    """
    with reading.reader(settings) as store:
        return ask(store, _NAMES)
