"""Writing saved changes into the tables, with everything that follows: stamps, history, diary, effects.

Nothing here checks what it is given; the org does that before. The caller holds the org's lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from integration.sandbox import effects, history, persons
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
        self.org = org

    def find(self, record_id: str | None) -> Table | None:
        """Return the table of a record that is there and not deleted."""
        name = self.org.object_of(record_id) if record_id else None
        if name is None or record_id is None:
            return None
        table = self.org.tables[name]
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
        self._take_snapshot(table, None, record, save)
        effects.follow(self, table, None, record, save)

    def change(
        self,
        table: Table,
        record_id: str,
        changes: Mapping[str, Any],
        save: Save,
        kind: Kind = "updated",
        *,
        mirrored: bool = False,
    ) -> None:
        """Write new values into a record, moving LastModifiedDate and SystemModstamp.

        mirrored  the change comes from the other half of a person account, which is up to date already
        """
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
        self._remember(table, record_id, list(history.entries(self.org, table, before, after)), save)
        self._take_snapshot(table, before, after, save)
        effects.follow(self, table, before, after, save)
        if not mirrored:
            persons.mirror(self, table, before, after, save)

    def drift(
        self,
        table: Table,
        record_id: str,
        changes: Mapping[str, Any],
        save: Save,
        *,
        kind: Kind | None = None,
        move_stamp: bool = True,
    ) -> None:
        """Write values the platform computes: SystemModstamp moves (never back), LastModifiedDate does not."""
        record = table.record(table.rows[record_id])
        record.update(changes)
        if move_stamp:
            record["SystemModstamp"] = max(record["SystemModstamp"], save.at)
        self._put(table, record, save, kind or ("updated" if changes else "touched"))

    def slip_in(self, table: Table, record_id: str, changes: Mapping[str, Any]) -> None:
        """Write values behind everybody's back: no stamp, no hook, no history, nothing in the diary."""
        table.put(tuple({**table.record(table.rows[record_id]), **changes}.values()))

    def mark_deleted(self, table: Table, record_id: str, save: Save, kind: Kind = "deleted", **more: Any) -> None:
        """Move a record to the recycle bin, or away for good if its object has none."""
        if table.definition.hard_delete_only:
            self.remove(table, record_id, save, kind)
        else:
            record = table.record(table.rows[record_id]) | more
            record |= {"IsDeleted": True, "LastModifiedDate": save.at, "LastModifiedById": save.by}
            record["SystemModstamp"] = save.at
            before = table.record(table.rows[record_id])
            self._put(table, record, save, kind)
            effects.sum_up(self, table, before, None, save)
        table.deleted_log[record_id] = save.at

    def restore(self, table: Table, record_id: str, save: Save, *, move_stamp: bool) -> None:
        """Bring a record back from the recycle bin."""
        record = table.record(table.rows[record_id]) | {"IsDeleted": False}
        if move_stamp:
            record["SystemModstamp"] = save.at
        self._put(table, record, save, "undeleted")
        table.deleted_log.pop(record_id, None)
        effects.sum_up(self, table, None, record, save)

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
            table.definition.on_save(record, given, self.org)

    def _put(self, table: Table, record: dict[str, Any], save: Save, kind: Kind) -> None:
        row = tuple(record.values())
        if len(row) != len(table.columns):
            raise ValueError(f"A save hook of {table.definition.name} added a field the object does not have.")
        before = table.put(row)
        self._log(table, record["Id"], save.at, kind, before, row)

    def _log(self, table: Table, record_id: str, at: str, kind: Kind, before: Row | None, after: Row | None) -> None:
        org, name, images = self.org, table.definition.name, (table.columns, before, after)
        visible = stamp(org.clock.now())
        org.commits.append(Commit(len(org.commits) + 1, at, visible, name, record_id, kind, images, org.together))

    def _remember(self, table: Table, parent: str, rows: list[history.Entry], save: Save) -> None:
        definition = table.definition
        if not rows or not definition.history or not self.org.history_tracking:
            return
        log = self.org.tables.get(definition.history)
        if log is None:
            return
        for field, data_type, old, new in rows:
            # Not in the diary: these rows are a record of changes, not changes.
            record = log.blank | {
                "Id": self.org.new_id(log.definition.key_prefix),
                str(definition.history_parent): parent,
                "CreatedById": save.by,
                "CreatedDate": save.at,
                "Field": field,
                "DataType": data_type,
                "OldValue": old,
                "NewValue": new,
            }
            log.put(tuple(record.values()))

    def _take_snapshot(self, table: Table, before: dict[str, Any] | None, after: dict[str, Any], save: Save) -> None:
        """Write a row of the object's snapshots, if a field they show has changed. These need no tracking."""
        definition = table.definition
        log = self.org.tables.get(definition.snapshots or "")
        values = None if log is None else history.snapshot(self.org, table, log, before, after)
        if log is None or values is None:
            return
        record = log.blank | values
        record |= {"Id": self.org.new_id(log.definition.key_prefix), str(definition.history_parent): after["Id"]}
        record |= {"CreatedById": save.by, "CreatedDate": save.at, "SystemModstamp": save.at}
        log.put(tuple(record.values()))
