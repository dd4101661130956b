"""The DDL of a store on several servers: each has the rows of some people, and one door reads them all.

Only the DDL, for those who lay a cluster out by hand: headrace itself writes to the one server of store.url.
"""

from collections.abc import Mapping, Sequence

from integration.store.clickhouse import layout
from integration.store.clickhouse.layout import Layout

_DOOR = "everywhere."
_PERSON: Mapping[str, str] = {
    "users": "ifNull(user_id, '')",
    # What is nobody's is spread by itself.
    "events": "coalesce(user_id, event_id, '')",
    "changes": "coalesce(user_id, event_id, '')",
}
"""The tables that grow with people, and what decides where a row lies.

It is part of the table's key: a row that changes hands is deleted where it was and written where it belongs, so no row
is ever in two places.
"""


def ddl(tables: Sequence[Layout], cluster: str, main: str = "default") -> list[str]:
    """Return the statements that lay the tables of people out over the servers of a cluster, to be run on each of them.

    `tables` are the tables as they are; those that do not grow with people are left out.
    """
    statements = [f"CREATE DATABASE IF NOT EXISTS {layout.name(layout.ROWS)}"]
    for one in tables:
        person = _PERSON.get(one.name)
        if person is not None:
            statements += [layout.create(one), _door(one, cluster, person), _view(one, main)]
    return statements


def _door(table: Layout, cluster: str, person: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {layout.rows_of(_DOOR + table.name)} AS {layout.rows_of(table.name)} "
        f"ENGINE = Distributed({layout.literal(cluster)}, {layout.literal(layout.ROWS)}, {layout.literal(table.name)}, "
        f"cityHash64({person}))"
    )


def _view(table: Layout, main: str) -> str:
    return layout.create_view(table.name, main, [*table.columns], rows=layout.rows_of(_DOOR + table.name))
