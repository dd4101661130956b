"""An org on a loopback port, and the real simple-salesforce client talking to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce

from integration.sandbox.clock import VirtualClock
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer

START = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)


class ToLoopback(HTTPAdapter):
    """Sends every request to one address, whatever host it names."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base = urlsplit(base_url)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = urlsplit(request.url)._replace(scheme=self._base.scheme, netloc=self._base.netloc).geturl()
        return super().send(request, *args, **kwargs)


@pytest.fixture
def session_to() -> Iterator[Callable[[str], requests.Session]]:
    """Opens sessions that send everything to one address; they are closed after the test."""
    with ExitStack() as opened:

        def open_session(url: str) -> requests.Session:
            session = opened.enter_context(requests.Session())
            session.trust_env = False
            session.mount("https://", ToLoopback(url))
            return session

        yield open_session


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def org(clock: VirtualClock) -> Org:
    return Org(clock=clock)


@pytest.fixture
def server(org: Org) -> Iterator[SandboxServer]:
    with SandboxServer(org) as running:
        yield running


@pytest.fixture
def session(server: SandboxServer, session_to: Callable[[str], requests.Session]) -> requests.Session:
    return session_to(server.url)


@pytest.fixture
def salesforce(session: requests.Session) -> Salesforce:
    """A client that logged in by client credentials."""
    return Salesforce(
        domain="acme.my",
        consumer_key="sandbox-key",
        consumer_secret="sandbox-secret",
        session=session,
        version="66.0",
    )
