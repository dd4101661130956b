"""Who makes a flattener takes the store over; whoever had it before writes nothing any more."""

from collections.abc import Callable
from typing import Any

import pytest

from consumers.apply import Flattener
from consumers.batch import Entry
from consumers.rules import Rules
from integration.core import catalog, exactjson
from integration.errors import FencedError
from integration.store.protocol import Store

FIELDS = {
    "Id": "id",
    "IsDeleted": "boolean",
    "Title": "string",
    "CreatedDate": "datetime",
    "SystemModstamp": "datetime",
}
DESCRIBED = {"name": "Contact", "fields": [{"name": name, "type": kind} for name, kind in FIELDS.items()]}
SCHEMA = catalog.schema_from_describe(DESCRIBED)
assert SCHEMA is not None
BODY = catalog.to_json(SCHEMA)


def flattener(store: Store) -> Flattener:
    return Flattener(store, Rules({}, {}), now=lambda: "2026-01-02T00:00:00Z", fetch_schema=lambda _id: BODY)


def entry(number: int, title: str = "CTO") -> Entry:
    assert SCHEMA is not None
    record, stamp = f"003{number:012d}AAA", f"2026-01-01T00:00:{number:02d}"
    shown = {"Id": record, "IsDeleted": False, "Title": title, "SystemModstamp": f"{stamp}.000+0000"}
    capture = {
        "id": f"00D000000000001EAA:Contact:{record}:{stamp}Z",
        "org": "00D000000000001EAA",
        "object": "Contact",
        "record_id": record,
        "system_modstamp": f"{stamp}Z",
        "is_deleted": False,
        "fields": shown | {"CreatedDate": f"{stamp}.000+0000"},
        "schema_id": SCHEMA.schema_id,
        "origin": "poll",
        "seen_at": f"{stamp}Z",
    }
    return Entry("crm.contact", f"{number}-0", {b"data": exactjson.dumps(capture)})


def everything(store: Store) -> list[Any]:
    with store.reading() as reading:
        names = (
            "captures",
            "events",
            "users",
            "headrace.states",
            "headrace.positions",
            "headrace.meta",
            "dead_letters",
        )
        return [sorted(reading.rows(f"SELECT * FROM {name}"), key=str) for name in names]


WRITES: dict[str, Callable[[Flattener], object]] = {
    "apply": lambda one: one.apply([entry(3)]),
    "apply again": lambda one: one.apply([entry(1, "CEO")], again=True),
    "announce": lambda one: one.announce([SCHEMA]) if SCHEMA else None,
    "forget a position": lambda one: one.forget_position("crm.contact"),
    "replay": lambda one: one.replay("Contact", ["003000000000001AAA"]),
    "replay people": lambda one: one.replayer.people("Contact"),
    "replay names": lambda one: one.replayer.names(lambda _done: "mark"),
    "clear up": lambda one: one.replayer.nobody(lambda _done: "mark"),
}


@pytest.mark.parametrize("what", WRITES)
def test_an_owner_that_was_taken_over_writes_nothing(what: str, store: Store) -> None:
    first = flattener(store)
    first.apply([entry(1), entry(2)])
    second = flattener(store)
    before = everything(store)

    with pytest.raises(FencedError, match="taken over"):
        WRITES[what](first)

    assert everything(store) == before
    assert second.apply([entry(3)]).stored == 1
    with pytest.raises(FencedError):
        first.apply([entry(4)])
    assert second.apply([entry(4), entry(1, "CEO")]).stored == 1


def test_each_owner_has_a_higher_epoch_than_all_before_it(store: Store) -> None:
    def epoch() -> int:
        with store.reading() as reading:
            return int(reading.rows("SELECT value FROM headrace.meta WHERE key = 'epoch'")[0]["value"])

    seen = []
    for _ in range(3):
        flattener(store)
        seen.append(epoch())

    assert seen == [1, 2, 3]
