"""What `headrace streams inspect` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from integration.cli.entries import short_type
from integration.cli.frame import Call
from integration.cli.output import ago

if TYPE_CHECKING:
    from integration.stream.inspect import GroupInfo, Sample, StreamInfo

_KB = 1000
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ConsumerReport:
    """A consumer of a group: how many entries it has and has not finished, and when it last asked (ms ago)."""

    name: str
    pending: int
    idle_ms: int


@dataclass(frozen=True, slots=True)
class GroupReport:
    """How far a group is. `lag` is None where Redis does not know it; offsets are None where there is none."""

    name: str
    lag: int | None
    pending: int
    oldest_pending: str | None
    oldest_pending_at: str | None
    last_delivered: str | None
    consumers: tuple[ConsumerReport, ...]


@dataclass(frozen=True, slots=True)
class TypeCount:
    """How many of the newest entries are of a type; of none, if `type` is None."""

    type: str | None
    entries: int


@dataclass(frozen=True, slots=True)
class Newest:
    """What the newest entries are: how many were looked at, how many of them headrace wrote, their top types."""

    looked_at: int
    ours: int
    types: tuple[TypeCount, ...]


@dataclass(frozen=True, slots=True)
class StreamReport:
    """All about one stream. Times are ISO 8601 UTC, those at which Redis took the entries.

    `bytes` is None where Redis does not tell it, `dead` for a stream of dead letters itself.
    """

    name: str
    length: int
    first: str | None
    first_at: str | None
    last: str | None
    last_at: str | None
    bytes: int | None
    dead: int | None
    groups: tuple[GroupReport, ...]
    newest: Newest


def describe(info: "StreamInfo", sample: "Sample") -> StreamReport:
    """Join what is known of a stream."""
    from integration.stream.names import alive_of

    return StreamReport(
        name=info.name,
        length=info.length,
        first=info.first,
        first_at=info.first_at,
        last=info.last,
        last_at=info.last_at,
        bytes=info.bytes,
        dead=info.dead if alive_of(info.name) == info.name else None,
        groups=tuple(map(_group, info.groups)),
        newest=Newest(sample.looked_at, sample.ours, tuple(TypeCount(*one) for one in sample.types)),
    )


def print_report(call: Call, report: StreamReport) -> None:
    """Print it for people."""
    now = datetime.now(UTC)
    shown: dict[str, Any] = {
        "stream": report.name,
        "entries": f"{report.length:,}{_whose(report.newest)}",
        "first": _end(report.first, report.first_at, now),
        "last": _end(report.last, report.last_at, now),
        "memory": _size(report.bytes),
    }
    if report.dead is not None:
        shown["dead letters"] = f"{report.dead:,}"
    shown["groups"] = _groups(report.groups, now) or "none: nobody reads it"
    shown["consumers"] = [
        {"group": group.name, "consumer": one.name, "pending": one.pending, "idle": idle_for(one.idle_ms)}
        for group in report.groups
        for one in group.consumers
    ]
    types = [{"type": short_type(one.type), "entries": one.entries} for one in report.newest.types]
    shown[f"types of the newest {report.newest.looked_at:,} entries"] = types
    call.out.report(shown, now)


def idle_for(milliseconds: int) -> str:
    """Say how long something has been idle: `12s`, `3m`."""
    now = datetime.now(UTC)
    return ago(now - timedelta(milliseconds=milliseconds), now).removesuffix(" ago")


def _group(found: "GroupInfo") -> GroupReport:
    from integration.stream.names import offset_time

    oldest = found.lag.oldest_pending
    return GroupReport(
        name=found.name,
        lag=found.lag.lag,
        pending=found.lag.pending,
        oldest_pending=oldest,
        oldest_pending_at=offset_time(oldest) if oldest else None,
        last_delivered=found.lag.last_delivered,
        consumers=tuple(ConsumerReport(one.name, one.pending, one.idle_ms) for one in found.consumers),
    )


def _groups(groups: Sequence[GroupReport], now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "group": one.name,
            "lag": _UNKNOWN if one.lag is None else one.lag,
            "pending": one.pending,
            "oldest_pending": _end(one.oldest_pending, one.oldest_pending_at, now),
            "last_delivered": one.last_delivered,
        }
        for one in groups
    ]


def _whose(newest: Newest) -> str:
    if not newest.looked_at:
        return ""
    how_many = "all" if newest.ours == newest.looked_at else f"{newest.ours:,}" if newest.ours else "none"
    return f"; {how_many} of the newest {newest.looked_at:,} written by headrace"


def _end(offset: str | None, at: str | None, now: datetime) -> str | None:
    return f"{offset}, {at} ({ago(at, now)})" if offset and at else offset


def _size(count: float | None) -> str:
    if count is None:
        return _UNKNOWN
    unit = "bytes"
    for larger in ("kB", "MB", "GB"):
        if count < _KB:
            break
        count, unit = count / _KB, larger
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
