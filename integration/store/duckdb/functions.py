"""Which functions DuckDB has that do nothing but work a value out."""

from functools import cache

import duckdb

# What is volatile has an effect (nextval, write_log, sleep_ms) or tells of the connection; these alone draw a value.
_READING = """
SELECT DISTINCT lower(function_name) FROM duckdb_functions()
WHERE function_type IN ('scalar', 'aggregate', 'window', 'macro') AND function_name NOT LIKE 'pg\\_%' ESCAPE '\\'
    AND (stability IS DISTINCT FROM 'VOLATILE'
         OR function_name IN ('random', 'uuid', 'gen_random_uuid', 'uuidv4', 'uuidv7'))
"""


@cache
def reading_functions() -> frozenset[str]:
    """Return the names, in small letters, of the functions of one value that only read: no table functions."""
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        return frozenset(con.sql(_READING).to_arrow_table().column(0).to_pylist())
