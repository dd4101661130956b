"""What polling costs of the org's daily calls, counted at the server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from integration.wiring import parts
from integration.wiring.pipeline import Polling, Progress
from integration.wiring.streams import open_streams

Found = Callable[..., Any]
Poll = Callable[..., int]


@contextmanager
def polling(company: Any) -> Iterator[Poll]:
    """Give a function that polls once and returns how many calls the server has counted for it."""
    with open_streams(company.settings) as streams:
        source = parts.salesforce(company.settings)
        try:
            worker = Polling(company.settings, source, streams, Progress())
            worker.describe()

            def poll(*, deleted: bool = False) -> int:
                before = company.server.api_used
                worker.poll(deleted=deleted, should_stop=lambda: False)
                return int(company.server.api_used - before)

            yield poll
        finally:
            source.close()


@pytest.fixture
def company(found: Found) -> Any:
    """A company whose ten default objects are watched, and nothing else."""
    return found(accounts=8, HEADRACE_OBJECTS__Contact__ENRICH="", HEADRACE_OBJECTS__Account__ENRICH="")


def test_a_quiet_poll_of_all_default_objects_is_two_calls_and_three_with_histories(company: Any) -> None:
    company.clock.advance(7_200)  # nothing of the world's last hour lies in the overlap any more
    with polling(company) as poll:
        poll(deleted=True)
        company.clock.advance(700)
        poll(deleted=True)

        assert [poll() for _ in range(3)] == [2, 2, 2]
        assert poll(deleted=True) == 3 + 1  # histories too, and the delete logs of all objects in one call


def test_a_thousand_changes_cost_as_many_calls_as_none_but_for_their_history(company: Any) -> None:
    with polling(company) as poll:
        poll(deleted=True)
        company.clock.advance(60)
        contacts = [c["Id"] for c in company.org.records("Contact")]
        for number in range(1_000):
            company.org.update("Contact", contacts[number % len(contacts)], {"Title": f"Title {number}"})

        assert poll() <= 2 + 1


def test_four_thousand_changed_records_cost_eight_calls_at_most(company: Any) -> None:
    with polling(company) as poll:
        poll(deleted=True)
        company.clock.advance(60)
        company.traffic.burst(3_900)

        assert poll() <= 8
