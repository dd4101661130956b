"""A folder of CSV exports in an org: every cell as it was written, in each of the three dialects."""

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox.clock import VirtualClock
from integration.sandbox.export import load_export
from integration.sandbox.guess import guess_field
from integration.sandbox.org import Org
from integration.sandbox.traffic import Traffic

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DEMO_ORG = Path(__file__).resolve().parents[3] / "shared" / "data" / "sfdc_demo_org_export"
PREFIXES = {"001": "Account", "003": "Contact", "005": "User"}

# One account, one contact, one custom record, as each kind of tool writes them.
DIALECTS: dict[str, dict[str, str]] = {
    "query tools": {"yes": "1", "no": "", "at": "2024-01-19T09:42:24.000+0000", "none": "", "id": "001Ec00000FzlUdIAJ"},
    "export service": {"yes": "1", "no": "0", "at": "2024-01-19 09:42:24", "none": "000000000000000AAA", "id": "001Ec00000FzlUdIAJ"},
    "data loaders": {"yes": "true", "no": "false", "at": "2024-01-19T10:42:24.000+01:00", "none": "", "id": "001Ec00000FzlUd"},
}  # fmt: skip


def write(folder: Path, name: str, header: list[str], *rows: list[str]) -> None:
    with (folder / f"{name}.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def fresh() -> Org:
    return Org(clock=VirtualClock(NOW))


def sample(folder: Path, d: dict[str, str]) -> None:
    write(
        folder,
        "Account",
        ["Id", "Name", "ParentId", "Strategic__c", "MRR__c", "NumberOfEmployees", "Description", "CreatedDate",
         "SystemModstamp", "OwnerId", "Support_Hours_Start__c", "Renewal_Date__c", "VIP__c", "Churned_On__c",
         "IsCustomerPortal", "BillingAddress", "ARR__c", "Owner.Name"],
        [d["id"], "Zoë's “Café”, Ltd. 🚀", d["none"], d["yes"], "1234.10", "12", "one\ntwo, three\r\nfour", d["at"],
         d["at"], "005Ec000004oBPNIA2", "07:00:00.000Z", "2024-02-29", "true", "2023-05-06", d["no"],
         '{"city":"Nyeri Hills","street":"1 Mill Lane","postalCode":"00100","latitude":-1.25}', "99", "Ann"],
        ["001Ec00000GGw3hIAD", "null", d["id"], d["no"], "", "", "", d["at"], d["at"], "005Ec000004o8yHIAQ", "", "",
         "false", "", d["yes"], "", "", ""],
    )  # fmt: skip
    write(
        folder,
        "Robot__c",
        ["Id", "Name", "IsHappy", "Maker__c", "Serial_Number__c", "Weight__c", "Born__c", "Seen__c", "Wakes__c", "Mail__c"],
        ["a01Ec000009WFup", "R2", d["yes"], d["id"], "007", "12.50", "2020-02-02", d["at"], "06:30:00", "r2@example.com"],
        ["a01Ec000009WFuq", "C3", d["no"], d["none"], "12", "-3", "", "", "", ""],
    )  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_records(tmp_path: Path, dialect: str) -> None:
    sample(tmp_path, DIALECTS[dialect])
    org = fresh()
    assert load_export(org, tmp_path) == {"Account": 2, "Robot__c": 2, "User": 2}
    rich, poor = org.records("Account")
    expected = {
        "Id": "001Ec00000FzlUdIAJ",
        "Name": "Zoë's “Café”, Ltd. 🚀",
        "ParentId": None,
        "Strategic__c": True,
        "MRR__c": 1234.1,
        "ARR__c": 14809.2,
        "NumberOfEmployees": 12,
        "Description": "one\ntwo, three\r\nfour",
        "CreatedDate": "2024-01-19T09:42:24.000+0000",
        "SystemModstamp": "2024-01-19T09:42:24.000+0000",
        "LastModifiedDate": "2024-01-19T09:42:24.000+0000",
        "Support_Hours_Start__c": "07:00:00.000Z",
        "Renewal_Date__c": "2024-02-29",
        "VIP__c": True,
        "Churned_On__c": "2023-05-06",
        "IsCustomerPortal": False,
        "BillingCity": "Nyeri Hills",
        "BillingStreet": "1 Mill Lane",
        "BillingPostalCode": "00100",
        "BillingLatitude": -1.25,
        "BillingCountry": None,
    }
    assert {name: rich[name] for name in expected} == expected
    nothing = ("MRR__c", "NumberOfEmployees", "Description", "Support_Hours_Start__c", "Renewal_Date__c", "BillingCity")
    assert {poor[name] for name in nothing} == {None}
    assert (poor["Name"], poor["ParentId"], poor["VIP__c"]) == ("null", "001Ec00000FzlUdIAJ", False)
    assert (poor["Strategic__c"], poor["IsCustomerPortal"]) == (False, True)
    robot, other = org.records("Robot__c")
    assert {
        name: robot[name] for name in robot if name in ("IsHappy", "Maker__c", "Serial_Number__c", "Weight__c")
    } == {
        "IsHappy": True,
        "Maker__c": "001Ec00000FzlUdIAJ",
        "Serial_Number__c": "007",
        "Weight__c": 12.5,
    }
    assert (robot["Born__c"], robot["Seen__c"], robot["Wakes__c"]) == (
        "2020-02-02", "2024-01-19T09:42:24.000+0000", "06:30:00.000Z",
    )  # fmt: skip
    assert (other["IsHappy"], other["Maker__c"], other["Weight__c"], other["Seen__c"]) == (False, None, -3.0, None)
    assert other["SystemModstamp"] == "2026-03-02T09:00:00.000+0000"


def test_owners_nobody_exported_become_users(tmp_path: Path) -> None:
    sample(tmp_path, DIALECTS["query tools"])
    org = fresh()
    load_export(org, tmp_path)
    owner = org.get("User", "005Ec000004oBPNIA2")
    assert owner is not None
    assert owner["Email"].endswith("@example.com")
    assert owner["CreatedDate"] == "2024-01-19T09:42:24.000+0000"
    assert owner["Name"] != (org.get("User", "005Ec000004o8yHIAQ") or {})["Name"]


def test_guessed_fields_have_the_types_of_their_values(tmp_path: Path) -> None:
    sample(tmp_path, DIALECTS["export service"])
    org = fresh()
    load_export(org, tmp_path)
    robot = {field.name: field for field in org.objects["Robot__c"].fields}
    assert {name: field.type for name, field in robot.items() if name.endswith("__c") or name == "IsHappy"} == {
        "IsHappy": "boolean",
        "Maker__c": "reference",
        "Serial_Number__c": "string",
        "Weight__c": "double",
        "Born__c": "date",
        "Seen__c": "datetime",
        "Wakes__c": "time",
        "Mail__c": "email",
    }
    assert robot["Maker__c"].reference_to == ("Account",)
    assert robot["Weight__c"].scale == 2
    assert org.objects["Robot__c"].key_prefix == "a01"
    assert org.objects["Robot__c"].custom


def test_names_may_be_in_any_case(tmp_path: Path) -> None:
    write(tmp_path, "account", ["ID", "NAME", "ISDELETED"], ["001Ec00000FzlUdIAJ", "Loud & Co.", "true"])
    org = fresh()
    assert load_export(org, tmp_path) == {"Account": 1}
    (account,) = org.records("Account", include_deleted=True)
    assert (account["Name"], account["IsDeleted"]) == ("Loud & Co.", True)


def test_new_records_and_traffic_work_on_a_loaded_org(tmp_path: Path) -> None:
    sample(tmp_path, DIALECTS["data loaders"])
    org = fresh()
    load_export(org, tmp_path)
    traffic = Traffic(org, seed=4)
    for _ in range(100):
        assert traffic.step()
    assert len(org.records("Account")) >= 2


# --- mistakes ----------------------------------------------------------------------------------------


def refused(folder: Path) -> str:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        load_export(fresh(), folder)
    return str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'} is not a folder; give the folder")


def test_an_empty_folder_says_what_to_put_there(tmp_path: Path) -> None:
    assert "has no CSV files; put one per object there, for example Account.csv." in refused(tmp_path)


@pytest.mark.parametrize("text", ["Name\nPark\n", ""])
def test_a_file_without_id_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "Account.csv").write_text(text)
    assert (
        refused(tmp_path) == f"{tmp_path / 'Account.csv'} has no Id column; export it again with Id among the fields."
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Id,Name\n001Ec00000FzlUdIAJ\n", "line 2: 1 cells for 2 columns"),
        ("Id,Name,name\n001Ec00000FzlUdIAJ,a,b\n", "has the column Name twice"),
        ("Id,Account Name\n001Ec00000FzlUdIAJ,a\n", "'Account Name' is not the API name of a field"),
        ("Id,MRR__c\n001Ec00000FzlUdIAJ,lots\n", "line 2: 'lots' is no currency for the column MRR__c"),
        ("Id,Strategic__c\n001Ec00000FzlUdIAJ,maybe\n", "line 2: 'maybe' is no boolean for the column Strategic__c"),
        ("Id,CreatedDate\n001Ec00000FzlUdIAJ,soon\n", "line 2: 'soon' is no datetime for the column CreatedDate"),
        ("Id,BillingAddress\n001Ec00000FzlUdIAJ,home\n", "line 2: BillingAddress is no JSON object"),
        ("Id,Name\n,a\n", "line 2: the Id is empty"),
        ("Id,Name\nfirst,a\n", "line 2: 'first' is no id for the column Id"),
        ('Id,Name\n001Ec00000FzlUdIAJ,"a"b\n', "can't be read as CSV"),
        ("Id,Name\n001Ec00000FzlUdIAJ," + "x" * 300 + "\n", "line 2: Name: data value too large"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "Account.csv").write_text(text)
    message = refused(tmp_path)
    assert str(tmp_path / "Account.csv") in message
    assert words in message


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "Account.csv").write_bytes("Id,Name\n001Ec00000FzlUdIAJ,Café\n".encode("latin-1"))
    assert "can't be read as CSV in UTF-8" in refused(tmp_path)


# --- guessing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("IsOpen", ["", "1"], "boolean"),
        ("IsOpen", [""], "boolean"),
        ("HasFun__c", ["0", "1"], "boolean"),
        ("Island__c", ["1", ""], "double"),
        ("Agreed__c", ["true", "FALSE"], "boolean"),
        ("Boss__c", ["005Ec000004oBPNIA2", "000000000000000AAA"], "reference"),
        ("Boss__c", ["005Ec000004oBPNIA3"], "string"),
        ("ThingId", ["01mEc000000JAoTIAW"] * 6, "string"),
        ("Day__c", ["2024-02-30"], "string"),
        ("EndDate", [""], "date"),
        ("LastViewedDate", [""], "datetime"),
        ("Seen__c", ["2024-01-01 00:00:00", "2024-01-01T00:00:00Z"], "datetime"),
        ("Phone__c", ["3456588094"], "phone"),
        ("Zip__c", ["4770"], "string"),
        ("CaseNumber", ["1014"], "string"),
        ("NumberOfLeads", ["0"], "int"),
        ("Count__c", ["3"], "double"),
        ("Income__c", ["93505"], "currency"),
        ("Ratio", ["0.1", "1e-7"], "double"),
        ("Code", ["01"], "string"),
        ("Site__c", ["x" * 300], "textarea"),
        ("Mood__c", ["good", "bad"] * 5, "picklist"),
        ("Mood__c", ["good", "bad"], "string"),
        ("HomeAddress", ['{"city":"Rio Seco"}'], "address"),
        ("HomeAddress", ["Rio Seco"], "string"),
    ],
)
def test_types_are_guessed_from_names_and_values(name: str, cells: list[str], kind: str) -> None:
    assert guess_field(name, cells, PREFIXES).type == kind


# --- the demo org, if it is there --------------------------------------------------------------------


def as_read(cell: str, kind: str) -> Any:
    """Read a cell of the demo org's dialect, on its own: what REST would have answered."""
    if kind == "boolean":
        return cell == "1"
    if cell == "":
        return None
    if kind in ("currency", "double", "percent", "int"):
        return float(cell)
    if kind == "address":
        return {key: value for key, value in json.loads(cell).items() if value is not None}
    return cell


@pytest.mark.skipif(not DEMO_ORG.is_dir(), reason="the demo org's export is not here")
@pytest.mark.parametrize("path", sorted(DEMO_ORG.glob("*.csv")), ids=lambda path: path.stem)
def test_every_cell_of_the_demo_org_is_in_the_org(path: Path) -> None:
    org = fresh()
    counts = load_export(org, DEMO_ORG)
    fields = {field.name: field for field in org.objects[path.stem].fields}
    records = {record["Id"]: record for record in org.records(path.stem, include_deleted=True)}
    compared = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        record = records[row["Id"]]
        for name, cell in row.items():
            field = fields[name]
            if field.type == "address":
                end = {"postalCode": "PostalCode", "geocodeAccuracy": "GeocodeAccuracy"}
                stem = name.removesuffix("Address")
                parts = {key: record[f"{stem}{end.get(key, key.title())}"] for key in json.loads(cell or "{}")}
                assert {key: value for key, value in parts.items() if value is not None} == (
                    as_read(cell, "address") or {}
                )
            else:
                assert record[name] == as_read(cell, field.type), (row["Id"], name)
            compared += 1
    assert counts[path.stem] == len(rows) == len(records)
    assert compared == len(rows) * len(rows[0])


@pytest.mark.skipif(not DEMO_ORG.is_dir(), reason="the demo org's export is not here")
def test_every_lookup_of_the_demo_org_leads_somewhere() -> None:
    org = fresh()
    load_export(org, DEMO_ORG)
    known = {row["Id"] for name in org.objects for row in org.records(name, include_deleted=True)}
    for name, definition in org.objects.items():
        for field in definition.fields:
            if field.type == "reference" and field.reference_to:
                for record in org.records(name):
                    assert record[field.name] is None or record[field.name] in known, (name, field.name)
    assert org.objects["Contact"].field("Branch__c").reference_to == ("Branch__c",)  # type: ignore[union-attr]


@pytest.mark.skipif(not DEMO_ORG.is_dir(), reason="the demo org's export is not here")
def test_the_demo_org_lives_on_under_traffic() -> None:
    org = fresh()
    load_export(org, DEMO_ORG)
    traffic = Traffic(org, seed=1)
    for _ in range(300):
        assert traffic.step()
    assert {commit.kind for commit in org.commits} >= {"created", "updated", "deleted", "merged", "converted"}
    stamps = [record["SystemModstamp"] for record in org.records("Contact")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000", text) for text in stamps)
