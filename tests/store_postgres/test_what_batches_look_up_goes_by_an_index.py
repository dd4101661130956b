"""A batch looks up a few rows of large tables: each way it does has its index."""

import re

import psycopg
import pytest

from consumers import apply, people
from integration.store.postgres.reading import compiled
from integration.store.postgres.store import PostgresStore

SOME = ["1", "2"]
MANY = (
    "INSERT INTO events (event_id, user_id, alias) SELECT n, nullif(n % 2, 0)::text || n, nullif(n % 2, 0)::text || n "
    "FROM generate_series(1, 9000) AS n",
    "INSERT INTO headrace.people (user_id) SELECT n FROM generate_series(1, 9000) AS n",
    "INSERT INTO captures (object, record_id) SELECT 'Contact', n FROM generate_series(1, 9000) AS n",
    "ANALYZE",
)
"""Every other event is nobody's, as those of accounts are."""


@pytest.mark.parametrize(
    ("sql", "parameters", "columns"),
    [
        (people._OF_NOBODY, [SOME], {"alias"}),
        (people._OF_USERS, [SOME, SOME], {"user_id"}),
        (people._ROWS, [SOME], {"user_id"}),
        (apply._CAPTURES_OF, ["Contact", SOME], {"object", "record_id"}),
    ],
)
def test_it_is_an_index_that_finds_them(
    store: PostgresStore, url: str, sql: str, parameters: list[object], columns: set[str]
) -> None:
    with psycopg.connect(url, cursor_factory=psycopg.RawCursor) as con:
        for statement in MANY:
            con.execute(statement.encode())
        plan = [row[0] for row in con.execute(f"EXPLAIN {compiled(sql)}".encode(), parameters)]
    conditions = " ".join(line for line in plan if "Index Cond" in line)
    assert columns <= {*re.findall(r"\w+", conditions)}, "\n".join(plan)
