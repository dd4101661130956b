"""One customer's story, told by Salesforce and retold by headrace: the golden files say what it must mean.

After a change of meaning that is wanted: `pytest tests/golden --write-golden`, and read the difference.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.settings import load
from integration.store.answers import ask
from integration.store.opening import open_reader
from integration.wiring.sync import sync

HERE = Path(__file__).parent
EVENTS = "SELECT * EXCLUDE (stored_at, seen_at, source) FROM events ORDER BY time, object, record_id, event_id"
CHANGES = "SELECT * EXCLUDE (actor_id) FROM changes ORDER BY time, object, record_id, field, event_id"
TIMELINE = "SELECT time, name, user_id, object, record_id, via FROM user_events ORDER BY user_id, time, event_id"
IDENTITIES = "SELECT * FROM identities ORDER BY alias"
USERS = "SELECT * FROM users ORDER BY user_id"


def test_a_customers_story_means_what_the_golden_files_say(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    told = tell(tmp_path)

    for name, found in told.items():
        golden = HERE / f"{name}.jsonl"
        text = "".join(json.dumps(row, ensure_ascii=False, default=str, sort_keys=True) + "\n" for row in found)
        if pytestconfig.getoption("--write-golden"):
            golden.write_text(text, encoding="utf-8")
        assert text.splitlines() == golden.read_text(encoding="utf-8").splitlines(), name


def tell(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Let the story happen, a sync after each chapter; return what the store says at the end."""
    clock = VirtualClock(datetime(2026, 3, 2, 9, 0, tzinfo=UTC))
    org = Org(clock=clock)
    with SandboxServer(org) as server:
        env = {
            "HEADRACE_SALESFORCE__BASE_URL": server.url,
            "HEADRACE_SALESFORCE__CONSUMER_KEY": "sandbox-key",
            "HEADRACE_SALESFORCE__CONSUMER_SECRET": "sandbox-secret",
            "HEADRACE_STORE__URL": f"duckdb:///{directory}/headrace.duckdb",
            "HEADRACE_OBJECTS__Contact__ENRICH": "cbit__Clearbit__c",
            "HEADRACE_SECRETS_DIR": "",
        }
        settings = load(None, env)
        for _ in story(org, clock):
            sync(settings)
            clock.advance(3600)
        with open_reader(settings.store_path) as reader:
            shown = {
                "events": EVENTS,
                "changes": CHANGES,
                "timeline": TIMELINE,
                "identities": IDENTITIES,
                "users": USERS,
            }
            answers = {name: ask(reader, sql) for name, sql in shown.items()}
    # Empty columns say nothing, and there are hundreds.
    answers["users"] = [{k: v for k, v in row.items() if v is not None} for row in answers["users"]]
    return answers


def story(org: Org, clock: VirtualClock) -> Any:
    """A lead comes in, is converted, buys, changes jobs, is merged with a duplicate, and leaves."""
    lead = org.insert(
        "Lead", {"LastName": "Moreau", "FirstName": "Ana", "Company": "Brightwater", "Email": "Ana@Example.com"}
    )
    yield
    account = org.insert("Account", {"Name": "Brightwater", "Type": "Prospect", "MRR__c": 100.1})
    done = org.convert_lead(lead, account_id=account, with_opportunity=True)
    yield
    org.update("Opportunity", done["opportunity_id"], {"StageName": "Negotiation/Review", "Amount": 1201.2})
    yield
    org.update("Opportunity", done["opportunity_id"], {"StageName": "Closed Won"})
    org.update("Account", account, {"Type": "Paying Customer", "MRR__c": 100.3})
    yield
    clearbit = org.insert("cbit__Clearbit__c", {"Name": "CB-1", "cbit__Role__c": "Product"})
    org.update("Contact", done["contact_id"], {"Title": "VP Product, “Growth”", "cbit__Clearbit__c": clearbit})
    task = org.insert("Task", {"Subject": "Kick-off", "WhoId": done["contact_id"], "Status": "Not Started"})
    yield
    org.update("Task", task, {"Status": "Completed"})
    org.touch("Contact", done["contact_id"])
    double = org.insert(
        "Contact", {"LastName": "Moreau", "FirstName": "A.", "AccountId": account, "Email": "ana.m@example.com"}
    )
    yield
    org.merge("Contact", done["contact_id"], [double])
    elsewhere = org.insert("Account", {"Name": "Quillfield"})
    yield
    org.update("Contact", done["contact_id"], {"AccountId": elsewhere, "Email": "ana@quillfield.example.com"})
    yield
    org.delete("Contact", done["contact_id"])
    yield
    org.undelete("Contact", done["contact_id"])
    clock.advance(1)
    yield
