"""Any number of believable records, as captures: clones of a small invented company's, made as fast as they are needed."""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from org_server import EDITS

from consumers.batch import Entry
from integration.core import catalog
from integration.core.catalog import ObjectSchema, schema_from_describe
from integration.sandbox import describe
from integration.sandbox.clock import VirtualClock
from integration.sandbox.ids import record_id
from integration.sandbox.org import Org
from integration.sandbox.world import build_world
from integration.source.captures import capture
from integration.stream.entry import to_entry
from integration.stream.names import stream_of

SHARES = {"Account": 0.125, "Opportunity": 0.25, "Contact": 0.5, "Lead": 0.125}
"""What part of all records each object has; in the order in which they are read."""

_NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_ALONE = ("ReportsToId", "MasterRecordId", "ParentId", "ConvertedAccountId", "ConvertedContactId",
          "ConvertedOpportunityId", "cbit__Clearbit__c")  # fmt: skip
_PER_ACCOUNT = {"Contact": 4, "Opportunity": 2}


class Clones:
    """Records of an org of any size, each a function of its object and number alone."""

    def __init__(self, seed: int = 7) -> None:
        org = Org(clock=VirtualClock(_NOW))
        build_world(org, accounts=400, seed=seed, ends_at=_NOW)
        self._org_id = org.org_id
        self._rng = random.Random(seed)
        self._offset = 0
        self.schemas = {name: _schema(org, name) for name in SHARES}
        self._prefixes = {name: org.tables[name].definition.key_prefix for name in SHARES}
        self._models = {name: _models(org.records(name), self.schemas[name]) for name in SHARES}

    def schema_body(self, schema_id: str) -> bytes | None:
        """Return the description with that id, as Redis would."""
        return next((catalog.to_json(s) for s in self.schemas.values() if s.schema_id == schema_id), None)

    def records(self, counts: Mapping[str, int], already: Mapping[str, int], at_once: int) -> Iterator[list[Entry]]:
        """Give the records of each object from the number `already` on, in batches of one object as a first sync does."""
        for name in SHARES:
            for begin in range(already[name], counts[name], at_once):
                numbers = range(begin, min(begin + at_once, counts[name]))
                yield [self._entry(name, number, {}, _NOW) for number in numbers]

    def edits(self, counts: Mapping[str, int], mix: Mapping[str, int], turn: int, at_once: int) -> list[list[Entry]]:
        """Return edits of random records, as the consumer would get them: so many of each stream at once, together."""
        saved = _NOW + timedelta(minutes=1 + turn)
        by_object = {}
        for name, count in mix.items():
            numbers = self._rng.sample(range(counts[name]), min(count, counts[name]))
            shares = [share for share, _ in EDITS[name]]
            edits = [edit for _, edit in self._rng.choices(EDITS[name], shares, k=len(numbers))]
            by_object[name] = [
                self._entry(name, number, edit(self._rng), saved) for number, edit in zip(numbers, edits, strict=True)
            ]
        batches = []
        while any(by_object.values()):
            batches.append([entry for entries in by_object.values() for entry in entries[:at_once]])
            by_object = {name: entries[at_once:] for name, entries in by_object.items()}
        return batches

    def _entry(self, name: str, number: int, values: Mapping[str, Any], saved: datetime) -> Entry:
        models = self._models[name]
        fields = {**models[number % len(models)], "Id": self._id(name, number)}
        if name in _PER_ACCOUNT:
            fields["AccountId"] = self._id("Account", number // _PER_ACCOUNT[name])
        if "Email" in fields:
            fields["Email"] = f"{name.lower()}{number}@example.com"
        fields |= values
        stamp = saved.strftime("%Y-%m-%dT%H:%M:%SZ")
        if values:
            fields["LastModifiedDate"] = fields["SystemModstamp"] = stamp.replace("Z", ".000+0000")
        else:
            stamp = fields["SystemModstamp"][:19] + "Z"
        told = capture(self._org_id, self.schemas[name], fields["Id"], stamp, False, fields, stamp)
        self._offset += 1
        entry = {k.encode(): v.encode() if isinstance(v, str) else v for k, v in to_entry(told).items()}
        return Entry(stream_of(name), f"{1_772_000_000_000 + self._offset}-0", entry)

    def _id(self, name: str, number: int) -> str:
        return record_id(self._prefixes[name], number + 1)


def _schema(org: Org, name: str) -> ObjectSchema:
    schema = schema_from_describe(describe.describe(org, name, "v66.0"))
    assert schema is not None
    return schema


def _models(records: Sequence[Mapping[str, Any]], schema: ObjectSchema) -> list[dict[str, Any]]:
    shown = [field.name for field in schema.fields]
    alone = {name: None for name in _ALONE if name in shown}
    more = {"IsConverted": False, "ConvertedDate": None} if "IsConverted" in shown else {}
    return [{name: record[name] for name in shown} | alone | more | {"IsDeleted": False} for record in records]
