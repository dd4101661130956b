"""The sandbox org of a bench, in a process of its own, and what happens in it: one JSON line in, one JSON line out.

Its clock starts some hours ago and can be set forward, so that a bench need not wait until an edit is old.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from integration.sandbox.clock import stamp
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.world import build_world

_STARTS_BEFORE = timedelta(hours=12)
_KEY, _SECRET = "sandbox-key", "sandbox-secret"
_STAGES = ("Qualification", "Value Proposition", "Proposal/Price Quote", "Negotiation/Review", "Closed Won")

Edit = Callable[[random.Random], dict[str, Any]]
Answer = dict[str, Any]

# What people edit, and how often: (share, new values).
EDITS: dict[str, tuple[tuple[int, Edit], ...]] = {
    "Account": (
        (4, lambda rng: {"NumberOfEmployees": rng.randint(1, 9_000)}),
        (3, lambda rng: {"MRR__c": round(rng.uniform(100, 90_000), 2)}),
        (3, lambda rng: {"Rating": rng.choice(("Hot", "Warm", "Cold")), "Description": f"Seen {rng.random():.6f}"}),
    ),
    "Contact": (
        (6, lambda rng: {"Title": f"Title {rng.randint(1, 10**6)}"}),
        (3, lambda rng: {"Phone": f"+1 555 {rng.randint(1_000_000, 9_999_999)}"}),
        (2, lambda rng: {"Score__c": round(rng.uniform(0, 100), 1), "Role__c": rng.choice(("Champion", "User"))}),
        (1, lambda rng: {"Email": f"p{rng.randint(1, 10**9)}@example.org"}),
    ),
    "Opportunity": (
        (5, lambda rng: {"StageName": rng.choice(_STAGES)}),
        (5, lambda rng: {"Amount": float(rng.randint(1_000, 400_000)), "NextStep": f"Call {rng.randint(1, 999)}"}),
    ),
    "Lead": (
        (6, lambda rng: {"Status": rng.choice(("Open", "Working", "Nurturing"))}),
        (4, lambda rng: {"Title": f"Title {rng.randint(1, 10**6)}"}),
    ),
}


class JumpingClock:
    """Goes at the machine's pace, from some hours ago, and can be set forward."""

    def __init__(self) -> None:
        self._behind = _STARTS_BEFORE

    def now(self) -> datetime:
        return datetime.now(UTC) - self._behind

    def jump(self, seconds: float) -> None:
        self._behind = max(self._behind - timedelta(seconds=seconds), timedelta(0))


class Deeds:
    """What can be asked of the org; each method is a word of the protocol."""

    def __init__(self, org: Org, server: SandboxServer, clock: JumpingClock) -> None:
        self._org, self._server, self._clock = org, server, clock
        self._rng = random.Random(7)

    def calls(self) -> Answer:
        """Tell how many API calls there were."""
        return {"calls": self._server.api_used}

    def wait(self, seconds: float) -> Answer:
        """Let time pass."""
        self._clock.jump(seconds)
        return {"now": stamp(self._clock.now())}

    def edit(self, **counts: int) -> Answer:
        """Edit so many live records of each object, all at once; tell since when, and how many have a stamp from then."""
        with self._org.writing():
            since = stamp(self._clock.now())
            for name, count in counts.items():
                shares = [share for share, _ in EDITS[name]]
                for key in self._rng.sample(self._live(name), count):
                    change = self._rng.choices(EDITS[name], shares)[0][1]
                    self._org.update(name, key, change(self._rng))
            saved = {name: self._saved_since(name, since) for name in counts}
        return {"since": since, "saved": saved}

    def retitle(self, title: str) -> Answer:
        """Give one contact this title."""
        self._org.update("Contact", self._rng.choice(self._live("Contact")), {"Title": title})
        return {}

    def crowd(self, people: int) -> Answer:
        """Found an account with so many contacts."""
        with self._org.writing():
            account = self._org.insert("Account", {"Name": "The Crowd Ltd", "Industry": "Retail"})
            for number in range(people):
                self._org.insert("Contact", {
                    "AccountId": account, "FirstName": "Pat", "LastName": f"Of Many {number}", "Title": "Member",
                    "Email": f"pat{number}@crowd.example.com",
                })  # fmt: skip
        return {"account": account}

    def change(self, name: str, key: str, **values: Any) -> Answer:
        """Change one record of an object."""
        self._org.update(name, key, values)
        return {}

    def _live(self, name: str) -> list[str]:
        table = self._org.tables[name]
        converted = table.at.get("IsConverted")
        return [
            key
            for key, row in table.rows.items()
            if not table.is_deleted(row) and not (converted is not None and row[converted])
        ]

    def _saved_since(self, name: str, since: str) -> int:
        table = self._org.tables[name]
        return sum(row[table.stamp_at] >= since for row in table.rows.values())


def main() -> None:
    words = _words()
    clock = JumpingClock()
    org = Org(clock=clock)
    sizes = {"accounts": words.accounts, "contacts": words.contacts}
    sizes |= {"opportunities": words.opportunities, "leads": words.leads}
    world = build_world(org, **sizes, seed=words.seed, ends_at=clock.now())
    org.commits.clear()
    with SandboxServer(org, consumer_key=_KEY, consumer_secret=_SECRET, daily_limit=10**6) as server:
        _answer({"url": server.url, "key": _KEY, "secret": _SECRET, "records": world.counts})
        deeds = Deeds(org, server, clock)
        for line in sys.stdin:
            asked = json.loads(line)
            _answer(getattr(deeds, asked.pop("do"))(**asked))


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("accounts", "contacts", "opportunities", "leads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _answer(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
