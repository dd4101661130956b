"""Whose streams these are: one org's, so that a second one whose settings name the same Redis is told."""

import re
from contextlib import suppress
from typing import Final

from redis.exceptions import OutOfMemoryError

from integration.errors import ConfigError
from integration.stream.connection import Client, answering
from integration.stream.names import ORG_KEY

_ORG_ID: Final = re.compile(r"00D[A-Za-z0-9]{15}", re.ASCII)


def claim(client: Client, org: str) -> None:
    """Note that the streams are those of this org. Raises ConfigError if they are another's, UnreachableError.

    What is no org id (the host, where Salesforce does not tell) is not compared: it may be told the next time.
    """
    if not is_org_id(org):
        return
    # A Redis that is full has to be emptied first: then it is noted the next time.
    with answering(client), suppress(OutOfMemoryError):
        client.set(ORG_KEY, org, nx=True)
    there = org_of(client)
    if there not in (None, org):
        raise mixed_up(f"This Redis holds the streams of org {there}, and the login is to org {org}")


def org_of(client: Client) -> str | None:
    """Return the id of the org whose streams these are, None if it is not known. Raises UnreachableError."""
    with answering(client):
        found = client.get(ORG_KEY)
    return found.decode("utf-8", "backslashreplace") if isinstance(found, bytes) else None


def is_org_id(text: str) -> bool:
    """True for an org's 18-character id."""
    return _ORG_ID.fullmatch(text) is not None


def mixed_up(what: str) -> ConfigError:
    """Return what a user should hear when two orgs meet."""
    return ConfigError(
        f"{what}: give each org a Redis database and a store of its own (redis.url, store.url); a sandbox that was "
        "refreshed is a new org, so give it new ones too, or delete these."
    )
