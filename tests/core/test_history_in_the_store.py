"""History rows and images through the flattener into a real store: in any order, the same events."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.apply import Flattener
from consumers.batch import Applied, Entry
from consumers.rules import Rules
from integration.core import catalog, exactjson
from integration.core.catalog import ObjectSchema
from integration.core.history import parent_key
from integration.store import tables
from integration.store.answers import rows
from integration.store.duckdb.store import DuckDBStore

ORG = "00D000000000001EAA"
ME, YOU = "005000000000001AAA", "005000000000002AAA"
DEAL, CONTACT, ACCOUNT = "006000000000001AAA", "003000000000001AAA", "001000000000001AAA"
HISTORY = {
    "Id": "id", "IsDeleted": "boolean", "CreatedById": "reference", "CreatedDate": "datetime", "Field": "picklist",
    "DataType": "picklist", "OldValue": "anyType", "NewValue": "anyType",
}  # fmt: skip
RECORD = {
    "Id": "id", "IsDeleted": "boolean", "CreatedDate": "datetime", "CreatedById": "reference",
    "LastModifiedById": "reference", "OwnerId": "reference", "AccountId": "reference", "SystemModstamp": "datetime",
}  # fmt: skip
OBJECTS = {
    "Opportunity": RECORD | {"Name": "string", "StageName": "picklist", "Amount": "currency", "Hot__c": "boolean"},
    "OpportunityFieldHistory": HISTORY | {"OpportunityId": "reference"},
    "OpportunityHistory": {
        "Id": "id", "IsDeleted": "boolean", "CreatedById": "reference", "CreatedDate": "datetime",
        "SystemModstamp": "datetime", "OpportunityId": "reference", "StageName": "picklist", "Amount": "currency",
    },
    "Contact": RECORD | {"LastName": "string", "Title": "string", "Email": "email", "MasterRecordId": "reference"},
    "ContactHistory": HISTORY | {"ContactId": "reference"},
    "Task": RECORD | {"Subject": "string", "WhoId": "reference", "IsClosed": "boolean"},
}  # fmt: skip
# Without the record's id, which the hash in the id of a second event of one version counts in.
_NAMELESS = (
    "SELECT * EXCLUDE ({excluded}, record_id) "
    "REPLACE (regexp_replace(replace(event_id, '{{0}}', ''), ':[0-9a-f]{{{{12}}}}$', ':hash') AS event_id) FROM "
)
EVENTS = _NAMELESS.format(excluded="stored_at") + "events WHERE record_id = '{0}' ORDER BY ALL"
CHANGES = _NAMELESS.format(excluded="user_id") + "changes WHERE record_id = '{0}' ORDER BY ALL"
TOLD = (
    "SELECT c.time, c.field, c.old_value, c.new_value FROM changes AS c JOIN events AS e USING (event_id) WHERE "
    "c.origin = e.origin AND (c.origin = 'history') = {} AND c.record_id = '{}' ORDER BY ALL"
)
Told = tuple[str, str, str | None, str | None]


def schema_of(name: str) -> ObjectSchema:
    described = {"name": name, "fields": [{"name": f, "type": t, "scale": 2} for f, t in OBJECTS[name].items()]}
    schema = catalog.schema_from_describe(described)
    assert schema is not None
    return schema


SCHEMAS = {name: schema_of(name) for name in OBJECTS}
BODIES = {schema.schema_id: catalog.to_json(schema) for schema in SCHEMAS.values()}


def at(second: int) -> str:
    return f"{datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"


def capture(
    name: str, record: str, second: int, *, seen: int | None = None, deleted: bool = False, **fields: Any
) -> Any:
    """A capture as the poller publishes it; history objects get their CreatedDate from `second`."""
    raw = at(second)[:-1] + ".000+0000"
    shown = {"Id": record, "IsDeleted": deleted, "CreatedDate": raw, "CreatedById": ME, "SystemModstamp": raw, **fields}
    return {
        "id": f"{ORG}:{name}:{record}:{at(second)}",
        "org": ORG,
        "object": name,
        "record_id": record,
        "system_modstamp": at(second),
        "is_deleted": deleted,
        "fields": {n: v for n, v in shown.items() if n in OBJECTS[name]},
        "schema_id": SCHEMAS[name].schema_id,
        "origin": "poll",
        "seen_at": at(second + 1 if seen is None else seen),
    }


def image(name: str, record: str, second: int, **fields: Any) -> Any:
    return capture(name, record, second, **{"CreatedDate": "2025-12-31T00:00:00.000+0000", **fields})


_numbers = itertools.count(1)


def row(record: str, second: int, told: str, old: Any, new: Any, *, number: int | None = None, **more: Any) -> Any:
    name = "ContactHistory" if record.startswith("003") else "OpportunityFieldHistory"
    row_id = f"017{next(_numbers) if number is None else number:012d}AAA"
    data = {"Field": told, "OldValue": old, "NewValue": new, "DataType": "Text", parent_key(name): record}
    return capture(name, row_id, second, **data | more)


@dataclass
class Desk:
    """A flattener with a fresh store, handed captures in batches."""

    store: DuckDBStore
    offset: int = 0
    applied: Applied = field(default_factory=Applied)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, dropped: Callable[[str, str], bool] = lambda _object, _field: False) -> None:
        """Take a new flattener, as after a restart of the worker."""
        rules = Rules(enrich={}, names={}, dropped=dropped)
        self.flattener = Flattener(self.store, rules, now=lambda: at(80_000 + self.offset), fetch_schema=BODIES.get)

    def take(self, *captures: Any) -> Applied:
        """Apply one batch."""
        entries = []
        for one in captures:
            self.offset += 1
            entries.append(Entry(f"crm.{one['object'].lower()}", f"{self.offset}-0", {b"data": exactjson.dumps(one)}))
        done = self.flattener.apply(entries)
        assert done.rejects == []
        self.applied.add(done)
        return done

    def query(self, sql: str) -> list[dict[str, Any]]:
        return rows(self.store.query(sql))

    def told(self, *, by_history: bool, of: str = DEAL) -> list[Told]:
        """List (time, field, old, new) of all changes of a record."""
        found = self.query(TOLD.format(str(by_history).lower(), of))
        return [(r["time"], r["field"], r["old_value"], r["new_value"]) for r in found]

    def tables(self, of: str = DEAL) -> list[list[dict[str, Any]]]:
        """Return what `events` and `changes` say of a record, whatever its id."""
        return [self.query(sql.format(of)) for sql in (EVENTS, CHANGES)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with an empty store."""
    store = DuckDBStore(tmp_path / "headrace.duckdb", threads=1)
    yield Desk(store)
    store.close()


def deal(second: int, stage: str, **fields: Any) -> Any:
    return image("Opportunity", DEAL, second, StageName=stage, AccountId=ACCOUNT, **fields)


def stage(second: int, old: str, new: str, **more: Any) -> Any:
    return row(DEAL, second, "StageName", old, new, **more)


def test_values_that_polling_merged_become_events_of_their_own(desk: Desk) -> None:
    desk.take(deal(0, "A"))
    desk.take(deal(30, "D", LastModifiedById=YOU))

    done = desk.take(stage(10, "A", "B", CreatedById=YOU), stage(20, "B", "C"), stage(30, "C", "D"))

    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B"), (at(20), "StageName", "B", "C")]
    assert desk.told(by_history=False) == [(at(30), "StageName", "A", "D")]
    assert (done.events, done.untouched, [e["time"] for e in done.happened]) == (2, 0, [at(10), at(20)])
    first, second = desk.query("SELECT * FROM opportunity_stage_changed WHERE origin = 'history' ORDER BY time")
    assert (first["actor_id"], first["account_id"], second["actor_id"]) == (YOU, ACCOUNT, ME)
    assert first["properties"] == {
        "changes": [{"field": "StageName", "property": "sfdc_opportunity_stage", "old": "A", "new": "B"}]
    }


def test_rows_from_before_the_first_image_seed_the_past(desk: Desk) -> None:
    desk.take(deal(100, "C"))
    desk.take(stage(10, "A", "B"), stage(20, "B", "C"))

    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B"), (at(20), "StageName", "B", "C")]
    assert [e["name"] for e in desk.query("SELECT name FROM events ORDER BY time")] == [
        "Opportunity Created",
        "Opportunity Stage Changed",
        "Opportunity Stage Changed",
    ]


def test_history_objects_have_raw_tables_but_no_events_or_views_of_their_own(desk: Desk) -> None:
    desk.take(deal(100, "C"), row(DEAL, 5, "Amount", None, 10.5), row(DEAL, 6, "Hot__c", False, True))

    raw = desk.query("SELECT oldvalue, newvalue, opportunityid FROM salesforce.opportunityfieldhistory ORDER BY id")
    assert [tuple(r.values()) for r in raw] == [(None, "10.5", DEAL), ("false", "true", DEAL)]
    assert desk.query("SELECT DISTINCT object FROM events") == [{"object": "Opportunity"}]
    assert desk.told(by_history=True) == [(at(5), "Amount", None, "10.5"), (at(6), "Hot__c", "false", "true")]
    there = [name for name in desk.store.table_names() if name not in (*tables.MARTS, *tables.VIEWS)]
    assert not [name for name in there if "history" in name and not name.startswith("salesforce.")]


def test_history_waits_for_its_record_and_for_the_image_that_shows_it(desk: Desk) -> None:
    assert desk.take(stage(10, "A", "B"), stage(50, "B", "C"), stage(60, "C", "D")).events == 0

    assert desk.take(deal(20, "B")).events == 2  # Created, and what came before it
    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B")]

    desk.take(deal(60, "D"))
    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B"), (at(50), "StageName", "B", "C")]
    assert desk.told(by_history=False) == [(at(60), "StageName", "B", "D")]


def test_a_version_without_a_change_of_its_own_lets_waiting_history_be_told(desk: Desk) -> None:
    desk.take(deal(0, "A"), stage(10, "A", "B"), stage(20, "B", "A"))

    done = desk.take(deal(20, "A"))

    assert (done.events, done.untouched) == (2, 1)
    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B"), (at(20), "StageName", "B", "A")]


def test_a_late_row_joins_the_event_of_its_second(desk: Desk) -> None:
    desk.take(deal(50, "C", Amount=2), stage(10, "A", "C"))
    (before,) = desk.query("SELECT * FROM events WHERE origin = 'history'")

    done = desk.take(row(DEAL, 10, "Amount", 1, 2))

    (after,) = desk.query("SELECT * FROM events WHERE origin = 'history'")
    assert (done.events, after["event_id"]) == (0, before["event_id"])
    assert [c["field"] for c in after["properties"]["changes"]] == ["Amount", "StageName"]
    assert desk.told(by_history=True) == [(at(10), "Amount", "1", "2"), (at(10), "StageName", "A", "C")]


def test_a_polled_change_that_comes_later_takes_over_what_history_told(desk: Desk) -> None:
    """A save in the second of the last image: history told it before an image could."""
    desk.take(deal(10, "A"))
    desk.take(stage(10, "A", "B"), row(DEAL, 10, "Amount", 1, 2))
    assert len(desk.told(by_history=True)) == 2

    desk.take(deal(10, "B", Amount=None, seen=20))
    assert desk.told(by_history=True) == [(at(10), "Amount", "1", "2")]
    assert desk.told(by_history=False) == [(at(10), "StageName", "A", "B")]

    desk.take(deal(10, "B", Amount=2, seen=30))
    assert desk.told(by_history=True) == []
    assert desk.query("SELECT event_id FROM events WHERE origin = 'history'") == []


def test_rows_delivered_again_change_nothing(desk: Desk) -> None:
    captures = [deal(50, "C"), stage(10, "A", "B"), stage(20, "B", "C")]
    desk.take(*captures)
    tables = desk.tables()
    desk.restart()

    done = desk.take(*captures)

    assert (done.events, done.seen_again) == (0, 3)
    assert desk.tables() == tables


def test_after_a_restart_history_is_completed_as_before(desk: Desk) -> None:
    desk.take(deal(0, "A"), stage(10, "A", "B"), stage(20, "B", "C"))
    desk.restart()

    desk.take(deal(20, "C"))

    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B")]


def test_a_deleted_history_row_stays_told(desk: Desk) -> None:
    desk.take(deal(50, "C"), stage(10, "A", "B", number=77))

    desk.take(stage(10, "A", "B", number=77, deleted=True))

    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B")]
    assert desk.query("SELECT is_deleted FROM salesforce.opportunityfieldhistory") == [{"is_deleted": True}]


def test_history_of_a_record_that_was_polled_as_deleted_is_told(desk: Desk) -> None:
    """A life event has no changes, so what was edited before the deletion is told by nobody else."""
    desk.take(deal(0, "A"), deal(30, "B", deleted=True), stage(20, "A", "B"))

    assert desk.told(by_history=True) == [(at(20), "StageName", "A", "B")]


def test_a_row_that_moves_to_a_merges_winner_takes_its_event_with_it(desk: Desk) -> None:
    other = "006000000000002AAA"
    desk.take(deal(50, "C"), image("Opportunity", other, 50, StageName="C"), stage(10, "A", "B", number=77))

    desk.take(stage(10, "A", "B", number=77, OpportunityId=other))

    assert desk.query("SELECT record_id FROM events WHERE origin = 'history'") == [{"record_id": other}]
    assert desk.query("SELECT record_id FROM changes") == [{"record_id": other}]


def test_the_opportunities_own_history_completes_what_is_not_tracked(desk: Desk) -> None:
    def snapshot(second: int, number: int, name: str, amount: int) -> Any:
        data: dict[str, Any] = {"OpportunityId": DEAL, "StageName": name, "Amount": amount}
        return capture("OpportunityHistory", f"008{number:012d}AAA", second, **data)

    snapshots = [snapshot(0, 1, "A", 1), snapshot(10, 2, "B", 1), snapshot(20, 3, "C", 3), snapshot(30, 4, "D", 3)]
    desk.take(deal(0, "A", Amount=1), deal(30, "D", Amount=3))

    desk.take(stage(10, "A", "B"), snapshots[0], snapshots[3])
    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B")]

    desk.take(snapshots[2], snapshots[1])
    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B"), (at(20), "StageName", "B", "C")]
    assert desk.told(by_history=False) == [(at(30), "Amount", "1", "3"), (at(30), "StageName", "A", "D")]


def test_history_of_a_person_belongs_to_the_person_whoever_that_becomes(desk: Desk) -> None:
    desk.take(image("Contact", CONTACT, 50, LastName="Moreau", Email="ana@example.com", AccountId=ACCOUNT))
    desk.take(row(CONTACT, 10, "Title", "a", "b"), row(CONTACT, 20, "Owner", ME, YOU, DataType="EntityId"))
    told = "SELECT DISTINCT user_id, alias, account_id FROM {} WHERE origin = 'history'"
    for table in ("events", "changes"):
        assert desk.query(told.format(table)) == [{"user_id": CONTACT, "alias": CONTACT, "account_id": ACCOUNT}]

    # The same e-mail, created earlier: the two are one person, and the elder gives the person its id.
    elder = "003000000000000AAA"
    made = {"CreatedDate": "2020-01-01T00:00:00.000+0000"}
    desk.take(image("Contact", elder, 60, LastName="Moreau", Email="ana@example.com", **made))

    for table in ("events", "changes"):
        assert desk.query(told.format(table)) == [{"user_id": elder, "alias": CONTACT, "account_id": ACCOUNT}]
    assert [e["name"] for e in desk.query("SELECT name FROM events WHERE origin = 'history' ORDER BY time")] == [
        "Contact Updated",
        "Owner Changed",
    ]


def test_what_the_settings_leave_out_is_not_told_by_history_either(desk: Desk) -> None:
    desk.restart(dropped=lambda _object, name: name == "Title")

    desk.take(image("Contact", CONTACT, 50, LastName="Moreau"), row(CONTACT, 10, "Title", "a", "b"))

    assert desk.told(by_history=True, of=CONTACT) == []


def test_records_without_history_are_left_alone(desk: Desk) -> None:
    desk.take(stage(10, "A", "B"), deal(50, "B"))

    done = desk.take(
        image("Task", "00T000000000001AAA", 60, Subject="Call"), image("Contact", CONTACT, 5, LastName="M")
    )

    assert done.events == 2
    assert desk.told(by_history=True) == [(at(10), "StageName", "A", "B")]


# --- random chains of edits ---------------------------------------------------------------------------------------

FIELDS: dict[str, Sequence[Any]] = {
    "StageName": ["A", "B", "C"],
    "Amount": [None, 1.5, 2, 30],
    "OwnerId": [ME, YOU, "005000000000003AAA"],
    "Hot__c": [True, False],
    "Name": ["One", "Two"],
}
SHOWN_AS = {"OwnerId": "Owner"}


@dataclass
class Account:
    """What the log of edits comes to."""

    images: list[Any] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    edits: list[Told] = field(default_factory=list)
    polled: list[Told] = field(default_factory=list)
    history: list[Told] = field(default_factory=list)


def text(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


@dataclass
class Log:
    """A record that is edited and polled; everything Salesforce would say about it, and, naively, what must be told.

    With `tracked` false the opportunities' own history is all there is of stage and amount.
    """

    tracked: bool
    quiet: bool
    """Nothing happens in the second in which a poll has looked: then it is known which edits it saw."""
    values: dict[str, Any] = field(default_factory=lambda: {name: some[0] for name, some in FIELDS.items()})
    now: int = 0
    version: int = 0
    is_deleted: bool = False
    pending: list[Told] = field(default_factory=list)
    shown: dict[str, Any] | None = None
    was_deleted: bool = False
    all: Account = field(default_factory=Account)

    def __post_init__(self) -> None:
        self._snapshot(ME)

    def save(self, wait: int, actor: str, wanted: dict[str, Any]) -> None:
        """Change some fields; a value that is there already is no change."""
        self.now += wait
        self.version = self.now
        changed = {name: value for name, value in wanted.items() if self.values[name] != value}
        for name, value in changed.items():
            old, self.values[name] = self.values[name], value
            self.pending.append((at(self.now), name, text(old), text(value)))
            if name == "OwnerId":
                self._row(name, "EntityId", old, value, actor)
                self._row(name, "Text", "Somebody", "Else", actor)
            elif self.tracked or name not in ("StageName", "Amount"):
                self._row(name, "Text", old, value, actor)
        if changed.keys() & {"StageName", "Amount"}:
            self._snapshot(actor)

    def flip(self) -> None:
        """Delete the record, or restore it."""
        self.now += 1
        self.version = self.now
        self.is_deleted = not self.is_deleted

    def poll(self) -> None:
        """Look at the record."""
        self.all.images.append(
            deal(self.version, seen=10_000 + len(self.all.images), deleted=self.is_deleted, **self._fields())
        )
        is_first, is_life = self.shown is None, self.is_deleted != self.was_deleted
        for name in FIELDS:
            mine = [edit for edit in self.pending if edit[1] == name]
            before = None if self.shown is None else self.shown[name]
            if mine and not is_first and not is_life and before != self.values[name]:
                self.all.polled.append((at(self.version), name, text(before), text(self.values[name])))
                mine.pop()
            self.all.history += mine
        self.all.edits += self.pending
        self.pending = []
        self.shown, self.was_deleted = dict(self.values), self.is_deleted
        if self.quiet:
            self.now += 1

    def _fields(self) -> dict[str, Any]:
        return {"stage": self.values["StageName"]} | {n: v for n, v in self.values.items() if n != "StageName"}

    def _row(self, name: str, kind: str, old: Any, new: Any, actor: str) -> None:
        data: dict[str, Any] = {"DataType": kind, "CreatedById": actor, "number": len(self.all.rows) + 1}
        self.all.rows.append(row(DEAL, self.now, SHOWN_AS.get(name, name), old, new, **data))

    def _snapshot(self, actor: str) -> None:
        data = {"OpportunityId": DEAL, "StageName": self.values["StageName"], "Amount": self.values["Amount"]}
        number = f"008{len(self.all.rows) + 1:012d}AAA"
        self.all.rows.append(capture("OpportunityHistory", number, self.now, CreatedById=actor, **data))


EDITS = st.fixed_dictionaries({}, optional={name: st.sampled_from(some) for name, some in FIELDS.items()})
OPERATIONS = st.one_of(
    st.tuples(st.just("save"), st.sampled_from([0, 0, 1, 5]), st.sampled_from([ME, YOU]), EDITS),
    st.tuples(st.just("poll")),
    st.tuples(st.just("save"), st.sampled_from([0, 0, 1, 5]), st.sampled_from([ME, YOU]), EDITS),
    st.tuples(st.just("flip")),
)


def live(operations: Sequence[Any], *, tracked: bool, quiet: bool) -> Account:
    log = Log(tracked, quiet)
    for name, *arguments in operations:
        getattr(log, name)(*arguments)
    log.poll()
    return log.all


def delivered(told: Account, data: st.DataObject) -> list[list[Any]]:
    """Put images (in their order) and history rows (in any) into batches; some come again."""
    spread = data.draw(st.lists(st.integers(0, len(told.images)), min_size=len(told.rows), max_size=len(told.rows)))
    order: list[Any] = []
    for place, one in enumerate([None, *told.images]):
        mine = [r for r, where in zip(told.rows, spread, strict=True) if where == place]
        order += [one] * (one is not None) + list(data.draw(st.permutations(mine)))
    for again in data.draw(st.lists(st.integers(0, len(order) - 1), max_size=4)):
        one = order[again]
        # The stream never goes back to an earlier image of the same second: its position has passed it.
        if one["object"] != "Opportunity" or one["system_modstamp"] < told.images[-1]["system_modstamp"]:
            order.append(one)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order)), max_size=6)))
    return [order[a:b] for a, b in itertools.pairwise([0, *cuts, len(order)]) if a < b]


@pytest.fixture(scope="module")
def busy_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk that all random histories share, each with records of its own."""
    store = DuckDBStore(tmp_path_factory.mktemp("desk") / "headrace.duckdb", threads=1)
    yield Desk(store)
    store.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=st.lists(OPERATIONS, max_size=14), tracked=st.booleans(), quiet=st.booleans(), data=st.data())
def test_any_order_of_delivery_tells_every_edit_exactly_once(
    busy_desk: Desk, operations: list[Any], tracked: bool, quiet: bool, data: st.DataObject
) -> None:
    told = live(operations, tracked=tracked, quiet=quiet)
    one, other = (f"006{next(_numbers):012d}AAA" for _ in "12")
    for batch in delivered(told, data):
        busy_desk.take(*(renamed(c, one) for c in batch))
        if data.draw(st.booleans()):
            busy_desk.restart()
    history, polled = busy_desk.told(by_history=True, of=one), busy_desk.told(by_history=False, of=one)
    events, changes = busy_desk.tables(of=one)

    assert polled == sorted(told.polled, key=_order)
    assert _values([*history, *polled]) == _values(told.edits)
    if quiet:
        assert history == sorted(told.history, key=_order)
    twice = "SELECT event_id FROM events GROUP BY event_id HAVING count(*) > 1"
    assert busy_desk.query(f"{twice} UNION ALL SELECT event_id FROM changes ANTI JOIN events USING (event_id)") == []

    busy_desk.take(*(renamed(c, other) for c in told.images))
    busy_desk.take(*(renamed(c, other) for c in told.rows))
    assert busy_desk.tables(of=other) == [events, changes]


def renamed(one: Any, record: str) -> Any:
    """The same capture of another opportunity, or of its history."""
    old = one["record_id"]
    new = record if old == DEAL else old[:3] + f"{int(record[3:15]) * 1000 + int(old[3:15]):012d}AAA"
    fields = {
        name: record if value == DEAL else new if value == old else value for name, value in one["fields"].items()
    }
    return {**one, "id": one["id"].replace(old, new), "record_id": new, "fields": fields}


def _values(found: Sequence[Told]) -> Counter[tuple[str, str | None]]:
    return Counter((name, new) for _, name, _, new in found)


def _order(one: Told) -> list[tuple[bool, str]]:
    """Nulls last, as the store sorts them."""
    return [(value is None, value or "") for value in one]
