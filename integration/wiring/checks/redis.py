"""The Redis server: its version, what it does when it is full, what survives a crash."""

from collections.abc import Iterator, Mapping
from typing import Any

from integration.settings import Settings, mask_url
from integration.stream.connection import Client, answering
from integration.wiring.checks.check import Check, State

_OLDEST = (6, 2)
"""XAUTOCLAIM, by which entries of a dead consumer are taken over."""
_COUNTING = (7, 0)
"""The first to say how far a group is behind."""
_NEARLY_FULL_PERCENT = 90


def checks(settings: Settings, client: Client) -> Iterator[Check]:
    """Look at the server. Everything comes from INFO, which hosted servers allow too."""
    with answering(client):
        info: Mapping[str, Any] = {
            **client.info("server"), **client.info("memory"), **client.info("persistence")
        }  # fmt: skip
    place = "the embedded Valkey" if settings.redis.url == "embedded" else mask_url(settings.redis.url)
    shown = f"{place} answers, version {info.get('valkey_version') or info.get('redis_version')}"
    yield Check("redis", State.OK, shown)
    yield from _version(str(info.get("redis_version") or ""))
    yield from _eviction(info)
    yield from _memory(info, settings.streams.memory_percent)
    yield from _persistence(info)


def _version(text: str) -> Iterator[Check]:
    parts = text.split(".")
    version = tuple(int(p) for p in parts[:2]) if len(parts) > 1 and all(p.isdigit() for p in parts[:2]) else None
    if version is None:
        return
    if version < _OLDEST:
        yield Check(
            "redis version", State.FAIL, f"version {text} is too old: entries of a dead consumer can't be taken over",
            "use Redis 6.2 or later (7.0 recommended), or any Valkey",
        )  # fmt: skip
    elif version < _COUNTING:
        yield Check(
            "redis version", State.WARN, f"version {text} does not say how far groups are behind, so LAG stays unknown",
            "use Redis 7.0 or later, or any Valkey",
        )  # fmt: skip


def _eviction(info: Mapping[str, Any]) -> Iterator[Check]:
    policy = info.get("maxmemory_policy")
    if policy not in (None, "noeviction"):
        yield Check(
            "redis memory", State.FAIL, f"maxmemory-policy is {policy}, so a full server drops entries",
            "set maxmemory-policy to noeviction in its configuration",
        )  # fmt: skip


def _memory(info: Mapping[str, Any], pause_percent: int) -> Iterator[Check]:
    limit, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    what, remedy = "its maxmemory", "raise its maxmemory, let the consumer catch up, or lower streams.keep"
    if not limit:
        limit = int(info.get("total_system_memory") or 0)
        what, remedy = "the memory of its machine", "give the machine more memory, or lower streams.keep"
    percent = used * 100 / limit if limit else 0.0
    if percent >= min(pause_percent, _NEARLY_FULL_PERCENT):
        paused = f"; pollers pause above {pause_percent} %" if "maxmemory" in what and percent >= pause_percent else ""
        state = State.FAIL if percent >= _NEARLY_FULL_PERCENT else State.WARN
        yield Check("redis memory", state, f"it uses {percent:.0f} % of {what}{paused}", remedy)


def _persistence(info: Mapping[str, Any]) -> Iterator[Check]:
    if "aof_enabled" not in info:
        return
    if not int(info["aof_enabled"]):
        yield Check(
            "redis persistence", State.WARN, "appendonly is off, so a crash of the server loses entries",
            "set appendonly to yes in its configuration",
        )  # fmt: skip
    elif info.get("aof_last_write_status") not in (None, "ok"):
        yield Check(
            "redis persistence", State.FAIL, "the server can't write its append-only file, so it takes no more entries",
            "look at its log and at the room on its disk",
        )  # fmt: skip
