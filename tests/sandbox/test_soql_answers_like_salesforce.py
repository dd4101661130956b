from datetime import timedelta
from typing import Any

import pytest

from integration.sandbox import access
from integration.sandbox.org import Org, OrgError
from integration.sandbox.query import run
from integration.sandbox.soql import MAX_LENGTH


def answer(org: Org, text: str, *, include_deleted: bool = False) -> list[dict[str, Any]]:
    with org.lock:
        return run(org, text, include_deleted=include_deleted).page(0, 2000)


def values(org: Org, text: str, **more: Any) -> list[Any]:
    """The last selected column of every record."""
    return [list(record.values())[-1] for record in answer(org, text, **more)]


@pytest.fixture
def accounts(org: Org) -> dict[str, str]:
    rows: list[dict[str, Any]] = [
        {"Name": "Alpha", "Industry": "Banking", "AnnualRevenue": 100, "Products__c": "Core;Mobile"},
        {"Name": "beta", "Industry": "Energy", "AnnualRevenue": 200, "Strategic__c": True, "MRR__c": 5},
        {"Name": "O'Hara 100%", "Industry": None, "AnnualRevenue": None, "Products__c": "Core"},
        {"Name": "gamma_ray", "Industry": "Banking", "AnnualRevenue": 300, "Renewal_Date__c": "2026-05-01"},
    ]
    return {row["Name"]: org.insert("Account", row) for row in rows}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("Name = 'ALPHA'", ["Alpha"]),
        ("name = 'alpha' AND industry = 'banking'", ["Alpha"]),
        ("Industry = null", ["O'Hara 100%"]),
        ("Industry = ''", ["O'Hara 100%"]),
        ("Industry != null", ["Alpha", "beta", "gamma_ray"]),
        ("Industry != 'Banking'", ["beta", "O'Hara 100%"]),
        ("Industry <> 'Banking'", ["beta", "O'Hara 100%"]),
        ("AnnualRevenue > 100", ["beta", "gamma_ray"]),
        ("AnnualRevenue <= 100.0", ["Alpha"]),
        ("AnnualRevenue != 100", ["beta", "O'Hara 100%", "gamma_ray"]),
        ("NOT AnnualRevenue > 100", ["Alpha", "O'Hara 100%"]),
        ("Strategic__c = true", ["beta"]),
        ("Strategic__c != TRUE", ["Alpha", "O'Hara 100%", "gamma_ray"]),
        ("Name LIKE '%a'", ["Alpha", "beta"]),
        ("Name LIKE '_eta'", ["beta"]),
        (r"Name LIKE '%\_%'", ["gamma_ray"]),
        (r"Name LIKE 'O\'H%\%'", ["O'Hara 100%"]),
        ("Name IN ('alpha', 'nobody')", ["Alpha"]),
        ("Industry NOT IN ('Banking')", ["beta", "O'Hara 100%"]),
        ("Industry IN ('Energy', null)", ["beta", "O'Hara 100%"]),
        ("Products__c INCLUDES ('Mobile')", ["Alpha"]),
        ("Products__c INCLUDES ('Core;Mobile', 'Support')", ["Alpha"]),
        ("Products__c EXCLUDES ('Mobile')", ["beta", "O'Hara 100%", "gamma_ray"]),
        ("Renewal_Date__c >= 2026-05-01", ["gamma_ray"]),
        ("ARR__c = 60", ["beta"]),
        ("(Name = 'Alpha' OR Name = 'beta') AND (NOT Industry = 'Energy')", ["Alpha"]),
        ("Name < 'C'", ["Alpha", "beta"]),
        ("Owner.Name = 'Integration User' AND Owner.IsActive = true AND Name LIKE 'A%'", ["Alpha"]),
        ("CreatedDate = 2026-03-02T10:00:00+01:00", ["Alpha", "beta", "O'Hara 100%", "gamma_ray"]),
        ("CreatedDate = 2026-03-02T09:00:00.000+0000 AND CreatedDate > 2026-03-02T08:59:59Z AND Name='beta'", ["beta"]),
        ("CreatedDate < 2026-03-02T09:00:00Z", []),
    ],
)
def test_conditions(org, accounts, where, names):
    assert values(org, f"SELECT Id, Name FROM Account WHERE {where} ORDER BY Id") == names


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("Name", ["Alpha", "beta", "gamma_ray", "O'Hara 100%"]),
        ("Name DESC", ["O'Hara 100%", "gamma_ray", "beta", "Alpha"]),
        ("AnnualRevenue", ["O'Hara 100%", "Alpha", "beta", "gamma_ray"]),
        ("AnnualRevenue NULLS LAST", ["Alpha", "beta", "gamma_ray", "O'Hara 100%"]),
        ("AnnualRevenue DESC NULLS FIRST", ["O'Hara 100%", "gamma_ray", "beta", "Alpha"]),
        ("AnnualRevenue DESC NULLS LAST", ["gamma_ray", "beta", "Alpha", "O'Hara 100%"]),
        ("Industry DESC NULLS LAST, Name DESC", ["beta", "gamma_ray", "Alpha", "O'Hara 100%"]),
        ("Id DESC LIMIT 2", ["gamma_ray", "O'Hara 100%"]),
        ("Id LIMIT 2 OFFSET 1", ["beta", "O'Hara 100%"]),
    ],
)
def test_orders(org, accounts, order, names):
    assert values(org, f"SELECT Id, Name FROM Account ORDER BY {order}") == names


def test_ids_are_compared_in_ascii_order_and_short_ones_are_understood(org, accounts):
    keys = sorted(accounts.values())
    assert values(org, f"SELECT Id FROM Account WHERE Id > '{keys[1]}' ORDER BY Id") == keys[2:]
    assert values(org, f"SELECT Id FROM Account WHERE Id = '{keys[1][:15]}'") == [keys[1]]
    assert values(org, "SELECT Id FROM Account WHERE Id > '' ORDER BY Id") == keys
    assert values(org, f"SELECT Id FROM Account WHERE Id IN ('{keys[2]}','{keys[0]}','001000000000000AAA')") == [
        keys[0],
        keys[2],
    ]


def test_an_id_among_other_conditions_is_found_all_the_same(org, accounts):
    alpha, beta = accounts["Alpha"], accounts["beta"]
    for where in (
        f"(Id = '{alpha}' AND Name = 'alpha') OR (Id = '{beta}' AND Name = 'beta')",
        f"(Id >= '{alpha}' AND Id <= '{alpha}') OR Id = '{beta}'",
        f"Id IN ('{alpha}', '{beta}') AND Name != 'nobody'",
    ):
        assert values(org, f"SELECT Id FROM Account WHERE {where} ORDER BY Id") == sorted([alpha, beta])


def test_parents_come_as_nested_records_and_null_where_there_is_none(org):
    account = org.insert("Account", {"Name": "Acme"})
    org.insert("Contact", {"LastName": "Okafor", "AccountId": account})
    org.insert("Contact", {"LastName": "Zimmer"})
    first, second = answer(org, "SELECT LastName, Account.Name, Account.Owner.Username FROM Contact ORDER BY Id")
    assert first["attributes"]["type"] == "Contact"
    assert first["Account"]["attributes"] == {
        "type": "Account",
        "url": f"/services/data/v66.0/sobjects/Account/{account}",
    }
    assert first["Account"]["Name"] == "Acme"
    assert first["Account"]["Owner"]["Username"] == "integration@example.com"
    assert second["Account"] is None


def test_polymorphic_lookups_tell_their_type(org):
    contact = org.insert("Contact", {"LastName": "Okafor"})
    lead = org.insert("Lead", {"LastName": "Zimmer", "Company": "Acme"})
    for who in (contact, lead, None):
        org.insert("Task", {"WhoId": who, "Subject": "Call"})
    tasks = answer(org, "SELECT Id, Who.Type, Who.Name FROM Task ORDER BY Id")
    assert [task["Who"] and (task["Who"]["Type"], task["Who"]["Name"]) for task in tasks] == [
        ("Contact", "Okafor"),
        ("Lead", "Zimmer"),
        None,
    ]
    assert values(org, "SELECT WhoId FROM Task WHERE Who.Type = 'Lead'") == [lead]


def test_compound_fields_are_objects_made_of_their_parts(org):
    org.insert("Account", {"Name": "Acme", "BillingCity": "Cork", "Office__Latitude__s": 51.9})
    (record,) = answer(org, "SELECT BillingAddress, ShippingAddress, Office__c FROM Account")
    assert record["BillingAddress"]["city"] == "Cork"
    assert set(record["BillingAddress"]) == {
        *("street", "city", "state", "postalCode", "country", "latitude", "longitude", "geocodeAccuracy")
    }
    assert record["ShippingAddress"] is None
    assert record["Office__c"] == {"latitude": 51.9, "longitude": None}


def test_deleted_rows_are_for_query_all_only(org, accounts):
    org.delete("Account", accounts["beta"])
    assert len(answer(org, "SELECT Id FROM Account")) == 3
    assert len(answer(org, "SELECT Id FROM Account", include_deleted=True)) == 4
    assert len(answer(org, "SELECT Id FROM Account ALL ROWS")) == 4
    assert values(org, "SELECT Name FROM Account WHERE IsDeleted = true", include_deleted=True) == ["beta"]


def test_counts_and_groups(org, accounts):
    with org.lock:
        assert run(org, "SELECT COUNT() FROM Account WHERE Industry = 'Banking'").total == 2
    assert values(org, "SELECT COUNT(Industry) FROM Account") == [3]
    assert values(org, "SELECT MAX(AnnualRevenue) top FROM Account") == [300.0]
    groups = answer(org, "SELECT Industry, COUNT(Id) n, SUM(AnnualRevenue) FROM Account GROUP BY Industry")
    assert {group["Industry"]: (group["n"], group["expr2"]) for group in groups} == {
        "Banking": (2, 400.0),
        "Energy": (1, 200.0),
        None: (1, None),
    }
    with pytest.raises(OrgError, match="must be grouped"):
        answer(org, "SELECT Name, COUNT(Id) FROM Account GROUP BY Industry")


def test_fields_all_needs_a_small_limit(org, accounts):
    (record,) = answer(org, "SELECT FIELDS(ALL) FROM Account LIMIT 1")
    assert {"Id", "BillingAddress", "ARR__c"} <= set(record)
    assert "ARR__c" not in answer(org, "SELECT FIELDS(STANDARD) FROM Account")[0]
    with pytest.raises(OrgError, match="LIMIT of at most 200"):
        answer(org, "SELECT FIELDS(ALL) FROM Account")


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            "SELECT Id, Foo FROM Account",
            "INVALID_FIELD",
            "\nSELECT Id, Foo FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column 'Foo' on entity "
            "'Account'. If you are attempting to use a custom field, be sure to append the '__c' after the custom "
            "field name. Please reference your WSDL or the describe call for the appropriate names.",
        ),
        ("SELECT Id FROM Foo", "INVALID_TYPE", "sObject type 'Foo' is not supported."),
        ("SELECT Id FROM", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT FROM Account", "MALFORMED_QUERY", "unexpected token: 'FROM'"),
        ("SELECT Id Account", "MALFORMED_QUERY", "unexpected token: 'Account'"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FROM Account WHERE (Name = 'a'", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY", "'OR'"),
        ("SELECT Id FROM Account WHERE Name = 'a", "MALFORMED_QUERY", "unexpected token: '''"),
        ("SELECT Id FROM Account WHERE Name = 'a\\x'", "MALFORMED_QUERY", "Illegal escape"),
        ("SELECT Id FROM Account LIMIT -1", "MALFORMED_QUERY", "unexpected token: '-1'"),
        ("SELECT Id FROM Account LIMIT 1 nonsense", "MALFORMED_QUERY", "unexpected token: 'nonsense'"),
        ("SELECT Id, id FROM Account", "MALFORMED_QUERY", "duplicate field selected: Id"),
        ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "2000"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD", "should be enclosed in quotes"),
        ("SELECT Id FROM Account WHERE AnnualRevenue = '5'", "INVALID_FIELD", "should not be enclosed in quotes"),
        ("SELECT Id FROM Account WHERE CreatedDate > '2026-01-01'", "INVALID_FIELD", "must be of type dateTime"),
        ("SELECT Id FROM Account WHERE CreatedDate > 2026-01-01", "INVALID_FIELD", "must be of type dateTime"),
        ("SELECT Id FROM Account WHERE CreatedDate > 2026-13-01T00:00:00Z", "MALFORMED_QUERY", "invalid date"),
        ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD", "can not be filtered"),
        ("SELECT Id FROM Account ORDER BY Description", "INVALID_FIELD", "can not be sorted"),
        ("SELECT Id FROM Account WHERE Id = 'nonsense!'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field"),
        ("SELECT Id FROM Account WHERE AnnualRevenue LIKE '5'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator"),
        ("SELECT Id, Boss.Name FROM Account", "INVALID_FIELD", "Didn't understand relationship 'Boss'"),
        ("SELECT Who.Colour FROM Task", "INVALID_FIELD", "on entity 'Name'"),
        ("SELECT Id FROM AccountHistory WHERE NewValue = 'x'", "INVALID_FIELD", "can not be filtered"),
    ],
)
def test_mistakes_are_told_in_salesforces_words(org, text, code, message):
    with pytest.raises(OrgError) as caught:
        answer(org, text)
    assert caught.value.code == code
    assert message in caught.value.message


def test_a_query_of_more_than_100_000_characters_is_refused(org):
    with pytest.raises(OrgError, match=r"^MALFORMED_QUERY: SOQL statement is too long"):
        answer(org, "SELECT Id FROM Account WHERE Name = '" + "x" * MAX_LENGTH + "'")


def test_a_hidden_field_is_unknown_until_it_is_shown_again(org, accounts):
    org.hide_field("Account", "Industry")
    with pytest.raises(OrgError, match="No such column 'Industry'"):
        answer(org, "SELECT Industry FROM Account")
    org.show_field("Account", "Industry")
    assert len(answer(org, "SELECT Industry FROM Account")) == 4


def test_keyset_pages_cross_ties_without_loss_or_repetition(org, clock):
    expected = []
    for tie in (1, 7, 23, 2):
        clock.advance(1)
        expected += [org.insert("Contact", {"LastName": f"L{n}"}) for n in range(tie)]
    stamp, last, seen = "2000-01-01T00:00:00Z", "", []
    while True:
        page = answer(
            org,
            f"SELECT Id, SystemModstamp FROM Contact WHERE (SystemModstamp = {stamp} AND Id > '{last}') "
            f"OR SystemModstamp > {stamp} ORDER BY SystemModstamp, Id LIMIT 3",
        )
        if not page:
            break
        seen += [record["Id"] for record in page]
        stamp, last = page[-1]["SystemModstamp"], page[-1]["Id"]
    assert seen == expected


def test_a_keyset_page_looks_only_at_the_rows_it_returns(org, clock, monkeypatch):
    keys = []
    for n in range(500):
        clock.advance(1)
        keys.append(org.insert("Contact", {"LastName": f"L{n}"}))
    looked_at = 0

    def counting(table, query, resolve):
        nonlocal looked_at
        rows, ordered = access.candidates(table, query, resolve)

        def counted():
            nonlocal looked_at
            for row in rows:
                looked_at += 1
                yield row

        return counted(), ordered

    monkeypatch.setattr("integration.sandbox.query.candidates", counting)
    at = (clock.now() - timedelta(seconds=100)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for where in (
        f"(SystemModstamp = {at} AND Id > '{keys[399]}') OR SystemModstamp > {at}",
        f"SystemModstamp >= {at}",
        f"SystemModstamp >= {at} AND LastName != null AND IsDeleted = false",
    ):
        looked_at = 0
        page = answer(org, f"SELECT Id FROM Contact WHERE {where} ORDER BY SystemModstamp, Id LIMIT 10")
        assert len(page) == 10
        assert looked_at <= 11
    looked_at = 0
    assert len(answer(org, f"SELECT Id FROM Contact WHERE Id > '{keys[250]}' ORDER BY Id LIMIT 20")) == 20
    assert looked_at <= 21
    looked_at = 0
    wanted = "','".join(keys[::100])
    assert values(org, f"SELECT Id FROM Contact WHERE Id IN ('{wanted}')") == keys[::100]
    assert looked_at == 5
    looked_at = 0
    newest = "SELECT Id FROM Contact ORDER BY SystemModstamp DESC LIMIT 1"
    assert values(org, newest) == [keys[-1]]
    assert looked_at == 1
