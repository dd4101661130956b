"""A folder of CSV files exported from a Salesforce org becomes an org whose people are all there, field by field.

What must come out is read from the files here, with nothing but the csv module.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from shell import ROOT, Shell, refusal

from integration.sandbox.export import load_export
from integration.wiring.catalog import catalog

Found = Callable[..., Any]
Rows = list[dict[str, str]]

PUBLISHED = ROOT.parent / "shared" / "data" / "sfdc_demo_org_export"
NO_LOOKUPS = {"HEADRACE_OBJECTS__Contact__ENRICH": "", "HEADRACE_OBJECTS__Account__ENRICH": ""}
STAMPS = ",CreatedDate,SystemModstamp"
BORN = ",2024-01-22T14:49:34.000+0000,2024-01-23T15:17:54.000+0000"

OWN = {
    "Account": f"\ufeffId,Name,Type,Industry,AnnualRevenue,Tier__c{STAMPS}\n"
    f'001000000000001AAA,"Acme, Inc.",Paying Customer,Software,6759560.25,Gold{BORN}\n'
    f"001000000000002AAA,Initech,Prospect,Media,,{BORN}\n",
    "Contact": f"Id,IsDeleted,AccountId,FirstName,LastName,Email,Title,Birthdate,DoNotCall,Shoe_Size__c,Note__c,Widget__c{STAMPS}\n"
    f'003000000000001AAA,0,001000000000001AAA,Bea,Reyes,Bea.Reyes@Example.com,CTO,1982-10-01,1,42.5,"two\nlines",a1W000000000001AAA{BORN}\n'
    f"003000000000002AAA,,001000000000001AAA,Cem,Díaz,cem.diaz@example.com,null,,,38,,{BORN}\n"
    f"003000000000003AAA,,,Dana,Null,,,,,,,{BORN}\n"
    f"003000000000004AAA,true,001000000000002AAA,Eve,Gone,eve@example.com,CFO,,,,,{BORN}\n",
    "Lead": f"Id,LastName,Company,Status,Email,Score_Now__c{STAMPS}\n"
    f"00Q000000000001AAA,Reyes,Acme,New,BEA.REYES@example.com ,7{BORN}\n"
    f"00Q000000000002AAA,Fox,Globex,Working,fox@example.org,{BORN}\n",
    "Opportunity": f"Id,AccountId,Name,StageName,Amount,CloseDate,IsClosed,IsWon{STAMPS}\n"
    f"006000000000001AAA,001000000000001AAA,Acme 2024,Prospecting,1124741.15,2030-11-10,,{BORN}\n"
    f"006000000000002AAA,001000000000001AAA,Acme 2023,Closed Won,10.10,2023-06-17,1,1{BORN}\n",
    "Widget__c": f"Id,Name,Weight__c{STAMPS}\na1W000000000001AAA,W-1,0.1{BORN}\n",
}


@pytest.fixture(scope="module")
def own_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of our own, small and with everything awkward in it."""
    folder = tmp_path_factory.mktemp("export")
    for name, text in OWN.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
    return folder


@pytest.fixture(scope="module", params=["own", "published"])
def export(request: pytest.FixtureRequest, own_export: Path) -> Path:
    if request.param == "published" and not PUBLISHED.is_dir():
        pytest.skip("the published export is not here")
    return own_export if request.param == "own" else PUBLISHED


def read(export: Path, name: str) -> Rows:
    with (export / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def is_true(cell: str) -> bool:
    return cell.lower() in ("1", "true")


def email_of(row: dict[str, str]) -> str:
    return row["Email"].strip().lower()


@pytest.fixture(scope="module")
def company(found_for_all: Found, export: Path) -> Any:
    """The exported org after a first sync, its custom objects watched."""
    custom = {
        f"HEADRACE_OBJECTS__{path.stem}__ENABLED": "true" for path in export.glob("*.csv") if path.stem.endswith("__c")
    }
    made = found_for_all(build=False, **NO_LOOKUPS, **custom)
    load_export(made.org, export)
    report = made.sync()
    assert report.dead_letters == 0
    return made


@pytest.fixture(scope="module")
def users(company: Any) -> dict[str, dict[str, Any]]:
    """Contact id or lead id -> the row of the person."""
    rows = {r["user_id"]: r for r in company.query("SELECT * FROM users")}
    return {r["alias"]: rows[r["user_id"]] for r in company.query("SELECT alias, user_id FROM identities")}


def test_every_contact_is_a_person_with_its_account(users: dict[str, dict[str, Any]], export: Path) -> None:
    accounts = {row["Id"]: row["Name"] for row in read(export, "Account")}
    contacts = read(export, "Contact")
    for row in contacts:
        person = users[row["Id"]]
        assert person["contact_id"] == row["Id"]
        assert person["account_id"] == (row["AccountId"] or None)
        assert person["sfdc_account_name"] == accounts.get(row["AccountId"])
        assert person["is_deleted"] is is_true(row.get("IsDeleted", ""))
    if export == PUBLISHED:
        assert len(contacts) == 102
        assert not any(person["is_deleted"] for person in users.values())


def test_there_are_exactly_the_people_of_the_files(company: Any, export: Path) -> None:
    people = {
        email_of(row) if email_of(row) and not is_true(row.get("IsDeleted", "")) else row["Id"]
        for name in ("Contact", "Lead")
        for row in read(export, name)
    }
    [counted] = company.query("SELECT count(*) AS n FROM users")
    assert counted["n"] == len(people)


def test_every_e_mail_leads_to_one_person(users: dict[str, dict[str, Any]], export: Path) -> None:
    for name in ("Contact", "Lead"):
        for row in read(export, name):
            if email_of(row) and not is_true(row.get("IsDeleted", "")):
                assert users[email_of(row)]["user_id"] == users[row["Id"]]["user_id"]
                assert users[row["Id"]]["identity"] == email_of(row)


@pytest.mark.parametrize("name", ["Contact", "Lead"])
def test_every_cell_is_a_property(name: str, company: Any, users: dict[str, dict[str, Any]], export: Path) -> None:
    named = {
        row["field"]: (row["property"], row["type"])
        for row in catalog(company.settings)
        if row["object"] == row["prefix_object"] == name and row["property"]
    }
    rows = read(export, name)
    fields = [field for field in rows[0] if field in named]
    assert any(field.endswith("__c") for field in fields)
    compared = Counter[str]()
    for row in rows:
        person = users[row["Id"]]
        if person[f"{name.lower()}_id"] != row["Id"]:
            continue  # another record of this person is shown
        for field in fields:
            column, kind = named[field]
            assert value(person[column], kind) == value(row[field], kind), (row["Id"], field)
            compared[field] += row[field] != ""
    assert sum(compared.values()) > 3 * len(rows)


@pytest.mark.parametrize("name", ["Account", "Opportunity"])
def test_every_cell_is_in_the_raw_table(name: str, company: Any, export: Path) -> None:
    raw = {row["id"]: row for row in company.query(f"SELECT * FROM salesforce.{name.lower()}")}
    kinds = {row["field"]: row["type"] for row in catalog(company.settings) if row["object"] == name}
    rows = read(export, name)
    assert raw.keys() == {row["Id"] for row in rows}
    for row in rows:
        for field in (field for field in row if field in kinds):
            stored = raw[row["Id"]][field.lower()]
            assert value(stored, kinds[field]) == value(row[field], kinds[field]), (row["Id"], field)


def test_people_carry_the_opportunities_of_their_account(users: dict[str, dict[str, Any]], export: Path) -> None:
    deals = read(export, "Opportunity")
    counts = Counter(row["AccountId"] for row in deals)
    won: dict[str, Decimal] = {}
    for row in deals:
        if is_true(row["IsWon"]):
            won[row["AccountId"]] = won.get(row["AccountId"], Decimal(0)) + Decimal(row["Amount"] or 0)
    for row in read(export, "Contact"):
        person = users[row["Id"]]
        assert person["sfdc_opportunity_count"] == counts.get(row["AccountId"], 0)
        assert person["sfdc_opportunity_won_amount"] == won.get(row["AccountId"], 0)


def test_custom_objects_are_there_too(company: Any, export: Path) -> None:
    for path in export.glob("*__c.csv"):
        rows = read(export, path.stem)
        found = {r["id"]: r["name"] for r in company.query(f"SELECT id, name FROM salesforce.{path.stem.lower()}")}
        assert found == {row["Id"]: row["Name"] for row in rows}


def value(cell: Any, kind: str) -> Any:
    """Bring a cell of a file, or a value of the store, into one form."""
    if kind == "boolean":
        return is_true(str(cell))
    if cell is None or cell == "" or (isinstance(cell, str) and cell.startswith("000000000000000")):
        return None
    if kind in ("integer", "decimal"):
        return Decimal(str(cell))
    if kind == "timestamptz" or kind == "timestamp":
        return datetime.fromisoformat(str(cell)).astimezone(UTC)
    return str(cell)[:10] if kind == "date" else cell


# --- through the command line


@pytest.fixture
def terminal(tmp_path: Path) -> Shell:
    return Shell(tmp_path, {})


@pytest.mark.slow
def test_the_demo_starts_from_the_folder(export: Path, terminal: Shell) -> None:
    done = terminal.run("demo", "--data", str(export), "--exit", "--json", "--dir", "here")

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["told"]["Contact"] == len(read(export, "Contact"))
    assert shown["sync"]["dead_letters"] == 0
    assert shown["views"][0]["rows"]
    ask = ("sql", "--config", "here/headrace.toml", "--json")
    [counted] = json.loads(terminal.run(*ask, "SELECT count(*) AS n FROM events WHERE name = 'Contact Created'").stdout)
    assert counted["n"] >= len(read(export, "Contact"))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "has no CSV files; put one per object there, for example Account.csv."),
        ({"Contact": "Name\nBea\n"}, "Contact.csv has no Id column; export it again with Id among the fields."),
        ({"Contact": "Id,LastName\n003000000000001AAA\n"}, "Contact.csv, line 2: 1 cells for 2 columns"),
        ({"Contact": "Id,Birthdate\n003000000000001AAA,soon\n"}, "'soon' is no date for the column Birthdate"),
    ],
    ids=["empty", "no ids", "a short line", "no date"],
)
def test_a_folder_that_is_no_export_is_refused(files: dict[str, str], says: str, terminal: Shell) -> None:
    folder = terminal.folder / "export"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)

    said = refusal(terminal.run("demo", "--data", "export", "--exit"), 2)

    assert said.startswith("The demo can't start from export: ")
    assert says in said
    assert not (terminal.folder / "headrace-demo").exists()


def test_a_folder_that_is_not_there_is_refused(terminal: Shell) -> None:
    said = refusal(terminal.run("demo", "--data", "nowhere", "--exit"), 2)
    assert "nowhere is not a folder; give the folder that holds the exported CSV files." in said
