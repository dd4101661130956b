"""Fields and objects that come, go and change between two looks: what the tables and schema_log say afterwards."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from consumers.app import Consumer
from integration import settings as settings_module
from integration.core.catalog import ObjectSchema
from integration.sandbox.model import FieldDef
from integration.store.last_images import read_images
from integration.stream import groups
from integration.stream.connection import connect
from integration.wiring import doctor, parts, pipeline
from integration.wiring.pipeline import Progress
from integration.wiring.streams import open_streams

Found = Callable[..., Any]


@pytest.fixture
def company(found: Found) -> Any:
    """A small company after its first sync, and one contact with a title and a fax."""
    made = found(build=False)
    made.org.insert("Lead", {"LastName": "Haddad", "Company": "Example"})
    made.contact = made.org.insert("Contact", {"LastName": "Okafor", "Title": "CEO", "Fax": "555-0100"})
    made.sync()
    return made


def synced(company: Any, **fields: Any) -> None:
    """Change the contact (if anything is given) and sync, some minutes after the last time."""
    company.clock.advance(700)
    if fields:
        company.org.update("Contact", company.contact, fields)
    assert company.sync().dead_letters == 0


def log(company: Any, *columns: str) -> list[tuple[Any, ...]]:
    """What schema_log says of Contact, in its order."""
    shown = columns or ("field", "kind")
    rows = company.query("SELECT * FROM schema_log WHERE object = 'Contact' ORDER BY \"at\", rowid")
    return [tuple(row[c] for c in shown) for row in rows]


def raw(company: Any) -> dict[str, Any]:
    return dict(company.query(f"SELECT * FROM salesforce.contact WHERE id = '{company.contact}'")[0])


def person(company: Any) -> dict[str, Any]:
    return dict(company.query(f"SELECT * FROM users WHERE contact_id = '{company.contact}'")[0])


def changes(company: Any) -> list[tuple[str, str | None, str | None]]:
    sql = f"SELECT * FROM changes WHERE record_id = '{company.contact}' ORDER BY time, field"
    return [(row["field"], row["old_value"], row["new_value"]) for row in company.query(sql)]


def said(company: Any, name: str) -> list[str]:
    return [f"{c.state} {c.sentence}" for c in doctor.checks(company.settings) if c.name == name]


def test_a_first_sync_logs_no_change(company: Any) -> None:
    assert company.query("SELECT * FROM schema_log") == []


def test_a_field_that_is_added_gets_its_column_and_property(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Tier__c", "string", length=40))

    synced(company, Tier__c="Gold")

    assert log(company, "field", "kind", "column_name", "property", "type") == [
        ("Tier__c", "added", "tier__c", "sfdc_contact_tier", "text")
    ]
    assert raw(company)["tier__c"] == person(company)["sfdc_contact_tier"] == "Gold"
    assert changes(company) == [("Tier__c", None, "Gold")]
    assert [s for s in said(company, "fields") if s.startswith("ok Contact: 1 field is new")]


def test_a_field_that_is_hidden_keeps_its_last_value_in_every_table(company: Any) -> None:
    company.org.hide_field("Contact", "Title")

    synced(company, Fax="555-0199")
    synced(company, Fax="555-0200")

    assert log(company) == [("Title", "removed")]
    assert raw(company)["title"] == person(company)["sfdc_contact_title"] == "CEO"
    assert raw(company)["fax"] == "555-0200"
    assert changes(company) == [("Fax", "555-0100", "555-0199"), ("Fax", "555-0199", "555-0200")]
    [warning] = said(company, "fields")
    assert warning.startswith("warn Contact: 1 field is no longer shown to this login (Title) since ")


@pytest.mark.slow
def test_the_archive_keeps_what_was_really_seen(company: Any) -> None:
    company.org.hide_field("Contact", "Title")

    synced(company, Fax="555-0199")

    sql = f"SELECT payload FROM captures WHERE record_id = '{company.contact}' ORDER BY version"
    first, second = (row["payload"] for row in company.query(sql))
    assert '"Title":"CEO"' in first
    assert "Title" not in second
    rows = company.query(f"SELECT payload FROM headrace.states WHERE record_id = '{company.contact}'")
    [state] = read_images((row["payload"] for row in rows), company.query)
    assert state.fields["Title"] == "CEO"


@pytest.mark.parametrize(("now", "told"), [("CEO", []), ("CTO", [("Title", "CEO", "CTO")])])
def test_a_field_that_is_shown_again_tells_only_what_it_has_become(company: Any, now: str, told: list[Any]) -> None:
    company.org.hide_field("Contact", "Title")
    synced(company, Fax="555-0199", Title=now)
    company.org.show_field("Contact", "Title")

    synced(company, Fax="555-0200")

    assert log(company) == [("Title", "removed"), ("Title", "shown")]
    assert raw(company)["title"] == person(company)["sfdc_contact_title"] == now
    assert [c for c in changes(company) if c[0] == "Title"] == told
    assert len([c for c in changes(company) if c[0] == "Fax"]) == 2


@pytest.mark.slow
def test_every_turn_of_a_field_that_flips_is_logged(company: Any) -> None:
    for _ in range(2):
        company.org.hide_field("Contact", "Title")
        synced(company)
        company.org.show_field("Contact", "Title")
        synced(company)
    synced(company)

    assert log(company) == [("Title", "removed"), ("Title", "shown")] * 2
    assert raw(company)["title"] == "CEO"


def test_a_removed_field_keeps_its_values_and_its_name(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Tier__c", "string", length=40))
    synced(company, Tier__c="Gold")
    company.org.remove_field("Contact", "Tier__c")

    synced(company, Fax="555-0199")

    assert log(company) == [("Tier__c", "added"), ("Tier__c", "removed")]
    assert raw(company)["tier__c"] == person(company)["sfdc_contact_tier"] == "Gold"


@pytest.mark.slow
def test_a_deleted_record_keeps_what_was_hidden_from_it(company: Any) -> None:
    company.org.hide_field("Contact", "Title")
    company.clock.advance(700)
    company.org.delete("Contact", company.contact)

    synced(company)

    assert (raw(company)["title"], raw(company)["is_deleted"]) == ("CEO", True)


def test_a_field_that_the_settings_leave_out_vanishes_with_the_next_change(company: Any) -> None:
    company.env["HEADRACE_OBJECTS__Contact__EXCLUDE"] = "Fa*"
    company.settings = settings_module.load(None, company.env)

    synced(company, Title="CTO")

    assert (raw(company)["fax"], raw(company)["title"]) == (None, "CTO")
    assert person(company)["sfdc_contact_fax"] is None
    assert log(company, "field", "kind", "note") == [("Fax", "removed", "left out by the settings")]
    assert said(company, "fields") == []


@pytest.mark.slow
def test_a_private_field_vanishes_with_the_next_change(company: Any) -> None:
    company.env["HEADRACE_PRIVACY__EXCLUDE"] = "*.Fax"
    company.settings = settings_module.load(None, company.env)

    synced(company, Title="CTO")

    assert (raw(company)["fax"], raw(company)["title"]) == (None, "CTO")


def test_another_type_makes_a_new_column_and_the_old_one_is_there_still(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Grade__c", "string", length=40))
    synced(company, Grade__c="12")
    company.org.retype_field("Contact", "Grade__c", "double", precision=18, scale=2)

    synced(company, Grade__c=13.5)

    row = raw(company)
    assert float(row["grade__c_decimal"]) == float(person(company)["sfdc_contact_grade_decimal"]) == 13.5
    assert row["grade__c"] is None
    assert ("Grade__c", "retyped", "grade__c_decimal", "was string, is double: a new column") in log(
        company, "field", "kind", "column_name", "note"
    )
    assert changes(company) == [("Grade__c", None, "12"), ("Grade__c", "12", "13.5")]
    assert [s for s in said(company, "fields") if "another type" in s]


def test_a_value_that_does_not_fit_the_new_type_is_empty_without_anybody_having_edited_the_record(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Grade__c", "string", length=40))
    synced(company, Grade__c="quite good")
    company.clock.advance(7_200)
    company.sync()
    company.org.retype_field("Contact", "Grade__c", "date")

    synced(company)

    row = raw(company)
    assert (row["grade__c"], row["grade__c_date"]) == (None, None)
    assert changes(company) == [("Grade__c", None, "quite good"), ("Grade__c", "quite good", None)]


def test_a_field_that_was_made_anew_between_two_polls_loses_what_the_old_one_held(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Grade__c", "string", length=40))
    synced(company, Grade__c="quite good")
    company.clock.advance(7_200)
    company.sync()
    company.org.remove_field("Contact", "Grade__c")
    company.org.add_field("Contact", FieldDef("Grade__c", "textarea", length=400))

    synced(company)

    assert raw(company)["grade__c"] is None
    assert changes(company) == [("Grade__c", None, "quite good"), ("Grade__c", "quite good", None)]


@pytest.mark.slow
def test_a_type_that_is_taken_back_uses_the_old_column_again(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Grade__c", "string", length=40))
    synced(company, Grade__c="12")
    company.org.retype_field("Contact", "Grade__c", "double", precision=18, scale=2)
    synced(company, Grade__c=13.5)
    company.org.retype_field("Contact", "Grade__c", "string", length=40)

    synced(company, Grade__c="many")

    assert (raw(company)["grade__c"], raw(company)["grade__c_decimal"]) == ("many", None)
    assert [kind for _, kind in log(company)] == ["added", "retyped", "retyped"]


@pytest.mark.slow
def test_a_backlog_from_before_a_change_of_type_finds_its_own_column(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Grade__c", "string", length=40))
    synced(company)
    company.clock.advance(700)
    company.org.update("Contact", company.contact, {"Grade__c": "quite good"})
    company.clock.advance(700)
    with connect(company.settings.redis.url) as client:
        poller, _ = parts.poller(company.settings, parts.salesforce(company.settings), client)
        poller.cycle()
    company.org.retype_field("Contact", "Grade__c", "double", precision=18, scale=2)
    company.clock.advance(10)
    other = company.org.insert("Contact", {"LastName": "Mensah", "Grade__c": 2})

    assert company.sync().dead_letters == 0

    scores = {
        r["id"]: (r["grade__c"], r["grade__c_decimal"]) for r in company.query("SELECT * FROM salesforce.contact")
    }
    # It was text when the poller read it, and is no number: so Salesforce has emptied it meanwhile.
    assert changes(company) == [("Grade__c", None, "quite good"), ("Grade__c", "quite good", None)]
    assert scores[company.contact] == (None, None)
    assert (scores[other][0], float(scores[other][1])) == (None, 2.0)


def test_new_labels_and_choices_are_logged_and_change_no_record(company: Any) -> None:
    company.org.relabel_field("Contact", "Title", "Position")
    old = company.org.visible_field("Contact", "LeadSource").picklist
    company.org.set_picklist("Contact", "LeadSource", [*old[1:], "Podcast"])

    synced(company)

    assert log(company, "field", "kind", "note") == [
        ("Title", "label", "was Title, is Position"),
        ("LeadSource", "picklist", f"new: Podcast; gone: {old[0]}"),
    ]
    assert changes(company) == []


def test_fields_that_appear_are_filled_for_records_that_do_not_change(company: Any) -> None:
    company.org.hide_field("Contact", "Fax")
    synced(company)
    company.clock.advance(700)
    company.org.load("Contact", {**company.org.get("Contact", company.contact), "Fax": "555-0111"})
    company.org.show_field("Contact", "Fax")
    company.org.add_field("Contact", FieldDef("Tier__c", "string", default="Silver"))
    company.org.add_field("Contact", FieldDef("Grade__c", "date", default="2026-01-31"))

    synced(company)
    company.org.retype_field("Contact", "Grade__c", "string", length=40)
    synced(company)

    row = raw(company)
    assert (row["fax"], row["tier__c"], row["grade__c_text"]) == ("555-0111", "Silver", "2026-01-31")
    told = [("Fax", "555-0100", "555-0111"), ("Grade__c", None, "2026-01-31"), ("Tier__c", None, "Silver")]
    assert changes(company) == told


def test_an_object_that_is_hidden_keeps_its_tables_and_goes_on_when_it_is_back(company: Any) -> None:
    company.org.hide_object("Lead")
    before = company.query("SELECT * FROM salesforce.lead ORDER BY id")
    synced(company, Title="CTO")

    assert company.query("SELECT * FROM salesforce.lead ORDER BY id") == before
    assert raw(company)["title"] == "CTO"
    assert [s for s in said(company, "object Lead") if s.startswith("warn")]
    company.org.show_object("Lead")
    company.org.insert("Lead", {"LastName": "Mensah", "Company": "Example"})
    synced(company)
    assert len(company.query("SELECT * FROM salesforce.lead")) == len(before) + 1
    assert company.query("SELECT * FROM schema_log WHERE object = 'Lead'") == []


@contextmanager
def consuming(company: Any, described: list[ObjectSchema]) -> Iterator[tuple[Consumer, Any]]:
    """A consumer of the company's streams, not started yet."""
    with parts.open_store(company.settings) as store, open_streams(company.settings) as streams:
        yield pipeline.consumer(company.settings, store, streams, Progress(), described), streams


@pytest.mark.slow
def test_a_consumer_without_a_poller_logs_what_captures_show(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Tier__c", "string", length=40))
    company.clock.advance(700)
    company.org.update("Contact", company.contact, {"Tier__c": "Gold"})
    with connect(company.settings.redis.url) as client:
        poller, _ = parts.poller(company.settings, parts.salesforce(company.settings), client)
        poller.cycle()

    with consuming(company, []) as (consumer, streams):
        asyncio.run(pipeline.drain_while(consumer, streams, Progress(), lambda _: None))

    assert log(company) == [("Tier__c", "added")]
    assert raw(company)["tier__c"] == "Gold"


def test_a_worker_takes_in_new_descriptions_while_it_works(company: Any) -> None:
    company.org.hide_field("Contact", "Title")
    with connect(company.settings.redis.url) as client:
        poller, schemas = parts.poller(company.settings, parts.salesforce(company.settings), client)
        for number in range(20):
            company.clock.advance(1)
            company.org.update("Contact", company.contact, {"Fax": f"555-{number:04d}"})
            poller.cycle()

    async def work(consumer: Consumer, streams: Any) -> None:
        await consumer.start()
        try:
            while not await asyncio.to_thread(groups.caught_up, streams.client, consumer.streams):
                await consumer.announce(schemas)
        finally:
            await consumer.stop()

    with consuming(company, []) as (consumer, streams):
        asyncio.run(asyncio.wait_for(work(consumer, streams), 30))

    assert log(company) == [("Title", "removed")]
    assert (raw(company)["title"], raw(company)["fax"]) == ("CEO", "555-0019")
    assert len(changes(company)) == 20


@pytest.mark.slow
def test_a_description_that_fails_to_be_saved_is_saved_with_the_next_batch(company: Any) -> None:
    with connect(company.settings.redis.url) as client, parts.open_store(company.settings) as store:
        flattener = parts.flattener(company.settings, store, client)
        _, schemas = parts.poller(company.settings, parts.salesforce(company.settings), client)
        told = [replace(s, label="Person", schema_id="person") if s.object == "Contact" else s for s in schemas]
        with store.transaction(), pytest.raises(RuntimeError, match="transaction open"):
            flattener.announce(told)
        flattener.apply([])

    assert log(company, "field", "kind", "note") == [(None, "label", "was Contact, is Person")]


@pytest.mark.slow
def test_the_history_of_a_field_that_was_hidden_is_read_once_the_field_is_shown_again(company: Any) -> None:
    company.org.hide_field("Contact", "Title")
    synced(company)
    company.org.update("Contact", company.contact, {"Title": "CTO"})
    company.clock.advance(5)
    company.org.update("Contact", company.contact, {"Title": "Chair"})
    synced(company, Fax="555-0111")
    assert company.query("SELECT * FROM salesforce.contacthistory") == []
    company.clock.advance(86_400)
    company.org.show_field("Contact", "Title")

    synced(company)

    rows = company.query("SELECT oldvalue, newvalue FROM salesforce.contacthistory ORDER BY createddate")
    assert [(row["oldvalue"], row["newvalue"]) for row in rows] == [("CEO", "CTO"), ("CTO", "Chair")]
    told = [(old, new) for field, old, new in changes(company) if field == "Title"]
    assert ("CEO", "CTO") in told


@pytest.mark.slow
def test_a_record_whose_last_value_fits_only_the_type_its_field_had_is_still_marked_as_gone(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Grade__c", "string", length=40))
    synced(company, Grade__c="quite good")
    company.org.hide_field("Contact", "Grade__c")
    synced(company, Fax="555-0111")
    company.org.retype_field("Contact", "Grade__c", "double", precision=18, scale=2)
    company.org.delete("Contact", company.contact)
    company.org.purge("Contact", company.contact)
    company.org.show_field("Contact", "Grade__c")

    synced(company)

    row = raw(company)
    assert (row["is_deleted"], row["grade__c"], row["grade__c_decimal"]) == (True, "quite good", None)


@pytest.mark.slow
def test_a_value_just_polled_moves_to_the_column_of_the_new_type_though_it_says_the_same(company: Any) -> None:
    company.org.add_field("Contact", FieldDef("Seen__c", "datetime"))
    synced(company, Seen__c="2026-02-24T19:04:32.000+0000")
    company.clock.advance(5)
    company.org.retype_field("Contact", "Seen__c", "string", length=40)

    company.sync()

    row = raw(company)
    assert (row["seen__c"], row["seen__c_text"]) == (None, "2026-02-24T19:04:32.000+0000")
