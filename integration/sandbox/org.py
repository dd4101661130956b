"""The sandbox org: Salesforce's records and their rules, in memory."""

# ruff: noqa: A002 - `object` is the word of this domain

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from integration.sandbox import archive, checks, effects, lifecycle, persons
from integration.sandbox.clock import Clock, stamp
from integration.sandbox.commits import Commit
from integration.sandbox.errors import OrgError, no_such_column, not_found
from integration.sandbox.ids import is_id, number_of, record_id, to18
from integration.sandbox.model import FieldDef, ObjectDef
from integration.sandbox.objects import STANDARD_OBJECTS
from integration.sandbox.schema import Schema
from integration.sandbox.table import Table
from integration.sandbox.transaction import PendingTransaction
from integration.sandbox.values import clean
from integration.sandbox.views import Getter, getter, plain_reader
from integration.sandbox.writer import Save, Writer

__all__ = ["Commit", "Org", "OrgError", "PendingTransaction"]

_BORN = datetime.fromisoformat("2015-03-02T09:00:00+00:00")


class Org(Schema):
    """Records of all objects, with stamps, history, recycle bin and transactions as in a real org.

    clock             gives every stamp
    history_tracking  write History rows for tracked fields (can be switched at any time)
    org_number        which org this is; it makes the org id

    Switches that can be set at any time:

    undelete_moves_stamp  an undelete moves SystemModstamp
    roll_ups_move_stamp   the change of a child moves the SystemModstamp of the record that sums it up
    query_to_time_out     1 lets the next query fail with QUERY_TIMEOUT, 2 the one after it; None lets none fail

    Every public method is thread-safe and raises OrgError with Salesforce's own code when it refuses.
    Records are plain dicts with the values of the REST JSON.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        objects: Sequence[ObjectDef] = STANDARD_OBJECTS,
        history_tracking: bool = True,
        org_number: int = 1,
    ) -> None:
        self._getters: dict[tuple[str, str], Getter] = {}
        super().__init__(objects)
        self.clock = clock
        self.org_id = record_id("00D", org_number)
        self.commits: list[Commit] = []
        self.history_tracking = history_tracking
        self.undelete_moves_stamp = True  # not documented for real orgs: tests try both
        self.roll_ups_move_stamp = False  # the same
        self.roll_ups: dict[Any, tuple[int, dict[str, float]]] = {}
        self.query_to_time_out: int | None = None
        self.writer = Writer(self)
        self.locked: dict[str, PendingTransaction] = {}
        self.reserved: set[str] = set()
        self.deletes_known_since: datetime | None = None
        self._transactions: list[PendingTransaction] = []
        self._families: dict[str, list[tuple[str, str]]] = {}
        self._numbers: dict[str, int] = {}
        self._depth = 0
        self.together = 0
        self.default_user = self._first_records()

    # --- writing ------------------------------------------------------------------------------------

    def insert(
        self, object: str, fields: Mapping[str, Any], *, by: str | None = None, at: datetime | None = None
    ) -> str:
        """Save a new record and return its Id.

        by  the Id of the user who saves it
        at  a back-dated saving, for seeding: it becomes CreatedDate, LastModifiedDate and SystemModstamp,
            and no "created" row is written to the history
        """
        with self.writing():
            table = self.table(object)
            given = checks.given_values(self, table, fields)
            checks.require(table, given)
            self.guard(effects.targets(self, object, given))
            new = self.new_id(table.definition.key_prefix)
            self.writer.create(table, new, given, self.save(by, at))
            return new

    def load(self, object: str, record: Mapping[str, Any]) -> str:
        """Store a complete record as it is, Id and audit stamps included, and return its 18-character Id.

        For seeding and imports: no hooks, no history, no checks of references. Calculated and compound fields
        and `attributes` in it are ignored; a record with the same Id is replaced.
        """
        with self.writing():
            table = self.table(object)
            values = dict(table.blank)
            for name, value in record.items():
                field = table.fields.get(name)
                if field is not None and field.stored:
                    values[name] = clean(field, value)
                elif field is None and name != "attributes":
                    raise no_such_column(name, object)
            if not values["Id"]:
                raise OrgError("MISSING_ARGUMENT", "Id not specified in a record to load", ("Id",))
            self._fill_stamps(table, values)
            self._reserve_number(values["Id"])
            self.writer.place(table, values)
            return str(values["Id"])

    def update(
        self,
        object: str,
        record_id: str,
        fields: Mapping[str, Any],
        *,
        by: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Save new values. LastModifiedDate and SystemModstamp move even if no value differs."""
        with self.writing():
            table, key = self._writable(object, record_id)
            given = checks.given_values(self, table, fields)
            checks.require(table, given, given)
            persons.check_change(table, table.rows[key], given)
            self.guard(effects.targets(self, object, table.record(table.rows[key]) | given))
            self.writer.change(table, key, given, self.save(by, at))

    def touch(self, object: str, record_id: str) -> None:
        """Move SystemModstamp only, as internal processes do: no visible change."""
        with self.writing():
            table, key = self._writable(object, record_id)
            self.writer.drift(table, key, {}, self.save(None))

    def drift(self, object: str, record_id: str, fields: Mapping[str, Any]) -> None:
        """Write values without any trace: no stamp moves, no history, nothing in `commits`.

        Back-end jobs and managed packages do that. Only a reader who looks at the record itself can see it.
        """
        with self.writing():
            table, key = self._writable(object, record_id)
            self.writer.slip_in(table, key, checks.given_values(self, table, fields))

    def delete(self, object: str, record_id: str, *, by: str | None = None) -> None:
        """Delete a record and what depends on it: into the recycle bin, or away if the object has none."""
        with self.writing():
            table, key = self._writable(object, record_id)
            if not table.definition.deletable:
                raise OrgError("INVALID_TYPE_FOR_OPERATION", f"entity type {object} does not support delete")
            persons.check_delete(table, table.rows[key])
            self.guard(self.touched_by_deleting(self.family(object, key)))
            self.delete_family(object, key, self.save(by))

    def undelete(self, object: str, record_id: str, *, by: str | None = None) -> None:
        """Bring a record back from the recycle bin, with what was deleted along with it."""
        with self.writing():
            table, key = self._in_bin(object, record_id)
            if table.definition.mergeable and table.rows[key][table.at["MasterRecordId"]]:
                raise OrgError("UNDELETE_FAILED", "a merged record cannot be undeleted")
            if not table.definition.undeletable:
                raise OrgError("UNDELETE_FAILED", f"entity type {object} does not support undelete")
            for name, child in self._take_family(object, key):
                self.writer.restore(self.tables[name], child, self.save(by), move_stamp=self.undelete_moves_stamp)

    def purge(self, object: str, record_id: str) -> None:
        """Empty the recycle bin of a record and of what was deleted along with it."""
        with self.writing():
            _, key = self._in_bin(object, record_id)
            for name, child in self._take_family(object, key):
                self.writer.remove(self.tables[name], child, self.save(None))

    def merge(self, object: str, winner_id: str, loser_ids: Iterable[str], *, by: str | None = None) -> None:
        """Merge records: losers are deleted with MasterRecordId = winner, their children get the winner."""
        with self.writing():
            lifecycle.merge(self, object, to18(winner_id), [to18(i) for i in loser_ids], self.save(by))

    def convert_lead(
        self,
        lead_id: str,
        *,
        account_id: str | None = None,
        contact_id: str | None = None,
        with_opportunity: bool = True,
        status: str = "Qualified",
        by: str | None = None,
    ) -> dict[str, str | None]:
        """Convert a lead: creates account, contact and opportunity where not given.

        Returns account_id, contact_id and opportunity_id (None without one). The contact gets a role on the new
        opportunity; activities and campaign memberships of the lead move to the contact.
        """
        with self.writing():
            _, key = self._writable("Lead", lead_id)
            given = (account_id, contact_id)
            return lifecycle.convert(self, key, given, status or "Qualified", with_opportunity, by)

    def archive_activities(self, before: datetime, *, move_stamp: bool = True) -> list[str]:
        """Archive closed tasks and past events dated before that day, and return their Ids.

        They get IsArchived, and `query` hides them; SystemModstamp moves or not, LastModifiedDate never does.
        """
        with self.writing():
            return archive.archive(self, before, move_stamp=move_stamp)

    def enable_person_accounts(self) -> None:
        """Switch person accounts on: Account and Contact get their fields. No way back, as in a real org."""
        with self.lock:
            persons.enable(self)

    def insert_person_account(self, fields: Mapping[str, Any], *, by: str | None = None) -> str:
        """Save a person (fields of Account: FirstName, LastName, PersonEmail, ...) and return the account's Id.

        The account's PersonContactId names the contact that comes along.
        """
        with self.writing():
            return persons.insert(self, fields, self.save(by))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock; what is committed meanwhile gets one number in `Commit.together`."""
        with self.lock:
            self.together += self._depth == 0
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def begin(self) -> PendingTransaction:
        """Open a transaction: what it saves is stamped at once and visible at its commit."""
        with self.lock:
            transaction = PendingTransaction(self)
            self._transactions.append(transaction)
            return transaction

    # --- reading ------------------------------------------------------------------------------------

    def get(self, object: str, record_id: str) -> dict[str, Any] | None:
        """Return a record with its formulas, deleted or not; None if it is not there (any more)."""
        with self.lock:
            row = self.table(object).rows.get(to18(record_id) if is_id(record_id) else "")
            return None if row is None else self._reader(object)(row)

    def records(self, object: str, *, include_deleted: bool = False) -> list[dict[str, Any]]:
        """Return all records, in the order of their Ids: every visible field but compounds, formulas computed."""
        with self.lock:
            table, read = self.table(object), self._reader(object)
            rows = (table.rows[key] for key in sorted(table.rows))
            return [read(row) for row in rows if include_deleted or not table.is_deleted(row)]

    def value(self, object: str, record_id: str, field: str) -> Any:
        """Return one field of one record, formulas computed; None if there is no such record or field."""
        table = self.tables.get(object)
        row = None if table is None else table.rows.get(record_id)
        if table is None or row is None or field not in table.fields:
            return None
        return self.getter(object, table.fields[field])(row)

    def deleted_log(self, object: str) -> list[tuple[str, str]]:
        """Return (Id, stamp) of every deletion that was not undone, in the order of their stamps."""
        with self.lock:
            return sorted(self.table(object).deleted_log.items(), key=lambda entry: (entry[1], entry[0]))

    def forget_deletes(self, before: datetime) -> None:
        """Purge the delete log of entries older than `before`, as a busy org does."""
        with self.lock:
            self.deletes_known_since = max(before, self.deletes_known_since or before)
            for table in self.tables.values():
                table.deleted_log = {k: at for k, at in table.deleted_log.items() if at >= stamp(before)}

    def oldest_open(self) -> datetime | None:
        """Return when the oldest open transaction began, or None."""
        with self.lock:
            return min((t.started for t in self._transactions), default=None)

    def object_of(self, record_id: str) -> str | None:
        """Return the object an Id belongs to, by its key prefix; None if no object has it."""
        names = self._prefixes.get(record_id[:3], ())
        if len(names) > 1:
            return next((name for name in names if record_id in self.tables[name].rows), None)
        return names[0] if names else None

    # --- for the modules beside this one --------------------------------------------------------------

    def getter(self, object: str, field: FieldDef) -> Getter:
        """Return a function from a row to the field's value."""
        key = (object, field.name)
        if key not in self._getters:
            self._getters[key] = getter(self, self.tables[object], field)
        return self._getters[key]

    def new_id(self, prefix: str) -> str:
        """Give out the next Id of a key prefix."""
        number = self._numbers.get(prefix, 0) + 1
        self._numbers[prefix] = number
        return record_id(prefix, number)

    def run_out_of_time(self) -> None:
        """Count a query; raise OrgError QUERY_TIMEOUT if it is the one that `query_to_time_out` waits for."""
        if self.query_to_time_out is None:
            return
        self.query_to_time_out -= 1
        if self.query_to_time_out <= 0:
            self.query_to_time_out = None
            raise OrgError("QUERY_TIMEOUT", "Your query request was running for too long.")

    def save(self, by: str | None, at: datetime | None = None) -> Save:
        """Return the stamp and the user of a saving that happens now (or at `at`)."""
        return Save(stamp(at or self.clock.now()), by or self.default_user, seeding=at is not None)

    def guard(self, record_ids: Iterable[str], own: PendingTransaction | None = None) -> None:
        """Raise OrgError if another open transaction has locked one of the records."""
        for key in record_ids:
            if self.locked.get(key, own) is not own:
                raise OrgError(
                    "UNABLE_TO_LOCK_ROW", f"unable to obtain exclusive access to this record or 1 records: {key}"
                )

    def family(self, object: str, record_id: str) -> list[tuple[str, str]]:
        """List (object, Id) of a record and of everything that is deleted with it, itself first."""
        found = {record_id: object}
        queue = [(object, record_id)]
        for name, key in queue:
            for child, field in self.tables[name].definition.cascade:
                if child not in self.tables:
                    continue
                for row in self.tables[child].live_with(field, frozenset({key})):
                    if row[0] not in found:
                        found[row[0]] = child
                        queue.append((child, row[0]))
        return queue

    def touched_by_deleting(self, members: Iterable[tuple[str, str]]) -> set[str]:
        """The Ids of these records and of those that deleting them will touch."""
        found = set()
        for name, key in members:
            table = self.tables[name]
            found |= {key} | effects.targets(self, name, table.record(table.rows[key]))
        return found

    def delete_family(self, object: str, record_id: str, save: Save) -> None:
        """Delete a record and what depends on it, and remember who went together."""
        members = self.family(object, record_id)
        for name, key in reversed(members):
            self.writer.mark_deleted(self.tables[name], key, save)
        self._families[record_id] = [m for m in members if m[1] in self.tables[m[0]].rows]

    def forget(self, transaction: PendingTransaction, locked: set[str], new: set[str]) -> None:
        """Release what a transaction held."""
        self._transactions.remove(transaction)
        self.reserved -= new
        for key in locked:
            self.locked.pop(key, None)

    # --- inside -------------------------------------------------------------------------------------

    def _first_records(self) -> str:
        """Create the user the API runs as, and the organization's own row."""
        user = self.new_id("005")
        born = Save(stamp(min(_BORN, self.clock.now())), user, seeding=True)
        if "User" in self.tables:
            names = {"FirstName": "Integration", "LastName": "User", "Alias": "integ", "IsActive": True}
            names |= {"Username": "integration@example.com", "Email": "integration@example.com"}
            self.writer.create(self.tables["User"], user, names, born)
        if "Organization" in self.tables:
            row = {"Name": "Headrace Sandbox", "OrganizationType": "Developer Edition", "IsSandbox": True}
            self.writer.create(self.tables["Organization"], self.org_id, row, born)
        return user

    def _reader(self, object: str) -> Any:
        fields = tuple(f for f in self.visible_fields(object) if not f.parts)
        return plain_reader(self, self.tables[object], fields)

    def _writable(self, object: str, record_id: str) -> tuple[Table, str]:
        table, key = self.table(object), _key(record_id)
        checks.row_to_change(table, key)
        self.guard({key})
        return table, key

    def _in_bin(self, object: str, record_id: str) -> tuple[Table, str]:
        table, key = self.table(object), _key(record_id)
        row = table.rows.get(key)
        if row is None:
            raise not_found()
        if not table.is_deleted(row):
            raise OrgError("UNDELETE_FAILED", "Entity is not in the recycle bin")
        self.guard({key})
        return table, key

    def _take_family(self, object: str, key: str) -> list[tuple[str, str]]:
        members = self._families.pop(key, [(object, key)])
        tables = self.tables
        return [(n, k) for n, k in members if k in tables[n].rows and tables[n].is_deleted(tables[n].rows[k])]

    def _schema_changed(self) -> None:
        super()._schema_changed()
        self._getters.clear()

    def _fill_stamps(self, table: Table, values: dict[str, Any]) -> None:
        now = stamp(self.clock.now())
        known = [values.get(name) for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp")]
        created = next((value for value in known if value), now)
        for name, fallback in (
            ("CreatedDate", created),
            ("LastModifiedDate", created),
            ("SystemModstamp", max(value for value in (*known, created) if value)),
        ):
            if name in table.at and not values[name]:
                values[name] = fallback
        for name in ("CreatedById", "LastModifiedById", "OwnerId"):
            if name in table.at and not values[name]:
                values[name] = self.default_user

    def _reserve_number(self, key: str) -> None:
        number = number_of(key)
        if number is not None:
            self._numbers[key[:3]] = max(self._numbers.get(key[:3], 0), number)


def _key(record_id: str) -> str:
    try:
        return to18(record_id)
    except ValueError:
        raise not_found() from None
