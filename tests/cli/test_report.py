"""The named reports, each held against the same sums made in Python from the plainest tables there are."""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from integration.wiring.report import names, report

Printed = pytest.CaptureFixture[str]
Rows = list[dict[str, Any]]


@pytest.fixture
def answer(sample: Any, capsys: Printed) -> Callable[[str], Rows]:
    """Ask a report: its rows."""

    def ask(name: str) -> Rows:
        assert sample.run("report", name, "--json") == 0
        return json.loads(capsys.readouterr().out, parse_float=Decimal)

    return ask


def on_one_day(ask: Callable[[str], Rows], name: str) -> tuple[date, Rows]:
    """Ask a report that looks at today, again where midnight (UTC) went by meanwhile: the day, and the rows."""
    while True:
        today = datetime.now(UTC).date()
        rows = ask(name)
        if datetime.now(UTC).date() == today:
            return today, rows


def live(sample: Any, table: str) -> dict[str, dict[str, Any]]:
    return {r["id"]: r for r in sample.rows(f"SELECT * FROM salesforce.{table}") if not r["is_deleted"]}


def people_of(sample: Any) -> Rows:
    return [u for u in sample.rows("SELECT * FROM users") if not u["is_deleted"]]


def test_people_by_industry(sample: Any, answer: Callable[[str], Rows]) -> None:
    accounts = {r["id"]: r for r in sample.rows("SELECT * FROM salesforce.account")}
    deals = live(sample, "opportunity").values()
    people: Counter[str] = Counter()
    of: dict[str, set[str]] = defaultdict(set)
    for user in people_of(sample):
        account = user["account_id"]
        industry = "(no account)" if account is None else accounts[account]["industry"] or "(unknown)"
        people[industry] += 1
        of[industry] |= {account} - {None}
    expected = {
        name: (
            people[name],
            len(of[name]),
            sum(
                (d["amount"] or Decimal(0) for d in deals if d["accountid"] in of[name] and not d["isclosed"]),
                Decimal(0),
            ),
        )
        for name in people
    }
    rows = answer("people-by-industry")
    assert {r["industry"]: (r["people"], r["accounts"], r["open_amount"]) for r in rows} == expected
    assert len(expected) > 2
    assert [r["people"] for r in rows] == sorted((r["people"] for r in rows), reverse=True)
    # An amount counts once however many people its account has.
    assert sum(r["open_amount"] for r in rows) <= sum(d["amount"] or 0 for d in deals if not d["isclosed"])


def test_pipeline(sample: Any, answer: Callable[[str], Rows]) -> None:
    expected: dict[str, Rows] = defaultdict(list)
    for deal in live(sample, "opportunity").values():
        if not deal["isclosed"]:
            expected[deal["stagename"]].append(deal)
    today, answered = on_one_day(answer, "pipeline")
    rows = {r["stage"]: r for r in answered}
    assert rows.keys() == expected.keys()
    assert rows
    for stage, deals in expected.items():
        assert rows[stage]["opportunities"] == len(deals)
        assert rows[stage]["amount"] == sum(d["amount"] or Decimal(0) for d in deals)
        assert rows[stage]["closes_first"] == min(d["closedate"] for d in deals)
        assert rows[stage]["overdue"] == sum(d["closedate"] < today.isoformat() for d in deals)


def test_pipeline_over_time(sample: Any, answer: Callable[[str], Rows]) -> None:
    rows = answer("pipeline-over-time")
    weeks = sorted({row["week"] for row in rows}, reverse=True)
    assert [row["week"] for row in rows] == sorted((row["week"] for row in rows), reverse=True)
    # The line of this week is the pipeline of now; those before it are held against images in tests/contracts.
    now = {row["stage"]: (row["opportunities"], row["amount"]) for row in answer("pipeline")}
    assert {r["stage"]: (r["opportunities"], r["amount"]) for r in rows if r["week"] == weeks[0]} == now
    assert 20 < len(weeks) <= 27


def test_events_per_day(sample: Any, answer: Callable[[str], Rows]) -> None:
    events = sample.rows("SELECT * FROM events")
    changes = Counter(c["event_id"] for c in sample.rows("SELECT * FROM changes"))
    today, rows = on_one_day(answer, "events-per-day")
    assert [r["day"] for r in rows] == [(today - timedelta(days=n)).isoformat() for n in range(30)]
    for row in rows:
        of_day = [e for e in events if e["time"].startswith(row["day"])]
        assert row["events"] == len(of_day)
        assert row["changed_fields"] == sum(changes[e["event_id"]] for e in of_day)
        assert row["people"] == len({e["user_id"] for e in of_day} - {None})
    assert sum(r["events"] for r in rows) > 30


def test_stage_history(sample: Any, answer: Callable[[str], Rows]) -> None:
    deals = live(sample, "opportunity")
    changes = sample.rows(
        "SELECT c.*, e.seen_at FROM changes c JOIN events e USING (event_id) WHERE c.object = 'Opportunity' AND field = 'StageName'"
    )
    entered: Counter[str] = Counter()
    now_in: Counter[str] = Counter()
    stays: dict[str, list[float]] = defaultdict(list)
    for record_id, deal in deals.items():
        mine = sorted(
            (c for c in changes if c["record_id"] == record_id), key=lambda c: (c["time"], c["seen_at"], c["event_id"])
        )
        stage, since = (mine[0]["old_value"] if mine else deal["stagename"]), deal["createddate"]
        for change in mine:
            entered[stage] += 1
            passed = datetime.fromisoformat(change["time"]) - datetime.fromisoformat(since)
            stays[stage].append(passed.total_seconds() / 86400)
            stage, since = change["new_value"], change["time"]
        entered[stage] += 1
        now_in[stage] += 1
    rows = {r["stage"]: r for r in answer("stage-history")}
    assert {name: r["times_entered"] for name, r in rows.items()} == entered
    for name, row in rows.items():
        assert (row["in_it_now"], row["times_left"]) == (now_in[name], len(stays[name]))
        if stays[name]:
            assert float(row["days_on_average"]) == pytest.approx(statistics.mean(stays[name]), abs=0.051)
            assert float(row["days_median"]) == pytest.approx(statistics.median(stays[name]), abs=0.051)
        else:
            assert row["days_on_average"] is None
    assert sum(map(len, stays.values())) > 5


def test_account_people(sample: Any, answer: Callable[[str], Rows]) -> None:
    accounts, deals = live(sample, "account"), live(sample, "opportunity").values()
    people = Counter(u["account_id"] for u in people_of(sample))
    events = sample.rows("SELECT * FROM events")
    rows = answer("account-people")
    assert {r["account_id"] for r in rows} == accounts.keys()
    for row in rows:
        mine = [d for d in deals if d["accountid"] == row["account_id"] and not d["isclosed"]]
        seen = [e for e in events if e["account_id"] == row["account_id"]]
        assert row["account"] == accounts[row["account_id"]]["name"]
        assert row["people"] == people[row["account_id"]]
        assert (row["open_opportunities"], row["open_amount"]) == (
            len(mine),
            sum(d["amount"] or Decimal(0) for d in mine),
        )
        assert row["last_event"] == max(e["time"] for e in seen)
        assert row["last_activity"] == max((e["time"] for e in seen if e["object"] in ("Task", "Event")), default=None)
    assert any(r["last_activity"] for r in rows)


def test_changes_by_field(sample: Any, answer: Callable[[str], Rows]) -> None:
    changes: dict[tuple[str, str], Rows] = defaultdict(list)
    for change in sample.rows("SELECT * FROM changes"):
        changes[change["object"], change["field"]].append(change)
    since = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    rows = answer("changes-by-field")
    assert {(r["object"], r["field"]): r["changes"] for r in rows} == {key: len(of) for key, of in changes.items()}
    for row in rows:
        of = changes[row["object"], row["field"]]
        assert row["records"] == len({c["record_id"] for c in of})
        assert row["last_30_days"] == sum(c["time"] >= since for c in of)
        assert (row["last_change"], row["property"]) == (max(c["time"] for c in of), of[0]["property"])
    assert len(rows) > 5


def test_new_people(sample: Any, answer: Callable[[str], Rows]) -> None:
    since = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    new = {u["user_id"]: u for u in people_of(sample) if u["first_seen"] >= since}
    rows = answer("new-people")
    assert {r["user_id"] for r in rows} == new.keys()
    assert new
    assert [r["first_seen"] for r in rows] == sorted((r["first_seen"] for r in rows), reverse=True)
    for row in rows:
        user = new[row["user_id"]]
        as_both = bool(user["lead_id"] and user["contact_id"])
        assert row["came_as"] == ("lead and contact" if as_both else "contact" if user["contact_id"] else "lead")
        assert (row["email"], row["account_id"]) == (user["email"], user["account_id"])


def test_every_report_is_tested_here_or_with_the_story_it_is_of() -> None:
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    tests = Path(__file__).parents[1]
    stories = [
        "journeys/test_criteria_s1.py", "journeys/test_criteria_s3.py", "contracts/test_criteria_s2_actions.py",
        "contracts/test_criteria_s5.py",
    ]  # fmt: skip
    criteria = "".join(tests.joinpath(story).read_text("utf-8") for story in stories)
    assert [name for name in names() if name not in tested and f'"{name}"' not in criteria] == []


@pytest.mark.parametrize("name", names())
def test_a_report_says_in_a_sentence_what_it_tells(name: str) -> None:
    one = report(name)
    assert one.sentence.endswith(".")
    assert 30 < len(one.sentence) < 120
    assert one.picture
    assert "--" not in one.sql


def test_the_reports_are_listed(sample: Any, capsys: Printed) -> None:
    assert sample.run("report") == 0
    printed = capsys.readouterr().out
    assert printed.split()[:2] == ["NAME", "SENTENCE"]
    assert sample.run("report", "--json") == 0
    assert [r["name"] for r in json.loads(capsys.readouterr().out)] == names()
    assert sample.run("report", "--csv") == 0
    assert capsys.readouterr().out.startswith("name,sentence\naccount-families,")


def test_the_sql_of_a_report_gives_its_answer(sample: Any, capsys: Printed, tmp_path: Path) -> None:
    assert sample.run("report", "pipeline", "--sql") == 0
    sql = capsys.readouterr().out
    assert sql.startswith("-- Open opportunities by stage")
    (tmp_path / "mine.sql").write_text(sql)
    assert sample.run("query", str(tmp_path / "mine.sql"), "--csv") == 0
    asked = capsys.readouterr().out
    assert sample.run("report", "pipeline", "--csv") == 0
    assert capsys.readouterr().out == asked
    assert asked.startswith("stage,opportunities,amount,")


def test_rows_come_one_a_line_and_no_more_than_asked_for(sample: Any, capsys: Printed) -> None:
    assert sample.run("report", "changes-by-field", "--jsonl", "--limit", "2") == 0
    printed = capsys.readouterr()
    assert [json.loads(line).keys() >= {"object", "changes"} for line in printed.out.splitlines()] == [True, True]
    assert "There are more than these 2 rows" in printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pipelin",), "There is no report pipelin. Did you mean pipeline? headrace report lists them all."),
        (("New_People",), "There is no report New_People. Did you mean new-people? headrace report lists them all."),
        (("../sql/x",), "There is no report ../sql/x. headrace report lists them all."),
        (("--sql",), "The SQL of which report? headrace report lists them: headrace report pipeline --sql."),
        (("pipeline", "--csv", "--json"), "--json and --csv exclude each other: give one of them."),
        (("pipeline", "--sql", "--csv"), "--sql and --csv exclude each other: give one of them."),
        (("pipeline", "--sql", "--svg", "x.svg"), "--sql and --svg exclude each other: give one of them."),
        (("pipeline", "--svg", "x.svg", "--json"), "--json and --svg exclude each other: give one of them."),
        (("--png", "x.png"), "The picture of which report? Name one: headrace report pipeline --png FILE."),
        (("new-people", "--svg", "x"), "No picture tells this better than the table: people are listed one by one."),
        (("pipeline", "--svg", "no/x.svg"), "The picture can't be written to no/x.svg: No such file or directory."),
    ],
)
def test_a_wrong_word_is_one_sentence(words: tuple[str, ...], said: str, sample: Any, capsys: Printed) -> None:
    assert sample.run("report", *words) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"headrace: {said}\n")


def test_a_store_that_lacks_an_object_says_so(tmp_path: Any, capsys: Printed) -> None:
    from integration.cli.app import run
    from integration.store.duckdb.store import DuckDBStore

    DuckDBStore(tmp_path / "empty.duckdb").close()
    config = tmp_path / "headrace.toml"
    config.write_text(f'[store]\nurl = "duckdb:///{tmp_path}/empty.duckdb"\n')
    assert run(["report", "pipeline", "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("headrace: The report pipeline needs objects or fields that this store does not have (")
    assert said.endswith("headrace schema lists what has been read.\n")
    assert run(["report", "changes-by-field", "--json", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "[]\n"
