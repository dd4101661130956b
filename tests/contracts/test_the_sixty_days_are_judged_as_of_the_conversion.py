"""The 60-day rule (S3-12) where people move, go and come back: kept by key, and held against what the images show."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from random import Random
from typing import Any, NamedTuple

import pytest
from batches import NOW, Stream, record, schema_of

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.core import catalog
from integration.store.answers import ask
from integration.store.attribution import Attribution
from integration.store.protocol import Store

OBJECTS = {
    "Account": {"MasterRecordId": "reference"},
    "Contact": {"MasterRecordId": "reference", "AccountId": "reference", "LeadSource": "picklist"},
    "Lead": {
        "LeadSource": "picklist", "IsConverted": "boolean", "ConvertedDate": "date", "ConvertedAccountId": "reference",
        "ConvertedContactId": "reference", "ConvertedOpportunityId": "reference",
    },
    "Opportunity": {"AccountId": "reference", "LeadSource": "picklist"},
}  # fmt: skip
SCHEMAS = {name: schema_of(name, fields) for name, fields in OBJECTS.items()}
BODIES = {one.schema_id: catalog.to_json(one) for one in SCHEMAS.values()}
ACCOUNTS, CONTACTS, LEADS, STEPS = range(1, 5), range(1, 9), range(5, 10), 60
DAYS = 3
"""Days of the rule: people and leads are created on the days of January that their numbers say."""


class Seen(NamedTuple):
    """What was seen of a record, from when on."""

    since: str
    is_deleted: bool
    fields: dict[str, Any]


def created(record_id: str) -> str:
    return f"2026-01-{int(record_id[3:15]):02d}T08:00:00Z"


class World:
    """Contacts that move between accounts, go and come back; accounts that are merged; leads that are converted."""

    def __init__(self, luck: Random) -> None:
        self._luck, self._stream, self._hour = luck, Stream(), 0
        self.seen: dict[str, list[Seen]] = defaultdict(list)

    def begun(self) -> Iterator[Entry]:
        for number in ACCOUNTS:
            yield self._shown("Account", number, MasterRecordId=None)
        for number in CONTACTS:
            source = self._luck.choice(["SDR Created", "AE Created", "Web", None])
            yield self._shown("Contact", number, MasterRecordId=None, AccountId=self._account(), LeadSource=source)
        for number in LEADS:
            yield self._shown("Lead", number, LeadSource="Web", IsConverted=False, **dict.fromkeys(
                ("ConvertedDate", "ConvertedAccountId", "ConvertedContactId", "ConvertedOpportunityId")
            ))  # fmt: skip

    def lived(self) -> Iterator[Entry]:
        for _ in range(STEPS):
            name = self._luck.choice(["Account", *["Contact"] * 4, "Lead"])
            number = self._luck.choice({"Account": ACCOUNTS, "Contact": CONTACTS, "Lead": LEADS}[name])
            last = self.seen[record(name, number)][-1]
            if name == "Lead":
                if not last.fields["IsConverted"]:
                    yield from self._converted(number)
            elif last.is_deleted:
                yield self._shown(name, number, IsDeleted=False, **{**last.fields, "MasterRecordId": None})
            elif self._luck.random() < 0.25:
                other = self._luck.choice([None, self._account()]) if name == "Account" else None
                winner = other if other != record(name, number) else None
                yield self._shown(name, number, IsDeleted=True, **{**last.fields, "MasterRecordId": winner})
            elif name == "Contact":
                change = self._luck.choice([*[{"AccountId": self._account()}] * 3, {"LeadSource": "SDR Created"}])
                yield self._shown(name, number, **{**last.fields, **change})

    def _converted(self, number: int) -> Iterator[Entry]:
        account, deal = self._account(), number + 10
        yield self._shown("Opportunity", deal, AccountId=account, LeadSource="Web")
        yield self._shown(
            "Lead", number, LeadSource="Web", IsConverted=True, ConvertedDate="2026-02-01", ConvertedAccountId=account,
            ConvertedContactId=record("Contact", self._luck.choice(CONTACTS)),
            ConvertedOpportunityId=record("Opportunity", deal),
        )  # fmt: skip

    def _account(self) -> str:
        return record("Account", self._luck.choice(ACCOUNTS))

    def _shown(self, name: str, number: int, *, IsDeleted: bool = False, **fields: Any) -> Entry:  # noqa: N803
        self._hour += 1
        at = f"02-{1 + self._hour // 24:02d}T{self._hour % 24:02d}:00:00"
        self.seen[record(name, number)].append(Seen(f"2026-{at}Z", IsDeleted, fields))
        return self._stream.entry(SCHEMAS, name, number, at, IsDeleted=IsDeleted, **fields)

    def at(self, record_id: str, time: str) -> Seen:
        """Return what held then; before it was first seen a record was as it was then."""
        return next((one for one in reversed(self.seen[record_id]) if one.since <= time), self.seen[record_id][0])

    def same(self, account: str) -> str:
        return self.seen[account][-1].fields["MasterRecordId"] or account


def expected(world: World) -> dict[str, tuple[str, str | None]]:
    """Return by opportunity what its source must be, and which contact makes it so."""
    found: dict[str, tuple[str, str | None]] = {}
    for number in LEADS:
        lead = record("Lead", number)
        conversion = next((one for one in world.seen[lead] if one.fields["IsConverted"]), None)
        if conversion is None:
            continue
        account = world.same(conversion.fields["ConvertedAccountId"])
        counted = [
            (created(one), one)
            for one in (record("Contact", n) for n in CONTACTS)
            if "Created" in (world.seen[one][-1].fields["LeadSource"] or "")
            and not (then := world.at(one, conversion.since)).is_deleted
            and world.same(then.fields["AccountId"]) == account
            and 0 <= _day(lead) - _day(one) <= DAYS
        ]
        who = min(counted)[1] if counted else None
        source = world.seen[who][-1].fields["LeadSource"] if who else "Web"
        found[conversion.fields["ConvertedOpportunityId"]] = source, who
    return found


def _day(record_id: str) -> int:
    return date.fromisoformat(created(record_id)[:10]).day


def worker_on(store: Store, rules: Attribution) -> Flattener:
    return Flattener(store, Rules({}, {}, attribution=rules), now=lambda: NOW, fetch_schema=BODIES.get)


def refreshed(worker: Flattener) -> None:
    while worker.marts.refresh():
        pass


def told(store: Store) -> dict[str, tuple[str, str | None]]:
    rows = ask(store, "SELECT opportunity_id, opportunity_source, outbound_contact_id FROM opportunity_source")
    return {row["opportunity_id"]: (row["opportunity_source"], row["outbound_contact_id"]) for row in rows}


@pytest.mark.slow_on("clickhouse")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_s3_12_it_counts_who_was_at_the_chosen_account_when_the_lead_was_converted(store: Store, seed: int) -> None:
    luck = Random(seed)
    world = World(luck)
    worker = worker_on(store, replace(Attribution(), outbound_days=DAYS))
    worker.announce(SCHEMAS.values())
    worker.apply([*world.begun()])
    outbound = 0
    for entry in world.lived():
        worker.apply([entry])
        if luck.random() < 0.1:
            refreshed(worker)
            assert told(store) == expected(world)
            outbound = max(outbound, sum(who is not None for _, who in told(store).values()))
    refreshed(worker)
    assert told(store) == expected(world)
    assert outbound > 1


@pytest.mark.slow_on("clickhouse")
def test_a_rule_that_is_set_otherwise_works_out_anew_what_depends_on_it(store: Store) -> None:
    stream, account, deal = Stream(), record("Account", 1), record("Opportunity", 20)
    worker = worker_on(store, Attribution())
    worker.announce(SCHEMAS.values())
    converted = {
        "LeadSource": "Fair", "IsConverted": True, "ConvertedDate": "2026-02-01", "ConvertedAccountId": account,
        "ConvertedContactId": record("Contact", 9), "ConvertedOpportunityId": deal,
    }  # fmt: skip
    worker.apply(
        [
            stream.entry(SCHEMAS, "Account", 1, "02-01T00:00:00"),
            stream.entry(SCHEMAS, "Contact", 5, "02-01T00:00:00", AccountId=account, LeadSource="Cold call"),
            stream.entry(SCHEMAS, "Lead", 9, "02-01T00:00:00", **converted),
            stream.entry(SCHEMAS, "Opportunity", 20, "02-01T00:00:00", AccountId=account),
        ]
    )

    def said(**rules: Any) -> tuple[str, str, str]:
        other = worker_on(store, replace(Attribution(), **rules))
        refreshed(other)
        assert other.marts.refresh() == 0
        [row] = ask(store, "SELECT opportunity_source, source_origin, source_rule FROM opportunity_source")
        [person] = ask(store, "SELECT * FROM first_touchpoints WHERE lead_source = 'Cold call'")
        assert person["is_outbound"] is ("cold call" in rules.get("outbound_words", ()))
        assert person["lead_source_origin"] == ("outbound" if person["is_outbound"] else "other")
        return row["opportunity_source"], row["source_origin"], row["source_rule"]

    cold = {"outbound_words": ["cold call"]}
    assert said() == ("Fair", "other", "converted lead")
    assert said(inbound_words=["FAIR"], outbound_words=[]) == ("Fair", "inbound", "converted lead")
    assert said(**cold) == ("Cold call", "outbound", "outbound within 60 days")
    assert said(**cold, outbound_days=3) == ("Fair", "other", "converted lead")
    assert said(**cold, outbound_days=4) == ("Cold call", "outbound", "outbound within 4 days")
