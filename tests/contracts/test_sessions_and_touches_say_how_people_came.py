"""Visits and touches, against a plain reading of the same events in Python."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any

import pytest

from consumers.marts import Marts
from integration.core import exactjson
from integration.store import tables
from integration.store.answers import ask
from integration.store.projection import Shape
from integration.store.protocol import Store

START = datetime(2026, 1, 1, 9, tzinfo=UTC)
IDLE = timedelta(minutes=30)
Event = dict[str, Any]


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(
    event_id: str, user: str, minutes: float, name: str = "Page Viewed", *, origin: str = "product", **context: Any
) -> Event:
    return {
        "event_id": event_id,
        "user_id": user,
        "time": at(minutes),
        "name": name,
        "origin": origin,
        "properties": exactjson.dumps({"context": context} if context else {}),
    }


def campaign(name: str, medium: str | None = None, source: str = "ads") -> dict[str, Any]:
    return {"name": name, "source": source, **({"medium": medium} if medium else {})}


def page(referrer: str | None = None, url: str = "https://www.example.com/") -> dict[str, Any]:
    return {"url": url, **({"referrer": referrer} if referrer is not None else {})}


def write(store: Store, events: list[Event]) -> None:
    with store.transaction() as tx:
        tx.append("events", tables.EVENTS, events)
    marts = Marts(store.transaction, Shape, lambda: at(0))
    while marts.refresh():
        pass


def sessions(store: Store) -> list[tuple[str, str, int]]:
    found = ask(store, 'SELECT session_id, user_id, events FROM sessions ORDER BY user_id, "time", session_id')
    return [(row["session_id"], row["user_id"], row["events"]) for row in found]


def test_half_an_hour_of_nothing_ends_a_visit_and_not_a_second_less(store: Store) -> None:
    write(
        store,
        [
            event("a", "u1", 0),
            event("b", "u1", 30, "Run Query"),
            event("c", "u1", 60 + 1 / 60),
            event("d", "u2", 40),
            event("who", "u2", 300, "Identified"),
            event("crm", "u2", 400, "Contact Updated", origin="poll"),
        ],
    )
    assert sessions(store) == [("a", "u1", 2), ("c", "u1", 1), ("d", "u2", 1)]
    [first, *_] = ask(store, "SELECT \"time\", ended_at FROM sessions WHERE session_id = 'a'")
    assert (first["time"], first["ended_at"]) == ("2026-01-01T09:00:00Z", "2026-01-01T09:30:00Z")


def test_another_campaign_begins_another_visit_and_the_same_one_does_not(store: Store) -> None:
    spring, launch = {"campaign": campaign("spring")}, {"campaign": campaign("launch")}
    write(
        store,
        [
            event("a", "u1", 0, **spring),
            event("b", "u1", 1),
            event("c", "u1", 2, **spring),
            event("d", "u1", 3, **launch),
            event("e", "u1", 4),
            event("f", "u1", 5, campaign=campaign("launch", medium="email")),
        ],
    )
    assert sessions(store) == [("a", "u1", 3), ("d", "u1", 2), ("f", "u1", 1)]


CHANNELS = [
    ({}, "direct"),
    ({"page": page("")}, "direct"),
    ({"page": page("https://www.example.com/pricing")}, "direct"),
    ({"page": page("https://www.google.com/search?q=x")}, "search"),
    ({"page": page("https://duckduckgo.com/")}, "search"),
    ({"page": page("https://blog.example.org/post")}, "referral"),
    ({"campaign": campaign("spring")}, "campaign"),
    ({"campaign": campaign("spring", "CPC"), "page": page("https://www.google.com/")}, "paid"),
    ({"campaign": campaign("spring", "email")}, "email"),
    ({"campaign": campaign("spring", "social")}, "social"),
    ({"campaign": campaign("spring", "affiliate")}, "partner"),
    ({"campaign": campaign("spring", "organic")}, "search"),
    ({"campaign": campaign("spring", "referral")}, "referral"),
]


def test_a_touch_has_the_channel_that_campaign_and_referrer_tell(store: Store) -> None:
    write(store, [event(f"e{n:02}", f"u{n:02}", n, **context) for n, (context, _) in enumerate(CHANNELS)])
    found = ask(store, "SELECT channel FROM touches ORDER BY touch_id")
    assert [row["channel"] for row in found] == [channel for _, channel in CHANNELS]


def test_s1_08_first_and_last_touch_are_told_of_everybody(store: Store) -> None:
    landing = page("https://blog.example.org/", "https://www.example.com/guide")
    write(
        store,
        [
            event("a", "u1", 0, page=landing),
            event("b", "u1", 100, campaign=campaign("spring", "email"), page=page(None, "https://www.example.com/new")),
            event("c", "u1", 200, page=page()),
            event("d", "u2", 0, page=page()),
        ],
    )
    told = (
        "user_id, touches, first_channel, first_referrer, first_landing_page, first_utm_campaign, first_touch_at, "
        "last_channel, last_utm_campaign, last_landing_page, last_touch_at"
    )
    rows = [tuple(row.values()) for row in ask(store, f"SELECT {told} FROM user_touches ORDER BY user_id")]
    u1, u2 = rows
    began = "2026-01-01T09:00:00Z"
    first = ("referral", "https://blog.example.org/", "https://www.example.com/guide", None, began)
    last = ("email", "spring", "https://www.example.com/new", "2026-01-01T10:40:00Z")
    assert u1 == ("u1", 3, *first, *last)  # who comes back by themselves comes back for what brought them before
    direct = ("direct", None, "https://www.example.com/", None, began)
    assert u2 == ("u2", 1, *direct, "direct", None, "https://www.example.com/", began)


@pytest.mark.parametrize("seed", range(3))
def test_s1_11_every_visit_is_kept_with_where_it_came_from(store: Store, seed: int) -> None:
    luck = Random(seed)
    events = [
        event(
            f"e{number:03}",
            luck.choice(["u1", "u2", "u3"]),
            luck.choice([number * 7.0, number * 7.0, luck.randrange(600)]),
            luck.choice(["Page Viewed", "Run Query", "Identified"]),
            **luck.choice(CHANNELS)[0],
        )
        for number in range(80)
    ]
    write(store, luck.sample(events, len(events)))
    columns = "session_id, user_id, events, utm_source, utm_medium, utm_campaign, referrer, landing_page"
    found = ask(store, f"SELECT {columns} FROM sessions")
    assert sorted(map(tuple, (row.values() for row in found)), key=repr) == sorted(read(events), key=repr)
    touches = ask(store, "SELECT touch_id FROM touches")
    assert sorted(row["touch_id"] for row in touches) == sorted(row["session_id"] for row in found)


def read(events: list[Event]) -> Iterator[tuple[Any, ...]]:
    """Walk through each person's events."""
    seen = sorted(
        (e for e in events if e["name"] != "Identified"), key=lambda e: (e["user_id"], e["time"], e["event_id"])
    )
    for user, theirs in groupby(seen, key=lambda e: str(e["user_id"])):
        came_from: tuple[str, ...] | None = None
        last: datetime | None = None
        visit: list[Any] = []
        for one in theirs:
            context = exactjson.loads(one["properties"]).get("context", {})
            told = context.get("campaign", {})
            now = datetime.fromisoformat(one["time"])
            names = tuple(told.get(key, "") for key in ("source", "medium", "name")) if told else None
            if last is None or now - last > IDLE or (names is not None and names != came_from):
                if visit:
                    yield tuple(visit)
                where = context.get("page", {})
                utm = [told.get(key) for key in ("source", "medium", "name")]
                visit = [one["event_id"], user, 0, *utm, where.get("referrer"), where.get("url")]
            visit[2] += 1
            last, came_from = now, names if names is not None else came_from
        yield tuple(visit)
