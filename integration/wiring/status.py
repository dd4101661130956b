"""`headrace status`: one look at everything. Reads Redis and the store; asks Salesforce nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

from integration.core import budget
from integration.core.budget import Usage
from integration.errors import HeadraceError
from integration.settings import Settings, mask_url
from integration.store.answers import rows
from integration.stream import inspect, metrics, names
from integration.stream.connection import Client
from integration.stream.metrics import PollerMetrics
from integration.stream.publish import Publisher
from integration.wiring import reading
from integration.wiring.streams import existing_streams, has_streams

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
_OVERDUE = timedelta(minutes=2)


def status(settings: Settings) -> tuple[dict[str, Any], HeadraceError | None]:
    """Return what there is to see, and the first problem met on the way.

    A part that can't be reached, or is not there yet (which is no problem), has an `error` instead of its values.
    """
    report: dict[str, Any] = {
        "store": {"url": mask_url(settings.store.url)},
        "redis": {"url": mask_url(settings.redis.url)},
        "api": {},
        "objects": [],
        "checked": [],
        "streams": [],
    }
    problems: list[HeadraceError] = []
    records: dict[str, int] = {}
    try:
        if settings.store_path.exists():
            records = _look_at_store(settings, report)
        else:
            report["store"]["error"] = "not there yet: run headrace sync"
    except HeadraceError as error:
        report["store"]["error"] = str(error)
        problems.append(error)
    try:
        if has_streams(settings):
            _look_at_streams(settings, report, records)
        else:
            report["redis"]["error"] = "not there yet: run headrace sync"
    except HeadraceError as error:
        report["redis"]["error"] = str(error)
        problems.append(error)
    return report, next(iter(problems), None)


def _look_at_store(settings: Settings, report: dict[str, Any]) -> dict[str, int]:
    with reading.reader(settings) as reader:
        report["store"] |= _one(reader, _COUNTS)
        report["last_run"] = _one(reader, _LAST_RUN)
        report["checked"] = _rows(reader, _SWEPT)
        return {r["object"]: r["records"] for r in _rows(reader, _RECORDS)}


def _look_at_streams(settings: Settings, report: dict[str, Any], records: dict[str, int]) -> None:
    with existing_streams(settings) as streams:
        report["objects"] = [_object(streams.client, name, records) for name in _known(settings, records)]
        report["streams"] = [_stream(info) for info in inspect.streams(streams.client)]
        poller = metrics.read(streams.client)
        if poller is not None:
            report["api"] = api(poller, datetime.now(UTC))
        report["checked"] = _checked(metrics.reread_since(streams.client), report["checked"])


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


def _known(settings: Settings, records: dict[str, int]) -> list[str]:
    return list(dict.fromkeys((*settings.watched, *records)))


def _object(client: Client, name: str, records: dict[str, int]) -> dict[str, Any]:
    cursor = Publisher(client).cursor(name)
    return {
        "object": name,
        "records": records.get(name, 0),
        "last_poll": cursor.covered_until if cursor else None,
        "watermark": cursor.system_modstamp if cursor else None,
        "state": "never read" if cursor is None else "reading" if cursor.pass_started_at else "ok",
    }


def _stream(info: inspect.StreamInfo) -> dict[str, Any]:
    group = next((g for g in info.groups if g.name == names.GROUP), None)
    return {
        "stream": info.name,
        "length": info.length,
        "lag": group.lag.lag if group else None,
        "pending": group.lag.pending if group else None,
        "dead": info.dead,
    }


def _rows(reader: Any, sql: str) -> list[dict[str, Any]]:
    return rows(reader.query(sql))


def _one(reader: Any, sql: str) -> dict[str, Any]:
    return next(iter(_rows(reader, sql)), {})
