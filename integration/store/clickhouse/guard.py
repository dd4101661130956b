"""Which SQL of a person may run: one statement that reads, and nothing beside the tables.

The session is read-only, which stops writes. What that does not stop are functions that read files, other servers or
secrets, more than one statement (an engine in the own process takes them), and settings of one's own; ClickHouse's own
parser tells what a statement calls.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import sqlglot
from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from integration.errors import UsageError

READING_ONLY = "Only reading is possible here: SELECT, WITH, EXPLAIN, DESCRIBE, SHOW or EXISTS."

_SELECTS = frozenset({"SELECT", "WITH", "FROM", "("})
_OTHERS = frozenset({"EXPLAIN", "DESCRIBE", "DESC", "SHOW", "EXISTS"})
_TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "generateseries", "generate_series", "values", "view", "null"}
)
_FUNCTIONS = frozenset({
    "file", "catboostevaluate", "getserverport", "showcertificate", "getclienthttpheader", "gethttpheader",
    "sleep", "sleepeachrow", "throwif", "addresstoline", "addresstosymbol", "demangle", "trap", "reverse_dns_query",
    "reversednsquery", "filesystemavailable", "filesystemcapacity", "filesystemunreserved", "dictget",
    "dictgetordefault", "dictgetornull", "joinget", "joingetornull", "remote", "url",
})  # fmt: skip
_SWALLOWING = frozenset(sqlglot.Tokenizer.COMMANDS)
_CALLED = re.compile(r" *Function (\S+)")
_EXPLAIN = re.compile(
    r"\s*EXPLAIN\s+(?:AST|SYNTAX|QUERY\s+TREE|PLAN|PIPELINE|ESTIMATE)?\s*(?:\w+\s*=\s*\d+\s*,?\s*)*(.*)",
    re.IGNORECASE | re.DOTALL,
)


def reading_statement(sql: str, syntax_tree: Callable[[str], str]) -> tuple[str, bool]:
    """Return the text of the one reading statement in `sql`, and whether it is a SELECT.

    `syntax_tree` gives ClickHouse's EXPLAIN AST of a SELECT. Raises UsageError for anything else, and lets ClickHouse's
    error pass for SQL that does not parse.
    """
    words = _words(sql)
    while words and words[-1].kind is TokenType.SEMICOLON:
        words.pop()
    if not words:
        raise UsageError("There is no SQL to run: give one statement, for example SELECT count(*) FROM users.")
    kinds = [word.kind for word in words]
    if TokenType.SEMICOLON in kinds:
        ends = pairwise(kinds)
        count = 1 + sum(one is TokenType.SEMICOLON and other is not one for one, other in ends)
        raise UsageError(f"These are {count} statements; give one at a time.")
    text, first = sql[words[0].start : words[-1].end], words[0].text
    _check_clauses(words)
    if first in _SELECTS:
        if TokenType.L_PAREN in kinds:  # there is no call without one
            _check_calls(syntax_tree(text))
        return text, True
    if first not in _OTHERS:
        raise UsageError(f"{first} is not possible. {READING_ONLY}")
    explained = _EXPLAIN.fullmatch(text) if first == "EXPLAIN" else None
    if explained is not None:
        if not explained[1].upper().startswith(tuple(_SELECTS)):
            raise UsageError(f"EXPLAIN is possible for SELECT only. {READING_ONLY}")
        _check_calls(syntax_tree(explained[1]))
    elif TokenType.L_PAREN in kinds:
        raise UsageError(f"{first} is possible for tables and views only: SHOW TABLES lists them.")
    return text, False


class _Word(NamedTuple):
    text: str
    """In capitals; empty for a text and for a quoted name."""
    kind: TokenType
    start: int
    end: int


def _words(sql: str, start: int = 0) -> list[_Word]:
    try:
        tokens = sqlglot.tokenize(sql[start:], read="clickhouse")
    except SqlglotError as error:
        raise UsageError("The SQL does not parse: a quote or a comment in it has no end.") from error
    words = [
        _Word(
            "" if t.token_type in (TokenType.STRING, TokenType.IDENTIFIER) else t.text.upper(),
            t.token_type,
            start + t.start,
            start + t.end + 1,
        )
        for t in tokens
    ]
    if words and words[0].kind in _SWALLOWING:
        # Of such a statement the tokenizer gives the first word, and the rest as one text.
        return [words[0], *_words(sql, words[0].end)]
    return words


def _check_clauses(words: Sequence[_Word]) -> None:
    texts = [word.text for word in words]
    for word, following, then in zip(texts, [*texts[1:], ""], [*texts[2:], "", ""], strict=False):
        if word == "INTO" and following == "OUTFILE":
            raise UsageError("Answers can't be written to a file from here: headrace sql prints CSV and JSON.")
        if word == "SETTINGS" and then == "=":
            raise UsageError("Settings can't be changed from here: leave SETTINGS out.")


def _check_calls(tree: str) -> None:
    for above, line in pairwise(["", *tree.splitlines()]):
        called = _CALLED.match(line)
        if called is None:
            continue
        name = called[1].lower()
        in_from = above.lstrip().startswith("TableExpression")
        if (in_from and name not in _TABLE_FUNCTIONS) or name in _FUNCTIONS:
            raise UsageError(
                f"{name}() can't be used here: only tables and views can be read (SHOW TABLES lists them)."
            )
