"""A Redis holds the streams of one org, and says so to the next."""

import pytest

from integration.errors import ConfigError
from integration.stream import orgs
from integration.stream.connection import Client
from integration.stream.names import ORG_KEY

ONE, OTHER = "00D5g0000000001EAA", "00D5g0000000002EAA"


def test_the_first_org_has_it_and_the_second_is_told(redis_client: Client) -> None:
    assert orgs.org_of(redis_client) is None
    orgs.claim(redis_client, ONE)
    orgs.claim(redis_client, ONE)
    assert orgs.org_of(redis_client) == ONE
    with pytest.raises(ConfigError) as refused:
        orgs.claim(redis_client, OTHER)
    assert str(refused.value) == (
        f"This Redis holds the streams of org {ONE}, and the login is to org {OTHER}: give each org a Redis database "
        "and a store of its own (redis.url, store.url); a sandbox that was refreshed is a new org, so give it new "
        "ones too, or delete these."
    )
    assert orgs.org_of(redis_client) == ONE


@pytest.mark.parametrize("org", ["acme.my.salesforce.com", "", "00D5g0000000001", "0035g0000000001AAA"])
def test_what_is_no_org_id_proves_nothing(redis_client: Client, org: str) -> None:
    orgs.claim(redis_client, org)
    assert not redis_client.exists(ORG_KEY)
    orgs.claim(redis_client, ONE)
    orgs.claim(redis_client, org)


def test_a_full_redis_is_claimed_the_next_time(redis_client: Client) -> None:
    redis_client.config_set("maxmemory", "1mb")
    try:
        orgs.claim(redis_client, ONE)
        assert orgs.org_of(redis_client) is None
    finally:
        redis_client.config_set("maxmemory", 0)
    orgs.claim(redis_client, ONE)
    redis_client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(ConfigError):
            orgs.claim(redis_client, OTHER)
    finally:
        redis_client.config_set("maxmemory", 0)
