"""Everything that makes change capture hard, at random and at once, for as long as is asked for.

The short form runs with all tests. The long one: `make soak` (200 seeds, 300 operations each: hours).
"""

import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from compare import differences, state_differences

from integration.errors import UnreachableError
from integration.sandbox.clock import stamp
from integration.sandbox.faults import Trouble
from integration.sandbox.org import Org
from integration.sandbox.traffic import Traffic
from integration.source import session
from integration.source.client import SalesforceClient
from integration.wiring import parts
from integration.wiring.sweep import Finding, SweepReport, sweep

Found = Callable[..., Any]

ROUND = 20
PACES = (1, 7, 40, 300, 2000)
DRIFTING = {
    "Contact": {"Score__c", "Engagement__c"},
    "cbit__Clearbit__c": {"cbit__Role__c", "cbit__Employment_Role__c", "cbit__Company_Size__c"},
}
"""What back-end jobs write without a stamp."""


@pytest.fixture
def operations(pytestconfig: pytest.Config) -> int:
    """How many things happen in each org."""
    return int(pytestconfig.getoption("--soak-operations"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries happen, but nobody waits for them."""
    monkeypatch.setattr(parts, "SalesforceClient", partial(SalesforceClient, sleep=lambda _: None))
    patient = session.patient_retry
    monkeypatch.setattr(session, "patient_retry", lambda: patient(backoff_seconds=0))


def test_after_any_history_and_any_trouble_a_sync_and_a_sweep_leave_no_difference(
    found: Found, soak_seed: int, operations: int
) -> None:
    company = troubled(found, soak_seed)
    dice = random.Random(soak_seed)
    patiently(company.sync)

    for _ in range(operations // ROUND):
        company.live(ROUND, every_seconds=dice.choice(PACES))
        patiently(company.sync)
        patiently(partial(sweep, company.settings))
        tell(company, differences(company))
    company.traffic.finish()
    patiently(company.sync)
    patiently(partial(sweep, company.settings))

    tell(company, differences(company))
    assert patiently(partial(sweep, company.settings)).is_equal


@pytest.mark.slow
def test_without_a_sweep_only_what_a_sweep_alone_can_see_is_missing(
    found: Found, soak_seed: int, operations: int
) -> None:
    company = troubled(found, soak_seed)
    dice = random.Random(soak_seed)
    patiently(company.sync)
    for _ in range(operations // ROUND):
        company.live(ROUND, every_seconds=dice.choice(PACES))
        patiently(company.sync)
    company.traffic.finish()
    patiently(company.sync)

    report: SweepReport = patiently(partial(sweep, company.settings))

    found_by_it = [(one.object, finding) for one in report.objects for finding in one.findings]
    tell(company, [f"{name}: {finding}" for name, finding in found_by_it if not is_for_a_sweep(company, name, finding)])
    tell(company, state_differences(company))


def is_for_a_sweep(company: Any, name: str, finding: Finding) -> bool:
    """Tell whether nothing but a sweep could see this: no stamp moved, or the delete log has forgotten it."""
    if finding.kind == "ghost":
        deleted = dict(company.org.deleted_log(name)).get(finding.record_id)
        return deleted is None or not can_be_asked(company.org, deleted)
    without_a_stamp = {f.name for f in company.org.objects[name].fields if f.moves_alone} | DRIFTING.get(name, set())
    return finding.kind == "stale" and (set(finding.fields) <= without_a_stamp or "IsDeleted" in finding.fields)


def can_be_asked(org: Org, deleted: str) -> bool:
    """Tell whether the delete log can be asked for the time of an entry: it answers for whole minutes, and not for one
    that it has forgotten in part."""
    since = org.deletes_known_since
    if since is None:
        return True
    whole = since.replace(second=0, microsecond=0)
    return deleted >= stamp(whole if whole == since else whole + timedelta(minutes=1))


def troubled(found: Found, seed: int) -> Any:
    """Found a company in which everything happens, whose Salesforce fails now and then in every way there is."""
    company = found(accounts=4, seed=seed)
    company.watcher.ignored.clear()
    company.traffic = Traffic(company.org, company.world, seed=seed, nasty=True)
    company.server.faults.hook = Trouble(seed, 0.08, server=company.server)
    return company


def patiently(work: Callable[[], Any]) -> Any:
    """Do it again while Salesforce is away for longer than one command waits."""
    for _ in range(9):
        try:
            return work()
        except UnreachableError:
            continue
    return work()


def tell(company: Any, found: list[str]) -> None:
    """Fail with what differs, and with what happened last."""
    assert not found, "\n".join([f"{len(found)} differences:", *found[:25], "after:", *company.said[-60:]])
