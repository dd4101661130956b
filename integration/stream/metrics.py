"""What the poller did and how fast it goes, in a small hash that other processes read."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from integration.stream.connection import Client, answering
from integration.stream.names import POLLER_KEY, REREAD_KEY


class PollerMetrics(BaseModel):
    """The poller at the end of a cycle (or at the beginning of one, while `state` is `polling`).

    Times are ISO 8601 UTC by this machine's clock, intervals seconds. `used` and `total` are the org's API calls as
    Salesforce last told them, `percent` the share that may be used. `calls`, `published` and `cycles` count since
    `started_at`; `calls_per_cycle` is what a cycle usually costs, `growth_per_hour` by how much the org's use grew in
    the last hour. `problem` is what stopped the last cycle, `reason` why the pace is not `asked_seconds`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    by: Literal["run", "sync"]
    state: Literal["polling", "waiting", "paused", "failed", "ended"]
    started_at: str
    at: str
    asked_seconds: float
    interval_seconds: float
    next_at: str | None = None
    reason: str | None = None
    problem: str | None = None
    used: int | None = None
    total: int | None = None
    percent: float = 100.0
    cycles: int = 0
    calls: int = 0
    published: int = 0
    last_calls: int | None = None
    calls_per_cycle: float = 0.0
    growth_per_hour: float | None = None


def write(client: Client, metrics: PollerMetrics) -> None:
    """Put the metrics in place of the last ones. Raises UnreachableError."""
    values = {name: str(value) for name, value in metrics.model_dump().items() if value is not None}
    pipe = client.pipeline(transaction=True)
    pipe.delete(POLLER_KEY)
    pipe.hset(POLLER_KEY, mapping=values)  # type: ignore[arg-type]
    with answering(client):
        pipe.execute()


def read(client: Client) -> PollerMetrics | None:
    """Return the last metrics; None if there are none, or none that this version can read. Raises UnreachableError."""
    found = _hash(client, POLLER_KEY)
    try:
        return PollerMetrics.model_validate(found) if found else None
    except ValidationError:
        return None


def reread_since(client: Client) -> dict[str, str]:
    """Return by object since when every record's calculated fields have been read again: the beginning of the last
    complete round, ISO 8601 UTC. Raises UnreachableError.
    """
    rounds = {name: _json(text) for name, text in _hash(client, REREAD_KEY).items()}
    return {
        name: one["started"] for name, one in rounds.items() if isinstance(one.get("started"), str) and one.get("ended")
    }


def _hash(client: Client, key: str) -> dict[str, str]:
    with answering(client):
        if client.type(key) != b"hash":
            return {}
        found: Mapping[bytes, bytes] = client.hgetall(key)  # type: ignore[assignment]
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in found.items()}


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
