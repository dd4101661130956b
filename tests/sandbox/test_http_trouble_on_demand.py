import json
import threading
import time

import pytest
import requests
from simple_salesforce import SalesforceGeneralError, SalesforceMalformedRequest, SalesforceRefusedRequest

from integration.sandbox import faults
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer

COUNT = "SELECT COUNT() FROM Account"


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        (faults.UNAVAILABLE_JSON, SalesforceGeneralError, 503),
        (faults.UNAVAILABLE_HTML, SalesforceGeneralError, 503),
        (faults.SERVER_ERROR, SalesforceGeneralError, 500),
        (faults.LIMIT_EXCEEDED, SalesforceRefusedRequest, 403),
        (faults.TOO_MANY_LONG_REQUESTS, SalesforceRefusedRequest, 403),
        (faults.QUERY_TIMEOUT, SalesforceMalformedRequest, 400),
    ],
)
def test_the_next_requests_get_an_error_and_then_all_is_well(salesforce, server, fault, error, status):
    server.faults.push(fault, times=2)
    for _ in range(2):
        with pytest.raises(error) as caught:
            salesforce.query(COUNT)
        assert caught.value.status == status
    assert salesforce.query(COUNT)["totalSize"] == 0
    assert len(server.faults) == 0


def test_broken_answers_break_the_client_as_in_real_life(salesforce, server, org):
    for _ in range(30):
        org.insert("Account", {"Name": "Acme"})
    for fault in (faults.TRUNCATED, faults.MAINTENANCE_PAGE):
        server.faults.push(fault)
        with pytest.raises(json.JSONDecodeError):
            salesforce.query("SELECT Id, Name FROM Account")
    server.faults.push(faults.RESET)
    with pytest.raises(requests.exceptions.ConnectionError):
        salesforce.query(COUNT)
    assert salesforce.query(COUNT)["totalSize"] == 30


def test_a_fault_can_wait_for_one_kind_of_request(salesforce, server):
    server.faults.push(faults.SERVER_ERROR, where="/limits")
    assert salesforce.query(COUNT)["totalSize"] == 0
    with pytest.raises(SalesforceGeneralError):
        salesforce.limits()
    server.faults.push(faults.SERVER_ERROR)
    server.faults.clear()
    salesforce.limits()


def test_a_slow_answer_is_late_but_right(salesforce, server):
    server.faults.push(faults.slow(0.3), where="/query")
    with pytest.raises(requests.exceptions.ReadTimeout):
        salesforce.query(COUNT, timeout=0.05)
    server.faults.push(faults.slow(0.1), where="/query")
    began = time.monotonic()
    assert salesforce.query(COUNT)["totalSize"] == 0
    assert time.monotonic() - began >= 0.1


def test_a_slow_answer_holds_up_nobody_else(salesforce, server, session_to):
    server.faults.push(faults.slow(0.5), where="/query")
    url, headers = f"{server.url}/services/data/v66.0", {"Authorization": f"Bearer {salesforce.session_id}"}
    slow = threading.Thread(target=lambda: session_to(server.url).get(f"{url}/query?q={COUNT}", headers=headers))
    slow.start()
    deadline = time.monotonic() + 5
    while len(server.faults) and time.monotonic() < deadline:
        time.sleep(0.001)
    salesforce.limits()
    assert slow.is_alive()
    slow.join()
    assert server.requests["query"] == 1


def test_a_hook_sees_every_request_and_can_change_the_org_in_between(salesforce, server, org):
    paths = []

    def hook(path: str) -> None:
        paths.append(path)
        org.insert("Account", {"Name": "Acme"})

    server.faults.hook = hook
    assert salesforce.query(COUNT)["totalSize"] == 1
    assert salesforce.query(COUNT)["totalSize"] == 2
    assert paths == ["/services/data/v66.0/query/"] * 2


def test_when_the_daily_limit_is_used_up_every_call_is_refused(salesforce, server):
    server.daily_limit = 3
    for _ in range(3):
        salesforce.limits()
    for _ in range(2):
        with pytest.raises(SalesforceRefusedRequest, match="TotalRequests Limit exceeded") as caught:
            salesforce.query(COUNT)
    assert caught.value.content[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
    assert server.limit_info() == "api-usage=3/3"
    server.api_used = 0
    assert salesforce.query(COUNT)["totalSize"] == 0


def test_a_taken_port_is_an_os_error_and_a_stopped_server_answers_no_more(org: Org):
    with SandboxServer(org) as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            SandboxServer(org, port=port).start()
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"{first.url}/services/data").status_code == 200
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get(f"{first.url}/services/data")
