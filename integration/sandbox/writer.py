"""Writing saved changes into the tables, with everything that follows: stamps, history, diary, effects.

Nothing here checks what it is given; the org does that before. The caller holds the org's lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from integration.sandbox import effects, history
from integration.sandbox.clock import stamp
from integration.sandbox.commits import Commit, Kind
from integration.sandbox.table import Row, Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org


@dataclass(frozen=True, slots=True)
class Save:
    """When and by whom a record was saved; `at` is a Salesforce stamp, `seeding` a back-dated save."""

    at: str
    by: str
    seeding: bool = False


class Writer:
    """The one way into the tables."""

    def __init__(self, org: "Org") -> None:
        self._org = org

    def find(self, record_id: str | None) -> Table | None:
        """Return the table of a record that is there and not deleted."""
        name = self._org.object_of(record_id) if record_id else None
        if name is None or record_id is None:
            return None
        table = self._org.tables[name]
        row = table.rows.get(record_id)
        return None if row is None or table.is_deleted(row) else table

    def create(self, table: Table, record_id: str, given: Mapping[str, Any], save: Save) -> None:
        """Write a new record."""
        record = {**table.blank, **given, "Id": record_id}
        for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp"):
            if name in table.at:
                record[name] = save.at
        for name in ("CreatedById", "LastModifiedById"):
            if name in table.at:
                record[name] = save.by
        if "OwnerId" in table.at and not record["OwnerId"]:
            record["OwnerId"] = save.by
        self._hook(table, record, given)
        self._put(table, record, save, "created")
        if not save.seeding:
            # Back-dated records stand for what was there before tracking was switched on.
            self._remember(table, record_id, [history.CREATED], save)
        effects.follow(self, table, None, record, save)

    def change(
        self, table: Table, record_id: str, changes: Mapping[str, Any], save: Save, kind: Kind = "updated"
    ) -> None:
        """Write new values into a record, moving LastModifiedDate and SystemModstamp."""
        before = table.record(table.rows[record_id])
        after = {
            **before,
            **changes,
            "LastModifiedDate": save.at,
            "LastModifiedById": save.by,
            "SystemModstamp": save.at,
        }
        self._hook(table, after, changes)
        self._put(table, after, save, kind)
        self._remember(table, record_id, list(history.entries(self._org, table, before, after)), save)
        effects.follow(self, table, before, after, save)

    def drift(self, table: Table, record_id: str, changes: Mapping[str, Any], save: Save) -> None:
        """Write values the platform computes: SystemModstamp moves (never back), LastModifiedDate does not."""
        record = table.record(table.rows[record_id])
        record.update(changes)
        record["SystemModstamp"] = max(record["SystemModstamp"], save.at)
        self._put(table, record, save, "updated" if changes else "touched")

    def mark_deleted(self, table: Table, record_id: str, save: Save, kind: Kind = "deleted", **more: Any) -> None:
        """Move a record to the recycle bin, or away for good if its object has none."""
        if table.definition.hard_delete_only:
            self.remove(table, record_id, save, kind)
        else:
            record = table.record(table.rows[record_id]) | more
            record |= {"IsDeleted": True, "LastModifiedDate": save.at, "LastModifiedById": save.by}
            record["SystemModstamp"] = save.at
            self._put(table, record, save, kind)
        table.deleted_log[record_id] = save.at

    def restore(self, table: Table, record_id: str, save: Save, *, move_stamp: bool) -> None:
        """Bring a record back from the recycle bin."""
        record = table.record(table.rows[record_id]) | {"IsDeleted": False}
        if move_stamp:
            record["SystemModstamp"] = save.at
        self._put(table, record, save, "undeleted")
        table.deleted_log.pop(record_id, None)

    def remove(self, table: Table, record_id: str, save: Save, kind: Kind = "purged") -> None:
        """Forget a record for good."""
        row = table.drop(record_id)
        self._log(table, record_id, save.at, kind, row, None)
        effects.follow(self, table, table.record(row), None, save)

    def place(self, table: Table, record: dict[str, Any]) -> None:
        """Store a complete record as it is, stamps included, without any consequence."""
        at = record[table.stamp_field]
        known = record["Id"] in table.rows
        self._put(table, record, Save(at, ""), "updated" if known else "created")
        if record.get("IsDeleted"):
            table.deleted_log[record["Id"]] = at

    def _hook(self, table: Table, record: dict[str, Any], given: Mapping[str, Any]) -> None:
        if table.definition.on_save is not None:
            table.definition.on_save(record, given, self._org)

    def _put(self, table: Table, record: dict[str, Any], save: Save, kind: Kind) -> None:
        row = tuple(record.values())
        if len(row) != len(table.columns):
            raise ValueError(f"A save hook of {table.definition.name} added a field the object does not have.")
        before = table.put(row)
        self._log(table, record["Id"], save.at, kind, before, row)

    def _log(self, table: Table, record_id: str, at: str, kind: Kind, before: Row | None, after: Row | None) -> None:
        commits, images = self._org.commits, (table.columns, before, after)
        visible = stamp(self._org.clock.now())
        commits.append(Commit(len(commits) + 1, at, visible, table.definition.name, record_id, kind, images))

    def _remember(self, table: Table, parent: str, rows: list[history.Entry], save: Save) -> None:
        definition = table.definition
        if not rows or not definition.history or not self._org.history_tracking:
            return
        log = self._org.tables.get(definition.history)
        if log is None:
            return
        for field, data_type, old, new in rows:
            # Not in the diary: these rows are a record of changes, not changes.
            record = log.blank | {
                "Id": self._org.new_id(log.definition.key_prefix),
                str(definition.history_parent): parent,
                "CreatedById": save.by,
                "CreatedDate": save.at,
                "Field": field,
                "DataType": data_type,
                "OldValue": old,
                "NewValue": new,
            }
            log.put(tuple(record.values()))
