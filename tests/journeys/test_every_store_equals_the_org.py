"""What DuckDB holds after any history, PostgreSQL and ClickHouse hold as well: judged by the same oracle."""

from collections.abc import Callable, Iterator
from typing import Any

import chdb_http
import pytest
from compare import assert_equal

from integration.sandbox.traffic import Traffic
from integration.store.answers import ask
from integration.store.opening import open_reader
from integration.wiring.sweep import sweep

Found = Callable[..., Any]


@pytest.fixture(params=["clickhouse", "postgres"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "postgres":
        yield request.getfixturevalue("postgres").emptied()
        return
    with chdb_http.serving(request.getfixturevalue("clickhouse").emptied(), password="") as server:
        yield server.url


def test_after_every_kind_of_operation_the_store_equals_the_org(found: Found, store_url: str) -> None:
    company = found(accounts=6, HEADRACE_STORE__URL=store_url)
    company.sync()
    for operation in Traffic.operations:
        company.clock.advance(11)
        company.traffic.do(operation)
    company.traffic.finish()

    assert company.sync().dead_letters == 0
    assert_equal(company)
    assert company.sync().captures_stored == 0
    sweep(company.settings)  # what only a sweep sees is repaired
    assert sweep(company.settings).is_equal


def test_commands_that_ask_answer_from_a_server_too(found: Found, postgres: Any) -> None:
    store_url = postgres.emptied()
    company = found(accounts=4, HEADRACE_STORE__URL=store_url)
    company.sync()
    shell = company.shell
    for words in (
        ("report", "account-people"),
        ("report", "pipeline"),
        ("doctor", "--offline"),
        ("status",),
        ("schema",),
    ):
        told = shell.run(*words, "--json")
        assert told.returncode == 0, f"{words}: {told.stderr}{told.stdout}"
    with open_reader(store_url) as reader:
        assert ask(reader, "SELECT count(*) AS n FROM users")[0]["n"] > 0
