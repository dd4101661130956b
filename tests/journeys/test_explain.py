"""`headrace explain` on people that are made of several records: which one shows, why, and who set the values."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from shell import refusal

from integration.wiring import owner, parts
from integration.wiring.explain import explain_row
from integration.wiring.explanation import Explanation, Origin

Found = Callable[..., Any]


@pytest.fixture
def company(found: Found) -> Any:
    """An org with nobody in it."""
    return found(
        build=False, HEADRACE_OBJECTS__Account__ENRICH="", HEADRACE_OBJECTS__Contact__ENRICH="cbit__Clearbit__c"
    )


def chosen(told: Explanation) -> dict[str, tuple[str | None, str]]:
    return {source.part: (source.record_id, source.rule) for source in told.sources}


def of(told: Explanation, name: str) -> Origin:
    [one] = [p for p in told.properties if p.property == name]
    return one


def test_each_record_is_told_with_the_rule_that_chose_it(company: Any) -> None:
    org, clock = company.org, company.clock
    account = org.insert("Account", {"Name": "Mill"})
    first = org.insert("Contact", {"LastName": "First", "Email": "ada@example.org", "AccountId": account})
    clock.advance(60)
    second = org.insert("Contact", {"LastName": "Second", "Email": "ADA@example.org"})
    lead = org.insert("Lead", {"LastName": "Lead", "Company": "Mill", "Email": "ada@example.org"})
    deals = [
        org.insert(
            "Opportunity", {"Name": name, "AccountId": account, "StageName": stage, "CloseDate": day, "Amount": 10}
        )
        for name, stage, day in (
            ("soon", "Prospecting", "2026-04-01"),
            ("later", "Prospecting", "2026-05-01"),
            ("done", "Closed Won", "2026-01-01"),
            ("of the account", "Prospecting", "2026-03-03"),
        )
    ]
    for deal, primary in zip(deals[:3], (False, True, False), strict=True):
        org.insert("OpportunityContactRole", {"OpportunityId": deal, "ContactId": second, "IsPrimary": primary})
    company.sync()

    told = explain_row(company.settings, "ada@example.org")

    assert told.id == first
    assert chosen(told) == {
        "contact": (first, f"of 2, before {second}: the earliest CreatedDate"),
        "lead": (lead, "the only lead"),
        "account": (account, f"AccountId of contact {first}"),
        "opportunity": (
            deals[1],
            f"of 3, before {deals[0]}: the one whose primary contact the person is "
            "(live ones in which the person has a role)",
        ),
        "Contact.cbit__Clearbit__c": (
            None, f"looked up by cbit__Clearbit__c of Contact {first}, which points at no live record"
        ),
    }  # fmt: skip
    assert of(told, "user_id").rule == f"first, before {second}: the earliest CreatedDate"
    assert {a.alias: a.why for a in told.aliases}[second] == f"same e-mail as {first}"
    assert {o.record_id: len(o.counts_in) for o in told.opportunities} == dict.fromkeys(deals[:3], 3)
    assert of(told, "sfdc_opportunity_open_amount").rule == "over the live opportunities in which the person has a role"

    for deal in deals[:3]:
        org.delete("Opportunity", deal)
    clock.advance(5)
    company.sync()

    told = explain_row(company.settings, second)
    assert chosen(told)["opportunity"] == (
        deals[3], "the only live opportunity of the account, as the person has no role in any"
    )  # fmt: skip
    assert [o.record_id for o in told.opportunities] == [deals[3]]


def test_a_value_is_told_with_who_set_it_and_how(company: Any) -> None:
    org, clock = company.org, company.clock
    boss = org.insert("User", {"LastName": "Boss", "Username": "boss@example.org", "Email": "boss@example.org"})
    contact = org.insert("Contact", {"LastName": "Okafor", "Title": "CFO", "Phone": "1"})
    company.sync()
    clock.advance(60)
    org.update("Contact", contact, {"Title": "CEO", "Department": "Ops"}, by=boss)
    company.sync()

    told = explain_row(company.settings, contact, only="sfdc_contact_*")
    title, phone, stamp = (of(told, f"sfdc_contact_{name}") for name in ("title", "phone", "system_modstamp"))
    assert title.set_by is not None
    assert phone.set_by is not None
    assert (title.set_by.how, title.set_by.event, title.set_by.actor) == ("changed", "Contact Updated", "Boss")
    assert (phone.set_by.how, phone.set_by.event) == ("first seen", "Contact Created")
    assert (title.value, title.version) == ("CEO", title.set_by.time)
    assert (stamp.value, stamp.set_by) == (title.version, None)

    clock.advance(60)
    org.delete("Contact", contact)
    company.sync()
    clock.advance(60)
    org.undelete("Contact", contact)
    org.update("Contact", contact, {"Department": "Board"}, by=boss)
    company.sync()
    unit = of(explain_row(company.settings, contact), "sfdc_contact_department")
    assert unit.set_by is not None
    assert (unit.value, unit.set_by.how, unit.set_by.event) == ("Board", "seen with", "Contact Restored")


def test_a_loser_of_a_merge_leads_to_the_winner_also_when_that_is_deleted(company: Any) -> None:
    org, clock = company.org, company.clock
    winner = org.insert("Contact", {"LastName": "Winner", "Email": "w@example.org"})
    loser = org.insert("Contact", {"LastName": "Loser", "Email": "l@example.org"})
    company.sync()
    clock.advance(5)
    org.merge("Contact", winner, [loser])
    company.sync()

    told = explain_row(company.settings, loser)

    assert told.id == winner
    assert chosen(told)["contact"] == (winner, f"of 2, before {loser}: live before deleted")
    assert {a.alias: a.why for a in told.aliases}[loser] == f"merged into {winner}"
    assert not told.is_deleted

    clock.advance(5)
    org.delete("Contact", winner)
    company.sync()
    told = explain_row(company.settings, loser)
    assert told.is_deleted
    assert of(told, "is_deleted").rule == "0 of the person's 2 records stand for a live person"


def test_it_works_while_a_worker_owns_the_store(company: Any) -> None:
    contact = company.org.insert("Contact", {"LastName": "Okafor", "Email": "ada@example.org"})
    company.sync()
    alone = company.shell.run("explain", contact, "--json")
    with parts.open_store(company.settings) as store, owner.answering_queries(company.settings, store, port=0):
        done = company.shell.run("explain", "ada@example.org", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == json.loads(alone.stdout)
        assert refusal(company.shell.run("explain", "bob@example.org"), 2).startswith(
            "No person in the store has the e-mail address ***@example.org."
        )


def test_before_the_first_sync_there_is_nobody_to_explain(found: Found) -> None:
    company = found(build=False)
    assert "There is no store" in refusal(company.shell.run("explain", "ada@example.org"), 2)
