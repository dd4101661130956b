"""The conditions that people write in definitions: one expression of SQL, taken apart and put into a statement.

A column without a table is one of the subject's. `<name>.times`, `.first_at`, `.last_at`, `.days_since` and
`.days_since_first` are of a happening of the same definition; `audience.<name>`, `persona.<name>`, `journey.<name>`,
`cohort.<name>` and `health.<name>` of another definition. The time is always the time of the run, so that a run can be
of any time.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from integration.errors import ConfigError
from integration.store.duckdb.functions import reading_functions

NOW: Final = "CAST(? AS TIMESTAMPTZ)"
"""The time of the run: a parameter of every statement, as often as it stands there."""
SUBJECT: Final = "u"
SUMS: Final = ("times", "first_at", "last_at", "days_since", "days_since_first")
"""What a happening is summed up to."""

KINDS: Final = ("audience", "persona", "journey", "cohort", "health")
_TODAY: Final = f"CAST({NOW} AT TIME ZONE 'UTC' AS DATE)"
_CLOCKS: Final = dict.fromkeys(("now", "get_current_timestamp", "transaction_timestamp"), NOW)
_KNOWN_CLOCKS: Final[dict[type[exp.Expression], str]] = {
    exp.CurrentTimestamp: NOW,
    exp.CurrentDate: _TODAY,
    exp.Localtimestamp: f"CAST({NOW} AT TIME ZONE 'UTC' AS TIMESTAMP)",
}
_OTHER_CLOCKS: Final = (
    exp.CurrentTime, exp.Localtime, exp.UtcDate, exp.UtcTime, exp.UtcTimestamp, exp.Systimestamp,
)  # fmt: skip
_REFUSED: Final = (
    exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Placeholder, exp.Parameter, exp.NextValueFor, exp.ReadCSV,
    exp.ReadParquet,
)  # fmt: skip
_TABLE_FUNCTIONS: Final = ("json_each", "json_tree")


class Ref(NamedTuple):
    """A definition by kind and name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@contextmanager
def put_into_sql() -> Iterator[None]:
    """Have conditions put into SQL: raises ConfigError for one that can't be said there, or nests too deeply."""
    try:
        yield
    except (SqlglotError, RecursionError) as error:
        what = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"A condition can't be put into the SQL of this store: {what}.") from error


@lru_cache(maxsize=2048)
def parsed(text: str) -> exp.Expression:
    """Parse a condition. Raises ConfigError when it is not one expression that only reads.

    Whoever asks again gets the same tree: it is to be left as it is.
    """
    try:
        # The bracket on a line of its own: a comment at the end must not swallow it.
        trees = sqlglot.parse(f"SELECT ({text}\n)", read="duckdb")
    except SqlglotError as error:
        raise ConfigError(f"`{_short(text)}` is no condition: {_what(error)}.") from None
    except RecursionError:
        raise ConfigError(f"`{_short(text)}` is no condition: it is nested too deeply.") from None
    tree = trees[0] if len(trees) == 1 else None
    found = tree.expressions if isinstance(tree, exp.Select) and _shows_only(tree) else []
    if len(found) == 1 and not found[0].this and not found[0].expressions:
        raise ConfigError("A condition is empty: write one expression, as after WHERE.")
    # Of `a) OR (b` the brackets around it have become a part.
    if len(found) != 1 or not isinstance(found[0], exp.Paren | exp.Subquery) or isinstance(found[0].this, exp.Star):
        raise ConfigError(f"`{_short(text)}` is no condition: write one expression, as after WHERE.")
    for node in found[0].walk():
        if told := _refusal(node):
            raise ConfigError(f"`{_short(text)}` is no condition: {told}")
    return found[0]


def _refusal(node: exp.Expr) -> str | None:
    """Say why a part may not stand in a condition: the worker asks it where it writes."""
    if isinstance(node, _REFUSED):
        return "it may only read, and takes no parameters."
    if isinstance(node, _OTHER_CLOCKS) or (isinstance(node, exp.CurrentTimestamp) and node.this):
        return "the time of the run is now(), and its day current_date."
    if not isinstance(node, exp.Anonymous):
        return None
    name = node.name.lower()
    if name == "current_localtime" or (name == "age" and len(node.expressions) == 1):
        return f"the clock of {name}() is not that of the run: write now()."
    if name in _CLOCKS or name in _TABLE_FUNCTIONS or name in reading_functions():
        return None
    return f"{name}() can't be used: of functions there are those of DuckDB that only read."


def _shows_only(select: exp.Select) -> bool:
    return {name for name, value in select.args.items() if value} == {"expressions"}


def referred(condition: exp.Expression) -> set[Ref]:
    """Return the other definitions that a condition speaks of."""
    return {Ref(c.table, c.name) for c in condition.find_all(exp.Column) if c.table in KINDS}


def happenings(condition: exp.Expression, names: Collection[str]) -> set[str]:
    """Return those of these happenings of which a condition speaks."""
    return {c.table for c in condition.find_all(exp.Column)} & {*names}


def columns(condition: exp.Expression) -> list[exp.Column]:
    """List what of its subject and of happenings and definitions a condition looks at, each once, in its order."""
    return list(dict.fromkeys(c for c in condition.find_all(exp.Column) if _is_outermost(c)))


def rendered(condition: exp.Expression, happenings: Collection[str], alias: Callable[[Ref], str]) -> str:
    """Return a condition in SQL. `alias` gives the alias under which another definition is joined.

    Raises ConfigError for what a happening is not summed up to.
    """
    return str(condition.transform(lambda node: _put(node, happenings, alias)).sql("duckdb", comments=False))


def _put(node: exp.Expression, happenings: Collection[str], alias: Callable[[Ref], str]) -> exp.Expression:
    clock = _KNOWN_CLOCKS.get(type(node))
    if isinstance(node, exp.Anonymous) and not node.expressions:
        clock = _CLOCKS.get(node.name.lower())
    if clock is not None:
        return exp.maybe_parse(clock, dialect="duckdb")
    if not isinstance(node, exp.Column):
        return node
    if node.table in happenings:
        return _sum(node.table, node.name)
    if node.table in KINDS:
        joined = alias(Ref(node.table, node.name))
        shown = f"({joined}.member_id IS NOT NULL)" if node.table == "audience" else f"{joined}.value"
        return exp.maybe_parse(shown, dialect="duckdb")
    if not node.table and _is_outermost(node):
        return exp.column(node.this, table=SUBJECT)
    return node


def _sum(happening: str, name: str) -> exp.Expression:
    if name not in SUMS:
        raise ConfigError(f"{happening}.{name} is not known: of events there are {', '.join(SUMS)}.")
    joined = summed(happening)
    shown = {
        "times": f"coalesce({joined}.times, 0)",
        "days_since": _days_since(f"{joined}.last_at"),
        "days_since_first": _days_since(f"{joined}.first_at"),
    }
    return exp.maybe_parse(shown.get(name, f"{joined}.{name}"), dialect="duckdb")


def _days_since(moment: str) -> str:
    return f"CAST(floor((epoch({NOW}) - epoch({moment})) / 86400) AS BIGINT)"


def summed(happening: str) -> str:
    """Return the alias under which a happening is joined: no word of SQL, and the name of nothing else."""
    return f"h_{happening}"


def _is_outermost(node: exp.Expression) -> bool:
    inside = node.find_ancestor(exp.Select)
    return inside is None or inside.parent is None


def _what(error: SqlglotError) -> str:
    told = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    near = " ".join(str(told.get("highlight") or "").split())
    return f"what stands around `{_short(near)}` can't be read" if near not in ("", ")") else "it ends too early"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
