from collections.abc import Callable
from typing import Any

import pytest
from compare import assert_equal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.sandbox.traffic import Traffic

Found = Callable[..., Any]


def test_after_a_first_sync_the_store_equals_the_org(found: Found) -> None:
    company = found(accounts=15)

    report = company.sync()

    assert report.dead_letters == 0
    told = company.query("SELECT count(*) AS n FROM captures WHERE object NOT LIKE '%History'")[0]["n"]
    assert company.query("SELECT count(*) AS n FROM events WHERE origin = 'poll'") == [{"n": told}]
    assert_equal(company)


@pytest.mark.slow
def test_after_rounds_of_mixed_edits_the_store_equals_the_org(found: Found) -> None:
    company = found(accounts=10)
    company.sync()

    for _ in range(4):
        company.live(25)
        company.sync()
        assert_equal(company)


@pytest.mark.slow
def test_the_same_round_synced_twice_changes_nothing(found: Found) -> None:
    company = found(accounts=8)
    company.sync()
    company.live(20)
    company.sync()
    tables = ("users", "accounts", "events", "changes", "identities", "captures", "salesforce.contact")
    before = {t: company.query(f"SELECT * FROM {t} ORDER BY ALL") for t in tables}

    report = company.sync()

    assert (report.captures_stored, report.events_written, report.users_written) == (0, 0, 0)
    assert {t: company.query(f"SELECT * FROM {t} ORDER BY ALL") for t in tables} == before


@pytest.mark.slow
def test_five_thousand_rows_of_one_second_all_arrive_once(found: Found) -> None:
    company = found(accounts=3)
    company.sync()
    company.clock.advance(60)
    company.traffic.burst(5_000)

    report = company.sync()

    assert report.captures_published == 5_000
    assert_equal(company)
    assert company.sync().captures_published == 0


def test_every_kind_of_operation_reaches_the_store(found: Found) -> None:
    company = found(accounts=12)
    company.sync()
    for operation in Traffic.operations:
        company.clock.advance(11)
        company.traffic.do(operation)
    company.traffic.finish()

    company.sync()

    assert_equal(company)


@settings(
    max_examples=1, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 10_000), rounds=st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_after_any_history_the_store_equals_the_org(found: Found, seed: int, rounds: list[int]) -> None:
    company = found(accounts=5, seed=seed)
    company.sync()

    for operations in rounds:
        company.live(operations)
        company.sync()
        assert_equal(company)
