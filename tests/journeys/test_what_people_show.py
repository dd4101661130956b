"""Particular things that must reach a person's row, each told by itself."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from compare import assert_equal

from integration.sandbox.model import FieldDef

Found = Callable[..., Any]


def person(company: Any, contact_id: str) -> dict[str, Any]:
    [row] = company.query(f"SELECT * FROM users WHERE contact_id = '{contact_id}'")
    return dict(row)


def contact(company: Any, name: str, **fields: Any) -> str:
    return str(company.org.insert("Contact", {"LastName": name, **fields}))


def test_an_account_change_reaches_all_its_people_and_nobody_else(found: Found) -> None:
    company = found(build=False)
    acme, other = (company.org.insert("Account", {"Name": n, "Industry": "Media"}) for n in ("Acme", "Other"))
    people = [contact(company, f"Person {n}", AccountId=acme) for n in range(300)]
    bystander = contact(company, "Bystander", AccountId=other)
    company.sync()
    company.clock.advance(5)
    company.org.update("Account", acme, {"Industry": "Software"})

    report = company.sync()

    assert report.users_written == len(people)
    rows = company.query("SELECT contact_id, sfdc_account_industry AS industry FROM users")
    assert {r["contact_id"] for r in rows if r["industry"] == "Software"} == set(people)
    assert person(company, bystander)["sfdc_account_industry"] == "Media"
    assert_equal(company)


def test_an_enriched_record_that_changes_reaches_people_and_accounts(found: Found) -> None:
    company = found(build=False)
    clearbit = company.org.insert("cbit__Clearbit__c", {"Name": "CB", "cbit__Role__c": "Sales"})
    acme = company.org.insert("Account", {"Name": "Acme", "cbit__Clearbit__c": clearbit})
    ana = contact(company, "Ana", AccountId=acme, cbit__Clearbit__c=clearbit)
    company.sync()
    assert person(company, ana)["sfdc_contact_cbit_role"] == "Sales"
    company.clock.advance(5)
    company.org.update("cbit__Clearbit__c", clearbit, {"cbit__Role__c": "Product", "cbit__Company_Size__c": 40})

    company.sync()

    row = person(company, ana)
    assert (row["sfdc_contact_cbit_role"], row["sfdc_account_cbit_company_size"]) == ("Product", 40)
    [account] = company.query("SELECT sfdc_account_cbit_role AS role FROM accounts")
    assert account["role"] == "Product"
    names = [
        r["name"] for r in company.query("SELECT name FROM events WHERE object = 'cbit__Clearbit__c' ORDER BY time")
    ]
    assert names == ["Clearbit Created", "Clearbit Updated"]
    company.clock.advance(5)
    company.org.delete("cbit__Clearbit__c", clearbit)
    company.sync()
    assert person(company, ana)["sfdc_contact_cbit_role"] is None


def test_a_new_field_becomes_a_column_and_its_first_value_a_change(found: Found) -> None:
    company = found(build=False)
    ana = contact(company, "Ana")
    company.sync()
    company.org.add_field("Contact", FieldDef("Rating_2__c", "double", precision=18, scale=2))
    company.clock.advance(5)
    company.org.update("Contact", ana, {"Rating_2__c": 7.25})

    company.sync()

    assert person(company, ana)["sfdc_contact_rating_2"] == Decimal("7.25")
    changes = company.query("SELECT property, old_value, new_value FROM changes")
    assert changes == [{"property": "sfdc_contact_rating_2", "old_value": None, "new_value": "7.25"}]
    log = company.query("SELECT object, field, column_name, kind FROM schema_log")
    assert log == [{"object": "Contact", "field": "Rating_2__c", "column_name": "rating_2__c", "kind": "added"}]
    assert_equal(company)


def test_a_field_that_changes_its_type_gets_a_column_of_its_own(found: Found) -> None:
    company = found(build=False)
    company.org.add_field("Contact", FieldDef("Rating_2__c", "string", length=20))
    ana = contact(company, "Ana", Rating_2__c="high")
    company.sync()
    company.org.remove_field("Contact", "Rating_2__c")
    company.org.add_field("Contact", FieldDef("Rating_2__c", "double", precision=18, scale=2))
    company.clock.advance(5)
    company.org.update("Contact", ana, {"Rating_2__c": 9.5})

    company.sync()

    row = person(company, ana)
    assert (row["sfdc_contact_rating_2_decimal"], row["sfdc_contact_rating_2"]) == (Decimal("9.5"), None)
    kinds = {r["column_name"]: r["column_type"] for r in company.query("DESCRIBE users")}
    assert kinds["sfdc_contact_rating_2"] == "VARCHAR"


def test_x_money_arrives_digit_for_digit(found: Found) -> None:
    company = found(build=False)
    acme = company.org.insert("Account", {"Name": "Acme", "AnnualRevenue": 12345678901234.56, "MRR__c": 0.1 + 0.2})
    ana = contact(company, "Ana", AccountId=acme)
    company.sync()

    row = person(company, ana)

    assert row["sfdc_account_annual_revenue"] == Decimal("12345678901234.56")
    assert row["sfdc_account_mrr"] == Decimal(repr(0.1 + 0.2))
    assert_equal(company)


def test_a_shared_mailbox_stays_many_people_until_few_enough_share_it(found: Found) -> None:
    company = found(build=False, HEADRACE_IDENTITY__MAX_CLUSTER="3")
    people = [contact(company, f"P{n}", Email=" Info@Example.com" if n % 2 else "info@example.com ") for n in range(4)]
    company.sync()
    assert len(company.query("SELECT 1 FROM users")) == 4
    assert company.query("SELECT 1 FROM identities WHERE kind = 'email'") == []
    company.clock.advance(5)
    company.org.delete("Contact", people[3])

    company.sync()

    live = company.query("SELECT user_id, identity FROM users WHERE NOT is_deleted")
    assert live == [{"user_id": people[0], "identity": "info@example.com"}]
    aliases = {r["alias"] for r in company.query(f"SELECT alias FROM identities WHERE user_id = '{people[0]}'")}
    assert aliases == {*people[:3], "info@example.com"}


def test_without_match_email_only_merges_and_conversions_join(found: Found) -> None:
    company = found(build=False, HEADRACE_IDENTITY__MATCH_EMAIL="false")
    contact(company, "Ana", Email="ana@example.com")
    company.org.insert("Lead", {"LastName": "Ana", "Company": "Acme", "Email": "ana@example.com"})
    lead = company.org.insert("Lead", {"LastName": "Bo", "Company": "Bo Inc."})
    company.org.convert_lead(lead, with_opportunity=False)

    company.sync()

    assert len(company.query("SELECT 1 FROM users")) == 3


def test_events_follow_a_person_who_is_stitched_and_torn_apart_again(found: Found) -> None:
    company = found(build=False)
    ana = contact(company, "Ana", Email="ana@example.com")
    lead = company.org.insert("Lead", {"LastName": "Ana", "Company": "Acme", "Email": "ANA@example.com"})
    company.sync()

    def owners() -> dict[str, str]:
        rows = company.query(
            "SELECT record_id, user_id FROM contact_created UNION ALL SELECT record_id, user_id FROM lead_created"
        )
        return {r["record_id"]: r["user_id"] for r in rows}

    assert owners() == {ana: ana, lead: ana}
    company.clock.advance(5)
    company.org.update("Lead", lead, {"Email": "other@example.com"})
    company.sync()
    assert owners() == {ana: ana, lead: lead}
    assert_equal(company)


@pytest.mark.parametrize("excluded", ["Contact.Birthdate", "Birthdate", "*.Birth*"])
def test_a_private_field_never_leaves_salesforce(found: Found, excluded: str) -> None:
    company = found(build=False, HEADRACE_PRIVACY__EXCLUDE=excluded)
    contact(company, "Ana", Birthdate="1990-01-02")

    company.sync()

    assert "1990-01-02" not in str(company.query("SELECT payload FROM captures"))
    assert "sfdc_contact_birthdate" not in {r["column_name"] for r in company.query("DESCRIBE users")}
