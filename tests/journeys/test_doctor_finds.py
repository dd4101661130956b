"""What `headrace doctor` says of a store: one sentence for each kind of finding, with what to do."""

import json
from collections.abc import Callable
from typing import Any

from integration.store import tables
from integration.stream.connection import connect
from integration.stream.names import REREAD_KEY
from integration.wiring import doctor, parts
from integration.wiring.doctor import Check

Found = Callable[..., Any]


def checks(company: Any, name: str) -> list[Check]:
    return [check for check in doctor.checks(company.settings) if check.name == name]


def swept(company: Any, **counts: Any) -> None:
    row = {"run_id": "r", "started_at": counts["ended_at"], "kind": "sweep", **counts}
    with parts.open_store(company.settings) as store, store.transaction() as tx:
        tx.append("reconciliations", tables.RECONCILIATIONS, [row])


def test_shared_mailboxes_are_counted_and_not_named(found: Found) -> None:
    company = found(build=False, HEADRACE_IDENTITY__MAX_CLUSTER="2")
    for number in range(2):
        company.org.insert("Contact", {"LastName": f"N{number}", "Email": "Info@example.com"})
        company.org.insert("Contact", {"LastName": f"M{number}", "Email": "pair@example.com"})
    lead = company.org.insert("Lead", {"LastName": "L", "Company": "C", "Email": " info@example.com"})
    company.sync()

    [warning] = checks(company, "identity")

    assert warning.state == "warn"
    assert warning.sentence.startswith("1 e-mail address is used by more than 2 records each")
    assert "identity.max_cluster" in warning.remedy
    assert "@" not in warning.sentence + warning.remedy
    company.clock.advance(5)
    company.org.delete("Lead", lead)
    company.sync()
    assert checks(company, "identity") == []


def test_a_store_that_was_never_swept_gets_a_hint_and_one_with_differences_a_warning(found: Found) -> None:
    company = found(build=False)
    company.org.insert("Contact", {"LastName": "Okafor"})
    company.sync()

    [hint] = checks(company, "sweep")
    swept(company, object="Contact", ended_at="2026-03-02T09:00:00Z", missing=2, stale=1, ghosts=0, repaired=1)
    swept(company, object="Lead", ended_at="2026-03-02T09:00:00Z", missing=1, stale=0, ghosts=0, repaired=1)
    [warning] = checks(company, "sweep")
    swept(company, object="Contact", ended_at="2026-03-02T10:00:00Z", missing=0, stale=0, ghosts=0, repaired=0)
    [fine] = checks(company, "sweep")

    assert (hint.state, hint.remedy) == ("ok", "do it with: headrace sweep")
    assert warning.state == "warn"
    assert warning.sentence.startswith("Contact: the sweep of 2026-03-02T09:00:00Z left 2 of 3 differences")
    assert (fine.state, "left no difference" in fine.sentence) == ("ok", True)


def test_formulas_are_told_with_how_long_ago_they_were_read_again(found: Found) -> None:
    company = found(build=False)
    company.org.insert("Contact", {"LastName": "Okafor"})
    company.sync()
    with connect(company.settings.redis.url) as client:
        rounds = {"started": "2026-03-02T08:00:00Z", "ended": "2026-03-02T08:10:00Z"}
        client.hset(REREAD_KEY, "Contact", json.dumps(rounds))

    [told] = checks(company, "formulas")

    assert told.state == "ok"
    assert told.sentence.endswith("2026-03-02T08:00:00Z")
    assert "calculated fields" in told.sentence
