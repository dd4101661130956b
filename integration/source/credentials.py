"""How to reach an org and how to log in to it, as a value; which login the given settings mean."""

from enum import StrEnum
from pathlib import Path

from pydantic import SecretStr

from integration.errors import ConfigError
from schemas.base import Frozen

SOAP_LOGIN_ENDS = "Summer '27"
"""The release with which Salesforce retires SOAP logins (user name, password and security token)."""

# The setting that tells each login apart, in the order in which they are looked for: whoever gives a token or
# a key of their own means to use it. Without any of them it is client credentials, the login to recommend.
_TELLING = {"session": "session_id", "jwt": "private_key_file", "password": "password"}

_NEEDED = {
    "client-credentials": ("domain", "consumer_key", "consumer_secret"),
    "jwt": ("username", "consumer_key", "private_key_file"),
    "session": ("instance_url", "session_id"),
    "password": ("username", "password"),
}


class LoginKind(StrEnum):
    """The ways to log in that Salesforce offers to a program."""

    CLIENT_CREDENTIALS = "client-credentials"
    JWT = "jwt"
    SESSION = "session"
    PASSWORD = "password"  # noqa: S105 - the name of a login, not a password


class Connection(Frozen):
    """Where the org is and who logs in: the settings under `salesforce.`. Secrets don't show in its repr.

    `domain` is the My Domain prefix (`acme.my`), `login` or `test`; a whole host name is taken too.
    """

    base_url: str | None = None
    """Every request goes here, logins included; `http://` only to loopback."""
    ca_file: Path | None = None
    """A certificate authority to trust beside the usual ones (PEM)."""
    domain: str | None = None
    consumer_key: str | None = None
    consumer_secret: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    security_token: SecretStr | None = None
    private_key_file: Path | None = None
    instance_url: str | None = None
    session_id: SecretStr | None = None
    api_version: str = "66.0"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret values, to be blotted out of anything that is shown."""
        given = (self.consumer_secret, self.password, self.security_token, self.session_id)
        return tuple(s.get_secret_value() for s in given if s is not None and s.get_secret_value())


def login_kind(connection: Connection) -> LoginKind:
    """Choose the login that the given settings mean.

    Raises ConfigError naming every setting that is still missing for it, with its environment variable.
    """
    kind = next((k for k, name in _TELLING.items() if _given(connection, name)), "client-credentials")
    missing = [name for name in _NEEDED[kind] if not _given(connection, name) and not _spared(connection, name)]
    if missing:
        raise ConfigError(
            f"The Salesforce login ({kind}) needs {_and(missing)}: set "
            f"{_and([f'salesforce.{n} (environment {environment_name(n)})' for n in missing])}."
        )
    return LoginKind(kind)


def login_domain(connection: Connection) -> str:
    """Return the host prefix that logins go to (`acme.my`): without scheme, slash and `.salesforce.com`."""
    domain = (connection.domain or "").strip().lower()
    domain = domain.split("://", 1)[-1].split("/", 1)[0].removesuffix(".salesforce.com")
    # With base_url the host is replaced anyway; simple-salesforce only wants to see a My Domain.
    return domain or ("sandbox.my" if connection.base_url else "login")


def jwt_audience(domain: str) -> str:
    """Return which of Salesforce's two authorization servers signs for a domain: `login` or `test`."""
    # A sandbox's My Domain is `acme--uat.sandbox.my` (older: `acme--uat.my`), a scratch org's ends in `.scratch.my`.
    is_test = domain == "test" or "--" in domain or ".scratch." in domain
    return "test" if is_test else "login"


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting under `salesforce.`."""
    return f"HEADRACE_SALESFORCE__{setting.upper()}"


def _given(connection: Connection, name: str) -> bool:
    value = getattr(connection, name)
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _spared(connection: Connection, name: str) -> bool:
    # base_url says where to go, so neither the domain nor the instance has to.
    return bool(connection.base_url) and name in ("domain", "instance_url")


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
