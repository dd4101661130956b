"""Which SQL of a person may run: one statement that reads, and nothing beside the tables.

A read-only transaction stops writes to the tables, and `enable_external_access = false` stops files. What neither
stops are table functions with effects on the whole process (`FROM enable_logging(...)` can make every later
statement fail), so a statement may call only the table functions named here.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import duckdb
from duckdb import StatementType

from integration.errors import UsageError

READING_ONLY = "Only reading is possible here: SELECT, WITH, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE or PIVOT."

_TABLE_FUNCTIONS = frozenset({
    "range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree",
    "duckdb_columns", "duckdb_constraints", "duckdb_functions", "duckdb_indexes", "duckdb_keywords",
    "duckdb_schemas", "duckdb_settings", "duckdb_tables", "duckdb_types", "duckdb_views", "duckdb_memory",
    "pragma_table_info", "pragma_version", "pragma_database_size", "pragma_show",
    "icu_calendar_names", "pg_timezone_names",
})  # fmt: skip
_PRAGMA = re.compile(r"\s*PRAGMA\s+(table_info|show_tables|database_size|version)\b[^;]*;?\s*", re.IGNORECASE)
_EXPLAIN = re.compile(
    r"\s*EXPLAIN\s+(?:ANALYZE\b\s*)?(?:\(\s*(?:ANALYZE|FORMAT)\b[^()]*\)\s*)?(.*)", re.IGNORECASE | re.DOTALL
)
_LEADING_COMMENTS = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"\w+")


def reading_statement(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return the text of the one reading statement that `sql` holds, comments and semicolons around it dropped.

    Raises UsageError for anything else, and lets DuckDB's error pass for SQL that does not parse.
    """
    kind, query = _single(con, sql)
    text = _LEADING_COMMENTS.sub("", query, count=1)
    if kind == StatementType.EXPLAIN:
        explained = _EXPLAIN.fullmatch(text)
        if explained is None or _single(con, explained[1])[0] != StatementType.SELECT:
            raise UsageError(f"EXPLAIN is possible for SELECT only. {READING_ONLY}")
        _check_functions(_functions_called(con, explained[1]))
    elif kind == StatementType.SELECT:
        _check_functions(_functions_called(con, text))
    elif kind == StatementType.MULTI:
        # PIVOT without an IN list is several statements inside and can't be taken apart: any mention counts.
        _check_functions(_words_that_name_functions(con, text))
    elif not (kind == StatementType.PRAGMA and _PRAGMA.fullmatch(text)):
        raise UsageError(f"{_name(kind)} is not possible. {READING_ONLY}")
    return text


def _single(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[StatementType, str]:
    """Return the kind and the text of the only statement."""
    statements = con.extract_statements(sql)
    if not statements:
        raise UsageError("There is no SQL to run: give one statement, for example SELECT count(*) FROM users.")
    if len(statements) > 1:
        raise UsageError(f"These are {len(statements)} statements; give one at a time.")
    try:
        return statements[0].type, statements[0].query
    except ValueError as error:
        # DuckDB's Python side has no name for the newest kinds of statements.
        raise UsageError(f"This statement is not possible. {READING_ONLY}") from error


def _functions_called(con: duckdb.DuckDBPyConnection, select: str) -> set[str]:
    answer = con.sql("SELECT json_serialize_sql(?) AS tree", params=[select]).to_arrow_table()
    tree = json.loads(answer.column(0)[0].as_py())
    if tree.get("error"):
        return _words_that_name_functions(con, select)
    return {str(node.get("function", {}).get("function_name", "")).lower() for node in _table_functions(tree)}


def _table_functions(node: Any) -> Iterator[dict[str, Any]]:
    todo = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if one.get("type") == "TABLE_FUNCTION":
                yield one
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)


def _words_that_name_functions(con: duckdb.DuckDBPyConnection, text: str) -> set[str]:
    known = con.sql("SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'")
    names = {name.lower() for name in known.to_arrow_table().column(0).to_pylist()}
    return names.intersection(word.lower() for word in _WORD.findall(text))


def _check_functions(called: Iterable[str]) -> None:
    refused = sorted(set(called) - _TABLE_FUNCTIONS)
    if refused:
        raise UsageError(
            f"{refused[0]}() can't be used here: only tables and views can be read (SHOW ALL TABLES lists them)."
        )


def _name(kind: StatementType) -> str:
    return str(kind).rpartition(".")[2].replace("_", " ")
