"""Nasty traffic: each trap leaves exactly its trace, the whole mix never raises, and it can be played again."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.sandbox.clock import RealClock, VirtualClock, from_stamp, stamp
from integration.sandbox.commits import Commit
from integration.sandbox.errors import OrgError
from integration.sandbox.org import Org
from integration.sandbox.replication import deleted
from integration.sandbox.traffic import Traffic
from integration.sandbox.traffic_nasty import MAILBOX
from integration.sandbox.world import build_world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class Office:
    """An org with a world in it and nasty traffic."""

    def __init__(self, seed: int = 11, accounts: int = 12) -> None:
        self.clock = VirtualClock(NOW)
        self.org = Org(clock=self.clock)
        self.world = build_world(self.org, accounts=accounts, seed=seed, ends_at=NOW)
        self.traffic = Traffic(self.org, self.world, seed=seed, nasty=True)
        self.clock.advance(60)
        self._seen = len(self.org.commits)

    def new_commits(self) -> list[Commit]:
        """Commits since the last call."""
        found = self.org.commits[self._seen :]
        self._seen = len(self.org.commits)
        return found

    def do(self, operation: str) -> str:
        """Do it until the org has something for it."""
        for _ in range(30):
            said = self.traffic.do(operation)
            if said:
                return said[0]
        raise AssertionError(f"{operation} finds nothing")


def own_changes(commit: Commit) -> set[str]:
    audit = {"LastModifiedDate", "LastModifiedById", "SystemModstamp"}
    before, after = commit.before or {}, commit.after or {}
    return {name for name in before | after if before.get(name) != after.get(name)} - audit


@pytest.fixture
def office() -> Office:
    return Office()


def test_ordinary_traffic_has_nothing_nasty():
    office = Office()
    pleasant = Traffic(office.org, office.world, seed=1)
    assert not set(Traffic.operations) & set(Traffic.nasty_operations)
    version = office.org.schema_version
    for _ in range(200):
        pleasant.step()
        office.clock.advance(5)
    assert office.org.schema_version == version
    assert office.org.deletes_known_since is None


def test_every_nasty_operation_can_be_done_on_demand(office):
    office.do("contact_deleted")
    office.do("field_hidden")
    for operation in Traffic.nasty_operations:
        assert office.do(operation)


def test_several_edits_of_one_record_lie_seconds_apart_and_some_lead_back():
    ways: Counter[str] = Counter()
    office = Office()
    for _ in range(60):
        office.do("several_edits")
        commits = [c for c in office.new_commits() if c.kind == "updated"]
        assert len({c.record_id for c in commits}) == 1
        assert 2 <= len(commits) <= 4
        stamps = [from_stamp(c.at) for c in commits]
        assert all(timedelta(seconds=1) <= b - a <= timedelta(seconds=5) for a, b in itertools.pairwise(stamps))
        field = next(
            f
            for f in ("StageName", "Amount", "Email", "Title", "Status", "Industry", "Name")
            if any(f in own_changes(c) for c in commits)
        )
        ways[field] += 1
        ways["back"] += (commits[0].before or {})[field] == (commits[-1].after or {})[field]
    assert {"StageName", "Email", "back"} <= set(ways)
    assert ways["back"] > 5


def test_on_a_clock_of_its_own_the_further_edits_wait(office):
    office.org.clock = RealClock()
    office.do("several_edits")
    assert len([c for c in office.new_commits() if c.kind == "updated"]) == 1
    said = office.traffic.finish()
    assert said == []
    assert 1 <= len([c for c in office.new_commits() if c.kind == "updated"]) <= 3


def test_what_is_deleted_for_good_is_nowhere_with_its_family():
    office, families, kinds = Office(), 0, set()
    for _ in range(25):
        office.do("deleted_for_good")
        commits = office.new_commits()
        gone = [c for c in commits if c.kind == "purged"]
        assert gone
        assert all(office.org.get(c.object, c.record_id) is None for c in gone)
        assert all(c.record_id in dict(office.org.deleted_log(c.object)) for c in gone)
        kinds |= {c.object for c in gone}
        families += len(gone) > 1
    assert {"Contact", "Lead", "Opportunity", "Task", "Account"} <= kinds
    assert families


def test_a_very_late_commit_comes_15_to_60_minutes_of_clock_time_later():
    kinds = set()
    for seed in range(12):
        office = Office(seed, accounts=5)
        began = office.clock.now()
        office.do("very_late_commit")
        assert office.traffic.open_transactions == 1
        assert office.org.oldest_open() == began
        assert office.new_commits() == []
        waited = 0
        while office.traffic.open_transactions:
            office.clock.advance(60)
            waited += 1
            office.traffic._do_what_is_due()
        assert 15 <= waited <= 60
        commits = office.new_commits()
        assert {c.at for c in commits} == {stamp(began)}
        assert {c.visible_at for c in commits} == {stamp(began + timedelta(minutes=waited))}
        kinds |= {(c.object, c.kind) for c in commits}
    assert kinds == {("Contact", "updated"), ("Opportunity", "updated"), ("Lead", "created")}


def test_an_undelete_without_a_stamp_leaves_the_switch_as_it_was(office):
    office.do("contact_deleted")
    office.clock.advance(60)
    office.new_commits()
    office.do("undeleted_without_stamp")
    back = [c for c in office.new_commits() if c.kind == "undeleted"]
    assert back
    assert all((c.before or {})["SystemModstamp"] == (c.after or {})["SystemModstamp"] for c in back)
    assert office.org.undelete_moves_stamp is True


def test_drift_is_seen_in_the_records_alone(office):
    names = ("Contact", "cbit__Clearbit__c")
    before = {name: {r["Id"]: r for r in office.org.records(name)} for name in names}
    for _ in range(10):
        office.do("drifted")
    assert office.new_commits() == []
    moved = {
        name: {field for r in office.org.records(name) for field in r if r[field] != before[name][r["Id"]][field]}
        for name in names
    }
    assert moved["Contact"] == {"Score__c", "Engagement__c"}
    assert moved["cbit__Clearbit__c"] == {"cbit__Role__c", "cbit__Employment_Role__c", "cbit__Company_Size__c"}


def test_over_time_more_than_25_people_share_a_mailbox(office):
    for _ in range(8):
        office.do("shared_mailbox")
    people = [r for name in ("Contact", "Lead") for r in office.org.records(name) if r["Email"] == MAILBOX]
    assert len(people) > 25


def test_addresses_are_typed_in_odd_forms(office):
    odd = []
    for _ in range(20):
        office.do("email_in_odd_form")
        odd += [(c.after or {})["Email"] for c in office.new_commits() if "Email" in own_changes(c)]
    assert any(email != email.strip() for email in odd)
    assert any(email != email.lower() for email in odd)
    assert all(email.strip().lower().endswith(("example.com", "example.org")) for email in odd)


@pytest.mark.parametrize(("operation", "name"), [("account_merged", "Account"), ("lead_merged", "Lead")])
def test_merges_take_the_children_along(office, operation, name):
    moved = 0
    for _ in range(5):
        office.do(operation)
        commits = office.new_commits()
        [loser] = [c for c in commits if c.kind == "merged"]
        winner = (loser.after or {})["MasterRecordId"]
        assert loser.object == name
        assert office.org.get(name, winner)["IsDeleted"] is False
        children = [c for c in commits if c.object != name and winner in (c.after or {}).values()]
        moved += len(children)
        assert {c.together for c in commits} == {loser.together}
    assert moved


def test_the_deals_of_an_account_move_together(office):
    office.do("deals_reparented")
    moved = [c for c in office.new_commits() if c.object == "Opportunity"]
    assert {"AccountId"} == set().union(*(own_changes(c) for c in moved))
    assert len({(c.after or {})["AccountId"] for c in moved}) == 1


def test_a_purged_delete_log_refuses_older_windows_and_never_remembers_again(office):
    office.do("contact_deleted")
    office.clock.advance(7 * 3600)
    office.do("delete_log_purged")
    since = office.org.deletes_known_since
    assert office.org.deleted_log("Contact") == []
    window = {"start": (since - timedelta(hours=1)).isoformat(), "end": office.clock.now().isoformat()}
    with pytest.raises(OrgError, match="INVALID_REPLICATION_DATE"):
        deleted(office.org, "Contact", window)
    office.org.forget_deletes(NOW - timedelta(days=3))
    assert office.org.deletes_known_since == since


def test_a_tie_saves_dozens_of_records_of_one_object_in_one_second(office):
    office.do("tie")
    commits = office.new_commits()
    assert 24 <= len({c.record_id for c in commits}) <= 60
    assert len({(c.object, c.at) for c in commits}) == 1


def test_a_field_that_is_added_is_filled_with_and_without_stamps(office):
    office.do("field_added")
    saved = office.new_commits()
    [(name, field)] = [
        (n, f.name) for n, obj in office.org.objects.items() for f in obj.fields if f.name == "Extra_1__c"
    ]
    filled = {r["Id"] for r in office.org.records(name) if r[field] not in (None, False)}
    assert len(filled) >= 3
    assert {c.record_id for c in saved if c.object == name} < filled


def test_a_removed_field_can_come_back_with_another_type():
    office, types = Office(seed=3), {}
    for _ in range(40):
        for name, obj in office.org.objects.items():
            for field in obj.fields:
                types.setdefault((name, field.name), set()).add(field.type)
        office.do("field_removed")
        office.do("field_added")
    assert any(len(kinds) > 1 for kinds in types.values())


def test_hidden_things_are_shown_again_at_the_end(office):
    for _ in range(6):
        office.do("field_hidden")
        office.traffic.do("object_hidden")
    hidden = {f"{o}.{f}" for o, f in office.org._hidden}
    assert len(hidden) == 6
    assert len(office.org.objects) < len(office.org.tables)
    office.traffic.finish(show=False)
    assert {f"{o}.{f}" for o, f in office.org._hidden} == hidden
    said = office.traffic.finish()
    assert len([s for s in said if s.endswith("is shown again")]) >= 6
    assert office.org._hidden == set()
    assert list(office.org.objects) == list(office.org.tables)
    assert office.traffic.finish() == []


def test_a_hidden_object_comes_back_some_steps_later(office):
    office.do("object_hidden")
    away = set(office.org.tables) - set(office.org.objects)
    assert len(away) == 1
    said: list[str] = []
    for _ in range(13):
        said += office.traffic.step()
    assert f"{away.pop()} is shown again" in said


def live(steps: int, seed: int, *, world: bool = True) -> tuple[Org, Traffic, list[str]]:
    clock = VirtualClock(NOW)
    org = Org(clock=clock)
    made = build_world(org, accounts=10, seed=seed, ends_at=NOW) if world else None
    traffic = Traffic(org, made, seed=seed, nasty=True)
    said: list[str] = []
    for _ in range(steps):
        said += traffic.step()
        clock.advance(20)
    said += traffic.finish()
    return org, traffic, said


@pytest.mark.parametrize("seed", range(4))
def test_six_hundred_nasty_steps_never_raise_and_leave_an_org_that_can_be_read(seed):
    org, traffic, said = live(600, seed)
    assert len(said) >= 600
    assert all(sentence and sentence == sentence.strip() for sentence in said)
    assert traffic.open_transactions == 0
    assert org.oldest_open() is None
    assert org.locked == {}
    for name, table in org.tables.items():
        assert set(table.by_id.between("", "~")) == set(table.rows)
        assert {key[28:] for key in table.by_stamp.between("", "~")} == set(table.rows)
        assert all(len(row) == len(table.columns) for row in table.rows.values())
        assert len(org.records(name, include_deleted=True)) == len(table.rows)
    live_ids = {key for table in org.tables.values() for key, row in table.rows.items() if not table.is_deleted(row)}
    for role in org.records("OpportunityContactRole"):
        assert {role["ContactId"], role["OpportunityId"]} <= live_ids
    kinds = {commit.kind for commit in org.commits}
    assert {"created", "updated", "deleted", "undeleted", "purged", "touched", "merged", "converted"} <= kinds


def test_the_same_seed_gives_the_same_nasty_day():
    first, _, said = live(250, 9)
    second, _, again = live(250, 9)
    assert said == again
    assert {n: first.records(n, include_deleted=True) for n in first.objects} == {
        n: second.records(n, include_deleted=True) for n in second.objects
    }
    assert live(250, 10)[2] != said


def test_an_empty_org_is_no_trouble():
    org, _, said = live(120, 3, world=False)
    assert said
    assert org.records("Lead", include_deleted=True)


def test_unknown_traffic_is_refused_with_the_known_kinds(office: Any):
    with pytest.raises(ValueError, match="several_edits"):
        office.traffic.do("world_peace")


@pytest.mark.parametrize("seed", range(2))
def test_persons_stay_whole_whatever_happens(seed):
    clock = VirtualClock(NOW)
    org = Org(clock=clock)
    world = build_world(org, accounts=10, seed=seed, ends_at=NOW)
    org.enable_person_accounts()
    org.roll_ups_move_stamp = True
    for number in range(10):
        org.insert_person_account(
            {"FirstName": "Ana", "LastName": f"M{number}", "PersonEmail": f"m{number}@example.com"}
        )
    traffic = Traffic(org, world, seed=seed, nasty=True)
    for _ in range(400):
        traffic.step()
        clock.advance(30)
    traffic.finish()
    persons = [a for a in org.records("Account", include_deleted=True) if a["IsPersonAccount"]]
    assert persons
    for account in persons:
        contact = org.get("Contact", account["PersonContactId"])
        assert (contact["IsDeleted"], contact["Name"], contact["Email"], contact["AccountId"]) == (
            account["IsDeleted"],
            account["Name"],
            account["PersonEmail"],
            account["Id"],
        )
