"""What stands in braces in headrace's own SQL files, and what becomes of it.

| marker | becomes |
|---|---|
| `{among:column}` | the condition that cuts a source to the keys that are asked for |
| `{salesforce.contact}` | a raw table of which an org may lack columns, or all of it: what it lacks is null there |
| `{past.Contact:AccountId,OwnerId:some}` | `record_values` of these fields, of the records whose `id` is in `some` |
| `{outbound:column}` | whether a lead source says that sales made the first step |
| `{origin:column}` | `inbound`, `outbound` or `other`, by a lead source |
| `{kind:column}`, `{touchpoint:column}` | the kind of touchpoint that an event of this name is; whether it is any |
| `{talk:column}` | whether a type of tasks is a talk |
| `{days:outbound_days}`, `{seconds:outbound_days}` | a number of days of the settings; the same in seconds |
| `{mail:column}`, `{site:column}`, `{company:column}` | domains of an e-mail and a website, a company's bare name |
| `{guessed:accounts}` | whether accounts of leads are guessed |
| `{calls}` | the names of events that are no activity |
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from integration.core import naming, product
from integration.core.columns import Column, ColumnType
from integration.store import companies, past
from integration.store.attribution import Attribution
from integration.store.quoting import identifier, literal

Reads = Mapping[str, Sequence[Column]]
"""Object -> the raw columns that a statement is worked out from."""

DEFAULT: Final = Attribution()
_MARKERS: Final = re.compile(
    r"\{(?:among:(?P<among>[\w.]+)|salesforce\.(?P<table>\w+)|(?P<what>[a-z]+):(?P<of>[\w.]+)|(?P<calls>calls)|"
    r"past\.(?P<object>\w+):(?P<fields>[\w,]+):(?P<some>\w+))\}"
)
_EMPTY: Final = "headrace.meta WHERE key IS NULL"
_NULLS: Final[Mapping[ColumnType, str]] = {
    ColumnType.TEXT: "VARCHAR",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.DECIMAL: "DECIMAL(18, 2)",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMPTZ",
}
_SECONDS_OF_A_DAY: Final = 86_400


def rendered(
    sql: str,
    reads: Reads,
    columns: Mapping[str, Collection[str]],
    among: str = "{column} IS NOT NULL",
    rules: Attribution = DEFAULT,
) -> str:
    """Return the SQL with its markers filled in.

    `columns` are the raw columns that the org has, by object (see projection.Shape); `among` is the condition that cuts
    a `{column}`. Raises KeyError for a raw table that `reads` does not tell of, and for a marker that is none.
    """
    raw = {naming.table_of(name): name for name in reads}

    def table(name: str) -> str:
        return _raw(naming.table_of(name), reads[name], columns.get(name))

    def put(marker: re.Match[str]) -> str:
        if marker["among"]:
            return among.format(column=marker["among"])
        if marker["what"]:
            return _RULES[marker["what"]](rules, marker["of"])
        if marker["calls"]:
            return _listed(product.CALLS)
        if marker["object"]:
            name, some = marker["object"], f"SELECT id FROM {marker['some']}"
            types = {c.name: c.type for c in reads[name]}
            fields = {one: types[one.lower()] for one in marker["fields"].split(",")}
            return f"({past.values_of(name, fields, table(name), some)})"
        return table(raw[f"salesforce.{marker['table']}"])

    return _MARKERS.sub(put, sql)


def _has_word(words: Iterable[str], column: str) -> str:
    """Return the condition that a text has one of the words, in whatever letters; null where there is no text."""
    told = "|".join(re.escape(word.lower()) for word in words if word)
    return f"regexp_matches(lower({column}), {literal(f'(^|[^a-z0-9])({told})([^a-z0-9]|$)')})" if told else "FALSE"


def _origin(rules: Attribution, column: str) -> str:
    return (
        f"CASE WHEN {_has_word(rules.outbound_words, column)} THEN 'outbound' "
        f"WHEN {_has_word(rules.inbound_words, column)} THEN 'inbound' WHEN {column} IS NOT NULL THEN 'other' END"
    )


def _kind(rules: Attribution, column: str) -> str:
    cases = (f"WHEN {_in(column, names)} THEN {literal(kind)}" for kind, names in rules.events.items())
    return f"CASE {' '.join(cases)} END"


def _touchpoint(rules: Attribution, column: str) -> str:
    return _in(column, [name for names in rules.events.values() for name in names])


def _talk(rules: Attribution, column: str) -> str:
    return _in(f"lower({column})", [kind.lower() for kind in rules.sales_types])


def _in(column: str, values: Collection[str]) -> str:
    return f"{column} IN {_listed(values)}" if values else "FALSE"


def _listed(values: Iterable[str]) -> str:
    return f"({', '.join(literal(value) for value in values)})"


_RULES: Final[Mapping[str, Callable[[Attribution, str], str]]] = {
    "outbound": lambda rules, column: _has_word(rules.outbound_words, column),
    "origin": _origin,
    "kind": _kind,
    "touchpoint": _touchpoint,
    "talk": _talk,
    "mail": lambda rules, column: companies.mail_domain(column, rules.free_mail_domains),
    "site": lambda _rules, column: companies.site_domain(column),
    "company": lambda _rules, column: companies.company_name(column),
    "guessed": lambda rules, _accounts: "TRUE" if rules.guess_accounts else "FALSE",
    "days": lambda rules, name: str(rules.days(name)),
    "seconds": lambda rules, name: str(rules.days(name) * _SECONDS_OF_A_DAY),
}


def _raw(table: str, wanted: Iterable[Column], there: Iterable[str] | None) -> str:
    """Return a raw table with these columns, null where the org does not have them."""
    known = {name.lower() for name in there} | {"is_deleted"} if there else set()
    listed = ", ".join(
        identifier(c.name) if c.name in known else f"CAST(NULL AS {_NULLS[c.type]}) AS {identifier(c.name)}"
        for c in wanted
    )
    return f"(SELECT {listed} FROM {table if known else _EMPTY})"
