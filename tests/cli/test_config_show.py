import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Headrace = Callable[..., "subprocess.CompletedProcess[str]"]


def test_config_show_names_where_each_value_came_from(
    headrace: Headrace, document: Callable[[str], Any], tmp_path: Path
) -> None:
    (tmp_path / "headrace.toml").write_text('[objects.Contact]\nenrich = ["cbit__Clearbit__c"]\n')
    (tmp_path / "home" / "secrets" / "headrace_salesforce__session_id").write_text("00D000000000001!secret")
    done = headrace("config", "show", "--json", HEADRACE_POLL__INTERVAL_SECONDS="3")
    rows = {row["key"]: (row["value"], row["from"]) for row in document(done.stdout)}
    assert done.stderr == ""
    assert rows["objects.Contact.enrich"] == (["cbit__Clearbit__c"], "headrace.toml")
    assert rows["poll.interval_seconds"] == (3.0, "environment variable HEADRACE_POLL__INTERVAL_SECONDS")
    assert rows["poll.overlap_seconds"] == (600, "default")
    secret = tmp_path / "home" / "secrets" / "headrace_salesforce__session_id"
    assert rows["salesforce.session_id"] == ("********", f"secret file {secret}")


def test_config_show_hides_secrets_in_every_form(headrace: Headrace) -> None:
    variables = {
        "HEADRACE_SALESFORCE__CONSUMER_SECRET": "hush-1",
        "HEADRACE_SALESFORCE__SECURITY_TOKEN": "hush-2",
        "HEADRACE_WEB__TOKEN": "hush-3",
        "HEADRACE_REDIS__URL": "rediss://:hush-4@redis.example.com:6380/0",
    }
    for form in ((), ("--json",), ("--debug",)):
        done = headrace("config", "show", *form, **variables)
        assert done.returncode == 0
        assert "hush" not in done.stdout + done.stderr
        assert "redis.example.com" in done.stdout


def test_config_show_prints_aligned_columns_into_a_pipe(headrace: Headrace) -> None:
    lines = headrace("config", "show").stdout.splitlines()
    assert lines[0].split() == ["KEY", "VALUE", "FROM"]
    value = lines[0].index("VALUE")
    assert {line[value - 1] for line in lines} == {" "}
    assert ["web.port", "8080", "default"] in [line.split() for line in lines]
