"""Logging in: simple-salesforce's login with every failure turned into one sentence.

The client never lets simple-salesforce log in by itself: it repeats a hopeless login up to four times, and it
stumbles over refusals that are not the JSON it expects.
"""

import warnings
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import jwt
import requests
from pydantic import SecretStr
from simple_salesforce.exceptions import SalesforceAuthenticationFailed
from simple_salesforce.login import SalesforceLogin

from integration.errors import ConfigError, UnreachableError
from integration.source import faults
from integration.source.credentials import Connection, LoginKind, jwt_audience, login_domain, login_kind

# SOAP logins end with version 64.0; which version logs in does not matter for the calls that follow.
_LAST_SOAP_VERSION = "64.0"


class Token(NamedTuple):
    """An access token and the host it is for."""

    session_id: SecretStr
    instance: str


def log_in(connection: Connection, session: requests.Session) -> Token:
    """Get a token.

    Raises ConfigError when the login is refused or incomplete, UnreachableError when nobody can be asked.
    """
    kind = login_kind(connection)
    if kind is LoginKind.SESSION:
        assert connection.session_id is not None  # noqa: S101 - login_kind has seen it
        return Token(connection.session_id, _host_of(connection.instance_url or connection.base_url or ""))
    words = _words(connection, kind)
    try:
        with warnings.catch_warnings():
            # simple-salesforce warns about users who did not approve the app; our error says it too.
            warnings.simplefilter("ignore")
            token, instance = SalesforceLogin(session=session, **words)
    except SalesforceAuthenticationFailed as error:
        raise faults.login_refusal(error.code, None if isinstance(error.code, int) else error.auth_message) from None
    except requests.RequestException as error:
        raise faults.silence(error) from error
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        if kind is LoginKind.JWT:
            raise _bad_key(connection) from error
        raise faults.silence(error) from error
    except (AttributeError, KeyError, ExpatError) as error:
        raise faults.silence(error) from error
    if not token or not instance:
        raise UnreachableError("Salesforce's login answered without a token: try again later.")
    return Token(SecretStr(token), instance.split("/", 1)[0])


def _words(connection: Connection, kind: LoginKind) -> dict[str, Any]:
    domain = login_domain(connection)
    if kind is LoginKind.JWT:
        return {
            "username": connection.username,
            "consumer_key": connection.consumer_key,
            "privatekey": _private_key(connection),
            "domain": jwt_audience(domain),
            "instance_url": domain,  # the prefix of the host that is asked for the token, not an address
        }
    if kind is LoginKind.PASSWORD:
        return _password_words(connection, domain)
    if domain in ("login", "test"):
        raise ConfigError(
            "The client-credentials login works only at the org's own address: set salesforce.domain to the prefix "
            "of My Domain (`acme.my` for acme.my.salesforce.com)."
        )
    return {
        "consumer_key": connection.consumer_key,
        "consumer_secret": _open(connection.consumer_secret),
        "domain": domain,
    }


def _password_words(connection: Connection, domain: str) -> dict[str, Any]:
    words = {"username": connection.username, "password": _open(connection.password), "domain": domain}
    if connection.consumer_key and connection.consumer_secret and not connection.security_token:
        return words | {
            "consumer_key": connection.consumer_key,
            "consumer_secret": _open(connection.consumer_secret),
        }
    # An empty token is right for networks that the org trusts.
    return words | {
        "security_token": _open(connection.security_token) or "",
        "sf_version": min(connection.api_version, _LAST_SOAP_VERSION, key=float),
    }


def _private_key(connection: Connection) -> str:
    assert connection.private_key_file is not None  # noqa: S101 - login_kind has seen it
    try:
        return connection.private_key_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"salesforce.private_key_file ({connection.private_key_file}) can't be read: give the PEM file of the "
            "key whose certificate the app has."
        ) from error


def _bad_key(connection: Connection) -> ConfigError:
    return ConfigError(
        f"salesforce.private_key_file ({connection.private_key_file}) holds no RSA private key: give the PEM file "
        "of the key whose certificate the app has, without a passphrase."
    )


def _host_of(url: str) -> str:
    return urlsplit(url if "//" in url else f"https://{url}").netloc


def _open(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
