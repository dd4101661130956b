"""headrace users, on a company that was synced twice."""

import json
from decimal import Decimal
from typing import Any

import pytest

Printed = pytest.CaptureFixture[str]


def test_as_of_now_everybody_is_as_in_users(sample: Any, capsys: Printed) -> None:
    assert sample.run("users", "--as-of", "now", "--json") == 0
    rows = json.loads(capsys.readouterr().out, parse_float=Decimal)
    users = {row["user_id"]: row for row in sample.rows("SELECT * FROM users")}
    assert len(rows) == len(users) > 20
    assert {"sfdc_contact_title", "sfdc_account_arr", "sfdc_lead_status", "sfdc_opportunity_stage"} <= rows[0].keys()
    for row in rows:
        assert row == {name: users[row["user_id"]][name] for name in row}


def test_before_a_change_people_have_the_value_of_then(sample: Any, capsys: Printed) -> None:
    [last] = sample.rows(
        "SELECT c.user_id, c.time, c.old_value FROM changes AS c JOIN users AS u ON u.contact_id = c.record_id "
        "WHERE c.field = 'Title' AND c.old_value IS DISTINCT FROM c.new_value AND c.origin <> 'history' "
        "QUALIFY row_number() OVER (PARTITION BY c.record_id ORDER BY c.time) = 1 ORDER BY c.time DESC LIMIT 1"
    )
    told = sample.rows(f"SELECT DISTINCT time FROM changes WHERE field = 'Title' AND user_id = '{last['user_id']}'")
    assert {"time": last["time"]} in told
    [shown] = [
        row
        for row in sample.rows("SELECT * FROM user_values WHERE property = 'sfdc_contact_title'")
        if row["user_id"] == last["user_id"] and row["until"] == last["time"]
    ]
    assert shown["value"] == last["old_value"]
    assert sample.run("users", "--as-of", shown["since"], "--columns", "sfdc_contact_title", "--csv") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "user_id,identity,contact_id,lead_id,account_id,sfdc_contact_title"
    [line] = [one for one in printed if one.startswith(last["user_id"])]
    assert line.endswith(f",{last['old_value'] or ''}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["users"], "Give one of --as-of TIME and --at EVENT"),
        (["users", "--as-of", "now", "--at", "Sign Up"], "Give one of --as-of TIME and --at EVENT"),
        (["users", "--as-of", "soon"], "'soon' is not a time"),
        (["users", "--as-of", "now", "--columns", ","], "--columns names no property"),
        (["users", "--as-of", "now", "--columns", "sfdc_contact_titel"], "Did you mean sfdc_contact_title"),
        (["users", "--as-of", "now", "--columns", "sfdc_contact_last_modified_date"], "is not kept"),
    ],
)
def test_what_can_not_be_answered_is_said_in_a_sentence(
    sample: Any, capsys: Printed, words: list[str], said: str
) -> None:
    assert sample.run(*words) == 2
    assert said in capsys.readouterr().err
