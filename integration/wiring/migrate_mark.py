"""The mark of a migration that is under way: how far it is, and that nobody may work with the new store yet."""

from dataclasses import asdict, dataclass
from typing import Final

from integration.core import exactjson
from integration.errors import ConfigError
from integration.store.answers import ask
from integration.store.protocol import Queryable

MIGRATING: Final = "migrating"
"""The key in `headrace.meta` of the new store under which the mark lies, until both stores are proved equal."""

_MARKED = "SELECT value FROM headrace.meta WHERE key = 'migrating'"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a migration is."""

    source: str
    """The store that is copied, as people see its address."""
    moment: str
    """Where that store stood when the copy was begun (see migrate_tables.moment_of)."""
    rules: str
    """A hash of the settings of then."""
    part: str = ""
    """The part in hand (see migrate_tables.Part.label); empty before the first."""
    after: str = ""
    """The last key of it that is copied."""
    is_copied: bool = False
    """Whether all is copied, and only the proof is missing."""
    again: bool = False
    """Whether it goes over rows that were copied before: then each page is compared, and what differs is written."""

    def text(self) -> str:
        """Return it as it is kept."""
        return exactjson.dumps(asdict(self)).decode()


def mark_in(store: Queryable) -> Mark | None:
    """Return the mark that lies in a store."""
    found = ask(store, _MARKED)
    return Mark(**exactjson.loads(found[0]["value"])) if found else None


def refuse_unfinished(store: Queryable, place: str) -> None:
    """Raise ConfigError for a store that a migration has begun to fill and not proved yet."""
    mark = mark_in(store)
    if mark is not None:
        raise ConfigError(
            f"The store at {place} is being filled from {mark.source}, and not proved to be equal yet: run the same "
            "headrace migrate again until it says so, or set store.url back."
        )
