"""Story 2, the health of accounts: each test is one of the acceptance criteria, or an edge of it."""

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from defined import World, one_group, only, person
from pydantic import ValidationError

from schemas.definitions import KINDS

pytestmark = pytest.mark.slow_on("clickhouse")


def account(account_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": account_id, "name": account_id.title(), **fields}


def use(world: World, done: dict[str, int], name: str = "Query", at: str = "2026-02-20T00:00:00Z") -> None:
    """Have people do something so many times. As the product tells it: it names no account."""
    world.happened(*((user, name, at) for user, times in done.items() for _ in range(times)))


def contributions(world: World, account_id: str, health: str = "adoption") -> dict[str, Decimal]:
    where = f"health = '{health}' AND account_id = '{account_id}'"
    rows = world.ask(f"SELECT metric, contribution FROM health_contributions WHERE {where}")
    return {row["metric"]: row["contribution"] for row in rows}


def test_s2_11_what_people_do_is_rolled_up_to_the_same_total_as_that_of_their_account(world: World) -> None:
    world.accounts(*(account(name) for name in ("acme", "zen", "none")))
    people = {"ann": "acme", "bo": "acme", "cy": "acme", "di": "zen"}
    world.people(*(person(name, account_id=of) for name, of in people.items()), person("ed"))
    done = {"ann": 7, "bo": 2, "di": 4, "ed": 9}
    use(world, done)
    value = {"value": "queries.times", "low": 0, "high": 100}
    world.define(
        "health", "adoption", events={"queries": {"event": "Query"}},
        groups=[
            {"name": how, "metrics": [{"name": "n", **value, **({} if how == "direct" else {"rollup": how})}]}
            for how in ("direct", "sum", "avg", "max")
        ] + [{"name": "count", "metrics": [{"name": "n", "value": "queries.times > 0", "rollup": "count", "high": 100}]}],
    )  # fmt: skip
    world.run()

    def told(account_id: str) -> list[float]:
        # 100 of a metric's number are 20 points, for each is a fifth of the score.
        found = contributions(world, account_id)
        return [float(found[f"{how}.n"]) * 5 for how in ("direct", "sum", "avg", "max", "count")]

    assert told("acme") == [9, 9, 3, 7, 2]
    assert told("zen") == [4, 4, 4, 4, 1]
    assert told("none") == [0, 0, 0, 0, 0]


def test_s2_11_nobody_has_done_nothing_but_no_average_is_known_of_them(world: World) -> None:
    world.accounts(account("acme"), account("none"))
    world.people(person("ann", account_id="acme", usage_percent=None))
    few = {"low": 10, "high": 0}  # the fewer the better
    world.define(
        "health", "adoption", events={"tickets": {"event": "Ticket"}},
        groups=one_group(
            {"name": "direct", "value": "tickets.times", **few},
            {"name": "sum", "value": "tickets.times", "rollup": "sum", **few},
            {"name": "avg", "value": "tickets.times", "rollup": "avg", **few},
            {"name": "unknown", "value": "usage_percent", "rollup": "sum", **few},
        ),
    )  # fmt: skip
    world.run()
    full = Decimal(25)
    assert [*contributions(world, "none").values()].count(full) == 3
    assert contributions(world, "none")["adoption.avg"] == 0
    assert contributions(world, "acme") == dict.fromkeys(("adoption.direct", "adoption.sum", "adoption.avg"), full) | {
        "adoption.unknown": 0
    }


def test_s2_11_people_may_be_told_by_other_definitions(world: World) -> None:
    world.accounts(account("acme"), account("zen"))
    world.people(*(person(n, account_id=a) for n, a in (("ann", "acme"), ("bo", "acme"), ("cy", "zen"))))
    use(world, {"ann": 3, "bo": 1, "cy": 1})
    world.define("audience", "active", events={"q": {"event": "Query"}}, where="q.times > 2")
    world.define(
        "health", "adoption",
        groups=one_group({"name": "active", "value": "CASE WHEN audience.active THEN 1 ELSE 0 END", "rollup": "avg", "high": 1}),
    )  # fmt: skip
    assert world.run().problems == {}
    assert {k: float(v) for k, v in scores(world).items()} == {"acme": 50, "zen": 0}


def scores(world: World) -> dict[str, Decimal]:
    return {row["account_id"]: row["score"] for row in world.ask("SELECT account_id, score FROM account_health")}


def test_s2_12_metrics_have_thresholds_and_weights_and_groups_weigh_too(world: World) -> None:
    world.accounts(account("acme", arr__c=150), account("zen", arr__c=1000), account("poor", arr__c=0))
    world.people(*(person(f"of_{name}", account_id=name) for name in ("acme", "zen", "poor")))
    use(world, {"of_acme": 6, "of_zen": 50})
    use(world, {"of_acme": 1, "of_poor": 4}, "Ticket")
    world.define(
        "health", "adoption", events={"queries": {"event": "Query"}, "tickets": {"event": "Ticket"}}, healthy=75, at_risk=20,
        groups=[
            {"name": "use", "weight": 3, "metrics": [
                {"name": "queries", "low": 2, "high": 10, "weight": 2},
                {"name": "tickets", "low": 4, "high": 0},
            ]},
            {"name": "money", "metrics": [{"name": "arr", "value": "sfdc_account_arr", "low": 100, "high": 200}]},
        ],
    )  # fmt: skip
    world.run()
    # use is 75 of 100: queries 50, tickets 25; money is 25.
    assert contributions(world, "acme") == {"use.queries": 25, "use.tickets": Decimal("18.75"), "money.arr": 12.5}
    assert contributions(world, "zen") == {"use.queries": 50, "use.tickets": 25, "money.arr": 25}
    assert {who: float(score) for who, score in scores(world).items()} == {"acme": 56.25, "zen": 100, "poor": 0}
    assert world.members("health", "adoption") == {"acme": "neutral", "zen": "healthy", "poor": "at risk"}


def test_s2_13_events_of_a_month_count_unless_the_file_says_otherwise(world: World) -> None:
    world.accounts(account("acme"))
    world.people(person("ann", account_id="acme"))
    # 7, 30 and 90 days before, to the second: that very moment is outside.
    at = ["2026-02-22T00:00:00Z", "2026-02-22T00:00:01Z", "2026-01-30T00:00:00Z", "2026-01-30T00:00:01Z",
          "2025-12-01T00:00:00Z", "2025-12-01T00:00:01Z", "2020-01-01T00:00:00Z"]  # fmt: skip
    for moment in at:
        use(world, {"ann": 1}, at=moment)
    metrics = one_group({"name": "queries", "high": 100})
    world.define("health", "usual", events={"queries": {"event": "Query"}}, groups=metrics)
    world.define("health", "week", days=7, events={"queries": {"event": "Query"}}, groups=metrics)
    world.define("health", "quarter", events={"queries": {"event": "Query", "days": 90}}, groups=metrics)
    world.define("health", "ever", events={"queries": {"event": "Query", "days": 36500}}, groups=metrics)
    world.run("2026-03-01T00:00:00Z")
    rows = world.ask("SELECT health, score FROM account_health")
    assert {row["health"]: float(row["score"]) for row in rows} == {"usual": 3, "week": 1, "quarter": 5, "ever": 7}


def test_s2_14_contributions_add_up_to_the_score_to_the_last_digit(world: World) -> None:
    luck = Random(14)
    names = [f"a{n}" for n in range(40)]
    world.accounts(*(account(name, arr__c=luck.choice((None, 0, 33, 70, 100, 900))) for name in names))
    world.people(*(person(f"of_{name}", account_id=name, usage_percent=luck.randint(0, 130)) for name in names))
    use(world, {f"of_{name}": luck.randint(0, 12) for name in names})
    metrics = [
        {"name": "queries", "high": 7, "weight": 1 / 3},
        {"name": "arr", "value": "sfdc_account_arr", "low": 1, "high": 97, "weight": 0.7},
        {"name": "part", "value": "usage_percent", "rollup": "avg", "low": 110, "high": 3},
    ]
    groups = [{"name": name, "weight": luck.random(), "metrics": metrics} for name in ("g1", "g2", "g3")]
    world.define("health", "adoption", events={"queries": {"event": "Query"}}, groups=groups)
    world.run()
    rows = world.ask("SELECT * FROM account_health")
    assert len(rows) == 40
    for row in rows:
        listed = contributions(world, row["account_id"])
        assert len(listed) == 9
        assert sum(listed.values()) == row["score"]
        assert sum(Decimal(str(one)) for one in row["contributions"].values()) == row["score"]
        assert min(listed.values()) >= 0
    whole = world.ask("SELECT account_id, sum(most) AS whole FROM health_contributions GROUP BY account_id")
    assert {float(row["whole"]) for row in whole} == {100}


def test_s2_14_full_marks_are_100_however_the_weights_divide(world: World) -> None:
    world.accounts(account("acme", arr__c=1))
    metrics = [{"name": f"m{n}", "value": "sfdc_account_arr", "high": 1} for n in range(7)]
    world.define("health", "adoption", groups=one_group(*metrics))
    world.run()
    assert only(world.ask("SELECT score FROM account_health"))["score"] == 100


def test_s2_14_contributions_are_those_of_now_where_the_score_stays_the_same(world: World) -> None:
    world.accounts(account("acme", arr__c=1, plan__c="x"))
    case = "CASE WHEN {} THEN 1 ELSE 0 END"
    world.define(
        "health", "adoption",
        groups=one_group(
            {"name": "rich", "value": case.format("sfdc_account_arr > 0"), "high": 1},
            {"name": "plan", "value": case.format("sfdc_account_plan = 'y'"), "high": 1},
        ),
    )  # fmt: skip
    world.run("2026-03-01T00:00:00Z")
    assert contributions(world, "acme") == {"adoption.rich": 50, "adoption.plan": 0}
    world.accounts(account("acme", arr__c=0, plan__c="y"))
    world.run("2026-03-02T00:00:00Z")
    assert contributions(world, "acme") == {"adoption.rich": 0, "adoption.plan": 50}
    assert only(world.ask("SELECT contributions FROM account_health"))["contributions"] == {
        "adoption.rich": 0, "adoption.plan": 50,
    }  # fmt: skip
    before = world.ask("SELECT * FROM members ORDER BY since")
    assert world.run("2026-03-03T00:00:00Z").came == {("health", "adoption"): 0}
    assert world.ask("SELECT * FROM members ORDER BY since") == before


def test_s2_14_what_is_scored_no_more_has_no_contributions(world: World) -> None:
    world.accounts(account("acme", arr__c=1), account("zen", arr__c=1))
    metric = {"name": "arr", "value": "sfdc_account_arr", "high": 1}
    world.define("health", "adoption", groups=one_group(metric, {**metric, "name": "more"}))
    world.define("health", "other", groups=one_group(metric))
    world.run("2026-03-01T00:00:00Z")
    world.accounts(account("acme", arr__c=0), account("zen", arr__c=1, is_deleted=True))
    world.run("2026-03-02T00:00:00Z")
    assert (len(contributions(world, "acme")), contributions(world, "zen")) == (2, {})
    # A metric that gave nothing goes, and another one comes in its place: the score is the same.
    world.define("health", "adoption", groups=one_group(metric, {**metric, "name": "most"}))
    world.run("2026-03-03T00:00:00Z")
    assert contributions(world, "acme") == {"adoption.arr": 0, "adoption.most": 0}
    world.forget("health", "adoption")
    world.run("2026-03-04T00:00:00Z")
    assert (contributions(world, "acme"), len(contributions(world, "acme", "other"))) == ({}, 1)


def test_s2_14_a_file_needs_few_words(world: World) -> None:
    world.accounts(account("acme"))
    world.people(person("ann", account_id="acme"))
    use(world, {"ann": 5})
    world.define(
        "health", "adoption", events={"queries": {"event": "Query"}}, groups=one_group({"name": "queries", "high": 20})
    )
    world.run()
    assert float(scores(world)["acme"]) == 25


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"groups": one_group({"name": "a", "high": 1}, {"name": "a", "high": 2})}, "adoption.a is there twice"),
        ({"groups": one_group({"name": "a", "low": 1, "high": 1})}, "low and high are the same"),
        ({"groups": one_group({"name": "a", "high": 1}), "healthy": 30}, "at_risk is more than healthy"),
        ({"groups": one_group({"name": "a", "high": 1, "rollup": "median"})}, "'sum', 'avg', 'max' or 'count'"),
        ({"groups": one_group({"name": "a", "high": 1}), "of": "user"}, "'account'"),
        ({"groups": []}, "at least 1 item"),
    ],
)
def test_s2_12_what_makes_no_score_is_refused(told: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        KINDS["health"].model_validate({"title": "Adoption", **told})


def test_s2_15_scores_are_kept_for_more_than_two_quarters_and_by_day(world: World) -> None:
    world.accounts(account("acme", arr__c=0), account("gone", arr__c=5))
    world.define("health", "adoption", groups=one_group({"name": "arr", "value": "sfdc_account_arr", "high": 100}))
    worth = {"2026-01-01T08:00:00Z": 10, "2026-01-01T18:00:00Z": 80, "2026-01-02T06:00:00Z": 90,
             "2026-03-15T00:00:00Z": 90, "2026-09-01T12:00:00Z": 20}  # fmt: skip
    for moment, arr in worth.items():
        world.accounts(account("acme", arr__c=arr), account("gone", arr__c=5, is_deleted=moment > "2026-03"))
        world.run(moment)
    rows = world.ask("SELECT * FROM account_health_history ORDER BY account_id, day")
    assert [(r["account_id"], r["day"], r["last_day"], float(r["score"]), r["state"]) for r in rows] == [
        ("acme", "2026-01-01", "2026-01-01", 80, "healthy"),
        ("acme", "2026-01-02", "2026-08-31", 90, "healthy"),
        ("acme", "2026-09-01", None, 20, "at risk"),
        ("gone", "2026-01-01", "2026-03-14", 5, "at risk"),
    ]
    assert {r["health"] for r in rows} == {"adoption"}
    assert len({r["version"] for r in rows}) == 1
