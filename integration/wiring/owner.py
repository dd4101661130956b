"""The door of a process: probes, numbers and product events as long as it runs, SQL while it has the store open.

DuckDB lets one process in; that process answers queries for everyone else.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa

from integration.errors import UnreachableError
from integration.settings import Settings
from integration.store import answers
from integration.store.duckdb import owner
from integration.store.protocol import Store
from integration.web.probes import Probes
from integration.web.query import LOOPBACK_HOSTS, QueryServer, query_app
from integration.web.segment import Intake
from integration.wiring.clock import now
from integration.wiring.health import Health
from integration.wiring.measures import Measures

_LAST_QUERY_SECONDS: Final = 10.0
_OWN_QUERY_SECONDS: Final = 5.0
_CLOSED: Final = "The worker does not have the store open at the moment: ask again in a few seconds."
_NONE: Final = "This worker has no store: ask the one that consumes."


class WorkerDoor:
    """The HTTP server of a worker, up before the store is open and while it is closed and opened again.

        with WorkerDoor(settings, health=health, measures=measures) as door:
            with parts.open_store(settings) as store, door.open(store):
                ...     SQL is answered here, and `headrace sql` finds its way by the note beside the file

    Where web.token is set, it guards SQL and numbers; local commands find it in the note. `intake` takes product
    events. `port` overrides web.port. Entering raises ConfigError when the address can't be had. To `health` it reports
    of the store, and of Redis.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        health: Health | None = None,
        measures: Measures | None = None,
        intake: Intake | None = None,
        port: int | None = None,
        has_store: bool = True,
    ) -> None:
        self._settings = settings
        self._inside = _Inside(_CLOSED if has_store else _NONE)
        self._health = health
        self._token = settings.web.token.get_secret_value() if settings.web.token is not None else None
        if measures is not None:
            measures.ask_store(self._inside.rows)
            measures.ask_health(health)
            if health is not None and health.expects("redis"):
                health.check("redis", measures.redis.problem)
        app = query_app(
            self._inside.query,
            token=self._token,
            allowed_hosts=_hosts(settings, self._token),
            probes=Probes(
                **({"live": health.live, "ready": health.ready} if health is not None else {}),
                metrics=measures.page if measures is not None else None,
            ),
            intake=intake,
        )
        self._server = QueryServer(app, host=settings.web.host, port=settings.web.port if port is None else port)

    @property
    def url(self) -> str:
        """`http://host:port`, once entered."""
        return self._server.url

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    @contextmanager
    def open(self, store: Store) -> Iterator[None]:
        """Let SQL through to this store while the block runs, and say so in a note beside its file.

        When the block ends, queries under way are waited for, ten seconds at most: then the store may be closed.
        """
        path = self._settings.store_path
        with self._inside.holding(store):
            if path is not None:
                owner.announce(path, url=self.url, token=self._token or "", started_at=now())
            self._say(None)
            try:
                yield
            finally:
                self._say(_CLOSED)
                if path is not None:
                    owner.withdraw(path)

    def stay_closed(self, sentence: str) -> None:
        """Say that this process leaves the store to another: all is well, and queries get this sentence."""
        self._inside.closed = sentence
        if self._health is not None:
            self._health.ok("store", sentence)

    def _say(self, problem: str | None) -> None:
        if self._health is None:
            return
        if problem is None:
            self._health.ok("store")
        else:
            self._health.broken("store", problem)


@contextmanager
def answering_queries(settings: Settings, store: Store, *, port: int) -> Iterator[str]:
    """Answer read-only queries while the block runs, for commands that own the store for a while."""
    with WorkerDoor(settings, port=port) as door, door.open(store):
        yield door.url


class _Inside:
    """The store behind the door, and how many queries are in it."""

    def __init__(self, closed: str) -> None:
        self.closed = closed
        self._store: Store | None = None
        self._visitors = 0
        self._changed = threading.Condition()

    @contextmanager
    def holding(self, store: Store) -> Iterator[None]:
        with self._changed:
            self._store = store
        try:
            yield
        finally:
            with self._changed:
                self._store = None
                self._changed.wait_for(lambda: not self._visitors, _LAST_QUERY_SECONDS)

    def query(self, sql: str, limit: int | None, timeout: float) -> pa.Table:
        """Ask the store. Raises UnreachableError while there is none."""
        with self._visiting() as store:
            return store.query(sql, limit=limit, timeout_seconds=timeout)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Ask the store for headrace's own numbers."""
        with self._visiting() as store:
            return answers.rows(store.query(store.compiled(sql), timeout_seconds=_OWN_QUERY_SECONDS))

    @contextmanager
    def _visiting(self) -> Iterator[Store]:
        with self._changed:
            store = self._store
            if store is None:
                raise UnreachableError(self.closed)
            self._visitors += 1
        try:
            yield store
        finally:
            with self._changed:
                self._visitors -= 1
                self._changed.notify_all()


def _hosts(settings: Settings, token: str | None) -> set[str]:
    """Return the host names that requests may carry.

    A web page that points its own name at this machine does not have the token: with one, any name will do, such as
    that of a container, or the address by which a cluster asks its probes.
    """
    return {"*"} if token else {*LOOPBACK_HOSTS, settings.web.host}
