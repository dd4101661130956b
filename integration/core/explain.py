"""Why a person's row is made of these records. Pure.

The rules are written down once, in integration.core.identity and integration.core.project. What decided between two
records is found by asking those rules again: it is the trait that, handed from one to the other, turns the choice
around. So no explanation can say otherwise than the rules do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from integration.core import identity, project
from integration.core.identity import Person, Record
from integration.core.project import Deal, Deals

T = TypeVar("T")


class Candidate(NamedTuple):
    """An opportunity that a person may show, and whether the person is its primary contact."""

    deal: Deal
    is_primary: bool


@dataclass(frozen=True, slots=True)
class Trait(Generic[T]):
    """Something that two candidates can be told apart by: the rule in words, and a way to hand it over."""

    rule: Callable[[T], str]
    """What is preferred, said of the one that was chosen."""
    handed: Callable[[T, T], T]
    """The first one, with this trait of the second."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """What the rules choose, who came second, and by which rule. `runner_up` and `rule` are None for the only one."""

    chosen: T
    runner_up: T | None = None
    rule: str | None = None


def best_record(records: Sequence[Record]) -> Choice[Record]:
    """Say which of a person's contacts (or leads) the row shows, and why."""
    return _choice(records, _shown_first, _RECORD_TRAITS)


def best_owner(records: Sequence[Record]) -> Choice[Record]:
    """Say which of a person's records gives the user_id, and why."""
    return _choice(records, _owns, _OWNER_TRAITS)


def best_candidate(candidates: Sequence[Candidate]) -> Choice[Candidate]:
    """Say which opportunity the row shows, and why."""
    return _choice(candidates, _deal_first, _DEAL_TRAITS)


def counted(person: Person, deals: Deals) -> tuple[list[Candidate], bool]:
    """Return the opportunities that a person's roll-ups count, and whether they are those of the person's own roles
    (else they are the account's)."""
    own = _count(person, deals._replace(by_account={})) > 0
    if own:
        contacts = [m.record_id for m in person.members if m.is_contact]
        roles = [r for contact in contacts for r in deals.roles_by_contact.get(contact, ())]
        primary = {r.opportunity_id for r in roles if r.is_primary and not r.is_deleted}
        found = [
            d for d in deals.by_id.values() if _count(person, deals._replace(by_id={d.record_id: d}, by_account={}))
        ]
        return [Candidate(d, d.record_id in primary) for d in found], True
    account = person.account_id or ""
    found = [d for d in deals.by_account.get(account, ()) if _count(person, Deals({}, {account: [d]}, {}))]
    return [Candidate(d, is_primary=False) for d in found], False


def counts_in(deal: Deal) -> list[str]:
    """Name the roll-ups that an opportunity counts in."""
    alone = project.roll_up([deal])
    return [name for name in alone if alone[name.replace("_amount", "_count")]]


def _count(person: Person, deals: Deals) -> int:
    return int(project.person_row(person, deals)["sfdc_opportunity_count"])


def _choice(pool: Sequence[T], wins: Callable[[T, T], bool], traits: Sequence[Trait[T]]) -> Choice[T]:
    ordered = list(pool)
    first = _best(ordered, wins)
    others = [one for one in ordered if one is not first]
    if not others:
        return Choice(first)
    second = _best(others, wins)
    decided = (
        trait.rule(first) for trait in traits if not wins(trait.handed(first, second), trait.handed(second, first))
    )
    return Choice(first, second, next(decided, None))


def _best(pool: Sequence[T], wins: Callable[[T, T], bool]) -> T:
    best = pool[0]
    for one in pool[1:]:
        if wins(one, best):
            best = one
    return best


def _stitched(one: Record, other: Record) -> Person:
    # The second follows the first as after a merge: that makes them one person, and no rule of choosing looks at it.
    pair = {one.record_id: one._replace(follows=None), other.record_id: other._replace(follows=one.record_id)}
    return identity.stitch(pair, match_email=False, max_cluster=2)[0]


def _shown_first(one: Record, other: Record) -> bool:
    person = _stitched(one, other)
    shown = person.contact if one.is_contact else person.lead
    return shown is not None and shown.record_id == one.record_id


def _owns(one: Record, other: Record) -> bool:
    return _stitched(one, other).user_id == one.record_id


def _deal_first(one: Candidate, other: Candidate) -> bool:
    primary = frozenset(c.deal.record_id for c in (one, other) if c.is_primary)
    return project.best_deal([one.deal, other.deal], primary) is one.deal


def _field(name: str) -> Callable[[Record, Record], Record]:
    return lambda one, other: one._replace(**{name: getattr(other, name)})


def _deal_field(name: str) -> Callable[[Candidate, Candidate], Candidate]:
    def handed(one: Candidate, other: Candidate) -> Candidate:
        values: Mapping[str, Any] = {name: getattr(other.deal, name)}
        return one._replace(deal=one.deal._replace(**values))

    return handed


def _says(rule: str) -> Callable[[Any], str]:
    return lambda _chosen: rule


def _closing(chosen: Candidate) -> str:
    return "the closed one that closed last" if chosen.deal.is_closed else "the open one that closes soonest"


_RECORD_TRAITS: Sequence[Trait[Record]] = (
    Trait(_says("live before deleted"), _field("is_deleted")),
    Trait(_says("unconverted before converted"), _field("is_converted")),
    Trait(_says("the earliest CreatedDate"), _field("created")),
    Trait(_says("the lowest id"), _field("record_id")),
)
_OWNER_TRAITS: Sequence[Trait[Record]] = (
    Trait(
        _says("live before deleted or converted"),
        lambda one, other: one._replace(is_deleted=other.is_deleted, is_converted=other.is_converted),
    ),
    Trait(_says("a contact before a lead, and both before a product identity"), _field("object")),
    *_RECORD_TRAITS[2:],
)
_DEAL_TRAITS: Sequence[Trait[Candidate]] = (
    Trait(_says("open before closed"), _deal_field("is_closed")),
    Trait(
        _says("the one whose primary contact the person is"),
        lambda one, other: one._replace(is_primary=other.is_primary),
    ),
    Trait(_closing, _deal_field("close_date")),
    Trait(_says("the lowest id"), _deal_field("record_id")),
)
