"""The settings that decide what the tables say, as the consumers take them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from integration.store.attribution import Attribution
from integration.store.pseudonyms import Pseudonyms
from integration.store.usage import Usage

if TYPE_CHECKING:
    from consumers.members import Defined


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what the tables say."""

    enrich: Mapping[str, Sequence[str]]
    names: Mapping[str, Mapping[str, str]]
    match_email: bool = True
    max_cluster: int = 25
    dropped: Callable[[str, str], bool] = lambda _object, _field: False
    """Whether the settings leave out this field of this object: then no last value of it is kept."""
    usage: Usage = field(default_factory=Usage)
    attribution: Attribution = field(default_factory=Attribution)
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    definitions: "Callable[[], Defined | None]" = lambda: None
    """Reads the audiences and what else people define; None: nothing is defined."""
