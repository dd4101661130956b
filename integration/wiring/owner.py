"""The owner of a store answers queries for everyone else, while it works."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from integration.settings import Settings
from integration.store import owner
from integration.store.duckdb import DuckDBStore
from integration.web.query import LOOPBACK_HOSTS, QueryServer, query_app
from integration.wiring.clock import now


@contextmanager
def answering_queries(settings: Settings, store: DuckDBStore, *, port: int) -> Iterator[str]:
    """Serve read-only queries while the block runs, and leave a note beside the store that says where.

    Local commands find the note and, where web.token is set, the token in it.
    """
    token = settings.web.token.get_secret_value() if settings.web.token is not None else None

    def answer(sql: str, limit: int | None, timeout: float) -> pa.Table:
        return store.query(sql, limit=limit, timeout_seconds=timeout)

    app = query_app(answer, token=token, allowed_hosts={*LOOPBACK_HOSTS, settings.web.host})
    server = QueryServer(app, host=settings.web.host, port=port)
    server.start()
    try:
        owner.announce(settings.store_path, url=server.url, token=token or "", started_at=now())
        yield server.url
    finally:
        owner.withdraw(settings.store_path)
        server.stop()
