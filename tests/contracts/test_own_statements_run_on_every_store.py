"""headrace's own SQL is written once, in DuckDB's dialect: here every statement of it runs on every store.

They are found in the code, not listed: what begins with SELECT, WITH or DESCRIBE. Where a statement is put together
from parts, a sample stands for each part (SAMPLES); a new kind of part fails until it has one.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import consumers
import integration
from consumers.apply import Flattener
from consumers.rules import Rules
from integration.core import catalog
from integration.core.catalog import ObjectSchema
from integration.store.answers import ask
from integration.store.definitions.salesforce_users import DONE_BY_THEM
from integration.store.protocol import Store
from integration.wiring import replay_plan
from integration.wiring.report import fitted, names, report

FOLDERS = [Path(consumers.__path__[0]), *(Path(integration.__path__[0]) / name for name in ("wiring", "cli", "web"))]
BEGINS = re.compile(r"\s*(?:SELECT|WITH|DESCRIBE)\s+\S")
SOQL = re.compile(r"^SELECT (?:Id FROM|\{listed\})")
PART = re.compile(r"\{([^{}]+)\}")
MAIL = "lower(trim(email, ' \t'))"
SAMPLES = {
    "at": "2026-01-01T00:00:00Z",
    "begin": "'ann@ex'",
    "columns": "user_id, is_deleted",
    "customers": " AND sfdc_account_account_type = 'Paying Customer'",
    "defined": "SELECT user_id FROM headrace.users_defined",
    "each": f"SELECT {MAIL} AS email FROM salesforce.contact WHERE NOT is_deleted AND {MAIL} <> ''",
    "email": "'a@example.com'",
    "end": "'le.com'",
    "few": "6",
    "filled": "sfdc_contact_title IS NOT NULL",
    "id": "'003'",
    "ids": "'003', '001'",
    "kind": "title",
    "limit:d": "10",
    "live": "NOT is_deleted",
    "mail": MAIL,
    "most": "25",
    "name": "title",
    "names": "'a@example.com'",
    "names.PRODUCT_STREAM": "product.events",
    "object": "Contact",
    "report.started_at": "2026-01-01T00:00:00Z",
    "revenue": "annual_revenue",
    "stream": "crm.contact",
    "user_id": "003",
    "LISTED_AT_ONCE": "10",
    "MARK": "replay",
    "_RUNS": "migrate:",
    "_stored(since, until)": "SELECT object, record_id, stored_at, 1 AS n FROM captures",
    "_having(since, until)": "",
}
# The same word for another thing, by the file and how the statement begins.
SAMPLES_OF = {
    ("people.py", ""): {"table": "events"},
    ("store.py", "SELECT {mail}"): {"table": "contact"},
    ("store.py", "SELECT count(*) AS n FROM (({table}"): {"table": "SELECT user_id FROM users"},
    ("personas.py", ""): {
        "used": "SELECT actor_id AS member_id, time FROM events",
        "literal(name)": "'Contact'",
        "literal(field)": "'Title'",
        "DONE_BY_THEM": DONE_BY_THEM,
    },
    ("why.py", ""): {"id": "003"},
    ("backtest.py", ""): {"among_events(names)": "name IN ('Sign Up')"},
    ("migrate_tables.py", ""): {
        "each": "''",
        "group": "",
        "key": "capture_id",
        "literal(table)": "'captures'",
        "numbered": "SELECT capture_id AS k, row_number() OVER (ORDER BY capture_id) AS n FROM captures",
        "own": "",
        "size": "10",
        "table_name(table)": "captures",
        "table_name(part.table)": "captures",
        "_within(Page(part, after, None))": "capture_id IS NOT NULL",
        "_BOUNDS_AT_ONCE": "10",
    },
    ("replay_plan.py", ""): {
        "each": "SELECT object, record_id, 1 AS n, stored_at AS first, stored_at AS last FROM captures"
    },
}
FIELDS = {
    "Account": {
        "Name": "string",
        "Type": "picklist",
        "Industry": "string",
        "AnnualRevenue": "currency",
        "ARR__c": "currency",
        "ParentId": "reference",
    },
    "Contact": {"Title": "string", "Email": "email", "AccountId": "reference"},
    "Lead": {
        "Email": "email",
        "IsConverted": "boolean",
        "Company": "string",
        "LeadSource": "picklist",
        **dict.fromkeys(("ConvertedAccountId", "ConvertedContactId", "ConvertedOpportunityId"), "reference"),
    },
    "Campaign": {"Name": "string"},
    "Opportunity": {
        "Name": "string",
        "StageName": "picklist",
        "Amount": "currency",
        "CloseDate": "date",
        "AccountId": "reference",
        "IsClosed": "boolean",
        "IsWon": "boolean",
        "Probability": "percent",
    },
    "OpportunityContactRole": {"ContactId": "reference", "OpportunityId": "reference"},
    "User": {"Name": "string"},
    "Task": {"WhatId": "reference", "AccountId": "reference"},
}
EVERYWHERE = {"Id": "id", "IsDeleted": "boolean", "OwnerId": "reference"} | dict.fromkeys(
    ("CreatedDate", "SystemModstamp"), "datetime"
)


def part_of(value: ast.expr) -> str:
    assert isinstance(value, ast.FormattedValue)
    return f"{{{ast.unparse(value.value)}}}"


def texts(tree: ast.AST) -> Iterator[str]:
    """Give every text of a module, the parts of a composed one in braces."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else part_of(v) for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def statements() -> Iterator[tuple[str, str]]:
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.py")):
            if path.parent.name == "definitions" or path.name in ("defining.py", "definitions.py"):
                continue  # pieces of statements; test_definitions_say_who_is_a_member runs them put together
            for text in texts(ast.parse(path.read_text("utf-8"))):
                if BEGINS.match(text) and not SOQL.match(text):
                    yield path.name, text


STATEMENTS = sorted(set(statements()))


def filled_in(file: str, text: str) -> str:
    samples = dict(SAMPLES)
    for (where, beginning), others in SAMPLES_OF.items():
        if where == file and text.strip().startswith(beginning):
            samples |= others
    unknown = set(PART.findall(text)) - samples.keys()
    assert not unknown, f"give a sample for {', '.join(sorted(unknown))} of {file}"
    return PART.sub(lambda found: samples[found[1]], text)


def parameters(sql: str) -> list[object]:
    kinds = re.findall(r"(any\(|CAST\()?\?", sql)
    return [{"any(": ["x"], "CAST(": "2026-01-01T00:00:00Z"}.get(kind, "x") for kind in kinds]


def schema(name: str) -> ObjectSchema:
    fields = [{"name": field, "type": kind} for field, kind in (EVERYWHERE | FIELDS[name]).items()]
    for field in fields:
        field |= {"precision": 18, "scale": 2} if field["type"] == "currency" else {}  # type: ignore[dict-item]
    found = catalog.schema_from_describe({"name": name, "fields": fields})
    assert found is not None
    return found


@pytest.fixture(scope="module")
def announced(module_store: Store) -> Store:
    Flattener(module_store, Rules({}, {}), now=lambda: "2026-01-02T00:00:00Z", fetch_schema=lambda _id: None).announce(
        [schema(name) for name in FIELDS]
    )
    return module_store


def test_there_are_statements_to_try() -> None:
    assert len(STATEMENTS) > 80


@pytest.mark.parametrize(
    ("file", "text"), STATEMENTS, ids=[f"{file}: {' '.join(sql.split())[:60]}" for file, sql in STATEMENTS]
)
def test_a_statement_of_the_code_runs(file: str, text: str, announced: Store) -> None:
    sql = filled_in(file, text)
    given = parameters(sql)
    if given:
        with announced.reading() as reading:
            assert isinstance(reading.rows(sql, given), list)
    else:
        assert isinstance(ask(announced, sql), list)


@pytest.mark.parametrize("name", names())
def test_a_report_runs(name: str, announced: Store) -> None:
    assert isinstance(ask(announced, fitted(announced, report(name)).sql), list)


def test_what_the_store_lacks_is_null_in_a_report(announced: Store) -> None:
    """There is an ARR here, and no title of leads: `sign-ups-by-title` asks for both."""
    sql = fitted(announced, report("sign-ups-by-title")).sql
    assert "{" not in sql
    assert "CAST(NULL AS VARCHAR)" in sql
    assert "sfdc_lead_title" not in sql
    assert "sfdc_account_arr" in sql


@pytest.mark.parametrize("since", [None, "2026-01-01T00:00:00Z"])
@pytest.mark.parametrize("until", [None, "2026-02-01T00:00:00Z"])
def test_records_are_listed_for_a_replay(since: str | None, until: str | None, announced: Store) -> None:
    with announced.reading() as reading:
        assert reading.rows(replay_plan.records_sql(since, until), ["Contact", ""]) == []


@pytest.mark.parametrize(
    "name", ["users", "accounts", "user_events", "headrace.users_defined", "salesforce.opportunity"]
)
def test_a_table_or_view_of_its_own_can_be_read(name: str, announced: Store) -> None:
    assert ask(announced, f"SELECT * FROM {name}") == []
