"""When DuckDB's write-ahead log goes back into the file, and when the file is made dense again.

A checkpoint of DuckDB (2.0) also merges row groups that have become loose. It takes little for that: a few thousand
rows written anew at the end of a table of two row groups are enough, and then all of it is written again. `users`, with
its hundreds of columns, was written nearly whole at every checkpoint: 4.5 s of CPU after 12,000 changes in an org of
400,000 records, 0.4 s without. So tables are merged only once half of a table's rows are dead: then it costs the same
per change whatever the size.
"""

from pathlib import Path
from typing import Final

import duckdb

from integration.store.quoting import table_name

SETTING: Final = "max_vacuum_tasks"
"""How many merges a checkpoint may make: the one setting that stays open to headrace's own connections."""
_LOG_BYTES: Final = 256 * 2**20
"""So much of it is written back at once: less often is not cheaper, and more must be read again after a crash."""
_FEW: Final = 20_000
"""Dead rows that are never worth the work."""


def is_long(path: Path) -> bool:
    """Tell whether the log of this file is due."""
    try:
        return path.with_name(f"{path.name}.wal").stat().st_size >= _LOG_BYTES
    except OSError:
        return False


def let_merge(con: duckdb.DuckDBPyConnection) -> None:
    """Have the next checkpoint merge row groups if half of a table's rows are dead, and not otherwise."""
    is_loose = any(_is_loose(con, *one) for one in con.execute(_SIZES, [2 * _FEW]).fetchall())
    con.execute(f"SET GLOBAL {SETTING} = {100 if is_loose else 0}")


# Dead rows are counted in it. The one table that is emptied again and again is left out: behind a first sync all of it
# is dead, and row groups without a living row go with any checkpoint. Merging for its sake wrote every table anew.
_SIZES: Final = (
    "SELECT schema_name, table_name, estimated_size FROM duckdb_tables() "
    "WHERE database_name = current_database() AND estimated_size >= ? AND table_name <> 'stale'"
)


def _is_loose(con: duckdb.DuckDBPyConnection, schema: str, table: str, rows: int) -> bool:
    found = con.execute(f"SELECT count(*) FROM {table_name(f'{schema}.{table}')}").fetchone()
    return found is not None and rows - found[0] >= max(_FEW, found[0])
