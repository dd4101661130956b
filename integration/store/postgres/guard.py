"""Which SQL of a person may run: one statement that reads.

What protects what:

* Writing: the statement runs in a READ ONLY transaction that is rolled back; PostgreSQL refuses INSERT, DDL, nextval(),
  SELECT ... FOR UPDATE and the like.
* One statement: it is prepared by itself, where PostgreSQL takes one only.
* COPY (files and programs), DO, CALL, SET, LOCK, LISTEN and whatever else a read-only transaction allows: the statement
  must begin with one of the words below.
* Functions with effects beside the tables (pg_terminate_backend, pg_advisory_lock, pg_read_file, lo_export, set_config,
  dblink, ...): PostgreSQL knows them as volatile, and a statement that calls a volatile function is refused, but for
  the harmless ones named here. So is one that hides a name behind Unicode escapes.
* What may be read at all, other databases' catalogs and the hashes of passwords included: the rights of the role that
  headrace logs in as. It should be no superuser.
"""

import re

import psycopg

from integration.errors import UsageError

READING_ONLY = "Only reading is possible here: SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN."

_QUERIES = frozenset({"select", "with", "values", "table"})
_EXPLAIN = re.compile(
    r"explain\s*(?:\((?P<options>[^()]*)\)|(?P<words>(?:\s*\b(?:analyze|verbose)\b)*))", re.IGNORECASE
)
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)
_CALLED = re.compile(r"""(\w[\w$]*)"?\s*(?=\(|--|/\*)""")
_ESCAPED_NAME = re.compile(r"""\bu&\s*["]""", re.IGNORECASE)
_HARMLESS = frozenset({
    "random", "random_normal", "setseed", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday",
    "pg_sleep", "pg_relation_size", "pg_table_size", "pg_indexes_size", "pg_total_relation_size", "pg_database_size",
    "pg_is_in_recovery", "bernoulli", "system",
})  # fmt: skip
_VOLATILE = (
    "SELECT DISTINCT proname FROM pg_catalog.pg_proc WHERE provolatile = 'v' AND proname = any($1) ORDER BY proname"
)


def check(sql: str) -> None:
    """Refuse with UsageError what does not begin as a reading statement does."""
    text = _without_comments(sql)
    word = _first_word(text)
    if not word:
        raise UsageError("There is no SQL to run: give one statement, for example SELECT count(*) FROM users.")
    if word == "explain":
        explained = _EXPLAIN.match(text)
        rest = _without_comments(text[explained.end() :]) if explained else ""
        if _first_word(rest) not in _QUERIES:
            raise UsageError(f"EXPLAIN is possible for SELECT only. {READING_ONLY}")
    elif word not in _QUERIES and word != "show":
        raise UsageError(f"{word.upper()} is not possible. {READING_ONLY}")
    if _ESCAPED_NAME.search(sql):
        raise UsageError('Names can\'t be written with Unicode escapes (U&"...") here: write them as they are.')


def check_functions(con: psycopg.Connection, sql: str) -> None:
    """Refuse with UsageError the call of a function that does more than compute from tables and arguments."""
    called = {name.lower() for name in _CALLED.findall(sql)} - _HARMLESS
    found = con.execute(_VOLATILE, [sorted(called)]).fetchall() if called else []
    if found:
        raise UsageError(f"{found[0][0]}() can't be used here: it does more than read the tables.")


def _first_word(text: str) -> str:
    found = _WORD.match(text.lstrip("( \t\r\n\f\v"))
    return found[0].lower() if found else ""


def _without_comments(sql: str) -> str:
    """Return the text from its first word on; comments may hold comments, as in PostgreSQL."""
    at = 0
    while at < len(sql):
        if sql[at].isspace() or sql[at] in ";(":
            at += 1
        elif sql.startswith("--", at):
            end = re.compile(r"[\r\n]").search(sql, at)
            at = end.end() if end else len(sql)
        elif sql.startswith("/*", at):
            at = _end_of_comment(sql, at)
        else:
            break
    return sql[at:]


def _end_of_comment(sql: str, at: int) -> int:
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(sql)
