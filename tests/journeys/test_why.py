"""`headrace why`: each way a record can fail to be in the store, and what is said of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from following import polled_and_stored
from ports import free_port

from integration.core import exactjson
from integration.sandbox.model import FieldDef
from integration.stream.connection import connect
from integration.wiring import parts
from integration.wiring.why import Report, why

Found = Callable[..., Any]

SECRETIVE = "Chief Whistleblower"


def told(company: Any, record_id: str, **words: Any) -> Report:
    """Ask in this process; no part may be out of reach."""
    report, problem = why(company.settings, record_id, **words)
    assert problem is None, problem
    return report


def verdict(company: Any, record_id: str, **words: Any) -> tuple[str, str]:
    report = told(company, record_id, **words)
    return report.outcome, f"{report.verdict} {report.remedy}"


def line(report: Report, about: str) -> str:
    return "; ".join(step.sentence for step in report.steps if step.about == about)


def contact_of(company: Any, **fields: Any) -> str:
    """A new contact, some seconds later."""
    company.clock.advance(5)
    return str(company.org.insert("Contact", {"LastName": "Okafor", "Title": SECRETIVE, **fields}))


def some(company: Any, object_name: str) -> str:
    return str(company.org.records(object_name)[0]["Id"])


def polled(company: Any) -> None:
    """Poll without anybody consuming."""
    with connect(company.settings.redis.url) as client:
        poller, _ = parts.poller(company.settings, parts.salesforce(company.settings), client)
        poller.cycle()


def test_a_record_that_is_in_the_store_as_it_should_be(found: Found) -> None:
    company = found(accounts=3)
    contact = contact_of(company, AccountId=some(company, "Account"))
    company.sync()

    report = told(company, contact[:15])

    assert (report.record_id, report.object, report.outcome) == (contact, "Contact", "stored")
    assert "watched and readable" in line(report, "object")
    assert "live, version" in line(report, "salesforce")
    assert f"it is the person {contact}" in line(report, "store")
    assert "origin poll" in line(report, "store")
    assert line(report, "fields") == "every field is as in Salesforce"
    assert verdict(company, contact, offline=True)[0] == "stored"
    assert "people" in line(told(company, some(company, "Account")), "store")


def test_a_change_after_the_last_poll_comes_with_the_next(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    new, changed = contact_of(company), some(company, "Contact")
    company.org.update("Contact", changed, {"Title": SECRETIVE})

    report = told(company, changed)

    assert verdict(company, new)[0] == "coming"
    assert (report.outcome, report.differing) == ("coming", {"Title": False})
    assert "changed after the last poll" in report.verdict
    company.sync()
    assert verdict(company, new)[0] == "stored"
    assert verdict(company, changed)[0] == "stored"


def test_a_record_that_waits_in_its_stream_is_found_there(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    contact = contact_of(company)
    polled(company)

    outcome, said = verdict(company, contact)

    assert outcome == "coming"
    assert "It waits in crm.contact since" in said
    company.sync()
    assert verdict(company, contact)[0] == "stored"


def test_a_record_that_was_given_up_is_told_with_the_reason(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    contact = contact_of(company)
    polled(company)
    with connect(company.settings.redis.url) as client:
        [(offset, entry)] = client.xrevrange("crm.contact", count=1)
        client.xdel("crm.contact", offset)
        capture = exactjson.loads(entry[b"data"]) | {"schema_id": "unheard-of"}
        client.xadd("crm.contact", {**entry, b"data": exactjson.dumps(capture)})
    company.sync()

    outcome, said = verdict(company, contact)

    assert outcome == "problem"
    assert "given up: No description unheard-of of Contact is known" in said
    assert "headrace dlq ls crm.contact" in said


def test_before_the_first_sync_nothing_has_been_read(found: Found) -> None:
    company = found(accounts=3)

    outcome, said = verdict(company, some(company, "Contact"))

    assert outcome == "problem"
    assert "Contact has never been read. run: headrace sync" in said
    assert not company.settings.store_path.exists()


def test_objects_that_are_not_watched_or_not_seen_say_so(found: Found) -> None:
    company = found(accounts=3, HEADRACE_OBJECTS__Task__ENABLED="false")
    company.sync()
    task, lead = some(company, "Task"), some(company, "Lead")
    company.org.hide_object("Lead")

    assert "objects.Task.enabled = false" in verdict(company, task)[1]
    outcome, said = verdict(company, lead)
    assert outcome == "problem"
    assert "The store keeps what it had." in said
    assert "read access" in said
    organization = company.org.org_id
    assert "set objects.Organization.enabled = true" in verdict(company, organization)[1]


def test_a_record_of_nobody_and_an_id_of_no_object_are_told_apart(found: Found) -> None:
    company = found(accounts=3)
    company.sync()

    report = told(company, "003000000000zzz")

    assert (report.object, report.outcome) == ("Contact", "problem")
    assert "no such record" in report.verdict
    done = company.shell.run("why", "zzz000000000001")
    assert done.returncode == 2
    assert "begin with zzz" in done.stderr


def test_a_hard_delete_is_on_its_way_until_the_delete_log_is_read(found: Found) -> None:
    company = found(accounts=3)
    contact = contact_of(company)
    company.sync()
    company.clock.advance(300)
    company.org.delete("Contact", contact)
    company.org.purge("Contact", contact)

    report = told(company, contact)

    assert report.outcome == "coming"
    assert "the delete log says deleted at" in line(report, "salesforce")
    assert "still has it as live" in report.verdict
    company.clock.advance(300)
    company.sync()
    assert verdict(company, contact)[0] == "stored"
    assert "deleted" in line(told(company, contact), "store")


def test_what_salesforce_shows_no_more_and_no_log_tells_is_a_ghost(found: Found) -> None:
    company = found(accounts=3)
    contact = contact_of(company)
    company.sync()
    company.clock.advance(300)
    company.org.delete("Contact", contact)
    company.org.purge("Contact", contact)
    company.clock.advance(300)
    company.org.forget_deletes(company.clock.now())

    outcome, said = verdict(company, contact)

    assert outcome == "problem"
    assert "headrace sweep Contact" in said


def test_a_commit_later_than_polls_look_back_is_left_to_the_sweep(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    stamp = company.org.get("Contact", contact_of(company))["SystemModstamp"]
    company.clock.advance(3600)
    contact_of(company)
    company.sync()
    late = {**company.org.get("Contact", some(company, "Contact")), "Id": "0035g0000000999AAA"}
    contact = company.org.load("Contact", {**late, "SystemModstamp": stamp})

    outcome, said = verdict(company, contact)

    assert outcome == "problem"
    assert "committed late" in said
    assert "headrace sweep Contact" in said


def test_another_value_under_the_same_version_is_left_to_the_sweep(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    contact = some(company, "Contact")
    company.org.load("Contact", {**company.org.get("Contact", contact), "Title": SECRETIVE})

    report = told(company, contact)

    assert (report.outcome, report.differing) == ("problem", {"Title": False})
    assert "headrace sweep Contact" in report.remedy


def test_a_formula_that_moved_is_read_again_in_turn(found: Found) -> None:
    company = found(accounts=3)
    account = some(company, "Account")
    contact = contact_of(company, AccountId=account)
    company.clock.advance(3600)
    contact_of(company)
    company.sync()
    company.org.update("Account", account, {"Type": "Competitor"})
    company.sync()

    report = told(company, contact)

    assert (report.outcome, report.differing) == ("coming", {"Account_Type__c": True})
    assert "calculated" in line(report, "fields")
    assert "Only calculated fields differ" in report.verdict


def test_a_field_that_is_new_is_on_its_way(found: Found) -> None:
    company = found(accounts=3)
    contact = contact_of(company)
    company.sync()
    company.org.add_field("Contact", FieldDef("Tier__c", "picklist", default="Gold"))

    report = told(company, contact)

    assert (report.outcome, report.differing) == ("coming", {"Tier__c": False})
    assert "Only new fields differ" in report.verdict


def test_merged_and_converted_records_say_what_they_became(found: Found) -> None:
    company = found(accounts=3)
    winner, loser = contact_of(company), contact_of(company)
    lead = str(company.org.insert("Lead", {"LastName": "Mensah", "Company": "Example"}))
    company.clock.advance(5)
    company.org.merge("Contact", winner, [loser])
    made = company.org.convert_lead(lead)
    company.sync()

    merged, converted = told(company, loser), told(company, lead)

    assert line(merged, "store").startswith("deleted, version ")
    assert f"merged into {winner}" in line(merged, "store")
    assert f"it is the person {winner}, who shows {winner}" in line(merged, "store")
    assert f"converted to {made['contact_id']}" in line(converted, "store")
    assert {merged.outcome, converted.outcome} == {"stored"}


def test_it_answers_while_a_worker_owns_the_store(found: Found) -> None:
    company = found(accounts=3)
    contact = contact_of(company)
    shell = company.shell
    with shell.start("run", HEADRACE_POLL__INTERVAL_SECONDS="0.2") as worker:
        worker.ready()
        worker.until(polled_and_stored(company))

        done = shell.run("why", contact)

    assert done.returncode == 0, done.stderr
    assert "ok: The store has it as Salesforce shows it." in done.stdout


def test_the_exit_code_tells_and_no_value_is_ever_printed(found: Found) -> None:
    company = found(accounts=3)
    fine = contact_of(company, Email="nobody@example.com")
    company.sync()
    stale = some(company, "Contact")
    company.org.load("Contact", {**company.org.get("Contact", stale), "Title": SECRETIVE})
    shell = company.shell

    good, bad, slip = shell.run("why", fine), shell.run("why", stale, "--json"), shell.run("why", f"{fine[:17]}Z")

    assert (good.returncode, bad.returncode, slip.returncode) == (0, 5, 2)
    document = json.loads(bad.stdout)
    assert (document["outcome"], document["differing"]) == ("problem", {"Title": False})
    assert document["steps"]
    for done in (good, bad, slip):
        assert SECRETIVE not in done.stdout + done.stderr
        assert "nobody@example.com" not in done.stdout + done.stderr
        assert "Okafor" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_parts_out_of_reach_are_told_and_the_others_shown(found: Found) -> None:
    company = found(accounts=3)
    contact = contact_of(company)
    company.sync()
    port = free_port()
    shell = company.shell

    no_redis = shell.run("why", contact, HEADRACE_REDIS__URL=f"redis://127.0.0.1:{port}")
    no_org = shell.run("why", contact, HEADRACE_SALESFORCE__BASE_URL=f"http://127.0.0.1:{port}")
    not_asked = shell.run("why", contact, "--offline", HEADRACE_SALESFORCE__BASE_URL=f"http://127.0.0.1:{port}")

    assert (no_redis.returncode, no_org.returncode, not_asked.returncode) == (3, 3, 0)
    assert "ok: The store has it as Salesforce shows it." in no_redis.stdout
    assert "Salesforce was not asked" in no_org.stdout
    assert no_org.stderr.startswith("headrace: ")
