"""One worker has a role; another stands by until it is free, by Redis's clock alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import fakeredis
import pytest

from integration.errors import UnreachableError
from integration.processes import is_alive as process_is_alive
from integration.stream.connection import Client, connect
from integration.stream.lease import Lease, holder_of, new_holder
from integration.stream.names import lease_key

ROLE = "flattener"
KEY = lease_key(ROLE)


@pytest.fixture(params=["valkey", "fakeredis"])
def server(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A real server, and the pure Python one that unit tests elsewhere use."""
    if request.param == "valkey":
        yield request.getfixturevalue("redis_client")
        return
    with fakeredis.FakeRedis(server=fakeredis.FakeServer()) as fake:
        yield fake


def lease(client: Client, name: str = "here:1:a", *, seconds: float = 15.0, dead: int = 0) -> Lease:
    return Lease(client, ROLE, holder=name, seconds=seconds, is_alive=lambda pid: pid != dead)


def test_the_second_stands_by_until_the_first_gives_it_back(server: Client) -> None:
    first, second = lease(server, "here:1:a"), lease(server, "here:2:b")
    assert first.take()
    assert holder_of(server, ROLE) == "here:1:a"
    assert not second.take()
    assert first.take(), "who has it keeps it"

    assert not second.release(), "nobody gives back what another has"
    assert first.release()
    assert holder_of(server, ROLE) is None
    assert second.take()
    assert not first.take()


def test_the_second_takes_over_from_one_that_is_silent(server: Client, wait_until: Callable[..., None]) -> None:
    assert lease(server, "elsewhere:1:a", seconds=0.2).take()
    second = lease(server, "here:2:b")
    wait_until(second.take, "the lease of the silent one runs out")
    assert holder_of(server, ROLE) == "here:2:b"


def test_taking_again_lengthens_the_lease(redis_client: Client) -> None:
    mine = lease(redis_client)
    assert mine.take()
    redis_client.pexpire(KEY, 3000)
    assert mine.take()
    assert 3000 < redis_client.pttl(KEY) <= 15_000


def test_the_same_worker_finds_its_lease_again(redis_client: Client) -> None:
    assert lease(redis_client).take()
    redis_client.pexpire(KEY, 3000)
    assert lease(redis_client).take()
    assert redis_client.pttl(KEY) > 3000


def test_who_lost_the_lease_learns_it_and_does_not_hold_up_the_other(redis_client: Client) -> None:
    first, second = lease(redis_client, "here:1:a"), lease(redis_client, "here:2:b")
    assert first.take()
    redis_client.delete(KEY)  # as if it had run out while the first was stalled
    assert second.take()
    assert not first.take()
    redis_client.pexpire(KEY, 3000)
    assert not first.take()
    assert redis_client.pttl(KEY) <= 3000
    assert second.take()


def test_renewing_takes_one_command(redis_client: Client) -> None:
    mine = lease(redis_client)
    mine.take()
    before = redis_client.info("stats")["total_commands_processed"]
    mine.take()
    assert redis_client.info("stats")["total_commands_processed"] - before == 2, "GETEX, and this look"


def test_after_flushall_it_is_taken_again_by_whoever_comes_first(server: Client) -> None:
    first, second = lease(server, "here:1:a"), lease(server, "here:2:b")
    assert first.take()
    server.flushall()
    assert first.take()
    server.flushall()
    assert second.take()
    assert not first.take()


def test_the_lease_of_a_dead_process_of_this_host_is_free_at_once(server: Client) -> None:
    assert lease(server, "here:41:a").take()
    assert not lease(server, "here:2:b", dead=40).take()
    assert lease(server, "here:2:b", dead=41).take()
    assert holder_of(server, ROLE) == "here:2:b"


@pytest.mark.parametrize("holder", ["there:41:a", "41:a", "here:x:a", "here:0:a", "here:-1:a", "nonsense", ""])
def test_of_other_hosts_and_strange_holders_nobody_can_say_that_they_are_dead(
    redis_client: Client, holder: str
) -> None:
    redis_client.set(KEY, holder)
    mine = Lease(redis_client, ROLE, holder="here:2:b", is_alive=lambda _: False)
    assert not mine.take()
    assert holder_of(redis_client, ROLE) == holder


def test_of_two_who_find_the_holder_dead_one_takes_over(redis_client: Client, redis_url: str) -> None:
    assert lease(redis_client, "here:41:a").take()
    with connect(redis_url) as other_client:
        faster = lease(other_client, "here:3:c", dead=41)
        overtaken: list[bool] = []

        def is_alive(_: int) -> bool:
            overtaken.append(faster.take())  # between the look and the removal
            return False

        assert not Lease(redis_client, ROLE, holder="here:2:b", is_alive=is_alive).take()
    assert overtaken == [True]
    assert holder_of(redis_client, ROLE) == "here:3:c"


def test_a_real_process_is_alive_until_it_has_ended(redis_client: Client) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert Lease(redis_client, ROLE, holder=new_holder("here", child.pid)).take()
    mine = Lease(redis_client, ROLE, holder=new_holder("here", os.getpid()))
    assert not mine.take()
    child.kill()
    child.communicate()
    assert mine.take()
    assert process_is_alive(os.getpid())
    assert process_is_alive(1), "another user's process too"


def test_roles_are_apart_and_two_workers_of_one_process_as_well(redis_client: Client) -> None:
    one, other = new_holder("here", 7), new_holder("here", 7)
    assert one.startswith("here:7:")
    assert one != other
    assert Lease(redis_client, "poller", holder=one).take()
    assert Lease(redis_client, "flattener", holder=other).take()
    assert not Lease(redis_client, "poller", holder=other).take()


def test_a_full_redis_does_not_keep_a_worker_from_emptying_it(redis_client: Client) -> None:
    holding, late = lease(redis_client, "here:1:a"), lease(redis_client, "here:2:b")
    assert holding.take()
    redis_client.config_set("maxmemory", 1)
    try:
        assert holding.take(), "renewing needs no memory"
        assert not late.take()
        holding.release()
        assert late.take(), "nobody has it"
        assert late.take()
        assert holder_of(redis_client, ROLE) is None
    finally:
        redis_client.config_set("maxmemory", 0)
    assert late.take()
    assert holder_of(redis_client, ROLE) == "here:2:b"


def test_a_redis_that_is_gone_is_one_sentence() -> None:
    gone = Lease(connect("redis://127.0.0.1:1"), ROLE, holder="here:1:a")
    with pytest.raises(UnreachableError, match=r"^Redis at 127\.0\.0\.1:1 does not answer: .*\.$"):
        gone.take()
