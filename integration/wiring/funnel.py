"""`headrace funnel`: how many come how far on a way of steps that a file defines."""

from collections.abc import Mapping
from datetime import datetime

from consumers.members import Defined
from integration.settings import Settings
from integration.store.definitions.conditions import Ref
from integration.store.definitions.funnels import funnel_of
from integration.wiring.clock import stamp
from integration.wiring.definitions import there, usable
from schemas.definitions import Funnel


def funnels(settings: Settings) -> list[tuple[str, str]]:
    """List (name, title) of the funnels that are defined. Raises UsageError where nothing is."""
    return sorted((ref.name, one.title) for ref, one in _funnels(there(settings)).items())


def select(settings: Settings, name: str, until: datetime, since: datetime | None = None) -> str:
    """Return the SELECT, in DuckDB's dialect, of a row for each step of a funnel: see `funnel_select`.

    Raises UsageError for a name that none has, ConfigError for one that can't be used.
    """
    defined = there(settings)
    book, ref = usable(defined, name, "funnel")
    return funnel_of(book, _funnels(defined)[ref], stamp(until), None if since is None else stamp(since))


def _funnels(defined: Defined) -> Mapping[Ref, Funnel]:
    return {ref: one for ref, one in defined.definitions.items() if isinstance(one, Funnel)}
