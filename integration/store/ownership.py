"""Who has a store to itself, and that somebody else has."""

from dataclasses import dataclass, field

from integration.errors import UnreachableError


class StoreOwnedError(UnreachableError):
    """Another process has the store open to write. `pid` is its process id, None where nobody could tell."""

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that owns a store: where it answers queries, and the token it wants with each."""

    pid: int
    url: str
    """`http://host:port`; empty where queries go to the store's own server."""
    token: str = field(repr=False)
    started_at: str
    """ISO 8601 UTC."""
