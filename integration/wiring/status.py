"""`headrace status`: one look at everything. Reads Redis and the store; asks Salesforce nothing."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from integration.core import budget
from integration.core.budget import Usage
from integration.core.history import parent_of
from integration.errors import HeadraceError
from integration.settings import Settings, mask_url
from integration.store.answers import ask
from integration.stream import inspect, metrics, names
from integration.stream.connection import Client
from integration.stream.metrics import PollerMetrics
from integration.stream.publish import Publisher
from integration.wiring import reading
from integration.wiring.streams import existing_streams, has_streams
from integration.wiring.waiting import MARTS_WAITING, group_of, oldest_waiting
from schemas import Cursor

_COUNTS = """
SELECT (SELECT count(*) FROM users WHERE NOT is_deleted) AS users,
       (SELECT count(*) FROM users WHERE is_deleted) AS deleted_users,
       (SELECT count(*) FROM accounts WHERE NOT is_deleted) AS accounts,
       (SELECT count(*) FROM events) AS events,
       (SELECT max(time) FROM events) AS newest_event,
       (SELECT count(*) FROM captures) AS captures
"""
_LAST_RUN = "SELECT * FROM sync_runs ORDER BY ended_at DESC LIMIT 1"
_RECORDS = "SELECT object, count(*) AS records FROM headrace.states WHERE NOT is_deleted GROUP BY 1"
_SWEPT = """
SELECT object, ended_at AS swept_at, missing + stale + ghosts AS differences, repaired
FROM (SELECT *, row_number() OVER (PARTITION BY object ORDER BY ended_at DESC) AS place FROM reconciliations
      WHERE coalesce(kind, 'sweep') = 'sweep')
WHERE place = 1
"""
_CHANGES = """
SELECT object, count(*) AS changes FROM events WHERE "time" > now() - INTERVAL 24 HOUR AND object IS NOT NULL GROUP BY 1
"""
_OVERDUE = timedelta(minutes=2)

_LATE_INTERVALS = 3
_LATE_SECONDS = 120.0
"""A worker's poll that is so many intervals, and at least so long, overdue is late."""
_HISTORY_SECONDS = 600.0
"""Histories are read every five minutes."""
_SYNC_LATE_SECONDS = 26 * 3600.0
"""Where no worker polls but `headrace sync` does: a day and a bit, for one that runs every night."""


def status(settings: Settings) -> tuple[dict[str, Any], HeadraceError | None]:
    """Return what there is to see, and the first problem met on the way.

    A part that can't be reached, or is not there yet (which is no problem), has an `error` instead of its values.
    Times are ISO 8601 UTC. An object is `late` when its last poll lies too far back for the pace of who polls.
    """
    report: dict[str, Any] = {
        "store": {"url": mask_url(settings.store.url)},
        "redis": {"url": mask_url(settings.redis.url)},
        "api": {},
        "objects": [],
        "checked": [],
        "streams": [],
        "marts": {},
    }
    problems: list[HeadraceError] = []
    known: dict[str, dict[str, int]] = {}
    try:
        if reading.exists(settings):
            known = _look_at_store(settings, report)
        else:
            report["store"]["error"] = "not there yet: run headrace sync"
    except HeadraceError as error:
        report["store"]["error"] = str(error)
        problems.append(error)
    try:
        if has_streams(settings):
            _look_at_streams(settings, report, known)
        else:
            report["redis"]["error"] = "not there yet: run headrace sync"
    except HeadraceError as error:
        report["redis"]["error"] = str(error)
        problems.append(error)
    report["summary"] = _summary(report)
    return report, next(iter(problems), None)


def _look_at_store(settings: Settings, report: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Fill in what the store tells; return records and recent changes by object."""
    owner = reading.find_owner(settings)
    if owner is not None:
        report["store"] |= {"open_in_process": owner.pid, "open_since": owner.started_at}
    with reading.reader(settings) as reader:
        report["store"] |= _one(reader, _COUNTS)
        report["last_run"] = _one(reader, _LAST_RUN)
        report["checked"] = _rows(reader, _SWEPT)
        report["marts"] = _one(reader, MARTS_WAITING)
        changes = {r["object"]: r["changes"] for r in _rows(reader, _CHANGES)}
        return {
            r["object"]: {"records": r["records"], "changes": changes.get(r["object"], 0)}
            for r in _rows(reader, _RECORDS)
        }


def _look_at_streams(settings: Settings, report: dict[str, Any], known: Mapping[str, Mapping[str, int]]) -> None:
    with existing_streams(settings) as streams:
        client, now = streams.client, datetime.now(UTC)
        poller = metrics.read(client)
        found = dict.fromkeys((*settings.watched, *known))
        cursors = {name: Publisher(client).cursor(name) for name in found}
        late = _late(settings, cursors, poller, now)
        report["objects"] = [_object(name, cursors[name], known.get(name, {}), late.get(name)) for name in found]
        report["streams"] = [_stream(client, info) for info in inspect.streams(client)]
        if poller is not None:
            report["api"] = api(poller, now)
        report["checked"] = _checked(metrics.reread_since(client), report["checked"])


def api(poller: PollerMetrics, now: datetime) -> dict[str, Any]:
    """Return what the poller's metrics say of the org's API calls, with a sentence for the pace and one of forecast."""
    usage = Usage(poller.used, poller.total) if poller.used is not None and poller.total is not None else None
    ahead = budget.forecast(
        usage, poller.percent, poller.interval_seconds, poller.calls_per_cycle, poller.growth_per_hour
    )
    price = budget.calls_per_thousand(poller.calls, poller.published)
    return {
        "used": poller.used,
        "total": poller.total,
        "used_percent_of_budget": round(usage.spent(poller.percent) * 100, 1) if usage else None,
        "budget": int(usage.budget(poller.percent)) if usage else None,
        "pace": _pace(poller, now),
        "forecast": _forecast(poller, ahead),
        "interval_seconds": round(poller.interval_seconds, 1),
        "paused": poller.state == "paused",
        "calls_a_day": round(ahead.calls_a_day) if poller.by == "run" else None,
        "budget_reached_in_seconds": round(ahead.budget_reached_in) if ahead.budget_reached_in is not None else None,
        "calls_per_1000_changes": round(price, 1) if price is not None else None,
        "last_cycle_calls": poller.last_calls,
        "cycles": poller.cycles,
        "calls": poller.calls,
        "captures_published": poller.published,
        "counted_since": poller.started_at,
        "seen_at": poller.at,
        "problem": poller.problem,
    }


def _pace(poller: PollerMetrics, now: datetime) -> str:
    every = f"every {_span(poller.interval_seconds)}"
    if poller.by == "sync":
        return "once, by headrace sync"
    if poller.next_at is not None and now > datetime.fromisoformat(poller.next_at) + _OVERDUE:
        return "no worker polls: start headrace run"
    if poller.state == "failed":
        return "waiting after a failure"
    because = f" because {poller.reason}" if poller.reason else ""
    if poller.state == "paused":
        return f"paused{because}"
    word = f"slowed to {every}" if poller.reason else every
    return f"{word}{because}{', polling now' if poller.state == 'polling' else ''}"


def _forecast(poller: PollerMetrics, ahead: budget.Forecast) -> str:
    own = f"{ahead.calls_a_day:,.0f} calls a day"
    share = f" ({ahead.share:.1%} of the allowance)".replace("%", " %") if ahead.share is not None else ""
    if ahead.budget_reached_in is None:
        reached = "the budget lasts" if poller.growth_per_hour is not None else ""
    elif ahead.budget_reached_in == 0:
        reached = "the budget is used up"
    else:
        reached = f"at the rate of the last hour the budget is used up in {_span(ahead.budget_reached_in)}"
    return "; ".join(part for part in (own + share if poller.by == "run" else "", reached) if part)


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{round(seconds, 1):g} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 120 else f"{minutes} min"


def _checked(reread: dict[str, str], swept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put together, by object, how old calculated fields can be and what the last reconciliation found."""
    found: dict[str, dict[str, Any]] = {one["object"]: one for one in swept}
    for name in reread:
        found.setdefault(name, {"object": name, "swept_at": None, "differences": None, "repaired": None})
    return [found[name] | {"calculated_as_of": reread.get(name)} for name in sorted(found)]


def _late(
    settings: Settings, cursors: Mapping[str, Cursor | None], poller: PollerMetrics | None, now: datetime
) -> dict[str, str]:
    """Return the objects whose last poll lies too far back, with a hint for each.

    Cursors go by Salesforce's clock and the poller's numbers by this machine's; so an object's age is how far it lies
    behind the object polled last, plus how long ago the poller said anything.
    """
    polled = {name: at for name, cursor in cursors.items() if cursor is not None and (at := _polled_at(cursor))}
    if poller is None or not polled:
        return {}
    newest = max(polled.values())
    silent = max(0.0, (now - datetime.fromisoformat(poller.at)).total_seconds())
    found = {}
    for name, at in polled.items():
        parent = parent_of(name)
        if (parent or name) in settings.watched:
            age = silent + (newest - at).total_seconds()
            if age > _allowed(poller, is_history=parent is not None):
                found[name] = _why_late(poller, now)
    return found


def _polled_at(cursor: Cursor) -> datetime | None:
    """Return Salesforce's clock when the last finished pass over an object began."""
    ends = [datetime.fromisoformat(at) for at in (cursor.covered_until, cursor.passed_until) if at]
    return max(ends, default=None)


def _allowed(poller: PollerMetrics, *, is_history: bool) -> float:
    if poller.by == "sync":
        return _SYNC_LATE_SECONDS
    # A stretched interval is what the API budget allows: late is what is later than people asked for.
    return max(_LATE_INTERVALS * poller.asked_seconds, _LATE_SECONDS) + (_HISTORY_SECONDS if is_history else 0.0)


def _why_late(poller: PollerMetrics, now: datetime) -> str:
    if poller.by == "sync":
        return "run headrace sync, or start headrace run"
    if poller.next_at is not None and now > datetime.fromisoformat(poller.next_at) + _OVERDUE:
        return "start headrace run"
    if poller.state == "failed":
        return "the last poll failed: see problem under API"
    if poller.state in ("paused", "waiting") and poller.reason:
        return f"{poller.state} because {poller.reason}"
    return "the log of the worker says why"


def _object(name: str, cursor: Cursor | None, known: Mapping[str, int], late: str | None) -> dict[str, Any]:
    state = "never read" if cursor is None else "reading" if cursor.pass_started_at else "ok"
    is_late = late is not None and (state == "ok" or (cursor is not None and cursor.covered_until is not None))
    return {
        "object": name,
        "records": known.get("records", 0),
        "changes_24h": known.get("changes", 0),
        "last_poll": cursor.covered_until if cursor else None,
        "watermark": cursor.system_modstamp if cursor else None,
        "state": "late" if is_late else state,
        "hint": late if is_late else None,
    }


def _stream(client: Client, info: inspect.StreamInfo) -> dict[str, Any]:
    group = group_of(info)
    oldest = oldest_waiting(client, info)
    return {
        "stream": info.name,
        "length": info.length,
        "lag": group.lag.lag if group else None,
        "pending": group.lag.pending if group else None,
        "oldest": names.offset_time(oldest) if oldest else None,
        "dead": info.dead,
        "hint": f"headrace dlq ls {info.name}" if info.dead else None,
    }


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """Add everything up. `waiting` counts at least so many: Redis does not know every group's lag."""
    late = [one["object"] for one in report["objects"] if one["state"] == "late"]
    streams: Sequence[Mapping[str, Any]] = report["streams"]
    dead = sum(one["dead"] for one in streams)
    waiting = sum((one["lag"] or 0) + (one["pending"] or 0) for one in streams)
    oldest = min((one["oldest"] for one in streams if one["oldest"]), default=None)
    parts = [
        f"{len(late)} object{'' if len(late) == 1 else 's'} late" if late else "no object late",
        f"{waiting:,} {'entry' if waiting == 1 else 'entries'} waiting" if waiting or oldest else "nothing waiting",
        f"{dead:,} dead letter{'' if dead == 1 else 's'}" if dead else "no dead letters",
    ]
    return {
        "late": late, "waiting": waiting, "oldest_waiting": oldest, "dead_letters": dead, "sentence": ", ".join(parts)
    }  # fmt: skip


def _rows(reader: Any, sql: str) -> list[dict[str, Any]]:
    return ask(reader, sql)


def _one(reader: Any, sql: str) -> dict[str, Any]:
    return next(iter(_rows(reader, sql)), {})
