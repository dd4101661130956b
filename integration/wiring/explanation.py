"""A row of `users` or `accounts`, taken apart: what `headrace explain` finds out."""

from dataclasses import dataclass, field, replace
from typing import Any

from integration.wiring.lineage import SetBy

_MASK = "***"


@dataclass(frozen=True, slots=True)
class Alias:
    """An id or e-mail of a person, since when, and the rule that joined it."""

    alias: str
    kind: str
    since: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Source:
    """A record that the row is made of, and the rule that chose it. `version` is its SystemModstamp."""

    part: str
    """contact, lead, account, opportunity; of a flattened lookup its object and lookup field: `Contact.ReportsToId`."""
    object: str
    record_id: str | None
    version: str | None
    is_deleted: bool
    rule: str


@dataclass(frozen=True, slots=True)
class Counted:
    """An opportunity that the roll-ups count, and in which of them."""

    record_id: str
    name: str | None
    stage: str | None
    amount: Any
    counts_in: list[str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of one property comes from."""

    property: str
    value: Any
    is_filled: bool
    object: str | None
    record_id: str | None
    field: str | None
    version: str | None
    """SystemModstamp of that record."""
    set_by: SetBy | None
    rule: str


@dataclass(slots=True)
class Explanation:
    """A row of `users` or `accounts`, taken apart."""

    kind: str
    """`person` or `account`."""
    id: str
    is_deleted: bool
    aliases: list[Alias] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    properties: list[Origin] = field(default_factory=list)
    opportunities: list[Counted] = field(default_factory=list)
    opportunities_rule: str = ""


def masked(told: Explanation) -> Explanation:
    """Return the same without values, e-mails, amounts and names: what is left names fields, records and times."""

    def by(set_by: SetBy | None) -> SetBy | None:
        return replace(set_by, actor=None) if set_by is not None else None

    return replace(
        told,
        aliases=[replace(a, alias=_hidden(a.alias)) for a in told.aliases],
        properties=[
            replace(p, value=None, record_id=p.record_id and _hidden(p.record_id), set_by=by(p.set_by))
            for p in told.properties
        ],
        opportunities=[replace(o, name=None, stage=None, amount=None) for o in told.opportunities],
    )


def _hidden(name: str) -> str:
    """Return an id as it is, unless it is an e-mail: a product may use those as its ids."""
    return f"{_MASK}@{name.partition('@')[2]}" if "@" in name else name
