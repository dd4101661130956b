"""Story 4, a growth engine on the warehouse: each test is one of the acceptance criteria.

What is expected is worked out by hand, or by a few lines of Python beside it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations
from random import Random
from statistics import median
from typing import Any

import pytest
from batches import BODIES, FIRST, Stream, product_event, record
from defined import World, only, person

from consumers.apply import Flattener
from consumers.members import Defined, arm_of, phases
from consumers.rules import Rules
from integration.core.columns import Column, ColumnType
from integration.store.answers import ask
from integration.store.definitions.conditions import Ref
from integration.store.definitions.funnels import funnel_select
from integration.store.protocol import Store
from schemas.definitions import Audience, Funnel

pytestmark = pytest.mark.slow_on("clickhouse", "postgres")

TEXT, FLAG = ColumnType.TEXT, ColumnType.BOOLEAN
DEALS = [Column("id", TEXT), Column("accountid", TEXT), Column("isclosed", FLAG), Column("is_deleted", FLAG)]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
ALLOTMENT = "CASE sfdc_account_plan WHEN 'free' THEN 2 WHEN 'team' THEN 4 END"
OVERAGE = f"sfdc_account_plan IN ('free', 'team') AND used.times > {ALLOTMENT}"
IN_SALES = "account_id IN (SELECT accountid FROM salesforce.opportunity WHERE NOT isclosed AND NOT is_deleted)"
USED = {"used": {"event": "Query Run", "days": 30}}


def at(days: float = 0, seconds: float = 0) -> str:
    """Return so long after the first of March."""
    return f"{BEGIN + timedelta(days=days, seconds=seconds):%Y-%m-%dT%H:%M:%S.%fZ}"


# --- audiences in audiences -----------------------------------------------------------------------------------------


class Workspaces:
    """Workspaces of a product with their use, deals and exclusions, and who must be in which audience."""

    def __init__(self, world: World, seed: int = 0) -> None:
        self.world = world
        self._luck = Random(seed)
        self.plans: dict[str, str] = {}
        self.uses: Counter[str] = Counter()
        self.deals: dict[str, str] = {}
        self.left_out: dict[str, set[str]] = {"a1": set(), "a2": set(), "a3": set()}
        self.self_serve = {"free", "team"}
        with world.store.transaction() as tx:
            tx.ensure_columns("salesforce.opportunity", DEALS)
        world.define("audience", "in_sales", of="account", where=IN_SALES)
        world.define("audience", "a1", of="account", events=USED, where=OVERAGE, exclude="lists/a1.csv")
        world.define("audience", "a2", of="account", within="a1", exclude=["in_sales", "lists/a2.csv"])
        high = "used.times >= 8"
        world.define("audience", "a3", of="account", within="a2", events=USED, where=high, exclude=["lists/a3.csv"])
        self._keep_lists()

    def workspace(self, name: str, plan: str, uses: int = 0) -> None:
        """Add a workspace, or put it on another plan."""
        self.plans[name] = plan
        self.world.accounts({"id": name, "name": name, "plan__c": plan})
        self.world.people(person(f"user-of-{name}", account_id=name))
        self.use(name, uses)

    def use(self, name: str, times: int) -> None:
        """Have somebody there use the product: an event that knows its person, and no account."""
        self.uses[name] += times
        self.world.happened(*((f"user-of-{name}", "Query Run", at(-1)) for _ in range(times)))

    def deal(self, name: str, state: str) -> None:
        """Have the workspace's deal be `open`, `closed` or `deleted`."""
        self.deals[name] = state
        row = {"id": f"deal-{name}", "accountid": name, "isclosed": state == "closed", "is_deleted": state == "deleted"}
        with self.world.store.transaction() as tx:
            tx.upsert("salesforce.opportunity", ("id",), DEALS, [row])

    def leave_out(self, audience: str, name: str) -> None:
        """Put a workspace on the list of an audience, or take it off."""
        self.left_out[audience] ^= {name}
        self._keep_lists()

    def _keep_lists(self) -> None:
        for audience, names in self.left_out.items():
            self.world.lists[f"{audience}.csv"] = [("account_id", name) for name in sorted(names)]

    def change(self) -> None:
        """Have anything happen."""
        name = f"w{self._luck.randint(0, 9)}"
        match self._luck.randint(0, 4):
            case 0:
                self.workspace(name, self._luck.choice(["free", "team", "enterprise"]))
            case 1 | 2:
                self.use(name, self._luck.randint(1, 5))
            case 3:
                self.deal(name, self._luck.choice(["open", "closed", "deleted"]))
            case _:
                self.leave_out(self._luck.choice(["a1", "a2", "a3"]), name)

    def expected(self) -> tuple[set[str], set[str], set[str]]:
        """Return who must be in A1, A2 and A3."""
        over = {n for n, plan in self.plans.items() if plan in self.self_serve and self.uses[n] > self._allotted(plan)}
        a1 = over - self.left_out["a1"]
        a2 = a1 - {n for n, state in self.deals.items() if state == "open"} - self.left_out["a2"]
        return a1, a2, {n for n in a2 if self.uses[n] >= 8} - self.left_out["a3"]

    @staticmethod
    def _allotted(plan: str) -> int:
        return {"free": 2, "team": 4}.get(plan, 0)

    def found(self) -> tuple[set[str], set[str], set[str]]:
        """Return who is in A1, A2 and A3."""
        a1, a2, a3 = ({*self.world.members("audience", name)} for name in ("a1", "a2", "a3"))
        return a1, a2, a3


def test_s4_02_overage_are_the_self_serve_workspaces_that_exceed_their_allotment(world: World) -> None:
    workspaces = Workspaces(world)
    for name, plan, uses in (
        ("free-2", "free", 2), ("free-3", "free", 3), ("team-4", "team", 4), ("team-5", "team", 5),
        ("big", "enterprise", 99), ("idle", "free", 0),
    ):  # fmt: skip
        workspaces.workspace(name, plan, uses)
    world.happened(*(("user-of-idle", "Query Run", at(-30)) for _ in range(3)))  # 30 days ago: no longer of the period
    world.happened(*(("user-of-idle", "Page Viewed", at(-1)) for _ in range(9)))
    world.run(at())
    assert workspaces.found()[0] == {"free-3", "team-5"}
    reasons = only(world.ask("SELECT reasons FROM audience_members WHERE audience = 'a1' AND member_id = 'team-5'"))
    assert reasons["reasons"] == {"sfdc_account_plan": "team", "used.times": 5}


def test_s4_03_who_is_in_sales_or_on_a_sheet_is_left_out_from_that_level_on(world: World) -> None:
    workspaces = Workspaces(world)
    for name in ("plain", "in-sales", "sold", "off-a1", "off-a2", "off-a3"):
        workspaces.workspace(name, "free", 9)
    workspaces.deal("in-sales", "open")
    workspaces.deal("sold", "closed")
    for audience in ("a1", "a2", "a3"):
        workspaces.leave_out(audience, f"off-{audience}")
    world.run(at())
    assert workspaces.found() == (
        {"plain", "in-sales", "sold", "off-a2", "off-a3"},
        {"plain", "sold", "off-a3"},
        {"plain", "sold"},
    )
    workspaces.deal("sold", "open")
    world.run(at(1))
    assert [only(world.stays("audience", name, "sold"))["ended_because"] for name in ("a2", "a3")] == [
        "in in_sales",
        "not in a2",
    ]


def test_s4_03_a_sheet_of_people_names_them_by_whatever_it_knows_of_them(world: World) -> None:
    world.people(
        person("ann"), person("bo"), person("cy", account_id="acme"), person("dee", email="dee@corp.example.org"),
        person("eve"), person("fay"), person("nobody", email=None),
    )  # fmt: skip
    with world.store.transaction() as tx:
        tx.append(
            "identities",
            [Column("alias", TEXT), Column("user_id", TEXT)],
            [{"alias": "u-7", "user_id": "eve"}, {"alias": "fay", "user_id": "fay"}],
        )
    world.lists["sheet.csv"] = [
        ("email", "ann@example.com"), ("user_id", "bo"), ("account_id", "acme"), ("domain", "corp.example.org"),
        ("alias", "u-7"), ("email", "stranger@example.com"),
    ]  # fmt: skip
    world.define("audience", "all", exclude=["lists/sheet.csv"])
    world.run(at())
    assert world.members("audience", "all").keys() == {"fay", "nobody"}


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))])
def test_s4_04_a3_is_in_a2_and_a2_in_a1_whatever_happens(world: World, seed: int) -> None:
    workspaces = Workspaces(world, seed)
    for number in range(10):
        workspaces.workspace(f"w{number}", ["free", "team", "enterprise"][number % 3], number)
    for day in range(4):
        for _ in range(9):
            workspaces.change()
        world.run(at(day / 24))
        a1, a2, a3 = workspaces.found()
        assert (a1, a2, a3) == workspaces.expected()
        assert a3 <= a2 <= a1
    # At no time in between has anybody been in one of them and not in the one around it.
    outside = """
    SELECT i.name, i.member_id FROM members AS i
    LEFT JOIN members AS o ON o.member_id = i.member_id AND o.since <= i.since AND o.kind = 'audience'
        AND o.name = CASE i.name WHEN 'a2' THEN 'a1' ELSE 'a2' END
        AND coalesce(o.until, CAST('2100-01-01T00:00:00Z' AS TIMESTAMPTZ))
            >= coalesce(i.until, CAST('2100-01-01T00:00:00Z' AS TIMESTAMPTZ))
    WHERE i.name IN ('a2', 'a3') AND o.member_id IS NULL
    """
    assert world.ask(outside) == []


def test_s4_04_a_change_of_a1_reaches_the_audiences_in_it_by_itself(world: World) -> None:
    workspaces = Workspaces(world)
    for name, plan in (("one", "free"), ("two", "team"), ("big", "enterprise")):
        workspaces.workspace(name, plan, 9)
    world.run(at())
    assert workspaces.found() == ({"one", "two"},) * 3
    world.define("audience", "a1", of="account", events=USED, where="sfdc_account_plan <> 'free' AND used.times > 4")
    world.run(at(1))
    assert workspaces.found() == ({"two", "big"},) * 3


# --- events, and what follows from them -----------------------------------------------------------------------------


def test_s4_06_every_key_event_has_its_times_and_the_days_since_and_drives_the_next_step(world: World) -> None:
    world.people(person("ann"), person("bo"))
    step = "trial.days_since >= 7 AND trial.days_since_first >= 14 AND trial.times > 1"
    looked_at = "trial.first_at IS NOT NULL AND trial.last_at IS NOT NULL"
    world.define("audience", "next", events={"trial": {"event": "Trial Used"}}, where=f"{step} AND {looked_at}")
    world.happened(("ann", "Trial Used", at(0, 5)), ("ann", "Trial Used", at(7)), ("bo", "Trial Used", at(0)))
    world.run(at(14, 4.999999))
    assert world.members("audience", "next") == {}
    world.run(at(14, 5))
    reasons = only(world.stays("audience", "next", "ann"))["reasons"]
    times = {name: reasons.pop(name)[:19].replace(" ", "T") for name in ("trial.first_at", "trial.last_at")}
    assert times == {"trial.first_at": "2026-03-01T00:00:05", "trial.last_at": "2026-03-08T00:00:00"}
    assert reasons == {"trial.days_since": 7, "trial.days_since_first": 14, "trial.times": 2}
    assert world.members("audience", "next").keys() == {"ann"}


SEQUENCE: Mapping[str, Any] = {
    "started": {"event": "Sequence Started"},
    "sent": {"event": "Marketing Email Sent", "after": "started"},
    "ended": {"event": "Sequence Ended", "after": "started"},
    "answered": {
        "event": ["Email Replied", "Demo Booked"],
        "after": "sent.first_at",
        "where": "user_id IN (SELECT user_id FROM users WHERE sfdc_contact_title = 'Admin')",
    },
}
DUE = "answered.times = 0 AND (sent.days_since_first >= 3 OR ended.times > 0)"


FIRST_MAIL = 60
"""Seconds into the first day at which marketing writes first, having begun at its very beginning."""
NEVER = 999.0
Told = tuple[str, str, float, float]
"""Who (admin, other admin, intern), what, and when: days and seconds."""
SEQUENCES: Mapping[str, tuple[list[Told], tuple[float, float], float]] = {
    # What happens beside the beginning; from when on sales are to write (days, seconds), and until which day.
    "nothing": ([], (3, FIRST_MAIL), NEVER),
    "other mails": ([("other", "Marketing Email Sent", 2, 0)], (3, FIRST_MAIL), NEVER),
    "over early": ([("admin", "Sequence Ended", 1, 7)], (1, 7), NEVER),
    "answered": ([("other", "Email Replied", 2, 0), ("admin", "Sequence Ended", 2, 1)], (NEVER, 0), NEVER),
    "booked": ([("admin", "Demo Booked", 2, 0), ("admin", "Sequence Ended", 2, 1)], (NEVER, 0), NEVER),
    "answered last": ([("admin", "Email Replied", 3, FIRST_MAIL - 1)], (NEVER, 0), NEVER),
    "answered later": ([("admin", "Email Replied", 4, 0)], (3, FIRST_MAIL), 4),
    "answered before": (
        [("admin", "Email Replied", -1, 0), ("admin", "Email Replied", 0, FIRST_MAIL - 1)], (3, FIRST_MAIL), NEVER,
    ),
    "answered by others": (
        [("intern", "Email Replied", 1, 0), ("stranger", "Email Replied", 1, 0)], (3, FIRST_MAIL), NEVER,
    ),
    "a second one": (
        [
            ("admin", "Email Replied", 1, 0), ("admin", "Sequence Ended", 2, 0), ("admin", "Sequence Started", 20, 0),
            ("admin", "Marketing Email Sent", 22, 0),
        ],
        (25, 0), NEVER,
    ),
}  # fmt: skip
RUNS = (
    (0, 0), (1, 6.999999), (1, 7), (3, FIRST_MAIL - 0.000001), (3, FIRST_MAIL), (4, 0), (21, 0), (24, 86399.999999),
    (25, 0),
)  # fmt: skip


def test_s4_07_sales_write_after_three_days_or_when_the_sequence_ends_unanswered(world: World) -> None:
    titles = {"admin": "Admin", "other": "Admin", "intern": "Intern"}
    world.accounts(*({"id": name, "name": name} for name in SEQUENCES))
    world.people(
        *(
            person(f"{who} {name}", account_id=name, sfdc_contact_title=title)
            for name in SEQUENCES
            for who, title in titles.items()
        )
    )
    begun: list[Told] = [("admin", "Sequence Started", 0, 0), ("admin", "Marketing Email Sent", 0, FIRST_MAIL)]
    world.happened(
        *(
            (f"{who} {name}", event, at(day, second))
            for name, (told, _, _) in SEQUENCES.items()
            for who, event, day, second in (*begun, *told)
        )
    )
    world.define("audience", "sdr", of="account", events=SEQUENCE, where=DUE)
    world.define("audience", "in_app", where="audience.sdr AND sfdc_contact_title = 'Admin'")
    for moment in RUNS:
        assert world.run(at(*moment)).problems == {}
        due = {name for name, (_, begin, end) in SEQUENCES.items() if begin <= moment < (end, 0)}
        assert world.members("audience", "sdr").keys() == due, moment
        admins = {f"{who} {name}" for name in due for who in ("admin", "other")}
        assert world.members("audience", "in_app").keys() == admins
    assert only(world.stays("audience", "sdr", "answered later"))["ended_because"] == "does not fit"


def test_s4_08_columns_of_our_own_live_here_and_not_in_salesforce(world: World) -> None:
    world.accounts({"id": "acme", "name": "Acme", "plan__c": "free"})
    world.define(
        "journey", "lifecycle", of="account", events={"won": {"event": "Paid"}},
        stages=[{"name": "customer", "where": "won.times > 0"}, {"name": "prospect"}],
    )  # fmt: skip
    before = world.ask("SELECT * FROM salesforce.account")
    world.happened(("ann", "Paid", at(-1)), account_id="acme")
    world.run(at())
    joined = """
    SELECT a.account_id, j.stage FROM accounts AS a
    JOIN journey_stages AS j ON j.member_id = a.account_id AND j.journey = 'lifecycle' AND j.until IS NULL
    """
    assert [tuple(row.values()) for row in world.ask(joined)] == [("acme", "customer")]
    assert world.ask("SELECT * FROM salesforce.account") == before
    world.accounts({"id": "acme", "name": "Acme Inc", "plan__c": "team"})  # Salesforce tells of it anew
    world.run(at(1))
    assert [tuple(row.values()) for row in world.ask(joined)] == [("acme", "customer")]


def test_s4_09_two_journeys_are_walked_independently_in_any_direction_and_across_objects(world: World) -> None:
    world.accounts({"id": "acme", "name": "Acme", "plan__c": "free"})
    world.people(person("ann", account_id="acme", usage_percent=10))
    world.define(
        "journey", "sales", of="account", events={"met": {"event": "Meeting Held", "days": 10}},
        stages=[
            {"name": "customer", "where": "sfdc_account_plan = 'team'"}, {"name": "engaged", "where": "met.times > 0"},
            {"name": "cold"},
        ],
    )  # fmt: skip
    world.define(
        "journey", "product",
        stages=[
            {"name": "champion", "where": "usage_percent > 80 AND journey.sales = 'customer'"},
            {"name": "active", "where": "usage_percent > 50"}, {"name": "new"},
        ],
    )  # fmt: skip

    def stages(day: int) -> tuple[str, str]:
        world.run(at(day))
        return world.members("journey", "sales")["acme"], world.members("journey", "product")["ann"]

    assert stages(0) == ("cold", "new")
    world.happened(("ann", "Meeting Held", at(1)), account_id="acme")
    assert stages(1) == ("engaged", "new")  # one moves, the other does not
    world.people(person("ann", account_id="acme", usage_percent=90))
    assert stages(2) == ("engaged", "active")
    world.accounts({"id": "acme", "name": "Acme", "plan__c": "team"})
    assert stages(3) == ("customer", "champion")  # what happens to the account moves its people
    world.accounts({"id": "acme", "name": "Acme", "plan__c": "free"})
    assert stages(12) == ("cold", "active")  # back over two stages
    told = world.ask("SELECT journey, stage, stage_before, since FROM journey_stages ORDER BY journey, since")
    assert [(row["journey"], row["stage"], row["stage_before"], row["since"][:10]) for row in told] == [
        ("product", "new", None, "2026-03-01"), ("product", "active", "new", "2026-03-03"),
        ("product", "champion", "active", "2026-03-04"), ("product", "active", "champion", "2026-03-13"),
        ("sales", "cold", None, "2026-03-01"), ("sales", "engaged", "cold", "2026-03-02"),
        ("sales", "customer", "engaged", "2026-03-04"), ("sales", "cold", "customer", "2026-03-13"),
    ]  # fmt: skip


LOCKOUT: Mapping[str, Any] = {
    "lifted": {"event": ["Plan Upgraded", "Lockout Lifted"]},
    "enrolled": {"event": ["Overage Found", "Card Declined"], "undone_by": "lifted"},
    "extended": {"event": "Extension Requested", "after": "enrolled.first_at", "days": 7},
}


def test_s4_10_any_event_enrols_and_unenrols_and_a_request_for_more_time_pauses(world: World) -> None:
    world.people(person("ann"), person("bo"))
    world.define("audience", "lockout", events=LOCKOUT, where="enrolled.times > 0 AND extended.times = 0")

    def locked(day: float, seconds: float = 0) -> set[str]:
        assert world.run(at(day, seconds)).problems == {}
        return {*world.members("audience", "lockout")}

    world.happened(("ann", "Extension Requested", at(-1)), ("bo", "Lockout Lifted", at(-1)))
    assert locked(0) == set()
    world.happened(("ann", "Overage Found", at(0)), ("bo", "Card Declined", at(0)))
    assert locked(0) == {"ann", "bo"}  # what was asked for before does not count, nor what was lifted before
    world.happened(("ann", "Extension Requested", at(1)))
    assert locked(1) == {"bo"}
    assert locked(7, 86399.999999) == {"bo"}
    assert locked(8) == {"ann", "bo"}  # 7 days later it is back
    world.happened(("ann", "Plan Upgraded", at(9)), ("bo", "Lockout Lifted", at(9)))
    assert locked(9) == set()
    world.happened(("bo", "Overage Found", at(10)), ("ann", "Overage Found", at(9)))  # not later: that is lifted
    assert locked(10) == {"bo"}
    assert len(world.stays("audience", "lockout", "bo")) == 2


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_s4_11_in_whatever_order_things_arrive_it_ends_the_same(world: World, seed: int) -> None:
    fed = [
        lambda: world.accounts({"id": "acme", "name": "Acme", "plan__c": "team"}),
        lambda: world.people(person("ann", account_id="acme", usage_percent=90), person("bo", account_id="acme")),
        lambda: world.happened(("ann", "Query Run", at(-2)), ("ann", "Query Run", at(-1)), ("bo", "Paid", at(-3))),
        lambda: world.define("audience", "a1", of="account", events=USED, where="used.times > 1"),
        lambda: world.define("audience", "a2", of="account", within="a1", where="sfdc_account_plan = 'team'"),
        lambda: world.define(
            "journey", "status", events={"paid": {"event": "Paid"}},
            stages=[{"name": "paying", "where": "paid.times > 0"}, {"name": "hot", "where": "audience.a2"}, {"name": "cold"}],
        ),
        lambda: world.define("persona", "user", signals=[{"name": "hot", "where": "journey.status = 'hot'"}]),
    ]  # fmt: skip
    orders = [*permutations(range(len(fed)))]
    ends = set()
    for order in (orders[-seed], *Random(seed).sample(orders, 1 + seed)):
        empty(world)
        for place in order:
            fed[place]()
            world.run(at())
        open_stays = (
            "SELECT kind, name, member_id, value, score FROM members WHERE until IS NULL ORDER BY kind, name, member_id"
        )
        ends.add(str([tuple(str(v) for v in row.values()) for row in world.ask(open_stays)]))
        assert world.run(at(1)).problems == {}
    assert len(ends) == 1
    assert world.members("journey", "status") == {"ann": "hot", "bo": "paying"}
    assert [*world.members("audience", "a2"), *world.members("persona", "user")] == ["acme", "ann"]


def empty(world: World) -> None:
    """Begin anew."""
    world.definitions.clear()
    keys = {
        "users": "user_id",
        "salesforce.account": "id",
        "events": "event_id",
        "members": "member_id",
        "definitions": "name",
    }
    with world.store.transaction() as tx:
        for table, key in keys.items():
            tx.delete(table, key, [row[key] for row in tx.rows(f"SELECT DISTINCT {key} FROM {table}")])


# --- cohorts --------------------------------------------------------------------------------------------------------

MANY = [f"person-{number}" for number in range(40_000)]


def shares(*grown: Mapping[str, float]) -> dict[str | None, float]:
    """Return the share that each arm gets of many."""
    dealt = Counter(arm_of("rollout", grown, one) for one in MANY)
    return {arm: count / len(MANY) for arm, count in dealt.items()}


def is_about(found: Mapping[str | None, float], **expected: float) -> bool:
    """Tell whether shares are as expected, but for 5 standard deviations of chance."""
    everything: dict[str | None, float] = {**expected, None: 1 - sum(expected.values())}
    wide = {arm: 5 * (share * (1 - share) / len(MANY)) ** 0.5 + 1e-9 for arm, share in everything.items()}
    return all(abs(found.get(arm, 0) - share) <= wide[arm] for arm, share in everything.items())


def test_s4_12_arms_have_their_shares_and_grow_to_them() -> None:
    assert is_about(shares({"a": 0.5, "b": 0.5}), a=0.5, b=0.5)
    assert is_about(shares({"a": 0.1, "b": 0.2, "c": 0.3}), a=0.1, b=0.2, c=0.3)
    first, then, last = (
        {"control": 0.5, "treated": 0.1},
        {"control": 0.5, "treated": 0.3},
        {"control": 0.5, "treated": 0.5},
    )
    assert is_about(shares(first, then), control=0.5, treated=0.3)
    assert is_about(shares(first, then, last), control=0.5, treated=0.5)
    assert is_about(shares(first, {**first, "third": 0.4}), control=0.5, treated=0.1, third=0.4)
    for one in MANY[:5_000]:
        arms = [arm_of("rollout", grown, one) for grown in ((first,), (first, then), (first, then, last))]
        assert all(before in (None, after) for before, after in pairwise(arms))
    assert is_about(shares({"a": 0, "b": 1}), a=0, b=1)


def test_s4_12_two_cohorts_do_not_go_together() -> None:
    half = {"a": 0.5, "b": 0.5}
    pairs = Counter((arm_of("one", [half], who), arm_of("other", [half], who)) for who in MANY)
    assert all(abs(count / len(MANY) - 0.25) < 0.011 for count in pairs.values())
    assert len(pairs) == 4


def test_s4_12_shares_count_since_one_last_shrank() -> None:
    small, large, other = {"a": 0.1}, {"a": 0.4}, {"a": 0.2, "b": 0.2}
    assert phases([small, small, large]) == [small, large]
    assert phases([small, large, other]) == [other]
    assert phases([small, {"b": 0.5}]) == [{"b": 0.5}]
    assert phases([]) == []


def test_s4_12_who_has_an_arm_keeps_it_and_a_rollout_grows_in_phases(world: World) -> None:
    people = [f"p{number}" for number in range(400)]
    world.people(*(person(one) for one in people))
    first, last = {"on": 0.1}, {"on": 0.3, "off": 0.5}
    world.define("cohort", "rollout", arms=first)
    world.run(at(0))
    early = world.members("cohort", "rollout")
    assert early == {one: "on" for one in people if arm_of("rollout", [first], one)}
    assert 15 <= len(early) <= 65
    world.define("cohort", "rollout", arms=first, description="other words are no other shares")
    world.run(at(1))
    assert world.members("cohort", "rollout") == early
    world.define("cohort", "rollout", arms=last)
    world.run(at(2))
    later = world.members("cohort", "rollout")
    assert later == {one: arm for one in people if (arm := arm_of("rollout", [first, last], one))}
    assert early.items() <= later.items()
    world.define("cohort", "rollout", arms={"off": 1})  # all that come now, and nobody that was there
    world.people(person("late"))
    world.run(at(3))
    assert world.members("cohort", "rollout") == {**dict.fromkeys([*people, "late"], "off"), **later}
    by_arm = world.ask("SELECT arm, count(*) AS n FROM cohort_members GROUP BY arm")
    assert {row["arm"]: row["n"] for row in by_arm} == Counter([*later.values(), *["off"] * (401 - len(later))])


def test_s4_12_an_arm_is_kept_by_who_leaves_the_audience_of_the_cohort(world: World) -> None:
    world.people(person("ann", usage_percent=90), person("bo", usage_percent=10))
    world.define("audience", "heavy", where="usage_percent > 50")
    world.define("cohort", "test", within="heavy", arms={"a": 0.5, "b": 0.5})
    world.run(at(0))
    arms = world.members("cohort", "test")
    assert arms.keys() == {"ann"}
    world.people(person("ann", usage_percent=10))
    world.run(at(1))
    assert world.members("cohort", "test") == arms


# --- time series, versions, history ---------------------------------------------------------------------------------


def test_s4_13_membership_is_known_as_of_any_time_and_counted_whenever_it_changed(world: World) -> None:
    luck, seen = Random(3), dict[str, dict[str, set[str]]]()
    world.define("audience", "heavy", where="usage_percent > 50")
    world.define(
        "journey", "use", stages=[{"name": "heavy", "where": "audience.heavy"}, {"name": "light"}], within=None
    )
    for day in range(5):
        world.people(
            *(person(f"p{n}", usage_percent=luck.randint(1, 100), is_deleted=luck.random() < 0.1) for n in range(6))
        )
        world.run(at(day))
        heavy, stages = world.members("audience", "heavy"), world.members("journey", "use")
        seen[at(day)] = {"heavy": {*heavy}, "use": {*stages}}
        assert {one for one, stage in stages.items() if stage == "heavy"} == {*heavy}
    sizes = world.ask('SELECT name, "time", size, came, went FROM member_counts ORDER BY "time"')
    for day in range(5):
        for moment in (at(day), at(day, 3600)):
            then = f"CAST('{moment}' AS TIMESTAMPTZ)"
            rows = world.ask(
                f"SELECT name, member_id FROM members WHERE since <= {then} AND (until IS NULL OR until > {then})"
            )
            for name, expected in seen[at(day)].items():
                assert {row["member_id"] for row in rows if row["name"] == name} == expected
        for name, expected in seen[at(day)].items():
            told = [row for row in sizes if row["name"] == name and row["time"] <= at(day).replace(".000000", "")]
            assert (told[-1]["size"] if told else 0) == len(expected)
            assert sum(row["came"] - row["went"] for row in told) == len(expected)


def test_s4_16_every_version_of_a_definition_is_kept_and_all_readers_have_the_same(world: World) -> None:
    world.people(person("ann", usage_percent=60), person("bo", usage_percent=90))
    world.define("audience", "heavy", where="usage_percent > 50")
    world.define("journey", "use", stages=[{"name": "heavy", "where": "audience.heavy"}])
    world.define("cohort", "test", within="heavy", arms={"a": 1})
    world.run(at(0))
    world.run(at(1))
    world.define("audience", "heavy", where="usage_percent > 80")
    world.run(at(2))
    versions = world.ask(
        "SELECT version, since, until, body, size, problem FROM definitions WHERE name = 'heavy' ORDER BY since"
    )
    assert [(row["since"][:10], (row["until"] or "")[:10]) for row in versions] == [
        ("2026-03-01", "2026-03-03"), ("2026-03-03", ""),
    ]  # fmt: skip
    assert ["> 50" in str(versions[0]["body"]), "> 80" in str(versions[1]["body"])] == [True, True]
    assert [(row["size"], row["problem"]) for row in versions] == [(2, None), (1, None)]
    used = world.ask("SELECT DISTINCT version FROM members WHERE name = 'heavy' AND until IS NOT NULL")
    assert [row["version"] for row in used] == [versions[0]["version"]]
    readers = (world.members("audience", "heavy").keys(), world.members("journey", "use").keys())
    assert readers == ({"bo"}, {"bo"})
    found = world.ask(
        "SELECT kind, name FROM definitions WHERE until IS NULL AND body::VARCHAR LIKE '%heavy%' ORDER BY kind"
    )
    assert [row["kind"] for row in found] == ["audience", "cohort", "journey"]


def test_s4_18_a_definition_joins_engagement_with_the_history_of_accounts(store: Store) -> None:
    tried = """
    account_id IN (
        SELECT u.account_id FROM events AS e
        JOIN users AS u ON u.user_id = e.user_id
        JOIN record_values AS v ON v.record_id = u.account_id AND v.property = 'sfdc_account_account_type'
        WHERE e.name = 'Query Run' AND v.value = 'Trial' AND e.time <= now()
            AND v.since <= e.time AND (v.until IS NULL OR e.time < v.until)
        GROUP BY u.account_id HAVING count(*) >= 2
    ) AND sfdc_account_account_type = 'Customer'
    """
    converted = "account_id IN (SELECT record_id FROM changes WHERE field = 'Type' AND old_value = 'Trial' AND new_value = 'Customer')"
    defined = Defined(
        {
            Ref("audience", "tried"): Audience(title="Used it twice while trying it", of="account", where=tried),
            Ref("audience", "converted"): Audience(title="Have bought", of="account", where=converted),
        }
    )
    worker = Flattener(
        store, Rules({}, {}, definitions=lambda: defined), now=lambda: "2026-03-01T00:00:00Z", fetch_schema=BODIES.get
    )
    stream, first = Stream(), "01-20T10:00:00"
    told = []
    for number in (1, 2, 3):
        told.append(stream.entry(FIRST, "Account", number, first, Name=f"A{number}", Type="Trial"))
        told.append(stream.entry(FIRST, "Contact", number, first, AccountId=record("Account", number), Name="C"))
    for number, kind in ((1, "Customer"), (2, "Customer"), (3, "Churned")):
        told.append(stream.entry(FIRST, "Account", number, "02-10T12:00:00", Name=f"A{number}", Type=kind))
    ran = {1: ("02-01T00:00:00", "02-10T11:59:59"), 2: ("02-01T00:00:00", "02-10T12:00:00"), 3: ("02-01T00:00:00",) * 2}
    moments = [(number, moment) for number, each in ran.items() for moment in each]
    told += [
        product_event(place, moment, name="Query Run", user_id=record("Contact", number))
        for place, (number, moment) in enumerate(moments, start=1)
    ]
    worker.apply(told)
    done = worker.work_out_definitions()
    assert done is not None
    assert done.problems == {}
    rows = ask(store, "SELECT name, member_id FROM members ORDER BY name, member_id")
    assert [(row["name"], row["member_id"]) for row in rows] == [
        ("converted", record("Account", 1)), ("converted", record("Account", 2)), ("tried", record("Account", 1)),
    ]  # fmt: skip


# --- funnels --------------------------------------------------------------------------------------------------------

Events = list[tuple[datetime, str]]


def ways(events: Events, names: list[str], days: int | None) -> Iterator[list[datetime]]:
    """Give every way through the steps, as far as it leads: by brute force."""

    def on(way: list[datetime], used: list[int]) -> Iterator[list[datetime]]:
        yield way
        if len(way) == len(names):
            return
        for place, (moment, name) in enumerate(events):
            late = bool(way) and days is not None and moment - way[0] > timedelta(days=days)
            wanted = names[: len(way) + 1]
            again = len({*wanted[:-1]} & {name, "*"}) > 0
            early = bool(way) and (moment <= way[-1] if again else moment < way[-1])
            if wanted[-1] in (name, "*") and not late and not early and place not in used:
                yield from on([*way, moment], [*used, place])

    yield from on([], [])


def best(events: Events, names: list[str], days: int | None) -> list[datetime]:
    """Return the way that counts: the farthest; of these the first there; of these the one begun last, then each step
    as soon as it comes."""
    found = [way for way in ways(events, names, days) if way]
    if not found:
        return []
    farthest = max(map(len, found))
    through = [way for way in found if len(way) == farthest]
    end = min(way[-1] for way in through)
    start = max(way[0] for way in through if way[-1] == end)
    return min(way for way in through if way[0] == start and way[-1] == end)


def expected(told: Mapping[str, Events], names: list[str], days: int | None) -> list[tuple[Any, ...]]:
    """Return (reached, median seconds) of each step."""
    walked = [best(events, names, days) for events in told.values()]
    rows: list[tuple[Any, ...]] = []
    for step in range(len(names)):
        reached = [way for way in walked if len(way) > step]
        seconds = [(way[step] - way[step - 1]).total_seconds() for way in reached] if step else []
        rows.append((len(reached), median(seconds) if seconds else None))
    return rows


def asked(world: World, funnel: Funnel, now: str, **more: Any) -> list[tuple[Any, ...]]:
    """Return (reached, median seconds) of each step, as the store says."""
    rows = world.ask(funnel_select(funnel, more.pop("members_of", funnel.of), now, **more))
    assert [row["step"] for row in rows] == [*range(1, len(funnel.steps) + 1)]
    assert [row["name"] for row in rows] == [step.name for step in funnel.steps]
    reached = [row["reached"] for row in rows]
    for row, before in zip(rows, [None, *reached], strict=False):
        assert row["of_first"] == (round(row["reached"] / reached[0], 4) if reached[0] else None)
        assert row["of_previous"] == (round(row["reached"] / before, 4) if before else None)
    return [(row["reached"], row["median_seconds"]) for row in rows]


def steps(*names: str) -> list[dict[str, str]]:
    return [{"name": f"{number}. {name}", "event": name} for number, name in enumerate(names, start=1)]


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 5))])
def test_s4_19_a_funnel_counts_how_far_everybody_comes_and_how_long_it_takes(world: World, seed: int) -> None:
    luck, told = Random(seed), dict[str, Events]()
    for number in range(24):
        # Few moments, so that many things happen at the same one.
        events = [
            (BEGIN + timedelta(hours=12 * luck.randint(0, 40)), luck.choice("ABC")) for _ in range(luck.randint(0, 8))
        ]
        told[f"p{number}"] = sorted(events)
    world.people(*(person(one) for one in told))
    rows = [(one, name, f"{moment:%Y-%m-%dT%H:%M:%SZ}") for one, events in told.items() for moment, name in events]
    world.happened(*rows)
    for names in (["A", "B", "C"], ["A", "B", "A"], ["A", "A"], ["C"], ["B", "C", "A", "B"], ["*", "A"]):
        for days in (None, 1, 4):
            funnel = Funnel.model_validate({"title": "x", "steps": steps(*names), "days": days})
            assert asked(world, funnel, at(60)) == expected(told, names, days), (names, days)


def test_s4_19_the_activity_of_a_campaign_is_that_of_its_members_from_their_joining_on(world: World) -> None:
    world.accounts({"id": "acme", "name": "Acme"})
    world.people(*(person(one, usage_percent=90, account_id="acme") for one in ("ann", "bo", "cy", "dee")))
    world.people(person("out", usage_percent=1, account_id="acme"))
    world.define("audience", "campaign", where="usage_percent > 50")
    told = [(one, "Banner Seen", at(-1)) for one in ("ann", "bo", "cy", "out")]
    world.happened(*told)
    world.run(at(0))
    world.people(person("bo", usage_percent=1, account_id="acme"))  # who leaves has been in it all the same
    world.run(at(1))
    world.happened(*((one, "Banner Seen", at(2)) for one in ("ann", "bo", "out")), ("dee", "Upgraded", at(2)))
    world.happened(
        ("ann", "Upgraded", at(3)), ("bo", "Upgraded", at(6)), ("out", "Upgraded", at(3)), ("cy", "Upgraded", at(3))
    )
    way = {"title": "x", "within": "campaign", "steps": steps("Banner Seen", "Upgraded")}
    funnel = Funnel.model_validate(way)
    assert asked(world, funnel, at(9)) == [(2, None), (2, 2.5 * 86400)]
    assert asked(world, funnel, at(5)) == [(2, None), (1, 86400)]
    assert asked(world, funnel, at(-1)) == [(0, None), (0, None)]
    assert asked(world, funnel, at(9), since=at(2, 1)) == [(0, None), (0, None)]
    assert asked(world, Funnel.model_validate({**way, "days": 3}), at(9)) == [(2, None), (1, 86400)]
    before = Funnel.model_validate({**way, "from_joining": False})
    assert asked(world, before, at(9)) == [(3, None), (3, 4 * 86400)]
    everybody = Funnel.model_validate({**way, "within": None})
    assert asked(world, everybody, at(9)) == [(4, None), (4, 2.5 * 86400)]
    by_account = Funnel.model_validate({**way, "within": None, "of": "account"})
    assert asked(world, by_account, at(9)) == [(1, None), (1, 0)]


def test_s4_19_people_of_an_audience_of_accounts_are_counted_and_a_step_may_have_a_condition(world: World) -> None:
    world.accounts({"id": "acme", "name": "Acme", "plan__c": "free"}, {"id": "zen", "name": "Zen", "plan__c": "team"})
    world.people(person("ann", account_id="acme"), person("bo", account_id="acme"), person("cy", account_id="zen"))
    world.define("audience", "free", of="account", where="sfdc_account_plan = 'free'")
    world.run(at(0))
    for one, size in (("ann", 3), ("bo", 30), ("cy", 30)):
        world.happened((one, "Query Run", at(1)), properties=b'{"rows": %d}' % size)
    large = {"name": "large", "event": ["Query Run", "Job Run"], "where": "CAST(properties->>'$.rows' AS INTEGER) > 10"}
    funnel = Funnel.model_validate({"title": "x", "within": "free", "steps": [*steps("Query Run"), large]})
    assert asked(world, funnel, at(2), members_of="account") == [(2, None), (0, None)]  # one event is one step
    alone = Funnel.model_validate({"title": "x", "within": "free", "steps": [large]})
    assert asked(world, alone, at(2), members_of="account") == [(1, None)]


def test_s4_19_a_funnel_makes_nobody_a_member_and_its_versions_are_kept(world: World) -> None:
    world.people(person("ann"))
    world.define("funnel", "way", steps=steps("A", "B"))
    world.define("funnel", "lost", within="nowhere", steps=steps("A"))
    ran = world.run(at(0))
    assert ran.problems == {("funnel", "lost"): "There is no audience nowhere."}
    assert world.ask("SELECT * FROM members") == []
    rows = world.ask("SELECT name, size, problem FROM definitions ORDER BY name")
    assert [tuple(row.values()) for row in rows] == [
        ("lost", None, "There is no audience nowhere."),
        ("way", None, None),
    ]
