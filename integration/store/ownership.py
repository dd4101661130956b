"""Who has a store to itself, and that somebody else has."""

import os
import socket
from dataclasses import dataclass, field
from typing import Final

from integration.errors import UnreachableError

_LONGEST_HOST: Final = 40


def this_host() -> str:
    """Return what this machine is called. In containers every worker may be process 1: only both together tell two
    apart. Of a long name it is the end, where pods differ; so it fits into the name of a session."""
    return socket.gethostname()[-_LONGEST_HOST:]


def is_me(pid: int | None, host: str) -> bool:
    """Tell whether this very process is meant."""
    return pid == os.getpid() and host == this_host()


class StoreOwnedError(UnreachableError):
    """Another process has the store open to write. `pid` is its process id, None where nobody could tell, and `host`
    its machine, where that may be another one."""

    def __init__(self, message: str, pid: int | None = None, host: str | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.host = this_host() if host is None else host

    @property
    def is_mine(self) -> bool:
        """Whether it is this process itself that has it open."""
        return is_me(self.pid, self.host)


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that owns a store: where it answers queries, and the token it wants with each."""

    pid: int
    url: str
    """`http://host:port`; empty where queries go to the store's own server."""
    token: str = field(repr=False)
    started_at: str
    """ISO 8601 UTC."""
    host: str = field(default_factory=this_host)

    @property
    def is_me(self) -> bool:
        """Whether it is this process."""
        return is_me(self.pid, self.host)

    @property
    def shown(self) -> str:
        """Name it for people, as a subject: its machine too, if that is another one."""
        return f"process {self.pid}" if self.host == this_host() else f"process {self.pid} on {self.host}"
