"""Who uses the product of the invented company: the people of its CRM, and how their accounts fare with it."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

from integration.sandbox import names
from integration.sandbox.clock import from_stamp
from integration.sandbox.org import Org
from integration.sandbox.product_ways import DIRECT, OF_THE_BIGGEST, Way, way_for

Row = Mapping[str, Any]

TRIAL: Final = timedelta(days=21)
FADING: Final = timedelta(days=75)
"""So long people use it less and less before their account leaves, and since it came into trouble."""
_MONTH: Final = timedelta(days=30)
_MUCH_RISK: Final = 45.0
_POOR_HEALTH: Final = 20.0

# Share of the people of an account (of leads, of purchased ones) who sign up.
_SIGN_UP: Final = {"Paying Customer": 0.88, "Churned Customer": 0.8, "Prospect": 0.65, "Partner": 0.4}
_LEADS_SIGN_UP: Final = 0.5
_BOUGHT_SIGN_UP: Final = 0.1
_SAID_SO: Final = "Web Sign-up"


@dataclass(slots=True)
class House:
    """An account as its use of the product shows it.

    signed, left  when it became a customer and when it left, as the CRM tells; None: it did not
    fades_from    since when a customer in trouble uses it less; None: it is not in trouble
    deals         whether a deal with a prospect is open: it is tried once more before somebody signs
    """

    account_id: str
    name: str
    plan: str
    worth: str
    way: Way
    signed: datetime | None = None
    left: datetime | None = None
    fades_from: datetime | None = None
    deals: bool = False

    @property
    def is_customer(self) -> bool:
        """Whether it pays today."""
        return self.signed is not None and self.left is None

    def level(self, at: datetime, since: datetime) -> float:
        """Return how often a week one of its people, who signed up at ``since``, comes at that time."""
        if self.left is not None and at >= self.left:
            return 0.0
        level = 0.9 if at < since + TRIAL else 0.1
        if self.signed is not None and at >= self.signed:
            months = (at - max(self.signed, since)) / _MONTH
            level = max(level if at < since + TRIAL else 0.0, min(1.6, 0.4 + 0.2 * months))
        for from_when in (self.fades_from, self.left - FADING if self.left is not None else None):
            if from_when is not None and at > from_when:
                level *= max(0.04, 1 - (at - from_when) / FADING)
        return level


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who signs up: of the CRM, or not known there at all.

    key      what their story is told from: the Id of their record; ``user_id`` is what the product calls them
    joined   when they sign up
    created  when the CRM first knew them, None: never
    eager    how much more than others they use it
    """

    key: str
    user_id: str
    email: str
    name: str
    company: str
    joined: datetime
    way: Way
    house: House | None = None
    created: datetime | None = None
    eager: float = 1.0

    def level(self, at: datetime, ends_at: datetime) -> float:
        """Return how often a week they come at that time."""
        if self.house is None:
            return (0.9 if at < self.joined + TRIAL else 0.05) * self.eager
        level = self.house.level(at, self.joined)
        if self.house.deals and self.house.left is None and at > ends_at - TRIAL:
            level = max(level, 0.35)
        return level * self.eager

    def plan(self, at: datetime) -> str:
        """Return what they are on at that time."""
        house = self.house
        if house is None or house.signed is None or at < house.signed:
            return "trial"
        return "free" if house.left is not None and at >= house.left else house.plan


def luck(seed: int, *parts: object) -> random.Random:
    """Return the chance that is one story's own: what happens to others does not move it."""
    return random.Random(f"{seed}:" + ":".join(map(str, parts)))


def user_id(key: str) -> str:
    """Return what the product calls somebody."""
    return f"lf_{blake2b(key.encode(), digest_size=6).hexdigest()}"


@dataclass(slots=True)
class Roster:
    """Everybody who ever signed up: ``members``, by e-mail in lower case the ``known`` people of the CRM."""

    houses: dict[str, House]
    members: list[Member] = field(default_factory=list)
    known: set[str] = field(default_factory=set)


def enrol(org: Org, seed: int, starts: datetime, ends_at: datetime) -> Roster:
    """Return who signs up between the two times, in the order of their Ids."""
    roster = Roster(_houses(org, seed, ends_at))
    first: dict[str, dict[str, Any]] = {}
    for record in (*org.records("Contact"), *org.records("Lead")):
        email = (record["Email"] or "").strip().lower()
        if email and (email not in first or record["CreatedDate"] < first[email]["CreatedDate"]):
            # Whom an account knows, and who was a lead before, is somebody of the account.
            account = record.get("AccountId") or first.get(email, {}).get("AccountId")
            first[email] = record | {"AccountId": account or record.get("ConvertedAccountId")}
    roster.known = set(first)
    for record in sorted(first.values(), key=lambda row: row["Id"]):
        member = member_of(record, roster.houses.get(record["AccountId"] or ""), seed, starts)
        if member is not None and member.joined < ends_at:
            roster.members.append(member)
    return roster


def member_of(record: Row, house: House | None, seed: int, starts: datetime) -> Member | None:
    """Return the member that a contact or lead is; None for those who never sign up."""
    rng = luck(seed, record["Id"])
    if rng.random() >= _share(record, house):
        return None
    created = from_stamp(record["CreatedDate"])
    if record["LeadSource"] == _SAID_SO:  # the sign-up made the record
        joined = created - timedelta(seconds=rng.randint(60, 1800))
    elif rng.random() < 0.3:
        joined = created - timedelta(hours=rng.uniform(2, 480))
    else:
        joined = created + timedelta(hours=rng.uniform(2, 1200))
    joined = max(joined, starts + timedelta(hours=rng.uniform(1, 48)))
    if house is not None and house.left is not None:
        joined = min(joined, house.left - timedelta(hours=rng.uniform(24, 900)))
        if joined < starts:
            return None
    email = str(record["Email"]).strip()
    return Member(
        key=record["Id"],
        user_id=user_id(record["Id"]),
        email=email.upper() if rng.random() < 0.04 else email,
        name=str(record["Name"]),
        company=house.name if house is not None else str(record.get("Company") or ""),
        joined=joined.replace(microsecond=0),
        way=_own_way(rng, house),
        house=house,
        created=created,
        eager=rng.uniform(0.5, 1.5),
    )


def _share(record: Row, house: House | None) -> float:
    if house is not None:
        return _SIGN_UP.get(house.worth, _SIGN_UP["Prospect"])
    return _BOUGHT_SIGN_UP if record["LeadSource"] == "Purchased List" else _LEADS_SIGN_UP


def _own_way(rng: random.Random, house: House | None) -> Way:
    if house is None:
        return way_for(rng, "Lead")
    # Most hear of it from colleagues.
    return house.way if rng.random() < 0.4 else replace(DIRECT, page=rng.choice(("/", "/sign-up", "/login")))


def _houses(org: Org, seed: int, ends_at: datetime) -> dict[str, House]:
    types = _changes_of_type(org.records("AccountHistory")) if "AccountHistory" in org.objects else {}
    won: dict[str, float] = {}
    open_deals = set()
    for deal in org.records("Opportunity"):
        if deal["IsWon"]:
            won[deal["AccountId"]] = won.get(deal["AccountId"], 0.0) + (deal["Amount"] or 0.0)
        elif not deal["IsClosed"]:
            open_deals.add(deal["AccountId"])
    ranked = sorted(won, key=lambda key: (-won[key], key))
    biggest = {key: OF_THE_BIGGEST[place % len(OF_THE_BIGGEST)] for place, key in enumerate(ranked[: len(ranked) // 3])}
    found = {}
    for account in org.records("Account"):
        key = account["Id"]
        way = biggest.get(key) or way_for(luck(seed, "house", key), account["Type"] or "Prospect")
        house = House(key, account["Name"], plan_of(account), account["Type"] or "Prospect", way)
        _date(house, account, types.get(key, {}), ends_at)
        house.deals = house.signed is None and key in open_deals
        found[key] = house
    return found


def _date(house: House, account: Row, changes: Mapping[str, datetime], ends_at: datetime) -> None:
    """Say when an account signed, left, and came into trouble."""
    if house.worth not in ("Paying Customer", "Churned Customer"):
        return
    house.signed = changes.get("Paying Customer", from_stamp(account["CreatedDate"]) + _MONTH)
    if house.worth == "Churned Customer":
        house.left = max(changes.get("Churned Customer", ends_at - _MONTH), house.signed)
    elif (account["Churn_Risk__c"] or 0.0) > _MUCH_RISK or (account["Health_Score__c"] or 100.0) < _POOR_HEALTH:
        house.fades_from = max(house.signed, ends_at - FADING)


def plan_of(account: Row) -> str:
    """Return the plan that a customer of this size is on."""
    return {"SMB": "starter", "Mid-Market": "team"}.get(account["Segment__c"] or "", "enterprise")


def _changes_of_type(history: Iterable[Row]) -> dict[str, dict[str, datetime]]:
    """Account -> type -> when it last became that."""
    found: dict[str, dict[str, datetime]] = {}
    for row in history:
        if row["Field"] == "Type":
            found.setdefault(row["AccountId"], {})[row["NewValue"]] = from_stamp(row["CreatedDate"])
    return found


def strangers(roster: Roster, seed: int, starts: datetime, ends_at: datetime) -> list[Member]:
    """Return people who sign up by themselves, and two colleagues who share a mailbox: the CRM knows none of them."""
    rng = luck(seed, "strangers")
    book = names.EmailBook(set(roster.known))
    found = []
    for number in range(max(2, len(roster.members) // 25)):
        someone = names.person(rng)
        key = f"stranger-{number}"
        email = book.new(someone.first, someone.last, "example.org")
        joined = starts + (ends_at - starts) * rng.random()
        found.append(Member(key, user_id(key), email, someone.name, "", joined, way_for(rng, "Nobody")))
    joined = ends_at - timedelta(days=rng.uniform(60, 300))
    for number in range(2):
        someone, key = names.person(rng), f"shared-{number}"
        joined += timedelta(days=number)
        # Nobody's own: what is told of it makes one person of the two.
        found.append(
            Member(key, user_id(key), "analytics-team@example.org", someone.name, "Studio Zwei", joined, DIRECT)
        )
    return found
