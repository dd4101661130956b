"""The product of the invented company, as its browsers tell of it: calls of the Segment Tracking API.

`history` tells what happened up to now: visits from campaigns, sign-ups, and uses that follow the story of each account
in the CRM. `ProductTraffic` goes on from there, while the org lives. Calls are plain dicts, as clients send them.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from integration.sandbox.org import Org
from integration.sandbox.product_people import House, Member, Roster, enrol, luck, member_of, plan_of, strangers
from integration.sandbox.product_ways import DIRECT, FOUND, PLAYBOOK, SITE, Way, way_for
from integration.sandbox.story import HISTORY_DAYS
from integration.sandbox.traffic_desk import Desk

Call = dict[str, Any]

LOGGED_IN: Final = "Logged In"
ACTIONS: Final = ("Run Query", "Dashboard Viewed", "Report Exported", "Invite Sent")
_IN_TRIAL: Final = (50, 42, 4, 4)
_OF_CUSTOMERS: Final = (46, 30, 19, 5)
_WEEK: Final = timedelta(days=7)
_APP: Final = {"page": {"url": f"{SITE}/app", "path": "/app", "referrer": f"{SITE}/"}}
_TITLES: Final = {"/": "Home", "/sign-up": "Sign up", "/login": "Log in"}
_TRIES: Final = 12


def history(org: Org, *, seed: int = 7, ends_at: datetime) -> list[Call]:
    """Return the calls of the two years before ``ends_at`` (an aware datetime), the oldest first.

    A function of the org's records, the seed and the time. E-mails are those of contacts and leads, but for a few
    people whom the CRM does not know; some of the org's people never sign up, and some visitors never become anybody.
    """
    starts = ends_at - timedelta(days=HISTORY_DAYS)
    roster = enrol(org, seed, starts, ends_at)
    people = [*roster.members, *strangers(roster, seed, starts, ends_at)]
    calls: list[Call] = []
    for place, member in enumerate(people):
        calls += _life(member, seed, starts, ends_at, two_browsers=place % 12 == 0)
    for number in range(len(people) // 2):
        calls += _passer_by(f"visitor-{number}", seed, starts, ends_at)
    return sorted(calls, key=lambda call: (call["timestamp"], call["messageId"]))


class ProductTraffic:
    """What people do in the product while the org lives.

    Each step is a use, a visit or a sign-up of somebody, just now by the org's clock. Who uses it follows what became
    of their account meanwhile. The same seed, org and clock give the same calls. Safe to run beside other traffic.
    """

    def __init__(self, org: Org, *, seed: int = 7) -> None:
        self._org, self._seed = org, seed
        self._desk = Desk(org, seed)
        self._rng = self._desk.rng
        self._step = 0
        self._roster: Roster | None = None
        self._here: set[str] = set()

    def step(self) -> list[Call]:
        """Return the calls of the next thing that happens."""
        with self._org.lock:
            now = self._org.clock.now()
            roster = self._roster or self._enrol(now)
            self._step += 1
            page = _Page(f"living-{now.isoformat()}-{self._step}", "", now - timedelta(days=1), now)
            draw = self._rng.random()
            if draw < 0.1:
                self._visit(page, now)
            elif draw >= 0.2 or not self._sign_up(page, now):
                self._use(page, roster, now)
            return page.calls

    def _enrol(self, now: datetime) -> Roster:
        self._roster = enrol(self._org, self._seed, now - timedelta(days=HISTORY_DAYS), now)
        self._here = {member.email.lower() for member in self._roster.members}
        return self._roster

    def _visit(self, page: "_Page", now: datetime) -> None:
        page.browser = browser(self._seed, f"{now.isoformat()}-{self._step}")
        page.visit(now, way_for(self._rng, "Nobody"))

    def _sign_up(self, page: "_Page", now: datetime) -> bool:
        """Have somebody of the org sign up who has not; False if nobody is found, or nobody who ever would."""
        kind = "Lead" if self._rng.random() < 0.7 else "Contact"
        found = self._desk.find(kind, lambda row: (row["Email"] or "@").strip().lower() not in self._here | {"@"})
        if found is None or self._roster is None:
            return False
        self._here.add(found["Email"].strip().lower())  # asked once: some never do
        house = self._roster.houses.get(found.get("AccountId") or "")
        member = member_of(found, house, self._seed, now - timedelta(hours=1))
        if member is None:
            return False
        member = replace(member, joined=now)
        self._roster.members.append(member)
        page.browser = browser(self._seed, member.key)
        page.visit(now - timedelta(seconds=90), member.way)
        page.sign_up(now - timedelta(seconds=40), member)
        return True

    def _use(self, page: "_Page", roster: Roster, now: datetime) -> None:
        for _ in range(_TRIES if roster.members else 0):
            member = roster.members[int(self._rng.random() * len(roster.members))]
            if member.house is not None:
                self._look_again(member.house, now)
            if self._rng.random() < member.level(now, now):
                page.browser = browser(self._seed, member.key)
                page.use(now - timedelta(seconds=self._rng.randint(20, 200)), member, LOGGED_IN, self._rng)
                page.use(now, member, _action(self._rng, member, now), self._rng)
                return

    def _look_again(self, house: House, now: datetime) -> None:
        """See what has become of an account meanwhile."""
        kind = self._org.value("Account", house.account_id, "Type")
        if kind == "Paying Customer" and not house.is_customer:
            account = self._org.get("Account", house.account_id) or {"Segment__c": None}
            house.signed, house.left, house.fades_from, house.plan = now, None, None, plan_of(account)
        elif kind == "Churned Customer" and house.left is None:
            house.left = now


class _Page:
    """A page of a diary: the calls of one browser, those before or after the story left out.

    ``key`` makes the message ids: what is told of the same story again is known to be the same.
    """

    def __init__(self, key: str, browser: str, starts: datetime, ends_at: datetime) -> None:
        self.calls: list[Call] = []
        self.browser = browser
        self._key = key
        self._starts, self._ends_at = starts, ends_at
        self._told = 0

    def visit(self, at: datetime, way: Way) -> None:
        """Somebody comes to a page of the site."""
        title = _TITLES.get(way.page) or way.page.rpartition("/")[2].replace("-", " ").capitalize()
        self._call("page", at, name=title, context=way.context())

    def sign_up(self, at: datetime, member: Member) -> None:
        """Somebody signs up, in the visit that brought them."""
        self.identify(at, member)
        self._call(
            "track",
            at + timedelta(seconds=2),
            userId=member.user_id,
            event="Sign Up",
            properties={"plan": member.plan(at)},
            context=member.way.context(),
        )

    def identify(self, at: datetime, member: Member) -> None:
        """The product says who it is."""
        traits = {"email": member.email, "name": member.name, "company": member.company, "plan": member.plan(at)}
        self._call(
            "identify", at, userId=member.user_id, traits={name: value for name, value in traits.items() if value}
        )

    def use(self, at: datetime, member: Member, event: str, rng: random.Random) -> None:
        """Somebody does something in the product."""
        self._call("track", at, userId=member.user_id, event=event, properties=_properties(event, rng), context=_APP)

    def _call(self, kind: str, at: datetime, **fields: Any) -> None:
        self._told += 1
        if not self._starts <= at <= self._ends_at:
            return
        told = blake2b(f"{self._key}:{self._told}".encode(), digest_size=16).digest()
        stamp = at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
        self.calls.append(
            {
                "type": kind,
                "messageId": str(UUID(bytes=told)),
                "anonymousId": self.browser,
                "timestamp": stamp,
                **fields,
            }
        )


def browser(seed: int, key: str, which: str = "desk") -> str:
    """Return the anonymous id that a browser of somebody made up."""
    return str(UUID(bytes=blake2b(f"{seed}:{which}:{key}".encode(), digest_size=16).digest(), version=4))


def _life(member: Member, seed: int, starts: datetime, ends_at: datetime, *, two_browsers: bool) -> list[Call]:
    """Return everything that somebody did: the visits before, the sign-up, the uses since."""
    rng = luck(seed, "life", member.key)
    page = _Page(f"{seed}-{member.key}", browser(seed, member.key), starts, ends_at)
    first = member.joined - timedelta(days=rng.uniform(1, 25))
    if rng.random() < 0.55:  # the campaign brings them, and later they come back by themselves
        page.visit(first, member.way)
        if rng.random() < 0.3:
            page.visit(first + (member.joined - first) * rng.random(), rng.choice((DIRECT, FOUND, PLAYBOOK)))
    page.visit(member.joined - timedelta(minutes=rng.uniform(1, 8)), member.way)
    page.sign_up(member.joined, member)
    _uses(page, member, rng, ends_at)
    house = member.house
    for turn in (house.signed, house.left) if house is not None else ():
        if turn is not None and member.joined < turn:
            page.identify(turn, member)  # the plan has changed
    if not two_browsers:
        return page.calls
    phone = _Page(f"{seed}-{member.key}-phone", browser(seed, member.key, "phone"), starts, ends_at)
    phone.visit(first + timedelta(hours=5), way_for(rng, "Nobody"))
    phone.identify(member.joined + timedelta(days=2), member)
    phone.use(member.joined + timedelta(days=2, minutes=3), member, "Dashboard Viewed", rng)
    return page.calls + phone.calls


def _uses(page: _Page, member: Member, rng: random.Random, ends_at: datetime) -> None:
    week = member.joined
    while week < ends_at:
        level = member.level(week, ends_at)
        for _ in range(int(level) + (rng.random() < level % 1)):
            at = _working_hours(week + _WEEK * rng.random(), rng)
            # On the first day the sign-up comes first.
            _session(page, member, rng, max(at, member.joined + timedelta(minutes=5)))
        week += _WEEK


def _session(page: _Page, member: Member, rng: random.Random, at: datetime) -> None:
    page.use(at, member, LOGGED_IN, rng)
    for _ in range(rng.choices((1, 2, 3, 4), (30, 36, 24, 10))[0]):
        at += timedelta(seconds=rng.randint(15, 400))
        page.use(at, member, _action(rng, member, at), rng)


def _passer_by(key: str, seed: int, starts: datetime, ends_at: datetime) -> list[Call]:
    """Return the visits of somebody who never says who it is."""
    rng = luck(seed, key)
    page = _Page(f"{seed}-{key}", browser(seed, key), starts, ends_at)
    at = _working_hours(starts + (ends_at - starts) * rng.random(), rng)
    page.visit(at, way_for(rng, "Nobody"))
    if rng.random() < 0.3:
        page.visit(at + timedelta(seconds=rng.randint(20, 300)), DIRECT)
    if rng.random() < 0.15:
        page.visit(at + timedelta(days=rng.uniform(1, 20)), rng.choice((DIRECT, FOUND)))
    return page.calls


def _action(rng: random.Random, member: Member, at: datetime) -> str:
    weights: Sequence[int] = _IN_TRIAL if member.plan(at) == "trial" else _OF_CUSTOMERS
    return rng.choices(ACTIONS, weights)[0]


def _properties(event: str, rng: random.Random) -> Call:
    if event == "Run Query":
        return {"rows": int(10 ** rng.uniform(0, 5)), "seconds": round(rng.uniform(0.05, 9), 2)}
    if event == "Dashboard Viewed":
        return {"dashboard": rng.choice(("Revenue", "Retention", "Funnel", "Personas"))}
    if event == "Report Exported":
        return {"format": rng.choice(("csv", "pdf", "xlsx"))}
    if event == "Invite Sent":
        return {"role": rng.choice(("viewer", "editor"))}
    return {}


def _working_hours(at: datetime, rng: random.Random) -> datetime:
    return at.replace(hour=rng.randint(7, 18), minute=rng.randint(0, 59), second=rng.randint(0, 59), microsecond=0)


def users_of(calls: Iterable[Call]) -> int:
    """Count the users in calls."""
    return len({call["userId"] for call in calls if "userId" in call})
