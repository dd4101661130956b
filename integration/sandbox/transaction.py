"""Transactions that stay open: rows are stamped when saved and seen when committed."""

# ruff: noqa: A002 - `object` is the word of this domain

from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from integration.sandbox import checks, effects, persons
from integration.sandbox.errors import OrgError
from integration.sandbox.table import Table
from integration.sandbox.values import convert

if TYPE_CHECKING:
    from integration.sandbox.org import Org


class PendingTransaction:
    """Changes saved but not yet visible, neither to queries nor in history.

    Each row keeps the stamp of its saving; it becomes visible at `commit`, and never after `rollback`. Until then
    the rows are locked: another writer gets UNABLE_TO_LOCK_ROW. As a context manager it commits, or rolls back
    when an exception leaves the block.
    """

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._steps: list[Callable[[], None]] = []
        self._new: set[str] = set()
        self._locked: set[str] = set()
        self._open = True
        self.started: datetime = org.clock.now()

    def insert(self, object: str, fields: Mapping[str, Any], *, by: str | None = None) -> str:
        """Save a new record and return its Id; nobody else sees it yet. Raises OrgError."""
        org = self._org
        with org.lock:
            self._check_open()
            table = org.table(object)
            given = checks.given_values(org, table, fields)
            checks.require(table, given)
            self._lock(effects.targets(org, object, given))
            record_id = org.new_id(table.definition.key_prefix)
            self._new.add(record_id)
            org.reserved.add(record_id)
            save, schema = org.save(by), org.schema_version
            self._steps.append(lambda: org.writer.create(table, record_id, _fitting(org, table, given, schema), save))
            return record_id

    def update(self, object: str, record_id: str, fields: Mapping[str, Any], *, by: str | None = None) -> None:
        """Save new values of a record. Raises OrgError."""
        org = self._org
        with org.lock:
            table = self._take(object, record_id)
            given = checks.given_values(org, table, fields)
            checks.require(table, given, given)
            if record_id not in self._new:
                persons.check_change(table, table.rows[record_id], given)
            saved = {} if record_id in self._new else table.record(table.rows[record_id])
            self._lock(effects.targets(org, object, saved | given))
            save, schema = org.save(by), org.schema_version
            self._steps.append(lambda: org.writer.change(table, record_id, _fitting(org, table, given, schema), save))

    def touch(self, object: str, record_id: str) -> None:
        """Move the record's SystemModstamp only."""
        org = self._org
        with org.lock:
            table = self._take(object, record_id)
            save = org.save(None)
            self._steps.append(lambda: org.writer.drift(table, record_id, {}, save))

    def delete(self, object: str, record_id: str, *, by: str | None = None) -> None:
        """Delete the record and what depends on it."""
        org = self._org
        with org.lock:
            table = self._take(object, record_id)
            if record_id not in self._new:
                persons.check_delete(table, table.rows[record_id])
                self._lock(org.touched_by_deleting(org.family(object, record_id)))
            save = org.save(by)
            self._steps.append(lambda: org.delete_family(object, record_id, save))

    def commit(self) -> None:
        """Make everything visible at once, in the order of saving."""
        with self._org.writing():
            self._check_open()
            self._close()
            for step in self._steps:
                step()

    def rollback(self) -> None:
        """Give everything up."""
        with self._org.lock:
            self._check_open()
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return
        if kind is None:
            self.commit()
        else:
            self.rollback()

    def _take(self, object: str, record_id: str) -> Table:
        self._check_open()
        table = self._org.table(object)
        if record_id not in self._new:
            checks.row_to_change(table, record_id)
            self._lock({record_id})
        return table

    def _lock(self, record_ids: set[str]) -> None:
        record_ids = record_ids - self._new
        self._org.guard(record_ids, self)
        self._locked |= record_ids
        self._org.locked.update(dict.fromkeys(record_ids, self))

    def _check_open(self) -> None:
        if not self._open:
            raise OrgError("INVALID_OPERATION", "This transaction is over; begin a new one.")

    def _close(self) -> None:
        self._open = False
        self._org.forget(self, self._locked, self._new)


def _fitting(org: "Org", table: Table, given: Mapping[str, Any], schema: int) -> Mapping[str, Any]:
    """The saved values as the object's fields take them now: fields may have gone or changed their type since."""
    if schema == org.schema_version:
        return given
    fields = ((table.fields.get(name), value) for name, value in given.items())
    return {field.name: convert(field, value) for field, value in fields if field is not None and field.stored}
