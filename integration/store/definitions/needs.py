"""What an org must have for a definition to see what it looks for, and what becomes of a persona where it has not."""

from collections.abc import Collection, Iterable, Mapping

from integration.store.definitions.conditions import happenings, parsed
from schemas.definitions import Persona, rests_on

Org = Mapping[str, Collection[str]]
"""The raw columns that a store has, by object (API name)."""


def lacking(needs: Iterable[str], org: Org) -> list[str]:
    """List the needs that an org does not meet."""
    there = {name.lower(): columns for name, columns in org.items()}
    return [need for need in needs if not any(_is_there(one, there) for one in need.split(" or "))]


def unseen(persona: Persona, org: Org) -> dict[str, list[str]]:
    """Return the signals that can't be seen in an org: name -> what it lacks for them."""
    found = {}
    for signal in persona.signals:
        needs = [*signal.needs]
        for name in sorted(_all_of(happenings(parsed(signal.where), persona.events), persona)):
            needs += persona.events[name].needs
        if missing := lacking(dict.fromkeys(needs), org):
            found[signal.name] = missing
    return found


def _all_of(names: Iterable[str], persona: Persona) -> set[str]:
    """Return these happenings, and those that they count from."""
    found, todo = set[str](), [*names]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += rests_on(persona.events[name])
    return found


def reach(persona: Persona, org: Org) -> float:
    """Return the highest confidence, to four digits, that anybody can have in an org: 1 where all can be seen."""
    hidden = unseen(persona, org)
    seen = sum(signal.weight for signal in persona.signals if signal.name not in hidden)
    # As confidences are kept: what nobody could have must not seem to be enough, nor the other way round.
    return round(float(seen / sum(signal.weight for signal in persona.signals)), 4)


def _is_there(need: str, org: Org) -> bool:
    name, _, field = need.lower().partition(".")
    return name in org and (not field or field in org[name])
