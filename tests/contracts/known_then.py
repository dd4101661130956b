"""What a store must say of times past, worked out from its captures alone: images walked through by their stamps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from integration.core import exactjson, values
from integration.core.columns import ColumnType
from integration.store.answers import ask
from integration.store.protocol import Store

UNTOLD = {
    "SystemModstamp", "LastModifiedDate", "LastModifiedById", "LastViewedDate", "LastReferencedDate", "IsDeleted",
    "MasterRecordId",
}  # fmt: skip


class Shown(NamedTuple):
    """What a capture shows of a record, from when on."""

    since: str
    is_deleted: bool
    fields: Mapping[str, Any]


@dataclass
class Told:
    """What captures tell of one record."""

    object: str
    record_id: str
    images: list[Shown] = field(default_factory=list)
    steps: list[tuple[str, str, Any, Any]] = field(default_factory=list)
    """(time, field, old, new) of its history rows, in their order."""

    @property
    def created(self) -> str:
        return values.stamp(self.images[0].fields["CreatedDate"])

    def is_deleted(self, at: str) -> bool:
        return self._image(at).is_deleted

    def value(self, name: str, at: str) -> Any:
        """Return the value at a time. The last step before an image is the image's own; earlier ones lie between."""
        since = max((i.since for i in self.images if i.since <= at), default="")
        until = min((i.since for i in self.images if i.since > at), default=None)
        between = [s for s in self.steps if s[1] == name and since < s[0] and until is not None and s[0] < until]
        before = [s for s in between if s[0] <= at]
        if before:
            return before[-1][3]
        if not since and between:
            return between[0][2]
        return self._image(at).fields.get(name)

    def _image(self, at: str) -> Shown:
        return next((i for i in reversed(self.images) if i.since <= at), self.images[0])


class Oracle:
    """The past of everybody in a store."""

    def __init__(self, store: Store) -> None:
        self.records: dict[str, Told] = {}
        rows = ask(store, 'SELECT * FROM captures ORDER BY version, length("offset"), "offset"')
        # History behind the images it is of; of one second, in the order in which it was written, not seen.
        rows.sort(key=lambda r: ("",) if r["object"] != "ContactHistory" else ("h", r["version"], r["record_id"]))
        for row in rows:
            self._take(row["object"], row["record_id"], exactjson.loads(row["payload"]))
        names = ask(
            store, "SELECT object, field, property, type, prefix_object FROM headrace.properties ORDER BY place"
        )
        # Of a field that has had several types the last one counts.
        newest = {(n["object"], n["field"]): n for n in names if n["prefix_object"] == n["object"]}
        self.names = {k: n for k, n in newest.items() if n["field"] not in UNTOLD and not k[0].endswith("History")}
        self.user_of = {r["alias"]: r["user_id"] for r in ask(store, "SELECT alias, user_id FROM identities")}
        self.first_seen = {r["user_id"]: r["first_seen"] for r in ask(store, "SELECT user_id, first_seen FROM users")}
        shown = ask(store, "SELECT user_id, opportunity_id FROM headrace.people")
        self.deals = {r["user_id"]: r["opportunity_id"] for r in shown}

    def _take(self, name: str, record_id: str, capture: Mapping[str, Any]) -> None:
        fields = capture["fields"]
        if name == "ContactHistory":
            step = (values.stamp(fields["CreatedDate"]), fields["Field"], fields["OldValue"], fields["NewValue"])
            self.records[fields["ContactId"]].steps.append(step)
            return
        told = self.records.setdefault(record_id, Told(name, record_id))
        carried = told.images[-1].fields if told.images else {}
        told.images.append(Shown(capture["system_modstamp"], capture["is_deleted"], {**carried, **fields}))

    def moments(self) -> list[str]:
        """List every time at which anything happened, and one before and one after all of them."""
        found = {i.since for r in self.records.values() for i in r.images} | {r.created for r in self.records.values()}
        found |= {s[0] for r in self.records.values() for s in r.steps}
        return ["2020-01-01T00:00:00Z", *sorted(found), "2031-01-01T00:00:00Z"]

    def of_record(self, record_id: str, at: str) -> dict[str, Any]:
        """Return property -> value as text of a record at a time; nothing before it was there."""
        told = self.records.get(record_id)
        if told is None or told.created > at:
            return {}
        return {
            named["property"]: values.text(ColumnType(named["type"]), told.value(name, at))
            for (object_name, name), named in self.names.items()
            if object_name == told.object
        }

    def records_of(self, at: str) -> dict[str, dict[str, str]]:
        """Return user id -> object -> the record that a person showed at a time."""
        found: dict[str, dict[str, str]] = {}
        for name in ("Contact", "Lead"):
            for user_id, one in self._best(name, at).items():
                shown = found.setdefault(user_id, {})
                shown[name] = one.record_id
                account = one.value("AccountId" if name == "Contact" else "ConvertedAccountId", at)
                if account and (name == "Contact" or "Contact" not in shown):
                    shown["Account"] = account
        for user_id, deal in self.deals.items():
            if deal:
                found.setdefault(user_id, {})["Opportunity"] = deal
        return found

    def _best(self, name: str, at: str) -> dict[str, Told]:
        best: dict[str, tuple[Any, Told]] = {}
        for one in self.records.values():
            if one.object == name and one.created <= at:
                converted = name == "Lead" and one.value("IsConverted", at) is True
                rank = (one.is_deleted(at), converted, one.created, one.record_id)
                user_id = self.user_of[one.record_id]
                if user_id not in best or rank < best[user_id][0]:
                    best[user_id] = rank, one
        return {user_id: one for user_id, (_, one) in best.items()}

    def of_people(self, at: str) -> dict[str, dict[str, Any]]:
        """Return user id -> property -> value as text at a time."""
        return {
            user_id: {k: v for record_id in shown.values() for k, v in self.of_record(record_id, at).items()}
            for user_id, shown in self.records_of(at).items()
        }


def at_moments(rows: Iterable[Mapping[str, Any]], moments: Iterable[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Sort rows with since and until by the moments at which they hold."""
    found: dict[str, list[Mapping[str, Any]]] = {at: [] for at in moments}
    for row in rows:
        for at, held in found.items():
            if (row["since"] is None or row["since"] <= at) and (row["until"] is None or at < row["until"]):
                held.append(row)
    return found
