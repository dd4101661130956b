import pytest

from integration.errors import ConfigError
from integration.source.credentials import Connection, jwt_audience, login_domain, login_kind

APP = {"domain": "acme.my", "consumer_key": "key", "consumer_secret": "hush-hush"}
JWT = {"username": "ops@example.com", "consumer_key": "key", "private_key_file": "/keys/acme.pem"}
SESSION = {"instance_url": "https://acme.my.salesforce.com", "session_id": "00D-token-hush"}
PASSWORD = {"username": "ops@example.com", "password": "open-sesame"}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (APP, "client-credentials"),
        (JWT, "jwt"),
        (SESSION, "session"),
        (PASSWORD, "password"),
        (PASSWORD | {"security_token": "abc"}, "password"),
        (APP | PASSWORD, "password"),
        (APP | SESSION, "session"),
        (APP | JWT, "jwt"),
        ({k: v for k, v in APP.items() if k != "domain"} | {"base_url": "http://127.0.0.1:1"}, "client-credentials"),
        ({"base_url": "http://127.0.0.1:1", "session_id": "t"}, "session"),
    ],
)
def test_the_given_settings_tell_which_login_is_meant(given, kind):
    assert login_kind(Connection(**given)) == kind


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["domain", "consumer_key", "consumer_secret"]),
        ({"domain": "acme.my", "consumer_key": "key"}, ["consumer_secret"]),
        (APP | {"consumer_secret": ""}, ["consumer_secret"]),
        ({"private_key_file": "/k.pem", "consumer_key": "key"}, ["username"]),
        ({"session_id": "t"}, ["instance_url"]),
        ({"password": "p"}, ["username"]),
    ],
)
def test_exactly_the_missing_settings_are_named_with_their_environment_names(given, missing):
    with pytest.raises(ConfigError) as refused:
        login_kind(Connection(**given))
    told = str(refused.value)
    for name in missing:
        assert f"salesforce.{name} (environment HEADRACE_SALESFORCE__{name.upper()})" in told
    assert told.count("HEADRACE_") == len(missing)


def test_secrets_do_not_show_in_a_repr():
    connection = Connection(**(APP | SESSION | PASSWORD | {"security_token": "shh"}))
    for secret in ("hush-hush", "00D-token-hush", "open-sesame", "shh"):
        assert secret in connection.secrets
        assert secret not in f"{connection!r} {connection}"


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ("acme.my", "acme.my"),
        ("https://acme.my.salesforce.com/", "acme.my"),
        ("ACME.my.salesforce.com", "acme.my"),
        (None, "login"),
        ("test", "test"),
    ],
)
def test_a_domain_may_be_given_as_a_prefix_or_as_the_whole_host(given, domain):
    assert login_domain(Connection(domain=given)) == domain


@pytest.mark.parametrize(
    ("domain", "audience"),
    [
        ("login", "login"),
        ("acme.my", "login"),
        ("acme-dev-ed.develop.my", "login"),
        ("test", "test"),
        ("acme--uat.sandbox.my", "test"),
        ("acme-dev-ed.scratch.my", "test"),
    ],
)
def test_a_jwt_is_meant_for_the_server_that_signs_for_the_domain(domain, audience):
    assert jwt_audience(domain) == audience
