"""The sweep: whatever polls could not see, the store equals the org afterwards, and the ledger says what was wrong."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import compare
import pytest
from oracle import WATCHED

from integration.sandbox.clock import stamp
from integration.wiring.sweep import Ledger, SweepReport, sweep

Found = Callable[..., Any]


def first(company: Any, name: str, test: Callable[[Any], bool] = lambda _: True, *, count: int = 1) -> list[str]:
    """Return the ids of some live records."""
    found = [r["Id"] for r in company.org.records(name) if test(r)][:count]
    assert len(found) == count
    return found


def overwrite(company: Any, name: str, record_id: str, **fields: Any) -> None:
    """Change a record behind everybody's back: no stamp moves."""
    record = {k: v for k, v in company.org.get(name, record_id).items() if v is not None}
    company.org.load(name, {**record, **fields})


def appear_late(company: Any, name: str, like: str, new: str, days_ago: int, **fields: Any) -> str:
    """Let a record become visible whose stamps are older than anything a poll looks at."""
    at = stamp(company.clock.now() - timedelta(days=days_ago))
    record = {k: v for k, v in company.org.get(name, like).items() if v is not None}
    record |= {"Id": new, "CreatedDate": at, "LastModifiedDate": at, "SystemModstamp": at, **fields}
    return str(company.org.load(name, record))


def moving_alone(company: Any, name: str) -> set[str]:
    """Name the fields of an object that move without a stamp: formulas over other records, roll-ups."""
    return {f.name for f in company.org.objects[name].fields if f.moves_alone}


def drift(company: Any, report: SweepReport) -> list[str]:
    """List the findings that are such moves and nothing else."""
    return [
        finding.record_id
        for one in report.objects
        for finding in one.findings
        if finding.kind == "stale" and set(finding.fields) <= moving_alone(company, one.object)
    ]


def by_object(report: SweepReport) -> dict[str, Ledger]:
    return {one.object: one for one in report.objects}


def counts(report: SweepReport) -> dict[str, tuple[int, int, int, int]]:
    """Return (missing, stale, ghosts, repaired) of every object in which something was found."""
    found = {one.object: (one.missing, one.stale, one.ghosts, one.repaired) for one in report.objects}
    return {name: four for name, four in found.items() if any(four)}


def assert_same(company: Any, *, events: bool = True) -> None:
    """See that the store says what the org says, and (with `events`) that polls and sweeps told each change once."""
    found = compare.state_differences(company)
    found += compare._events(company, company.watcher) if events else compare._chains(company)
    assert not found, f"{len(found)} differences:\n" + "\n".join(found[:25])


def assert_proved(company: Any, report: SweepReport) -> None:
    """See that the ledger tells the number of live records, which source and store agree on."""
    live = {one.object: len(company.org.records(one.object)) for one in report.objects}
    assert {one.object: one.source_count for one in report.objects} == live
    assert {one.object: one.store_count for one in report.objects} == live
    assert report.is_equal
    assert report.outcome == "ok"


def swept(company: Any, *objects: str, **flags: Any) -> SweepReport:
    company.watcher.observe(company.org)
    return sweep(company.settings, objects, **flags)


def test_a_store_that_is_right_is_proved_right(found: Found) -> None:
    company = found(accounts=12)
    company.sync()
    company.clock.advance(60)

    report = swept(company)

    assert counts(report) == {}
    assert_proved(company, report)
    assert {"Contact", "User", "cbit__Clearbit__c", *WATCHED} <= by_object(report).keys()
    records = sum(one.source_count for one in report.objects)
    assert report.sentence == f"All {records:,} records of {len(report.objects)} objects equal."
    assert_same(company)


def test_purged_records_of_which_the_delete_log_no_longer_tells_are_marked_as_deleted(found: Found) -> None:
    company = found(accounts=10)
    company.sync()
    company.clock.advance(60)
    gone: dict[str, list[str]] = {}
    for name, count in (("CampaignMember", 1), ("Task", 2), ("Contact", 3)):
        gone[name] = first(company, name, count=count)
        for record_id in gone[name]:
            company.org.delete(name, record_id)
            if name != "CampaignMember":  # those have no recycle bin
                company.org.purge(name, record_id)
    company.clock.advance(60)
    company.org.forget_deletes(company.clock.now())

    report = swept(company)

    ghosts = {one.object: one.ghosts for one in report.objects if one.ghosts}
    assert ghosts["Contact"] == 3
    assert ghosts["Task"] >= 2
    assert ghosts["CampaignMember"] >= 1
    assert set(gone["Contact"]) == {f.record_id for f in by_object(report)["Contact"].findings}
    assert all(f.kind == "ghost" and f.repaired for one in report.objects for f in one.findings)
    assert_proved(company, report)
    assert_same(company)
    assert counts(swept(company)) == {}


@pytest.mark.slow
def test_records_purged_while_the_delete_log_still_tells_are_no_business_of_the_sweep(found: Found) -> None:
    company = found(accounts=6)
    company.sync()
    company.clock.advance(60)
    [contact] = first(company, "Contact")
    company.org.delete("Contact", contact)
    company.org.purge("Contact", contact)

    report = swept(company)

    assert counts(report) == {}
    assert_proved(company, report)
    assert_same(company)


def test_records_committed_later_than_any_overlap_are_found(found: Found) -> None:
    company = found(accounts=6)
    company.sync()
    company.clock.advance(60)
    [contact], [deal] = first(company, "Contact"), first(company, "Opportunity")
    appear_late(company, "Contact", contact, "003000000009999", 90, Email="late@example.com")
    appear_late(company, "Contact", contact, "003zzz000009999", 30, Email=None)
    appear_late(company, "Opportunity", deal, "006000000009999", 3)
    company.watcher.observe(company.org)
    assert company.sync().captures_published == 0, "polls can not see it"

    report = swept(company)

    told = counts(report)
    assert told.pop("Account", (0, 1, 0, 1)) == (0, 1, 0, 1), "the roll-up of the deal that appeared"
    assert told == {"Contact": (2, 0, 0, 2), "Opportunity": (1, 0, 0, 1)}
    assert_proved(company, report)
    assert_same(company)
    assert counts(swept(company)) == {}


def test_formulas_over_another_record_and_roll_ups_are_brought_up_to_date(found: Found) -> None:
    company = found(accounts=6, HEADRACE_POLL__REREAD_SECONDS="0")
    company.sync()
    company.clock.advance(3_600)
    [account] = first(
        company, "Account", lambda r: any(c["AccountId"] == r["Id"] for c in company.org.records("Contact"))
    )
    contacts = [c["Id"] for c in company.org.records("Contact", include_deleted=True) if c["AccountId"] == account]
    company.org.update("Account", account, {"MRR__c": 4_242, "Type": "Partner"})
    company.clock.advance(3_600)
    company.sync()
    company.watcher.ignored.clear()

    report = swept(company)

    ledger = by_object(report)["Contact"]
    assert sorted(f.record_id for f in ledger.findings) == sorted(contacts)
    assert all(f.record_id in drift(company, report) for f in ledger.findings)
    assert_proved(company, report)
    assert_same(company, events=False)
    [row] = company.query(
        f"SELECT old_value, new_value, origin FROM changes WHERE record_id = '{contacts[0]}' AND field = 'Account_ARR__c'"
    )
    assert (row["new_value"], row["origin"]) == ("50904", "sweep")
    assert counts(swept(company)) == {}


def test_values_written_without_a_stamp_are_found_with_their_fields(found: Found) -> None:
    company = found(accounts=6)
    company.sync()
    company.clock.advance(60)
    [contact], [account] = first(company, "Contact"), first(company, "Account")
    overwrite(company, "Contact", contact, Title="Rewritten by a job", Department="Quiet")
    overwrite(company, "Account", account, Website="https://quiet.example.com")
    company.watcher.observe(company.org)
    company.sync()

    report = swept(company)

    assert by_object(report)["Contact"].findings[0].fields == ["Department", "Title"]
    assert by_object(report)["Account"].findings[0].fields == ["Website"]
    assert counts(report) == {"Contact": (0, 1, 0, 1), "Account": (0, 1, 0, 1)}
    assert_proved(company, report)
    assert_same(company)


@pytest.mark.slow
def test_a_record_restored_without_its_stamp_moving_lives_again(found: Found) -> None:
    company = found(accounts=6, HEADRACE_POLL__OVERLAP_SECONDS="5")
    company.sync()
    company.org.undelete_moves_stamp = False
    company.clock.advance(60)
    [contact] = first(company, "Contact")
    company.org.delete("Contact", contact)
    company.sync()
    company.clock.advance(3_600)
    company.org.touch("Contact", first(company, "Contact")[0])
    company.sync()
    company.clock.advance(3_600)
    company.org.undelete("Contact", contact)
    company.sync()
    assert company.query(f"SELECT is_deleted FROM salesforce.contact WHERE id = '{contact}'") == [{"is_deleted": True}]

    report = swept(company)

    assert {f.record_id for f in by_object(report)["Contact"].findings} == {contact}
    assert "IsDeleted" in by_object(report)["Contact"].findings[0].fields
    assert_proved(company, report)
    assert_same(company, events=False)
    assert counts(swept(company)) == {}


def test_records_lost_from_the_store_come_back(found: Found) -> None:
    from integration.store.duckdb.store import DuckDBStore

    company = found(accounts=6)
    company.sync()
    company.clock.advance(60)
    lost = first(company, "Contact", count=7)
    store = DuckDBStore(company.settings.store_path)
    with store.transaction() as tx:
        tx.delete("headrace.states", "record_id", lost)
        tx.delete("salesforce.contact", "id", lost)
    store.close()

    report = swept(company)

    assert counts(report) == {"Contact": (7, 0, 0, 7)}
    assert sorted(f.record_id for f in by_object(report)["Contact"].findings) == sorted(lost)
    assert_proved(company, report)
    assert_same(company, events=False)


def test_a_sweep_costs_few_calls_and_the_next_one_no_more(found: Found) -> None:
    company = found(accounts=150)
    company.sync()
    company.clock.advance(60)
    [contact] = first(company, "Contact")
    appear_late(company, "Contact", contact, "003000000099999", 90)

    dirty, clean = swept(company), swept(company)

    assert counts(dirty) == {"Contact": (1, 0, 0, 1)}
    assert counts(clean) == {}
    records = sum(one.source_count for one in clean.objects)
    assert records > 3_000
    ranges = sum(max(1, -(-one.source_count // 1_800)) for one in clean.objects)
    assert sum(one.api_calls for one in clean.objects) <= -(-ranges // 5) + 1
    assert sum(one.api_calls for one in dirty.objects) <= -(-ranges // 5) + 2


@pytest.mark.slow
def test_a_sweep_of_named_objects_leaves_the_others_alone(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    company.clock.advance(60)
    overwrite(company, "Contact", first(company, "Contact")[0], Title="Rewritten")
    overwrite(company, "Lead", first(company, "Lead")[0], Title="Rewritten")

    report = swept(company, "contact", "Account")

    assert [one.object for one in report.objects if one.object] == [
        name for name in by_object(report) if name in ("Account", "Contact")
    ]
    assert counts(report) == {"Contact": (0, 1, 0, 1)}
    assert counts(swept(company)) == {"Lead": (0, 1, 0, 1)}


def test_a_dry_run_says_what_differs_and_repairs_nothing(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    company.clock.advance(60)
    [contact] = first(company, "Contact")
    overwrite(company, "Contact", contact, Title="Rewritten")
    before = company.query("SELECT * FROM salesforce.contact ORDER BY id")

    done = company.shell.run("sweep", "--dry-run", "--json")

    assert done.returncode == 5, done.stderr
    assert "1 record is not equal; --dry-run repairs nothing, headrace sweep does." in done.stderr
    told = json.loads(done.stdout)
    [ledger] = [one for one in told["objects"] if one["object"] == "Contact"]
    assert (ledger["stale"], ledger["repaired"]) == (1, 0)
    assert [(f["record_id"], f["fields"]) for f in ledger["findings"]] == [(contact, ["Title"])]
    assert company.query("SELECT * FROM salesforce.contact ORDER BY id") == before
    assert company.query("SELECT count(*) AS n FROM captures WHERE origin = 'sweep'") == [{"n": 0}]


def test_the_command_prints_the_ledger_and_keeps_it(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    company.clock.advance(60)
    overwrite(company, "Contact", first(company, "Contact")[0], Title="Rewritten")

    done = company.shell.run("sweep")

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["OBJECT", "SOURCE", "STORE", "MISSING", "STALE", "GHOSTS", "REPAIRED", "CALLS"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
    contacts = str(len(company.org.records("Contact")))
    assert rows["Contact"][:6] == [contacts, contacts, "0", "1", "0", "1"]
    assert [int(n.replace(",", "")) for n in rows["total"]] == [
        sum(int(row[n]) for name, row in rows.items() if name != "total") for n in range(7)
    ]
    assert lines[-1].startswith("1 stale was repaired (Contact 1); all ")
    kept = company.query("SELECT * FROM reconciliations WHERE object = 'Contact'")
    assert [(r["source_count"], r["store_count"], r["stale"], r["repaired"], r["kind"]) for r in kept] == [
        (int(contacts), int(contacts), 1, 1, "sweep")
    ]
    [run] = company.query("SELECT * FROM sync_runs WHERE kind = 'sweep'")
    assert (run["run_id"], run["outcome"], run["captures_published"], run["events_written"]) == (
        kept[0]["run_id"], "ok", 1, 1,
    )  # fmt: skip
    assert run["api_calls"] > 0


@pytest.mark.slow
def test_a_record_that_can_not_be_stored_is_told_with_its_reason_once_and_again(found: Found) -> None:
    company = found(accounts=4)
    company.sync()
    company.clock.advance(60)
    [account, other] = first(company, "Account", count=2)
    overwrite(company, "Account", account, NumberOfEmployees=10**19)
    overwrite(company, "Account", other, Website="https://quiet.example.com")

    done = company.shell.run("sweep")

    assert done.returncode == 5, done.stderr
    assert f"Account {account} (stale) could not be repaired: The field behind " in done.stderr
    assert "1 record is not equal and could not be repaired" in done.stderr
    assert "2 stale found (Account 2), 1 of them repaired." in done.stdout
    again = company.shell.run("sweep", "--json")
    assert again.returncode == 5, again.stderr
    [ledger] = [one for one in json.loads(again.stdout)["objects"] if one["object"] == "Account"]
    assert (ledger["stale"], ledger["repaired"]) == (1, 0)
    assert "numberofemployees" in ledger["findings"][0]["note"].lower()
    assert company.query("SELECT count(*) AS n FROM dead_letters") == [{"n": 1}], "not buried a second time"


def test_an_object_that_shows_nothing_any_more_is_not_buried_unasked(found: Found) -> None:
    company = found(accounts=10)
    company.sync()
    company.clock.advance(60)
    living = len(company.org.records("Task"))
    assert living >= 25
    hidden = dict(company.org.tables["Task"].rows)
    for record_id in hidden:
        company.org.tables["Task"].drop(record_id)

    done = company.shell.run("sweep")

    assert done.returncode == 5, done.stderr
    assert f"Task shows no record at all, while {living:,} live in the store" in done.stderr
    assert "--accept-loss" in done.stderr
    assert company.query("SELECT count(*) AS n FROM salesforce.task WHERE NOT is_deleted") == [{"n": living}]
    accepted = company.shell.run("sweep", "Task", "--accept-loss")
    assert accepted.returncode == 0, accepted.stderr
    assert company.query("SELECT count(*) AS n FROM salesforce.task WHERE NOT is_deleted") == [{"n": 0}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("Contcat",), "headrace does not read an object 'Contcat'. Did you mean Contact?"),
        (("Contact", "Nothing__c"), "headrace does not read an object 'Nothing__c'."),
    ],
)
def test_an_unknown_object_is_a_wrong_word(found: Found, words: tuple[str, ...], said: str) -> None:
    company = found(accounts=2)
    company.sync()
    done = company.shell.run("sweep", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"headrace: {said}" in done.stderr


def test_without_a_store_there_is_nothing_to_sweep(found: Found) -> None:
    company = found(accounts=1)
    done = company.shell.run("sweep")
    assert done.returncode == 2
    assert "There is no store at " in done.stderr
    assert not company.settings.store_path.exists()


def test_an_org_that_does_not_answer_is_out_of_reach(found: Found) -> None:
    company = found(accounts=1)
    company.sync()
    company.server.stop()
    done = company.shell.run("sweep")
    assert done.returncode == 3, done.stderr


@pytest.mark.slow
def test_whatever_happens_while_it_looks_is_left_to_the_poll(found: Found) -> None:
    """Changes between any two calls of the sweep, open transactions too: none of them is a finding."""
    company = found(accounts=8, seed=11)
    company.sync()
    company.clock.advance(60)
    calls: list[str] = []

    def live(path: str) -> None:
        if "composite" in path:
            calls.append(path)
            company.live(3, every_seconds=2)

    company.server.faults.hook = live
    try:
        report = sweep(company.settings)
    finally:
        company.server.faults.hook = None

    assert len(calls) >= 3
    assert report.differing == len(drift(company, report)), counts(report)
    assert report.is_equal
    company.sync()
    company.watcher.observe(company.org)
    assert_same(company, events=False)


@pytest.mark.slow
def test_history_rows_that_came_late_are_found_and_forgotten_ones_are_no_ghosts(found: Found) -> None:
    company = found(accounts=4, HEADRACE_OBJECTS__Contact__EXCLUDE="Title")
    company.sync()
    company.clock.advance(60)
    [contact] = first(company, "Contact")
    at = stamp(company.clock.now() - timedelta(days=90))
    for number, column in enumerate(("Email", "Title")):
        company.org.load(
            "ContactHistory",
            {
                "Id": f"03a00000000{number}zzz",
                "ContactId": contact,
                "CreatedById": company.org.default_user,
                "CreatedDate": at,
                "Field": column,
                "DataType": "Text",
                "OldValue": "old@example.com",
                "NewValue": "new@example.com",
            },
        )
    forgotten = company.org.records("OpportunityFieldHistory")[0]["Id"]
    company.org.tables["OpportunityFieldHistory"].drop(forgotten)
    company.sync()

    report = swept(company)

    assert counts(report) == {"ContactHistory": (1, 0, 0, 1)}
    told = company.query("SELECT field, newvalue FROM salesforce.contacthistory WHERE id LIKE '03a00000000%zzz%'")
    assert told == [{"field": "Email", "newvalue": "new@example.com"}], "what the settings keep out stays out"
    assert counts(swept(company)) == {}
    kept = company.query(f"SELECT is_deleted FROM salesforce.opportunityfieldhistory WHERE id = '{forgotten}'")
    assert kept == [{"is_deleted": False}]
