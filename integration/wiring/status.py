"""`headrace status`: one look at everything. Reads Redis and the store; asks Salesforce nothing."""

from typing import Any

from integration.errors import HeadraceError
from integration.settings import Settings, mask_url
from integration.store.answers import rows
from integration.stream import inspect, names
from integration.stream.connection import Client
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


def status(settings: Settings) -> tuple[dict[str, Any], HeadraceError | None]:
    """Return what there is to see, and the first problem met on the way.

    A part that can't be reached, or is not there yet (which is no problem), has an `error` instead of its values.
    """
    report: dict[str, Any] = {
        "store": {"url": mask_url(settings.store.url)},
        "redis": {"url": mask_url(settings.redis.url)},
        "objects": [],
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
        return {r["object"]: r["records"] for r in _rows(reader, _RECORDS)}


def _look_at_streams(settings: Settings, report: dict[str, Any], records: dict[str, int]) -> None:
    with existing_streams(settings) as streams:
        report["objects"] = [_object(streams.client, name, records) for name in _known(settings, records)]
        report["streams"] = [_stream(info) for info in inspect.streams(streams.client)]


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
