"""The archive of old activities: only `queryAll` still shows them."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from integration.sandbox.clock import stamp

if TYPE_CHECKING:
    from integration.sandbox.org import Org


def archive(org: "Org", before: datetime, *, move_stamp: bool) -> list[str]:
    """Archive the closed tasks and past events from before that day; return their Ids. Locked ones stay."""
    day, save, moved = stamp(before)[:10], org.save(None), []
    for name in ("Task", "Event"):
        table = org.table(name)
        for row in [row for row in table.rows.values() if not table.is_deleted(row) and row[0] not in org.locked]:
            record = table.record(row)
            if not record["IsArchived"] and _is_over(name, record, day):
                org.writer.drift(
                    table, record["Id"], {"IsArchived": True}, save, kind="archived", move_stamp=move_stamp
                )
                moved.append(record["Id"])
    return moved


def _is_over(name: str, record: dict[str, Any], day: str) -> bool:
    if name == "Task" and not record["IsClosed"]:
        return False
    ended = record["ActivityDate"] or record.get("CompletedDateTime") or record["CreatedDate"]
    return bool(ended[:10] < day)
