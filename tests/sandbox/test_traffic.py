"""Traffic does what it says: each operation leaves exactly the trace it should, and none ever raises."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from integration.sandbox.clock import RealClock, VirtualClock, stamp
from integration.sandbox.commits import Commit
from integration.sandbox.ids import is_id, to18
from integration.sandbox.org import Org
from integration.sandbox.traffic import Traffic
from integration.sandbox.world import build_world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AUDIT = {"LastModifiedDate", "LastModifiedById", "SystemModstamp"}


class Office:
    """An org with a world in it, its clock, its traffic, and what was committed since the start."""

    def __init__(self, seed: int = 11, accounts: int = 12) -> None:
        self.clock = VirtualClock(NOW)
        self.org = Org(clock=self.clock)
        self.world = build_world(self.org, accounts=accounts, seed=seed, ends_at=NOW)
        self.traffic = Traffic(self.org, self.world, seed=seed)
        self.clock.advance(60)
        self._seen = len(self.org.commits)

    def new_commits(self) -> list[Commit]:
        """Commits since the last call."""
        found = self.org.commits[self._seen :]
        self._seen = len(self.org.commits)
        return found


def changed(commit: Commit) -> set[str]:
    """The fields that differ, audit fields aside."""
    before, after = commit.before or {}, commit.after or {}
    return {name for name in before | after if before.get(name) != after.get(name)} - AUDIT


@pytest.fixture
def office() -> Office:
    return Office()


def one_commit(office: Office, operation: str) -> tuple[str, Commit]:
    said = office.traffic.do(operation)
    commits = office.new_commits()
    assert len(said) == 1
    assert len(commits) == 1, [repr(commit) for commit in commits]
    assert commits[0].at == stamp(office.clock.now())
    return said[0], commits[0]


UPDATES: list[tuple[str, str, set[str]]] = [
    ("contact_title", "Contact", {"Title"}),
    ("contact_phone", "Contact", {"Phone"}),
    ("contact_email", "Contact", {"Email"}),
    ("contact_moved", "Contact", {"AccountId"}),
    ("contact_owner", "Contact", {"OwnerId"}),
    ("account_mrr", "Account", {"MRR__c"}),
    ("account_industry", "Account", {"Industry"}),
    ("account_owner", "Account", {"OwnerId"}),
    ("lead_status", "Lead", {"Status"}),
    ("opportunity_amount", "Opportunity", {"Amount"}),
]


@pytest.mark.parametrize(("operation", "name", "fields"), UPDATES)
@pytest.mark.parametrize("seed", range(5))
def test_an_edit_changes_just_its_field(operation: str, name: str, fields: set[str], seed: int) -> None:
    _, commit = one_commit(Office(seed, accounts=6), operation)
    assert (commit.kind, commit.object) == ("updated", name)
    assert changed(commit) == fields


def test_the_sentence_tells_who_has_which_title(office: Office) -> None:
    said, commit = one_commit(office, "contact_title")
    assert commit.after is not None
    account = office.org.get("Account", commit.after["AccountId"])
    assert account is not None
    assert said == f"{commit.after['Name']} at {account['Name']} is now {commit.after['Title']}"


def test_mrr_keeps_cents(office: Office) -> None:
    for _ in range(30):
        office.traffic.do("account_mrr")
    for commit in office.new_commits():
        assert commit.after is not None
        assert commit.after["MRR__c"] == round(commit.after["MRR__c"], 2)


def test_an_account_becomes_a_customer_or_leaves(office: Office) -> None:
    for _ in range(20):
        _, commit = one_commit(office, "account_type")
        assert commit.after is not None
        assert "Type" in changed(commit) <= {"Type", "MRR__c"}
        assert (commit.after["Type"] == "Paying Customer") == bool(commit.after["MRR__c"])


@pytest.mark.parametrize(
    ("operation", "name"), [("contact_created", "Contact"), ("lead_created", "Lead"), ("task_created", "Task")]
)
def test_something_new_is_created(office: Office, operation: str, name: str) -> None:
    for _ in range(10):
        _, commit = one_commit(office, operation)
        assert (commit.kind, commit.object, commit.before) == ("created", name, None)


def test_a_new_deal_comes_with_a_primary_contact_of_the_account(office: Office) -> None:
    assert office.traffic.do("opportunity_created")
    deal, role = office.new_commits()
    assert deal.after is not None
    assert role.after is not None
    assert (deal.object, deal.kind, role.object, role.kind) == (
        "Opportunity", "created", "OpportunityContactRole", "created",
    )  # fmt: skip
    contact = office.org.get("Contact", role.after["ContactId"])
    assert contact is not None
    assert contact["AccountId"] == deal.after["AccountId"]
    assert role.after["IsPrimary"] is True
    assert role.after["OpportunityId"] == deal.record_id


def test_a_role_is_given_to_somebody_of_the_account(office: Office) -> None:
    for _ in range(10):
        said = office.traffic.do("role_added")
        for commit in office.new_commits():
            assert said
            assert commit.after is not None
            deal = office.org.get("Opportunity", commit.after["OpportunityId"])
            contact = office.org.get("Contact", commit.after["ContactId"])
            assert deal is not None
            assert contact is not None
            assert deal["AccountId"] == contact["AccountId"]


def test_a_stage_moves_forward_and_the_probability_with_it(office: Office) -> None:
    for _ in range(10):
        said, commit = one_commit(office, "opportunity_stage")
        assert commit.before is not None
        assert commit.after is not None
        assert commit.after["IsClosed"] is False
        assert commit.before["StageName"] != commit.after["StageName"]
        assert said.endswith(f"moved from {commit.before['StageName']} to {commit.after['StageName']}")


@pytest.mark.parametrize(("operation", "won"), [("opportunity_won", True), ("opportunity_lost", False)])
def test_a_deal_is_closed_today(office: Office, operation: str, won: bool) -> None:
    _, commit = one_commit(office, operation)
    assert commit.before is not None
    assert commit.after is not None
    assert commit.before["IsClosed"] is False
    assert (commit.after["IsClosed"], commit.after["IsWon"]) == (True, won)
    assert commit.after["CloseDate"] == "2026-03-02"
    assert (commit.after["Loss_Reason__c"] is None) == won


def test_leads_are_converted_in_every_way(office: Office) -> None:
    ways = set()
    for _ in range(40):
        office.traffic.do("lead_created")
        office.new_commits()
        said = office.traffic.do("lead_converted")
        commits = office.new_commits()
        lead = next(commit for commit in commits if commit.kind == "converted")
        assert lead.after is not None
        made = tuple(sorted(commit.object for commit in commits if commit.kind == "created"))
        ways.add(made)
        assert lead.after["IsConverted"] is True
        assert (lead.after["ConvertedOpportunityId"] is None) == ("Opportunity" not in made)
        contact = office.org.get("Contact", lead.after["ConvertedContactId"])
        assert contact is not None
        assert contact["AccountId"] == lead.after["ConvertedAccountId"]
        assert said[0].endswith("with an opportunity" if "Opportunity" in made else "without an opportunity")
    deal = ("Opportunity", "OpportunityContactRole")
    assert ways == {(), deal, ("Contact",), ("Contact", *deal), ("Account", "Contact"), ("Account", "Contact", *deal)}


def test_a_task_is_completed(office: Office) -> None:
    office.traffic.do("task_completed")
    task = next(commit for commit in office.new_commits() if commit.object == "Task")
    assert task.after is not None
    assert {"Status", "IsClosed", "CompletedDateTime"} <= changed(task)
    assert task.after["IsClosed"] is True


def test_a_campaign_gets_a_member_who_responds(office: Office) -> None:
    assert office.traffic.do("campaign_joined")
    member = next(commit for commit in office.new_commits() if commit.object == "CampaignMember")
    assert member.kind == "created"
    assert office.traffic.do("campaign_responded")
    answer = next(commit for commit in office.new_commits() if commit.object == "CampaignMember")
    assert answer.after is not None
    assert {"Status", "HasResponded", "FirstRespondedDate"} <= changed(answer)
    assert answer.after["HasResponded"] is True


def test_nobody_is_a_member_of_a_campaign_twice() -> None:
    office = Office(accounts=2)
    for _ in range(120):
        office.traffic.do("campaign_joined")
    members = [(m["CampaignId"], m["ContactId"] or m["LeadId"]) for m in office.org.records("CampaignMember")]
    assert len(members) == len(set(members)) > 20


def test_enrichment_counts_more_people(office: Office) -> None:
    _, commit = one_commit(office, "enrichment_refreshed")
    assert commit.object == "cbit__Clearbit__c"
    assert changed(commit) == {"cbit__Company_Size__c", "cbit__Company_Metrics_Employees__c"}


def test_a_merge_names_the_winner_on_the_loser(office: Office) -> None:
    said = office.traffic.do("contact_merged")[0]
    merged = [commit for commit in office.new_commits() if commit.kind == "merged"]
    assert len(merged) == 1
    loser = merged[0].after
    assert loser is not None
    winner = office.org.get("Contact", loser["MasterRecordId"])
    assert winner is not None
    assert loser["IsDeleted"] is True
    assert winner["IsDeleted"] is False
    assert said.startswith(f"{loser['Name']} at ")
    assert f"was merged into {winner['Name']}" in said


@pytest.mark.parametrize(
    ("operation", "name"), [("contact_deleted", "Contact"), ("opportunity_deleted", "Opportunity")]
)
def test_a_deleted_record_comes_back_or_is_gone_for_good(office: Office, operation: str, name: str) -> None:
    assert office.traffic.do(operation)
    gone = next(commit for commit in office.new_commits() if commit.object == name)
    assert gone.kind == "deleted"
    assert (office.org.get(name, gone.record_id) or {})["IsDeleted"] is True
    fates = set()
    for _ in range(60):
        office.traffic.do(operation)
        office.traffic.do("record_restored")
        office.traffic.do("record_purged")
        fates |= {commit.kind for commit in office.new_commits() if commit.object == name}
    assert {"deleted", "undeleted", "purged"} <= fates


def test_a_purged_record_is_nowhere(office: Office) -> None:
    office.traffic.do("contact_deleted")
    office.new_commits()
    purged: list[Commit] = []
    for _ in range(30):
        office.traffic.do("record_purged")
        purged += [commit for commit in office.new_commits() if commit.kind == "purged"]
    assert purged
    assert all(office.org.get(commit.object, commit.record_id) is None for commit in purged)


def test_a_touch_moves_only_the_stamp(office: Office) -> None:
    _, commit = one_commit(office, "record_touched")
    assert commit.kind == "touched"
    assert changed(commit) == set()
    assert commit.before is not None
    assert commit.after is not None
    assert commit.after["LastModifiedDate"] == commit.before["LastModifiedDate"]
    assert commit.after["SystemModstamp"] > commit.before["SystemModstamp"]


def test_saving_without_typing_changes_nothing_but_the_audit_fields(office: Office) -> None:
    _, commit = one_commit(office, "saved_unchanged")
    assert changed(commit) == set()
    assert commit.after is not None
    assert commit.after["LastModifiedDate"] == stamp(office.clock.now())


@pytest.mark.parametrize("real", [False, True])
def test_two_commits_share_a_record_and_a_second(office: Office, real: bool) -> None:
    if real:
        office.org.clock = RealClock()
    office.traffic.do("two_in_one_second")
    commits = office.new_commits()
    assert len(commits) == 2 or real
    assert commits[-1].record_id == commits[-2].record_id
    assert commits[-1].at == commits[-2].at
    assert changed(commits[-1]) == {"Title"}


def test_a_late_commit_is_stamped_when_saved_and_seen_later(office: Office) -> None:
    saved = stamp(office.clock.now())
    assert "began" in office.traffic.do("late_commit")[0]
    assert office.new_commits() == []
    assert office.traffic.open_transactions == 1
    office.clock.advance(300)
    sentences = office.traffic.finish()
    (commit,) = office.new_commits()
    assert len(sentences) == 1
    assert (commit.at, commit.visible_at) == (saved, stamp(office.clock.now()))
    assert changed(commit) == {"Title"}
    assert office.traffic.open_transactions == 0


def test_a_late_commit_comes_due_after_some_steps(office: Office) -> None:
    office.traffic.do("late_commit")
    said: list[str] = []
    for _ in range(8):
        said += office.traffic.step()
    assert any("as was saved a while ago" in sentence for sentence in said)


def test_a_burst_ties_thousands_of_new_leads_on_one_second(office: Office) -> None:
    office.traffic.burst(5000)
    commits = office.new_commits()
    assert len(commits) == len({commit.record_id for commit in commits}) == 5000
    assert {commit.at for commit in commits} == {stamp(office.clock.now())}
    assert {(commit.object, commit.kind) for commit in commits} == {("Lead", "created")}
    assert all(is_id(commit.record_id) and to18(commit.record_id[:15]) == commit.record_id for commit in commits)


def live(steps: int, seed: int, advance: Callable[[int], float] = lambda _: 3) -> tuple[Office, list[str]]:
    office = Office(seed)
    said: list[str] = []
    for number in range(steps):
        said += office.traffic.step()
        office.clock.advance(advance(number))
    said += office.traffic.finish()
    return office, said


def test_five_hundred_steps_never_raise_and_keep_references_whole() -> None:
    office, said = live(500, seed=5)
    assert len(said) >= 500
    assert all(sentence and sentence == sentence.strip() for sentence in said)
    everything = {
        record["Id"]: record for name in office.org.objects for record in office.org.records(name, include_deleted=True)
    }
    assert all(is_id(key) and to18(key[:15]) == key for key in everything)
    for role in office.org.records("OpportunityContactRole"):
        assert everything[role["ContactId"]]["IsDeleted"] is False
        assert everything[role["OpportunityId"]]["IsDeleted"] is False
    kinds = {commit.kind for commit in office.org.commits}
    assert kinds == {"created", "updated", "deleted", "undeleted", "purged", "touched", "merged", "converted"}


def test_the_same_seed_gives_the_same_day() -> None:
    first, said = live(150, seed=9)
    second, again = live(150, seed=9)
    assert said == again
    for name in first.org.objects:
        assert first.org.records(name, include_deleted=True) == second.org.records(name, include_deleted=True)
    assert live(150, seed=10)[1] != said


def test_new_addresses_stay_in_the_sample_domains() -> None:
    office, _ = live(300, seed=6)
    office.traffic.burst(50)
    for name in ("Contact", "Lead"):
        for record in office.org.records(name, include_deleted=True):
            if record["Email"]:
                assert record["Email"].strip().lower().endswith(("example.com", "example.org"))


def test_an_empty_org_has_nothing_to_do_until_somebody_arrives() -> None:
    org = Org(clock=VirtualClock(NOW))
    traffic = Traffic(org, seed=1)
    for operation in traffic.operations:
        if operation != "lead_created":
            assert Traffic(Org(clock=VirtualClock(NOW)), seed=1).do(operation) == [], operation
    assert traffic.step()
    assert len(org.records("Lead")) == 1
    for _ in range(60):
        assert traffic.step()
    assert org.records("Contact", include_deleted=True)


def test_every_operation_finds_something_in_a_small_world() -> None:
    office = Office(seed=2)
    office.traffic.do("contact_deleted")
    idle = set()
    for operation in office.traffic.operations:
        if not any(office.traffic.do(operation) for _ in range(20)):
            idle.add(operation)
    assert idle == set()


def test_an_unknown_operation_is_refused_with_the_known_ones(office: Office) -> None:
    with pytest.raises(ValueError, match="choose one of contact_created"):
        office.traffic.do("world_peace")


def test_a_field_that_went_away_only_means_something_else_happens(office: Office) -> None:
    office.org.remove_field("Account", "MRR__c")
    assert office.traffic.do("account_mrr") == []
    for _ in range(50):
        assert office.traffic.step()


def test_a_record_that_is_open_elsewhere_is_left_alone() -> None:
    office = Office(accounts=1)
    transaction = office.org.begin()
    for contact in office.org.records("Contact"):
        transaction.touch("Contact", contact["Id"])
    assert office.traffic.do("contact_title") == []
    transaction.rollback()
    assert office.traffic.do("contact_title") != []


def test_traffic_runs_in_a_thread_until_it_is_told_to_stop(office: Office) -> None:
    stop, enough = threading.Event(), threading.Event()
    said: list[Any] = []

    def hear(sentence: str) -> None:
        said.append(sentence)
        if len(said) >= 5:
            enough.set()

    office.traffic.do("late_commit")
    thread = threading.Thread(target=office.traffic.run, args=(stop, 0.001, hear))
    thread.start()
    try:
        assert enough.wait(10)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert office.traffic.open_transactions == 0
