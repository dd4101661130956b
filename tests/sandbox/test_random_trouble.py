"""Trouble for a whole run: every kind comes up, and whoever tries three times gets through."""

import itertools
from datetime import timedelta

import pytest
import requests
from requests.exceptions import ConnectionError as Cut
from simple_salesforce import Salesforce

from integration.sandbox.faults import TROUBLES, Fault, Trouble
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer

API = "/services/data/v66.0"
DATA = f"{API}/composite"
LOGIN = "/services/oauth2/token"


class Patient:
    """A client that tries each request three times and logs in anew after a 401."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session
        self._token = ""
        self.most = 0

    def ask(self, path: str, body: object = None) -> object:
        for tried in range(1, 4):
            self.most = max(self.most, tried)
            answer = self._send("GET" if body is None else "POST", path, json=body, headers=self._headers())
            if answer is None:
                continue
            if answer.status_code == 401:
                self._token = ""
            elif answer.status_code == 200 and self._is_json(answer):
                return answer.json()
        raise AssertionError(f"{path} failed three times")

    def _headers(self) -> dict[str, str]:
        form = {"grant_type": "client_credentials", "client_id": "sandbox-key", "client_secret": "sandbox-secret"}
        for _ in range(3):
            if not self._token:
                answer = self._send("POST", LOGIN, data=form)
                if answer is not None and answer.status_code == 200 and self._is_json(answer):
                    self._token = answer.json()["access_token"]
        assert self._token
        return {"Authorization": f"Bearer {self._token}"}

    def _send(self, method: str, path: str, **more: object) -> requests.Response | None:
        try:
            return self._session.request(method, f"https://acme.my.salesforce.com{path}", timeout=10, **more)
        except Cut:
            return None

    @staticmethod
    def _is_json(answer: requests.Response) -> bool:
        try:
            answer.json()
        except ValueError:
            return False
        return True


def batch(count: int) -> dict[str, object]:
    url = f"{API}/query?q=SELECT+Id+FROM+Contact"
    return {"compositeRequest": [{"method": "GET", "url": url, "referenceId": f"q{n}"} for n in range(count)]}


@pytest.mark.parametrize("seed", range(3))
def test_a_client_that_tries_three_times_gets_through_all_of_it(server, session, org, seed):
    org.insert("Contact", {"LastName": "Okafor"})
    trouble = Trouble(seed, 0.5)
    server.faults.hook = trouble
    client = Patient(session)
    for number in range(60):
        path = f"{API}/query?q=SELECT+Id+FROM+Contact" if number % 2 else f"{API}/sobjects/Contact/describe"
        assert client.ask(path)
    assert client.most == 3
    assert sum(trouble.met.values()) > 25


def test_the_same_seed_deals_out_the_same_trouble():
    def deal(seed: int) -> list[Fault | None]:
        trouble = Trouble(seed, 0.4)
        return [trouble(DATA if n % 3 else LOGIN) for n in range(200)]

    assert deal(1) == deal(1)
    assert deal(1) != deal(2)


def test_every_kind_comes_up_at_about_the_rate_asked_for():
    trouble = Trouble(7, 0.3)
    found = [trouble(DATA) for _ in range(2000)]
    assert set(trouble.met) == set(TROUBLES)
    assert set(found) == {None, *TROUBLES.values()}
    assert 450 < sum(trouble.met.values()) < 650
    assert Trouble(7, 0.0)(DATA) is None


def test_never_more_than_two_in_a_row_and_no_two_ended_sessions():
    trouble = Trouble(3, 1.0)
    found = [trouble(DATA) for _ in range(300)]
    assert all(None in found[n : n + 3] for n in range(298))
    assert all(fault is None for fault in found[2::3])
    for one, two in itertools.pairwise(found):
        assert one is None or one is not TROUBLES["session_expired"] or two is not one


def test_each_path_is_spared_in_its_turn_however_they_mix():
    trouble, in_a_row = Trouble(5, 0.9), {DATA: 0, LOGIN: 0}
    for number in range(600):
        path = LOGIN if number % 4 == 1 else DATA
        in_a_row[path] = 0 if trouble(path) is None else in_a_row[path] + 1
        assert in_a_row[path] <= 2


def test_logins_meet_neither_limits_nor_ended_sessions_and_only_queries_time_out():
    trouble = Trouble(1, 1.0)
    for _ in range(900):
        trouble(LOGIN)
    assert not {"limit_exceeded", "too_many_long_requests", "session_expired", "query_timeout"} & set(trouble.met)
    for path, times_out in (
        (f"{API}/query", True),
        (f"{API}/queryAll", True),
        (f"{API}/query/0r8000000000000AAA-2000", True),
        (DATA, True),
        (f"{API}/jobs/query", False),
        (f"{API}/sobjects/Contact/describe", False),
    ):
        only = Trouble(1, 1.0, ["query_timeout"])
        assert (only(path) == TROUBLES["query_timeout"]) is times_out


def test_with_the_server_at_hand_one_query_of_a_composite_times_out(server, session, org):
    server.faults.hook = Trouble(2, 0.5, ["query_timeout"], server=server)
    client, failed = Patient(session), []
    for _ in range(40):
        answer = client.ask(DATA, batch(4))
        codes = [part["httpStatusCode"] for part in answer["compositeResponse"]]
        assert codes.count(400) <= 1
        failed += [place for place, code in enumerate(codes) if code == 400]
        for part in answer["compositeResponse"]:
            assert part["httpStatusCode"] == 200 or part["body"][0]["errorCode"] == "QUERY_TIMEOUT"
    assert set(failed) == {0, 1, 2}
    assert org.query_to_time_out is None or len(failed) < 40


def test_a_timeout_that_found_no_query_is_forgotten_at_the_next_request(server, session):
    server.faults.hook = Trouble(2, 1.0, ["query_timeout"], server=server)
    client = Patient(session)
    limits = {"compositeRequest": [{"method": "GET", "url": f"{API}/limits", "referenceId": "a"}]}
    client.ask(DATA, limits)
    assert server.org.query_to_time_out is not None
    client.ask(f"{API}/limits")
    assert server.org.query_to_time_out is None


def test_with_the_server_at_hand_sessions_really_end(server, session, salesforce: Salesforce):
    server.faults.hook = Trouble(4, 1.0, ["session_expired"], server=server)
    before = server.requests["login"]
    for _ in range(5):
        assert salesforce.query("SELECT Id FROM Contact")["done"]
    assert server.requests["login"] - before == 5


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unavailable_json"):
        Trouble(1, 0.5, ["earthquake"])


def test_the_date_header_follows_the_clock_of_the_org(server: SandboxServer, session, org: Org, clock, salesforce):
    for skew in (timedelta(0), timedelta(hours=-3), timedelta(days=40)):
        clock.advance(skew.total_seconds())
        answer = session.get("https://acme.my.salesforce.com/services/data/", timeout=10)
        assert answer.headers["Date"] == clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
