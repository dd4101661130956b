import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce import Salesforce, SalesforceAuthenticationFailed, SalesforceExpiredSession

from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer

USER = "integration@example.com"


@pytest.fixture(scope="module")
def key_pair() -> tuple[bytes, bytes]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, public


@pytest.fixture
def jwt_server(org: Org, key_pair: tuple[bytes, bytes]):
    with SandboxServer(org, public_keys={"jwt-app": key_pair[1]}) as running:
        yield running


def test_client_credentials_in_the_header(salesforce, server, org):
    assert salesforce.session_id.startswith(org.org_id[:15] + "!")
    assert salesforce.limits()["DailyApiRequests"]["Max"] == 100_000
    assert server.requests["login"] == 1
    assert server.api_used == 1


def test_client_credentials_in_the_body_and_what_comes_back(session, server, org):
    form = {"grant_type": "client_credentials", "client_id": "sandbox-key", "client_secret": "sandbox-secret"}
    reply = session.post(f"{server.url}/services/oauth2/token", data=form).json()
    assert reply["token_type"] == "Bearer"
    assert reply["instance_url"] == server.url
    assert reply["id"].endswith(f"/id/{org.org_id}/{org.default_user}")
    assert reply["issued_at"].isdigit()
    assert reply["signature"]


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        (
            {"grant_type": "client_credentials", "client_id": "sandbox-key", "client_secret": "no"},
            401,
            "invalid_client",
        ),
        ({"grant_type": "client_credentials"}, 401, "invalid_client"),
        (
            {"grant_type": "magic", "client_id": "sandbox-key", "client_secret": "sandbox-secret"},
            400,
            "unsupported_grant_type",
        ),
    ],
)
def test_wrong_credentials_get_an_oauth_error_object(session, server, form, status, error):
    reply = session.post(f"{server.url}/services/oauth2/token", data=form)
    assert (reply.status_code, reply.json()["error"]) == (status, error)
    assert reply.json()["error_description"]


def test_the_client_reports_refused_credentials(session):
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid client credentials"):
        Salesforce(domain="acme.my", consumer_key="sandbox-key", consumer_secret="wrong", session=session)


def test_jwt_bearer_with_the_exp_as_the_client_sends_it(jwt_server, key_pair, session_to):
    session = session_to(jwt_server.url)
    client = Salesforce(
        username=USER, consumer_key="jwt-app", privatekey=key_pair[0].decode(), session=session, version="66.0"
    )
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] == 0


@pytest.fixture
def post_assertion(jwt_server, session_to):
    def post(text: str) -> Any:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": text}
        return session_to(jwt_server.url).post(f"{jwt_server.url}/services/oauth2/token", data=form)

    return post


def assertion(key: bytes, **changes: Any) -> str:
    claims = {"iss": "jwt-app", "sub": USER, "aud": "https://login.salesforce.com", "exp": int(time.time()) + 180}
    return jwt.encode(claims | changes, key, algorithm="RS256")


@pytest.mark.parametrize(
    ("changes", "error", "description"),
    [
        ({"exp": "1000000000"}, "invalid_grant", "expired assertion"),
        ({"exp": "soon"}, "invalid_grant", "invalid assertion"),
        ({"sub": "nobody@example.com"}, "invalid_grant", "user hasn't approved this consumer"),
        ({"iss": "other-app"}, "invalid_client_id", "client identifier invalid"),
        ({"aud": "elsewhere"}, "invalid_grant", "audience is invalid"),
    ],
)
def test_a_wrong_assertion_is_refused(post_assertion, key_pair, changes, error, description):
    reply = post_assertion(assertion(key_pair[0], **changes))
    assert reply.status_code == 400
    assert reply.json() == {"error": error, "error_description": description}


def test_an_assertion_signed_with_another_key_is_refused(post_assertion):
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    reply = post_assertion(jwt.encode({"iss": "jwt-app", "sub": USER}, stranger, algorithm="RS256"))
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")
    assert post_assertion("rubbish").status_code == 400


def test_a_good_assertion_gives_a_token(post_assertion, key_pair):
    reply = post_assertion(assertion(key_pair[0]))
    assert reply.status_code == 200
    assert reply.json()["access_token"]


def test_the_old_soap_login_works_below_version_65_only(session):
    login = {"username": USER, "password": "sandbox-password", "security_token": "abc", "session": session}
    client = Salesforce(**login, version="59.0")
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] == 0
    with pytest.raises(SalesforceAuthenticationFailed, match="UNSUPPORTED_API_VERSION"):
        Salesforce(**login, version="65.0")
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
        Salesforce(**login | {"password": "wrong"}, version="59.0")


def test_the_password_grant_works(session):
    client = Salesforce(
        username=USER,
        password="sandbox-password",
        consumer_key="sandbox-key",
        consumer_secret="sandbox-secret",
        session=session,
    )
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] == 0


def test_an_expired_token_makes_the_client_log_in_again(salesforce, server):
    first = salesforce.session_id
    server.expire_tokens()
    assert salesforce.query("SELECT COUNT() FROM Account")["totalSize"] == 0
    assert salesforce.session_id != first
    assert server.requests["login"] == 2


def test_a_token_ends_by_the_orgs_clock(salesforce, server, clock):
    clock.advance(7201)
    salesforce.limits()
    assert server.requests["login"] == 2


def test_a_token_of_ones_own_is_not_renewed(salesforce, server, session_to):
    session = session_to(server.url)
    own = Salesforce(session_id=salesforce.session_id, instance_url="https://acme.my.salesforce.com", session=session)
    assert own.query("SELECT COUNT() FROM Account")["done"] is True
    server.revoke(salesforce.session_id)
    with pytest.raises(SalesforceExpiredSession) as caught:
        own.query("SELECT COUNT() FROM Account")
    assert caught.value.content == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


def test_a_request_without_a_token_is_refused(session, server):
    reply = session.get(f"{server.url}/services/data/v66.0/limits")
    assert (reply.status_code, reply.json()[0]["errorCode"]) == (401, "INVALID_AUTH_HEADER")
