"""The product of the invented company: calls that any door takes, and that follow the story of the CRM."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import mean
from typing import Any

import pytest

from integration.core.segment import MOST_EVENTS, read_call
from integration.sandbox.clock import VirtualClock, from_stamp
from integration.sandbox.org import Org
from integration.sandbox.product import ProductTraffic, history, users_of
from integration.sandbox.product_client import ProductClient, ProductRefusedError, batches
from integration.sandbox.traffic import Traffic
from integration.sandbox.world import build_world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
Call = dict[str, Any]


def make(seed: int = 7, accounts: int = 60) -> Org:
    org = Org(clock=VirtualClock(NOW))
    build_world(org, accounts=accounts, seed=seed, ends_at=NOW)
    return org


@pytest.fixture(scope="module", params=[7, 3, 11])
def told(request: pytest.FixtureRequest) -> tuple[Org, list[Call]]:
    org = make(request.param)
    return org, history(org, seed=request.param, ends_at=NOW)


def at(call: Call) -> datetime:
    return datetime.fromisoformat(call["timestamp"])


def emails(org: Org) -> dict[str, list[dict[str, Any]]]:
    """E-mail in lower case -> the live contacts and leads that have it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in (*org.records("Contact"), *org.records("Lead")):
        if record["Email"]:
            found.setdefault(record["Email"].strip().lower(), []).append(record)
    return found


def emails_of_users(calls: list[Call]) -> dict[str, str]:
    """User id -> e-mail in lower case."""
    return {call["userId"]: call["traits"]["email"].lower() for call in calls if call["type"] == "identify"}


def account_of_users(org: Org, calls: list[Call]) -> dict[str, str]:
    """User id -> account, of those whose address one record alone has, a contact at an account."""
    known = emails(org)
    found = {user: known.get(email, []) for user, email in emails_of_users(calls).items()}
    return {user: rows[0]["AccountId"] for user, rows in found.items() if len(rows) == 1 and rows[0].get("AccountId")}


def uses(org: Org, calls: list[Call], accounts: set[str]) -> list[Call]:
    """What people of these accounts do after their sign-up."""
    account = account_of_users(org, calls)
    acts = [call for call in calls if call.get("event") not in (None, "Sign Up")]
    return [call for call in acts if account.get(call["userId"]) in accounts]


def accounts_of(org: Org, kind: str) -> dict[str, dict[str, Any]]:
    return {row["Id"]: row for row in org.records("Account") if row["Type"] == kind}


def turned(org: Org, into: str) -> dict[str, datetime]:
    """Account -> when its type became this one, as the CRM's own history tells."""
    rows = [row for row in org.records("AccountHistory") if row["Field"] == "Type" and row["NewValue"] == into]
    return {row["AccountId"]: from_stamp(row["CreatedDate"]) for row in rows}


def test_the_same_org_seed_and_time_give_the_same_calls_and_another_seed_gives_others() -> None:
    first, second = (history(make(accounts=8), seed=7, ends_at=NOW) for _ in range(2))
    assert first == second
    assert first != history(make(accounts=8), seed=8, ends_at=NOW)


def test_any_door_takes_every_call_and_each_has_an_id_of_its_own(told: tuple[Org, list[Call]]) -> None:
    _, calls = told
    assert 4_000 < len(calls) < 10_000
    read = [read_call(None, {"batch": calls[i : i + MOST_EVENTS]}, NOW, str) for i in range(0, len(calls), MOST_EVENTS)]
    assert [refusal for one in read for refusal in one.refused] == []
    events = [event for one in read for event in one.events]
    assert len({event["id"] for event in events}) == len(calls)
    # Taken as they were told: no clock had to be put right.
    assert [event["time"] for event in events] == [call["timestamp"] for call in calls]
    assert all(call["anonymousId"] for call in calls)
    kinds = Counter(call.get("event", call["type"]) for call in calls)
    assert set(kinds) == {
        "page", "identify", "Sign Up", "Logged In", "Run Query", "Dashboard Viewed", "Report Exported", "Invite Sent",
    }  # fmt: skip


def test_everything_happens_in_the_two_years_of_the_story_in_its_order(told: tuple[Org, list[Call]]) -> None:
    _, calls = told
    times = [at(call) for call in calls]
    assert times == sorted(times)
    assert NOW - timedelta(days=730) <= times[0]
    assert times[-1] <= NOW
    assert times[-1] > NOW - timedelta(days=2)
    first: dict[str, datetime] = {}
    for call in calls:
        if call["type"] == "track":
            assert call["event"] == "Sign Up" or call["userId"] in first, call
            first.setdefault(call["userId"], at(call))


def test_addresses_are_those_of_the_crm_but_for_a_few_and_nobody_is_real(told: tuple[Org, list[Call]]) -> None:
    org, calls = told
    known, ids = emails(org), emails_of_users(calls)
    unknown = {email for email in ids.values() if email not in known}
    assert 2 <= len(unknown) <= len(ids) / 10
    assert all(email.endswith(("example.com", "example.org")) for email in ids.values())
    shared = [email for email, count in Counter(ids.values()).items() if count > 1]
    assert len(shared) == 1
    assert shared[0] in unknown


def test_most_contacts_and_many_leads_sign_up_some_before_the_crm_knew_them(told: tuple[Org, list[Call]]) -> None:
    org, calls = told
    ids, known = emails_of_users(calls), emails(org)
    signed_up = {ids[call["userId"]]: at(call) for call in calls if call.get("event") == "Sign Up"}
    for name, least, most in (("Contact", 0.5, 0.9), ("Lead", 0.25, 0.75)):
        asked = {record["Email"].strip().lower() for record in org.records(name) if record["Email"]}
        assert least < len(asked & set(signed_up)) / len(asked) < most, name
    strict = {email: rows[0] for email, rows in known.items() if len(rows) == 1 and email in signed_up}
    before = [email for email, row in strict.items() if signed_up[email] < from_stamp(row["CreatedDate"])]
    assert 0.2 < len(before) / len(strict) < 0.8


def test_people_come_first_as_an_anonymous_browser_and_some_with_two(told: tuple[Org, list[Call]]) -> None:
    _, calls = told
    browsers: dict[str, set[str]] = {}
    for call in calls:
        if "userId" in call:
            browsers.setdefault(call["userId"], set()).add(call["anonymousId"])
    assert set(map(len, browsers.values())) == {1, 2}
    first_as = {}
    for call in calls:
        first_as.setdefault(call["anonymousId"], call["type"])
    nobody = set(first_as) - set().union(*browsers.values())
    assert len(nobody) > len(browsers) / 3
    assert sum(first_as[one] == "page" for found in browsers.values() for one in found) > len(browsers) * 0.95


def test_campaigns_bring_buyers_of_different_worth(told: tuple[Org, list[Call]]) -> None:
    """The accounts of the webinar have won more each than those of the cheap ad, which brings most people."""
    org, calls = told
    won: Counter[str] = Counter()
    for deal in org.records("Opportunity"):
        if deal["IsWon"]:
            won[deal["AccountId"]] += round(deal["Amount"] or 0)
    known, ids = emails(org), emails_of_users(calls)
    owner = {call["anonymousId"]: call["userId"] for call in calls if "userId" in call}
    people: dict[str, set[str]] = {}
    accounts: dict[str, set[str]] = {}
    for call in calls:
        campaign = call.get("context", {}).get("campaign", {}).get("name")
        if campaign:
            people.setdefault(campaign, set()).add(call["anonymousId"])
            for row in known.get(ids.get(owner.get(call["anonymousId"], ""), ""), []):
                if row.get("AccountId"):
                    accounts.setdefault(campaign, set()).add(row["AccountId"])
    assert len(people) == 6
    assert max(people, key=lambda name: len(people[name])) == "free-dashboards"
    worth = {name: mean(won[account] for account in found) for name, found in accounts.items()}
    assert worth["product-analytics-webinar"] > 2 * worth["free-dashboards"]


def test_healthy_customers_use_it_more_and_more(told: tuple[Org, list[Call]]) -> None:
    org, calls = told
    signed = turned(org, "Paying Customer")
    healthy = {
        key
        for key, row in accounts_of(org, "Paying Customer").items()
        if row["Churn_Risk__c"] <= 45 and row["Health_Score__c"] >= 20 and NOW - signed[key] > timedelta(days=60)
    }
    assert len(healthy) >= 3
    account = account_of_users(org, calls)
    found: Counter[str] = Counter()
    for call in uses(org, calls, healthy):
        since = at(call) - signed[account[call["userId"]]]
        found["first"] += timedelta() <= since < timedelta(days=30)
        found["last"] += at(call) > NOW - timedelta(days=30)
    assert found["last"] > 1.2 * found["first"] > 10


def test_customers_in_trouble_and_those_who_left_fade(told: tuple[Org, list[Call]]) -> None:
    org, calls = told
    signed = turned(org, "Paying Customer")
    trouble = {
        key
        for key, row in accounts_of(org, "Paying Customer").items()
        if (row["Churn_Risk__c"] > 45 or row["Health_Score__c"] < 20) and NOW - signed[key] > timedelta(days=90)
    }
    months_ago = Counter((NOW - at(call)).days // 30 for call in uses(org, calls, trouble))
    assert months_ago[0] < months_ago[1] < months_ago[2]
    left, account = turned(org, "Churned Customer"), account_of_users(org, calls)
    gone = uses(org, calls, set(left))
    assert gone
    assert all(at(call) <= left[account[call["userId"]]] + timedelta(days=8) for call in gone)


def test_plans_are_those_of_the_crm(told: tuple[Org, list[Call]]) -> None:
    org, calls = told
    plans = {call["userId"]: call["traits"]["plan"] for call in calls if call["type"] == "identify"}
    paying, account = accounts_of(org, "Paying Customer"), account_of_users(org, calls)
    assert len({account[user] for user in plans if account.get(user) in paying}) >= 10
    for user, plan in plans.items():
        if user in account:
            assert (plan in ("starter", "team", "enterprise")) == (account[user] in paying), (user, plan)


def test_a_tiny_and_an_empty_company_have_a_product_too() -> None:
    assert history(make(accounts=1), seed=1, ends_at=NOW)
    org = Org(clock=VirtualClock(NOW))
    calls = history(org, seed=1, ends_at=NOW)
    assert users_of(calls) == 4  # two strangers, and two who share a mailbox
    traffic = ProductTraffic(org, seed=1)
    assert all(call["type"] == "page" for _ in range(20) for call in traffic.step())


def test_what_happens_while_the_org_lives_is_of_just_now_and_can_be_taken() -> None:
    org = make(accounts=20)
    before = history(org, seed=7, ends_at=NOW)
    org_traffic, traffic = Traffic(org, seed=7), ProductTraffic(org, seed=7)
    calls = []
    for _ in range(150):
        org.clock.advance(20)  # type: ignore[attr-defined]
        org_traffic.step()
        fresh = traffic.step()
        assert all(org.clock.now() - timedelta(minutes=5) <= at(call) <= org.clock.now() for call in fresh)
        calls += fresh
    assert read_call(None, {"batch": calls}, org.clock.now(), str).refused == []
    ids = [call["messageId"] for call in before + calls]
    assert len(ids) == len(set(ids))
    kinds = Counter(call.get("event", call["type"]) for call in calls)
    assert kinds["Run Query"] > 10
    assert kinds["page"] > 5
    assert kinds["Sign Up"] > 0
    users = {call["userId"] for call in before if "userId" in call}
    new = {call["userId"] for call in calls if call.get("event") == "Sign Up"}
    assert new.isdisjoint(users)
    assert {call["userId"] for call in calls if "userId" in call} <= users | new


def test_an_account_that_leaves_while_the_org_lives_is_not_seen_again() -> None:
    org = make(accounts=20)
    traffic = ProductTraffic(org, seed=7)
    seen = {call["userId"] for _ in range(40) for call in traffic.step() if call.get("event") == "Logged In"}
    assert seen
    for account in org.records("Account"):
        org.update("Account", account["Id"], {"Type": "Churned Customer", "MRR__c": 0})
    later = [call for _ in range(80) for call in traffic.step() if call.get("event") == "Logged In"]
    ids = emails_of_users(history(org, seed=7, ends_at=NOW))
    contacts = {row["Email"].strip().lower() for row in org.records("Contact") if row["Email"] and row["AccountId"]}
    assert {ids.get(call["userId"]) for call in later}.isdisjoint(contacts)


class Door(BaseHTTPRequestHandler):
    """Answers with the codes it was given, then 200; keeps what it was sent."""

    codes: list[int]
    bodies: list[dict[str, Any]]
    keys: set[str]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/batch"
        code = self.codes.pop(0) if self.codes else 200
        self.keys.add(self.headers["Authorization"])
        if code == 200:
            self.bodies.append(json.loads(body))
        self.send_response(code)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def door() -> Iterator[tuple[type[Door], str]]:
    mine = type("Mine", (Door,), {"codes": [], "bodies": [], "keys": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), mine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mine, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_a_client_sends_again_what_was_not_taken_and_keeps_the_order(door: tuple[type[Door], str]) -> None:
    mine, url = door
    mine.codes[:] = [503, 429, 200, 500]
    calls = [{"type": "page", "anonymousId": "a", "messageId": str(n)} for n in range(2_500)]
    with ProductClient(url, "key", patience=5) as client:
        assert client.send(calls) == 2_500
    assert [call for body in mine.bodies for call in body["batch"]] == calls
    assert [len(body["batch"]) for body in mine.bodies] == [1_000, 1_000, 500]
    assert mine.keys == {"Basic a2V5Og=="}  # "key:"


def test_a_client_gives_up_on_a_refusal_and_when_it_has_waited_long_enough(door: tuple[type[Door], str]) -> None:
    mine, url = door
    mine.codes[:] = [401]
    with ProductClient(url, "key") as client, pytest.raises(ProductRefusedError, match="refused them with 401"):
        client.send([{}])
    mine.codes[:] = [503] * 100
    with ProductClient(url, "key", patience=0.2) as client, pytest.raises(ProductRefusedError, match="answered 503"):
        client.send([{}])
    stop = threading.Event()
    stop.set()
    with ProductClient(url, "key", stop=stop) as client:
        assert client.send([{}]) == 0
    assert mine.bodies == []


def test_no_body_is_larger_than_a_door_takes() -> None:
    calls = [{"messageId": str(n), "note": "x" * 20_000} for n in range(60)]
    bodies = list(batches(calls))
    assert max(len(body) for body, _ in bodies) <= 500 * 1024
    assert [call for body, _ in bodies for call in json.loads(body)["batch"]] == calls
    assert [count for _, count in bodies] == [len(json.loads(body)["batch"]) for body, _ in bodies]
