"""`headrace demo` in an empty folder of somebody who has nothing else."""

import json
import re
import shlex
import signal
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from shell import Shell, refusal

from integration.errors import UnreachableError
from integration.stream.connection import reach
from integration.stream.embedded import running_url


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str, str]:
    """A terminal after `headrace demo --exit`, with what that said and noted."""
    folder = tmp_path_factory.mktemp("newcomer")
    shell = Shell(folder, {})
    done = shell.run("demo", "--exit")
    assert done.returncode == 0, done.stderr
    return shell, done.stdout, done.stderr


def test_it_shows_a_person_a_timeline_and_the_personas_with_their_sql(ended: tuple[Shell, str, str]) -> None:
    _, said, _ = ended
    for heading in (
        "One person, with everything the CRM knows",
        "The same person's timeline",
        "Who pays: title x industry",
        "Campaigns: visits, people, sign-ups",
        "What opportunities are owed to",
        "The personas that are defined",
        "Who uses the product",
        "Accounts at risk",
    ):
        assert f"== {heading}" in said
    assert re.search(r"^user_id +003\w{15}$", said, re.MULTILINE)
    assert re.search(r"^sfdc_account_name +\S", said, re.MULTILINE)
    assert re.search(r"^TITLE +INDUSTRY +PEOPLE +ACCOUNTS +ARR_BY_PERSON +ARR_BY_ACCOUNT$", said, re.MULTILINE)
    assert re.search(r"^TIME +NAME +VIA +CHANGED$", said, re.MULTILINE)
    assert "What headrace saw of it (" in said


def test_it_notes_what_it_does_and_nothing_else(ended: tuple[Shell, str, str]) -> None:
    _, _, noted = ended
    lines = noted.splitlines()
    assert lines[0] == "Founding a company with a Salesforce org of its own ..."
    assert lines[1].startswith("The org holds ")
    assert re.fullmatch(r"Its product has told of [\d,]+ users, in [\d,]+ calls to the worker's door\.", lines[2])
    assert re.fullmatch(
        r"First sync: [\d,]+ records and [\d,]+ calls became [\d,]+ people and [\d,]+ events, "
        r"\d+ s after the start\.",
        lines[3],
    )
    assert len(lines) == 4


def asked(shell: Shell, *words: str) -> list[dict[str, Any]]:
    done = shell.run(*words, "--config", "headrace-demo/headrace.toml", "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout, parse_float=Decimal)
    return rows


def test_every_call_of_the_product_is_stored_once(ended: tuple[Shell, str, str]) -> None:
    shell, _, noted = ended
    told = re.search(r"told of ([\d,]+) users, in ([\d,]+) calls", noted)
    assert told is not None
    users, calls = (int(number.replace(",", "")) for number in told.groups())
    assert calls > 4_000
    stored = asked(
        shell, "sql", "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events WHERE origin = 'product'"
    )
    assert stored == [{"n": calls, "ids": calls}]
    kinds = asked(shell, "sql", "SELECT count(*) AS n FROM identities WHERE kind = 'product_user_id'")
    assert kinds == [{"n": users}]


def test_the_campaigns_it_shows_are_those_of_an_independent_count(ended: tuple[Shell, str, str]) -> None:
    """People, sign-ups and what their accounts have won, counted from the raw events, people and opportunities."""
    shell, said, _ = ended
    home = {row["user_id"]: row["account_id"] for row in asked(shell, "sql", "SELECT user_id, account_id FROM users")}
    signed_up = {row["user_id"] for row in asked(shell, "sql", "SELECT user_id FROM sign_up")}
    won: dict[str, Decimal] = {}
    for deal in asked(
        shell, "sql", "SELECT accountid, amount FROM salesforce.opportunity WHERE iswon AND NOT is_deleted"
    ):
        won[deal["accountid"]] = won.get(deal["accountid"], Decimal()) + (deal["amount"] or 0)
    came: dict[str, set[str]] = {}
    for event in asked(shell, "sql", "SELECT user_id, properties FROM events WHERE name = 'Page Viewed'"):
        campaign = event["properties"]["context"].get("campaign")
        if campaign:
            came.setdefault(campaign["name"], set()).add(event["user_id"])
    counted = {}
    for campaign, people in came.items():
        accounts = {home[one] for one in people} - {None}
        amount = sum((won.get(one, Decimal()) for one in accounts), Decimal())
        paying = len(accounts & set(won))
        counted[campaign] = (len(people), len(people & signed_up), len(accounts), paying, amount)
    shown = {row.pop("campaign"): row for row in asked(shell, "report", "campaigns")}
    assert "(direct)" in shown
    assert {name for name in shown if name not in counted} <= {"(direct)", "(search)", "(referral)"}
    shown = {name: row for name, row in shown.items() if name in counted}
    columns = ("people", "sign_ups", "accounts", "accounts_that_won", "won_amount")
    assert {name: tuple(row[column] for column in columns) for name, row in shown.items()} == counted
    assert len(counted) == 6
    best = max(counted, key=lambda name: counted[name][4])
    printed = re.search(rf"^{best} +\d+ +(\d+) +(\d+) +(\d+) +(\d+) +([\d.]+) ", said, re.MULTILINE)
    assert printed is not None
    assert tuple(Decimal(number) for number in printed.groups()) == counted[best]


def test_who_uses_the_product_is_what_an_independent_count_gives(ended: tuple[Shell, str, str]) -> None:
    shell, said, _ = ended
    kinds = {
        row["user_id"]: ("(no account)" if row["account_id"] is None else row["sfdc_account_account_type"])
        for row in asked(shell, "sql", "SELECT * FROM users WHERE NOT is_deleted")
    }
    done = asked(shell, "sql", "SELECT user_id, time FROM events WHERE origin = 'product' AND name <> 'Identified'")
    last: dict[str, str] = {}
    for event in done:
        last[event["user_id"]] = max(event["time"][:10], last.get(event["user_id"], ""))
    [today] = asked(shell, "sql", "SELECT (now() AT TIME ZONE 'UTC')::DATE AS day")
    ages = {user: (date.fromisoformat(today["day"]) - date.fromisoformat(day)).days for user, day in last.items()}
    people = Counter(kinds[user] for user in ages if user in kinds)
    active = Counter(kinds[user] for user, age in ages.items() if user in kinds and age <= 30)
    stopped = Counter(kinds[user] for user, age in ages.items() if user in kinds and 30 < age <= 120)
    rows = asked(shell, "report", "product-use")
    assert {row["account_type"]: (row["people"], row["active_30d"], row["stopped"]) for row in rows} == {
        kind: (number, active[kind], stopped[kind]) for kind, number in people.items()
    }
    assert {"Paying Customer", "Churned Customer", "Prospect"} <= set(people)
    printed = re.search(r"^ACCOUNT_TYPE +PEOPLE .*\n((?:\S.*\n)+)", said, re.MULTILINE)
    assert printed is not None
    assert dict(re.findall(r"^(\S.*?)  +(\d+) ", printed[1], re.MULTILINE)) == {
        row["account_type"]: str(row["people"]) for row in rows[:5]
    }


def test_accounts_at_risk_are_paying_customers_who_use_little_of_what_they_pay_for(
    ended: tuple[Shell, str, str],
) -> None:
    shell, _, _ = ended
    now = "(SELECT max(run_at) FROM definitions)"
    used = {
        row["account_id"]: (row["queries"], row["dashboards"], row["invites"])
        for row in asked(
            shell, "sql",
            f"SELECT u.account_id, count(*) FILTER (e.name = 'Run Query' AND time > {now} - INTERVAL 30 DAY) AS queries, "
            "count(*) FILTER (e.name IN ('Dashboard Viewed', 'Report Exported') "
            f"AND time > {now} - INTERVAL 30 DAY) AS dashboards, "
            f"count(*) FILTER (e.name = 'Invite Sent' AND time > {now} - INTERVAL 90 DAY) AS invites "
            f"FROM events AS e JOIN users AS u USING (user_id) WHERE time <= {now} AND origin = 'product' GROUP BY 1",
        )
    }  # fmt: skip
    paying = asked(
        shell, "sql",
        "SELECT account_id FROM accounts WHERE sfdc_account_account_type = 'Paying Customer' AND NOT is_deleted",
    )  # fmt: skip
    scores = {}
    for account in (row["account_id"] for row in paying):
        queries, dashboards, invites = used.get(account, (0, 0, 0))
        use = min(queries / 15, 1) * 37.5 + min(dashboards / 15, 1) * 37.5
        scores[account] = use + min(invites / 2, 1) * 25
    shown = {row["account_id"]: float(row["score"]) for row in asked(shell, "sql", "SELECT * FROM account_health")}
    assert shown == pytest.approx(scores, abs=0.001)
    at_risk = {row["account_id"] for row in asked(shell, "report", "accounts-at-risk")}
    assert at_risk == {account for account, score in scores.items() if score < 25}
    assert 0 < len(at_risk) < len(scores)


def test_the_sql_it_shows_can_be_run_as_it_stands(ended: tuple[Shell, str, str]) -> None:
    shell, said, _ = ended
    shown = re.findall(r"^== .* ==\n((?:  (?!headrace ).*\n)+)", said, re.MULTILINE)
    assert len(shown) >= 3
    for sql in shown:
        done = shell.run("query", "-", "--config", "headrace-demo/headrace.toml", "--json", stdin=sql)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_the_commands_it_names_can_be_run_as_they_stand(ended: tuple[Shell, str, str]) -> None:
    shell, said, _ = ended
    commands = re.findall(r"^  headrace (.*)$", said, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        done = shell.run(*shlex.split(command))
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout


def test_nothing_keeps_running_and_nothing_lies_outside_its_folder(ended: tuple[Shell, str, str]) -> None:
    shell, _, _ = ended
    assert running_url(shell.folder / "headrace-demo" / "headrace.valkey") is None
    assert [path.name for path in shell.folder.iterdir()] == ["headrace-demo"]


def test_secrets_it_makes_up_are_for_its_owner_only(ended: tuple[Shell, str, str]) -> None:
    shell, said, noted = ended
    config = shell.folder / "headrace-demo" / "headrace.toml"
    secret = re.search(r'consumer_secret = "(\w+)"', config.read_text())
    assert secret is not None
    assert config.stat().st_mode & 0o077 == 0
    assert secret[1] not in said + noted
    key = re.search(r'write_keys = \["(\w+)"\]', config.read_text())
    assert key is not None
    assert key[1] not in said + noted


@pytest.mark.slow
def test_a_second_demo_begins_anew_and_prints_one_json_document(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {})
    documents: list[Any] = []
    for _ in range(2):
        done = shell.run("demo", "--exit", "--json", "--accounts", "8", "--dir", 'a "strange" folder')
        assert done.returncode == 0, done.stderr
        documents.append(json.loads(done.stdout))
    for shown in documents:
        assert shown["told"]["Account"] == 8
        assert shown["sync"]["outcome"] == "ok"
        assert shown["sync"]["events_written"] > 0
        assert all(view["sql"] for view in shown["views"])
    assert documents[0]["told"] == documents[1]["told"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("the only copy")
    (tmp_path / "file").write_text("not even a folder")

    said = refusal(shell.run("demo", "--exit", "--dir", "mine"), 2)
    assert said == "mine is not empty and not a demo's: name another one with --dir."
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "the only copy"

    said = refusal(shell.run("demo", "--exit", "--dir", "file"), 2)
    assert said.endswith("name another one with --dir.")
    assert (tmp_path / "file").read_text() == "not even a folder"


def test_a_living_demo_answers_beside_itself_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {})
    with shell.start("demo", "--accounts", "6", "--dir", "here") as running:
        running.until(lambda: "SQL is answered at http://127.0.0.1:" in running.notes)
        ask = ("sql", "--config", "here/headrace.toml", "--json", "SELECT count(*) AS n FROM events")
        before = json.loads(shell.run(*ask).stdout)[0]["n"]
        running.until(lambda: json.loads(shell.run(*ask).stdout)[0]["n"] > before)
        # It goes on being used: what is told now is newer than the start.
        told = "SELECT count(*) AS n FROM events WHERE origin = 'product' AND time > seen_at - INTERVAL 1 SECOND"
        used = (*ask[:-1], told)
        running.until(lambda: json.loads(shell.run(*used).stdout)[0]["n"] > 1)
        assert "is in use by process" in refusal(shell.run("sync", "--config", "here/headrace.toml"), 3)
        assert running.end(signal.SIGINT) == 0, running.notes
        assert "Traceback" not in running.notes
        assert running.notes.splitlines()[-1].startswith("The demo has ended.")
    assert running_url(tmp_path / "here" / "headrace.valkey") is None


@pytest.mark.slow
def test_a_demo_does_not_empty_the_folder_of_one_that_runs(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {})
    with shell.start("demo", "--accounts", "2") as running:
        running.until(lambda: "SQL is answered at" in running.notes)
        said = refusal(shell.run("demo", "--exit"), 2)
        assert said == (
            "headrace-demo is in use by a demo that runs: end that one, or name another directory with --dir."
        )
        assert json.loads(
            shell.run("sql", "--config", "headrace-demo/headrace.toml", "--json", "SELECT 1 AS one").stdout
        )
        assert running.end(signal.SIGINT) == 0, running.notes


@pytest.mark.slow
def test_a_demo_after_a_killed_one_leaves_nothing_of_it_running(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {})
    valkey = tmp_path / "headrace-demo" / "headrace.valkey"
    with shell.start("demo", "--accounts", "2") as running:
        running.until(lambda: "SQL is answered at" in running.notes)
        running.process.kill()
        running.process.wait(timeout=30)
    orphan = running_url(valkey)
    assert orphan is not None
    assert shell.run("demo", "--exit", "--accounts", "2").returncode == 0

    with pytest.raises(UnreachableError):
        reach(orphan)
    assert running_url(valkey) is None
