"""Words that commands take and that parts below them act on: said once, in a module that costs nothing to import."""

from enum import StrEnum


class Dialect(StrEnum):
    """The SQL of a kind of store."""

    DUCKDB = "duckdb"
    POSTGRES = "postgres"
    CLICKHOUSE = "clickhouse"


class Format(StrEnum):
    """What a file of events may be."""

    JSON_LINES = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class CallType(StrEnum):
    """What a Segment call may be."""

    TRACK = "track"
    IDENTIFY = "identify"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"
