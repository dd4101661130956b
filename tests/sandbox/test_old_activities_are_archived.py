"""The archive: closed tasks and past events that only queryAll shows."""

from datetime import UTC, datetime

import pytest

from integration.sandbox.clock import stamp

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "2025-06-01", "2026-02-01"


@pytest.fixture
def desk(org):
    return {
        "old": org.insert("Task", {"Subject": "Call", "Status": "Completed", "ActivityDate": OLD}),
        "open": org.insert("Task", {"Subject": "Call", "ActivityDate": OLD}),
        "new": org.insert("Task", {"Subject": "Call", "Status": "Completed", "ActivityDate": NEW}),
        "dateless": org.insert("Task", {"Subject": "Call", "Status": "Completed"}),
        "met": org.insert("Event", {"Subject": "Meeting", "ActivityDate": OLD}),
        "meeting": org.insert("Event", {"Subject": "Meeting", "ActivityDate": NEW}),
    }


def test_closed_tasks_and_past_events_are_archived_and_their_stamps_move(org, clock, desk):
    clock.advance(60)
    assert set(org.archive_activities(BEFORE)) == {desk["old"], desk["met"]}
    for name, key in (("Task", desk["old"]), ("Event", desk["met"])):
        record = org.get(name, key)
        assert record["IsArchived"] is True
        assert record["IsDeleted"] is False
        assert record["SystemModstamp"] == stamp(clock.now()) > record["LastModifiedDate"]
    assert [commit.kind for commit in org.commits[-2:]] == ["archived", "archived"]
    assert org.archive_activities(BEFORE) == []


def test_only_query_all_shows_the_archive(org, desk, salesforce):
    org.archive_activities(BEFORE)
    text = "SELECT Id, IsArchived FROM Task ORDER BY Id"
    shown = {record["Id"] for record in salesforce.query(text)["records"]}
    everything = {r["Id"]: r["IsArchived"] for r in salesforce.query(text, include_deleted=True)["records"]}
    assert shown == {desk["open"], desk["new"], desk["dateless"]}
    assert everything == {**dict.fromkeys(shown, False), desk["old"]: True}
    assert salesforce.query("SELECT COUNT() FROM Event")["totalSize"] == 1
    assert salesforce.query("SELECT Id FROM Task WHERE IsArchived = true", include_deleted=True)["totalSize"] == 1


def test_the_stamps_can_stay(org, clock, desk):
    before = org.value("Task", desk["old"], "SystemModstamp")
    clock.advance(60)
    org.archive_activities(BEFORE, move_stamp=False)
    assert org.value("Task", desk["old"], "SystemModstamp") == before
    assert org.value("Task", desk["old"], "IsArchived") is True


def test_what_somebody_has_open_is_left_out(org, desk):
    with org.begin() as transaction:
        transaction.touch("Task", desk["old"])
        assert org.archive_activities(BEFORE) == [desk["met"]]
    assert org.archive_activities(BEFORE) == [desk["old"]]
