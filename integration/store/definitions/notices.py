"""What is to be known of a definition that works: what it can't see in this org, and that it is old."""

from datetime import date

from integration.store.definitions.needs import Org, reach, unseen
from schemas.definitions import Definition, Persona


def notice(one: Definition, org: Org, since: date, today: date) -> str | None:
    """Return what is to be known of a definition, in sentences; None where that is nothing.

    `since` is the day from which it has been as it is: without a review of its own it counts as looked at then.
    """
    if not isinstance(one, Persona):
        return None
    told = [_sight(one, org), _age(one.reviewed or since, today)]
    return " ".join(filter(None, told)) or None


def is_old(reviewed: date, today: date) -> bool:
    """Tell whether more than a year has gone since a review: personas are to be looked at once a year."""
    return (today.year, today.month, today.day) > (reviewed.year + 1, reviewed.month, reviewed.day)


def _sight(persona: Persona, org: Org) -> str | None:
    hidden = unseen(persona, org)
    if not hidden:
        return None
    listed = ", ".join(f"{name} ({', '.join(missing)})" for name, missing in hidden.items())
    most = reach(persona, org)
    end = "so nobody can be one of them" if most < persona.at_least else f"{persona.at_least:.2f} is enough"
    return f"Not to be seen in this org: {listed}. The confidence is {most:.2f} at most; {end}."


def _age(reviewed: date, today: date) -> str | None:
    if not is_old(reviewed, today):
        return None
    return f"Last looked at on {reviewed}: see whether it is still true, and write today's date into `reviewed`."
