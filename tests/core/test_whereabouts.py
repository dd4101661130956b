from dataclasses import replace
from typing import Any

import pytest

from integration.core.whereabouts import Dead, Facts, Outcome, record_id_of, verdict
from integration.errors import UsageError

C1 = "003000000000001AAA"
T0, T1, T2, T3 = (f"2026-01-02T03:0{n}:00Z" for n in range(4))

# A contact that the store has as Salesforce shows it, polled since.
FINE = Facts(
    "Contact", C1,
    is_asked=True, version=T1, streams_reached=True, is_read=True, polled_until=T2, next_from=T0, deleted_until=T2,
    store_reached=True, stored_version=T1,
)  # fmt: skip
ABSENT: dict[str, Any] = {"stored_version": None}

CASES = [
    ({}, Outcome.STORED, "as Salesforce shows it"),
    ({"unread": "grant access"}, Outcome.PROBLEM, "not read"),
    ({"waiting_in": "crm.contact", "waiting_seconds": 3.2, **ABSENT}, Outcome.COMING, "waits in crm.contact since 3 s"),
    ({"dead": Dead("No.", "crm.contact", T1), **ABSENT}, Outcome.PROBLEM, "given up: No."),
    ({"dead": Dead("No.", "crm.contact", T1)}, Outcome.STORED, "as Salesforce shows it"),
    ({"dead": Dead("No.", "crm.contact", T0), "version": T3, "differing": ("Title",)}, Outcome.COMING, "changed after"),
    ({"store_reached": False, **ABSENT}, Outcome.UNKNOWN, "store can't be reached"),
    ({"is_asked": False, "version": None}, Outcome.STORED, "not asked"),
    ({"is_asked": False, "version": None, **ABSENT}, Outcome.PROBLEM, "not in the store"),
    ({"version": None, "stored_deleted": True}, Outcome.STORED, "as deleted"),
    ({"version": None, **ABSENT}, Outcome.PROBLEM, "no such record"),
    ({"version": None, "gone_at": T3, **ABSENT}, Outcome.PROBLEM, "before it was ever read"),
    ({"version": None, "gone_at": T3}, Outcome.COMING, "still has it as live"),
    ({"version": None, "gone_at": T1}, Outcome.PROBLEM, "shows it no more"),
    ({"version": None}, Outcome.PROBLEM, "shows it no more"),
    ({"differing": ("Age__c",), "calculated": ("Age__c",)}, Outcome.COMING, "Only calculated fields"),
    ({"differing": ("New__c",), "filling": ("New__c",)}, Outcome.COMING, "Only new fields"),
    ({"streams_reached": False, **ABSENT}, Outcome.UNKNOWN, "how far Contact has been read"),
    ({"is_read": False, **ABSENT}, Outcome.PROBLEM, "never been read"),
    ({"polled_until": None, "reading_at": T0, **ABSENT}, Outcome.COMING, "for the first time, so far up to"),
    ({"version": T3, "differing": ("Title",)}, Outcome.COMING, "changed after the last poll"),
    (ABSENT, Outcome.COMING, "became visible after the poll"),
    ({"next_from": T2, **ABSENT}, Outcome.PROBLEM, "committed late"),
    ({"is_published": True, **ABSENT}, Outcome.PROBLEM, "was published"),
    ({"next_from": T2, "differing": ("Title",)}, Outcome.PROBLEM, "otherwise than Salesforce (Title)"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "outcome", "words"), CASES)
def test_the_verdict_is_the_first_that_applies(found: dict[str, Any], outcome: Outcome, words: str) -> None:
    said = verdict(replace(FINE, **found))

    assert (said.outcome, words in said.sentence) == (outcome, True), said
    assert said.sentence.endswith(".")


@pytest.mark.parametrize("found", [found for found, outcome, _ in CASES if outcome is Outcome.COMING])
def test_what_comes_by_itself_says_how_to_have_it_now(found: dict[str, Any]) -> None:
    assert "headrace " in verdict(replace(FINE, **found)).remedy


def test_ids_are_lengthened_and_slips_refused() -> None:
    assert record_id_of("003000000000001") == C1
    assert record_id_of("0035g00000aBcDe") == record_id_of(record_id_of("0035g00000aBcDe"))
    for slip in ("", "003", "003000000000001AAB", "00300000000000!", "003000000000001AA", "0035g00000aBcDeaaa"):
        with pytest.raises(UsageError, match="no record id"):
            record_id_of(slip)
