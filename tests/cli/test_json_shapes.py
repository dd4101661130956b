"""What commands print with --json is what schemas/jsonschema/cli says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from integration.cli import shapes
from integration.cli.app import build
from schemas.export import differences

Printed = pytest.CaptureFixture[str]

ELSEWHERE = {"backfill", "demo", "dlq drop", "dlq retry", "dlq show", "run", "sync"}
"""Commands that do work: their shapes are held against what they print by tests of this file that run them."""


def commands(app: Any, path: str = "") -> Iterator[str]:
    for name, inner in getattr(app, "commands", {}).items():
        yield from commands(inner, f"{path} {name}".strip())
    if not hasattr(app, "commands"):
        yield path


COMMANDS = sorted(commands(typer.main.get_command(build())))


def schema_of(command: str) -> Any:
    return json.loads((shapes.FOLDER / f"{command.replace(' ', '_')}.json").read_text())


def fits(document: Any, command: str) -> None:
    schema = schema_of(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def person_of(sample: Any) -> str:
    return str(sample.rows("SELECT user_id FROM users WHERE contact_id IS NOT NULL ORDER BY 1 LIMIT 1")[0]["user_id"])


def account_of(sample: Any) -> str:
    return str(sample.rows("SELECT account_id FROM accounts ORDER BY 1 LIMIT 1")[0]["account_id"])


def events_in(sample: Any) -> str:
    """Write a file of one event that can be used and one that can't."""
    path: Path = sample.folder / "events.jsonl"
    path.write_text('{"type": "page", "userId": "u1", "timestamp": "2024-01-01"}\n{}\n')
    return str(path)


def health_of(sample: Any, value: str) -> str:
    file = Path(sample.folder) / "candidate.toml"
    metric = f'{{ name = "m", value = "{value}", high = 1000 }}'
    file.write_text(f'title = "Adoption"\n[[groups]]\nname = "use"\nmetrics = [{metric}]\n')
    return str(file)


ASKED: dict[str, list[Callable[[Any], list[str]]]] = {
    "config show": [lambda _: ["config", "show"]],
    "definitions check": [lambda _: ["definitions", "check"]],
    "definitions ls": [lambda _: ["definitions", "ls"]],
    "definitions members": [lambda _: ["definitions", "members", "at_accounts"]],
    "definitions preview": [lambda _: ["definitions", "preview", "at_accounts"]],
    "definitions show": [lambda _: ["definitions", "show", "at_accounts"]],
    "dlq ls": [lambda _: ["dlq", "ls"]],
    "doctor": [lambda _: ["doctor", "--offline"], lambda _: ["doctor"]],
    "explain": [
        lambda sample: ["explain", person_of(sample)],
        lambda sample: ["explain", person_of(sample), "--no-values"],
        lambda sample: ["explain", account_of(sample)],
    ],
    "import": [lambda sample: ["import", events_in(sample), "--dry-run"]],
    "marts export-dbt": [lambda sample: ["marts", "export-dbt", str(sample.folder / "dbt")]],
    "marts ls": [lambda _: ["marts", "ls"]],
    "marts show": [lambda _: ["marts", "show", "touches"]],
    "funnel": [lambda _: ["funnel"], lambda _: ["funnel", "used"]],
    "health backtest": [
        lambda sample: ["health", "backtest", "adoption", "--file", health_of(sample, "1")],
        lambda sample: ["health", "backtest", "adoption", "--file", health_of(sample, "sfdc_account_arr"), "--lead", "1d"],
    ],
    "migrate": [
        lambda sample: ["migrate", "--to", f"duckdb:///{sample.folder}/moved.duckdb", "--dry-run"],
        lambda sample: ["migrate", "--to", f"duckdb:///{sample.folder}/moved.duckdb"],
    ],
    "personas impact": [lambda _: ["personas", "impact", "Opportunity.StageName"]],
    "query": [lambda _: ["query", str(Path(__file__).parents[2] / "integration" / "reports" / "pipeline.sql")]],
    "replay": [lambda _: ["replay", "--dry-run"], lambda _: ["replay"]],
    "report": [
        lambda _: ["report"], lambda _: ["report", "account-people"], lambda _: ["report", "pipeline", "--sql"]
    ],
    "schema": [lambda _: ["schema"]],
    "sql": [lambda _: ["sql", "SELECT * FROM events LIMIT 50"], lambda _: ["sql", "SELECT * FROM users LIMIT 5"]],
    "status": [lambda _: ["status"]],
    "streams inspect": [lambda _: ["streams", "inspect", "crm.contact"]],
    "streams lag": [lambda _: ["streams", "lag"]],
    "streams ls": [lambda _: ["streams", "ls"]],
    "streams peek": [lambda _: ["streams", "peek", "crm.contact", "--count", "5"]],
    "streams pending": [lambda _: ["streams", "pending", "crm.contact"]],
    "streams tail": [lambda _: ["streams", "tail", "--start", "0", "--count", "20"]],
    "users": [
        lambda _: ["users", "--as-of", "-1d", "--columns", "sfdc_account_arr,sfdc_contact_title"],
        lambda _: ["users", "--at", "Sign Up", "--columns", "sfdc_account_arr"],
    ],
    "why": [lambda sample: ["why", person_of(sample), "--offline"], lambda sample: ["why", account_of(sample)]],
}  # fmt: skip
"""Command -> what is typed to have it print its JSON. A command with another shape has one line here and one in shapes."""


@pytest.mark.parametrize("command", sorted(ASKED))
def test_the_json_of_a_command_fits_its_schema(command: str, sample: Any, capsys: Printed) -> None:
    for words in ASKED[command]:
        code = sample.run(*words(sample), "--json")
        printed = capsys.readouterr().out
        assert printed, (words(sample), code)
        fits(json.loads(printed), command)


def test_every_command_has_a_schema() -> None:
    assert sorted(set(COMMANDS) - shapes.SHAPES.keys()) == []
    assert sorted(shapes.SHAPES.keys() - set(COMMANDS)) == []


def test_every_schema_is_tried_on_what_its_command_prints() -> None:
    assert sorted(shapes.SHAPES.keys() - ASKED.keys() - ELSEWHERE - {"sweep"}) == []


def test_the_schemas_are_those_of_the_types() -> None:
    assert differences(shapes.documents(), shapes.FOLDER) == []


def test_a_stray_or_changed_schema_is_noticed(tmp_path: Path, capsys: Printed) -> None:
    for name, text in shapes.documents().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "why.json").write_text("{}")
    (tmp_path / "stray.json").write_text("{}")
    (tmp_path / "sync.json").unlink()
    assert differences(shapes.documents(), tmp_path) == ["stray.json", "sync.json", "why.json"]
    assert shapes.main(["--chek"]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")


@pytest.mark.parametrize(
    ("command", "change"),
    [
        ("status", lambda d: d.pop("summary")),
        ("status", lambda d: d["objects"][0].update(state=None)),
        ("status", lambda d: d.update(more=1)),
        ("explain", lambda d: d["properties"][0].pop("rule")),
        ("explain", lambda d: d["sources"][0].update(version=7)),
    ],
)
def test_a_document_that_lacks_or_adds_something_does_not_fit(
    command: str, change: Callable[[Any], Any], sample: Any, capsys: Printed
) -> None:
    sample.run(*ASKED[command][0](sample), "--json")
    document = json.loads(capsys.readouterr().out)
    fits(document, command)
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        fits(document, command)


def test_a_status_of_nothing_fits_too(tmp_path: Path, capsys: Printed) -> None:
    from integration.cli.app import run

    config = tmp_path / "headrace.toml"
    config.write_text(f'[store]\nurl = "duckdb:///{tmp_path}/none.duckdb"\n[web]\nport = 0\n')
    assert run(["status", "--json", "--config", str(config)]) == 0
    fits(json.loads(capsys.readouterr().out), "status")


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Path]:
    """The settings of a company with next to nothing in it, whose org answers."""
    from integration.sandbox.clock import RealClock
    from integration.sandbox.org import Org
    from integration.sandbox.server import SandboxServer
    from integration.stream.embedded import embedded

    org = Org(clock=RealClock())
    org.insert("Contact", {"LastName": "Okafor", "Email": "ada@example.org"})
    server = SandboxServer(org, consumer_secret="sandbox-secret")
    server.start()
    config = tmp_path / "headrace.toml"
    with embedded(tmp_path / "valkey") as url:
        config.write_text(
            f'[salesforce]\nbase_url = "{server.url}"\nconsumer_key = "sandbox-key"\nconsumer_secret = "sandbox-secret"\n'
            f'[redis]\nurl = "{url}"\n[store]\nurl = "duckdb:///{tmp_path}/s.duckdb"\n[web]\nport = 0\n'
            '[log]\nlevel = "error"\n'
        )
        yield config
    server.stop()


def test_the_json_of_a_sync_and_of_a_sweep_fit(working: Path, capsys: Printed) -> None:
    from integration.cli.app import run

    assert run(["sync", "--json", "--config", str(working)]) == 0
    fits(json.loads(capsys.readouterr().out), "sync")
    assert run(["sweep", "Contact", "--json", "--config", str(working)]) == 0
    fits(json.loads(capsys.readouterr().out), "sweep")


def test_the_json_of_a_backfill_and_of_what_becomes_of_dead_letters_fits(working: Path, capsys: Printed) -> None:
    from integration.cli.app import run
    from integration.settings import load
    from integration.stream.connection import connect

    def printed(*words: str) -> None:
        assert run([*words, "--json", "--config", str(working)]) in (0, 4)
        fits(json.loads(capsys.readouterr().out), " ".join(words[: 2 if words[0] == "dlq" else 1]))

    printed("backfill", "Contact", "--dry-run")
    printed("backfill", "Contact")
    with connect(load(working, {}).redis.url) as client:
        client.xadd("crm.contact", {"data": "nonsense"})
    assert run(["sync", "--json", "--config", str(working)]) == 4
    [letter] = json.loads(capsys.readouterr().out)["dead_letters_by_stream"].items()
    assert letter == ("crm.contact", 1)
    assert run(["dlq", "ls", "--json", "--config", str(working)]) == 0
    offset = json.loads(capsys.readouterr().out)[0]["offset"]
    printed("dlq", "show", "crm.contact", offset)
    printed("dlq", "retry", "crm.contact", offset, "--dry-run")
    printed("dlq", "drop", "crm.contact", offset, "--yes")


def test_the_totals_of_a_worker_and_the_parts_of_a_demo_fit() -> None:
    from integration.wiring.demo import View
    from integration.wiring.pipeline import Progress
    from integration.wiring.sync import SyncReport

    fits(Progress().totals(), "run")
    from integration.cli.output import plain

    shown = {"told": {"Contact": 1}, "said": ["x"], "sync": SyncReport("r", "s"), "views": [View("t", "q", [{"a": 1}])]}
    fits(plain(shown), "demo")
