"""/deleted/ and /updated/: which Ids went away or changed within a window."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from integration.sandbox.clock import stamp
from integration.sandbox.errors import OrgError

if TYPE_CHECKING:
    from integration.sandbox.org import Org

_DELETED_DAYS = 15
_UPDATED_DAYS = 30


def deleted(org: "Org", name: str, params: Mapping[str, str]) -> dict[str, Any]:
    """The Ids deleted within the window, hard deletes included. Raises OrgError INVALID_REPLICATION_DATE."""
    start, end = _window(org, name, params, _DELETED_DAYS)
    known_since = org.deletes_known_since or org.clock.now() - timedelta(days=_DELETED_DAYS)
    if org.deletes_known_since is not None and start < org.deletes_known_since:
        raise _bad_date("startDate is before the earliest date available")
    low, high = stamp(start), stamp(end)
    return {
        "deletedRecords": [{"deletedDate": at, "id": key} for key, at in org.deleted_log(name) if low <= at <= high],
        "earliestDateAvailable": stamp(known_since),
        "latestDateCovered": _covered(org, end),
    }


def updated(org: "Org", name: str, params: Mapping[str, str]) -> dict[str, Any]:
    """The Ids created or changed within the window and not deleted. Raises OrgError INVALID_REPLICATION_DATE."""
    start, end = _window(org, name, params, _UPDATED_DAYS)
    table = org.table(name)
    keys = (key[28:] for key in table.by_stamp.between(stamp(start), stamp(end) + "~"))
    live = [key for key in keys if not table.is_deleted(table.rows[key])]
    return {"ids": live, "latestDateCovered": _covered(org, end)}


def _window(org: "Org", name: str, params: Mapping[str, str], days: int) -> tuple[datetime, datetime]:
    if not org.table(name).definition.replicateable:
        raise OrgError("INVALID_TYPE_FOR_OPERATION", f"object type {name} is not replicateable")
    start, end = _minute(params.get("start", "")), _minute(params.get("end", ""))
    if (end - start).total_seconds() <= 60:
        raise _bad_date("endDate must be at least one minute greater than the startDate")
    if start < org.clock.now() - timedelta(days=days):
        raise _bad_date(f"startDate cannot be more than {days} days ago")
    return start, end


def _minute(text: str) -> datetime:
    """Read a time; Salesforce ignores its seconds."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _bad_date(f"invalid date time: {text!r}") from None
    if at.tzinfo is None:
        raise _bad_date(f"invalid date time without a timezone: {text!r}")
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _covered(org: "Org", end: datetime) -> str:
    """Up to where the answer is complete: not beyond the start of a transaction that is still open."""
    return stamp(min(at for at in (end, org.clock.now(), org.oldest_open()) if at is not None))


def _bad_date(message: str) -> OrgError:
    return OrgError("INVALID_REPLICATION_DATE", message)
