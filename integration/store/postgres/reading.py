"""What headrace itself asks of PostgreSQL."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from integration.store import dialect
from integration.store.postgres import values
from integration.store.postgres.names import short
from integration.store.postgres.sessions import Sessions
from integration.store.protocol import State


def compiled(sql: str) -> str:
    """Return a statement of headrace's own in PostgreSQL's dialect, its parameters numbered."""
    return dialect.compiled(sql, "postgres", short)


class PostgresReading:
    """See protocol.Reading. To be used by one thread."""

    def __init__(self, con: psycopg.Connection, sessions: Sessions) -> None:
        self._con = con
        self._sessions = sessions

    def states(self, object_name: str, record_ids: Iterable[str]) -> list[State]:
        """See protocol.Reading."""
        ids = list(dict.fromkeys(record_ids))
        if not ids:
            return []
        sql = "SELECT record_id, payload FROM headrace.states WHERE object = $1 AND record_id = any($2)"
        return [State(record_id, payload.encode()) for record_id, payload in self._run(sql, [object_name, ids])]

    def known_ids(self, object_name: str, *, after: str = "", limit: int) -> list[tuple[str, bool]]:
        """See protocol.Reading."""
        sql = (
            "SELECT record_id, is_deleted FROM headrace.states WHERE object = $1 AND record_id > $2 "
            f"ORDER BY record_id LIMIT {limit:d}"
        )
        return [(record_id, is_deleted) for record_id, is_deleted in self._run(sql, [object_name, after])]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """See protocol.Reading. Values have the form in which columns take them: times and dates as ISO text, numbers
        as int, float or Decimal, JSON as text."""
        return self._plain(compiled(sql), parameters)

    def _plain(self, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        cursor = self._run(sql, parameters)
        told = cursor.description or ()
        names = self._sessions.whole_names(self._con, (one.name for one in told))
        fields = [values.Field(name, one.type_code, -1) for name, one in zip(names, told, strict=True)]
        return values.plain_rows(fields, cursor.fetchall())

    def _run(self, sql: str, parameters: Sequence[Any] | None = None) -> psycopg.Cursor[Any]:
        # The text is made of names that are quoted and of constants; values travel as parameters.
        return self._con.execute(sql.encode(), parameters or None)
