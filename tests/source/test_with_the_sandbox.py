"""The real client (simple-salesforce inside) and the poller against the sandbox org over HTTP."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.errors import ConfigError, HeadraceError, UnreachableError
from integration.sandbox import faults
from integration.sandbox.clock import VirtualClock
from integration.sandbox.errors import OrgError
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.world import build_world
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.faults import BusyError, DailyLimitError, UnknownObjectError
from integration.source.poll import Poller, WatchedObject
from integration.source.session import patient_retry, session_for

NOON = datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)
DEFAULT = (
    "Account",
    "Contact",
    "Lead",
    "Opportunity",
    "OpportunityContactRole",
    "Task",
    "Event",
    "Campaign",
    "CampaignMember",
    "User",
)
SECRET = "sandbox-secret"


@pytest.fixture
def org():
    return Org(clock=VirtualClock(NOON))


@pytest.fixture(scope="module")
def key_pair():
    """An RSA key pair as PEM: (private, public)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def server(org, key_pair):
    with SandboxServer(org, public_keys={"jwt-app": key_pair[1]}) as running:
        yield running


def client_of(server, log=None, **more) -> SalesforceClient:
    given = {"base_url": server.url, "consumer_key": "sandbox-key", "consumer_secret": SECRET} | more
    connection = Connection(**given)
    session = session_for(connection, retry=patient_retry(0))
    return SalesforceClient(connection, session=session, log=log, sleep=lambda _seconds: None)


@pytest.fixture
def client(server):
    return client_of(server)


def sentence_of(call, kind: type[HeadraceError]) -> str:
    with pytest.raises(kind) as refused:
        call()
    told = str(refused.value)
    assert SECRET not in told
    assert "\n" not in told
    return told


# --- logins ---


def test_client_credentials_log_in(client, org, server):
    assert client.org_id == org.org_id
    assert "Contact" in {o["name"] for o in client.objects()}
    assert client.server_time == "2024-01-22T12:00:00Z"
    assert client.api_usage == (1, 100_000)
    assert server.requests["login"] == 1


def test_a_signed_token_logs_in(server, org, key_pair, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(key_pair[0])
    signed = {"consumer_key": "jwt-app", "consumer_secret": None, "private_key_file": path}
    client = client_of(server, **signed, username="integration@example.com", domain="acme.my")
    assert client.org_id == org.org_id
    assert client.limits()
    stranger = client_of(server, **signed, username="nobody@example.com", domain="acme.my")
    assert "pre-authorise" in sentence_of(stranger.objects, ConfigError)
    other_app = client_of(server, **(signed | {"consumer_key": "unknown"}), username="integration@example.com")
    assert "invalid_client_id" in sentence_of(other_app.objects, ConfigError)


@pytest.mark.parametrize("with_app", [False, True])
def test_a_password_logs_in_by_either_way(server, org, little, with_app):
    app = {} if with_app else {"consumer_key": None, "consumer_secret": None}
    client = client_of(
        server, little.Log(), **app, username="integration@example.com", password="sandbox-password", domain="login"
    )
    assert client.org_id == org.org_id
    wrong = client_of(server, little.Log(), **app, username="integration@example.com", password="guess")
    assert "refused the login" in sentence_of(wrong.objects, ConfigError)


def test_a_wrong_secret_names_the_settings(server):
    told = sentence_of(client_of(server, consumer_secret="wrong").objects, ConfigError)
    assert "salesforce.consumer_secret" in told


def test_an_expired_token_is_renewed_between_two_calls(client, server):
    client.objects()
    server.expire_tokens()
    assert client.describe("Contact")["name"] == "Contact"
    assert server.requests["login"] == 2


def test_a_token_of_one_s_own_works_until_it_ends(server, org):
    client = client_of(server, session_id=server.tokens.issue())
    assert client.org_id == org.org_id
    client.limits()
    server.expire_tokens()
    assert "salesforce.session_id" in sentence_of(client.limits, ConfigError)


# --- trouble ---


@pytest.mark.parametrize(
    "fault", [faults.UNAVAILABLE_JSON, faults.UNAVAILABLE_HTML, faults.SERVER_ERROR, faults.RESET], ids=str
)
def test_passing_trouble_is_outwaited(client, server, fault):
    client.objects()
    server.faults.push(fault, times=2)
    assert client.query_pages(["SELECT Id FROM User"])[0].records


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.UNAVAILABLE_HTML, UnreachableError),
        (faults.MAINTENANCE_PAGE, UnreachableError),
        (faults.TRUNCATED, UnreachableError),
        (faults.RESET, UnreachableError),
        (faults.LIMIT_EXCEEDED, DailyLimitError),
        (faults.TOO_MANY_LONG_REQUESTS, BusyError),
    ],
    ids=str,
)
def test_lasting_trouble_becomes_one_sentence_and_passes_without_a_trace(client, server, fault, kind):
    client.objects()
    server.faults.push(fault, times=10)
    sentence_of(lambda: client.query_pages(["SELECT Id FROM User"]), kind)
    server.faults.clear()
    assert client.query_pages(["SELECT Id FROM User"])[0].records


def test_trouble_at_the_login_becomes_one_sentence(client, server):
    server.faults.push(faults.MAINTENANCE_PAGE, times=4, where="token")
    sentence_of(client.objects, UnreachableError)
    assert client.objects()


def test_an_unknown_object_is_named(client):
    assert "'Foo__c'" in sentence_of(lambda: client.describe("Foo__c"), UnknownObjectError)
    (answer,) = client.query_pages(["SELECT Id FROM Foo__c"])
    assert isinstance(answer.problem, UnknownObjectError)


def test_the_allowance_is_told_when_it_is_used_up(org):
    with SandboxServer(org, daily_limit=2) as server:
        client = client_of(server)
        client.objects()
        client.objects()
        sentence_of(client.objects, DailyLimitError)


# --- polling ---


def poller_of(client, sink, *names, log=None, **more) -> Poller:
    return Poller(client, sink, objects=[WatchedObject(n) for n in names or DEFAULT], log=log, **more)


def test_a_whole_world_is_read_once_and_a_quiet_cycle_costs_two_calls(org, server, client, little):
    build_world(org, accounts=10, ends_at=NOON)
    sink = little.Sink()
    poller = poller_of(client, sink, page_size=50)
    first = poller.cycle()
    for name in DEFAULT:
        of_object = {c["record_id"]: c["fields"] for c in sink.captures if c["object"] == name}
        assert set(of_object) == {r["Id"] for r in org.records(name, include_deleted=True)}, name
        assert first.objects[name].published == len(of_object)
    assert len({c["id"] for c in sink.captures}) == len(sink.captures)
    assert first.skipped == {}
    org.clock.advance(7200)
    poller.cycle()
    poller.cycle()
    server.requests.clear()
    quiet = poller.cycle()
    assert (quiet.calls, quiet.rows_read, dict(server.requests)) == (2, 0, {"composite": 2})


def test_the_fields_are_exactly_what_the_org_holds(org, server, client, little):
    build_world(org, accounts=3, ends_at=NOON)
    sink = little.Sink()
    poller_of(client, sink, "Contact").cycle()
    held = {r["Id"]: r for r in org.records("Contact", include_deleted=True)}
    for capture in sink.captures:
        record = held[capture["record_id"]]
        assert capture["fields"] == {name: record[name] for name in capture["fields"]}
        assert capture["is_deleted"] == record["IsDeleted"]


def test_hard_deletes_come_from_the_log_and_the_bin_from_the_poll(org, client, little):
    sink = little.Sink()
    binned, gone, back = (org.insert("Contact", {"LastName": name}) for name in ("Binned", "Gone", "Back"))
    poller = poller_of(client, sink, "Contact")
    poller.cycle()
    org.clock.advance(120)
    for key in (binned, gone, back):
        org.delete("Contact", key)
    org.purge("Contact", gone)
    org.undelete("Contact", back)
    org.clock.advance(120)
    poller.cycle()
    poller.deleted()
    poller.deleted()
    last = {c["record_id"]: c for c in sink.captures}
    assert (last[binned]["is_deleted"], last[binned]["fields"] is None) == (True, False)
    assert (last[gone]["is_deleted"], last[gone]["fields"]) == (True, None)
    assert last[back]["is_deleted"] is False
    assert sum(c["fields"] is None for c in sink.captures) == 1


def test_a_log_that_was_purged_is_read_as_far_back_as_it_goes(org, client, little):
    sink = little.Sink()
    forgotten, told = (org.insert("Contact", {"LastName": name}) for name in ("Forgotten", "Told"))
    poller = poller_of(client, sink, "Contact")
    poller.cycle()
    poller.deleted()
    for key in (forgotten, told):
        org.clock.advance(4 * 3600)
        org.delete("Contact", key)
        org.purge("Contact", key)
    org.clock.advance(4 * 3600)
    org.forget_deletes(org.clock.now() - timedelta(hours=5))
    client.limits()

    report = poller.deleted()

    assert {c["record_id"] for c in sink.captures if c["fields"] is None} == {told}
    [note] = report.notes
    assert "between 2024-01-22T11:59:00Z and 2024-01-22T19:0" in note


def test_a_hidden_field_does_not_stop_a_running_poller(org, client, little):
    sink = little.Sink()
    org.insert("Contact", {"LastName": "One", "Title": "CEO"})
    poller = poller_of(client, sink, "Contact", "Account")
    poller.cycle()
    org.hide_field("Contact", "Title")
    org.insert("Contact", {"LastName": "Two"})
    report = poller.cycle()
    assert report.skipped == {}
    assert "Title" not in sink.captures[-1]["fields"]
    assert sink.captures[-1]["fields"]["LastName"] == "Two"


def test_a_long_transaction_keeps_the_delete_log_position_back(org, client, little):
    sink = little.Sink()
    poller = poller_of(client, sink, "Contact")
    key = org.insert("Contact", {"LastName": "Late"})
    poller.cycle()
    transaction = org.begin()
    transaction.delete("Contact", key)
    org.clock.advance(3600)
    client.limits()
    poller.deleted()
    assert sink.cursors["Contact"].deleted_until == "2024-01-22T12:00:00Z"
    transaction.rollback()


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["insert", "edit", "edit", "late", "commit", "delete", "undelete", "purge"])),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 1, 20, 100])),
        st.tuples(st.just("cycle"), st.integers(1, 5)),
    ),
    max_size=30,
)


class Traffic:
    """People at work in an org, at random."""

    def __init__(self, org: Org, seed: int) -> None:
        self.org = org
        self.choice = random.Random(seed)
        self.open_ones: list = []

    def act(self, what: str) -> None:
        keys = [r["Id"] for r in self.org.records("Contact", include_deleted=True)]
        try:
            if what == "commit":
                self.commit(at_least_seconds=0)
            elif what == "late":
                self.begin(keys)
            elif what == "insert":
                self.org.insert("Contact", {"LastName": f"Name {self.choice.random()}"})
            elif keys and what == "edit":
                self.org.update("Contact", self.choice.choice(keys), {"LastName": f"Name {self.choice.random()}"})
            elif keys:
                getattr(self.org, what)("Contact", self.choice.choice(keys))
        except OrgError:
            pass  # locked by an open transaction, or not in a state for it

    def begin(self, keys: list[str]) -> None:
        transaction = self.org.begin()
        self.open_ones.append((transaction, self.org.clock.now()))
        transaction.insert("Contact", {"LastName": f"Late {self.choice.random()}"})
        if keys:
            transaction.update("Contact", self.choice.choice(keys), {"Title": f"Late {self.choice.random()}"})

    def commit(self, at_least_seconds: float) -> None:
        for entry in list(self.open_ones):
            if (self.org.clock.now() - entry[1]).total_seconds() >= at_least_seconds:
                self.open_ones.remove(entry)
                entry[0].commit()

    def wait(self, seconds: float) -> None:
        self.org.clock.advance(seconds)
        self.commit(at_least_seconds=400)  # so that none stays open for longer than the overlap


@settings(max_examples=20, deadline=None)
@given(history=steps, seed=st.integers(0, 999))
def test_after_each_cycle_the_last_captures_are_the_org_s_own_records(little, history, seed):
    org = Org(clock=VirtualClock(NOON))
    sink, traffic = little.Sink(), Traffic(org, seed)
    with SandboxServer(org) as server:
        client = client_of(server)
        for step in [*history, ("cycle", 2)]:
            match step:
                case ("wait", seconds):
                    traffic.wait(seconds)
                case ("cycle", page_size):
                    poller_of(client, sink, "Contact", page_size=page_size, log=little.Log()).cycle()
                    last = {c["record_id"]: c["fields"] for c in sink.captures}
                    for record in org.records("Contact", include_deleted=True):
                        seen = last[record["Id"]]
                        assert seen == {name: record[name] for name in seen}
                case (what,):
                    traffic.act(what)
    ids = [c["id"] for c in sink.captures]
    assert len(ids) == len(set(ids))
