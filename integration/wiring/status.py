"""`headrace status`: one look at everything. Reads Redis and the store; asks Salesforce nothing."""

from typing import Any

from integration.errors import HeadraceError
from integration.settings import Settings, mask_url
from integration.store.answers import rows
from integration.store.reader import open_reader
from integration.stream import inspect, names
from integration.stream.connection import Client
from integration.stream.publish import Publisher
from integration.wiring import parts

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


def status(settings: Settings) -> dict[str, Any]:
    """Return what there is to see. A part that can't be reached has an `error` instead of its values."""
    report: dict[str, Any] = {
        "store": {"url": mask_url(settings.store.url)},
        "redis": {"url": mask_url(settings.redis.url)},
        "objects": [],
        "streams": [],
    }
    records: dict[str, int] = {}
    try:
        reader = open_reader(settings.store_path)
        report["store"] |= _one(reader, _COUNTS)
        report["last_run"] = _one(reader, _LAST_RUN)
        records = {r["object"]: r["records"] for r in _rows(reader, _RECORDS)}
    except HeadraceError as error:
        report["store"]["error"] = str(error)
    try:
        with parts.open_streams(settings) as streams:
            report["objects"] = [_object(streams.client, name, records) for name in _known(settings, records)]
            report["streams"] = [_stream(info) for info in inspect.streams(streams.client)]
    except HeadraceError as error:
        report["redis"]["error"] = str(error)
    return report


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
