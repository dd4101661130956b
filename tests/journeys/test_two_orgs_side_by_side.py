"""Two orgs on one machine: each with its settings, its Redis database and its store. What is mixed up is refused."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Timer
from typing import Any

import pytest
from compare import assert_equal

from integration.errors import ConfigError
from integration.settings import Settings, load
from integration.store.opening import open_store
from integration.store.protocol import Store
from integration.stream import names
from integration.stream.connection import Client, connect
from integration.wiring.run import Role, run
from integration.wiring.sync import sync

Found = Callable[..., Any]
ONE, OTHER = "00D5g0000000001EAA", "00D5g0000000002EAA"


@pytest.fixture(scope="module")
def pair(found_for_all: Found, redis_url: str) -> tuple[Any, Any]:
    """Two companies with different orgs, each in a database of its own on one server; synced at the same time."""
    url = redis_url.removesuffix("/0")
    one = found_for_all(accounts=1, seed=1, HEADRACE_REDIS__URL=f"{url}/1")
    other = found_for_all(accounts=1, seed=2, org_number=2, HEADRACE_REDIS__URL=f"{url}/2")
    assert (one.org.org_id, other.org.org_id) == (ONE, OTHER)
    sync_both((one, other))
    return one, other


def sync_both(pair: tuple[Any, Any]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda company: company.sync(), pair))


def client_of(company: Any) -> Client:
    return connect(company.settings.redis.url)


def streams_of(company: Any) -> dict[str, tuple[int, Any]]:
    """Return how long each stream is, and where its group stands."""
    with client_of(company) as client:
        found = [key.decode() for key in client.scan_iter(match="crm.*", _type="stream")]
        groups = {name: client.xinfo_groups(name) for name in found}
        return {name: (client.xlen(name), groups[name][0]["last-delivered-id"]) for name in found}


def cursors_of(company: Any) -> list[Any]:
    with client_of(company) as client:
        return [client.get(names.cursor_key(name)) for name in company.settings.watched]


def positions_of(company: Any) -> list[dict[str, Any]]:
    return list(company.query("SELECT * FROM headrace.positions ORDER BY stream"))


def tables_of(company: Any) -> list[dict[str, Any]]:
    """Return every column there is."""
    columns = "table_schema, table_name, column_name"
    return list(company.query(f"SELECT {columns} FROM information_schema.columns ORDER BY ALL"))


@contextmanager
def opened(company: Any) -> Iterator[Store]:
    store = open_store(company.settings.store.url)
    try:
        yield store
    finally:
        store.close()


def mixed(company: Any, **env: str) -> Any:
    """Return a company's settings with something of another's in them."""
    return load(None, company.env | {"HEADRACE_WEB__PORT": "0"} | env)


def consume(settings: Settings) -> None:
    """Run a consumer, half a minute at most."""
    stop = Event()
    timer = Timer(30, stop.set)
    timer.start()
    try:
        run(settings, Role.CONSUMER, stop=stop)
    finally:
        timer.cancel()


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as refused:
        work()
    said = str(refused.value)
    assert said.endswith(
        ": give each org a Redis database and a store of its own (redis.url, store.url); a sandbox that was refreshed "
        "is a new org, so give it new ones too, or delete these."
    )
    return said.partition(": give each org")[0]


def test_each_store_equals_its_own_org(pair: tuple[Any, Any]) -> None:
    for company in pair:
        company.live(15)
    sync_both(pair)
    for company in pair:
        assert_equal(company)
        assert company.query("SELECT DISTINCT split_part(capture_id, ':', 1) AS org FROM captures") == [
            {"org": company.org.org_id}
        ]
        assert company.query("SELECT value FROM headrace.meta WHERE key = 'org'") == [{"value": company.org.org_id}]


def test_an_org_that_is_pointed_at_the_redis_of_another_is_refused_and_changes_nothing(pair: tuple[Any, Any]) -> None:
    one, other = pair
    settings = mixed(other, HEADRACE_REDIS__URL=one.env["HEADRACE_REDIS__URL"])
    before = streams_of(one), cursors_of(one), positions_of(other)
    said = refusal(lambda: sync(settings))
    assert said == f"This Redis holds the streams of org {ONE}, and the login is to org {OTHER}"
    assert (streams_of(one), cursors_of(one), positions_of(other)) == before


def test_an_org_that_is_pointed_at_the_store_of_another_is_refused_and_changes_nothing(pair: tuple[Any, Any]) -> None:
    one, other = pair
    settings = mixed(other, HEADRACE_STORE__URL=one.env["HEADRACE_STORE__URL"])
    before = tables_of(one), positions_of(one), streams_of(other), cursors_of(other)
    said = refusal(lambda: sync(settings))
    assert said == f"This store holds the records of org {ONE}, and this Redis the streams of org {OTHER}"
    assert (tables_of(one), positions_of(one), streams_of(other), cursors_of(other)) == before


def test_a_consumer_between_the_redis_of_one_and_the_store_of_another_is_refused(pair: tuple[Any, Any]) -> None:
    one, other = pair
    settings = mixed(one, HEADRACE_REDIS__URL=other.env["HEADRACE_REDIS__URL"])
    before = tables_of(one), positions_of(one), streams_of(other)
    said = refusal(lambda: consume(settings))
    assert said == f"This store holds the records of org {ONE}, and this Redis the streams of org {OTHER}"
    assert (tables_of(one), positions_of(one), streams_of(other)) == before


def test_a_store_that_was_filled_before_orgs_were_noted_is_known_by_its_captures(pair: tuple[Any, Any]) -> None:
    one, other = pair
    with opened(one) as store, store.transaction() as tx:
        tx.delete("headrace.meta", "key", ["org"])
    settings = mixed(one, HEADRACE_REDIS__URL=other.env["HEADRACE_REDIS__URL"])
    said = refusal(lambda: consume(settings))
    assert said == f"This store holds the records of org {ONE}, and this Redis the streams of org {OTHER}"
    one.live(3)
    one.sync()
    assert one.query("SELECT value FROM headrace.meta WHERE key = 'org'") == [{"value": ONE}]


def test_entries_of_another_org_are_refused_where_redis_does_not_know_whose_it_is(pair: tuple[Any, Any]) -> None:
    one, other = pair
    with client_of(other) as client:
        client.delete(names.ORG_KEY)  # as an older headrace left it
        [(_, fields)] = client.xrevrange("crm.contact", count=1)
        client.xadd("crm.contact", fields)  # and something waits there
    settings = mixed(one, HEADRACE_REDIS__URL=other.env["HEADRACE_REDIS__URL"])
    said = refusal(lambda: consume(settings))
    assert said == f"This store holds the records of org {ONE}, and the streams bring org {OTHER}"
    sync_both(pair)
    for company in pair:
        assert_equal(company)


def test_a_sandbox_that_was_refreshed_begins_with_a_redis_and_a_store_that_are_empty(pair: tuple[Any, Any]) -> None:
    one, other = pair
    # The same settings; what answers at the address now is another org.
    refreshed = {"HEADRACE_SALESFORCE__BASE_URL": other.server.url}
    said = refusal(lambda: sync(mixed(one, **refreshed)))
    assert said == f"This Redis holds the streams of org {ONE}, and the login is to org {OTHER}"
    new = {"HEADRACE_REDIS__URL": one.env["HEADRACE_REDIS__URL"].removesuffix("/1") + "/3"}
    new["HEADRACE_STORE__URL"] = f"duckdb:///{one.folder}/new.duckdb"
    report = sync(mixed(one, **refreshed, **new))
    assert (report.outcome, report.captures_stored > 0) == ("ok", True)
