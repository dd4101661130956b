"""All definitions together: what they are made of, in an order in which each comes behind those it speaks of."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from integration.errors import ConfigError
from integration.store.definitions.conditions import KINDS, SUBJECT, Ref, parsed, referred
from integration.store.hints import did_you_mean
from schemas.definitions import (
    Audience,
    Definition,
    Funnel,
    Health,
    Journey,
    Metric,
    Persona,
    Subject,
)

_LISTS = "lists/"
_INSIDE = {("user", "user"), ("account", "account"), ("salesforce_user", "salesforce_user"), ("user", "account")}
"""(of whom a definition tells, of whom one tells that it speaks of): people belong to accounts."""

_NAMED_BY: Mapping[Subject, frozenset[str]] = {
    "user": frozenset({"email", "domain", "user_id", "account_id", "alias"}),
    "account": frozenset({"account_id"}),
    "salesforce_user": frozenset({"email", "domain", "user_id"}),
}
"""Of whom it tells -> the kinds of keys by which a list can name them (see `statements`)."""


@dataclass(frozen=True, slots=True)
class Book:
    """Definitions that fit together; see `bound`."""

    definitions: Mapping[Ref, Definition] = field(default_factory=dict)
    """Each behind those that it speaks of."""
    needs: Mapping[Ref, frozenset[Ref]] = field(default_factory=dict)
    """What each speaks of itself."""

    def all_needs(self, ref: Ref) -> list[Ref]:
        """List whatever a definition rests on, in order."""
        found: set[Ref] = set()
        todo = [ref]
        while todo:
            todo += (new := self.needs[todo.pop()] - found)
            found |= new
        return [one for one in self.definitions if one in found]

    def without(self, broken: Iterable[Ref]) -> "Book":
        """Return the book without these, and without those that rest on them."""
        gone = {*broken}
        gone |= {ref for ref in self.definitions if not gone.isdisjoint(self.all_needs(ref))}
        left = {ref: one for ref, one in self.definitions.items() if ref not in gone}
        return Book(left, {ref: self.needs[ref] for ref in left})


def bound(
    definitions: Mapping[Ref, Definition], lists: Iterable[str], named_by: Mapping[str, Collection[str]] | None = None
) -> tuple[Book, dict[Ref, str]]:
    """Return the definitions that fit together, and a sentence for each of the others.

    `lists` are the names of the lists there are (`do-not-mail.csv`), `named_by` the kinds of keys that they have
    columns for; of one that is not there, any.
    """
    known = {name: (named_by or {}).get(name, _NAMED_BY["user"]) for name in lists}
    wrong: dict[Ref, str] = {}
    needs: dict[Ref, frozenset[Ref]] = {}
    for ref, one in definitions.items():
        try:
            needs[ref] = frozenset(_checked(one, definitions, known))
        except ConfigError as error:
            wrong[ref] = str(error)
    while True:
        needs = _sound(needs, wrong)
        try:
            ordered = [*TopologicalSorter(needs).static_order()]
        except CycleError as error:
            circle = error.args[1]
            sentence = f"It speaks of itself: {' -> '.join(map(str, reversed(circle)))}."
            wrong |= dict.fromkeys({*circle}, sentence)
        else:
            return Book({ref: definitions[ref] for ref in ordered}, needs), wrong


def resting_on(broken: Iterable[Ref]) -> str:
    """Say why a definition can't be used that rests on these."""
    return f"It rests on {', '.join(map(str, sorted(broken)))}, which can't be used."


def spoken(one: Definition) -> Iterator[tuple[Subject, str]]:
    """Give every condition of a definition with whom it is about: a health's metrics may be about its people."""
    if isinstance(one, Audience):
        yield one.of, one.where
    elif isinstance(one, Persona):
        yield from ((one.of, signal.where) for signal in one.signals)
    elif isinstance(one, Journey):
        yield from ((one.of, stage.where) for stage in one.stages)
    elif isinstance(one, Health):
        for metric in metrics_of(one).values():
            yield (one.of if metric.rollup is None else "user"), metric.value


def metrics_of(one: Health) -> dict[str, Metric]:
    """Return the metrics of a health, in order, as `<group>.<metric>`."""
    return {f"{group.name}.{metric.name}": metric for group in one.groups for metric in group.metrics}


def of_events(one: Definition) -> Iterator[str]:
    """Give every condition of a definition over an event."""
    yield from (each.where for each in one.events.values() if each.where is not None)
    if isinstance(one, Funnel):
        yield from (each.where for each in one.steps if each.where is not None)


def lists_of(one: Definition) -> list[str]:
    """List the lists that a definition leaves out, by their names."""
    excluded = one.exclude if isinstance(one, Audience) else ()
    return [name.removeprefix(_LISTS) for name in excluded if name.startswith(_LISTS)]


def audiences_of(one: Definition) -> list[Ref]:
    """List the audiences that a definition leaves out."""
    excluded = one.exclude if isinstance(one, Audience) else ()
    return [Ref("audience", name) for name in excluded if not name.startswith(_LISTS)]


def _checked(one: Definition, there: Mapping[Ref, Definition], lists: Mapping[str, Collection[str]]) -> set[Ref]:
    speaks = {(of, other) for of, text in spoken(one) for other in referred(parsed(text))}
    outcomes = [text for _, text in one.outcomes] if isinstance(one, Health) else []
    for text in (*of_events(one), *outcomes):
        if others := referred(parsed(text)):
            raise ConfigError(f"`{text}` is about one event, and can't speak of {', '.join(map(str, sorted(others)))}.")
    speaks |= {(one.of, other) for other in audiences_of(one)}
    speaks |= {(one.of, Ref("audience", one.within))} if one.within else set()
    for of, other in sorted(speaks):
        if other not in there:
            hint = did_you_mean(other.name, [r.name for r in there if r.kind == other.kind])
            raise ConfigError(f"There is no {other}.{hint}")
        if (of, there[other].of) not in _INSIDE:
            raise ConfigError(f"It is about {_words(of)}, and {other} about {_words(there[other].of)}.")
    for name in lists_of(one):
        if name not in lists:
            raise ConfigError(f"There is no list {_LISTS}{name}.{did_you_mean(name, sorted(lists))}")
        if _NAMED_BY[one.of].isdisjoint(lists[name]):
            fitting = ", ".join(sorted(_NAMED_BY[one.of]))
            raise ConfigError(
                f"The list {_LISTS}{name} can't name {_words(one.of)}: give it one of the columns {fitting}."
            )
    if clash := {*one.events} & {SUBJECT, *KINDS}:
        raise ConfigError(f"Events can't be called {', '.join(sorted(clash))}: choose another name.")
    return {other for _, other in speaks}


def _sound(needs: Mapping[Ref, frozenset[Ref]], wrong: dict[Ref, str]) -> dict[Ref, frozenset[Ref]]:
    """Return what rests on nothing wrong; say of the rest that it does."""
    while fallen := [ref for ref in needs if ref not in wrong and not needs[ref].isdisjoint(wrong)]:
        for ref in fallen:
            wrong[ref] = resting_on(needs[ref] & wrong.keys())
    return {ref: those for ref, those in needs.items() if ref not in wrong}


def _words(of: Subject) -> str:
    return "an account" if of == "account" else f"a {of.replace('_', ' ')}"
