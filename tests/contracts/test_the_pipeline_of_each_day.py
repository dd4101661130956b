"""`opportunity_spans` and `pipeline_snapshot`: how opportunities stood at the end of each day."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import pytest
from batches import NOW, Stream, record, schema_of
from deals import SHAPE, Crm

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.core import catalog
from integration.store import marts, tables
from integration.store.answers import ask
from integration.store.protocol import Store
from integration.wiring.report import report

pytestmark = pytest.mark.slow_on("clickhouse")

FIELDS = {
    "AccountId": "reference", "StageName": "picklist", "Amount": "currency", "CloseDate": "date",
    "IsClosed": "boolean", "IsWon": "boolean",
}  # fmt: skip
SCHEMAS = {"Opportunity": schema_of("Opportunity", FIELDS)}
BODIES = {one.schema_id: catalog.to_json(one) for one in SCHEMAS.values()}
STAGES = {
    "Prospecting": (False, False), "Proposal": (False, False), "Closed Won": (True, True), "Closed Lost": (True, False),
}  # fmt: skip
DEALS, STEPS = range(1, 7), 60
UNTIL = date(2026, 3, 15)
"""Days from here on are like this one."""
COLUMNS = "opportunity_id, account_id, owner_id, stage, amount, close_date, is_open, is_won"


class Seen(NamedTuple):
    """What was seen of an opportunity, from when on."""

    since: datetime
    is_deleted: bool
    fields: dict[str, Any]


class World:
    """Opportunities that change several times a day or for weeks not, are closed, reopened, deleted and restored."""

    def __init__(self, luck: Random) -> None:
        self._luck, self._stream, self._now = luck, Stream(), datetime(2026, 1, 20, tzinfo=UTC)
        self.seen: dict[str, list[Seen]] = defaultdict(list)

    def lived(self) -> Iterator[Entry]:
        for number in DEALS:
            yield self._shown(number, False, **self._values())
        for _ in range(STEPS):
            number = self._luck.choice(DEALS)
            last = self.seen[record("Opportunity", number)][-1]
            # What is deleted and restored keeps its values: nothing would tell when they changed.
            goes = last.is_deleted or self._luck.random() < 0.15
            fields = last.fields if goes else last.fields | self._luck.choice([self._values(), self._values()])
            yield self._shown(number, goes and not last.is_deleted, **fields)

    def _values(self) -> dict[str, Any]:
        stage = self._luck.choice([*STAGES])
        closed, won = STAGES[stage]
        return {
            "AccountId": record("Account", self._luck.randrange(1, 3)),
            "OwnerId": f"00500000000000{self._luck.randrange(1, 3)}AAA",
            "StageName": stage, "IsClosed": closed, "IsWon": won,
            "Amount": self._luck.choice([None, 0, 33.35, 12_345_678.9]),
            "CloseDate": self._luck.choice([None, "2026-06-30"]),
        }  # fmt: skip

    def _shown(self, number: int, is_deleted: bool, **fields: Any) -> Entry:
        # Midnight is on the way: what happens at that moment is of the day that begins.
        step = self._luck.choice([timedelta(minutes=7), timedelta(hours=5), timedelta(hours=30)])
        midnight = (self._now + timedelta(days=1)).replace(hour=0, minute=0, second=0)
        self._now = midnight if self._luck.random() < 0.15 else self._now + step
        self.seen[record("Opportunity", number)].append(Seen(self._now, is_deleted, fields))
        at = self._now.strftime("%m-%dT%H:%M:%S")
        return self._stream.entry(SCHEMAS, "Opportunity", number, at, IsDeleted=is_deleted, **fields)

    def expected(self) -> dict[date, list[tuple[Any, ...]]]:
        """Return the rows of each day before UNTIL, from the images alone."""
        days: dict[date, list[tuple[Any, ...]]] = defaultdict(list)
        for record_id, seen in self.seen.items():
            day = date(2026, 1, int(record_id[3:15]))  # when it was created, at eight
            while day < UNTIL:
                end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
                held = next((one for one in reversed(seen) if one.since < end), seen[0])
                if not held.is_deleted:
                    days[day].append(_row(record_id, held.fields))
                day += timedelta(days=1)
        return days


def _row(record_id: str, held: dict[str, Any]) -> tuple[Any, ...]:
    amount = None if held["Amount"] is None else Decimal(str(held["Amount"]))
    closed, won = STAGES[held["StageName"]]
    return (
        record_id, held["AccountId"], held["OwnerId"], held["StageName"], amount, held["CloseDate"], not closed, won,
    )  # fmt: skip


def told(store: Store) -> dict[date, list[tuple[Any, ...]]]:
    rows = ask(
        store, f"SELECT day, {COLUMNS} FROM pipeline_snapshot WHERE day < DATE '{UNTIL}' ORDER BY opportunity_id"
    )
    days: dict[date, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        day, *values = row.values()
        days[date.fromisoformat(str(day))].append(tuple(values))
    return days


@pytest.mark.slow_on("clickhouse")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_pipeline_of_each_day_is_what_images_showed_at_its_end(store: Store, seed: int) -> None:
    luck = Random(seed)
    world = World(luck)
    worker = Flattener(store, Rules({}, {}), now=lambda: NOW, fetch_schema=BODIES.get)
    worker.announce(SCHEMAS.values())
    waiting = [*world.lived()]
    while waiting:
        size = luck.randrange(5, 40)
        worker.apply(waiting[:size])
        del waiting[:size]
        while worker.marts.refresh(limit=luck.choice([4, 100])):
            pass
    assert told(store) == {day: sorted(rows, key=lambda row: row[0]) for day, rows in world.expected().items()}
    assert sum(one.is_deleted for seen in world.seen.values() for one in seen) > 3
    assert sum(one.since.time().isoformat() == "00:00:00" for seen in world.seen.values() for one in seen) > 3


def spans(store: Store, crm: Crm) -> None:
    crm.write(store)
    [mart] = [one for one in marts.MARTS if one.name == "opportunity_spans"]
    with store.transaction() as tx:
        tx.append(mart.name, tables.FIXED[mart.name], tx.rows(mart.everything(SHAPE)))


def at(day: int, hour: int = 12) -> str:
    return f"2026-02-{day:02d}T{hour:02d}:00:00Z"


def test_a_stage_that_only_history_tells_means_what_it_means_for_others(store: Store) -> None:
    crm = Crm()
    crm.deal("open", createddate=at(20), stagename="Proposal")
    crm.deal("won", createddate=at(1), stagename="Closed Won", isclosed=True, iswon=True)
    crm.changed("Opportunity", "won", at(4), "StageName", "Proposal", "Closed Won")
    spans(store, crm)
    rows = ask(store, f"SELECT day, {COLUMNS} FROM pipeline_snapshot WHERE opportunity_id = 'won' ORDER BY day LIMIT 5")
    assert [(str(row["day"])[-2:], row["stage"], row["is_open"], row["is_won"]) for row in rows] == [
        ("01", "Proposal", True, False),
        ("02", "Proposal", True, False),
        ("03", "Proposal", True, False),
        ("04", "Closed Won", False, True),
        ("05", "Closed Won", False, True),
    ]


def test_what_lasts_for_less_than_a_day_and_at_no_end_of_one_is_in_no_snapshot(store: Store) -> None:
    crm = Crm()
    crm.deal("quick", createddate=at(2, 9), stagename="C", is_deleted=True)
    crm.changed("Opportunity", "quick", at(2, 10), "StageName", "A", "B")
    crm.changed("Opportunity", "quick", at(2, 11), "StageName", "B", "C")
    crm.happened("Opportunity", "quick", at(4, 0), "Deleted")
    crm.deal("always gone", createddate=at(2), is_deleted=True)
    spans(store, crm)
    stages = ask(store, "SELECT stage, since, until, first_day, last_day FROM opportunity_spans ORDER BY since")
    assert [(row["stage"], str(row["first_day"]), str(row["last_day"])) for row in stages] == [
        ("A", "2026-02-02", "2026-02-01"),
        ("B", "2026-02-02", "2026-02-01"),
        ("C", "2026-02-02", "2026-02-03"),
    ]
    rows = ask(store, "SELECT day, stage FROM pipeline_snapshot ORDER BY day")
    assert [(str(row["day"]), row["stage"]) for row in rows] == [("2026-02-02", "C"), ("2026-02-03", "C")]


def test_the_last_day_is_today(store: Store) -> None:
    crm = Crm()
    crm.deal("deal", createddate=at(2), stagename="Proposal", amount=Decimal(100))
    spans(store, crm)
    before = datetime.now(UTC).date()
    [row] = ask(store, "SELECT max(day) AS last, count(*) AS days FROM pipeline_snapshot")
    assert before <= date.fromisoformat(str(row["last"])) <= datetime.now(UTC).date()
    assert row["days"] == (date.fromisoformat(str(row["last"])) - date(2026, 2, 2)).days + 1


def test_the_report_has_a_line_for_each_week_and_open_stage(store: Store) -> None:
    crm, now = Crm(), datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = now - timedelta(days=now.weekday())

    def on(days: float) -> str:
        return (monday + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")

    crm.deal("one", createddate=on(-20), stagename="Proposal", amount=Decimal("10.50"))
    crm.deal("two", createddate=on(-6), stagename="Proposal", amount=None)
    crm.deal("won", createddate=on(-20), stagename="Closed Won", amount=Decimal(7), isclosed=True, iswon=True)
    crm.changed("Opportunity", "one", on(-6.5), "StageName", "Prospecting", "Proposal")
    crm.changed("Opportunity", "won", on(-9), "StageName", "Prospecting", "Closed Won")
    spans(store, crm)
    rows = ask(store, report("pipeline-over-time").sql)
    # What is won by now was open on the first of these Sundays: nobody is in its stage any more, or tells that it closed.
    assert [(row["week"], row["stage"], row["opportunities"], row["amount"]) for row in rows] == [
        (on(0)[:10], "Proposal", 2, Decimal("10.5")),
        (on(-7)[:10], "Proposal", 2, Decimal("10.5")),
        (on(-14)[:10], "Prospecting", 1, Decimal("10.5")),
        (on(-21)[:10], "Prospecting", 2, Decimal("17.5")),
    ]
