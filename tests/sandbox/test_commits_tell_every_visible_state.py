"""org.commits is enough to know what any reader could ever see."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.traffic import Traffic
from integration.sandbox.world import build_world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def stored(org: Org, name: str) -> dict[str, dict[str, Any]]:
    table = org.tables[name]
    return {key: table.record(row) for key, row in table.rows.items()}


def test_replaying_the_commits_gives_every_state_there_was():
    clock = VirtualClock(NOW)
    org = Org(clock=clock)
    world = build_world(org, accounts=8, seed=4, ends_at=NOW)
    traffic = Traffic(org, world, seed=4)
    watched = ("Account", "Contact", "Lead", "Opportunity", "Task", "CampaignMember", "Campaign", "User")
    state: dict[str, dict[str, Any]] = {name: {} for name in watched}
    read = 0
    for _ in range(150):
        traffic.step()
        clock.advance(7)
        for commit in org.commits[read:]:
            if commit.object not in state:
                continue
            known = state[commit.object]
            # A record of the org's own may be older than its diary.
            assert commit.before == known.get(commit.record_id, commit.before)
            known.pop(commit.record_id, None)
            if commit.after is not None:
                known[commit.record_id] = commit.after
        read = len(org.commits)
        for name in watched:
            assert state[name] == stored(org, name)


@pytest.mark.parametrize(
    ("act", "size"),
    [
        (lambda org, a, b: org.update("Contact", a, {"Title": "CEO"}), 1),
        (lambda org, a, b: org.merge("Contact", a, [b]), 3),
        (lambda org, a, b: org.delete("Contact", b), 2),
        (lambda org, a, b: org.convert_lead(org.insert("Lead", {"LastName": "X", "Company": "Y"})), 5),
    ],
)
def test_what_became_visible_at_once_carries_one_number(org: Org, act: Callable[..., Any], size: int):
    first, second = org.insert("Contact", {"LastName": "A"}), org.insert("Contact", {"LastName": "B"})
    org.insert("Task", {"Subject": "Call", "WhoId": second})
    seen = len(org.commits)
    act(org, first, second)
    numbers = [commit.together for commit in org.commits]
    assert len(numbers) > seen
    assert numbers.count(numbers[-1]) == size
    assert numbers == sorted(numbers)
    assert numbers[-1] not in numbers[:seen]


def test_a_transaction_becomes_visible_at_once(org: Org, clock: VirtualClock):
    key = org.insert("Contact", {"LastName": "A"})
    transaction = org.begin()
    transaction.update("Contact", key, {"Title": "CEO"})
    clock.advance(5)
    transaction.insert("Lead", {"LastName": "B", "Company": "C"})
    org.insert("Lead", {"LastName": "D", "Company": "E"})
    clock.advance(5)
    transaction.commit()
    *_, other, first, second = org.commits
    assert other.together < first.together == second.together
    assert first.at < second.at < first.visible_at == second.visible_at
