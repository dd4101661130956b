"""SOQL read into a tree: tokens, grammar, and Salesforce's own words for what is wrong."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from integration.sandbox.errors import OrgError

MAX_LENGTH = 100_000
MAX_OFFSET = 2_000

Kind = Literal["string", "number", "datetime", "date", "boolean", "null"]


@dataclass(frozen=True, slots=True)
class Name:
    """A field path as written (`Account.Name`), and where in the text it stands."""

    path: tuple[str, ...]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """A literal. `raw` is a string's text before its escapes were read: LIKE needs it."""

    kind: Kind
    value: Any
    raw: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    """`field op value`; op is one of = != < <= > >= LIKE."""

    field: Name
    op: str
    value: Value


@dataclass(frozen=True, slots=True)
class Among:
    """`field IN (...)`, NOT IN, INCLUDES or EXCLUDES."""

    field: Name
    op: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One part holds."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Condition"


Condition = Compare | Among | And | Or | Not


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`COUNT()`, `COUNT(Id)`, `MAX(Amount) top`; `field` is None for COUNT()."""

    function: str
    field: Name | None
    alias: str | None


@dataclass(frozen=True, slots=True)
class AllFields:
    """`FIELDS(ALL)`, `FIELDS(STANDARD)` or `FIELDS(CUSTOM)`."""

    which: str


Item = Name | Aggregate | AllFields


@dataclass(frozen=True, slots=True)
class Order:
    """One key of ORDER BY. Nulls come first unless NULLS LAST is asked for."""

    field: Name
    descending: bool = False
    nulls_last: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query. `text` is kept for error messages."""

    text: str
    select: tuple[Item, ...]
    entity: str
    where: Condition | None = None
    group_by: tuple[Name, ...] = ()
    order: tuple[Order, ...] = field(default=())
    limit: int | None = None
    offset: int = 0
    all_rows: bool = False


def parse(text: str) -> Query:
    """Read a query. Raises OrgError MALFORMED_QUERY."""
    if len(text) > MAX_LENGTH:
        raise OrgError("MALFORMED_QUERY", f"SOQL statement is too long: at most {MAX_LENGTH} characters.")
    return _Parser(text).query()


def located(text: str, at: int, message: str) -> str:
    """Return a message the way Salesforce shows where in the query something is wrong."""
    before = text[:at]
    row = before.count("\n") + 1
    column = at - (before.rfind("\n") + 1)
    line = text.split("\n")[row - 1]
    left = max(0, column - 40)
    shown = line[left : column + 40]
    return f"\n{shown}\n{' ' * (column - left)}^\nERROR at Row:{row}:Column:{column + 1}\n{message}"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


_TOKENS = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>'(?:[^'\\]|\\.)*')
      | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
      | (?P<date>\d{4}-\d\d-\d\d)
      | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)
      | (?P<op><=|>=|!=|<>|[=<>(),])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "_": "_", "%": "%"}
_ESCAPES |= {char: char for char in "\"'\\"}
_FUNCTIONS = frozenset({"COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG"})
_CLAUSES = frozenset({"FROM", "WHERE", "GROUP", "ORDER", "LIMIT", "OFFSET", "ALL", "AND", "OR", "FOR"})


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            raise OrgError("MALFORMED_QUERY", located(text, at, f"unexpected token: '{text[at]}'"))
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match.group(), at)
        at = match.end()
    yield _Token("end", "<EOF>", len(text))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def query(self) -> Query:
        self._expect("SELECT")
        select = self._list_of(self._item)
        self._expect("FROM")
        entity = self._take("name").text
        where = self._condition() if self._accept("WHERE") else None
        group: tuple[Name, ...] = ()
        if self._accept("GROUP"):
            self._expect("BY")
            group = self._list_of(self._name)
        order: tuple[Order, ...] = ()
        if self._accept("ORDER"):
            self._expect("BY")
            order = self._list_of(self._order)
        limit = self._count() if self._accept("LIMIT") else None
        offset = self._count() if self._accept("OFFSET") else 0
        all_rows = self._accept("ALL") and bool(self._expect("ROWS"))
        if self._peek.kind != "end":
            raise self._unexpected()
        if offset > MAX_OFFSET:
            raise OrgError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        return Query(self._text, select, entity, where, group, order, limit, offset, all_rows)

    # --- select and order -----------------------------------------------------------------------------

    def _item(self) -> Item:
        word = self._peek.text.upper()
        if self._tokens[self._at + 1 : self._at + 2] and self._tokens[self._at + 1].text == "(":
            if word == "FIELDS":
                return self._all_fields()
            if word in _FUNCTIONS:
                return self._aggregate()
        return self._name()

    def _all_fields(self) -> AllFields:
        self._at += 2
        which = self._take("name").text.upper()
        if which not in ("ALL", "STANDARD", "CUSTOM"):
            self._at -= 1
            raise self._unexpected()
        self._take_text(")")
        return AllFields(which)

    def _aggregate(self) -> Aggregate:
        function = self._take("name").text.upper()
        self._take_text("(")
        name = None if self._peek.text == ")" else self._name()
        if name is None and function != "COUNT":
            raise self._unexpected()
        self._take_text(")")
        alias = None
        if self._peek.kind == "name" and self._peek.text.upper() not in _CLAUSES:
            alias = self._take("name").text
        return Aggregate(function, name, alias)

    def _order(self) -> Order:
        name = self._name()
        descending = self._accept("DESC") or (self._accept("ASC") and False)
        nulls_last = False
        if self._accept("NULLS"):
            nulls_last = self._accept("LAST") or (bool(self._expect("FIRST")) and False)
        return Order(name, descending, nulls_last)

    def _count(self) -> int:
        token = self._take("number")
        if not token.text.isdigit():
            self._at -= 1
            raise self._unexpected()
        return int(token.text)

    # --- where ----------------------------------------------------------------------------------------

    def _condition(self) -> Condition:
        first = self._term()
        word = self._peek.text.upper()
        if self._peek.kind != "name" or word not in ("AND", "OR"):
            return first
        parts = [first]
        while self._accept(word):
            parts.append(self._term())
        if self._peek.kind == "name" and self._peek.text.upper() in ("AND", "OR"):
            raise self._unexpected()  # SOQL wants parentheses where AND and OR meet
        return And(tuple(parts)) if word == "AND" else Or(tuple(parts))

    def _term(self) -> Condition:
        if self._accept("NOT"):
            return Not(self._term())
        if self._peek.text == "(" and self._peek.kind == "op":
            self._at += 1
            inner = self._condition()
            self._take_text(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        name = self._name()
        token = self._peek
        word = token.text.upper()
        if token.kind == "op" and word in ("=", "!=", "<>", "<", "<=", ">", ">="):
            self._at += 1
            return Compare(name, "!=" if word == "<>" else word, self._value())
        if token.kind == "name" and word == "LIKE":
            self._at += 1
            return Compare(name, "LIKE", self._value())
        if token.kind == "name" and word in ("IN", "INCLUDES", "EXCLUDES"):
            self._at += 1
            return Among(name, word, self._values())
        if self._accept("NOT"):
            self._expect("IN")
            return Among(name, "NOT IN", self._values())
        raise self._unexpected()

    def _values(self) -> tuple[Value, ...]:
        self._take_text("(")
        values = self._list_of(self._value)
        self._take_text(")")
        return values

    def _value(self) -> Value:
        token = self._peek
        self._at += 1
        word = token.text.upper()
        if token.kind == "string":
            return Value("string", self._unescape(token), token.text[1:-1], token.start)
        if token.kind == "number":
            value = int(token.text) if token.text.lstrip("+-").isdigit() else float(token.text)
            return Value("number", value, token.text, token.start)
        if token.kind in ("date", "datetime"):
            return Value("date" if token.kind == "date" else "datetime", token.text, token.text, token.start)
        if token.kind == "name" and word in ("TRUE", "FALSE"):
            return Value("boolean", word == "TRUE", token.text, token.start)
        if token.kind == "name" and word == "NULL":
            return Value("null", None, token.text, token.start)
        self._at -= 1
        raise self._unexpected()

    def _unescape(self, token: _Token) -> str:
        body = token.text[1:-1]
        if "\\" not in body:
            return body

        def read(match: re.Match[str]) -> str:
            char = match.group(1)
            if char not in _ESCAPES:
                raise OrgError("MALFORMED_QUERY", f"Illegal escape sequence '\\{char}' in a string literal")
            return _ESCAPES[char]

        return re.sub(r"\\(.)", read, body, flags=re.DOTALL)

    # --- tokens ---------------------------------------------------------------------------------------

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _name(self) -> Name:
        token = self._peek
        if token.kind == "name" and token.text.upper() in ("FROM", "WHERE", "AND", "OR"):
            raise self._unexpected()
        self._take("name")
        return Name(tuple(token.text.split(".")), token.start)

    def _list_of(self, one: Any) -> tuple[Any, ...]:
        found = [one()]
        while self._peek.text == "," and self._peek.kind == "op":
            self._at += 1
            found.append(one())
        return tuple(found)

    def _accept(self, word: str) -> bool:
        if self._peek.kind == "name" and self._peek.text.upper() == word:
            self._at += 1
            return True
        return False

    def _expect(self, word: str) -> bool:
        if not self._accept(word):
            raise self._unexpected()
        return True

    def _take(self, kind: str) -> _Token:
        token = self._peek
        if token.kind != kind:
            raise self._unexpected()
        self._at += 1
        return token

    def _take_text(self, text: str) -> None:
        if self._take("op").text != text:
            self._at -= 1
            raise self._unexpected()

    def _unexpected(self) -> OrgError:
        token = self._peek
        return OrgError("MALFORMED_QUERY", located(self._text, token.start, f"unexpected token: '{token.text}'"))
