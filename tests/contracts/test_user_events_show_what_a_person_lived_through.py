from typing import Any

import pytest

from integration.store import tables
from integration.store.answers import plain_rows
from integration.store.protocol import Store


def event(event_id: str, day: int, **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "time": f"2024-01-{day:02}T00:00:00Z", "name": "X Updated", **more}


def stay(alias: str, kind: str, target: str, since: int | None, until: int | None) -> dict[str, Any]:
    def day(number: int | None) -> str | None:
        return None if number is None else f"2024-01-{number:02}T00:00:00Z"

    return {
        "record_id": f"{alias}{target}{since}",
        "alias": alias,
        "kind": kind,
        "target_id": target,
        "since": day(since),
        "until": day(until),
    }


@pytest.fixture
def seen(store: Store) -> dict[tuple[str, str], str]:
    identities = [
        {"alias": a, "kind": "contact_id", "user_id": u} for a, u in (("c1", "u1"), ("c2", "u2"), ("c3", "u1"))
    ]
    stays = [
        stay("c1", "account", "A", 5, 10),
        stay("c3", "account", "A", 8, None),  # the same person again, overlapping
        stay("c2", "account", "B", None, None),
        stay("c2", "opportunity", "O", 5, None),
        stay("c1", "opportunity", "O", 5, None),
        stay("nobody", "account", "A", 1, None),
    ]
    events = [
        event("own", 1, user_id="u1", account_id="A"),
        event("before", 4, account_id="A", object="Account", record_id="A"),
        event("at start", 5, account_id="A", object="Account", record_id="A"),
        event("overlap", 9, account_id="A", object="Account", record_id="A"),
        event("at end", 10, account_id="A", object="Account", record_id="A"),
        event("colleague", 9, user_id="u2", account_id="A"),
        event("deal", 9, account_id="A", object="Opportunity", record_id="O"),
        event("deal before", 2, account_id="Z", object="Opportunity", record_id="O"),
        event("task on account", 9, account_id="B", object="Task", record_id="T"),
        event("elsewhere", 9, account_id="C"),
    ]
    with store.transaction() as tx:
        tx.append("identities", tables.IDENTITIES, identities)
        tx.append("headrace.memberships", tables.MEMBERSHIPS, stays)
        tx.append("events", tables.EVENTS, events)
    table = store.query("SELECT * FROM user_events")
    assert table.column_names == [*(c.name for c in tables.EVENTS), "via"]
    rows = [(r["user_id"], r["event_id"], r["via"]) for r in plain_rows(table)]
    assert len(rows) == len({row[:2] for row in rows})
    return {(user, one): via for user, one, via in rows}


def test_a_person_sees_own_events_and_those_of_account_and_deals_while_belonging_there(
    seen: dict[tuple[str, str], str],
) -> None:
    assert seen == {
        ("u1", "own"): "self",
        ("u1", "at start"): "account",
        ("u1", "overlap"): "account",
        ("u1", "at end"): "account",  # as contact c3; c1 had left
        ("u1", "deal"): "opportunity",  # wins over the account
        ("u2", "colleague"): "self",
        ("u2", "deal"): "opportunity",
        ("u2", "task on account"): "account",
    }
