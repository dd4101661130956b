"""`headrace explain`: every value is held against the record and the field that are named for it."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def explain(sample: Any, capsys: Printed) -> Callable[..., Any]:
    """Explain somebody: what --json prints."""

    def run(whom: str, *options: str) -> Any:
        assert sample.run("explain", whom, "--json", *options) == 0
        return json.loads(capsys.readouterr().out, parse_float=Decimal)

    return run


def people(sample: Any, where: str = "true", limit: int = 5) -> list[dict[str, Any]]:
    return sample.rows(f"SELECT * FROM users WHERE {where} ORDER BY hash(user_id) LIMIT {limit}")


def same(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str) and re.match(r"\d{4}-\d\d-\d\dT", a) and "T" in b:
        return datetime.fromisoformat(a) == datetime.fromisoformat(b)
    numbers = isinstance(a, int | float | Decimal) and isinstance(b, int | float | Decimal)
    return Decimal(str(a)) == Decimal(str(b)) if numbers and not isinstance(a, bool) else a == b


def test_every_property_is_the_field_of_the_record_that_is_named(sample: Any, explain: Callable[..., Any]) -> None:
    names = {r["property"]: r for r in sample.rows("SELECT * FROM headrace.properties WHERE field <> 'IsDeleted'")}
    shown = 0
    for person in people(sample):
        told = {p["property"]: p for p in explain(person["user_id"])["properties"]}
        assert told.keys() == {n for n in person if n != "opportunity_id"}
        raw: dict[tuple[str, str], dict[str, Any]] = {}
        for name, one in told.items():
            assert same(one["value"], person[name]), name
            if name in names and one["record_id"] is not None:
                key = (one["object"], one["record_id"])
                if key not in raw:
                    [raw[key]] = sample.rows(f"SELECT * FROM salesforce.{key[0]} WHERE id = '{key[1]}'")
                assert same(raw[key][names[name]["column_name"]], person[name]), name
                assert one["field"] == names[name]["field"]
                assert same(raw[key]["systemmodstamp"], one["version"])
                shown += one["is_filled"]
            elif name in names:
                assert person[name] is None, name
    assert shown > 250


def test_a_value_is_told_with_the_last_event_that_changed_it(sample: Any, explain: Callable[..., Any]) -> None:
    changes = sample.rows("SELECT c.*, e.name, e.seen_at FROM changes c JOIN events e USING (event_id)")
    changed = {c["user_id"] for c in changes if c["user_id"]}
    found = 0
    for user_id in sorted(changed)[:4]:
        for one in explain(user_id)["properties"]:
            mine = [c for c in changes if (c["record_id"], c["field"]) == (one["record_id"], one["field"])]
            if mine and one["set_by"]:
                last = {c["event_id"]: c for c in mine if c["time"] == max(c["time"] for c in mine)}
                assert one["set_by"]["how"] == "changed"
                assert one["set_by"]["event"] == last[one["set_by"]["event_id"]]["name"]
                if one["field"] in ("Title", "StageName", "Phone"):
                    assert last[one["set_by"]["event_id"]]["new_value"] == one["value"]
                found += 1
            elif one["set_by"]:
                assert one["set_by"]["how"] == "first seen"
                assert one["set_by"]["event"].endswith(" Created")
    assert found > 3


def test_who_set_a_value_is_told_by_name(sample: Any, explain: Callable[..., Any]) -> None:
    [change] = sample.rows(
        "SELECT user_id, property, actor_id FROM changes JOIN users USING (user_id) "
        "WHERE object = 'Contact' AND record_id = contact_id AND field = 'Title' "
        "AND new_value = sfdc_contact_title ORDER BY time DESC LIMIT 1"
    )
    [told] = explain(change["user_id"], "--property", change["property"])["properties"]
    [actor] = sample.rows(f"SELECT name FROM salesforce.user WHERE id = '{change['actor_id']}'")
    assert (told["set_by"]["actor_id"], told["set_by"]["actor"]) == (change["actor_id"], actor["name"])


def test_roll_ups_are_told_with_the_opportunities_they_count(sample: Any, explain: Callable[..., Any]) -> None:
    for person in people(sample, "sfdc_opportunity_count > 0", 5):
        told = explain(person["user_id"], "--property", "sfdc_opportunity_*_amount")
        counted = told["opportunities"]
        assert len(counted) == person["sfdc_opportunity_count"]
        for kind in ("open", "won"):
            amounts = [o["amount"] or 0 for o in counted if f"sfdc_opportunity_{kind}_amount" in o["counts_in"]]
            assert same(sum(map(Decimal, amounts)), person[f"sfdc_opportunity_{kind}_amount"])


def test_a_person_is_found_by_every_name(sample: Any, explain: Callable[..., Any]) -> None:
    [person] = people(sample, "contact_id IS NOT NULL AND identity IS NOT NULL AND NOT is_deleted", 1)
    told = explain(person["user_id"])
    for name in (person["identity"].upper(), f" {person['email']} ", person["contact_id"], person["contact_id"][:15]):
        assert explain(name) == told
    [lead] = people(sample, "lead_id IS NOT NULL", 1)
    assert explain(lead["lead_id"])["id"] == lead["user_id"]
    aliases = {row["alias"] for row in sample.rows(f"SELECT * FROM identities WHERE user_id = '{told['id']}'")}
    assert {alias["alias"] for alias in told["aliases"]} == aliases


def test_an_account_is_taken_apart_too(sample: Any, explain: Callable[..., Any]) -> None:
    [account] = sample.rows("SELECT * FROM accounts WHERE sfdc_opportunity_count > 0 ORDER BY account_id LIMIT 1")
    told = explain(account["account_id"])
    assert (told["kind"], told["id"], told["aliases"]) == ("account", account["account_id"], [])
    shown = {p["property"]: p["value"] for p in told["properties"]}
    assert {name: shown[name] for name in shown if not same(shown[name], account[name])} == {}
    assert len(told["opportunities"]) == account["sfdc_opportunity_count"]
    assert any(source["object"] == "cbit__Clearbit__c" for source in told["sources"])


def test_without_values_nobody_is_told_of(sample: Any, capsys: Printed) -> None:
    [person] = people(sample, "identity IS NOT NULL AND sfdc_opportunity_count > 0", 1)
    names = [row["name"] for row in sample.rows("SELECT name FROM salesforce.user")]
    for form in ("--json", "--property=*"):
        assert sample.run("explain", person["user_id"], "--no-values", form) == 0
        printed = capsys.readouterr().out
        assert "sfdc_contact_last_name" in printed
        assert person["identity"].partition("@")[0] not in printed
        assert [
            n
            for n in (*names, str(person["sfdc_opportunity_open_amount"] or "--"), person["sfdc_account_name"])
            if n in printed
        ] == []


def test_a_person_is_printed_for_people(sample: Any, capsys: Printed) -> None:
    [person] = people(sample, "contact_id IS NOT NULL AND account_id IS NOT NULL", 1)
    assert sample.run("explain", person["user_id"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"Person {person['user_id']}")
    assert f"AccountId of contact {person['contact_id']}" in printed.out
    assert re.search(r"^PROPERTY +VALUE +RECORD +FIELD +VERSION +EVENT +SET +BY$", printed.out, re.MULTILINE)
    assert "empty properties are left out" in printed.err
    assert sample.run("explain", person["user_id"], "--property", "sfdc_contact_title") == 0
    assert len(capsys.readouterr().out.splitlines()[-1].split()) > 5


@pytest.mark.parametrize(
    ("whom", "said"),
    [
        ("nobody@nowhere.example.com", r"No person in the store has the e-mail address \*\*\*@nowhere\.example\.com\."),
        ("  ", "Whom to explain\\? Give an e-mail address"),
        ("Ada", "That is no record id: one has 15 or 18 letters and digits"),
        ("003000000000001AAB", "That is no record id: its last three characters"),
        ("0035g00000zzzzz", r"The store has no person and no account of the id 0035g00000zzzzz\w{3}: headrace why"),
        ("'; DROP TABLE users; --", "That is no record id"),
    ],
)
def test_nobody_is_one_sentence(whom: str, said: str, sample: Any, capsys: Printed) -> None:
    assert sample.run("explain", whom) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.match(f"headrace: {said}", printed.err)
    assert printed.err.count("\n") == 1


def test_a_slip_in_an_e_mail_names_the_person_that_may_be_meant(sample: Any, capsys: Printed) -> None:
    [person] = people(sample, "identity IS NOT NULL AND NOT is_deleted", 1)
    assert sample.run("explain", "x" + person["identity"]) == 2
    said = capsys.readouterr().err
    assert person["user_id"] in said
    assert person["identity"].partition("@")[0] not in said


def test_a_record_that_is_no_person_is_sent_to_why(sample: Any, capsys: Printed) -> None:
    [deal] = sample.rows("SELECT id FROM salesforce.opportunity LIMIT 1")
    assert sample.run("explain", deal["id"]) == 2
    assert f"headrace why {deal['id']} follows the record itself." in capsys.readouterr().err


def test_a_glob_that_fits_nothing_is_said(sample: Any, capsys: Printed) -> None:
    [person] = people(sample, limit=1)
    assert sample.run("explain", person["user_id"], "--property", "sfdc_nothing_*") == 2
    assert "No property of this person is called sfdc_nothing_*" in capsys.readouterr().err
