"""Views that change with the org: PostgreSQL lets a view only grow at its end, and none go that another one needs."""

from contextlib import suppress

import psycopg
from psycopg import errors

from integration.errors import RunError
from integration.store.postgres.names import identifier, split, table_name

_COLUMNS = (
    "SELECT a.attname FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 "
    "AND NOT a.attisdropped ORDER BY a.attnum"
)


def replace_view(con: psycopg.Connection, name: str, select: str) -> None:
    """Create or replace a view. Views and rights that others have built on it are kept where that can be done:
    columns it had keep their places, new ones come behind them.

    Raises RunError where a column has gone that another view needs.
    """
    view = table_name(name)
    if _tried(con, f"CREATE OR REPLACE VIEW {view} AS {select}"):
        return
    had = [row[0] for row in con.execute(_COLUMNS.encode(), [view])]
    with suppress(errors.UndefinedColumn):
        cursor = con.execute(f"SELECT * FROM ({select}) AS v LIMIT 0".encode())
        has = [one.name for one in cursor.description or ()]
        if set(had) <= set(has):
            ordered = ", ".join(map(identifier, [*had, *(one for one in has if one not in had)]))
            if _tried(con, f"CREATE OR REPLACE VIEW {view} AS SELECT {ordered} FROM ({select}) AS v"):
                return
    try:
        con.execute(f"DROP VIEW {view}".encode())
    except errors.DependentObjectsStillExist as error:
        schema, bare = split(name)
        raise RunError(
            f"The view {schema}.{bare} has lost a column that another view needs "
            f"({(error.diag.message_detail or '').splitlines()[0]}): drop that one, then start again."
        ) from error
    con.execute(f"CREATE VIEW {view} AS {select}".encode())


def _tried(con: psycopg.Connection, statement: str) -> bool:
    con.execute(b"SAVEPOINT view")
    try:
        con.execute(statement.encode())
    except errors.InvalidTableDefinition:
        con.execute(b"ROLLBACK TO SAVEPOINT view")
        return False
    con.execute(b"RELEASE SAVEPOINT view")
    return True
